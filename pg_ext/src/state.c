/*-------------------------------------------------------------------------
 *
 * state.c
 *		Shared memory of the workers, and the functions behind the status view.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "funcapi.h"
#include "nodes/pg_list.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/elog.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "penstock.h"

PenstockShared *penstock_shared = NULL;

/* Names for the shared memory, kept from the start of the postmaster. */
static List *configured = NIL;

static shmem_startup_hook_type previous_startup = NULL;
#ifdef PENSTOCK_HAVE_SHMEM_REQUEST_HOOK
static shmem_request_hook_type previous_request = NULL;
#endif

PG_FUNCTION_INFO_V1(penstock_worker_status);
PG_FUNCTION_INFO_V1(penstock_wake);

static Size
shared_size(void)
{
	return add_size(offsetof(PenstockShared, workers),
					mul_size(list_length(configured),
							 sizeof(PenstockWorker)));
}

static void
request_shared(void)
{
#ifdef PENSTOCK_HAVE_SHMEM_REQUEST_HOOK
	if (previous_request)
		previous_request();
#endif
	RequestAddinShmemSpace(shared_size());
}

/*
 * The slot's name: the prefix, and the database's name in lower case with
 * everything else than a-z, 0-9 and underscore replaced by underscores, which
 * are then trimmed at both ends.
 */
static void
make_slot_name(char *slot_name, const char *database)
{
	size_t		prefix = strlcpy(slot_name, penstock_slot_prefix, NAMEDATALEN);
	char		name[NAMEDATALEN];
	char	   *begin = name;
	char	   *end;
	char	   *p;

	strlcpy(name, database, sizeof(name));
	for (p = name; *p != '\0'; p++)
	{
		if (*p >= 'A' && *p <= 'Z')
			*p = *p - 'A' + 'a';
		else if (!((*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9')))
			*p = '_';
	}
	while (*begin == '_')
		begin++;
	for (end = p; end > begin && end[-1] == '_'; end--)
		end[-1] = '\0';
	strlcpy(slot_name + prefix, begin, NAMEDATALEN - prefix);
}

static void
init_worker(PenstockWorker *worker, const char *database)
{
	memset(worker, 0, sizeof(*worker));
	strlcpy(worker->database, database, NAMEDATALEN);
	make_slot_name(worker->slot_name, database);
	pg_atomic_init_u64(&worker->async_lsn, 0);
	ConditionVariableInit(&worker->left);
	SpinLockInit(&worker->mutex);
	worker->state_since = GetCurrentTimestamp();
}

static void
startup_shared(void)
{
	bool		found;
	ListCell   *cell;

	if (previous_startup)
		previous_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	penstock_shared = ShmemInitStruct("penstock", shared_size(), &found);
	if (!found)
	{
		penstock_shared->nworkers = list_length(configured);
		foreach(cell, configured)
			init_worker(&penstock_shared->workers[foreach_current_index(cell)],
						(char *) lfirst(cell));
	}
	LWLockRelease(AddinShmemInitLock);
}

/* Called in the postmaster while libraries are preloaded. */
void
penstock_state_init(List *databases)
{
	configured = databases;
#ifdef PENSTOCK_HAVE_SHMEM_REQUEST_HOOK
	previous_request = shmem_request_hook;
	shmem_request_hook = request_shared;
#else
	request_shared();
#endif
	previous_startup = shmem_startup_hook;
	shmem_startup_hook = startup_shared;
}

void
penstock_set_state(PenstockWorker *worker, PenstockState state)
{
	TimestampTz now;

	if (worker->state == state)
		return;
	now = GetCurrentTimestamp();
	SpinLockAcquire(&worker->mutex);
	worker->state = state;
	worker->state_since = now;
	SpinLockRelease(&worker->mutex);
}

/* Keeps what went wrong for the status view. */
void
penstock_note_error(PenstockWorker *worker, int sqlstate, const char *text)
{
	TimestampTz now = GetCurrentTimestamp();

	SpinLockAcquire(&worker->mutex);
	worker->errors++;
	worker->error_at = now;
	worker->error_sqlstate = sqlstate;
	strlcpy(worker->error_text, text, sizeof(worker->error_text));
	SpinLockRelease(&worker->mutex);
}

/* Looks at a slot from outside; dboid is the database it should be of. */
void
penstock_slot_info(const char *slot_name, Oid dboid, PenstockSlotInfo *info)
{
	ReplicationSlotPersistentData data;
	ReplicationSlot *slot;

	memset(info, 0, sizeof(*info));
	info->state = PENSTOCK_SLOT_ABSENT;
	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	slot = SearchNamedReplicationSlot(slot_name, false);
	if (slot != NULL)
	{
		SpinLockAcquire(&slot->mutex);
		data = slot->data;
		info->active_pid = (int) slot->active_pid;
		SpinLockRelease(&slot->mutex);
	}
	LWLockRelease(ReplicationSlotControlLock);
	if (slot == NULL)
		return;
	info->usable = data.persistency == RS_PERSISTENT &&
		strcmp(NameStr(data.plugin), "pgoutput") == 0 &&
		(!OidIsValid(dboid) || data.database == dboid);
	if (PenstockSlotIsInvalidated(&data))
	{
		info->state = PENSTOCK_SLOT_INVALIDATED;
		info->invalidation = PenstockSlotInvalidationCause(&data);
		return;
	}
	info->state = PENSTOCK_SLOT_PRESENT;
	info->confirmed = data.confirmed_flush;
	info->restart = data.restart_lsn;
}

const char *
penstock_state_name(PenstockState state)
{
	switch (state)
	{
		case PENSTOCK_STATE_STOPPED:
			return "stopped";
		case PENSTOCK_STATE_STARTING:
			return "starting";
		case PENSTOCK_STATE_WAITING:
			return "waiting for sidecar";
		case PENSTOCK_STATE_HANDSHAKE:
			return "handshake";
		case PENSTOCK_STATE_STREAMING:
			return "streaming";
		case PENSTOCK_STATE_BACKING_OFF:
			return "backing off";
		case PENSTOCK_STATE_SLOT_MISSING:
			return "slot missing";
		case PENSTOCK_STATE_SLOT_LOST:
			return "slot lost";
		case PENSTOCK_STATE_STALLED:
			return "stalled";
		case PENSTOCK_STATE_NO_DATABASE:
			return "no database";
		case PENSTOCK_STATE_DISABLED:
			return "disabled";
	}
	return "unknown";
}

static const char *
slot_state_name(const PenstockSlotInfo *info)
{
	switch (info->state)
	{
		case PENSTOCK_SLOT_ABSENT:
			return "absent";
		case PENSTOCK_SLOT_PRESENT:
			return info->active_pid != 0 ? "active" : "present";
		case PENSTOCK_SLOT_INVALIDATED:
			return "invalidated";
	}
	return "unknown";
}

#ifdef PENSTOCK_OWN_SRF
/* What core offers to set-returning functions from 15 on. */
void
PenstockInitSRF(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext previous;
	TupleDesc	desc;

	if (rsinfo == NULL || !IsA(rsinfo, ReturnSetInfo) ||
		(rsinfo->allowedModes & SFRM_Materialize) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-valued function called in context that cannot accept a set")));
	previous = MemoryContextSwitchTo(rsinfo->econtext->ecxt_per_query_memory);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	rsinfo->returnMode = SFRM_Materialize;
	rsinfo->setResult = tuplestore_begin_heap(true, false, work_mem);
	rsinfo->setDesc = desc;
	MemoryContextSwitchTo(previous);
}
#endif

#define STATUS_COLUMNS	24

static void
set_lsn(Datum *values, bool *nulls, int column, XLogRecPtr lsn)
{
	values[column] = LSNGetDatum(lsn);
	nulls[column] = XLogRecPtrIsInvalid(lsn);
}

static void
set_time(Datum *values, bool *nulls, int column, TimestampTz time)
{
	values[column] = TimestampTzGetDatum(time);
	nulls[column] = time == 0;
}

/* One row of the status view. */
static void
put_status_row(ReturnSetInfo *rsinfo, PenstockWorker *shared)
{
	Datum		values[STATUS_COLUMNS];
	bool		nulls[STATUS_COLUMNS];
	PenstockWorker w;
	PenstockSlotInfo slot;
	XLogRecPtr	flush = RecoveryInProgress() ? InvalidXLogRecPtr :
		PenstockFlushLSN();

	SpinLockAcquire(&shared->mutex);
	w = *shared;
	SpinLockRelease(&shared->mutex);
	penstock_slot_info(w.slot_name, w.dboid, &slot);

	memset(nulls, 0, sizeof(nulls));
	values[0] = CStringGetTextDatum(w.database);
	values[1] = Int32GetDatum(w.pid);
	nulls[1] = w.pid == 0;
	values[2] = CStringGetTextDatum(penstock_state_name(w.state));
	set_time(values, nulls, 3, w.state_since);
	values[4] = CStringGetTextDatum(w.slot_name);
	values[5] = CStringGetTextDatum(slot_state_name(&slot));
	values[6] = Int32GetDatum(slot.active_pid);
	nulls[6] = slot.active_pid == 0;
	values[7] = Int64GetDatum((int64) w.peer_uid);
	nulls[7] = !w.connected;
	set_lsn(values, nulls, 8, slot.restart);
	set_lsn(values, nulls, 9, slot.confirmed);
	set_lsn(values, nulls, 10, w.acked_lsn);
	set_lsn(values, nulls, 11, w.sent_lsn);
	set_lsn(values, nulls, 12, w.decoded_lsn);
	set_lsn(values, nulls, 13, flush);
	values[14] = Int64GetDatum((int64) (flush - slot.restart));
	nulls[14] = XLogRecPtrIsInvalid(slot.restart) || flush < slot.restart;
	values[15] = Int64GetDatum((int64) (flush - slot.confirmed));
	nulls[15] = XLogRecPtrIsInvalid(slot.confirmed) || flush < slot.confirmed;
	values[16] = Int64GetDatum((int64) w.buffered);
	values[17] = Int64GetDatum((int64) w.messages);
	values[18] = Int64GetDatum((int64) w.message_bytes);
	values[19] = Int64GetDatum((int64) w.connections);
	values[20] = Int64GetDatum((int64) w.errors);
	set_time(values, nulls, 21, w.error_at);
	values[22] = CStringGetTextDatum(unpack_sql_state(w.error_sqlstate));
	nulls[22] = w.error_at == 0;
	values[23] = CStringGetTextDatum(w.error_text);
	nulls[23] = w.error_at == 0;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * penstock.worker_status(): one row for each worker.  A server that has none
 * gets one row whose state says why.
 */
Datum
penstock_worker_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int			i;

	PenstockInitSRF(fcinfo);
	if (penstock_shared == NULL || penstock_shared->nworkers == 0)
	{
		Datum		values[STATUS_COLUMNS] = {0};
		bool		nulls[STATUS_COLUMNS];

		memset(nulls, true, sizeof(nulls));
		values[2] = CStringGetTextDatum(penstock_shared == NULL ?
										"not preloaded" : "not configured");
		nulls[2] = false;
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
		return (Datum) 0;
	}
	for (i = 0; i < penstock_shared->nworkers; i++)
		put_status_row(rsinfo, &penstock_shared->workers[i]);
	return (Datum) 0;
}

/*
 * penstock.wake(): makes the worker of the current database try again now,
 * whatever it waits for.  True if there is one.
 */
Datum
penstock_wake(PG_FUNCTION_ARGS)
{
	char	   *database = get_database_name(MyDatabaseId);
	bool		found = false;
	int			i;

	for (i = 0; penstock_shared != NULL && i < penstock_shared->nworkers; i++)
	{
		PenstockWorker *worker = &penstock_shared->workers[i];
		Latch	   *latch;

		if (database == NULL || strcmp(worker->database, database) != 0)
			continue;
		SpinLockAcquire(&worker->mutex);
		worker->failures = 0;
		worker->absent = false;
		SpinLockRelease(&worker->mutex);
		latch = worker->latch;
		if (latch != NULL)
			SetLatch(latch);
		found = latch != NULL;
	}
	PG_RETURN_BOOL(found);
}
