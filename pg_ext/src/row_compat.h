/*-------------------------------------------------------------------------
 *
 * row_compat.h
 *		One spelling for the executor and access method calls of the row
 *		triggers that differ between PostgreSQL 14 and 18.
 *
 * All tests of PG_VERSION_NUM for the row triggers are here.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENSTOCK_ROW_COMPAT_H
#define PENSTOCK_ROW_COMPAT_H

#include "postgres.h"

#include "access/genam.h"
#include "access/tableam.h"
#include "executor/executor.h"
#include "nodes/parsenodes.h"
#include "replication/message.h"
#include "utils/guc.h"

/* Which indexes an update touched is an enum: 16. */
#if PG_VERSION_NUM >= 160000
typedef TU_UpdateIndexes PenstockUpdateIndexes;
#define PenstockAnyIndexes(which)	((which) != TU_None)
#define PenstockInsertIndexTuples(rri, slot, estate, which) \
	ExecInsertIndexTuples(rri, slot, estate, true, false, NULL, NIL, \
						  (which) == TU_Summarizing)
#define PenstockInsertIndexTuplesArbiter(rri, slot, estate, conflict, list) \
	ExecInsertIndexTuples(rri, slot, estate, false, true, conflict, list, \
						  false)
#else
typedef bool PenstockUpdateIndexes;
#define PenstockAnyIndexes(which)	(which)
#define PenstockInsertIndexTuples(rri, slot, estate, which) \
	ExecInsertIndexTuples(rri, slot, estate, true, false, NULL, NIL)
#define PenstockInsertIndexTuplesArbiter(rri, slot, estate, conflict, list) \
	ExecInsertIndexTuples(rri, slot, estate, false, true, conflict, list)
#endif

/* Index scans are instrumented: 18. */
#if PG_VERSION_NUM >= 180000
#define PenstockIndexBeginScan(rel, index, snapshot, nkeys) \
	index_beginscan(rel, index, snapshot, NULL, nkeys, 0)
#else
#define PenstockIndexBeginScan(rel, index, snapshot, nkeys) \
	index_beginscan(rel, index, snapshot, nkeys, 0)
#endif

/* Logical messages can be flushed: 17. */
#if PG_VERSION_NUM >= 170000
#define PenstockLogMessage(prefix, text, size) \
	LogLogicalMessage(prefix, text, size, true, false)
#else
#define PenstockLogMessage(prefix, text, size) \
	LogLogicalMessage(prefix, text, size, true)
#endif

/* Foreign keys that set some columns on delete: 15. */
#if PG_VERSION_NUM >= 150000
#define PenstockForeignKeyColumns(tuple, nkeys, child, parent) \
	DeconstructFkConstraintRow(tuple, nkeys, child, parent, NULL, NULL, NULL, \
							   NULL, NULL)
#else
#define PenstockForeignKeyColumns(tuple, nkeys, child, parent) \
	DeconstructFkConstraintRow(tuple, nkeys, child, parent, NULL, NULL, NULL)
#endif

/* MERGE: 15.  The relation a statement merges into, NULL for others. */
#if PG_VERSION_NUM >= 150000
#define PenstockDescribeMerge(stmt) \
	(IsA(stmt, MergeStmt) ? ((MergeStmt *) (stmt))->relation : NULL)
#else
#define PenstockDescribeMerge(stmt)		((RangeVar *) NULL)
#endif

/* Clauses of ALTER TABLE that came later: 15, 17. */
#if PG_VERSION_NUM >= 170000
#define PENSTOCK_SUBCOMMANDS(name) name(SetAccessMethod); name(SetExpression);
#elif PG_VERSION_NUM >= 150000
#define PENSTOCK_SUBCOMMANDS(name) name(SetAccessMethod);
#else
#define PENSTOCK_SUBCOMMANDS(name)
#endif


#endif							/* PENSTOCK_ROW_COMPAT_H */
