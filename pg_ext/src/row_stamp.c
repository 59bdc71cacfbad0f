/*-------------------------------------------------------------------------
 *
 * row_stamp.c
 *		What a write by Postgres leaves in the shadow and tombstone tables.
 *
 * The shadow row is written once, already resolved: the writer holds it locked
 * until the end of its transaction, so nothing has to wait for the commit.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "utils/timestamp.h"

#include "row_triggers.h"

/* The identity of this transaction in _last_modified. */
static int64
current_transaction(void)
{
	return (int64) U64FromFullTransactionId(GetTopFullTransactionId());
}

/* The greatest of the tags of a shadow row. */
static void
greatest_tag(const PenstockTable *table, TupleTableSlot *slot,
			 PenstockTag *greatest)
{
	penstock_tag_read(table, slot->tts_values[table->tag - 1],
					  slot->tts_isnull[table->tag - 1], greatest);
	for (int i = 0; i < table->ncolumns; i++)
	{
		AttrNumber	attno = table->columns[i].tag;
		PenstockTag tag;

		if (attno == 0 || slot->tts_isnull[attno - 1])
			continue;
		penstock_tag_read(table, slot->tts_values[attno - 1], false, &tag);
		if (!tag.is_null && (greatest->is_null ||
							 penstock_tag_compare(&tag, greatest) > 0))
			*greatest = tag;
	}
}

/*
 * The tag of a write by Postgres to the row whose present shadow row is given:
 * it wins over every client, and of two transactions that write to a row the
 * later one has the greater tag.  A transaction has one tag for a row.
 */
static void
next_tag(const PenstockTable *table, TupleTableSlot *slot, PenstockTag *tag)
{
	PenstockTag previous;

	tag->is_null = false;
	tag->timestamp = penstock_transaction_time();
	tag->source = NULL;
	if (slot == NULL)
		return;
	greatest_tag(table, slot, &previous);
	if (previous.is_null || previous.timestamp < tag->timestamp)
		return;
	tag->timestamp = previous.timestamp;
	if (previous.source != NULL || TIMESTAMP_NOT_FINITE(previous.timestamp))
		return;
	if (!slot->tts_isnull[table->last_modified - 1] &&
		DatumGetInt64(slot->tts_values[table->last_modified - 1]) ==
		current_transaction())
		return;
	tag->timestamp += 1000;
	if (!IS_VALID_TIMESTAMP(tag->timestamp))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
}

static void
set_value(TupleTableSlot *slot, AttrNumber attno, Datum value)
{
	slot->tts_values[attno - 1] = value;
	slot->tts_isnull[attno - 1] = false;
}

static void
set_null(TupleTableSlot *slot, AttrNumber attno)
{
	slot->tts_values[attno - 1] = (Datum) 0;
	slot->tts_isnull[attno - 1] = true;
}

/*
 * Begins the new shadow row: a copy of the present one, or an empty one with
 * the key of the main row.
 */
static void
begin_shadow(const PenstockTable *table, PenstockStore *store, bool present,
			 const Datum *values)
{
	int			natts = store->target->natts;

	ExecClearTuple(store->new);
	if (present)
	{
		memcpy(store->new->tts_values, store->old->tts_values,
			   sizeof(Datum) * natts);
		memcpy(store->new->tts_isnull, store->old->tts_isnull,
			   sizeof(bool) * natts);
		return;
	}
	memset(store->new->tts_isnull, true, sizeof(bool) * natts);
	for (int i = 0; i < table->shadow.nkeys; i++)
		set_value(store->new, table->shadow.key_attno[i],
				  values[table->shadow.key_main[i] - 1]);
}

/* Everything of the new shadow row that both writes and deletes set. */
static void
settle_shadow(const PenstockTable *table, PenstockStore *store, Datum tag,
			  Datum tags, bool is_delete)
{
	TupleTableSlot *slot = store->new;

	set_value(slot, table->tag, tag);
	set_value(slot, table->tags, tags);
	set_value(slot, table->is_delete, BoolGetDatum(is_delete));
	set_value(slot, table->resolved, BoolGetDatum(true));
	set_value(slot, table->last_modified, Int64GetDatum(current_transaction()));
	set_null(slot, table->observed);
	set_null(slot, table->modified);
	set_null(slot, table->reordering);
	for (int i = 0; i < table->ncolumns; i++)
		if (!table->columns[i].is_key)
			set_null(slot, table->columns[i].parked);
	ExecStoreVirtualTuple(slot);
}

/* Whether the main table has a row with this key. */
static bool
main_row_exists(const PenstockTable *table, const Datum *values)
{
	PenstockStore store;
	bool		found;

	penstock_store_open(&store, &table->main);
	found = penstock_store_find(&store, values);
	penstock_store_close(&store);
	return found;
}

/*
 * Stamps a row written by Postgres.  The array changed is by column of the
 * table; it is NULL when the row is new under this key.  An insert that meets
 * an existing row fails or becomes nothing or an update, which is stamped in
 * its turn, so such an insert leaves no mark.
 */
void
penstock_stamp_write(const PenstockTable *table, const Datum *values,
					 const bool *changed)
{
	PenstockStore store;
	bool		look = (changed != NULL);
	bool		done = false;

	if (changed == NULL && main_row_exists(table, values))
		return;

	/* a new row has no shadow row as a rule, so the insert is tried first */
	penstock_store_open(&store, &table->shadow);
	for (; !done; look = true)
	{
		bool		present = look && penstock_store_find(&store, values);
		PenstockTag tag;
		Datum		tag_datum;

		if (present)
			slot_getallattrs(store.old);
		next_tag(table, present ? store.old : NULL, &tag);
		tag_datum = penstock_tag_make(table, &tag);

		begin_shadow(table, &store, present, values);
		for (int i = 0; i < table->ncolumns; i++)
			if (!table->columns[i].is_key &&
				(changed == NULL || !present || changed[i]))
				set_value(store.new, table->columns[i].tag, tag_datum);
		settle_shadow(table, &store, tag_datum,
					  penstock_tags_of(table, tag_datum), false);
		done = present ? penstock_store_update(&store) :
			penstock_store_insert(&store);
	}
	penstock_store_close(&store);
}

/* Marks the shadow row of a row deleted by Postgres. */
void
penstock_stamp_delete(const PenstockTable *table, const Datum *values)
{
	PenstockStore store;
	bool		done = false;

	penstock_store_open(&store, &table->shadow);
	while (!done)
	{
		bool		present = penstock_store_find(&store, values);
		PenstockTag tag;

		if (present)
			slot_getallattrs(store.old);
		next_tag(table, present ? store.old : NULL, &tag);
		begin_shadow(table, &store, present, values);
		settle_shadow(table, &store, penstock_tag_make(table, &tag),
					  penstock_tags_empty(table), true);
		done = present ? penstock_store_update(&store) :
			penstock_store_insert(&store);
	}
	penstock_store_close(&store);
}

/* Keeps the value of a deleted row in the tombstone table. */
void
penstock_bury(const PenstockTable *table, const Datum *values,
			  const bool *nulls)
{
	PenstockStore store;
	bool		done = false;

	penstock_store_open(&store, &table->tombstone);
	while (!done)
	{
		bool		present = penstock_store_find(&store, values);

		if (present && table->nmask == 0)
			break;				/* nothing but the key */
		ExecClearTuple(store.new);
		memset(store.new->tts_isnull, true,
			   sizeof(bool) * table->tombstone.natts);
		for (int i = 0; i < table->ncolumns; i++)
		{
			AttrNumber	from = table->columns[i].attno;
			AttrNumber	to = table->tombstone.from_main[from - 1];

			if (to == 0 || nulls[from - 1])
				continue;
			set_value(store.new, to, values[from - 1]);
		}
		ExecStoreVirtualTuple(store.new);
		done = present ? penstock_store_update(&store) :
			penstock_store_insert(&store);
	}
	penstock_store_close(&store);
}
