/*-------------------------------------------------------------------------
 *
 * tags.c
 *		Values of the types electric.tag and electric.tag[].
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "row_triggers.h"

/*
 * Takes a tag apart.  A tag of two nulls, which the domain lets through, is
 * the null tag.
 */
void
penstock_tag_read(const PenstockTable *table, Datum value, bool is_null,
				  PenstockTag *tag)
{
	HeapTupleHeader header;
	HeapTupleData tuple;
	Datum		values[2];
	bool		nulls[2];

	tag->is_null = true;
	tag->timestamp = 0;
	tag->source = NULL;
	if (is_null)
		return;
	header = DatumGetHeapTupleHeader(value);
	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	heap_deform_tuple(&tuple, table->tag_desc, values, nulls);
	if (nulls[0])
		return;
	tag->is_null = false;
	tag->timestamp = DatumGetTimestampTz(values[0]);
	if (!nulls[1])
		tag->source = DatumGetTextPP(values[1]);
}

Datum
penstock_tag_make(const PenstockTable *table, const PenstockTag *tag)
{
	Datum		values[2];
	bool		nulls[2];

	values[0] = TimestampTzGetDatum(tag->timestamp);
	nulls[0] = tag->is_null;
	values[1] = PointerGetDatum(tag->source);
	nulls[1] = tag->is_null || tag->source == NULL;
	return HeapTupleGetDatum(heap_form_tuple(table->tag_desc, values, nulls));
}

/*
 * Order of two tags that are not null, the one that comparing them as records
 * gives.
 */
int
penstock_tag_compare(const PenstockTag *a, const PenstockTag *b)
{
	if (a->timestamp != b->timestamp)
		return a->timestamp < b->timestamp ? -1 : 1;
	if (a->source == NULL || b->source == NULL)
	{
		if (a->source == NULL && b->source == NULL)
			return 0;
		return a->source == NULL ? 1 : -1;
	}
	return varstr_cmp(VARDATA_ANY(a->source), VARSIZE_ANY_EXHDR(a->source),
					  VARDATA_ANY(b->source), VARSIZE_ANY_EXHDR(b->source),
					  DEFAULT_COLLATION_OID);
}

/* CURRENT_TIMESTAMP(3) */
TimestampTz
penstock_transaction_time(void)
{
	TimestampTz now = GetCurrentTransactionStartTimestamp();

	return (now >= 0) ? (now + 500) / 1000 * 1000 :
		-((-now + 500) / 1000 * 1000);
}

Datum
penstock_tags_empty(const PenstockTable *table)
{
	return PointerGetDatum(construct_empty_array(table->tag_type));
}

Datum
penstock_tags_of(const PenstockTable *table, Datum tag)
{
	return PointerGetDatum(construct_array(&tag, 1, table->tag_type,
										   -1, false, TYPALIGN_DOUBLE));
}

static int
tags_explode(const PenstockTable *table, Datum array, bool is_null,
			 Datum **datums, bool **nulls)
{
	int			n = 0;

	if (is_null)
		return 0;
	deconstruct_array(DatumGetArrayTypeP(array), table->tag_type, -1, false,
					  TYPALIGN_DOUBLE, datums, nulls, &n);
	return n;
}

/*
 * The live tags after a client change: those present without those the client
 * has observed, and with the tag of the change unless it is a delete.
 */
Datum
penstock_tags_resolve(const PenstockTable *table,
					  Datum present, bool present_null,
					  Datum observed, bool observed_null,
					  Datum add, bool add_null, bool *is_empty)
{
	Datum	   *present_datums = NULL,
			   *observed_datums = NULL,
			   *result;
	bool	   *present_nulls = NULL,
			   *observed_nulls = NULL;
	PenstockTag *seen,
				added;
	int			npresent,
				nobserved,
				n = 0;

	npresent = tags_explode(table, present, present_null,
							&present_datums, &present_nulls);
	nobserved = tags_explode(table, observed, observed_null,
							 &observed_datums, &observed_nulls);

	seen = (PenstockTag *) palloc(sizeof(PenstockTag) * (nobserved + 1));
	for (int i = 0; i < nobserved; i++)
		penstock_tag_read(table, observed_datums[i], observed_nulls[i],
						  &seen[i]);
	penstock_tag_read(table, add, add_null, &added);

	result = (Datum *) palloc(sizeof(Datum) * (npresent + 1));
	for (int i = 0; i < npresent; i++)
	{
		PenstockTag tag;
		bool		drop;

		penstock_tag_read(table, present_datums[i], present_nulls[i], &tag);
		drop = tag.is_null;
		for (int j = 0; j < nobserved && !drop; j++)
			drop = !seen[j].is_null &&
				penstock_tag_compare(&tag, &seen[j]) == 0;
		if (drop)
			continue;
		result[n++] = present_datums[i];
		if (!added.is_null && penstock_tag_compare(&tag, &added) == 0)
			added.is_null = true;	/* there already */
	}
	if (!added.is_null)
		result[n++] = add;

	*is_empty = (n == 0);
	if (n == 0)
		return penstock_tags_empty(table);
	return PointerGetDatum(construct_array(result, n, table->tag_type,
										   -1, false, TYPALIGN_DOUBLE));
}
