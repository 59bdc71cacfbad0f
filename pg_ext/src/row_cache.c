/*-------------------------------------------------------------------------
 *
 * row_cache.c
 *		What is known of each main table and its companions.
 *
 * An entry is found by the OID of the main, the shadow or the tombstone table.
 * A relcache invalidation of any of them makes it invalid, and it is built
 * anew at its next use.  The memory of the old one is given back at the end of
 * the transaction, since triggers further up the stack may be using it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "row_compat.h"
#include "row_triggers.h"

typedef struct CacheEntry
{
	Oid			relid;			/* hash key: any of the three tables */
	PenstockTable *table;
} CacheEntry;

static struct
{
	HTAB	   *tables;
	PenstockTable *stale;
	MemoryContext context;
	uint64		invalidations;
} RowCache;

static void
cache_invalidate(Datum arg, Oid relid)
{
	(void) arg;
	RowCache.invalidations++;
	if (OidIsValid(relid))
	{
		CacheEntry *entry = hash_search(RowCache.tables, &relid, HASH_FIND,
										NULL);

		if (entry != NULL)
			entry->table->valid = false;
	}
	else
	{
		HASH_SEQ_STATUS status;
		CacheEntry *entry;

		hash_seq_init(&status, RowCache.tables);
		while ((entry = hash_seq_search(&status)) != NULL)
			entry->table->valid = false;
	}
}

static void
cache_xact_end(XactEvent event, void *arg)
{
	(void) arg;
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT &&
		event != XACT_EVENT_PREPARE)
		return;
	while (RowCache.stale != NULL)
	{
		PenstockTable *table = RowCache.stale;

		RowCache.stale = table->next_stale;
		if (table->insert_plan != NULL)
			SPI_freeplan(table->insert_plan);
		if (table->update_plan != NULL)
			SPI_freeplan(table->update_plan);
		if (table->delete_plan != NULL)
			SPI_freeplan(table->delete_plan);
		MemoryContextDelete(table->context);
	}
}

static void
cache_init(void)
{
	HASHCTL		ctl;

	if (RowCache.tables != NULL)
		return;
	RowCache.context = AllocSetContextCreate(TopMemoryContext,
											 "penstock row triggers",
											 ALLOCSET_DEFAULT_SIZES);
	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(CacheEntry);
	ctl.hcxt = RowCache.context;
	RowCache.tables = hash_create("penstock tables", 64, &ctl,
								  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	CacheRegisterRelcacheCallback(cache_invalidate, (Datum) 0);
	RegisterXactCallback(cache_xact_end, NULL);
}

/* Takes an entry out of the hash; it is freed at the end of the transaction. */
static void
cache_forget(PenstockTable *table)
{
	Oid			relids[3] = {table->main.relid, table->shadow.relid,
	table->tombstone.relid};

	for (int i = 0; i < 3; i++)
	{
		CacheEntry *entry = hash_search(RowCache.tables, &relids[i],
										HASH_FIND, NULL);

		if (entry != NULL && entry->table == table)
			hash_search(RowCache.tables, &relids[i], HASH_REMOVE, NULL);
	}
	table->valid = false;
	table->next_stale = RowCache.stale;
	RowCache.stale = table;
}

/*
 * The name of a companion table, or of a companion column when there is no
 * schema: cut as the server cuts identifiers.
 */
void
penstock_side_table_name(const char *prefix, const char *nspname,
						 const char *relname, char *result)
{
	char	   *full;
	int			len;

	if (nspname != NULL)
		full = psprintf("%s__%s__%s", prefix, nspname, relname);
	else
		full = psprintf("%s%s", prefix, relname);
	len = strlen(full);
	len = pg_mbcliplen(full, len, NAMEDATALEN - 1);
	memcpy(result, full, len);
	result[len] = '\0';
	pfree(full);
}

/* Column of a name, 0 if there is none. */
static AttrNumber
attno_of(TupleDesc desc, const char *name)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), name) == 0)
			return att->attnum;
	}
	return 0;
}

static AttrNumber
attno_required(Relation rel, const char *name)
{
	AttrNumber	attno = attno_of(RelationGetDescr(rel), name);

	if (attno == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("table \"%s.%s\" lacks column \"%s\"",
						get_namespace_name(RelationGetNamespace(rel)),
						RelationGetRelationName(rel), name)));
	return attno;
}

static Oid
primary_key_index(Relation rel)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *lc;
	Oid			result = InvalidOid;

	foreach(lc, indexes)
	{
		HeapTuple	tuple = SearchSysCache1(INDEXRELID,
											ObjectIdGetDatum(lfirst_oid(lc)));

		if (!HeapTupleIsValid(tuple))
			continue;
		if (((Form_pg_index) GETSTRUCT(tuple))->indisprimary)
			result = lfirst_oid(lc);
		ReleaseSysCache(tuple);
	}
	list_free(indexes);
	if (!OidIsValid(result))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("table \"%s\" has no primary key",
						RelationGetRelationName(rel))));
	return result;
}

/*
 * Prepares the search for a value of a type in a column of a btree index,
 * position counted from zero.
 */
void
penstock_fill_key(ScanKey key, Relation index, int position, Oid value_type)
{
	Oid			family = index->rd_opfamily[position];
	Oid			intype = index->rd_opcintype[position];
	Oid			operator = InvalidOid;
	Oid			subtype = InvalidOid;

	if (OidIsValid(value_type) && value_type != intype)
	{
		subtype = value_type;
		operator = get_opfamily_member(family, intype, value_type,
									   BTEqualStrategyNumber);
	}
	if (!OidIsValid(operator))
	{
		subtype = intype;
		operator = get_opfamily_member(family, intype, intype,
									   BTEqualStrategyNumber);
	}
	if (!OidIsValid(operator))
		elog(ERROR, "no equality operator for column %d of index \"%s\"",
			 position + 1, RelationGetRelationName(index));
	ScanKeyEntryInitialize(key, 0, position + 1, BTEqualStrategyNumber,
						   subtype, index->rd_indcollation[position],
						   get_opcode(operator), (Datum) 0);
}

/* The columns of the target, and the way to its rows by the main key. */
static void
fill_target(PenstockTarget *target, Relation rel, Relation main)
{
	TupleDesc	main_desc = RelationGetDescr(main);
	Relation	index;

	target->relid = RelationGetRelid(rel);
	target->owner = rel->rd_rel->relowner;
	target->natts = RelationGetNumberOfAttributes(rel);
	target->pkindex = primary_key_index(rel);
	target->from_main = palloc0(sizeof(AttrNumber) * main_desc->natts);
	for (int i = 0; i < main_desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(main_desc, i);

		if (!att->attisdropped)
			target->from_main[i] = attno_of(RelationGetDescr(rel),
											NameStr(att->attname));
	}

	index = index_open(target->pkindex, AccessShareLock);
	target->nkeys = IndexRelationGetNumberOfKeyAttributes(index);
	for (int i = 0; i < target->nkeys; i++)
	{
		AttrNumber	attno = index->rd_index->indkey.values[i];
		char	   *name = NameStr(TupleDescAttr(RelationGetDescr(rel),
												 attno - 1)->attname);

		target->key_attno[i] = attno;
		target->key_main[i] = attno_required(main, name);
		penstock_fill_key(&target->key[i], index, i, InvalidOid);
	}
	index_close(index, AccessShareLock);
}

static bool
is_key(const PenstockTarget *target, AttrNumber main_attno)
{
	for (int i = 0; i < target->nkeys; i++)
		if (target->key_main[i] == main_attno)
			return true;
	return false;
}

static void
fill_columns(PenstockTable *table, Relation main, Relation shadow)
{
	TupleDesc	desc = RelationGetDescr(main);

	table->columns = palloc0(sizeof(PenstockColumn) * desc->natts);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		PenstockColumn *column;
		char		name[NAMEDATALEN];

		if (att->attisdropped)
			continue;
		column = &table->columns[table->ncolumns++];
		column->attno = att->attnum;
		column->is_key = is_key(&table->main, att->attnum);
		column->insertable = (att->attgenerated == '\0');
		column->updatable = column->insertable &&
			att->attidentity != ATTRIBUTE_IDENTITY_ALWAYS;
		column->byval = att->attbyval;
		column->len = att->attlen;
		column->collation = att->attcollation;
		column->type = lookup_type_cache(att->atttypid,
										 TYPECACHE_EQ_OPR_FINFO);
		column->mask = -1;
		if (column->is_key)
			continue;
		column->mask = table->nmask++;
		penstock_side_table_name("_tag_", NULL, NameStr(att->attname), name);
		column->tag = attno_required(shadow, name);
		penstock_side_table_name("__reordered_", NULL, NameStr(att->attname),
								 name);
		column->parked = attno_required(shadow, name);
	}

	table->tags = attno_required(shadow, "_tags");
	table->last_modified = attno_required(shadow, "_last_modified");
	table->is_delete = attno_required(shadow, "_is_a_delete_operation");
	table->tag = attno_required(shadow, "_tag");
	table->observed = attno_required(shadow, "_observed_tags");
	table->modified = attno_required(shadow, "_modified_columns_bit_mask");
	table->resolved = attno_required(shadow, "_resolved");
	table->reordering = attno_required(shadow, "_currently_reordering");
}

static void
fill_tag_type(PenstockTable *table, Relation shadow)
{
	Oid			base;

	table->tag_type = TupleDescAttr(RelationGetDescr(shadow),
									table->tag - 1)->atttypid;
	base = getBaseType(table->tag_type);
	table->tag_desc = lookup_rowtype_tupdesc_copy(base, -1);
	if (table->tag_desc->natts != 2 ||
		TupleDescAttr(table->tag_desc, 0)->atttypid != TIMESTAMPTZOID ||
		TupleDescAttr(table->tag_desc, 1)->atttypid != VARCHAROID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("type %s is not a tag",
						format_type_be(table->tag_type))));
}

/* The foreign keys of the main table. */
static void
fill_foreign_keys(PenstockTable *table, Relation main)
{
	Relation	constraints = table_open(ConstraintRelationId,
										 AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	int			room = 0;

	ScanKeyInit(&key, Anum_pg_constraint_conrelid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(RelationGetRelid(main)));
	scan = systable_beginscan(constraints,
							  ConstraintRelidTypidNameIndexId, true, NULL, 1,
							  &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(tuple);
		PenstockForeignKey *foreign;
		AttrNumber	child[INDEX_MAX_KEYS];
		AttrNumber	parent[INDEX_MAX_KEYS];
		int			nkeys;
		Relation	index;

		if (form->contype != CONSTRAINT_FOREIGN)
			continue;
		PenstockForeignKeyColumns(tuple, &nkeys, child, parent);
		if (table->nforeign == room)
		{
			room = room == 0 ? 4 : room * 2;
			table->foreign = table->foreign == NULL ?
				palloc(sizeof(PenstockForeignKey) * room) :
				repalloc(table->foreign, sizeof(PenstockForeignKey) * room);
		}
		foreign = &table->foreign[table->nforeign++];
		foreign->parent = form->confrelid;
		foreign->index = form->conindid;
		foreign->nkeys = nkeys;
		index = index_open(form->conindid, AccessShareLock);
		for (int i = 0; i < nkeys; i++)
			for (int j = 0; j < nkeys; j++)
				if (index->rd_index->indkey.values[i] == parent[j])
				{
					foreign->child_attno[i] = child[j];
					penstock_fill_key(&foreign->key[i], index, i,
									  getBaseType(TupleDescAttr(RelationGetDescr(main),
																child[j] - 1)->atttypid));
				}
		index_close(index, AccessShareLock);
	}
	systable_endscan(scan);
	table_close(constraints, AccessShareLock);
}

/* NULL if the table has no shadow and tombstone table. */
static PenstockTable *
cache_build(Oid relid)
{
	MemoryContext context,
				old_context;
	PenstockTable *table;
	Relation	main,
				shadow,
				tombstone;
	char		name[NAMEDATALEN];
	char	   *relname = get_rel_name(relid);
	char	   *nspname;
	Oid			schema = get_namespace_oid("electric", true);
	Oid			shadow_oid,
				tombstone_oid;
	Oid			relids[3];

	if (relname == NULL || !OidIsValid(schema))
		return NULL;
	nspname = get_namespace_name(get_rel_namespace(relid));
	if (nspname == NULL)
		return NULL;
	penstock_side_table_name("shadow", nspname, relname, name);
	shadow_oid = get_relname_relid(name, schema);
	penstock_side_table_name("tombstone", nspname, relname, name);
	tombstone_oid = get_relname_relid(name, schema);
	if (!OidIsValid(shadow_oid) || !OidIsValid(tombstone_oid))
		return NULL;

	main = table_open(relid, AccessShareLock);
	shadow = table_open(shadow_oid, AccessShareLock);
	tombstone = table_open(tombstone_oid, AccessShareLock);

	context = AllocSetContextCreate(CurrentMemoryContext,
									"penstock table",
									ALLOCSET_SMALL_SIZES);
	old_context = MemoryContextSwitchTo(context);
	table = palloc0(sizeof(PenstockTable));
	table->context = context;
	table->nspname = pstrdup(nspname);
	table->relname = pstrdup(relname);
	fill_target(&table->main, main, main);
	fill_target(&table->shadow, shadow, main);
	fill_target(&table->tombstone, tombstone, main);
	fill_columns(table, main, shadow);
	fill_tag_type(table, shadow);
	fill_foreign_keys(table, main);
	MemoryContextSwitchTo(old_context);
	MemoryContextSetParent(context, RowCache.context);

	table_close(tombstone, NoLock);
	table_close(shadow, NoLock);
	table_close(main, NoLock);

	table->valid = true;
	relids[0] = relid;
	relids[1] = shadow_oid;
	relids[2] = tombstone_oid;
	for (int i = 0; i < 3; i++)
	{
		CacheEntry *entry;
		bool		found;

		entry = hash_search(RowCache.tables, &relids[i], HASH_ENTER, &found);
		entry->table = table;
	}
	return table;
}

/* The entry of a main table, NULL if it is not electrified. */
PenstockTable *
penstock_table_find(Oid relid)
{
	CacheEntry *entry;
	PenstockTable *table;
	uint64		before;

	cache_init();
	entry = hash_search(RowCache.tables, &relid, HASH_FIND, NULL);
	if (entry != NULL && entry->table->valid &&
		entry->table->main.relid == relid)
		return entry->table;
	if (entry != NULL)
		cache_forget(entry->table);
	do
	{
		before = RowCache.invalidations;
		table = cache_build(relid);
		if (table != NULL && before != RowCache.invalidations)
			cache_forget(table);
	} while (before != RowCache.invalidations);
	return table;
}

/* The entry of a main table; it is an error if there is none. */
PenstockTable *
penstock_table_get(Relation rel)
{
	PenstockTable *table = penstock_table_find(RelationGetRelid(rel));

	if (table == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table \"%s\" has no shadow and tombstone tables in schema \"electric\"",
						RelationGetRelationName(rel)),
				 errhint("Run CALL electric.electrify(...) for the table, or drop the triggers of penstock on it.")));
	return table;
}

/* The entry of a main table, if it is that of the shadow table. */
static PenstockTable *
find_with_shadow(Oid relid, Oid shadow)
{
	PenstockTable *table;

	if (!OidIsValid(relid) || get_rel_relkind(relid) != RELKIND_RELATION)
		return NULL;
	table = penstock_table_find(relid);
	return table != NULL && table->shadow.relid == shadow ? table : NULL;
}

/* The same for a main table of which only the begin of the name is known. */
static PenstockTable *
find_with_cut_name(Oid schema, const char *begin, Oid shadow)
{
	Relation	classes = table_open(RelationRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(classes, InvalidOid, false, NULL, 0,
										  NULL);
	List	   *candidates = NIL;
	ListCell   *lc;
	HeapTuple	tuple;
	PenstockTable *table = NULL;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);

		if (form->relnamespace == schema && form->relkind == RELKIND_RELATION &&
			strncmp(NameStr(form->relname), begin, strlen(begin)) == 0)
			candidates = lappend_oid(candidates, form->oid);
	}
	systable_endscan(scan);
	table_close(classes, AccessShareLock);
	foreach(lc, candidates)
	{
		table = find_with_shadow(lfirst_oid(lc), shadow);
		if (table != NULL)
			break;
	}
	list_free(candidates);
	return table;
}

/*
 * The entry of the main table of a shadow table.  The name is made of the
 * names of schema and table, both of which may contain the separator, so every
 * way to take it apart is tried.
 */
PenstockTable *
penstock_table_get_by_shadow(Relation shadow)
{
	Oid			relid = RelationGetRelid(shadow);
	CacheEntry *entry;
	const char *name = RelationGetRelationName(shadow);

	cache_init();
	entry = hash_search(RowCache.tables, &relid, HASH_FIND, NULL);
	if (entry != NULL && entry->table->shadow.relid == relid)
	{
		PenstockTable *table = find_with_shadow(entry->table->main.relid,
												relid);

		if (table != NULL)
			return table;
	}
	if (strncmp(name, "shadow__", 8) == 0)
	{
		name += 8;
		for (const char *split = strstr(name, "__"); split != NULL;
			 split = strstr(split + 1, "__"))
		{
			char	   *nspname = pnstrdup(name, split - name);
			Oid			schema = get_namespace_oid(nspname, true);
			PenstockTable *table;

			pfree(nspname);
			if (!OidIsValid(schema))
				continue;
			table = find_with_shadow(get_relname_relid(split + 2, schema),
									 relid);
			if (table == NULL &&
				strlen(RelationGetRelationName(shadow)) >= NAMEDATALEN - 4)
				table = find_with_cut_name(schema, split + 2, relid);
			if (table != NULL)
				return table;
		}
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_TABLE),
			 errmsg("table \"%s\" is not the shadow of any table",
					RelationGetRelationName(shadow))));
	return NULL;				/* not reached */
}

/* Whether two values of a column are not distinct. */
bool
penstock_column_equal(const PenstockColumn *column, Datum a, bool a_null,
					  Datum b, bool b_null)
{
	if (a_null || b_null)
		return a_null && b_null;
	if (column->byval)
	{
		if (a == b)
			return true;
	}
	else if (column->len == -1)
	{
		struct varlena *va = (struct varlena *) DatumGetPointer(a);
		struct varlena *vb = (struct varlena *) DatumGetPointer(b);

		/* the same value, whatever its form: a toast pointer perhaps */
		if (VARSIZE_ANY(va) == VARSIZE_ANY(vb) &&
			memcmp(va, vb, VARSIZE_ANY(va)) == 0)
			return true;
	}
	else if (datumIsEqual(a, b, false, column->len))
		return true;
	if (!OidIsValid(column->type->eq_opr_finfo.fn_oid))
		return column->len == -1 && datum_image_eq(a, b, false, -1);
	return DatumGetBool(FunctionCall2Coll(&column->type->eq_opr_finfo,
										  column->collation, a, b));
}
