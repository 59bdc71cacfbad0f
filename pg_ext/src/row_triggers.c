/*-------------------------------------------------------------------------
 *
 * row_triggers.c
 *		Trigger functions of main and shadow tables, see row_triggers.h.
 *
 * The functions take no arguments: everything about a table comes from the
 * catalogue.  They keep nothing in memory that a rolled back subtransaction
 * would have to undo.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "row_triggers.h"

PG_FUNCTION_INFO_V1(penstock_save_tombstone);
PG_FUNCTION_INFO_V1(penstock_postgres_write_upsert);
PG_FUNCTION_INFO_V1(penstock_postgres_write_delete);
PG_FUNCTION_INFO_V1(penstock_postgres_write_truncate);
PG_FUNCTION_INFO_V1(penstock_satellite_write_reorder);
PG_FUNCTION_INFO_V1(penstock_satellite_shadow_insert);
PG_FUNCTION_INFO_V1(penstock_satellite_shadow_resolve);

/*
 * Who makes the write that fired the present trigger, and at which trigger
 * depth.  A write at top level in a session of the replica role is a client's;
 * one made by a trigger of the user inside such a transaction is Postgres'.
 */
PenstockWriter
penstock_writer(int *depth)
{
	const char *role;
	bool		replica;

	*depth = DatumGetInt32(DirectFunctionCall1(pg_trigger_depth, (Datum) 0));
	if (penstock_client_is_writing(*depth))
		return PENSTOCK_WRITER_RESOLVE;
	if (*depth > 1)
		return PENSTOCK_WRITER_POSTGRES;
	role = GetConfigOption("electric.session_replication_role", true, false);
	if (role != NULL && role[0] != '\0')
		replica = strcmp(role, "replica") == 0;
	else
		replica = SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA;
	return replica ? PENSTOCK_WRITER_CLIENT : PENSTOCK_WRITER_POSTGRES;
}

static TriggerData *
trigger_data(FunctionCallInfo fcinfo, const char *name, bool for_row)
{
	TriggerData *data = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called by a trigger", name)));
	if (for_row ? !TRIGGER_FIRED_FOR_ROW(data->tg_event) :
		!TRIGGER_FIRED_FOR_STATEMENT(data->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was called by a trigger of the wrong kind",
						name)));
	return data;
}

static void
deform(Relation rel, HeapTuple tuple, Datum **values, bool **nulls)
{
	int			natts = RelationGetNumberOfAttributes(rel);

	*values = (Datum *) palloc(sizeof(Datum) * natts);
	*nulls = (bool *) palloc(sizeof(bool) * natts);
	heap_deform_tuple(tuple, RelationGetDescr(rel), *values, *nulls);
}

/* A key without a value is refused as the main table would refuse it. */
static void
check_key(const PenstockTable *table, Relation rel, const bool *nulls)
{
	for (int i = 0; i < table->main.nkeys; i++)
	{
		AttrNumber	attno = table->main.key_main[i];

		if (nulls[attno - 1])
			ereport(ERROR,
					(errcode(ERRCODE_NOT_NULL_VIOLATION),
					 errmsg("null value in column \"%s\" of relation \"%s\" violates not-null constraint",
							NameStr(TupleDescAttr(RelationGetDescr(rel),
												  attno - 1)->attname),
							RelationGetRelationName(rel)),
					 errtablecol(rel, attno)));
	}
}

/* What a row trigger returns: the row as it is, if that matters. */
static Datum
unchanged(TriggerData *data)
{
	if (!TRIGGER_FIRED_BEFORE(data->tg_event))
		return PointerGetDatum(NULL);
	return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(data->tg_event) ?
						   data->tg_newtuple : data->tg_trigtuple);
}

/* AFTER DELETE on a main table: keeps the value of the row. */
Datum
penstock_save_tombstone(PG_FUNCTION_ARGS)
{
	TriggerData *data = trigger_data(fcinfo, "penstock.save_tombstone", true);
	Relation	rel = data->tg_relation;
	Datum	   *values;
	bool	   *nulls;

	deform(rel, data->tg_trigtuple, &values, &nulls);
	penstock_bury(penstock_table_get(rel), values, nulls);
	return unchanged(data);
}

/* INSERT OR UPDATE on a main table: stamps rows written by Postgres. */
Datum
penstock_postgres_write_upsert(PG_FUNCTION_ARGS)
{
	TriggerData *data = trigger_data(fcinfo, "penstock.postgres_write_upsert",
									 true);
	Relation	rel = data->tg_relation;
	PenstockTable *table;
	Datum	   *values,
			   *old_values;
	bool	   *nulls,
			   *old_nulls,
			   *changed;
	bool		key_changed = false;
	int			depth;

	if (penstock_writer(&depth) != PENSTOCK_WRITER_POSTGRES)
		return unchanged(data);
	table = penstock_table_get(rel);
	if (TRIGGER_FIRED_BY_INSERT(data->tg_event))
	{
		deform(rel, data->tg_trigtuple, &values, &nulls);
		check_key(table, rel, nulls);
		penstock_stamp_write(table, values, NULL);
		return unchanged(data);
	}

	deform(rel, data->tg_trigtuple, &old_values, &old_nulls);
	deform(rel, data->tg_newtuple, &values, &nulls);
	check_key(table, rel, nulls);
	changed = (bool *) palloc(sizeof(bool) * (table->ncolumns + 1));
	for (int i = 0; i < table->ncolumns; i++)
	{
		const PenstockColumn *column = &table->columns[i];
		int			at = column->attno - 1;

		changed[i] = !penstock_column_equal(column, values[at], nulls[at],
											old_values[at], old_nulls[at]);
		if (changed[i] && column->is_key)
			key_changed = true;
	}
	if (key_changed)
	{
		/* the row of the old key is gone, that of the new key is new */
		penstock_stamp_delete(table, old_values);
		penstock_bury(table, old_values, old_nulls);
		penstock_stamp_write(table, values, NULL);
	}
	else
		penstock_stamp_write(table, values, changed);
	return unchanged(data);
}

/* DELETE on a main table: marks rows deleted by Postgres. */
Datum
penstock_postgres_write_delete(PG_FUNCTION_ARGS)
{
	TriggerData *data = trigger_data(fcinfo, "penstock.postgres_write_delete",
									 true);
	Relation	rel = data->tg_relation;
	Datum	   *values;
	bool	   *nulls;
	int			depth;

	if (penstock_writer(&depth) != PENSTOCK_WRITER_POSTGRES)
		return unchanged(data);
	deform(rel, data->tg_trigtuple, &values, &nulls);
	penstock_stamp_delete(penstock_table_get(rel), values);
	return unchanged(data);
}

/* BEFORE TRUNCATE on a main table: like a delete of every row. */
Datum
penstock_postgres_write_truncate(PG_FUNCTION_ARGS)
{
	TriggerData *data = trigger_data(fcinfo,
									 "penstock.postgres_write_truncate", false);
	Relation	rel = data->tg_relation;
	PenstockTable *table = penstock_table_get(rel);
	MemoryContext row_context,
				old_context;
	TupleTableSlot *slot;
	TableScanDesc scan;
	Snapshot	snapshot;

	if (!TRIGGER_FIRED_BY_TRUNCATE(data->tg_event) ||
		!TRIGGER_FIRED_BEFORE(data->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was called by a trigger of the wrong kind",
						"penstock.postgres_write_truncate")));

	row_context = AllocSetContextCreate(CurrentMemoryContext,
										"penstock truncate",
										ALLOCSET_DEFAULT_SIZES);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	slot = table_slot_create(rel, NULL);
	scan = table_beginscan(rel, snapshot, 0, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		old_context = MemoryContextSwitchTo(row_context);
		penstock_bury(table, slot->tts_values, slot->tts_isnull);
		penstock_stamp_delete(table, slot->tts_values);
		MemoryContextSwitchTo(old_context);
		MemoryContextReset(row_context);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	MemoryContextDelete(row_context);
	return PointerGetDatum(NULL);
}

/* BEFORE INSERT OR UPDATE on a main table: parks the changes of clients. */
Datum
penstock_satellite_write_reorder(PG_FUNCTION_ARGS)
{
	TriggerData *data = trigger_data(fcinfo, "penstock.satellite_write_reorder",
									 true);
	Relation	rel = data->tg_relation;
	PenstockTable *table;
	Datum	   *values;
	bool	   *nulls;
	int			depth;

	if (penstock_writer(&depth) != PENSTOCK_WRITER_CLIENT ||
		!TRIGGER_FIRED_BEFORE(data->tg_event))
		return unchanged(data);
	table = penstock_table_get(rel);
	deform(rel, TRIGGER_FIRED_BY_UPDATE(data->tg_event) ?
		   data->tg_newtuple : data->tg_trigtuple, &values, &nulls);
	check_key(table, rel, nulls);
	penstock_client_park(table, values, nulls);
	return PointerGetDatum(NULL);
}

/*
 * BEFORE INSERT on a shadow table: carries out the change whose values are
 * parked.  The insert itself does not happen.
 */
Datum
penstock_satellite_shadow_insert(PG_FUNCTION_ARGS)
{
	TriggerData *data = trigger_data(fcinfo, "penstock.satellite_shadow_insert",
									 true);
	Relation	rel = data->tg_relation;
	PenstockTable *table;
	Datum	   *values;
	bool	   *nulls;
	int			depth;

	if (penstock_writer(&depth) != PENSTOCK_WRITER_CLIENT ||
		!TRIGGER_FIRED_BEFORE(data->tg_event))
		return unchanged(data);
	table = penstock_table_get_by_shadow(rel);
	deform(rel, data->tg_trigtuple, &values, &nulls);
	if (!nulls[table->reordering - 1])
		return unchanged(data);
	for (int i = 0; i < table->shadow.nkeys; i++)
		if (nulls[table->shadow.key_attno[i] - 1])
			return unchanged(data);	/* the table will refuse it */
	penstock_client_apply(table, depth, values, nulls);
	return PointerGetDatum(NULL);
}

/*
 * BEFORE UPDATE on a shadow table.  Changes are resolved by the insert; this
 * trigger exists because both forms of the row triggers have the same names.
 */
Datum
penstock_satellite_shadow_resolve(PG_FUNCTION_ARGS)
{
	return unchanged(trigger_data(fcinfo, "penstock.satellite_shadow_resolve",
								  true));
}
