/*-------------------------------------------------------------------------
 *
 * row_triggers.h
 *		What the files of the row triggers share.
 *
 * Wording: a main table is a table of the user's application that is
 * electrified.  Its shadow table holds one row of conflict metadata for each
 * row that is or was there, its tombstone table the last value of deleted
 * rows.  A tag is the time and the source of a write; a null source is
 * Postgres itself and sorts above every client at the same time.  A client
 * change arrives as two inserts: into the main table, where the values are
 * parked in the shadow row, and into the shadow table, where the change is
 * resolved.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENSTOCK_ROW_TRIGGERS_H
#define PENSTOCK_ROW_TRIGGERS_H

#include "postgres.h"

#include "access/skey.h"
#include "commands/trigger.h"
#include "datatype/timestamp.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "utils/rel.h"
#include "utils/typcache.h"

/* A table whose rows are reached by the primary key of the main table. */
typedef struct PenstockTarget
{
	Oid			relid;
	Oid			pkindex;
	Oid			owner;
	int			natts;			/* to notice a change while waiting */
	int			nkeys;
	ScanKeyData key[INDEX_MAX_KEYS];	/* arguments are filled in later */
	AttrNumber	key_attno[INDEX_MAX_KEYS];	/* in this table */
	AttrNumber	key_main[INDEX_MAX_KEYS];	/* in the main table */
	AttrNumber *from_main;		/* by main attno - 1: column of the same name,
								 * or 0 */
} PenstockTarget;

/* A column of the main table. */
typedef struct PenstockColumn
{
	AttrNumber	attno;
	bool		is_key;
	bool		insertable;		/* false for generated columns */
	bool		updatable;		/* also false for GENERATED ALWAYS AS IDENTITY */
	bool		byval;
	int16		len;
	Oid			collation;
	TypeCacheEntry *type;
	AttrNumber	tag;			/* shadow columns; 0 for key columns */
	AttrNumber	parked;
	int			mask;			/* zero-based place in the bit mask, -1 for key
								 * columns */
} PenstockColumn;

/* A foreign key of a main table, with the way to the row referred to. */
typedef struct PenstockForeignKey
{
	Oid			parent;
	Oid			index;			/* unique index on the parent */
	int			nkeys;
	AttrNumber	child_attno[INDEX_MAX_KEYS];	/* in index order */
	ScanKeyData key[INDEX_MAX_KEYS];
} PenstockForeignKey;

/* What is known of a main table and its companions. */
typedef struct PenstockTable
{
	bool		valid;			/* cleared by the invalidation callback */
	MemoryContext context;		/* everything below lives here */
	struct PenstockTable *next_stale;

	char	   *nspname;
	char	   *relname;
	PenstockTarget main;
	PenstockTarget shadow;
	PenstockTarget tombstone;

	int			ncolumns;		/* live columns of the main table */
	PenstockColumn *columns;
	int			nmask;			/* of these, not in the key */

	AttrNumber	tags;			/* fixed columns of the shadow table */
	AttrNumber	last_modified;
	AttrNumber	is_delete;
	AttrNumber	tag;
	AttrNumber	observed;
	AttrNumber	modified;
	AttrNumber	resolved;
	AttrNumber	reordering;

	Oid			tag_type;		/* domain electric.tag */
	TupleDesc	tag_desc;		/* of the composite type below it */

	int			nforeign;		/* foreign keys to follow */
	struct PenstockForeignKey *foreign;

	SPIPlanPtr	insert_plan;	/* writes of resolved client changes */
	SPIPlanPtr	update_plan;
	SPIPlanPtr	delete_plan;
} PenstockTable;

/* A tag taken apart. */
typedef struct PenstockTag
{
	bool		is_null;
	TimestampTz timestamp;
	text	   *source;			/* NULL is Postgres */
} PenstockTag;

/* A target that is open for reading and writing single rows. */
typedef struct PenstockStore
{
	const PenstockTarget *target;
	Relation	rel;
	Relation	index;
	TupleTableSlot *old;		/* the row found */
	TupleTableSlot *new;		/* the row to be written */
} PenstockStore;

/* row_cache.c */
extern PenstockTable *penstock_table_find(Oid relid);
extern PenstockTable *penstock_table_get(Relation rel);
extern PenstockTable *penstock_table_get_by_shadow(Relation shadow);
extern void penstock_side_table_name(const char *prefix, const char *nspname,
									 const char *relname, char *result);
extern bool penstock_column_equal(const PenstockColumn *column, Datum a,
								  bool a_null, Datum b, bool b_null);

extern void penstock_fill_key(ScanKey key, Relation index, int position,
							  Oid value_type);

/* row_store.c */
extern void penstock_store_open(PenstockStore *store,
								const PenstockTarget *target);
extern void penstock_store_close(PenstockStore *store);
extern bool penstock_store_find(PenstockStore *store, const Datum *main_values);
extern bool penstock_store_lock(PenstockStore *store,
								const Datum *main_values);
extern bool penstock_store_insert(PenstockStore *store);
extern bool penstock_store_update(PenstockStore *store);

/* tags.c */
extern void penstock_tag_read(const PenstockTable *table, Datum value,
							  bool is_null, PenstockTag *tag);
extern Datum penstock_tag_make(const PenstockTable *table,
							   const PenstockTag *tag);
extern int	penstock_tag_compare(const PenstockTag *a, const PenstockTag *b);
extern TimestampTz penstock_transaction_time(void);
extern Datum penstock_tags_empty(const PenstockTable *table);
extern Datum penstock_tags_of(const PenstockTable *table, Datum tag);
extern Datum penstock_tags_resolve(const PenstockTable *table,
								   Datum present, bool present_null,
								   Datum observed, bool observed_null,
								   Datum add, bool add_null, bool *is_empty);

/* row_stamp.c: writes made by Postgres */
extern void penstock_stamp_write(const PenstockTable *table,
								 const Datum *values, const bool *changed);
extern void penstock_stamp_delete(const PenstockTable *table,
								  const Datum *values);
extern void penstock_bury(const PenstockTable *table, const Datum *values,
						  const bool *nulls);

/* row_client.c: writes made by clients */
extern void penstock_client_park(const PenstockTable *table,
								 const Datum *values, const bool *nulls);
extern void penstock_client_apply(PenstockTable *table, int depth,
								  const Datum *shadow_values,
								  const bool *shadow_nulls);
extern bool penstock_client_is_writing(int depth);

/* row_triggers.c */
typedef enum PenstockWriter
{
	PENSTOCK_WRITER_POSTGRES,	/* to be stamped */
	PENSTOCK_WRITER_CLIENT,		/* one half of a client change */
	PENSTOCK_WRITER_RESOLVE		/* our own write of a resolved change */
} PenstockWriter;

extern PenstockWriter penstock_writer(int *depth);

#endif							/* PENSTOCK_ROW_TRIGGERS_H */
