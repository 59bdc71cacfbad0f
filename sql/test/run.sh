#!/bin/bash
# Tests of the SQL side against a private cluster. Needs bash and the programs of Postgres alone.
#
#   PG_BINDIR  programs of the server to test (default: the newest under /usr/lib/postgresql)
#   EXTENSION  1: install the penstock extension too, so that its triggers are tested; it must be in the server's library
#              directory
#
# Prints every failure, and last `N passed, N failed`.
set -u
here=$(cd "$(dirname "$0")" && pwd)
bindir=${PG_BINDIR:-$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)}
work=$(mktemp -d /tmp/penstock-sql-test.XXXXXX)
port=$((20000 + RANDOM % 20000))
passed=0
failed=0

as_postgres() {
    if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi
}
[ "$(id -u)" = 0 ] && chown postgres "$work"
cd "$work" || exit 2

stop() {
    as_postgres "$bindir/pg_ctl" -D "$work/data" -m immediate stop >/dev/null 2>&1
    cd / && rm -rf "$work"
}
trap stop EXIT

as_postgres "$bindir/initdb" -D "$work/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 >"$work/initdb.log" 2>&1 \
    || { cat "$work/initdb.log"; exit 2; }
options="-p $port -k $work -c listen_addresses='' -c wal_level=logical -c fsync=off -c max_prepared_transactions=4"
[ "${EXTENSION:-0}" = 1 ] && options="$options -c shared_preload_libraries=penstock"
as_postgres "$bindir/pg_ctl" -D "$work/data" -w -l "$work/log" -o "$options" start >/dev/null 2>&1 \
    || { cat "$work/log"; exit 2; }

export PGHOST=$work PGPORT=$port PGUSER=postgres PGDATABASE=postgres PGCLIENTENCODING=UTF8
export PGOPTIONS="-c client_min_messages=warning -c TimeZone=UTC"

run() { "$bindir/psql" -X -q -A -t -v ON_ERROR_STOP=1 "$@" 2>&1; }
# What the service does at its start.
install_schema() { cat "$here"/../electric/*.sql | run -1 -d "$1" -f -; }
sql() { run -d "$database" -c "$1"; }
script() { run -d "$database" -f - ; }

result() { # name, expected, actual
    if [ "$2" = "$3" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED %s\n  expected: %s\n  actual:   %s\n' "$1" "$2" "$3"
    fi
}
check() { result "$1" "$3" "$(sql "$2")"; } # name, query, expected
begins() { # name, statement, expected beginning of `SQLSTATE message`
    local actual
    actual=$(sql "SELECT split_part(test.failure(\$statement\$$2\$statement\$), E'\n', 1)")
    case "$actual" in
        "$3"*) passed=$((passed + 1)) ;;
        *) result "$1" "$3" "$actual" ;;
    esac
}
silent() { result "$1" "" "$2"; } # name, output

new_database() {
    database=$1
    run -c "CREATE DATABASE \"$1\"" >/dev/null
    [ "${EXTENSION:-0}" = 1 ] && sql 'CREATE EXTENSION penstock'
    silent "$1: schema installs" "$(install_schema "$1")"
    silent "$1: helpers" "$(run -d "$1" -f "$here/lib.sql")"
}
# Statements of a client's transaction.
client() {
    { echo "SET electric.session_replication_role = replica; BEGIN;"; cat; echo "; COMMIT;"; } | script
}

for part in "$here"/cases/*.sh; do
    . "$part"
done

echo "server $("$bindir/postgres" --version | awk '{print $3}'), row triggers in $(run -d install -c \
    "SELECT CASE WHEN electric.__c_triggers_available() THEN 'C' ELSE 'PL/pgSQL' END")"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
