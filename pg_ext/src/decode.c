/*-------------------------------------------------------------------------
 *
 * decode.c
 *		The replication slot, and logical decoding into the link's buffer.
 *
 * The slot is held from penstock_decode_begin() to penstock_decode_end().
 * Decoding runs outside of a transaction, as in a walsender: the reorder
 * buffer then starts one for each transaction it replays.
 *
 * The page reader never waits.  When the WAL that a record needs is not
 * durable yet, reading stops and starts at the same record again later, so
 * that all waiting is done in one place, the worker's loop.  The only other
 * wait is for room in the output buffer, from within the output plugin.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/xact.h"
#include "access/xlog_internal.h"
#include "access/xlogreader.h"
#include "catalog/pg_publication.h"
#include "mb/pg_wchar.h"
#include "nodes/makefuncs.h"
#include "replication/decode.h"
#include "replication/logical.h"
#include "replication/slot.h"
#include "storage/proc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/varlena.h"

#include "penstock.h"

/* Unsent bytes at which the output goes to the kernel. */
#define FLUSH_BYTES		(128 * 1024)

/* Records decoded before the worker looks around. */
#define RECORD_BUDGET	1000

static struct
{
	PenstockWorker *worker;
	LogicalDecodingContext *ctx;
	MemoryContext context;		/* all of one session */
	ResourceOwner owner;
	bool		in_message;
	int			message_begin;	/* in the output buffer */
	bool		each_alone;		/* send each message before the next */
	PenstockPosition position;
} decoder;

PenstockPosition *
penstock_position(void)
{
	return &decoder.position;
}

/*
 * Reads a WAL page, if enough of it is durable.  -1 stops the reader without
 * an error.
 */
static int
read_page(XLogReaderState *state, XLogRecPtr page, int wanted,
		  XLogRecPtr record, char *buffer)
{
	WALReadError error;
	XLogSegNo	segment;
	XLogRecPtr	limit;
	int			count;

	PenstockReadDetermineTimeline(state, page, wanted);
	if (decoder.position.flush < page + wanted)
	{
		XLogRecPtr	flush = PenstockFlushLSN();

		if (PenstockStandbysHave(flush))
			decoder.position.flush = flush;
		if (decoder.position.flush < page + wanted)
			return -1;
	}
	limit = decoder.position.flush;
	if (state->currTLI != PenstockTimeLine())
		limit = Min(limit, state->currTLIValidUntil);
	if (limit < page + wanted)
		return -1;
	count = (int) Min((XLogRecPtr) XLOG_BLCKSZ, limit - page);
	if (!WALRead(state, buffer, page, count, state->currTLI, &error))
		WALReadRaiseError(&error);

	/* the segment may have been recycled while we read it */
	XLByteToSeg(page, segment, state->segcxt.ws_segsize);
	CheckXLogRemoved(segment, state->seg.ws_tli);
	return count;
}

/* The plugin is about to write a message: leave room for the header. */
static void
prepare_write(LogicalDecodingContext *ctx, XLogRecPtr lsn, TransactionId xid,
			  bool last_write)
{
	StringInfo	out = ctx->out;

	penstock_link_make_room();
	enlargeStringInfo(out, PENSTOCK_FRAME_HEADER);
	decoder.message_begin = out->len;
	decoder.in_message = true;
	out->len += PENSTOCK_FRAME_HEADER;
}

/* The plugin has written a message: make it a frame, send when it pays. */
static void
do_write(LogicalDecodingContext *ctx, XLogRecPtr lsn, TransactionId xid,
		 bool last_write)
{
	StringInfo	out = ctx->out;
	size_t		payload = (size_t) (out->len - decoder.message_begin -
									PENSTOCK_FRAME_HEADER);

	penstock_frame_header((uint8_t *) out->data + decoder.message_begin,
						  PENSTOCK_FRAME_MESSAGE, payload);
	decoder.in_message = false;
	decoder.position.messages++;
	decoder.position.message_bytes += payload;
	if (decoder.position.sent < lsn)
		decoder.position.sent = lsn;
	if (decoder.each_alone)
		penstock_worker_output(0);
	else if (penstock_link_pending() >= FLUSH_BYTES)
		penstock_worker_output((size_t) penstock_send_buffer * 1024);
}

static void
update_progress(PENSTOCK_PROGRESS_ARGS)
{
	penstock_worker_progress();
}

/* Says whether the slot can be used, by code and text. */
static bool
check_slot(PenstockWorker *worker, const PenstockIncoming *start,
		   uint16_t *code, char *why, size_t size)
{
	PenstockSlotInfo slot;
	XLogRecPtr	flush = PenstockFlushLSN();

	penstock_slot_info(worker->slot_name, MyDatabaseId, &slot);
	*code = 0;
	if (wal_level < WAL_LEVEL_LOGICAL)
	{
		*code = PENSTOCK_ERR_WAL_LEVEL;
		snprintf(why, size, "wal_level is not logical");
	}
	else if (GetDatabaseEncoding() == PG_SQL_ASCII)
	{
		*code = PENSTOCK_ERR_ENCODING;
		snprintf(why, size, "database \"%s\" has the encoding SQL_ASCII, its text cannot be converted to UTF-8",
				 worker->database);
	}
	else if (slot.state == PENSTOCK_SLOT_ABSENT)
	{
		*code = PENSTOCK_ERR_SLOT_MISSING;
		snprintf(why, size, "replication slot \"%s\" does not exist",
				 worker->slot_name);
	}
	else if (!slot.usable)
	{
		*code = PENSTOCK_ERR_SLOT_UNUSABLE;
		snprintf(why, size, "replication slot \"%s\" is not a permanent slot of this database with plugin pgoutput",
				 worker->slot_name);
	}
	else if (slot.state == PENSTOCK_SLOT_INVALIDATED)
	{
		*code = PENSTOCK_ERR_SLOT_INVALIDATED;
		snprintf(why, size, "replication slot \"%s\" is invalidated: %s",
				 worker->slot_name, slot.invalidation);
	}
	else if (slot.active_pid != 0)
	{
		*code = PENSTOCK_ERR_SLOT_IN_USE;
		snprintf(why, size, "replication slot \"%s\" is in use by process %d",
				 worker->slot_name, slot.active_pid);
	}
	else if (start->lsn != 0 && start->lsn < slot.confirmed)
	{
		*code = PENSTOCK_ERR_DATA_LOST;
		snprintf(why, size, "start position %X/%X is behind %X/%X, to which the slot has been confirmed",
				 LSN_FORMAT_ARGS(start->lsn), LSN_FORMAT_ARGS(slot.confirmed));
	}
	else if (start->lsn > flush)
	{
		*code = PENSTOCK_ERR_START_AHEAD;
		snprintf(why, size, "start position %X/%X is past the end of WAL at %X/%X",
				 LSN_FORMAT_ARGS(start->lsn), LSN_FORMAT_ARGS(flush));
	}
	return *code == 0;
}

/*
 * Says whether the publications exist.  Servers before 18 raise an error when
 * they decode the first change, later ones skip the publication with a warning:
 * its changes would pass unseen and be confirmed.
 */
static bool
check_publications(const PenstockIncoming *start, char *why, size_t size)
{
	List	   *names = NIL;
	ListCell   *cell;
	bool		found = true;

	StartTransactionCommand();
	/* what is wrong with the list itself is for the plugin to say */
	if (SplitIdentifierString(pnstrdup(start->publications,
									   start->publications_len), ',', &names))
	{
		foreach(cell, names)
		{
			if (!OidIsValid(get_publication_oid((char *) lfirst(cell), true)))
			{
				snprintf(why, size, "publication \"%s\" does not exist",
						 (char *) lfirst(cell));
				found = false;
				break;
			}
		}
	}
	CommitTransactionCommand();
	CurrentResourceOwner = AuxProcessResourceOwner;
	return found;
}

static DefElem *
option(const char *name, const char *value)
{
	return makeDefElem(pstrdup(name), (Node *) makeString(pstrdup(value)), -1);
}

/* The options of pgoutput that a start frame asks for. */
static List *
plugin_options(const PenstockIncoming *start)
{
	char		version[8];
	List	   *options;

	snprintf(version, sizeof(version), "%u", start->proto_version);
	options = list_make2(option("proto_version", version),
						 option("publication_names",
								pnstrdup(start->publications,
										 start->publications_len)));
	if (start->flags & PENSTOCK_START_MESSAGES)
		options = lappend(options, option("messages", "true"));
	if (start->flags & PENSTOCK_START_STREAMING)
		options = lappend(options, option("streaming", "on"));
	return options;
}

/*
 * Takes the slot and starts decoding.  False if the slot cannot be used, with
 * a code and a text; errors of the server itself are raised.
 */
bool
penstock_decode_begin(PenstockWorker *worker, const PenstockIncoming *start,
					  uint16_t *code, int *sqlstate, char *why, size_t size)
{
	MemoryContext previous;
	XLogRecPtr	confirmed;

	*sqlstate = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
	if (!check_slot(worker, start, code, why, size))
		return false;
	if (!check_publications(start, why, size))
	{
		*code = PENSTOCK_ERR_DECODING;
		*sqlstate = ERRCODE_UNDEFINED_OBJECT;
		return false;
	}
	decoder.worker = worker;
	decoder.owner = CurrentResourceOwner;
	decoder.context = AllocSetContextCreate(TopMemoryContext,
											"penstock session",
											ALLOCSET_DEFAULT_SIZES);
	previous = MemoryContextSwitchTo(decoder.context);
	PenstockSlotAcquire(worker->slot_name);
	CheckLogicalDecodingRequirements();
	InvalidateSystemCaches();
	confirmed = MyReplicationSlot->data.confirmed_flush;
	decoder.ctx = CreateDecodingContext(start->lsn, plugin_options(start),
										false,
										XL_ROUTINE(.page_read = read_page,
												   .segment_open = wal_segment_open,
												   .segment_close = wal_segment_close),
										prepare_write, do_write,
										update_progress);
	decoder.ctx->out = penstock_link_out();
	XLogBeginRead(decoder.ctx->reader, MyReplicationSlot->data.restart_lsn);
	MemoryContextSwitchTo(previous);

	memset(&decoder.position, 0, sizeof(decoder.position));
	decoder.position.start = Max(start->lsn, confirmed);
	decoder.position.decoded = decoder.position.start;
	decoder.position.sent = decoder.position.start;
	decoder.position.acked = confirmed;
	decoder.in_message = false;
	decoder.each_alone = worker->careful;
	return true;
}

/*
 * Decodes what is there, up to a budget.  True if there is nothing more.
 *
 * The WAL reader keeps what it allocates from one record to the next, so there
 * is no shorter context for a record; the reorder buffer and the plugin have
 * short-lived contexts of their own for transactions and changes.
 */
bool
penstock_decode_some(void)
{
	LogicalDecodingContext *ctx = decoder.ctx;
	MemoryContext previous = MemoryContextSwitchTo(decoder.context);
	bool		caught_up = false;
	int			i;

	for (i = 0; i < RECORD_BUDGET; i++)
	{
		char	   *error = NULL;
		XLogRecord *record = XLogReadRecord(ctx->reader, &error);
		XLogRecPtr	end;

		if (error != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("could not read WAL at %X/%X: %s",
							LSN_FORMAT_ARGS(ctx->reader->EndRecPtr), error)));
		if (record == NULL)
		{
			caught_up = true;
			break;
		}
		LogicalDecodingProcessRecord(ctx, ctx->reader);

		/* the end of a replayed transaction takes both away */
		CurrentResourceOwner = decoder.owner;
		MemoryContextSwitchTo(decoder.context);
		end = Min(ctx->reader->EndRecPtr, decoder.position.flush);
		if (decoder.position.decoded < end)
			decoder.position.decoded = end;
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextSwitchTo(previous);
	return caught_up;
}

/* The sidecar has stored everything up to here. */
void
penstock_decode_confirm(XLogRecPtr lsn)
{
	if (lsn <= decoder.position.acked)
		return;
	decoder.position.acked = lsn;
	LogicalConfirmReceivedLocation(lsn);
}

/* Takes back a message that an error has cut short. */
void
penstock_decode_drop_partial(void)
{
	StringInfo	out = penstock_link_out();

	if (!decoder.in_message)
		return;
	out->len = decoder.message_begin;
	out->data[out->len] = '\0';
	decoder.in_message = false;
}

/* Lets the slot go. */
void
penstock_decode_end(void)
{
	if (decoder.ctx == NULL)
		return;
	FreeDecodingContext(decoder.ctx);
	decoder.ctx = NULL;
	ReplicationSlotRelease();
	InvalidateSystemCaches();
	CurrentResourceOwner = decoder.owner;
	MemoryContextDelete(decoder.context);
	decoder.context = NULL;
}
