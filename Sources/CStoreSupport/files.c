#if defined(__linux__)
#define _GNU_SOURCE
#endif
#include "CStoreSupport.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

int penstock_rename_exclusive(const char *from, const char *to)
{
#if defined(__linux__)
	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return errno;
#elif defined(__APPLE__)
	if (renamex_np(from, to, RENAME_EXCL) == 0)
		return 0;
	if (errno != ENOTSUP)
		return errno;
#endif
	/* File systems without the flag: the directory is ours alone, so a check before is enough. */
	if (access(to, F_OK) == 0)
		return EEXIST;
	return rename(from, to) == 0 ? 0 : errno;
}

int penstock_lock_exclusive(int descriptor)
{
	while (flock(descriptor, LOCK_EX | LOCK_NB) != 0)
	{
		if (errno != EINTR)
			return errno;
	}
	return 0;
}

int penstock_free_range(int descriptor, int64_t start, int64_t length)
{
#if defined(__linux__)
	int result;
	do
		result = fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, start, length);
	while (result != 0 && errno == EINTR);
	return result == 0 ? 0 : errno;
#else
	(void)descriptor;
	(void)start;
	(void)length;
	return ENOSYS;
#endif
}

int penstock_sync_file_system(int descriptor)
{
#if defined(__linux__)
	return syncfs(descriptor) == 0 ? 0 : errno;
#else
	(void)descriptor;
	return ENOSYS;
#endif
}
