/*
 * The load of the stream benchmarks: writers, readers of events and long polls, on one thread with epoll, so that it takes
 * little of the machine that it shares with the server. Every answer is looked at; one that is not as expected ends the
 * program with status 1. Times are in microseconds where nothing else is said; the last word is the number of appends.
 *
 *   load appends PORT CONNECTIONS STREAMS SECONDS
 *       appends of 1 KiB, each connection to its stream, one after the other -> appends a second, p50 and p99, number
 *   load live PORT READERS SECONDS
 *       appends of 100 bytes to one stream with so many readers of events, one at a time
 *       -> p50 and p99 of the time from the send to the last reader's receipt, number
 *   load flood PORT READERS SECONDS
 *       the same, but the next append is sent when the one before was acknowledged
 *       -> appends a second up to the last reader's last receipt, number
 *   load hold PORT KIND READERS STREAMS PID
 *       opens idle readers, KIND is sse or long-poll -> bytes of PID's memory for each
 *   load create PORT COUNT      creates streams with 100 bytes each
 *   load ready PORT             waits until /readyz is 200 -> milliseconds
 *   load open PORT              waits until somebody listens -> milliseconds
 */
#include "load.h"

/* Appends */

static void
appends(int port, int connections, int streams, double seconds)
{
	struct connection *all = calloc(connections, sizeof *all);
	struct samples times = {0};
	int			poll = epoll_create1(0);
	double		start;
	double		end;
	int			open = connections;

	for (int i = 0; i < streams; i++)
		exchange(port, "PUT", "b", i, "application/octet-stream", 0);
	for (int i = 0; i < connections; i++)
	{
		struct connection *c = &all[i];

		c->fd = connect_to(port);
		c->length = format_request(c->request, "POST", "b", i % streams, "application/octet-stream", 1024);
		watch(poll, c, i);
	}
	start = now();
	for (int i = 0; i < connections; i++)
	{
		all[i].sent = now();
		send_all(all[i].fd, all[i].request, all[i].length);
	}
	while (open > 0)
	{
		struct epoll_event events[64];
		int			count = epoll_wait(poll, events, 64, PATIENCE_MS);

		if (count <= 0)
			fail("no answer");
		for (int i = 0; i < count; i++)
		{
			struct connection *c = &all[events[i].data.u32];

			if (!receive_answer(c, "HTTP/1.1 204"))
				continue;
			end = now();
			add_sample(&times, end - c->sent);
			if (end >= start + seconds)
			{
				open--;
				continue;
			}
			c->sent = end;
			send_all(c->fd, c->request, c->length);
		}
	}
	end = now();
	printf("%.0f %.0f %.0f %zu\n", times.count / (end - start), percentile(&times, 0.5) * 1e6,
		   percentile(&times, 0.99) * 1e6, times.count);
}

/* Live readers of one stream */

struct audience
{
	int			poll;
	int			readers;
	struct connection *all;		/* the writer is the one behind the readers */
	long		appended;		/* so many appends were sent */
	int			behind;			/* readers that do not have all of them yet */
	bool		acknowledged;
};

static struct audience
gather(int port, int readers)
{
	struct audience a = {.poll = epoll_create1(0), .readers = readers, .all = calloc(readers + 1, sizeof *a.all)};
	struct connection *writer = &a.all[readers];

	exchange(port, "PUT", "live", 0, "text/plain", 0);
	for (int i = 0; i < readers; i++)
	{
		char		request[REQUEST_BYTES];

		a.all[i].fd = connect_to(port);
		send_all(a.all[i].fd, request, format_read(request, "live", 0, "sse"));
	}
	for (int i = 0; i < readers; i++)
	{
		await_text(a.all[i].fd, "\"upToDate\":true");
		watch(a.poll, &a.all[i], i);
	}
	writer->fd = connect_to(port);
	writer->length = format_request(writer->request, "POST", "live", 0, "text/plain", 100);
	watch(a.poll, writer, readers);
	return a;
}

static void
append_one(struct audience *a)
{
	struct connection *writer = &a->all[a->readers];

	a->appended++;
	a->behind = a->readers;
	a->acknowledged = false;
	writer->sent = now();
	send_all(writer->fd, writer->request, writer->length);
}

/* Takes what came. Each append has one mark in its text, so that readers count marks, however they come in events and reads. */
static void
listen_once(struct audience *a)
{
	struct epoll_event events[256];
	int			count = epoll_wait(a->poll, events, 256, PATIENCE_MS);

	if (count <= 0)
		fail("an append did not come back");
	for (int i = 0; i < count; i++)
	{
		struct connection *c = &a->all[events[i].data.u32];
		static char bytes[65536];
		ssize_t		got;

		if (c == &a->all[a->readers])
		{
			if (receive_answer(c, "HTTP/1.1 204"))
				a->acknowledged = true;
			continue;
		}
		got = recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT);
		if (got < 0 && errno == EAGAIN)
			continue;
		if (got <= 0)
			fail("a reader was cut off");
		for (char *mark = bytes; (mark = memchr(mark, MARK, bytes + got - mark)) != NULL; mark++)
			c->received++;
		if (c->received > a->appended)
			fail("a reader has more than was appended");
		if (c->received == a->appended && c->counted != a->appended)
		{
			c->counted = a->appended;
			a->behind--;
		}
	}
}

static void
live(int port, int readers, double seconds)
{
	struct audience a = gather(port, readers);
	struct samples times = {0};
	double		start = now();

	while (now() < start + seconds)
	{
		double		last = 0;

		append_one(&a);
		while (a.behind > 0 || !a.acknowledged)
		{
			listen_once(&a);
			if (a.behind == 0 && last == 0)
				last = now();
		}
		add_sample(&times, last - a.all[readers].sent);
	}
	printf("%.0f %.0f %zu\n", percentile(&times, 0.5) * 1e6, percentile(&times, 0.99) * 1e6, times.count);
}

static void
flood(int port, int readers, double seconds)
{
	struct audience a = gather(port, readers);
	double		start = now();

	append_one(&a);
	for (;;)
	{
		listen_once(&a);
		if (!a.acknowledged)
			continue;
		if (now() < start + seconds)
			append_one(&a);
		else if (a.behind == 0)
			break;
	}
	printf("%.0f %ld\n", a.appended / (now() - start), a.appended);
}

/* Idle readers */

static void
hold(int port, const char *kind, int readers, int streams, int process)
{
	struct connection *all = calloc(readers, sizeof *all);
	char		request[REQUEST_BYTES];
	long		before;
	long		after;

	for (int i = 0; i < streams; i++)
		exchange(port, "PUT", "idle", i, "text/plain", 0);
	before = resident(process);
	for (int i = 0; i < readers; i++)
	{
		all[i].fd = connect_to(port);
		if (strcmp(kind, "sse") == 0)
		{
			send_all(all[i].fd, request, format_read(request, "idle", i % streams, kind));
			await_text(all[i].fd, "\"upToDate\":true");
			continue;
		}
		/* Caught up before it polls, as a client does: so the connection is known to have been taken. */
		send_all(all[i].fd, request, format_read(request, "idle", i % streams, ""));
		await_text(all[i].fd, "\r\n\r\n");
		send_all(all[i].fd, request, format_read(request, "idle", i % streams, kind));
	}
	after = resident(process);
	for (int i = 0; i < streams; i++)
		exchange(port, "POST", "idle", i, "text/plain", 100);
	/* That all of them were there is shown by what they get. */
	for (int i = 0; i < readers; i++)
		await_text(all[i].fd, "#");
	printf("%.0f\n", (double) (after - before) / readers);
}

/* Start-up */

static void
create(int port, int count)
{
	enum {WRITERS = 256};
	static struct connection all[WRITERS];
	int			poll = epoll_create1(0);
	int			next = 0;
	int			open = 0;

	for (int i = 0; i < WRITERS && next < count; i++, open++)
	{
		all[i].fd = connect_to(port);
		watch(poll, &all[i], i);
		send_all(all[i].fd, all[i].request,
				 format_request(all[i].request, "PUT", "boot", next++, "application/octet-stream", 100));
	}
	while (open > 0)
	{
		struct epoll_event events[64];
		int			ready = epoll_wait(poll, events, 64, PATIENCE_MS);

		if (ready <= 0)
			fail("no answer");
		for (int i = 0; i < ready; i++)
		{
			struct connection *c = &all[events[i].data.u32];

			if (!receive_answer(c, "HTTP/1.1 201"))
				continue;
			if (next == count)
				open--;
			else
				send_all(c->fd, c->request,
						 format_request(c->request, "PUT", "boot", next++, "application/octet-stream", 100));
		}
	}
}

static void
await_server(int port, bool (*is_there) (int port))
{
	double		start = now();

	while (!is_there(port))
	{
		if (now() > start + PATIENCE_MS / 1e3)
			fail("the server did not get ready");
		usleep(500);
	}
	printf("%.0f\n", (now() - start) * 1e3);
}

int
main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[1] : "";
	int			port = argc > 2 ? atoi(argv[2]) : 0;

	raise_file_limit();
	if (strcmp(what, "appends") == 0 && argc == 6)
		appends(port, atoi(argv[3]), atoi(argv[4]), atof(argv[5]));
	else if (strcmp(what, "live") == 0 && argc == 5)
		live(port, atoi(argv[3]), atof(argv[4]));
	else if (strcmp(what, "flood") == 0 && argc == 5)
		flood(port, atoi(argv[3]), atof(argv[4]));
	else if (strcmp(what, "hold") == 0 && argc == 7)
		hold(port, argv[3], atoi(argv[4]), atoi(argv[5]), atoi(argv[6]));
	else if (strcmp(what, "create") == 0 && argc == 4)
		create(port, atoi(argv[3]));
	else if (strcmp(what, "ready") == 0 && argc == 3)
		await_server(port, is_ready);
	else if (strcmp(what, "open") == 0 && argc == 3)
		await_server(port, is_open);
	else
	{
		fprintf(stderr, "usage: see the beginning of load.c\n");
		return 2;
	}
	return 0;
}
