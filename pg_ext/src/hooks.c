/*-------------------------------------------------------------------------
 *
 * hooks.c
 *		What other backends do for the workers: wake them at commit, and make
 *		them leave a database that is about to be dropped, renamed, moved or
 *		copied.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/xact.h"
#include "nodes/parsenodes.h"
#include "storage/proc.h"
#include "tcop/utility.h"
#include "utils/timestamp.h"

#include "penstock.h"

/* How long a command waits for a worker to leave, in ms. */
#define LEAVE_TIMEOUT		10000

/* A worker comes back by itself if the command's backend has died, in ms. */
#define HOLD_TIME			60000

static ProcessUtility_hook_type previous_utility = NULL;

/* End of this backend's last commit that has been told to the workers. */
static XLogRecPtr told_commit = InvalidXLogRecPtr;

/* Raises the position up to which a worker should flush WAL itself. */
static void
publish_async_commit(PenstockWorker *worker, XLogRecPtr lsn)
{
	uint64		seen = pg_atomic_read_u64(&worker->async_lsn);

	while (seen < lsn &&
		   !pg_atomic_compare_exchange_u64(&worker->async_lsn, &seen, lsn))
		;
}

/*
 * Wakes the worker of this database after a commit that has written WAL.
 * Runs in every backend, so: no lock, no system call unless the worker sleeps.
 */
static void
wake_at_commit(XactEvent event, void *arg)
{
	int			i;

	if (event != XACT_EVENT_COMMIT || XactLastCommitEnd == told_commit)
		return;
	told_commit = XactLastCommitEnd;
	for (i = 0; i < penstock_shared->nworkers; i++)
	{
		PenstockWorker *worker = &penstock_shared->workers[i];
		Latch	   *latch = worker->latch;

		if (worker->dboid != MyDatabaseId || !worker->streaming ||
			latch == NULL || latch == MyLatch)
			continue;
		if (synchronous_commit == SYNCHRONOUS_COMMIT_OFF)
			publish_async_commit(worker, XactLastCommitEnd);
		SetLatch(latch);
	}
}

static PenstockWorker *
worker_for(const char *database)
{
	int			i;

	for (i = 0; database != NULL && i < penstock_shared->nworkers; i++)
	{
		if (strcmp(penstock_shared->workers[i].database, database) == 0)
			return &penstock_shared->workers[i];
	}
	return NULL;
}

/* The database that must be empty for a command, or NULL. */
static const char *
database_to_leave(Node *statement)
{
	ListCell   *cell;

	if (IsA(statement, DropdbStmt))
		return castNode(DropdbStmt, statement)->dbname;
	if (IsA(statement, RenameStmt) &&
		castNode(RenameStmt, statement)->renameType == OBJECT_DATABASE)
		return castNode(RenameStmt, statement)->subname;
	if (IsA(statement, AlterDatabaseStmt))
	{
		foreach(cell, castNode(AlterDatabaseStmt, statement)->options)
		{
			if (strcmp(lfirst_node(DefElem, cell)->defname, "tablespace") == 0)
				return castNode(AlterDatabaseStmt, statement)->dbname;
		}
	}
	if (IsA(statement, CreatedbStmt))
	{
		foreach(cell, castNode(CreatedbStmt, statement)->options)
		{
			DefElem    *option = lfirst_node(DefElem, cell);

			if (strcmp(option->defname, "template") == 0 &&
				option->arg != NULL && IsA(option->arg, String))
				return strVal(option->arg);
		}
	}
	return NULL;
}

/* The database that exists under a new name after a command, or NULL. */
static const char *
database_made(Node *statement)
{
	if (IsA(statement, CreatedbStmt))
		return castNode(CreatedbStmt, statement)->dbname;
	if (IsA(statement, RenameStmt) &&
		castNode(RenameStmt, statement)->renameType == OBJECT_DATABASE)
		return castNode(RenameStmt, statement)->newname;
	return NULL;
}

static void
set_hold(PenstockWorker *worker, TimestampTz until)
{
	Latch	   *latch;

	SpinLockAcquire(&worker->mutex);
	worker->hold_until = until;
	SpinLockRelease(&worker->mutex);
	latch = worker->latch;
	if (latch != NULL)
		SetLatch(latch);
}

static void
set_absent(PenstockWorker *worker, bool absent)
{
	Latch	   *latch;

	SpinLockAcquire(&worker->mutex);
	worker->absent = absent;
	worker->failures = 0;
	SpinLockRelease(&worker->mutex);
	latch = worker->latch;
	if (latch != NULL)
		SetLatch(latch);
}

/*
 * Makes a worker leave its database and waits until it has let go of its
 * slot.  The command itself then waits for its process to end.
 */
static void
make_worker_leave(PenstockWorker *worker)
{
	TimestampTz begin = GetCurrentTimestamp();

	set_hold(worker, TimestampTzPlusMilliseconds(begin, HOLD_TIME));
	ConditionVariablePrepareToSleep(&worker->left);
	while (OidIsValid(worker->dboid) &&
		   !TimestampDifferenceExceeds(begin, GetCurrentTimestamp(),
									   LEAVE_TIMEOUT))
		ConditionVariableTimedSleep(&worker->left, 100, PenstockWaitEvent());
	ConditionVariableCancelSleep();
}

/* May this user disturb the worker of a database? */
static bool
may_disturb(const char *database)
{
	Oid			dboid = get_database_oid(database, true);

	return OidIsValid(dboid) && PenstockOwnsDatabase(dboid);
}

static void
run_utility(PlannedStmt *pstmt, const char *query, bool read_only,
			ProcessUtilityContext context, ParamListInfo params,
			QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc)
{
	if (previous_utility)
		previous_utility(pstmt, query, read_only, context, params, env, dest,
						 qc);
	else
		standard_ProcessUtility(pstmt, query, read_only, context, params, env,
								dest, qc);
}

static void
watch_database_commands(PlannedStmt *pstmt, const char *query, bool read_only,
						ProcessUtilityContext context, ParamListInfo params,
						QueryEnvironment *env, DestReceiver *dest,
						QueryCompletion *qc)
{
	Node	   *statement = pstmt->utilityStmt;
	PenstockWorker *leaving = worker_for(database_to_leave(statement));
	PenstockWorker *made = worker_for(database_made(statement));
	bool		gone = IsA(statement, DropdbStmt) || IsA(statement, RenameStmt);

	if (leaving != NULL && may_disturb(leaving->database))
	{
		PG_TRY();
		{
			make_worker_leave(leaving);
			run_utility(pstmt, query, read_only, context, params, env, dest,
						qc);
			if (gone)
				set_absent(leaving, true);
		}
		PG_FINALLY();
		{
			set_hold(leaving, 0);
		}
		PG_END_TRY();
	}
	else
		run_utility(pstmt, query, read_only, context, params, env, dest, qc);
	if (made != NULL)
		set_absent(made, false);
}

/* Called while libraries are preloaded: the hooks are inherited. */
void
penstock_hooks_init(void)
{
	if (penstock_database_list(penstock_databases) == NIL)
		return;
	RegisterXactCallback(wake_at_commit, NULL);
	previous_utility = ProcessUtility_hook;
	ProcessUtility_hook = watch_database_commands;
}
