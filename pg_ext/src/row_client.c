/*-------------------------------------------------------------------------
 *
 * row_client.c
 *		Changes made by clients: parked, then resolved.
 *
 * The first half of a change, an insert into the main table, is not carried
 * out: its values are parked in the shadow row.  The second half, an insert
 * into the shadow table, brings the tags.  It settles the shadow row first and
 * then writes the main row, so that a trigger of the user that writes to the
 * same row in its turn finds everything in order.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/transam.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "row_triggers.h"

/*
 * While a resolved change is written to the main table: the trigger depth of
 * that write.  Deeper ones are made by triggers of the user.  Zero otherwise.
 */
static int	applying_depth = 0;

bool
penstock_client_is_writing(int depth)
{
	return applying_depth != 0 && depth == applying_depth;
}

/*
 * Parks the values of a change in the shadow row.  The main row is locked
 * first, as a write by Postgres does, so that the two do not wait for each
 * other.
 */
void
penstock_client_park(const PenstockTable *table, const Datum *values,
					 const bool *nulls)
{
	PenstockStore main;
	PenstockStore store;
	bool		locked = false;
	bool		done = false;

	penstock_store_open(&main, &table->main);
	penstock_store_open(&store, &table->shadow);
	while (!done)
	{
		TupleTableSlot *slot = store.new;
		bool		present;

		if (!locked)
			locked = penstock_store_lock(&main, values);
		present = penstock_store_find(&store, values);
		/* the row may have come while the shadow row was waited for */
		if (!locked && present && penstock_store_find(&main, values))
			continue;

		ExecClearTuple(slot);
		if (present)
		{
			slot_getallattrs(store.old);
			memcpy(slot->tts_values, store.old->tts_values,
				   sizeof(Datum) * table->shadow.natts);
			memcpy(slot->tts_isnull, store.old->tts_isnull,
				   sizeof(bool) * table->shadow.natts);
		}
		else
		{
			memset(slot->tts_isnull, true, sizeof(bool) * table->shadow.natts);
			for (int i = 0; i < table->shadow.nkeys; i++)
			{
				AttrNumber	to = table->shadow.key_attno[i];

				slot->tts_values[to - 1] =
					values[table->shadow.key_main[i] - 1];
				slot->tts_isnull[to - 1] = false;
			}
			slot->tts_values[table->tags - 1] = penstock_tags_empty(table);
			slot->tts_isnull[table->tags - 1] = false;
			slot->tts_values[table->is_delete - 1] = BoolGetDatum(false);
			slot->tts_isnull[table->is_delete - 1] = false;
		}
		slot->tts_values[table->reordering - 1] = BoolGetDatum(true);
		slot->tts_isnull[table->reordering - 1] = false;
		for (int i = 0; i < table->ncolumns; i++)
		{
			const PenstockColumn *column = &table->columns[i];

			if (column->is_key)
				continue;
			slot->tts_values[column->parked - 1] = values[column->attno - 1];
			slot->tts_isnull[column->parked - 1] = nulls[column->attno - 1];
		}
		ExecStoreVirtualTuple(slot);
		done = present ? penstock_store_update(&store) :
			penstock_store_insert(&store);
	}
	penstock_store_close(&store);
	penstock_store_close(&main);
}

/* "column" = $n AND ... over the key, with the operators of the index. */
static void
append_key_condition(StringInfo sql, const PenstockTable *table, int parameter)
{
	for (int i = 0; i < table->main.nkeys; i++)
	{
		const ScanKeyData *key = &table->main.key[i];
		char	   *name = get_attname(table->main.relid,
									   table->main.key_attno[i], false);
		Oid			intype = key->sk_subtype;
		TypeCacheEntry *type = lookup_type_cache(intype, TYPECACHE_EQ_OPR);
		Oid			operator = type->eq_opr;

		appendStringInfo(sql, "%s%s OPERATOR(%s.%s) $%d",
						 i == 0 ? "" : " AND ", quote_identifier(name),
						 quote_identifier(get_namespace_name(get_func_namespace(key->sk_func.fn_oid))),
						 OidIsValid(operator) ? get_opname(operator) : "=",
						 parameter + i);
	}
}

static SPIPlanPtr
prepare(const char *sql, int nargs, Oid *types)
{
	SPIPlanPtr	plan = SPI_prepare(sql, nargs, types);

	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "could not prepare \"%s\": %s", sql,
			 SPI_result_code_string(SPI_result));
	return plan;
}

/* Prepares the three ways to write the main row.  Must be inside SPI. */
static void
prepare_plans(PenstockTable *table)
{
	StringInfoData sql,
				names,
				parameters;
	Oid			types[MaxHeapAttributeNumber];
	char	   *target = quote_qualified_identifier(table->nspname,
													table->relname);
	int			n = 0;

	initStringInfo(&sql);
	initStringInfo(&names);
	initStringInfo(&parameters);

	if (table->insert_plan == NULL)
	{
		for (int i = 0; i < table->ncolumns; i++)
		{
			AttrNumber	attno = table->columns[i].attno;

			if (!table->columns[i].insertable)
				continue;
			types[n] = get_atttype(table->main.relid, attno);
			appendStringInfo(&names, "%s%s", n == 0 ? "" : ", ",
							 quote_identifier(get_attname(table->main.relid,
														  attno, false)));
			appendStringInfo(&parameters, "%s$%d", n == 0 ? "" : ", ", n + 1);
			n++;
		}
		appendStringInfo(&sql,
						 "INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE VALUES (%s)",
						 target, names.data, parameters.data);
		table->insert_plan = prepare(sql.data, n, types);
	}

	for (int i = 0; i < table->main.nkeys; i++)
		types[i] = get_atttype(table->main.relid, table->main.key_attno[i]);
	if (table->delete_plan == NULL)
	{
		resetStringInfo(&sql);
		appendStringInfo(&sql, "DELETE FROM ONLY %s WHERE ", target);
		append_key_condition(&sql, table, 1);
		table->delete_plan = prepare(sql.data, table->main.nkeys, types);
	}

	if (table->update_plan == NULL)
	{
		n = 0;
		resetStringInfo(&sql);
		appendStringInfo(&sql, "UPDATE ONLY %s SET ", target);
		for (int i = 0; i < table->ncolumns; i++)
		{
			const PenstockColumn *column = &table->columns[i];

			if (column->is_key || !column->updatable)
				continue;
			types[table->main.nkeys + n] =
				get_atttype(table->main.relid, column->attno);
			appendStringInfo(&sql, "%s%s = $%d", n == 0 ? "" : ", ",
							 quote_identifier(get_attname(table->main.relid,
														  column->attno,
														  false)),
							 table->main.nkeys + n + 1);
			n++;
		}
		if (n == 0)
		{
			char	   *name = get_attname(table->main.relid,
										   table->main.key_attno[0], false);

			/* the row has to appear in the stream all the same */
			appendStringInfo(&sql, "%s = %s", quote_identifier(name),
							 quote_identifier(name));
		}
		appendStringInfoString(&sql, " WHERE ");
		append_key_condition(&sql, table, 1);
		table->update_plan = prepare(sql.data, table->main.nkeys + n, types);
	}
}

static int
execute(SPIPlanPtr plan, Datum *values, char *nulls, int expected)
{
	int			result = SPI_execute_plan(plan, values, nulls, false, 0);

	if (result != expected)
		elog(ERROR, "a write of a client's change failed: %s",
			 SPI_result_code_string(result));
	return result;
}

typedef enum MainWrite
{
	MAIN_INSERT,
	MAIN_UPDATE,
	MAIN_DELETE
} MainWrite;

/*
 * Writes the main row, with the rights of the owner of the shadow table: who
 * may write shadow rows is not required to have rights on the main table.
 * Triggers of the user see the search path of the session.
 */
static void
write_main(PenstockTable *table, int depth, MainWrite what,
		   const Datum *row, const bool *row_nulls)
{
	Datum		values[MaxHeapAttributeNumber];
	char		nulls[MaxHeapAttributeNumber];
	Oid			user;
	int			context;
	int			n = 0;

	if (what != MAIN_INSERT)
		for (int i = 0; i < table->main.nkeys; i++)
		{
			values[n] = row[table->main.key_attno[i] - 1];
			nulls[n++] = ' ';
		}
	if (what != MAIN_DELETE)
		for (int i = 0; i < table->ncolumns; i++)
		{
			const PenstockColumn *column = &table->columns[i];

			if (what == MAIN_INSERT ? !column->insertable :
				(column->is_key || !column->updatable))
				continue;
			values[n] = row[column->attno - 1];
			nulls[n++] = row_nulls[column->attno - 1] ? 'n' : ' ';
		}

	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(table->shadow.owner,
						   context | SECURITY_LOCAL_USERID_CHANGE);
	applying_depth = depth + 1;
	PG_TRY();
	{
		if (SPI_connect() != SPI_OK_CONNECT)
			elog(ERROR, "could not connect to SPI");
		if (table->insert_plan == NULL || table->update_plan == NULL ||
			table->delete_plan == NULL)
			prepare_plans(table);
		switch (what)
		{
			case MAIN_INSERT:
				execute(table->insert_plan, values, nulls, SPI_OK_INSERT);
				break;
			case MAIN_UPDATE:
				execute(table->update_plan, values, nulls, SPI_OK_UPDATE);
				break;
			case MAIN_DELETE:
				execute(table->delete_plan, values, nulls, SPI_OK_DELETE);
				break;
		}
		SPI_finish();
	}
	PG_FINALLY();
	{
		applying_depth = 0;
		SetUserIdAndSecContext(user, context);
	}
	PG_END_TRY();
}

/* The bit of each column outside the key that the change has set. */
static bool *
read_mask(const PenstockTable *table, Datum mask, bool is_null)
{
	bool	   *result = palloc0(sizeof(bool) * (table->nmask + 1));
	Datum	   *datums;
	bool	   *nulls;
	int			n;

	if (is_null)
		return result;
	deconstruct_array(DatumGetArrayTypeP(mask), BOOLOID, 1, true,
					  TYPALIGN_CHAR, &datums, &nulls, &n);
	for (int i = 0; i < n && i < table->nmask; i++)
		result[i] = !nulls[i] && DatumGetBool(datums[i]);
	return result;
}

/* A value that stays readable when the row it was read from is replaced. */
static Datum
keep_value(Datum value, const PenstockColumn *column)
{
	if (column->byval)
		return value;
	if (column->len == -1 &&
		VARATT_IS_EXTERNAL((struct varlena *) DatumGetPointer(value)))
		return PointerGetDatum(detoast_external_attr((struct varlena *)
													 DatumGetPointer(value)));
	return datumCopy(value, false, column->len);
}

/*
 * Reads the present row with the key of "row" from the main or the tombstone
 * table into row, by main attribute numbers.
 */
static bool
read_present(const PenstockTable *table, const PenstockTarget *target,
			 Datum *row, bool *nulls)
{
	PenstockStore store;
	bool		found;

	penstock_store_open(&store, target);
	found = penstock_store_find(&store, row);
	if (found)
	{
		slot_getallattrs(store.old);
		for (int i = 0; i < table->ncolumns; i++)
		{
			const PenstockColumn *column = &table->columns[i];
			AttrNumber	from = target->from_main[column->attno - 1];

			if (column->is_key || from == 0)
				continue;
			nulls[column->attno - 1] = store.old->tts_isnull[from - 1];
			if (nulls[column->attno - 1])
				continue;
			/* a toast pointer of the main row itself stays as it is */
			row[column->attno - 1] = target == &table->main ?
				datumCopy(store.old->tts_values[from - 1], column->byval,
						  column->len) :
				keep_value(store.old->tts_values[from - 1], column);
		}
	}
	penstock_store_close(&store);
	return found;
}

/*
 * Carries out the second half of a change: the arguments are the row that was
 * to be inserted into the shadow table.  A row that was never parked is left
 * alone: a trigger of the user has vetoed the first half.
 */
void
penstock_client_apply(PenstockTable *table, int depth,
					  const Datum *in, const bool *in_nulls)
{
	PenstockStore store;
	int			natts = table->main.natts;
	Datum	   *row = palloc0(sizeof(Datum) * natts);
	bool	   *nulls = palloc(sizeof(bool) * natts);
	Datum	   *parked = palloc0(sizeof(Datum) * natts);
	bool	   *parked_nulls = palloc(sizeof(bool) * natts);
	bool	   *taken = palloc0(sizeof(bool) * natts);
	bool	   *mask;
	bool		is_delete = !in_nulls[table->is_delete - 1] &&
		DatumGetBool(in[table->is_delete - 1]);
	bool		is_empty = false,
				exists;
	PenstockTag tag;
	bool		done = false;

	penstock_tag_read(table, in[table->tag - 1], in_nulls[table->tag - 1],
					  &tag);
	if (tag.is_null)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("a change of a client has no tag")));
	memset(nulls, true, sizeof(bool) * natts);
	for (int i = 0; i < table->shadow.nkeys; i++)
	{
		AttrNumber	from = table->shadow.key_attno[i];
		AttrNumber	to = table->shadow.key_main[i];

		row[to - 1] = in[from - 1];
		nulls[to - 1] = false;
	}
	mask = read_mask(table, in[table->modified - 1],
					 in_nulls[table->modified - 1]);

	penstock_store_open(&store, &table->shadow);
	while (!done)
	{
		TupleTableSlot *slot = store.new;

		if (!penstock_store_find(&store, row))
		{
			penstock_store_close(&store);
			return;
		}
		slot_getallattrs(store.old);
		if (store.old->tts_isnull[table->reordering - 1] ||
			!DatumGetBool(store.old->tts_values[table->reordering - 1]))
		{
			penstock_store_close(&store);
			return;
		}
		ExecClearTuple(slot);
		memcpy(slot->tts_values, store.old->tts_values,
			   sizeof(Datum) * table->shadow.natts);
		memcpy(slot->tts_isnull, store.old->tts_isnull,
			   sizeof(bool) * table->shadow.natts);

#define SET(attno, value) \
		(slot->tts_values[(attno) - 1] = (value), \
		 slot->tts_isnull[(attno) - 1] = false)
#define CLEAR(attno) \
		(slot->tts_isnull[(attno) - 1] = true)

		SET(table->tags,
			penstock_tags_resolve(table,
								  store.old->tts_values[table->tags - 1],
								  store.old->tts_isnull[table->tags - 1],
								  in[table->observed - 1],
								  in_nulls[table->observed - 1],
								  in[table->tag - 1], is_delete, &is_empty));
		SET(table->tag, in[table->tag - 1]);
		SET(table->is_delete, BoolGetDatum(is_delete));
		SET(table->resolved, BoolGetDatum(true));
		SET(table->last_modified,
			Int64GetDatum((int64) U64FromFullTransactionId(GetTopFullTransactionId())));
		CLEAR(table->observed);
		CLEAR(table->modified);
		CLEAR(table->reordering);
		for (int i = 0; i < table->ncolumns; i++)
		{
			const PenstockColumn *column = &table->columns[i];
			int			at = column->attno - 1;
			PenstockTag present;

			if (column->is_key)
				continue;
			parked_nulls[at] = store.old->tts_isnull[column->parked - 1];
			if (!parked_nulls[at])
				parked[at] =
					keep_value(store.old->tts_values[column->parked - 1],
							   column);
			CLEAR(column->parked);

			penstock_tag_read(table, store.old->tts_values[column->tag - 1],
							  store.old->tts_isnull[column->tag - 1],
							  &present);
			taken[at] = !is_delete && mask[column->mask] &&
				(present.is_null || penstock_tag_compare(&tag, &present) >= 0);
			if (taken[at])
				SET(column->tag, in[table->tag - 1]);
		}
		ExecStoreVirtualTuple(slot);
		done = penstock_store_update(&store);
	}
	penstock_store_close(&store);

	exists = read_present(table, &table->main, row, nulls);
	if (!is_empty)
	{
		bool		known = exists ||
			read_present(table, &table->tombstone, row, nulls);

		for (int i = 0; i < table->ncolumns; i++)
		{
			int			at = table->columns[i].attno - 1;

			if (table->columns[i].is_key || (known && !taken[at]))
				continue;
			row[at] = parked[at];
			nulls[at] = parked_nulls[at];
		}
	}
	write_main(table, depth, is_empty ? MAIN_DELETE :
			   exists ? MAIN_UPDATE : MAIN_INSERT, row, nulls);
}
