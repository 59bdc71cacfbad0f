#if defined(__linux__)
#define _GNU_SOURCE
#endif
#include "CFileTrap.h"

#if defined(__linux__)

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static _Atomic(penstock_trap_hook) installed;

int penstock_trap_is_available(void) { return 1; }

void penstock_trap_install(penstock_trap_hook hook) { atomic_store(&installed, hook); }

int64_t penstock_trap_system_write(int descriptor, const void *bytes, size_t count, int64_t offset)
{
	long result = syscall(SYS_pwrite64, descriptor, bytes, count, offset);
	return result < 0 ? -errno : result;
}

int64_t penstock_trap_system_truncate(int descriptor, int64_t size)
{
	long result = syscall(SYS_ftruncate, descriptor, size);
	return result < 0 ? -errno : result;
}

static int64_t ask(int operation, int descriptor, const void *bytes, size_t count, int64_t offset)
{
	penstock_trap_hook hook = atomic_load_explicit(&installed, memory_order_relaxed);
	return hook ? hook(operation, descriptor, bytes, count, offset) : PENSTOCK_TRAP_PASS;
}

static long finish(int64_t result)
{
	if (result >= 0)
		return result;
	errno = (int)-result;
	return -1;
}

ssize_t pwrite(int descriptor, const void *bytes, size_t count, off_t offset)
{
	int64_t result = ask(PENSTOCK_TRAP_WRITE, descriptor, bytes, count, offset);
	if (result == PENSTOCK_TRAP_PASS)
		return syscall(SYS_pwrite64, descriptor, bytes, count, offset);
	return finish(result);
}

ssize_t writev(int descriptor, const struct iovec *parts, int count)
{
	if (ask(PENSTOCK_TRAP_ASK, descriptor, NULL, 0, 0) == PENSTOCK_TRAP_PASS)
		return syscall(SYS_writev, descriptor, parts, count);
	size_t total = 0;
	for (int index = 0; index < count; index++)
		total += parts[index].iov_len;
	char *bytes = malloc(total ? total : 1);
	if (!bytes)
		return finish(-ENOMEM);
	size_t done = 0;
	for (int index = 0; index < count; index++)
	{
		memcpy(bytes + done, parts[index].iov_base, parts[index].iov_len);
		done += parts[index].iov_len;
	}
	off_t offset = lseek(descriptor, 0, SEEK_CUR);
	int64_t result = offset < 0 ? -errno : ask(PENSTOCK_TRAP_WRITE, descriptor, bytes, total, offset);
	free(bytes);
	if (result == PENSTOCK_TRAP_PASS)
		return syscall(SYS_writev, descriptor, parts, count);
	if (result > 0)
		lseek(descriptor, offset + result, SEEK_SET);
	return finish(result);
}

int fdatasync(int descriptor)
{
	int64_t result = ask(PENSTOCK_TRAP_SYNC, descriptor, NULL, 0, 0);
	return (int)(result == PENSTOCK_TRAP_PASS ? syscall(SYS_fdatasync, descriptor) : finish(result));
}

int fsync(int descriptor)
{
	int64_t result = ask(PENSTOCK_TRAP_SYNC, descriptor, NULL, 0, 0);
	return (int)(result == PENSTOCK_TRAP_PASS ? syscall(SYS_fsync, descriptor) : finish(result));
}

int ftruncate(int descriptor, off_t size)
{
	int64_t result = ask(PENSTOCK_TRAP_TRUNCATE, descriptor, NULL, 0, size);
	return (int)(result == PENSTOCK_TRAP_PASS ? syscall(SYS_ftruncate, descriptor, size) : finish(result));
}

int statvfs(const char *path, struct statvfs *status)
{
	if (ask(PENSTOCK_TRAP_ROOM, -1, path, strlen(path), 0) == 0)
	{
		memset(status, 0, sizeof *status);
		status->f_bsize = status->f_frsize = 4096;
		return 0;
	}
	int descriptor = open(path, O_RDONLY | O_CLOEXEC);
	if (descriptor < 0)
		return -1;
	int result = fstatvfs(descriptor, status);
	int number = errno;
	close(descriptor);
	errno = number;
	return result;
}

#else

int penstock_trap_is_available(void) { return 0; }
void penstock_trap_install(penstock_trap_hook hook) { (void)hook; }
int64_t penstock_trap_system_write(int descriptor, const void *bytes, size_t count, int64_t offset)
{
	(void)descriptor, (void)bytes, (void)count, (void)offset;
	return PENSTOCK_TRAP_PASS;
}
int64_t penstock_trap_system_truncate(int descriptor, int64_t size)
{
	(void)descriptor, (void)size;
	return PENSTOCK_TRAP_PASS;
}

#endif
