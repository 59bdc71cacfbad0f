/*-------------------------------------------------------------------------
 *
 * fk_chain.c
 *		Announces the rows that the rows written by a statement refer to.
 *
 * After each INSERT or UPDATE, the foreign keys of the new rows are followed
 * upwards through electrified tables, and each row that is found is put into
 * the stream as a logical message of the transaction, once for the statement.
 * Rows are told apart by table and position, so cycles end and the cost is
 * linear in the number of rows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/hsearch.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

#include "row_compat.h"
#include "row_triggers.h"

#define FK_CHAIN_PREFIX		"electric.fk_chain_touch"

PG_FUNCTION_INFO_V1(penstock_fk_chain_touch);

/* Identity of a row, the hash key of the visited set. */
typedef struct RowIdentity
{
	Oid			relid;
	ItemPointerData tid;
} RowIdentity;

/* A row whose own foreign keys are still to be followed. */
typedef struct Pending
{
	struct Pending *next;
	PenstockTable *table;
	HeapTuple	tuple;
} Pending;

typedef struct Walk
{
	MemoryContext context;		/* lives as long as the walk */
	MemoryContext row_context;	/* reset after each row */
	HTAB	   *visited;		/* made when the first row is found */
	Pending    *pending;
	Snapshot	snapshot;
	int			guc_level;		/* 0 until the display settings are made */
} Walk;

/* The text forms of values are those of the stream. */
static void
use_stream_settings(Walk *walk)
{
	static const char *const settings[][2] = {
		{"DateStyle", "ISO, DMY"},
		{"TimeZone", "UTC"},
		{"IntervalStyle", "postgres"},
		{"bytea_output", "hex"},
		{"extra_float_digits", "1"},
	};

	if (walk->guc_level != 0)
		return;
	walk->guc_level = NewGUCNestLevel();
	for (size_t i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1], PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
								 false);
}

/* Finds one row by a unique index. */
static bool
find_row(Relation rel, Relation index, ScanKey key, int nkeys,
		 Snapshot snapshot, TupleTableSlot *slot)
{
	IndexScanDesc scan = PenstockIndexBeginScan(rel, index, snapshot, nkeys);
	bool		found;

	index_rescan(scan, key, nkeys, NULL, 0);
	found = index_getnext_slot(scan, ForwardScanDirection, slot);
	if (found)
		ExecMaterializeSlot(slot);
	index_endscan(scan);
	return found;
}

static void
append_text(StringInfo json, Oid type, Datum value, bool is_null)
{
	Oid			output;
	bool		is_varlena;

	if (is_null)
	{
		appendStringInfoString(json, "null");
		return;
	}
	getTypeOutputInfo(type, &output, &is_varlena);
	escape_json(json, OidOutputFunctionCall(output, value));
}

/* The tags of a row; a row without a shadow row has the tag of the epoch. */
static void
append_tags(StringInfo json, Walk *walk, PenstockTable *table,
			TupleTableSlot *row)
{
	Relation	shadow = table_open(table->shadow.relid, AccessShareLock);
	Relation	index = index_open(table->shadow.pkindex, AccessShareLock);
	TupleTableSlot *slot = table_slot_create(shadow, NULL);
	ScanKeyData key[INDEX_MAX_KEYS];
	Datum		tags = (Datum) 0;
	bool		is_null = true;

	memcpy(key, table->shadow.key, sizeof(ScanKeyData) * table->shadow.nkeys);
	for (int i = 0; i < table->shadow.nkeys; i++)
	{
		key[i].sk_argument = row->tts_values[table->shadow.key_main[i] - 1];
		key[i].sk_func.fn_mcxt = CurrentMemoryContext;
	}
	if (find_row(shadow, index, key, table->shadow.nkeys, walk->snapshot,
				 slot))
		tags = slot_getattr(slot, table->tags, &is_null);

	appendStringInfoChar(json, '[');
	if (is_null)
		escape_json(json, "(\"1970-01-01 00:00:00+00\",)");
	else
	{
		Datum	   *datums;
		bool	   *nulls;
		int			n;

		deconstruct_array(DatumGetArrayTypeP(tags), table->tag_type, -1, false,
						  TYPALIGN_DOUBLE, &datums, &nulls, &n);
		for (int i = 0; i < n; i++)
		{
			if (i > 0)
				appendStringInfoChar(json, ',');
			append_text(json, table->tag_type, datums[i], nulls[i]);
		}
	}
	appendStringInfoChar(json, ']');

	ExecDropSingleTupleTableSlot(slot);
	index_close(index, NoLock);
	table_close(shadow, NoLock);
}

static void
announce(Walk *walk, PenstockTable *table, Relation rel, TupleTableSlot *row)
{
	TupleDesc	desc = RelationGetDescr(rel);
	StringInfoData json;

	use_stream_settings(walk);
	initStringInfo(&json);
	appendStringInfoString(&json, "{\"schema\":");
	escape_json(&json, table->nspname);
	appendStringInfoString(&json, ",\"table\":");
	escape_json(&json, table->relname);
	appendStringInfoString(&json, ",\"tags\":");
	append_tags(&json, walk, table, row);
	appendStringInfoString(&json, ",\"data\":{");
	for (int i = 0; i < table->ncolumns; i++)
	{
		int			at = table->columns[i].attno - 1;

		if (i > 0)
			appendStringInfoChar(&json, ',');
		escape_json(&json, NameStr(TupleDescAttr(desc, at)->attname));
		appendStringInfoChar(&json, ':');
		append_text(&json, TupleDescAttr(desc, at)->atttypid,
					row->tts_values[at], row->tts_isnull[at]);
	}
	appendStringInfoString(&json, "},\"pk\":[");
	for (int i = 0; i < table->main.nkeys; i++)
	{
		int			at = table->main.key_attno[i] - 1;

		if (i > 0)
			appendStringInfoChar(&json, ',');
		append_text(&json, TupleDescAttr(desc, at)->atttypid,
					row->tts_values[at], row->tts_isnull[at]);
	}
	appendStringInfoString(&json, "]}");
	PenstockLogMessage(FK_CHAIN_PREFIX, json.data, json.len);
}

/* True the first time a row is seen. */
static bool
visit(Walk *walk, Oid relid, ItemPointer tid)
{
	RowIdentity identity;
	bool		found;

	if (walk->visited == NULL)
	{
		HASHCTL		ctl;

		memset(&ctl, 0, sizeof(ctl));
		ctl.keysize = sizeof(RowIdentity);
		ctl.entrysize = sizeof(RowIdentity);
		ctl.hcxt = walk->context;
		walk->visited = hash_create("penstock rows announced", 256, &ctl,
									HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	memset(&identity, 0, sizeof(identity));
	identity.relid = relid;
	identity.tid = *tid;
	hash_search(walk->visited, &identity, HASH_ENTER, &found);
	return !found;
}

/* Follows the foreign keys of one row, by one step. */
static void
follow(Walk *walk, PenstockTable *table, TupleTableSlot *row)
{
	MemoryContext old_context = MemoryContextSwitchTo(walk->row_context);

	slot_getallattrs(row);
	for (int i = 0; i < table->nforeign; i++)
	{
		const PenstockForeignKey *foreign = &table->foreign[i];
		ScanKeyData key[INDEX_MAX_KEYS];
		PenstockTable *parent;
		Relation	rel,
					index;
		TupleTableSlot *slot;
		bool		complete = true;

		memcpy(key, foreign->key, sizeof(ScanKeyData) * foreign->nkeys);
		for (int j = 0; j < foreign->nkeys && complete; j++)
		{
			int			at = foreign->child_attno[j] - 1;

			complete = !row->tts_isnull[at];
			key[j].sk_argument = row->tts_values[at];
			key[j].sk_func.fn_mcxt = CurrentMemoryContext;
		}
		if (!complete)
			continue;
		parent = penstock_table_find(foreign->parent);
		if (parent == NULL)
			continue;			/* not electrified */

		rel = table_open(foreign->parent, AccessShareLock);
		index = index_open(foreign->index, AccessShareLock);
		slot = table_slot_create(rel, NULL);
		if (find_row(rel, index, key, foreign->nkeys, walk->snapshot, slot) &&
			visit(walk, foreign->parent, &slot->tts_tid))
		{
			slot_getallattrs(slot);
			announce(walk, parent, rel, slot);
			if (parent->nforeign > 0)
			{
				Pending    *pending;

				MemoryContextSwitchTo(walk->context);
				pending = palloc(sizeof(Pending));
				pending->table = parent;
				pending->tuple = ExecCopySlotHeapTuple(slot);
				pending->next = walk->pending;
				walk->pending = pending;
				MemoryContextSwitchTo(walk->row_context);
			}
		}
		ExecDropSingleTupleTableSlot(slot);
		index_close(index, NoLock);
		table_close(rel, NoLock);
	}
	MemoryContextSwitchTo(old_context);
	MemoryContextReset(walk->row_context);
}

/* Follows the foreign keys of the rows found so far, until no more turn up. */
static void
follow_pending(Walk *walk)
{
	while (walk->pending != NULL)
	{
		Pending    *pending = walk->pending;
		Relation	rel = table_open(pending->table->main.relid,
									 AccessShareLock);
		TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(rel),
														&TTSOpsHeapTuple);

		CHECK_FOR_INTERRUPTS();
		walk->pending = pending->next;
		ExecStoreHeapTuple(pending->tuple, slot, false);
		follow(walk, pending->table, slot);
		ExecDropSingleTupleTableSlot(slot);
		heap_freetuple(pending->tuple);
		pfree(pending);
		table_close(rel, NoLock);
	}
}

/* AFTER INSERT or UPDATE of a statement, with the table of new rows. */
Datum
penstock_fk_chain_touch(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	PenstockTable *table;
	TupleTableSlot *slot;
	Walk		walk;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_FOR_STATEMENT(data->tg_event) ||
		!TRIGGER_FIRED_AFTER(data->tg_event) || data->tg_newtable == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called by an AFTER trigger of a statement with a table of new rows",
						"penstock.fk_chain_touch")));
	if (tuplestore_tuple_count(data->tg_newtable) == 0)
		return PointerGetDatum(NULL);
	table = penstock_table_get(data->tg_relation);
	if (table->nforeign == 0)
		return PointerGetDatum(NULL);

	memset(&walk, 0, sizeof(walk));
	walk.context = AllocSetContextCreate(CurrentMemoryContext,
										 "penstock foreign key walk",
										 ALLOCSET_DEFAULT_SIZES);
	walk.row_context = AllocSetContextCreate(walk.context,
											 "penstock foreign key row",
											 ALLOCSET_DEFAULT_SIZES);
	CommandCounterIncrement();	/* see the rows of the statement itself */
	PushActiveSnapshot(GetTransactionSnapshot());
	walk.snapshot = GetActiveSnapshot();

	slot = MakeSingleTupleTableSlot(RelationGetDescr(data->tg_relation),
									&TTSOpsMinimalTuple);
	tuplestore_select_read_pointer(data->tg_newtable,
								   tuplestore_alloc_read_pointer(data->tg_newtable,
																 EXEC_FLAG_REWIND));
	tuplestore_rescan(data->tg_newtable);
	while (tuplestore_gettupleslot(data->tg_newtable, true, false, slot))
	{
		CHECK_FOR_INTERRUPTS();
		follow(&walk, table, slot);
		follow_pending(&walk);
	}
	ExecDropSingleTupleTableSlot(slot);

	PopActiveSnapshot();
	if (walk.guc_level != 0)
		AtEOXact_GUC(true, walk.guc_level);
	MemoryContextDelete(walk.context);
	return PointerGetDatum(NULL);
}
