/*-------------------------------------------------------------------------
 *
 * frame.h
 *		The wire format between the worker and the sidecar.
 *
 * Pure: bytes in, bytes out.  Nothing here allocates, reports errors or knows
 * the server, so that the same file is built alone under a sanitizer.  The
 * format is defined in PROTOCOL.md; this header is its C spelling.
 *
 * Wording: a frame is u32 length, u8 type, payload; the length counts the
 * type and the payload.  All integers are big-endian.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENSTOCK_FRAME_H
#define PENSTOCK_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PENSTOCK_PROTOCOL_VERSION	1

/* u32 length and u8 type */
#define PENSTOCK_FRAME_HEADER		5

/* What the length field of a frame from the sidecar may say at most. */
#define PENSTOCK_MAX_INCOMING		16384

/* Longest text of an error frame; longer ones are cut. */
#define PENSTOCK_MAX_ERROR_TEXT		4096

/* An error frame always fits into this. */
#define PENSTOCK_MAX_ERROR_FRAME	(PENSTOCK_FRAME_HEADER + 2 + 5 + 4 + 4 + \
									 2 * PENSTOCK_MAX_ERROR_TEXT)

/* A keepalive and a released frame have a fixed size. */
#define PENSTOCK_KEEPALIVE_SIZE		(PENSTOCK_FRAME_HEADER + 8 + 8 + 1)
#define PENSTOCK_RELEASED_SIZE		(PENSTOCK_FRAME_HEADER + 8)

/* Room for a hello with three strings of at most 255 bytes. */
#define PENSTOCK_MAX_HELLO_FRAME	1024

/* Frames from the worker. */
#define PENSTOCK_FRAME_HELLO		'H'
#define PENSTOCK_FRAME_MESSAGE		'M'
#define PENSTOCK_FRAME_KEEPALIVE	'K'
#define PENSTOCK_FRAME_RELEASED		'R'
#define PENSTOCK_FRAME_ERROR		'E'

/* Frames from the sidecar. */
#define PENSTOCK_FRAME_START		'S'
#define PENSTOCK_FRAME_ACK			'A'
#define PENSTOCK_FRAME_RELEASE		'Q'
#define PENSTOCK_FRAME_PING			'P'

/* Flags of a start frame. */
#define PENSTOCK_START_MESSAGES		0x01
#define PENSTOCK_START_STREAMING	0x02
#define PENSTOCK_START_ALL_FLAGS	0x03

/* Codes of an error frame.  Never renumbered. */
typedef enum PenstockErrorCode
{
	PENSTOCK_ERR_PROTOCOL = 1,	/* garbage, oversized or unexpected frame */
	PENSTOCK_ERR_VERSION = 2,	/* protocol version not spoken */
	PENSTOCK_ERR_SLOT_MISSING = 3,	/* there is no such slot */
	PENSTOCK_ERR_SLOT_INVALIDATED = 4,	/* the server gave the slot up */
	PENSTOCK_ERR_SLOT_IN_USE = 5,	/* somebody else holds it */
	PENSTOCK_ERR_SLOT_UNUSABLE = 6, /* wrong plugin or database, temporary */
	PENSTOCK_ERR_DATA_LOST = 7, /* start is behind the slot */
	PENSTOCK_ERR_START_AHEAD = 8,	/* start is past the end of WAL */
	PENSTOCK_ERR_ACK_AHEAD = 9, /* acknowledged what was never sent */
	PENSTOCK_ERR_WAL_LEVEL = 10,	/* wal_level is not logical */
	PENSTOCK_ERR_ENCODING = 11, /* database has no usable encoding */
	PENSTOCK_ERR_DECODING = 12, /* the server raised an error, see sqlstate */
	PENSTOCK_ERR_LEAVING = 13,	/* database command needs the worker away */
	PENSTOCK_ERR_SLOT_DROPPED = 14	/* dropped by penstock.max_slot_lag */
} PenstockErrorCode;

/* Slot states in a hello frame. */
typedef enum PenstockSlotState
{
	PENSTOCK_SLOT_ABSENT = 0,
	PENSTOCK_SLOT_PRESENT = 1,
	PENSTOCK_SLOT_INVALIDATED = 2
} PenstockSlotState;

/* Everything a hello frame says. */
typedef struct PenstockHello
{
	uint16_t	flags;
	uint64_t	system_identifier;
	uint32_t	timeline;
	uint32_t	server_version;
	uint32_t	pid;
	uint8_t		slot_state;
	uint64_t	slot_confirmed;
	uint64_t	slot_restart;
	uint64_t	wal_flush;
	uint64_t	next_full_xid;
	const char *database;
	const char *slot_name;
	const char *extension_version;
} PenstockHello;

/* A frame received from the sidecar; pointers go into the parsed bytes. */
typedef struct PenstockIncoming
{
	uint8_t		type;
	uint16_t	protocol;		/* S */
	uint64_t	lsn;			/* S: start; A: durable */
	uint8_t		proto_version;	/* S: of pgoutput */
	uint8_t		flags;			/* S */
	const char *publications;	/* S: not terminated */
	size_t		publications_len;
} PenstockIncoming;

typedef enum PenstockParse
{
	PENSTOCK_PARSE_OK,
	PENSTOCK_PARSE_MORE,		/* the frame is not complete yet */
	PENSTOCK_PARSE_TOO_LARGE,	/* length beyond PENSTOCK_MAX_INCOMING */
	PENSTOCK_PARSE_UNKNOWN,		/* no such type */
	PENSTOCK_PARSE_MALFORMED	/* payload does not fit its type */
} PenstockParse;

/* Each returns the bytes written, 0 if the frame does not fit into cap. */
extern size_t penstock_frame_hello(uint8_t *buf, size_t cap,
								   const PenstockHello *hello);
extern size_t penstock_frame_keepalive(uint8_t *buf, size_t cap,
									   uint64_t decoded, uint64_t flush,
									   bool reply_wanted);
extern size_t penstock_frame_released(uint8_t *buf, size_t cap,
									  uint64_t sent);
extern size_t penstock_frame_error(uint8_t *buf, size_t cap, uint16_t code,
								   const char *sqlstate, const char *message,
								   const char *hint);

/* Fills the header of a frame whose payload stands behind it already. */
extern void penstock_frame_header(uint8_t *buf, uint8_t type,
								  size_t payload_len);

/*
 * Reads one frame from the sidecar.  On PENSTOCK_PARSE_OK *consumed is its
 * size; otherwise it is 0.
 */
extern PenstockParse penstock_frame_parse(const uint8_t *buf, size_t len,
										  PenstockIncoming *in,
										  size_t *consumed);

#endif							/* PENSTOCK_FRAME_H */
