/*-------------------------------------------------------------------------
 *
 * latency.c
 *		Time from sending a commit to its arrival at the sidecar's socket and at
 *		a LISTENing libpq client, for the same transactions.
 *
 *			latency SOCKET CONNINFO PUBLICATION ROUNDS SYNCHRONOUS_COMMIT
 *
 *-------------------------------------------------------------------------
 */
#include "../../src/frame.h"

#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec * 1e3 + (double) t.tv_nsec / 1e6;
}

static int
compare(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return x < y ? -1 : x > y;
}

static void
report(const char *what, double *values, int n)
{
	qsort(values, n, sizeof(double), compare);
	printf("%-22s median %.3f ms, p99 %.3f ms\n", what, values[n / 2],
		   values[n * 99 / 100]);
}

static int
open_stream(const char *path, const char *publication)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int			listener = socket(AF_UNIX, SOCK_STREAM, 0);
	uint8_t		frame[300] = {0};
	char		hello[2048];
	size_t		n = strlen(publication);
	int			sock;

	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	unlink(path);
	if (bind(listener, (struct sockaddr *) &address, sizeof(address)) != 0 ||
		chmod(path, 0777) != 0 || listen(listener, 1) != 0)
		exit(1);
	sock = accept(listener, NULL, NULL);
	if (read(sock, hello, sizeof(hello)) <= 0)
		exit(1);
	penstock_frame_header(frame, PENSTOCK_FRAME_START, 14 + n);
	frame[6] = 1;
	frame[15] = 1;
	frame[18] = (uint8_t) n;
	memcpy(frame + 19, publication, n);
	if (write(sock, frame, 19 + n) < 0)
		exit(1);
	return sock;
}

int
main(int argc, char **argv)
{
	int			rounds = argc > 4 ? atoi(argv[4]) : 0;
	double	   *worker = malloc(sizeof(double) * (rounds + 1));
	double	   *listener = malloc(sizeof(double) * (rounds + 1));
	PGconn	   *writer;
	PGconn	   *listening;
	char		sql[200];
	char		buffer[65536];
	int			sock;

	if (argc < 6)
		return 2;
	sock = open_stream(argv[1], argv[3]);
	writer = PQconnectdb(argv[2]);
	listening = PQconnectdb(argv[2]);
	snprintf(sql, sizeof(sql), "SET synchronous_commit = %s", argv[5]);
	PQclear(PQexec(writer, sql));
	PQclear(PQexec(listening, "LISTEN latency"));
	for (int i = -20; i < rounds; i++)
	{
		struct pollfd fds[2] = {{sock, POLLIN, 0}, {PQsocket(listening), POLLIN, 0}};
		double		begin;
		double		at[2] = {0, 0};

		usleep(3000);
		while (recv(sock, buffer, sizeof(buffer), MSG_DONTWAIT) > 0)
			;
		PQclear(PQexec(writer, "BEGIN"));
		PQclear(PQexec(writer, "INSERT INTO items VALUES ((SELECT coalesce(max(id), 0) + 1 FROM items), 'x')"));
		PQclear(PQexec(writer, "NOTIFY latency"));
		begin = now();
		PQsendQuery(writer, "COMMIT");
		while (at[0] == 0 || at[1] == 0)
		{
			if (poll(fds, 2, 5000) <= 0)
				return 1;
			if (fds[0].revents && at[0] == 0)
			{
				at[0] = now();
				fds[0].fd = -1;
			}
			if (fds[1].revents && at[1] == 0)
			{
				PGnotify   *note;

				at[1] = now();
				PQconsumeInput(listening);
				note = PQnotifies(listening);
				if (note == NULL)
					at[1] = 0;
				else
					fds[1].fd = -1;
				PQfreemem(note);
			}
			fds[0].revents = fds[1].revents = 0;
		}
		PQclear(PQgetResult(writer));
		PQclear(PQgetResult(writer));
		if (i >= 0)
		{
			worker[i] = at[0] - begin;
			listener[i] = at[1] - begin;
		}
	}
	report("commit to sidecar", worker, rounds);
	report("commit to LISTEN", listener, rounds);
	return 0;
}
