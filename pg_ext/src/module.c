/*-------------------------------------------------------------------------
 *
 * module.c
 *		Settings, and registration of hooks and workers.
 *
 * With the library in shared_preload_libraries there is one worker for each
 * database named in penstock.databases.  Without it the SQL functions and
 * triggers of the extension work, and there is no worker.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <limits.h>
#include <sys/un.h>

#include "nodes/pg_list.h"
#include "postmaster/bgworker.h"
#include "utils/builtins.h"
#include "utils/varlena.h"

#include "penstock.h"

PENSTOCK_MODULE_MAGIC(PENSTOCK_VERSION);

/* Seconds until the postmaster starts an ended worker again. */
#define RESTART_TIME	2

char	   *penstock_databases = NULL;
char	   *penstock_socket = NULL;
char	   *penstock_socket_peers = NULL;
char	   *penstock_slot_prefix = NULL;
bool		penstock_enabled = true;
int			penstock_send_buffer = 1024;
int			penstock_stall_timeout = 60000;
int			penstock_max_slot_lag = 0;
int			penstock_max_slot_lag_action = PENSTOCK_LAG_WARN;
int			penstock_async_flush_interval = 2;
int			penstock_reconnect_interval = 2000;

static const struct config_enum_entry lag_actions[] = {
	{"warn", PENSTOCK_LAG_WARN, false},
	{"drop", PENSTOCK_LAG_DROP, false},
	{NULL, 0, false}
};

/* Splits a list of database names; NIL for an empty one. */
List *
penstock_database_list(const char *value)
{
	List	   *names = NIL;

	if (value == NULL || !SplitGUCList(pstrdup(value), ',', &names))
		return NIL;
	return names;
}

static bool
check_databases(char **newval, void **extra, GucSource source)
{
	List	   *names = NIL;
	ListCell   *cell;

	if (!SplitGUCList(pstrdup(*newval), ',', &names))
	{
		GUC_check_errdetail("List syntax is invalid.");
		return false;
	}
	if (list_length(names) > PENSTOCK_MAX_DATABASES)
	{
		GUC_check_errdetail("At most %d databases can be named.",
							PENSTOCK_MAX_DATABASES);
		return false;
	}
	foreach(cell, names)
	{
		char	   *name = (char *) lfirst(cell);
		ListCell   *other;

		if (name[0] == '\0' || strlen(name) >= NAMEDATALEN)
		{
			GUC_check_errdetail("\"%s\" is not a database name.", name);
			return false;
		}
		for_each_cell(other, names, lnext(names, cell))
		{
			if (strcmp(name, (char *) lfirst(other)) == 0)
			{
				GUC_check_errdetail("\"%s\" is named twice.", name);
				return false;
			}
		}
	}
	return true;
}

static bool
check_socket(char **newval, void **extra, GucSource source)
{
	if ((*newval)[0] != '/')
	{
		GUC_check_errdetail("The path must be absolute.");
		return false;
	}
	if (strlen(*newval) >= sizeof(((struct sockaddr_un *) 0)->sun_path))
	{
		GUC_check_errdetail("The path is too long for a Unix socket.");
		return false;
	}
	return true;
}

static bool
check_slot_prefix(char **newval, void **extra, GucSource source)
{
	size_t		n = strlen(*newval);

	if (n == 0 || n > 40 ||
		strspn(*newval, "abcdefghijklmnopqrstuvwxyz0123456789_") != n)
	{
		GUC_check_errdetail("The prefix must have 1 to 40 characters of a-z, 0-9 and underscore.");
		return false;
	}
	return true;
}

static void
define_start_settings(void)
{
	DefineCustomStringVariable("penstock.databases",
							   "Lists the databases that have a worker.",
							   "A comma-separated list. Empty means no worker.",
							   &penstock_databases, "",
							   PGC_POSTMASTER, GUC_LIST_INPUT,
							   check_databases, NULL, NULL);
	DefineCustomStringVariable("penstock.socket",
							   "Sets the path of the socket on which the sidecar listens.",
							   NULL,
							   &penstock_socket,
							   "/var/run/penstock/penstock.sock",
							   PGC_POSTMASTER, GUC_SUPERUSER_ONLY,
							   check_socket, NULL, NULL);
	DefineCustomStringVariable("penstock.slot_prefix",
							   "Sets the beginning of the name of replication slots.",
							   "The rest of the name is made from the database's name.",
							   &penstock_slot_prefix,
							   "electric_replication_out_",
							   PGC_POSTMASTER, 0,
							   check_slot_prefix, NULL, NULL);
}

static void
define_reloadable_settings(void)
{
	DefineCustomStringVariable("penstock.socket_peers",
							   "Lists the users the sidecar may run as.",
							   "A comma-separated list of user names and numbers, besides the server's own user and root.",
							   &penstock_socket_peers, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
	DefineCustomBoolVariable("penstock.enabled",
							 "Lets the workers run.",
							 "When off, workers leave their database and hold no slot.",
							 &penstock_enabled, true,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("penstock.send_buffer",
							"Sets the size of unsent output at which decoding pauses.",
							NULL,
							&penstock_send_buffer, 1024, 64, 262144,
							PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("penstock.stall_timeout",
							"Sets the time without progress after which a worker counts as stalled.",
							"0 turns the check off.",
							&penstock_stall_timeout, 60000, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("penstock.max_slot_lag",
							"Sets the amount of WAL a slot may hold back.",
							"Beyond it penstock.max_slot_lag_action applies. 0 turns the limit off.",
							&penstock_max_slot_lag, 0, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MB, NULL, NULL, NULL);
	DefineCustomEnumVariable("penstock.max_slot_lag_action",
							 "Says what happens beyond penstock.max_slot_lag.",
							 "warn logs a warning each minute; drop drops the slot, and the sidecar starts over.",
							 &penstock_max_slot_lag_action,
							 PENSTOCK_LAG_WARN, lag_actions,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("penstock.async_flush_interval",
							"Sets the pause between flushes of WAL for commits that did not wait for one.",
							"0 sets no bound; -1 leaves such flushes to the WAL writer.",
							&penstock_async_flush_interval, 2, -1, 10000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("penstock.reconnect_interval",
							"Sets the longest time between attempts to reach the sidecar.",
							NULL,
							&penstock_reconnect_interval, 2000, 100, 600000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
}

static void
register_worker(int index, const char *database)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = RESTART_TIME;
	snprintf(worker.bgw_library_name, BGW_MAXLEN, "penstock");
	snprintf(worker.bgw_function_name, BGW_MAXLEN, "penstock_worker_main");
	snprintf(worker.bgw_name, BGW_MAXLEN, "penstock worker for %s", database);
	snprintf(worker.bgw_type, BGW_MAXLEN, "penstock worker");
	worker.bgw_main_arg = Int32GetDatum(index);
	RegisterBackgroundWorker(&worker);
}

void
_PG_init(void)
{
	if (process_shared_preload_libraries_in_progress)
	{
		List	   *databases;
		ListCell   *cell;

		define_start_settings();
		define_reloadable_settings();
		PenstockReserveGUCPrefix("penstock");
		databases = penstock_database_list(penstock_databases);
		penstock_state_init(databases);
		penstock_hooks_init();
		foreach(cell, databases)
			register_worker(foreach_current_index(cell),
							(char *) lfirst(cell));
	}
	if (penstock_row_triggers_init)
		penstock_row_triggers_init();
	if (penstock_ddl_init)
		penstock_ddl_init();
}
