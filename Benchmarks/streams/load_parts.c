/* Connections, requests, answers and samples of load.c. */
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <time.h>

double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

void
fail(const char *what)
{
	fprintf(stderr, "load: %s (%s)\n", what, strerror(errno));
	exit(1);
}

void
raise_file_limit(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static int
try_to_connect(int port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
	int			fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int			one = 1;
	struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};

	if (fd < 0)
		fail("socket");
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	if (connect(fd, (struct sockaddr *) &to, sizeof to) == 0)
		return fd;
	close(fd);
	return -1;
}

int
connect_to(int port)
{
	int			fd = try_to_connect(port);

	if (fd < 0)
		fail("connect");
	return fd;
}

void
send_all(int fd, const char *bytes, size_t length)
{
	while (length > 0)
	{
		ssize_t		sent = send(fd, bytes, length, MSG_NOSIGNAL);

		if (sent < 0)
			fail("send");
		bytes += sent;
		length -= sent;
	}
}

void
watch(int poll, struct connection *c, int number)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u32 = number};

	if (epoll_ctl(poll, EPOLL_CTL_ADD, c->fd, &event) != 0)
		fail("epoll_ctl");
}

size_t
format_request(char *request, const char *method, const char *stream, int number, const char *type, int body)
{
	int			head = snprintf(request, REQUEST_BYTES,
								"%s /v1/stream/%s/%d HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\n"
								"Content-Length: %d\r\n\r\n", method, stream, number, type, body);

	memset(request + head, 'x', body);
	if (body > 0)
		request[head] = MARK;
	return head + body;
}

size_t
format_read(char *request, const char *stream, int number, const char *live)
{
	return snprintf(request, REQUEST_BYTES, "GET /v1/stream/%s/%d?offset=now%s%s HTTP/1.1\r\nHost: localhost\r\n\r\n",
					stream, number, live[0] != '\0' ? "&live=" : "", live);
}

bool
receive_answer(struct connection *c, const char *expected)
{
	ssize_t		got = recv(c->fd, c->answer + c->have, sizeof c->answer - 1 - c->have, MSG_DONTWAIT);

	if (got < 0 && errno == EAGAIN)
		return false;
	if (got <= 0)
		fail("the connection ended");
	c->have += got;
	c->answer[c->have] = '\0';
	if (strstr(c->answer, "\r\n\r\n") == NULL)
		return false;
	if (strncmp(c->answer, expected, strlen(expected)) != 0)
	{
		fprintf(stderr, "%s\n", c->answer);
		fail("an answer is not as expected");
	}
	c->have = 0;
	return true;
}

void
await_text(int fd, const char *text)
{
	char		bytes[8192];
	size_t		have = 0;

	do
	{
		ssize_t		got = have < sizeof bytes - 1 ? recv(fd, bytes + have, sizeof bytes - 1 - have, 0) : 0;

		if (got <= 0)
			fail("the expected text did not come");
		have += got;
		bytes[have] = '\0';
		if (strncmp(bytes, "HTTP/1.1 2", have < 10 ? have : 10) != 0 && strchr(text, MARK) == NULL)
		{
			fprintf(stderr, "%s\n", bytes);
			fail("a read was refused");
		}
	} while (strstr(bytes, text) == NULL);
}

void
exchange(int port, const char *method, const char *stream, int number, const char *type, int body)
{
	static int	fd = -1;
	char		request[REQUEST_BYTES];

	/* One connection for all of them. */
	if (fd < 0)
		fd = connect_to(port);
	send_all(fd, request, format_request(request, method, stream, number, type, body));
	await_text(fd, "\r\n\r\n");
}

bool
is_open(int port)
{
	int			fd = try_to_connect(port);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

bool
is_ready(int port)
{
	static const char request[] = "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
	char		bytes[4096];
	int			fd = try_to_connect(port);
	ssize_t		got;

	if (fd < 0)
		return false;
	send_all(fd, request, sizeof request - 1);
	got = recv(fd, bytes, sizeof bytes, 0);
	close(fd);
	return got >= 12 && memcmp(bytes, "HTTP/1.1 200", 12) == 0;
}

void
add_sample(struct samples *s, double value)
{
	if (s->count == s->space)
	{
		s->space = s->space == 0 ? 65536 : s->space * 2;
		s->values = realloc(s->values, s->space * sizeof *s->values);
		if (s->values == NULL)
			fail("no memory");
	}
	s->values[s->count++] = value;
}

static int
compare(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return (x > y) - (x < y);
}

double
percentile(struct samples *s, double share)
{
	if (s->count == 0)
		fail("nothing was measured");
	qsort(s->values, s->count, sizeof *s->values, compare);
	return s->values[(size_t) (share * (s->count - 1))];
}

static long
statistic(int process, const char *file, int field)
{
	char		path[64];
	long		value = 0;
	FILE	   *f;

	snprintf(path, sizeof path, "/proc/%d/%s", process, file);
	f = fopen(path, "r");
	if (f == NULL)
		fail(path);
	for (int i = 1; i <= field; i++)
	{
		char		word[256];

		if (fscanf(f, "%255s", word) != 1)
			fail(path);
		value = atol(word);
	}
	fclose(f);
	return value;
}

long
resident(int process)
{
	long		before = -1;
	long		after = statistic(process, "stat", 14) + statistic(process, "stat", 15);

	/* Idle is who takes next to no processor time for half a second. */
	while (after - before > 1)
	{
		usleep(500000);
		before = after;
		after = statistic(process, "stat", 14) + statistic(process, "stat", 15);
	}
	return statistic(process, "statm", 2) * sysconf(_SC_PAGESIZE);
}
