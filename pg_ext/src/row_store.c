/*-------------------------------------------------------------------------
 *
 * row_store.c
 *		Reading and writing single rows of shadow and tombstone tables.
 *
 * The rows are found by a scan of the primary key with a dirty snapshot and
 * written straight through the table access method, as the apply worker of
 * logical replication does.  Compared with a statement through SPI there is no
 * executor start and no plan; permissions are not checked, which is wanted:
 * the roles of an application have no rights on these tables.  Triggers on the
 * tables are not fired.
 *
 * Two backends that write the row of one key wait for each other: an update
 * waits for the row, an insert is speculative and finds the other one.  In
 * both cases the caller is told to look again, so it always computes from the
 * newest version, whatever the isolation level.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/snapmgr.h"

#include "row_compat.h"
#include "row_triggers.h"

/*
 * Opens the table and its key.  Companion tables change together with their
 * main table, which the caller has locked.
 */
void
penstock_store_open(PenstockStore *store, const PenstockTarget *target)
{
	store->target = target;
	store->rel = table_open(target->relid, RowExclusiveLock);
	if (RelationGetNumberOfAttributes(store->rel) != target->natts)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" was changed while it was written to",
						RelationGetRelationName(store->rel)),
				 errhint("Repeat the transaction.")));
	store->index = index_open(target->pkindex, RowExclusiveLock);
	store->old = table_slot_create(store->rel, NULL);
	store->new = MakeSingleTupleTableSlot(RelationGetDescr(store->rel),
										  &TTSOpsVirtual);
}

/* The locks stay until the end of the transaction. */
void
penstock_store_close(PenstockStore *store)
{
	ExecDropSingleTupleTableSlot(store->new);
	ExecDropSingleTupleTableSlot(store->old);
	index_close(store->index, NoLock);
	table_close(store->rel, NoLock);
}

/*
 * Looks for the row with the key of a main row, waiting for transactions that
 * are about to insert, change or remove it.  The row is in store->old.
 */
bool
penstock_store_find(PenstockStore *store, const Datum *main_values)
{
	const PenstockTarget *target = store->target;
	ScanKeyData key[INDEX_MAX_KEYS];
	IndexScanDesc scan;
	SnapshotData snapshot;
	bool		found;

	memcpy(key, target->key, sizeof(ScanKeyData) * target->nkeys);
	for (int i = 0; i < target->nkeys; i++)
	{
		key[i].sk_argument = main_values[target->key_main[i] - 1];
		key[i].sk_func.fn_mcxt = CurrentMemoryContext;
	}

	InitDirtySnapshot(snapshot);
	scan = PenstockIndexBeginScan(store->rel, store->index, &snapshot,
								  target->nkeys);
	for (;;)
	{
		TransactionId xwait;

		CHECK_FOR_INTERRUPTS();
		index_rescan(scan, key, target->nkeys, NULL, 0);
		found = index_getnext_slot(scan, ForwardScanDirection, store->old);
		if (!found)
			break;
		xwait = TransactionIdIsValid(snapshot.xmin) ?
			snapshot.xmin : snapshot.xmax;
		if (!TransactionIdIsValid(xwait))
			break;
		ExecClearTuple(store->old);
		if (snapshot.speculativeToken != 0)
			SpeculativeInsertionWait(xwait, snapshot.speculativeToken);
		else
			XactLockTableWait(xwait, NULL, NULL, XLTW_None);
	}
	index_endscan(scan);
	return found;
}

/*
 * Like penstock_store_find(), and locks the row against writers.
 */
bool
penstock_store_lock(PenstockStore *store, const Datum *main_values)
{
	while (penstock_store_find(store, main_values))
	{
		ItemPointerData tid = store->old->tts_tid;
		TM_FailureData tmfd;
		TM_Result	result;

		PushActiveSnapshot(GetLatestSnapshot());
		result = table_tuple_lock(store->rel, &tid, GetActiveSnapshot(),
								  store->old, GetCurrentCommandId(false),
								  LockTupleExclusive, LockWaitBlock, 0, &tmfd);
		PopActiveSnapshot();
		if (result == TM_Ok)
			return true;
		if (result != TM_Updated && result != TM_Deleted)
			elog(ERROR, "unexpected result %d of locking a row of \"%s\"",
				 (int) result, RelationGetRelationName(store->rel));
	}
	return false;
}

/*
 * Enters the row just inserted into the primary key, the only index of the
 * table.  False if the key may be there already.
 */
static bool
insert_key(PenstockStore *store)
{
	IndexInfo  *info = BuildIndexInfo(store->index);
	Datum		values[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];

	FormIndexDatum(info, store->new, NULL, values, nulls);
	return index_insert(store->index, values, nulls, &store->new->tts_tid,
						store->rel, UNIQUE_CHECK_PARTIAL, false, info);
}

/* The same by way of the executor, for a table to which indexes were added. */
static bool
insert_keys(PenstockStore *store)
{
	EState	   *estate = CreateExecutorState();
	ResultRelInfo *rri = makeNode(ResultRelInfo);
	List	   *arbiters = list_make1_oid(store->target->pkindex);
	bool		conflict = false;

	InitResultRelInfo(rri, store->rel, 0, NULL, 0);
	ExecOpenIndices(rri, true);
	(void) PenstockInsertIndexTuplesArbiter(rri, store->new, estate,
											&conflict, arbiters);
	ExecCloseIndices(rri);
	FreeExecutorState(estate);
	return !conflict;
}

/*
 * Inserts store->new.  False if a row with that key exists or is being
 * inserted; the caller should look for it.
 */
bool
penstock_store_insert(PenstockStore *store)
{
	TransactionId xid = GetCurrentTransactionId();
	List	   *indexes = RelationGetIndexList(store->rel);
	bool		inserted;
	uint32		token;

	token = SpeculativeInsertionLockAcquire(xid);
	table_tuple_insert_speculative(store->rel, store->new,
								   GetCurrentCommandId(true), 0, NULL, token);
	if (list_length(indexes) == 1 && store->index->rd_index->indimmediate)
		inserted = insert_key(store);
	else
		inserted = insert_keys(store);
	table_tuple_complete_speculative(store->rel, store->new, token, inserted);
	SpeculativeInsertionLockRelease(xid);
	list_free(indexes);
	if (inserted)
		CommandCounterIncrement();
	return inserted;
}

/*
 * Replaces store->old by store->new.  False if another transaction was faster;
 * the caller should look for the row again.
 */
bool
penstock_store_update(PenstockStore *store)
{
	TM_FailureData tmfd;
	LockTupleMode lockmode;
	PenstockUpdateIndexes which;
	TM_Result	result;

	result = table_tuple_update(store->rel, &store->old->tts_tid, store->new,
								GetCurrentCommandId(true), InvalidSnapshot,
								InvalidSnapshot, true, &tmfd, &lockmode,
								&which);
	if (result == TM_Updated || result == TM_Deleted)
		return false;
	if (result != TM_Ok)
		elog(ERROR, "unexpected result %d of an update of \"%s\"",
			 (int) result, RelationGetRelationName(store->rel));

	if (PenstockAnyIndexes(which))
	{
		EState	   *estate = CreateExecutorState();
		ResultRelInfo *rri = makeNode(ResultRelInfo);

		InitResultRelInfo(rri, store->rel, 0, NULL, 0);
		ExecOpenIndices(rri, false);
		(void) PenstockInsertIndexTuples(rri, store->new, estate, which);
		ExecCloseIndices(rri);
		FreeExecutorState(estate);
	}
	CommandCounterIncrement();
	return true;
}
