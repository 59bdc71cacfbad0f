/*-------------------------------------------------------------------------
 *
 * reader.c
 *		A sidecar that counts: listens on a socket, starts a stream and reads it
 *		until a keepalive has passed a position.  Prints inserts, bytes and
 *		seconds from the start frame on.
 *
 *			reader SOCKET PUBLICATION END_LSN [PROTO_VERSION FLAGS]
 *
 *-------------------------------------------------------------------------
 */
#include "../../src/frame.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BUFFER	(4 << 20)

static uint64_t
get(const uint8_t *p, int n)
{
	uint64_t	v = 0;

	while (n-- > 0)
		v = v << 8 | *p++;
	return v;
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

static int
accept_worker(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int			listener = socket(AF_UNIX, SOCK_STREAM, 0);

	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	unlink(path);
	if (bind(listener, (struct sockaddr *) &address, sizeof(address)) != 0 ||
		chmod(path, 0777) != 0 || listen(listener, 1) != 0)
	{
		perror(path);
		exit(1);
	}
	return accept(listener, NULL, NULL);
}

static void
send_start(int sock, const char *publication, int proto, int flags)
{
	uint8_t		frame[300] = {0};
	size_t		n = strlen(publication);

	penstock_frame_header(frame, PENSTOCK_FRAME_START, 14 + n);
	frame[6] = 1;
	frame[15] = (uint8_t) proto;
	frame[16] = (uint8_t) flags;
	frame[18] = (uint8_t) n;
	memcpy(frame + 19, publication, n);
	if (write(sock, frame, 19 + n) < 0)
		exit(1);
}

int
main(int argc, char **argv)
{
	uint8_t    *buffer = malloc(BUFFER);
	size_t		len = 0;
	uint64_t	inserts = 0;
	uint64_t	bytes = 0;
	uint64_t	end;
	double		begin = 0;
	int			sock;

	if (argc < 4)
		return 2;
	end = strtoull(argv[3], NULL, 10);
	sock = accept_worker(argv[1]);
	for (;;)
	{
		ssize_t		n = read(sock, buffer + len, BUFFER - len);
		size_t		used = 0;

		if (n <= 0)
			return 1;
		len += (size_t) n;
		bytes += (uint64_t) n;
		while (len - used >= 5)
		{
			const uint8_t *frame = buffer + used;
			size_t		size = 4 + get(frame, 4);

			if (len - used < size)
				break;
			used += size;
			if (frame[4] == 'M' && (frame[5] == 'I' || frame[5] == 'U'))
				inserts++;
			else if (frame[4] == 'H')
			{
				begin = now();
				send_start(sock, argv[2], argc > 4 ? atoi(argv[4]) : 1,
						   argc > 5 ? atoi(argv[5]) : 0);
			}
			else if (frame[4] == 'E')
			{
				fprintf(stderr, "error %d: %s\n", (int) get(frame + 5, 2),
						(const char *) frame + 16);
				return 1;
			}
			else if (frame[4] == 'K' && get(frame + 5, 8) >= end)
			{
				printf("%llu %llu %.3f\n", (unsigned long long) inserts,
					   (unsigned long long) bytes, now() - begin);
				return 0;
			}
		}
		memmove(buffer, buffer + used, len - used);
		len -= used;
	}
}
