/* Connections, requests, answers and samples of load.c. */
#ifndef LOAD_H
#define LOAD_H

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUEST_BYTES 2048
#define PATIENCE_MS 60000
#define MARK '#'

struct connection
{
	int			fd;
	size_t		length;			/* of the request */
	char		request[REQUEST_BYTES];
	double		sent;
	size_t		have;			/* bytes of an answer that is not whole */
	char		answer[4096];
	long		received;
	long		counted;
};

struct samples
{
	double	   *values;
	size_t		count;
	size_t		space;
};

extern double now(void);
extern void fail(const char *what);
extern void raise_file_limit(void);

extern int	connect_to(int port);
extern void send_all(int fd, const char *bytes, size_t length);
extern void watch(int poll, struct connection *c, int number);

/* A request with a body of so many bytes: one MARK, then filling. Returns its length. */
extern size_t format_request(char *request, const char *method, const char *stream, int number, const char *type,
							 int body);
/* A read from the tail, live or, with an empty text, not. */
extern size_t format_read(char *request, const char *stream, int number, const char *live);

/* Takes what is there of an answer without a body; whether it is whole now. Fails unless it begins as expected. */
extern bool receive_answer(struct connection *c, const char *expected);
/* Reads until the text has come. */
extern void await_text(int fd, const char *text);
/* One request that must succeed, on a connection of its own. */
extern void exchange(int port, const char *method, const char *stream, int number, const char *type, int body);
extern bool is_open(int port);
extern bool is_ready(int port);

extern void add_sample(struct samples *s, double value);
extern double percentile(struct samples *s, double share);

/* Bytes of resident memory, once the process has nothing to do any more. */
extern long resident(int process);

#endif
