# Roles: a service that is no superuser, applications that know nothing of it.
database=postgres
fill() { sed -e "s/{{role}}/\"el\"\"ectric\"/g; s/{{database}}/\"roles\"/g; s/{{password}}/PASSWORD 'sec''ret'/g" -e "/^{{event_triggers}}/{
r $here/../electric/085-event-triggers.sql
d
}" "$here/../$1"; }
run -c 'CREATE DATABASE roles' >/dev/null
database=roles
script >/dev/null <<'SQL'
CREATE ROLE owner LOGIN; CREATE ROLE app LOGIN; CREATE ROLE stranger LOGIN; CREATE ROLE migrator LOGIN;
GRANT CREATE ON SCHEMA public TO owner, migrator;
SET ROLE owner; CREATE TABLE things (id int PRIMARY KEY, v text); CREATE TABLE parts (id int PRIMARY KEY, thing int REFERENCES things (id) ON DELETE CASCADE);
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON things, parts TO app;
SQL
silent "roles for direct writes" "$(fill roles-direct-writes.sql | script)"
silent "a second time" "$(fill roles-direct-writes.sql | script)"
sql "CREATE TABLE kept AS SELECT rolpassword FROM pg_authid WHERE rolname = 'el\"ectric'" >/dev/null
silent "without a password" "$(fill roles-direct-writes.sql | sed "s/ PASSWORD 'sec''ret'//" | script)"
check "the role keeps its own" "SELECT k.rolpassword = a.rolpassword FROM kept k, pg_authid a WHERE a.rolname = 'el\"ectric'" t
sql "DROP TABLE kept" >/dev/null
check "attributes" "SELECT rolcanlogin, rolreplication, rolsuper FROM pg_roles WHERE rolname = 'el\"ectric'" "t|t|f"
as() { PGUSER=$1 "$bindir/psql" -X -q -A -t -v ON_ERROR_STOP=1 -d roles -c "$2" 2>&1; }
silent "the service installs the schema" "$(cat "$here"/../electric/*.sql | PGUSER='el"ectric' run -1 -d roles -f -)"
silent "and again" "$(cat "$here"/../electric/*.sql | PGUSER='el"ectric' run -1 -d roles -f -)"
run -d roles -f "$here/lib.sql" >/dev/null
check "nothing is missing: the roles came with the event triggers" "SET ROLE 'el\"ectric'; SELECT string_agg(check_name, ' ') FROM electric.check_setup() WHERE NOT ok AND severity <> 'info'" ""
sql "DROP EVENT TRIGGER penstock_ddl_command_end" >/dev/null
check "what is missing" "SET ROLE 'el\"ectric'; SELECT string_agg(check_name, ' ') FROM electric.check_setup() WHERE NOT ok AND severity <> 'info'" "migration_capture"
check "a superuser makes the event triggers" "SELECT electric.install_event_triggers()" schema
check "nothing is missing" "SET ROLE 'el\"ectric'; SELECT string_agg(check_name, ' ') FROM electric.check_setup() WHERE NOT ok AND severity <> 'info'" ""
silent "the service electrifies" "$(as 'el"ectric' "CALL electric.electrify('things'); CALL electric.electrify('parts')")"
silent "an application writes without any right on the schema" "$(as app "INSERT INTO things VALUES (1, 'a'), (2, 'b'); INSERT INTO parts VALUES (1, 1); UPDATE things SET v = 'c'; DELETE FROM things WHERE id = 1; TRUNCATE things, parts; INSERT INTO things VALUES (3, 'c')")"
check "and is tagged" "SELECT string_agg(id || ' ' || test.sources(_tags), ', ' ORDER BY id) FROM electric.shadow__public__things" "1 , 2 , 3 postgres_1"
for call in "electric.electrify('things')" "electric.migration_version('1')" "electric.capture_ddl('x')" "electric.disable('things')"; do
    case "$(as stranger "CALL $call")" in
        *"permission denied"*) passed=$((passed + 1)) ;;
        *) result "a stranger may not CALL $call" "permission denied" "something else" ;;
    esac
done
case "$(as stranger "SELECT * FROM electric.shadow__public__things")" in
    *"permission denied"*) passed=$((passed + 1)) ;;
    *) result "a stranger may not read shadows" "permission denied" "something else" ;;
esac
silent "the owner's migration is captured" "$(as owner "ALTER TABLE things ADD COLUMN w int")"
check "in the database" "SELECT query FROM electric.ddl_commands ORDER BY id DESC LIMIT 1" 'ALTER TABLE "public"."things" ADD COLUMN "w" integer'
case "$(as owner "DROP TABLE parts")" in
    *'Cannot drop electrified table "public"."parts"'*) passed=$((passed + 1)) ;;
    *) result "the owner's DROP is refused" refusal "something else" ;;
esac
sql "CALL electric.grant_migrator('migrator')" >/dev/null
as migrator "CREATE TABLE mine (id int PRIMARY KEY)" >/dev/null
case "$(as migrator "CALL electric.electrify('mine')")" in
    *'must own table public.mine to electrify it'*) passed=$((passed + 1)) ;;
    *) result "a table of somebody else is refused" refusal "something else" ;;
esac
sql "GRANT migrator TO \"el\"\"ectric\"" >/dev/null
silent "a migrator electrifies" "$(as migrator "BEGIN; CALL electric.migration_version('2024'); CALL electric.electrify('mine'); COMMIT")"
check "under its version" "SELECT label LIKE '%_r000001', version FROM electric.migration_versions WHERE version = '2024'" "t|2024"
silent "a client writes through the service's role" "$({ echo "SET electric.session_replication_role = replica;"; echo "BEGIN; INSERT INTO things (id, v, w) VALUES (9, 'client', 1); INSERT INTO electric.shadow__public__things (id, _tag, _is_a_delete_operation, _observed_tags, _modified_columns_bit_mask) VALUES (9, '(\"2024-01-01T00:00:00.000Z\",c1)', false, '{}', '{t,t}'); COMMIT;"; } | PGUSER='el"ectric' run -d roles -f -)"
check "and it is there" "SELECT v, test.tag(_tag) FROM things JOIN electric.shadow__public__things USING (id) WHERE id = 9" "client|c1@1704067200000"
silent "roles for logical replication" "$(fill roles-logical-replication.sql | script; fill roles-logical-replication.sql | script)"
check "superuser" "SELECT rolsuper FROM pg_roles WHERE rolname = 'el\"ectric'" t
sql "ALTER ROLE \"el\"\"ectric\" NOSUPERUSER" >/dev/null

# Uninstalling.
sql "SELECT pg_create_logical_replication_slot(electric.main_slot_name(), 'pgoutput')" >/dev/null
sql "CREATE SUBSCRIPTION postgres_1 CONNECTION 'host=localhost port=1 dbname=electric' PUBLICATION electric_publication WITH (connect = false)" >/dev/null
silent "uninstall" "$(script <"$here/../uninstall.sql")"
silent "a second time" "$(script <"$here/../uninstall.sql")"
check "nothing is left" "SELECT (SELECT count(*) FROM pg_replication_slots WHERE database = 'roles'), (SELECT count(*) FROM pg_subscription), (SELECT count(*) FROM pg_publication), (SELECT count(*) FROM pg_event_trigger t JOIN pg_proc p ON p.oid = t.evtfoid WHERE p.pronamespace <> coalesce(to_regnamespace('penstock'), 0)), (SELECT count(*) FROM pg_namespace WHERE nspname = 'electric'), (SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal), (SELECT string_agg(relreplident, '') FROM pg_class WHERE relname IN ('things', 'parts', 'mine'))" "0|0|0|0|0|0|ddd"
check "the rows stay" "SELECT count(*) FROM things" 2
silent "and it installs again" "$(install_schema roles)"
