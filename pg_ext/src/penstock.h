/*-------------------------------------------------------------------------
 *
 * penstock.h
 *		What the files of the extension share.
 *
 * Wording: the worker is our background process, one for each configured
 * database.  The sidecar is the service at the other end of the socket.  A
 * session is one connection to it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENSTOCK_H
#define PENSTOCK_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/spin.h"

#include "frame.h"

#define PENSTOCK_VERSION		"1.0"

/* Databases that can have a worker. */
#define PENSTOCK_MAX_DATABASES	16

/* Longest error text kept for the status view. */
#define PENSTOCK_LAST_ERROR		512

/* What a worker is doing, in the words of the status view. */
typedef enum PenstockState
{
	PENSTOCK_STATE_STOPPED,
	PENSTOCK_STATE_STARTING,
	PENSTOCK_STATE_WAITING,
	PENSTOCK_STATE_HANDSHAKE,
	PENSTOCK_STATE_STREAMING,
	PENSTOCK_STATE_BACKING_OFF,
	PENSTOCK_STATE_SLOT_MISSING,
	PENSTOCK_STATE_SLOT_LOST,
	PENSTOCK_STATE_STALLED,
	PENSTOCK_STATE_NO_DATABASE,
	PENSTOCK_STATE_DISABLED
} PenstockState;

/*
 * One worker in shared memory.
 *
 * dboid, latch and streaming are read without a lock by every committing
 * backend; a stale value costs one needless or one late wake-up (a slow timer
 * stands behind).  Everything else that changes is protected by the mutex.
 */
typedef struct PenstockWorker
{
	char		database[NAMEDATALEN];	/* fixed at start */
	char		slot_name[NAMEDATALEN]; /* fixed at start */

	volatile Oid dboid;			/* valid while it is in the database */
	Latch	   *volatile latch;
	volatile bool streaming;
	pg_atomic_uint64 async_lsn; /* end of the last commit not waited for */

	ConditionVariable left;		/* signalled when dboid becomes invalid */
	slock_t		mutex;
	TimestampTz hold_until;		/* must stay out of the database until */
	bool		absent;			/* the database is known not to exist */
	bool		drop_slot;		/* the lag limit says so */
	bool		careful;		/* send each message alone, see decode.c */
	int			failures;		/* in a row */

	int			pid;
	PenstockState state;
	TimestampTz state_since;
	uint32		peer_uid;		/* of the sidecar, while connected */
	bool		connected;
	XLogRecPtr	acked_lsn;
	XLogRecPtr	sent_lsn;
	XLogRecPtr	decoded_lsn;
	uint64		buffered;
	uint64		messages;
	uint64		message_bytes;
	uint64		connections;
	uint64		errors;
	TimestampTz error_at;
	int			error_sqlstate;
	char		error_text[PENSTOCK_LAST_ERROR];
} PenstockWorker;

typedef struct PenstockShared
{
	int			nworkers;
	PenstockWorker workers[FLEXIBLE_ARRAY_MEMBER];
} PenstockShared;

/* What a slot looks like to one who does not hold it. */
typedef struct PenstockSlotInfo
{
	PenstockSlotState state;
	bool		usable;			/* our plugin, our database, permanent */
	int			active_pid;
	XLogRecPtr	confirmed;
	XLogRecPtr	restart;
	const char *invalidation;	/* why, when invalidated */
} PenstockSlotInfo;

typedef enum PenstockLagAction
{
	PENSTOCK_LAG_WARN,
	PENSTOCK_LAG_DROP
} PenstockLagAction;

/* module.c: settings */
extern char *penstock_databases;
extern char *penstock_socket;
extern char *penstock_socket_peers;
extern char *penstock_slot_prefix;
extern bool penstock_enabled;
extern int	penstock_send_buffer;	/* kB */
extern int	penstock_stall_timeout; /* ms, 0 is off */
extern int	penstock_max_slot_lag;	/* MB, 0 is off */
extern int	penstock_max_slot_lag_action;
extern int	penstock_async_flush_interval;	/* ms, -1 is off */
extern int	penstock_reconnect_interval;	/* ms */
extern List *penstock_database_list(const char *value);
extern PGDLLEXPORT void _PG_init(void);

/* state.c: shared memory */
extern PenstockShared *penstock_shared; /* NULL unless preloaded */
extern void penstock_state_init(List *databases);
extern void penstock_set_state(PenstockWorker *worker, PenstockState state);
extern const char *penstock_state_name(PenstockState state);
extern void penstock_note_error(PenstockWorker *worker, int sqlstate,
								const char *text);
extern void penstock_slot_info(const char *slot_name, Oid dboid,
							   PenstockSlotInfo *info);

/* hooks.c: what other backends do for the workers */
extern void penstock_hooks_init(void);

/* link.c: the socket */
extern bool penstock_link_connect(uint32 *peer_uid, char *why, size_t size);
extern bool penstock_link_is_open(void);
extern void penstock_link_close(void);
extern StringInfo penstock_link_out(void);
extern size_t penstock_link_pending(void);
extern void penstock_link_make_room(void);
extern bool penstock_link_flush(void);
extern void penstock_link_append(const uint8_t *bytes, size_t n);
extern bool penstock_link_send_last(const uint8_t *bytes, size_t n,
									int timeout_ms);
extern bool penstock_link_receive(void);
extern PenstockParse penstock_link_next(PenstockIncoming *in);
extern void penstock_link_wait(long timeout_ms);

/* decode.c: the slot and its output */
typedef struct PenstockPosition
{
	XLogRecPtr	start;			/* first position of this session */
	XLogRecPtr	decoded;		/* all up to here is in the buffer */
	XLogRecPtr	sent;			/* highest position that may be acked */
	XLogRecPtr	acked;
	XLogRecPtr	flush;			/* end of durable WAL when last asked */
	uint64		messages;
	uint64		message_bytes;
} PenstockPosition;

extern bool penstock_decode_begin(PenstockWorker *worker,
								  const PenstockIncoming *start,
								  uint16_t *code, int *sqlstate, char *why,
								  size_t size);
extern bool penstock_decode_some(void);
extern void penstock_decode_confirm(XLogRecPtr lsn);
extern void penstock_decode_drop_partial(void);
extern void penstock_decode_end(void);
extern PenstockPosition *penstock_position(void);

/* worker.c: life cycle */
extern PGDLLEXPORT void penstock_worker_main(Datum main_arg);
extern void penstock_worker_output(size_t limit);
extern void penstock_worker_progress(void);

/* Written elsewhere in this extension; a build may lack them. */
extern void penstock_row_triggers_init(void) __attribute__((weak));
extern void penstock_ddl_init(void) __attribute__((weak));

#endif							/* PENSTOCK_H */
