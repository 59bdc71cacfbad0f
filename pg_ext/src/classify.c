/*-------------------------------------------------------------------------
 *
 * classify.c
 *		penstock.classify(text): the statements of a text, as the server's own
 *		parser sees them.
 *
 * Only the raw parser runs: nothing is looked up in the catalogue, and nothing
 * is executed.  Objects are told by the names written in the statement.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "parser/scansup.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "row_compat.h"

PG_FUNCTION_INFO_V1(penstock_classify);

#define CLASSIFY_COLUMNS	5

/* The list of objects under construction, as JSON. */
typedef struct Objects
{
	StringInfoData json;
	int			count;
} Objects;

static void
begin_object(Objects *objects, const char *kind, const char *schema,
			 const char *name)
{
	appendStringInfoString(&objects->json,
						   objects->count++ == 0 ? "{" : ",{");
	appendStringInfoString(&objects->json, "\"kind\":");
	escape_json(&objects->json, kind);
	if (schema != NULL)
	{
		appendStringInfoString(&objects->json, ",\"schema\":");
		escape_json(&objects->json, schema);
	}
	if (name != NULL)
	{
		appendStringInfoString(&objects->json, ",\"name\":");
		escape_json(&objects->json, name);
	}
}

static void
add_field(Objects *objects, const char *field, const char *value)
{
	if (value == NULL)
		return;
	appendStringInfoChar(&objects->json, ',');
	escape_json(&objects->json, field);
	appendStringInfoChar(&objects->json, ':');
	escape_json(&objects->json, value);
}

static void
add_flag(Objects *objects, const char *field, bool value)
{
	if (!value)
		return;
	appendStringInfoChar(&objects->json, ',');
	escape_json(&objects->json, field);
	appendStringInfoString(&objects->json, ":true");
}

static void
end_object(Objects *objects)
{
	appendStringInfoChar(&objects->json, '}');
}

static void
add_relation(Objects *objects, const char *kind, const RangeVar *relation)
{
	if (relation == NULL)
		return;
	begin_object(objects, kind, relation->schemaname, relation->relname);
	end_object(objects);
}

/* A name made of one or more strings, the schema before the last one. */
static void
split_name(List *names, const char **schema, const char **name)
{
	int			n = list_length(names);

	*schema = NULL;
	*name = NULL;
	for (int i = 0; i < n; i++)
		if (!IsA(list_nth(names, i), String))
			return;
	if (n >= 1)
		*name = strVal(list_nth(names, n - 1));
	if (n >= 2)
		*schema = strVal(list_nth(names, n - 2));
}

static void
begin_named(Objects *objects, const char *kind, List *names)
{
	const char *schema,
			   *name;

	split_name(names, &schema, &name);
	begin_object(objects, kind, schema, name);
}

static void
add_named(Objects *objects, const char *kind, List *names)
{
	begin_named(objects, kind, names);
	end_object(objects);
}

static const char *
object_kind(ObjectType type)
{
	switch (type)
	{
		case OBJECT_TABLE:
			return "table";
		case OBJECT_INDEX:
			return "index";
		case OBJECT_SEQUENCE:
			return "sequence";
		case OBJECT_VIEW:
			return "view";
		case OBJECT_MATVIEW:
			return "materialized view";
		case OBJECT_FOREIGN_TABLE:
			return "foreign table";
		case OBJECT_TYPE:
			return "type";
		case OBJECT_DOMAIN:
			return "domain";
		case OBJECT_SCHEMA:
			return "schema";
		case OBJECT_COLUMN:
			return "column";
		case OBJECT_ATTRIBUTE:
			return "attribute";
		case OBJECT_TABCONSTRAINT:
		case OBJECT_DOMCONSTRAINT:
			return "constraint";
		case OBJECT_TRIGGER:
			return "trigger";
		case OBJECT_RULE:
			return "rule";
		case OBJECT_POLICY:
			return "policy";
		case OBJECT_FUNCTION:
			return "function";
		case OBJECT_PROCEDURE:
			return "procedure";
		case OBJECT_ROUTINE:
			return "routine";
		case OBJECT_AGGREGATE:
			return "aggregate";
		case OBJECT_EXTENSION:
			return "extension";
		case OBJECT_PUBLICATION:
			return "publication";
		case OBJECT_SUBSCRIPTION:
			return "subscription";
		case OBJECT_EVENT_TRIGGER:
			return "event trigger";
		case OBJECT_ROLE:
			return "role";
		case OBJECT_DATABASE:
			return "database";
		default:
			return "other";
	}
}

/* What a clause of ALTER TABLE does, in the words of the parser. */
static const char *
subcommand_name(AlterTableType type)
{
#define NAME(word) case AT_##word: return #word
	switch (type)
	{
			NAME(AddColumn);
			NAME(ColumnDefault);
			NAME(DropNotNull);
			NAME(SetNotNull);
			NAME(DropExpression);
			NAME(SetStatistics);
			NAME(SetOptions);
			NAME(ResetOptions);
			NAME(SetStorage);
			NAME(SetCompression);
			NAME(DropColumn);
			NAME(AddIndex);
			NAME(AddConstraint);
			NAME(AlterConstraint);
			NAME(ValidateConstraint);
			NAME(AddIndexConstraint);
			NAME(DropConstraint);
			NAME(AlterColumnType);
			NAME(AlterColumnGenericOptions);
			NAME(ChangeOwner);
			NAME(ClusterOn);
			NAME(DropCluster);
			NAME(SetLogged);
			NAME(SetUnLogged);
			NAME(DropOids);
			PENSTOCK_SUBCOMMANDS(NAME)
			NAME(SetTableSpace);
			NAME(SetRelOptions);
			NAME(ResetRelOptions);
			NAME(ReplaceRelOptions);
			NAME(EnableTrig);
			NAME(EnableAlwaysTrig);
			NAME(EnableReplicaTrig);
			NAME(DisableTrig);
			NAME(EnableTrigAll);
			NAME(DisableTrigAll);
			NAME(EnableTrigUser);
			NAME(DisableTrigUser);
			NAME(EnableRule);
			NAME(EnableAlwaysRule);
			NAME(EnableReplicaRule);
			NAME(DisableRule);
			NAME(AddInherit);
			NAME(DropInherit);
			NAME(AddOf);
			NAME(DropOf);
			NAME(ReplicaIdentity);
			NAME(EnableRowSecurity);
			NAME(DisableRowSecurity);
			NAME(ForceRowSecurity);
			NAME(NoForceRowSecurity);
			NAME(GenericOptions);
			NAME(AttachPartition);
			NAME(DetachPartition);
			NAME(DetachPartitionFinalize);
			NAME(AddIdentity);
			NAME(SetIdentity);
			NAME(DropIdentity);
		default:
			return "Other";
	}
#undef NAME
}

static void
describe_alter_table(Objects *objects, AlterTableStmt *stmt)
{
	ListCell   *lc;
	bool		first = true;

	begin_object(objects, object_kind(stmt->objtype),
				 stmt->relation->schemaname, stmt->relation->relname);
	appendStringInfoString(&objects->json, ",\"subcommands\":[");
	foreach(lc, stmt->cmds)
	{
		AlterTableCmd *cmd = lfirst_node(AlterTableCmd, lc);

		if (!first)
			appendStringInfoChar(&objects->json, ',');
		first = false;
		escape_json(&objects->json, subcommand_name(cmd->subtype));
	}
	appendStringInfoString(&objects->json, "],\"columns\":[");
	first = true;
	foreach(lc, stmt->cmds)
	{
		AlterTableCmd *cmd = lfirst_node(AlterTableCmd, lc);
		const char *name = cmd->name;

		if (cmd->subtype == AT_AddColumn && cmd->def != NULL &&
			IsA(cmd->def, ColumnDef))
			name = ((ColumnDef *) cmd->def)->colname;
		if (!first)
			appendStringInfoChar(&objects->json, ',');
		first = false;
		if (name == NULL)
			appendStringInfoString(&objects->json, "null");
		else
			escape_json(&objects->json, name);
	}
	appendStringInfoChar(&objects->json, ']');
	end_object(objects);
}

static void
describe_rename(Objects *objects, RenameStmt *stmt)
{
	const char *kind = object_kind(stmt->renameType);

	if (stmt->relation != NULL)
		begin_object(objects, kind, stmt->relation->schemaname,
					 stmt->relation->relname);
	else if (stmt->object != NULL && IsA(stmt->object, List))
		begin_named(objects, kind, (List *) stmt->object);
	else
		begin_object(objects, kind, NULL, stmt->subname);
	if (stmt->relation != NULL)
		add_field(objects, "part", stmt->subname);
	add_field(objects, "new_name", stmt->newname);
	end_object(objects);
}

static void
describe_drop(Objects *objects, DropStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->objects)
	{
		Node	   *object = lfirst(lc);
		const char *kind = object_kind(stmt->removeType);

		CHECK_FOR_INTERRUPTS();
		if (IsA(object, List))
			begin_named(objects, kind, (List *) object);
		else if (IsA(object, TypeName))
			begin_named(objects, kind, ((TypeName *) object)->names);
		else if (IsA(object, ObjectWithArgs))
			begin_named(objects, kind, ((ObjectWithArgs *) object)->objname);
		else if (IsA(object, String))
			begin_object(objects, kind, NULL, strVal(object));
		else
			begin_object(objects, kind, NULL, NULL);
		add_flag(objects, "cascade", stmt->behavior == DROP_CASCADE);
		add_flag(objects, "concurrent", stmt->concurrent);
		end_object(objects);
	}
}

static void
describe_index(Objects *objects, IndexStmt *stmt)
{
	add_relation(objects, "table", stmt->relation);
	begin_object(objects, "index",
				 stmt->relation == NULL ? NULL : stmt->relation->schemaname,
				 stmt->idxname);
	add_flag(objects, "unique", stmt->unique);
	add_flag(objects, "concurrent", stmt->concurrent);
	end_object(objects);
}

static void
describe_copy(Objects *objects, CopyStmt *stmt)
{
	if (stmt->relation == NULL)
		return;
	begin_object(objects, "table", stmt->relation->schemaname,
				 stmt->relation->relname);
	add_field(objects, "direction", stmt->is_from ? "from" : "to");
	/* without a file name the rows go through the connection */
	add_flag(objects, "connection", stmt->filename == NULL);
	end_object(objects);
}

/* The objects a statement names, as far as that is cheap to tell. */
static void
describe(Objects *objects, Node *stmt)
{
	ListCell   *lc;

	check_stack_depth();
	if (PenstockDescribeMerge(stmt) != NULL)
	{
		add_relation(objects, "table", PenstockDescribeMerge(stmt));
		return;
	}
	switch (nodeTag(stmt))
	{
		case T_InsertStmt:
			add_relation(objects, "table", ((InsertStmt *) stmt)->relation);
			break;
		case T_UpdateStmt:
			add_relation(objects, "table", ((UpdateStmt *) stmt)->relation);
			break;
		case T_DeleteStmt:
			add_relation(objects, "table", ((DeleteStmt *) stmt)->relation);
			break;
		case T_CopyStmt:
			describe_copy(objects, (CopyStmt *) stmt);
			break;
		case T_CreateStmt:
			add_relation(objects, "table", ((CreateStmt *) stmt)->relation);
			break;
		case T_CreateTableAsStmt:
			add_relation(objects,
						 object_kind(((CreateTableAsStmt *) stmt)->objtype),
						 ((CreateTableAsStmt *) stmt)->into->rel);
			break;
		case T_ViewStmt:
			add_relation(objects, "view", ((ViewStmt *) stmt)->view);
			break;
		case T_CreateSeqStmt:
			add_relation(objects, "sequence",
						 ((CreateSeqStmt *) stmt)->sequence);
			break;
		case T_AlterSeqStmt:
			add_relation(objects, "sequence",
						 ((AlterSeqStmt *) stmt)->sequence);
			break;
		case T_CreateTrigStmt:
			add_relation(objects, "table",
						 ((CreateTrigStmt *) stmt)->relation);
			break;
		case T_IndexStmt:
			describe_index(objects, (IndexStmt *) stmt);
			break;
		case T_AlterTableStmt:
			describe_alter_table(objects, (AlterTableStmt *) stmt);
			break;
		case T_RenameStmt:
			describe_rename(objects, (RenameStmt *) stmt);
			break;
		case T_AlterObjectSchemaStmt:
			{
				AlterObjectSchemaStmt *alter = (AlterObjectSchemaStmt *) stmt;
				const char *kind = object_kind(alter->objectType);

				if (alter->relation != NULL)
					begin_object(objects, kind, alter->relation->schemaname,
								 alter->relation->relname);
				else if (alter->object != NULL && IsA(alter->object, List))
					begin_named(objects, kind, (List *) alter->object);
				else
					begin_object(objects, kind, NULL, NULL);
				add_field(objects, "new_schema", alter->newschema);
				end_object(objects);
			}
			break;
		case T_DropStmt:
			describe_drop(objects, (DropStmt *) stmt);
			break;
		case T_TruncateStmt:
			foreach(lc, ((TruncateStmt *) stmt)->relations)
				add_relation(objects, "table", lfirst(lc));
			break;
		case T_LockStmt:
			foreach(lc, ((LockStmt *) stmt)->relations)
				add_relation(objects, "table", lfirst(lc));
			break;
		case T_CreateEnumStmt:
			add_named(objects, "type", ((CreateEnumStmt *) stmt)->typeName);
			break;
		case T_AlterEnumStmt:
			begin_named(objects, "type", ((AlterEnumStmt *) stmt)->typeName);
			add_field(objects, "new_value", ((AlterEnumStmt *) stmt)->newVal);
			end_object(objects);
			break;
		case T_CompositeTypeStmt:
			add_relation(objects, "type", ((CompositeTypeStmt *) stmt)->typevar);
			break;
		case T_CreateDomainStmt:
			add_named(objects, "domain",
					  ((CreateDomainStmt *) stmt)->domainname);
			break;
		case T_CreateFunctionStmt:
			add_named(objects, ((CreateFunctionStmt *) stmt)->is_procedure ?
					  "procedure" : "function",
					  ((CreateFunctionStmt *) stmt)->funcname);
			break;
		case T_CallStmt:
			if (((CallStmt *) stmt)->funccall != NULL)
				add_named(objects, "procedure",
						  ((CallStmt *) stmt)->funccall->funcname);
			break;
		case T_CreateSchemaStmt:
			begin_object(objects, "schema", NULL,
						 ((CreateSchemaStmt *) stmt)->schemaname);
			end_object(objects);
			break;
		case T_CreateExtensionStmt:
			begin_object(objects, "extension", NULL,
						 ((CreateExtensionStmt *) stmt)->extname);
			end_object(objects);
			break;
		case T_VariableSetStmt:
			begin_object(objects, "setting", NULL,
						 ((VariableSetStmt *) stmt)->name);
			end_object(objects);
			break;
		case T_ExplainStmt:
			describe(objects, ((ExplainStmt *) stmt)->query);
			break;
		case T_PrepareStmt:
			describe(objects, ((PrepareStmt *) stmt)->query);
			break;
		default:
			break;
	}
}

/* Skips space and comments before a statement. */
static int
skip_space(const char *sql, int at, int end)
{
	while (at < end)
	{
		int			depth = 0;

		if (scanner_isspace(sql[at]))
			at++;
		else if (sql[at] == '-' && at + 1 < end && sql[at + 1] == '-')
		{
			while (at < end && sql[at] != '\n' && sql[at] != '\r')
				at++;
		}
		else if (sql[at] == '/' && at + 1 < end && sql[at + 1] == '*')
		{
			/* comments nest */
			do
			{
				if (at + 1 < end && sql[at] == '/' && sql[at + 1] == '*')
				{
					depth++;
					at += 2;
				}
				else if (at + 1 < end && sql[at] == '*' && sql[at + 1] == '/')
				{
					depth--;
					at += 2;
				}
				else
					at++;
			} while (at < end && depth > 0);
		}
		else
			break;
	}
	return at;
}

/*
 * Byte offset and length of a statement, without the space and the comments
 * before it and the space after it.
 */
static void
statement_extent(const char *sql, const RawStmt *raw, int *location,
				 int *length)
{
	int			start = Max(raw->stmt_location, 0);
	int			end = raw->stmt_len > 0 ? start + raw->stmt_len :
		start + (int) strlen(sql + start);

	start = skip_space(sql, start, end);
	while (end > start && scanner_isspace(sql[end - 1]))
		end--;
	*location = start;
	*length = end - start;
}

Datum
penstock_classify(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *sql = text_to_cstring(PG_GETARG_TEXT_PP(0));
	List	   *statements = raw_parser(sql, RAW_PARSE_DEFAULT);
	MemoryContext context,
				old_context;
	TupleDesc	desc;
	Tuplestorestate *store;
	ListCell   *lc;
	int			ordinal = 0;

	if (result == NULL || !IsA(result, ReturnSetInfo) ||
		(result->allowedModes & SFRM_Materialize) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-valued function called in context that cannot accept a set")));
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE ||
		desc->natts != CLASSIFY_COLUMNS)
		elog(ERROR, "return type must be a row type of %d columns",
			 CLASSIFY_COLUMNS);
	old_context = MemoryContextSwitchTo(result->econtext->ecxt_per_query_memory);
	desc = CreateTupleDescCopy(desc);
	store = tuplestore_begin_heap((result->allowedModes & SFRM_Materialize_Random) != 0,
								  false, work_mem);
	result->returnMode = SFRM_Materialize;
	result->setResult = store;
	result->setDesc = desc;
	MemoryContextSwitchTo(old_context);

	context = AllocSetContextCreate(CurrentMemoryContext, "penstock classify",
									ALLOCSET_DEFAULT_SIZES);
	foreach(lc, statements)
	{
		RawStmt    *raw = lfirst_node(RawStmt, lc);
		Objects		objects;
		Datum		values[CLASSIFY_COLUMNS];
		bool		nulls[CLASSIFY_COLUMNS] = {false};
		int			location,
					length;

		CHECK_FOR_INTERRUPTS();
		old_context = MemoryContextSwitchTo(context);
		initStringInfo(&objects.json);
		objects.count = 0;
		appendStringInfoChar(&objects.json, '[');
		describe(&objects, raw->stmt);
		appendStringInfoChar(&objects.json, ']');
		statement_extent(sql, raw, &location, &length);

		values[0] = Int32GetDatum(++ordinal);
		values[1] = CStringGetTextDatum(CreateCommandName(raw->stmt));
		values[2] = Int32GetDatum(location);
		values[3] = Int32GetDatum(length);
		values[4] = DirectFunctionCall1(jsonb_in,
										CStringGetDatum(objects.json.data));
		tuplestore_putvalues(store, desc, values, nulls);
		MemoryContextSwitchTo(old_context);
		MemoryContextReset(context);
	}
	MemoryContextDelete(context);
	return (Datum) 0;
}
