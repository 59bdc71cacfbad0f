/*-------------------------------------------------------------------------
 *
 * worker.c
 *		Life of a worker: from its start to its end, and one session with the
 *		sidecar after the other.
 *
 * The worker ends itself rather than to clean up after anything unusual: the
 * postmaster starts it again.  It always ends with status 1, because 0 would
 * mean never to be started again.
 *
 * Waiting happens outside of the database (wait_outside), between sessions
 * (wait_between), and within a session (penstock_link_wait).  After every
 * wake-up: serve(), which answers interrupts, settings, commands that want us
 * away, and the sidecar's frames.  It also runs "nested", from within the
 * output plugin in the middle of a transaction; what would end the session
 * then ends the process.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <signal.h>

#include "access/transam.h"
#include "access/xact.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/timestamp.h"

#include "penstock.h"

#define FIRST_RECONNECT		100 /* ms */
#define KEEPALIVE_FOREIGN	1000	/* ms, while foreign WAL passes */
#define KEEPALIVE_IDLE		10000	/* ms, when nothing happens */
#define KEEPALIVE_BACKLOG	65536	/* unsent bytes that leave no room for one */
#define HOUSEKEEPING		1000	/* ms */
#define LOG_AGAIN			60000	/* ms, for the same message */
#define WAL_WRITER_POLL		20	/* ms, while only the WAL writer flushes */
#define STANDBY_POLL		50	/* ms, while a failover slot waits for standbys */
#define MAX_FAILURE_DELAY	60000	/* ms */
#define ABSENT_DELAY		300000	/* ms, until a missing database is tried */
#define GOOD_SESSION		60000	/* ms, after which failures are forgiven */
#define LAST_WORDS			1000	/* ms, for an error frame to be taken */

static struct
{
	PenstockWorker *me;
	bool		connecting;		/* to the database */
	int			attempts;		/* to reach the sidecar, in a row */

	/* the session */
	bool		streaming;
	bool		nested;
	bool		release_wanted;
	bool		ping_wanted;
	XLogRecPtr	told_decoded;	/* in the last keepalive */
	uint64		told_messages;
	TimestampTz told_at;
	TimestampTz heard_at;
	TimestampTz began_at;		/* streaming */
	TimestampTz progress_at;
	uint64		progress_mark;
	uint64		counted_messages;	/* already in shared memory */
	uint64		counted_bytes;
	TimestampTz async_flush_at;

	TimestampTz housekeeping_at;
	TimestampTz lag_warned_at;
	char		logged[PENSTOCK_LAST_ERROR];
	TimestampTz logged_at;
	int			logged_count;
} self;

static void
set_state(PenstockState state)
{
	if (self.me->state == state)
		return;
	penstock_set_state(self.me, state);
	pgstat_report_activity(state == PENSTOCK_STATE_STREAMING ?
						   STATE_RUNNING : STATE_IDLE,
						   penstock_state_name(state));
}

static bool
passed(TimestampTz since, TimestampTz now, int ms)
{
	return TimestampDifferenceExceeds(since, now, ms);
}

/* One line in the log; the same again only each minute. */
static void
log_session(int level, const char *text)
{
	TimestampTz now = GetCurrentTimestamp();

	if (strcmp(text, self.logged) == 0 &&
		!passed(self.logged_at, now, LOG_AGAIN))
	{
		self.logged_count++;
		return;
	}
	if (strcmp(text, self.logged) == 0)
		ereport(level,
				(errmsg("penstock: %s", text),
				 errdetail("This happened %d times since the last message.",
						   self.logged_count + 1)));
	else
		ereport(level, (errmsg("penstock: %s", text)));
	strlcpy(self.logged, text, sizeof(self.logged));
	self.logged_at = now;
	self.logged_count = 0;
}

static const char *
hint_for(uint16_t code)
{
	switch ((PenstockErrorCode) code)
	{
		case PENSTOCK_ERR_SLOT_MISSING:
		case PENSTOCK_ERR_SLOT_DROPPED:
			return "Create the slot and start clients over.";
		case PENSTOCK_ERR_SLOT_INVALIDATED:
			return "Drop the slot, create it and start clients over.";
		case PENSTOCK_ERR_SLOT_IN_USE:
			return "Another service or connection uses the slot.";
		case PENSTOCK_ERR_SLOT_UNUSABLE:
			return "Drop the slot or set penstock.slot_prefix.";
		case PENSTOCK_ERR_DATA_LOST:
		case PENSTOCK_ERR_START_AHEAD:
			return "Start clients over and start at position 0.";
		case PENSTOCK_ERR_WAL_LEVEL:
			return "Set wal_level to logical and restart the server.";
		case PENSTOCK_ERR_ENCODING:
			return "Use a database with the encoding UTF8.";
		case PENSTOCK_ERR_PROTOCOL:
		case PENSTOCK_ERR_VERSION:
		case PENSTOCK_ERR_ACK_AHEAD:
		case PENSTOCK_ERR_DECODING:
		case PENSTOCK_ERR_LEAVING:
			break;
	}
	return "";
}

/* Tells the sidecar why this is the end, waiting a little for it to listen. */
static void
send_error(uint16_t code, int sqlstate, const char *text, const char *hint,
		   int timeout_ms)
{
	static uint8_t frame[PENSTOCK_MAX_ERROR_FRAME];
	size_t		n;

	if (!penstock_link_is_open())
		return;
	n = penstock_frame_error(frame, sizeof(frame), code,
							 unpack_sql_state(sqlstate), text, hint);
	penstock_decode_drop_partial();
	(void) penstock_link_send_last(frame, n, timeout_ms);
}

/* Ends the session with an error frame.  Returns false for the caller. */
static bool
refuse(uint16_t code, int sqlstate, const char *text)
{
	penstock_note_error(self.me, sqlstate, text);
	log_session(LOG, text);
	send_error(code, sqlstate, text, hint_for(code),
			   self.nested ? 0 : LAST_WORDS);
	return false;
}

/* Ends the process; the postmaster starts it again. */
static void
leave(void)
{
	if (MyReplicationSlot != NULL)
		ReplicationSlotRelease();
	proc_exit(1);
}

/* Registered for the end of the process, whatever the reason. */
static void
worker_gone(int status, Datum arg)
{
	PenstockWorker *me = self.me;

	me->streaming = false;
	me->latch = NULL;
	me->dboid = InvalidOid;
	if (self.connecting)
		penstock_note_error(me, ERRCODE_CONNECTION_FAILURE,
							"could not connect to the database, see the server log");
	SpinLockAcquire(&me->mutex);
	if (self.connecting)
		me->failures++;
	me->pid = 0;
	me->connected = false;
	me->buffered = 0;
	me->state = PENSTOCK_STATE_STOPPED;
	me->state_since = GetCurrentTimestamp();
	SpinLockRelease(&me->mutex);
	ConditionVariableBroadcast(&me->left);
}

/* Publishes what the status view shows of the session. */
static void
publish_position(void)
{
	PenstockPosition *p = penstock_position();
	PenstockWorker *me = self.me;

	SpinLockAcquire(&me->mutex);
	me->acked_lsn = p->acked;
	me->sent_lsn = p->sent;
	me->decoded_lsn = p->decoded;
	me->buffered = penstock_link_pending();
	me->messages += p->messages - self.counted_messages;
	me->message_bytes += p->message_bytes - self.counted_bytes;
	SpinLockRelease(&me->mutex);
	self.counted_messages = p->messages;
	self.counted_bytes = p->message_bytes;
}

/* Has the sidecar taken or acknowledged anything in penstock.stall_timeout? */
static void
check_stall(TimestampTz now)
{
	PenstockPosition *p = penstock_position();
	size_t		pending = penstock_link_pending();
	uint64		mark = p->message_bytes - pending + p->acked;
	bool		waiting = pending > 0 || p->acked < p->sent;

	if (!waiting || mark != self.progress_mark)
	{
		self.progress_mark = mark;
		self.progress_at = now;
		set_state(PENSTOCK_STATE_STREAMING);
	}
	else if (penstock_stall_timeout > 0 &&
			 self.me->state == PENSTOCK_STATE_STREAMING &&
			 passed(self.progress_at, now, penstock_stall_timeout))
	{
		log_session(LOG, "sidecar has made no progress within penstock.stall_timeout");
		set_state(PENSTOCK_STATE_STALLED);
	}
}

/*
 * Watches how much WAL the slot holds back.  False if the session is over
 * because the slot must be dropped.
 */
static bool
check_lag(TimestampTz now)
{
	PenstockSlotInfo slot;
	uint64		retained;
	uint64		limit = (uint64) penstock_max_slot_lag * 1024 * 1024;
	uint64		half_kept = max_slot_wal_keep_size_mb > 0 ?
		(uint64) max_slot_wal_keep_size_mb * 1024 * 1024 / 2 : 0;

	penstock_slot_info(self.me->slot_name, MyDatabaseId, &slot);
	if (slot.state != PENSTOCK_SLOT_PRESENT || !slot.usable)
		return true;
	retained = PenstockFlushLSN() - slot.restart;
	if (limit > 0 && retained > limit &&
		penstock_max_slot_lag_action == PENSTOCK_LAG_DROP)
	{
		if (self.streaming)
		{
			self.me->drop_slot = true;
			self.nested = true;
		}
		else if (slot.active_pid != 0)
			return true;
		else
			ReplicationSlotDrop(self.me->slot_name, true);
		return refuse(PENSTOCK_ERR_SLOT_DROPPED,
					  ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
					  "slot is dropped because it held back more WAL than penstock.max_slot_lag");
	}
	if (((limit > 0 && retained > limit) ||
		 (half_kept > 0 && retained > half_kept)) &&
		passed(self.lag_warned_at, now, LOG_AGAIN))
	{
		self.lag_warned_at = now;
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("penstock: slot \"%s\" holds back %llu MB of WAL",
						self.me->slot_name,
						(unsigned long long) (retained / (1024 * 1024))),
				 errhint("See that the sidecar runs and keeps up, or the slot will be lost.")));
	}
	return true;
}

/* What is looked at each second.  False if the session is over. */
static bool
housekeeping(TimestampTz now)
{
	self.housekeeping_at = now;
	if (self.streaming)
	{
		check_stall(now);
		publish_position();
		if (self.me->failures > 0 && passed(self.began_at, now, GOOD_SESSION))
		{
			self.me->failures = 0;
			self.me->careful = false;
		}
		if (!self.nested && !IsTransactionOrTransactionBlock())
			pgstat_report_stat(false);
	}
	return check_lag(now);
}

static bool
start_streaming(const PenstockIncoming *in)
{
	char		why[PENSTOCK_LAST_ERROR];
	uint16_t	code;
	int			sqlstate;

	if (in->protocol != PENSTOCK_PROTOCOL_VERSION)
	{
		snprintf(why, sizeof(why), "sidecar speaks protocol %d, this worker %d",
				 in->protocol, PENSTOCK_PROTOCOL_VERSION);
		return refuse(PENSTOCK_ERR_VERSION, ERRCODE_PROTOCOL_VIOLATION, why);
	}
	if (!penstock_decode_begin(self.me, in, &code, &sqlstate, why,
							   sizeof(why)))
	{
		bool		lost = code == PENSTOCK_ERR_SLOT_INVALIDATED;

		refuse(code, sqlstate, why);
		if (lost || code == PENSTOCK_ERR_SLOT_MISSING)
			set_state(lost ? PENSTOCK_STATE_SLOT_LOST :
					  PENSTOCK_STATE_SLOT_MISSING);
		return false;
	}
	self.streaming = true;
	self.attempts = 0;
	self.release_wanted = false;
	self.told_decoded = penstock_position()->decoded;
	self.told_messages = 0;
	self.counted_messages = self.counted_bytes = 0;
	self.told_at = self.began_at = self.progress_at = GetCurrentTimestamp();
	self.me->streaming = true;
	set_state(PENSTOCK_STATE_STREAMING);
	ereport(LOG,
			(errmsg("penstock: streaming from slot \"%s\" at %X/%X",
					self.me->slot_name,
					LSN_FORMAT_ARGS(penstock_position()->start))));
	return true;
}

static void
stop_streaming(void)
{
	if (!self.streaming)
		return;
	publish_position();
	self.me->streaming = false;
	self.streaming = false;
	penstock_decode_end();
}

static bool
handle_frame(const PenstockIncoming *in)
{
	switch (in->type)
	{
		case PENSTOCK_FRAME_START:
			if (self.streaming)
				return refuse(PENSTOCK_ERR_PROTOCOL,
							  ERRCODE_PROTOCOL_VIOLATION,
							  "start frame while streaming");
			return start_streaming(in);
		case PENSTOCK_FRAME_ACK:
			/* after a release, an ack may have been under way */
			if (!self.streaming)
				return true;
			if (in->lsn > Max(penstock_position()->sent, self.told_decoded))
				return refuse(PENSTOCK_ERR_ACK_AHEAD,
							  ERRCODE_PROTOCOL_VIOLATION,
							  "sidecar has acknowledged a position which was not sent");
			penstock_decode_confirm(in->lsn);
			return true;
		case PENSTOCK_FRAME_RELEASE:
			self.release_wanted = true;
			return true;
		case PENSTOCK_FRAME_PING:
			self.ping_wanted = true;
			return true;
	}
	return true;
}

static bool
receive_frames(void)
{
	PenstockIncoming in;
	PenstockParse result;

	if (!penstock_link_receive())
	{
		log_session(LOG, "sidecar has closed the connection");
		return false;
	}
	while ((result = penstock_link_next(&in)) == PENSTOCK_PARSE_OK)
	{
		self.heard_at = GetCurrentTimestamp();
		if (!handle_frame(&in))
			return false;
	}
	if (result == PENSTOCK_PARSE_MORE)
		return true;
	return refuse(PENSTOCK_ERR_PROTOCOL, ERRCODE_PROTOCOL_VIOLATION,
				  result == PENSTOCK_PARSE_TOO_LARGE ?
				  "frame from the sidecar is too large" :
				  "frame from the sidecar is malformed");
}

/*
 * Everything that has to be looked at after a wake-up.  False if the session
 * is over.
 */
static bool
serve(void)
{
	TimestampTz now;

	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
	now = GetCurrentTimestamp();
	if (self.me->hold_until > now || !penstock_enabled)
	{
		send_error(PENSTOCK_ERR_LEAVING, ERRCODE_OBJECT_IN_USE,
				   penstock_enabled ?
				   "a command needs the worker out of its database" :
				   "workers are disabled", "", 0);
		leave();
	}
	if (passed(self.housekeeping_at, now, HOUSEKEEPING) && !housekeeping(now))
		return false;
	return !penstock_link_is_open() || receive_frames();
}

/*
 * Called by the output plugin's writer, in the middle of a transaction: sends
 * what the kernel takes; with more than limit bytes left, waits until half of
 * them are gone.
 */
void
penstock_worker_output(size_t limit)
{
	self.nested = true;
	if (!penstock_link_flush())
		leave();
	if (penstock_link_pending() > limit)
	{
		publish_position();
		do
		{
			penstock_link_wait(HOUSEKEEPING);
			if (!serve() || !penstock_link_flush())
				leave();
		} while (penstock_link_pending() > limit / 2);
	}
	CHECK_FOR_INTERRUPTS();
	self.nested = false;
}

/* Called now and then while the plugin skips changes. */
void
penstock_worker_progress(void)
{
	self.nested = true;
	if (!serve() || !penstock_link_flush())
		leave();
	self.nested = false;
}

static void
send_hello(void)
{
	uint8_t		frame[PENSTOCK_MAX_HELLO_FRAME];
	PenstockSlotInfo slot;
	PenstockHello hello;

	penstock_slot_info(self.me->slot_name, MyDatabaseId, &slot);
	memset(&hello, 0, sizeof(hello));
	hello.system_identifier = GetSystemIdentifier();
	hello.timeline = PenstockTimeLine();
	hello.server_version = PG_VERSION_NUM;
	hello.pid = (uint32_t) MyProcPid;
	hello.slot_state = (uint8_t) slot.state;
	hello.slot_confirmed = slot.confirmed;
	hello.slot_restart = slot.restart;
	hello.wal_flush = PenstockFlushLSN();
	hello.next_full_xid = U64FromFullTransactionId(ReadNextFullTransactionId());
	hello.database = self.me->database;
	hello.slot_name = self.me->slot_name;
	hello.extension_version = PENSTOCK_VERSION;
	penstock_link_append(frame, penstock_frame_hello(frame, sizeof(frame),
													 &hello));
}

static void
send_keepalive(TimestampTz now)
{
	uint8_t		frame[PENSTOCK_KEEPALIVE_SIZE];
	PenstockPosition *p = penstock_position();
	XLogRecPtr	decoded = self.streaming ? p->decoded : InvalidXLogRecPtr;
	bool		reply_wanted = self.streaming && p->acked < decoded &&
		passed(self.heard_at, now, KEEPALIVE_IDLE);

	penstock_link_append(frame,
						 penstock_frame_keepalive(frame, sizeof(frame),
												  decoded, PenstockFlushLSN(),
												  reply_wanted));
	self.ping_wanted = false;
	self.told_at = now;
	self.told_decoded = decoded;
	self.told_messages = p->messages;
}

/*
 * Sends a keepalive if one is due; otherwise lowers the timeout to when one
 * will be.
 */
static void
keepalive_if_due(bool caught_up, long *timeout)
{
	PenstockPosition *p = penstock_position();
	TimestampTz now = GetCurrentTimestamp();
	bool		moved = p->decoded > self.told_decoded;
	bool		behind_messages = caught_up &&
		p->messages != self.told_messages;

	if (penstock_link_pending() > KEEPALIVE_BACKLOG)
		return;
	if (self.ping_wanted || behind_messages ||
		passed(self.told_at, now,
			   moved ? KEEPALIVE_FOREIGN : KEEPALIVE_IDLE))
		send_keepalive(now);
	else if (moved)
		*timeout = Min(*timeout,
					   Max(1, KEEPALIVE_FOREIGN -
						   TimestampDifferenceMilliseconds(self.told_at, now)));
}

/*
 * Flushes WAL up to the last commit that did not wait for that, with at least
 * penstock.async_flush_interval between two flushes.  True if there is more to decode now.
 */
static bool
flush_async_commits(long *timeout)
{
	XLogRecPtr	target = pg_atomic_read_u64(&self.me->async_lsn);
	TimestampTz now;
	long		elapsed;

	if (target <= PenstockFlushLSN())
		return false;
	if (penstock_async_flush_interval < 0)
	{
		*timeout = Min(*timeout, WAL_WRITER_POLL);
		return false;
	}
	now = GetCurrentTimestamp();
	elapsed = TimestampDifferenceMilliseconds(self.async_flush_at, now);
	if (elapsed < penstock_async_flush_interval)
	{
		*timeout = Min(*timeout, penstock_async_flush_interval - elapsed);
		return false;
	}
	XLogFlush(target);
	self.async_flush_at = GetCurrentTimestamp();
	return true;
}

static void
release_slot(void)
{
	uint8_t		frame[PENSTOCK_RELEASED_SIZE];
	XLogRecPtr	sent = self.streaming ?
		Max(penstock_position()->sent, self.told_decoded) : InvalidXLogRecPtr;

	self.release_wanted = false;
	stop_streaming();
	penstock_link_append(frame, penstock_frame_released(frame, sizeof(frame),
														sent));
	set_state(PENSTOCK_STATE_HANDSHAKE);
}

/* One connection with the sidecar, from hello to its end. */
static void
run_session(void)
{
	self.ping_wanted = self.release_wanted = false;
	self.heard_at = GetCurrentTimestamp();
	set_state(PENSTOCK_STATE_HANDSHAKE);
	send_hello();
	while (serve())
	{
		bool		caught_up = true;
		long		timeout = HOUSEKEEPING;

		if (self.streaming)
		{
			caught_up = penstock_decode_some();
			if (caught_up && flush_async_commits(&timeout))
				caught_up = false;
			if (caught_up && penstock_position()->flush < PenstockFlushLSN())
				timeout = Min(timeout, STANDBY_POLL);
			keepalive_if_due(caught_up, &timeout);
			publish_position();
		}
		else if (self.ping_wanted &&
				 penstock_link_pending() <= KEEPALIVE_BACKLOG)
			send_keepalive(GetCurrentTimestamp());
		if (self.release_wanted)
			release_slot();
		if (!penstock_link_flush())
		{
			log_session(LOG, "sidecar has closed the connection");
			break;
		}
		if (caught_up)
			penstock_link_wait(timeout);
	}
	/* refused while it must not be unwound */
	if (self.nested)
		leave();
	stop_streaming();
	penstock_link_close();
	SpinLockAcquire(&self.me->mutex);
	self.me->connected = false;
	self.me->buffered = 0;
	SpinLockRelease(&self.me->mutex);
}

static void
wait_latch(long timeout_ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 timeout_ms, PenstockWaitEvent());
	ResetLatch(MyLatch);
}

/* Waits until it is time to look for the sidecar again. */
static void
wait_between(void)
{
	TimestampTz begin = GetCurrentTimestamp();
	long		delay = (long) FIRST_RECONNECT << Min(self.attempts, 12);

	self.attempts++;
	if (self.me->state != PENSTOCK_STATE_SLOT_MISSING &&
		self.me->state != PENSTOCK_STATE_SLOT_LOST)
		set_state(self.attempts > 1 ? PENSTOCK_STATE_WAITING :
				  PENSTOCK_STATE_BACKING_OFF);
	for (;;)
	{
		long		left;

		(void) serve();
		left = Min(delay, penstock_reconnect_interval) -
			TimestampDifferenceMilliseconds(begin, GetCurrentTimestamp());
		if (left <= 0)
			break;
		wait_latch(Min(left, HOUSEKEEPING));
	}
}

/* Sessions, one after the other, for ever. */
static void
run(void)
{
	char		why[PENSTOCK_LAST_ERROR];
	uint32		uid;

	for (;;)
	{
		(void) serve();
		if (penstock_link_connect(&uid, why, sizeof(why)))
		{
			SpinLockAcquire(&self.me->mutex);
			self.me->peer_uid = uid;
			self.me->connected = true;
			self.me->connections++;
			SpinLockRelease(&self.me->mutex);
			run_session();
		}
		else
		{
			penstock_note_error(self.me, ERRCODE_CONNECTION_FAILURE, why);
			log_session(LOG, why);
		}
		wait_between();
	}
}

/*
 * Waits, connected to no database, for as long as there is a reason to stay
 * out of it.
 */
static void
wait_outside(void)
{
	PenstockWorker *me = self.me;
	TimestampTz begin = GetCurrentTimestamp();

	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();
		int			delay = me->failures < 2 ? 0 :
			Min(500 << Min(me->failures, 10), MAX_FAILURE_DELAY);

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		if (!penstock_enabled)
			set_state(PENSTOCK_STATE_DISABLED);
		else if (me->hold_until > now)
			set_state(PENSTOCK_STATE_STARTING);
		else if (me->absent && !passed(begin, now, ABSENT_DELAY))
			set_state(PENSTOCK_STATE_NO_DATABASE);
		else if (delay > 0 && !passed(begin, now, delay))
			set_state(PENSTOCK_STATE_BACKING_OFF);
		else
			break;
		wait_latch(HOUSEKEEPING);
	}
	set_state(PENSTOCK_STATE_STARTING);
}

/* The forms of values that PROTOCOL.md promises. */
static void
pin_settings(void)
{
	static const char *const settings[][2] = {
		{"datestyle", "ISO, DMY"},
		{"intervalstyle", "postgres"},
		{"timezone", "UTC"},
		{"extra_float_digits", "1"},
		{"bytea_output", "hex"},
		{"search_path", "pg_catalog, pg_temp"},
		{"client_encoding", "UTF8"},
		{"statement_timeout", "0"},
		{"lock_timeout", "0"},
		{"transaction_timeout", "0"},	/* since 17 */
		{"xmlbinary", "base64"}
	};

	StartTransactionCommand();
	for (size_t i = 0; i < lengthof(settings); i++)
	{
		if (strcmp(settings[i][0], "client_encoding") == 0 &&
			GetDatabaseEncoding() == PG_SQL_ASCII)
			continue;
		if (GetConfigOption(settings[i][0], true, false) == NULL)
			continue;
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET,
						PGC_S_OVERRIDE);
	}
	CommitTransactionCommand();
}

/* Keeps an error for the view and tells the sidecar, before it ends us. */
static void
report_failure(void)
{
	MemoryContext previous = MemoryContextSwitchTo(TopMemoryContext);
	ErrorData  *error = CopyErrorData();
	PenstockWorker *me = self.me;

	SpinLockAcquire(&me->mutex);
	me->failures++;
	if (error->sqlerrcode == ERRCODE_PROGRAM_LIMIT_EXCEEDED ||
		error->sqlerrcode == ERRCODE_OUT_OF_MEMORY)
		me->careful = true;
	SpinLockRelease(&me->mutex);
	penstock_note_error(me, error->sqlerrcode, error->message);
	send_error(PENSTOCK_ERR_DECODING, error->sqlerrcode, error->message,
			   error->hint ? error->hint : "", 0);
	FreeErrorData(error);
	MemoryContextSwitchTo(previous);
}

/* Makes this process known, and lets commits and commands wake it. */
static void
attach(PenstockWorker *me)
{
	self.me = me;
	on_shmem_exit(worker_gone, (Datum) 0);
	SpinLockAcquire(&me->mutex);
	me->pid = MyProcPid;
	SpinLockRelease(&me->mutex);
	me->latch = MyLatch;
	set_state(PENSTOCK_STATE_STARTING);
}

void
penstock_worker_main(Datum main_arg)
{
	PenstockWorker *me = &penstock_shared->workers[DatumGetInt32(main_arg)];

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	pqsignal(SIGINT, SIG_IGN);
	BackgroundWorkerUnblockSignals();
	attach(me);
	wait_outside();

	self.connecting = true;
	BackgroundWorkerInitializeConnection(me->database, NULL, 0);
	self.connecting = false;
	me->dboid = MyDatabaseId;
	CreateAuxProcessResourceOwner();
	pin_settings();
	CurrentResourceOwner = AuxProcessResourceOwner;
	PG_TRY();
	{
		if (me->drop_slot)
		{
			me->drop_slot = false;
			if (SearchNamedReplicationSlot(me->slot_name, true) != NULL)
				ReplicationSlotDrop(me->slot_name, true);
		}
		run();
	}
	PG_CATCH();
	{
		report_failure();
		PG_RE_THROW();
	}
	PG_END_TRY();
}
