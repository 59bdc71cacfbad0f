/*-------------------------------------------------------------------------
 *
 * compat.h
 *		One spelling for what differs between PostgreSQL 14 and 18.
 *
 * All tests of PG_VERSION_NUM are here; the code elsewhere does not know the
 * version.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENSTOCK_COMPAT_H
#define PENSTOCK_COMPAT_H

#include "postgres.h"

#include "access/xlog.h"
#include "access/xlogutils.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "replication/logical.h"
#include "replication/slot.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/wait_event.h"

#if PG_VERSION_NUM < 140000 || PG_VERSION_NUM >= 190000
#error "penstock supports PostgreSQL 14 to 18"
#endif

/* Named module magic: 18. */
#if PG_VERSION_NUM >= 180000
#define PENSTOCK_MODULE_MAGIC(module_version) \
	PG_MODULE_MAGIC_EXT(.name = "penstock", .version = module_version)
#else
#define PENSTOCK_MODULE_MAGIC(module_version)	PG_MODULE_MAGIC
#endif

/* Reserved GUC prefixes: 15. */
#if PG_VERSION_NUM >= 150000
#define PenstockReserveGUCPrefix(prefix)	MarkGUCPrefixReserved(prefix)
#else
#define PenstockReserveGUCPrefix(prefix)	EmitWarningsOnPlaceholders(prefix)
#endif

/* Shared memory is asked for in a hook: 15. */
#if PG_VERSION_NUM >= 150000
#define PENSTOCK_HAVE_SHMEM_REQUEST_HOOK	1
#endif

/* The end of durable WAL, and the timeline it is on: 15. */
static inline XLogRecPtr
PenstockFlushLSN(void)
{
#if PG_VERSION_NUM >= 150000
	return GetFlushRecPtr(NULL);
#else
	return GetFlushRecPtr();
#endif
}

static inline TimeLineID
PenstockTimeLine(void)
{
#if PG_VERSION_NUM >= 150000
	return GetWALInsertionTimeLine();
#else
	/* sets ThisTimeLineID in a process that has not looked yet */
	(void) RecoveryInProgress();
	return ThisTimeLineID;
#endif
}

static inline void
PenstockReadDetermineTimeline(XLogReaderState *state, XLogRecPtr page,
							  uint32 len)
{
#if PG_VERSION_NUM >= 150000
	XLogReadDetermineTimeline(state, page, len, PenstockTimeLine());
#else
	(void) PenstockTimeLine();
	XLogReadDetermineTimeline(state, page, len);
#endif
}

/* The progress callback learnt about skipped transactions: 15. */
#if PG_VERSION_NUM >= 150000
#define PENSTOCK_PROGRESS_ARGS \
	struct LogicalDecodingContext *ctx, XLogRecPtr lsn, TransactionId xid, \
	bool skipped_xact
#else
#define PENSTOCK_PROGRESS_ARGS \
	struct LogicalDecodingContext *ctx, XLogRecPtr lsn, TransactionId xid
#endif

/* Has the server given the slot's WAL up?  The cause is an enum from 16 on. */
static inline bool
PenstockSlotIsInvalidated(const ReplicationSlotPersistentData *data)
{
#if PG_VERSION_NUM >= 160000
	return data->invalidated != RS_INVAL_NONE;
#else
	return XLogRecPtrIsInvalid(data->restart_lsn) &&
		!XLogRecPtrIsInvalid(data->invalidated_at);
#endif
}

static inline const char *
PenstockSlotInvalidationCause(const ReplicationSlotPersistentData *data)
{
#if PG_VERSION_NUM >= 160000
	if (data->invalidated == RS_INVAL_HORIZON)
		return "rows it needs were removed";
	if (data->invalidated == RS_INVAL_WAL_LEVEL)
		return "wal_level was lowered";
#endif
#if PG_VERSION_NUM >= 180000
	if (data->invalidated == RS_INVAL_IDLE_TIMEOUT)
		return "it was idle for longer than idle_replication_slot_timeout";
#endif
	(void) data;
	return "WAL it needs was removed";
}

/* An invalid slot is refused while acquiring: 18. */
static inline void
PenstockSlotAcquire(const char *name)
{
#if PG_VERSION_NUM >= 180000
	ReplicationSlotAcquire(name, true, true);
#else
	ReplicationSlotAcquire(name, true);
#endif
}

/*
 * A failover slot must not deliver what its standbys do not have yet: 17.
 */
static inline bool
PenstockStandbysHave(XLogRecPtr lsn)
{
#if PG_VERSION_NUM >= 170000
	if (MyReplicationSlot != NULL && MyReplicationSlot->data.failover)
		return StandbySlotsHaveCaughtup(lsn, DEBUG1);
#endif
	(void) lsn;
	return true;
}

/* Event sets belong to a resource owner: 17. */
static inline WaitEventSet *
PenstockCreateWaitEventSet(int nevents)
{
#if PG_VERSION_NUM >= 170000
	return CreateWaitEventSet(NULL, nevents);
#else
	return CreateWaitEventSet(TopMemoryContext, nevents);
#endif
}

/* Named wait events of extensions: 17. */
static inline uint32
PenstockWaitEvent(void)
{
#if PG_VERSION_NUM >= 170000
	static uint32 event = 0;

	if (event == 0)
		event = WaitEventExtensionNew("PenstockWorker");
	return event;
#else
	return PG_WAIT_EXTENSION;
#endif
}

/* Ownership checks of any object: 16. */
static inline bool
PenstockOwnsDatabase(Oid dboid)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(DatabaseRelationId, dboid, GetUserId());
#else
	return pg_database_ownercheck(dboid, GetUserId());
#endif
}

/* Set-returning functions that fill a tuplestore: 15, and named so from 16. */
#if PG_VERSION_NUM >= 160000
#define PenstockInitSRF(fcinfo)		InitMaterializedSRF(fcinfo, 0)
#elif PG_VERSION_NUM >= 150000
#define PenstockInitSRF(fcinfo)		SetSingleFuncCall(fcinfo, 0)
#else
#define PENSTOCK_OWN_SRF	1
extern void PenstockInitSRF(FunctionCallInfo fcinfo);
#endif

#endif							/* PENSTOCK_COMPAT_H */
