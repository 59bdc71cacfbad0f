/*-------------------------------------------------------------------------
 *
 * link.c
 *		The socket to the sidecar: non-blocking, with one output buffer.
 *
 * The output plugin writes its messages straight into the output buffer (it is
 * the StringInfo of the decoding context), behind room left for the frame's
 * header.  So a row is copied once, from the buffer into the kernel.
 *
 * Every wait of the worker while it is connected happens in
 * penstock_link_wait().
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <fcntl.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "storage/fd.h"
#include "utils/varlena.h"

#include "penstock.h"

/* Bytes received and not yet looked at: one frame of the largest size. */
#define INPUT_SIZE		(4 + PENSTOCK_MAX_INCOMING)

/* What the output buffer keeps when it is empty. */
#define KEPT_OUTPUT		(2 * 1024 * 1024)

/* One send is at most this, so that huge messages leave room for interrupts. */
#define MAX_SEND		(1024 * 1024)

static struct
{
	pgsocket	sock;
	WaitEventSet *events;
	int			socket_position;
	uint32		waiting_for;
	StringInfoData out;
	size_t		sent;			/* bytes of out already in the kernel */
	uint8_t    *input;
	size_t		input_len;
	size_t		input_used;
}			peer = {.sock = PGINVALID_SOCKET};

/* Is this uid one the sidecar may have?  Unknown names are skipped. */
static bool
peer_allowed(uid_t uid)
{
	List	   *names = NIL;
	ListCell   *cell;
	char	   *list;
	bool		allowed = uid == geteuid() || uid == 0;

	if (allowed)
		return true;
	list = pstrdup(penstock_socket_peers);
	if (!SplitGUCList(list, ',', &names))
		names = NIL;
	foreach(cell, names)
	{
		char	   *name = (char *) lfirst(cell);
		char	   *end;
		unsigned long number = strtoul(name, &end, 10);

		if (name[0] >= '0' && name[0] <= '9' && *end == '\0')
			allowed = number == (unsigned long) uid;
		else
		{
			struct passwd *entry = getpwnam(name);

			allowed = entry != NULL && entry->pw_uid == uid;
		}
		if (allowed)
			break;
	}
	list_free(names);
	pfree(list);
	return allowed;
}

/* Connects a non-blocking socket, or says why not. */
static pgsocket
connect_socket(char *why, size_t size)
{
	struct sockaddr_un address;
	pgsocket	sock = socket(AF_UNIX, SOCK_STREAM, 0);
	int			bytes = 1024 * 1024;

	if (sock == PGINVALID_SOCKET)
	{
		snprintf(why, size, "could not create socket: %s", strerror(errno));
		return PGINVALID_SOCKET;
	}
	memset(&address, 0, sizeof(address));
	address.sun_family = AF_UNIX;
	strlcpy(address.sun_path, penstock_socket, sizeof(address.sun_path));
	if (!pg_set_noblock(sock) ||
		fcntl(sock, F_SETFD, FD_CLOEXEC) < 0 ||
		connect(sock, (struct sockaddr *) &address, sizeof(address)) != 0)
	{
		snprintf(why, size, "could not connect to socket \"%s\": %s",
				 penstock_socket, strerror(errno));
		closesocket(sock);
		return PGINVALID_SOCKET;
	}
	/* a larger kernel buffer lets both sides work at once; not vital */
	(void) setsockopt(sock, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	return sock;
}

static void
prepare_buffers(void)
{
	MemoryContext previous = MemoryContextSwitchTo(TopMemoryContext);

	if (peer.input == NULL)
	{
		peer.input = palloc(INPUT_SIZE);
		initStringInfo(&peer.out);
	}
	MemoryContextSwitchTo(previous);
	resetStringInfo(&peer.out);
	peer.sent = 0;
	peer.input_len = peer.input_used = 0;
}

/*
 * Connects to the sidecar and checks who it is.  On failure says why; the
 * caller decides whether that is worth a line in the log.
 */
bool
penstock_link_connect(uint32 *peer_uid, char *why, size_t size)
{
	uid_t		uid;
	gid_t		gid;
	pgsocket	sock = connect_socket(why, size);

	if (sock == PGINVALID_SOCKET)
		return false;
	if (getpeereid(sock, &uid, &gid) != 0)
	{
		snprintf(why, size, "could not get peer credentials: %s",
				 strerror(errno));
		closesocket(sock);
		return false;
	}
	if (!peer_allowed(uid))
	{
		snprintf(why, size, "peer of socket \"%s\" has user id %lu, which is not in penstock.socket_peers",
				 penstock_socket, (unsigned long) uid);
		closesocket(sock);
		return false;
	}
	prepare_buffers();
	ReserveExternalFD();
	peer.sock = sock;
	peer.events = PenstockCreateWaitEventSet(3);
	AddWaitEventToSet(peer.events, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch,
					  NULL);
	AddWaitEventToSet(peer.events, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET,
					  NULL, NULL);
	peer.waiting_for = WL_SOCKET_READABLE;
	peer.socket_position = AddWaitEventToSet(peer.events, peer.waiting_for,
											 sock, NULL, NULL);
	*peer_uid = (uint32) uid;
	return true;
}

bool
penstock_link_is_open(void)
{
	return peer.sock != PGINVALID_SOCKET;
}

void
penstock_link_close(void)
{
	if (peer.sock == PGINVALID_SOCKET)
		return;
	FreeWaitEventSet(peer.events);
	peer.events = NULL;
	closesocket(peer.sock);
	ReleaseExternalFD();
	peer.sock = PGINVALID_SOCKET;
	resetStringInfo(&peer.out);
	peer.sent = 0;
	penstock_link_make_room();
}

/* The buffer a decoding context writes into. */
StringInfo
penstock_link_out(void)
{
	return &peer.out;
}

/* Bytes which the kernel has not taken yet. */
size_t
penstock_link_pending(void)
{
	return (size_t) peer.out.len - peer.sent;
}

/*
 * Gets rid of what has been sent, and of the memory of a huge message once it
 * is through.  Not while a message is being written.
 */
void
penstock_link_make_room(void)
{
	size_t		pending = penstock_link_pending();

	if (peer.sent > 0 && (pending == 0 || peer.sent >= pending))
	{
		memmove(peer.out.data, peer.out.data + peer.sent, pending);
		peer.out.len = (int) pending;
		peer.out.data[pending] = '\0';
		peer.sent = 0;
	}
	if (peer.out.maxlen > KEPT_OUTPUT + penstock_send_buffer * 1024 &&
		peer.out.len < KEPT_OUTPUT && peer.sent == 0)
	{
		peer.out.data = repalloc(peer.out.data, KEPT_OUTPUT);
		peer.out.maxlen = KEPT_OUTPUT;
	}
}

/*
 * Sends what the kernel takes now.  False if the connection is broken.
 */
bool
penstock_link_flush(void)
{
	while (penstock_link_pending() > 0)
	{
		ssize_t		n = send(peer.sock, peer.out.data + peer.sent,
							 Min(penstock_link_pending(), MAX_SEND), 0);

		if (n > 0)
		{
			peer.sent += (size_t) n;
			if (InterruptPending)
				break;
		}
		else if (n < 0 && errno == EINTR)
			break;
		else
			return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
	}
	if (penstock_link_pending() == 0)
	{
		resetStringInfo(&peer.out);
		peer.sent = 0;
	}
	return true;
}

void
penstock_link_append(const uint8_t *bytes, size_t n)
{
	appendBinaryStringInfo(&peer.out, (const char *) bytes, (int) n);
}

/*
 * Sends a last frame behind everything else, waiting at most timeout_ms for
 * the sidecar to take it.  Allocates nothing, so that it can report that
 * memory has run out.
 */
bool
penstock_link_send_last(const uint8_t *bytes, size_t n, int timeout_ms)
{
	int			waited = 0;

	for (;;)
	{
		if (!penstock_link_flush())
			return false;
		if (penstock_link_pending() == 0)
		{
			if (n == 0)
				return true;
			/* a small frame into an empty socket goes as a whole */
			if (send(peer.sock, bytes, n, 0) == (ssize_t) n)
				return true;
			if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
				return false;
		}
		if (waited >= timeout_ms)
			return false;
		penstock_link_wait(50);
		waited += 50;
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * Takes what has arrived.  False if the sidecar is gone.  Call
 * penstock_link_next() until it has no more frames afterwards.
 */
bool
penstock_link_receive(void)
{
	ssize_t		n;

	if (peer.input_used > 0)
	{
		peer.input_len -= peer.input_used;
		memmove(peer.input, peer.input + peer.input_used, peer.input_len);
		peer.input_used = 0;
	}
	if (peer.input_len >= INPUT_SIZE)
		return true;
	n = recv(peer.sock, peer.input + peer.input_len,
			 INPUT_SIZE - peer.input_len, 0);
	if (n > 0)
		peer.input_len += (size_t) n;
	else if (n == 0 ||
			 (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
		return false;
	return true;
}

/* The next frame received; valid until the next penstock_link_receive(). */
PenstockParse
penstock_link_next(PenstockIncoming *in)
{
	size_t		consumed;
	PenstockParse result = penstock_frame_parse(peer.input + peer.input_used,
												peer.input_len - peer.input_used,
												in, &consumed);

	peer.input_used += consumed;
	return result;
}

/*
 * Waits for the latch, for something to read, or for room to write if there
 * is something to send.  Resets the latch.
 */
void
penstock_link_wait(long timeout_ms)
{
	uint32		wanted = WL_SOCKET_READABLE;
	WaitEvent	event;

	if (penstock_link_pending() > 0)
		wanted |= WL_SOCKET_WRITEABLE;
	if (wanted != peer.waiting_for)
	{
		ModifyWaitEvent(peer.events, peer.socket_position, wanted, NULL);
		peer.waiting_for = wanted;
	}
	if (WaitEventSetWait(peer.events, timeout_ms, &event, 1,
						 PenstockWaitEvent()) == 1 &&
		(event.events & WL_LATCH_SET) != 0)
		ResetLatch(MyLatch);
}
