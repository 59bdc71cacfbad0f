/*-------------------------------------------------------------------------
 *
 * frame.c
 *		The wire format between the worker and the sidecar, see frame.h.
 *
 *-------------------------------------------------------------------------
 */
#include "frame.h"

#include <string.h>

/* A place in the output; once something did not fit, nothing is written. */
typedef struct Writer
{
	uint8_t    *buf;
	size_t		cap;
	size_t		len;
	bool		full;
} Writer;

static void
put_bytes(Writer *w, const void *bytes, size_t n)
{
	if (w->full || n > w->cap - w->len)
	{
		w->full = true;
		return;
	}
	if (n > 0)
		memcpy(w->buf + w->len, bytes, n);
	w->len += n;
}

/* The low n bytes of a value, most significant first. */
static void
put_uint(Writer *w, uint64_t value, int n)
{
	uint8_t		bytes[8];
	int			i;

	for (i = 0; i < n; i++)
		bytes[i] = (uint8_t) (value >> (8 * (n - 1 - i)));
	put_bytes(w, bytes, (size_t) n);
}

static void
put_str16(Writer *w, const char *s)
{
	size_t		n = strlen(s);

	if (n > UINT16_MAX)
		n = UINT16_MAX;
	put_uint(w, n, 2);
	put_bytes(w, s, n);
}

/*
 * At most PENSTOCK_MAX_ERROR_TEXT bytes, cut between UTF-8 characters.
 */
static void
put_text(Writer *w, const char *s)
{
	size_t		n = s ? strlen(s) : 0;

	if (n > PENSTOCK_MAX_ERROR_TEXT)
	{
		n = PENSTOCK_MAX_ERROR_TEXT;
		while (n > 0 && ((uint8_t) s[n] & 0xC0) == 0x80)
			n--;
	}
	put_uint(w, n, 4);
	put_bytes(w, s, n);
}

static Writer
begin_frame(uint8_t *buf, size_t cap, uint8_t type)
{
	Writer		w = {buf, cap, 0, false};

	put_uint(&w, 0, 4);
	put_uint(&w, type, 1);
	return w;
}

static size_t
end_frame(Writer *w)
{
	if (w->full)
		return 0;
	penstock_frame_header(w->buf, w->buf[4], w->len - PENSTOCK_FRAME_HEADER);
	return w->len;
}

void
penstock_frame_header(uint8_t *buf, uint8_t type, size_t payload_len)
{
	Writer		w = {buf, PENSTOCK_FRAME_HEADER, 0, false};

	put_uint(&w, payload_len + 1, 4);
	put_uint(&w, type, 1);
}

size_t
penstock_frame_hello(uint8_t *buf, size_t cap, const PenstockHello *hello)
{
	Writer		w = begin_frame(buf, cap, PENSTOCK_FRAME_HELLO);

	put_uint(&w, PENSTOCK_PROTOCOL_VERSION, 2);
	put_uint(&w, hello->flags, 2);
	put_uint(&w, hello->system_identifier, 8);
	put_uint(&w, hello->timeline, 4);
	put_uint(&w, hello->server_version, 4);
	put_uint(&w, hello->pid, 4);
	put_uint(&w, hello->slot_state, 1);
	put_uint(&w, hello->slot_confirmed, 8);
	put_uint(&w, hello->slot_restart, 8);
	put_uint(&w, hello->wal_flush, 8);
	put_uint(&w, hello->next_full_xid, 8);
	put_str16(&w, hello->database);
	put_str16(&w, hello->slot_name);
	put_str16(&w, hello->extension_version);
	return end_frame(&w);
}

size_t
penstock_frame_keepalive(uint8_t *buf, size_t cap, uint64_t decoded,
						 uint64_t flush, bool reply_wanted)
{
	Writer		w = begin_frame(buf, cap, PENSTOCK_FRAME_KEEPALIVE);

	put_uint(&w, decoded, 8);
	put_uint(&w, flush, 8);
	put_uint(&w, reply_wanted ? 1 : 0, 1);
	return end_frame(&w);
}

size_t
penstock_frame_released(uint8_t *buf, size_t cap, uint64_t sent)
{
	Writer		w = begin_frame(buf, cap, PENSTOCK_FRAME_RELEASED);

	put_uint(&w, sent, 8);
	return end_frame(&w);
}

size_t
penstock_frame_error(uint8_t *buf, size_t cap, uint16_t code,
					 const char *sqlstate, const char *message,
					 const char *hint)
{
	Writer		w = begin_frame(buf, cap, PENSTOCK_FRAME_ERROR);
	char		state[5] = {'X', 'X', '0', '0', '0'};

	if (sqlstate != NULL && strlen(sqlstate) == sizeof(state))
		memcpy(state, sqlstate, sizeof(state));
	put_uint(&w, code, 2);
	put_bytes(&w, state, sizeof(state));
	put_text(&w, message);
	put_text(&w, hint);
	return end_frame(&w);
}

static uint64_t
get_uint(const uint8_t *p, int n)
{
	uint64_t	value = 0;
	int			i;

	for (i = 0; i < n; i++)
		value = (value << 8) | p[i];
	return value;
}

/* u16 protocol, u64 start, u8 version, u8 flags, str16 publications */
static PenstockParse
parse_start(const uint8_t *p, size_t n, PenstockIncoming *in)
{
	const size_t fixed = 2 + 8 + 1 + 1 + 2;

	if (n < fixed)
		return PENSTOCK_PARSE_MALFORMED;
	in->protocol = (uint16_t) get_uint(p, 2);
	in->lsn = get_uint(p + 2, 8);
	in->proto_version = p[10];
	in->flags = p[11];
	in->publications_len = (size_t) get_uint(p + 12, 2);
	in->publications = (const char *) p + fixed;
	if (in->publications_len != n - fixed || in->publications_len == 0 ||
		memchr(in->publications, 0, in->publications_len) != NULL ||
		(in->flags & ~PENSTOCK_START_ALL_FLAGS) != 0)
		return PENSTOCK_PARSE_MALFORMED;
	return PENSTOCK_PARSE_OK;
}

PenstockParse
penstock_frame_parse(const uint8_t *buf, size_t len, PenstockIncoming *in,
					 size_t *consumed)
{
	PenstockParse result = PENSTOCK_PARSE_UNKNOWN;
	const uint8_t *payload;
	size_t		n;

	*consumed = 0;
	memset(in, 0, sizeof(*in));
	if (len < 4)
		return PENSTOCK_PARSE_MORE;
	n = (size_t) get_uint(buf, 4);
	if (n == 0)
		return PENSTOCK_PARSE_MALFORMED;
	if (n > PENSTOCK_MAX_INCOMING)
		return PENSTOCK_PARSE_TOO_LARGE;
	if (len < 4 + n)
		return PENSTOCK_PARSE_MORE;
	payload = buf + PENSTOCK_FRAME_HEADER;
	n -= 1;
	in->type = buf[4];
	switch (in->type)
	{
		case PENSTOCK_FRAME_START:
			result = parse_start(payload, n, in);
			break;
		case PENSTOCK_FRAME_ACK:
			if (n == 8)
				in->lsn = get_uint(payload, 8);
			result = n == 8 ? PENSTOCK_PARSE_OK : PENSTOCK_PARSE_MALFORMED;
			break;
		case PENSTOCK_FRAME_RELEASE:
		case PENSTOCK_FRAME_PING:
			result = n == 0 ? PENSTOCK_PARSE_OK : PENSTOCK_PARSE_MALFORMED;
			break;
	}
	if (result == PENSTOCK_PARSE_OK)
		*consumed = PENSTOCK_FRAME_HEADER + n;
	return result;
}
