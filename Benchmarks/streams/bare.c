/*
 * The limit of live reads: a server that knows no streams. A request that begins with GET makes its connection a reader;
 * with every POST the bytes that the stream server sends for an append go to all readers, then the writer is answered.
 * With FILE the body is written there first and synced.
 *
 *   bare PORT [FILE]
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST 65536
#define CONTROL "event: control\ndata:{\"streamNextOffset\":\"0000000000000000_0000000000000064\"," \
	"\"streamCursor\":\"1000000\",\"upToDate\":true}\nid: 0000000000000000_0000000000000064\n\n"

static int	readers[MOST];
static int	reader_count;

static void
fail(const char *what)
{
	perror(what);
	exit(1);
}

static void
send_text(int fd, const char *text, size_t length)
{
	while (length > 0)
	{
		/* Waits for a reader that is slow. */
		ssize_t		sent = send(fd, text, length, MSG_NOSIGNAL);

		if (sent < 0 && errno == EPIPE)
			return;
		if (sent < 0)
			fail("send");
		text += sent;
		length -= sent;
	}
}

static void
append(int writer, const char *body, size_t length, int file)
{
	static const char answer[] = "HTTP/1.1 204 No Content\r\nstream-next-offset: 0000000000000000_0000000000000064\r\n\r\n";
	char		event[4096];
	char		chunk[4200];
	int			size;

	if (file >= 0 && (write(file, body, length) != (ssize_t) length || fdatasync(file) != 0))
		fail("write");
	size = snprintf(event, sizeof event, "event: data\ndata:%.*s\n\n" CONTROL, (int) length, body);
	size = snprintf(chunk, sizeof chunk, "%x\r\n%s\r\n", (unsigned) size, event);
	for (int i = 0; i < reader_count; i++)
		send_text(readers[i], chunk, size);
	send_text(writer, answer, sizeof answer - 1);
}

/* The load sends each request in one piece and waits for the answer. */
static int
serve(int fd, int file)
{
	static const char created[] = "HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n";
	static const char head[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
		"9d\r\n" CONTROL "\r\n";
	char		request[8192];
	ssize_t		got = recv(fd, request, sizeof request - 1, 0);
	char	   *body;

	if (got <= 0)
		return 0;
	request[got] = '\0';
	body = strstr(request, "\r\n\r\n");
	if (body == NULL || reader_count == MOST)
	{
		fprintf(stderr, "bare: a request that it does not know\n");
		exit(1);
	}
	body += 4;
	if (strncmp(request, "GET", 3) == 0)
	{
		readers[reader_count++] = fd;
		send_text(fd, head, sizeof head - 1);
	}
	else if (strncmp(request, "POST", 4) == 0)
		append(fd, body, request + got - body, file);
	else
		send_text(fd, created, sizeof created - 1);
	return 1;
}

int
main(int argc, char **argv)
{
	struct sockaddr_in at = {.sin_family = AF_INET};
	struct epoll_event event = {.events = EPOLLIN};
	struct rlimit limit;
	int			listener = socket(AF_INET, SOCK_STREAM, 0);
	int			poll = epoll_create1(0);
	int			file = -1;
	int			one = 1;

	if (argc < 2 || argc > 3)
	{
		fprintf(stderr, "usage: bare PORT [FILE]\n");
		return 2;
	}
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (argc == 3 && (file = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0600)) < 0)
		fail(argv[2]);
	at.sin_port = htons(atoi(argv[1]));
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(listener, (struct sockaddr *) &at, sizeof at) != 0 || listen(listener, 1024) != 0)
		fail("bind");
	event.data.fd = listener;
	epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
	for (;;)
	{
		struct epoll_event events[64];
		int			count = epoll_wait(poll, events, 64, -1);

		for (int i = 0; i < count; i++)
		{
			int			fd = events[i].data.fd;

			if (fd == listener)
			{
				if ((fd = accept(listener, NULL, NULL)) < 0)
					fail("accept");
				setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
				event.data.fd = fd;
				epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
			}
			else if (!serve(fd, file))
			{
				for (int r = 0; r < reader_count; r++)
					if (readers[r] == fd)
						readers[r--] = readers[--reader_count];
				close(fd);
			}
		}
	}
}
