/*
 * What the disk gives: appends of 1 KiB with pwrite and, if asked, fdatasync after each group.
 *
 *   limit GROUP SYNC FILE      prints appends a second
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define APPEND_BYTES 1090		/* 1 KiB and a record's header */
#define SECONDS 2.0

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

int
main(int argc, char **argv)
{
	if (argc != 4)
	{
		fprintf(stderr, "usage: limit GROUP SYNC FILE\n");
		return 2;
	}
	int			group = atoi(argv[1]);
	int			sync = atoi(argv[2]);
	size_t		size = (size_t) group * APPEND_BYTES;
	char	   *bytes = malloc(size);
	int			fd = open(argv[3], O_RDWR | O_CREAT | O_TRUNC, 0600);
	off_t		offset = 0;
	long		appends = 0;
	double		start = now();
	double		end;

	if (fd < 0 || bytes == NULL)
	{
		perror(argv[3]);
		return 1;
	}
	memset(bytes, 'x', size);
	while ((end = now()) < start + SECONDS)
	{
		if (pwrite(fd, bytes, size, offset) != (ssize_t) size || (sync && fdatasync(fd) != 0))
		{
			perror(argv[3]);
			return 1;
		}
		offset += size;
		appends += group;
	}
	printf("%.0f\n", appends / (end - start));
	unlink(argv[3]);
	return 0;
}
