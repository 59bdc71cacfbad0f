# Installation, and what stands after it.
new_database install
silent "installing again changes nothing and says nothing" "$(install_schema install)"
silent "and once more" "$(install_schema install)"
check "tables of the layout" "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relnamespace = 'electric'::regnamespace AND relkind = 'r' AND relname NOT IN ('installation', 'table_states')" \
    "acknowledged_client_lsns assignments client_actions client_additional_data client_checkpoints client_shape_subscriptions client_unsub_points ddl_commands electrified grants migration_versions roles schema schema_migrations transaction_marker"
check "publication carries the seven" "SELECT string_agg(tablename, ' ' ORDER BY tablename) FROM pg_publication_tables WHERE pubname = 'electric_publication'" \
    "acknowledged_client_lsns assignments ddl_commands electrified grants roles transaction_marker"
check "every definer routine pins its search path" "SELECT string_agg(oid::regprocedure::text, ' ') FROM pg_proc WHERE pronamespace = 'electric'::regnamespace AND prosecdef AND NOT coalesce(proconfig::text LIKE '%search_path%', false)" ""
check "only harmless routines are open to all" "SELECT string_agg(p.proname, ' ' ORDER BY p.proname) FROM pg_proc p WHERE pronamespace = 'electric'::regnamespace AND (proacl IS NULL OR EXISTS (SELECT FROM aclexplode(proacl) a WHERE a.grantee = 0))" \
    __session_replication_role
check "cluster id is a string" "SELECT jsonb_typeof(content) FROM electric.transaction_marker WHERE id = 'cluster_id'" string
check "setup is in order" "SELECT string_agg(check_name, ' ') FROM electric.check_setup() WHERE NOT ok AND severity <> 'info'" ""
check "slot name" "SELECT electric.main_slot_name()" electric_replication_out_install

sql "DROP PUBLICATION electric_publication" >/dev/null
check "setup reports the missing publication" "SELECT string_agg(check_name, ' ') FROM electric.check_setup() WHERE NOT ok AND severity = 'error'" "publication_ownership publication_tables"
check "publication is made anew" "SELECT string_agg(action, ',') FROM electric.ensure_publication()" "created,table added,table added,table added,table added,table added,table added,table added"
check "nothing more to do" "SELECT count(*) FROM electric.ensure_publication()" 0
sql "ALTER PUBLICATION electric_publication DROP TABLE electric.grants; ALTER PUBLICATION electric_publication SET (publish = 'insert')" >/dev/null
check "publication is repaired" "SELECT string_agg(action || ' ' || object, ', ') FROM electric.ensure_publication()" "operations restored electric_publication, table added electric.grants"

check "tags order by time" "SELECT ROW('2024-01-01', 'b')::electric.unbounded_tag::electric.tag OPERATOR(electric.<) ROW('2024-01-02', 'a')::electric.unbounded_tag::electric.tag" t
check "a tag without source sorts above" "SELECT ROW('2024-01-01', NULL)::electric.unbounded_tag::electric.tag OPERATOR(electric.>) ROW('2024-01-01', 'z')::electric.unbounded_tag::electric.tag" t
begins "a tag needs a time" "SELECT '(,x)'::electric.tag" 23514

sql "INSERT INTO electric.schema_migrations (version) VALUES (20990101000000)" >/dev/null
case "$(install_schema install)" in
    *"holds versions that are not known here: 20990101000000"*) passed=$((passed + 1)) ;;
    *) result "a schema of the future is refused" refusal "something else" ;;
esac
sql "DELETE FROM electric.schema_migrations WHERE version = 20990101000000" >/dev/null

# Versions.
script >/dev/null <<'SQL'
BEGIN; CALL electric.capture_ddl('one'); CALL electric.capture_ddl('one'); CALL electric.capture_ddl('two'); COMMIT;
BEGIN; CALL electric.assign_migration_version('b', 2); CALL electric.assign_migration_version('c', 2); CALL electric.capture_ddl('three'); COMMIT;
BEGIN; CALL electric.migration_version('zz'); CALL electric.assign_migration_version('low', 4); CALL electric.capture_ddl('four'); COMMIT;
BEGIN; CALL electric.migration_version('a'); CALL electric.capture_ddl('five'); COMMIT;
SQL
check "a statement counts once in a transaction" "SELECT string_agg(query, ' ' ORDER BY id) FROM electric.ddl_commands" "one two three four five"
check "the higher priority wins" "SELECT string_agg(version, ' ' ORDER BY txid) FROM electric.migration_versions WHERE priority > 0" "b zz a"
check "labels rise in the order of commits" "SELECT string_agg(label, ' ' ORDER BY txid) FROM electric.migration_versions WHERE priority > 0" "b zz zz_r000001"
check "automatic versions are UTC time" "SELECT version ~ '^[0-9]{14}_[0-9]{3}\$' AND abs(extract(epoch FROM to_timestamp(left(version, 14), 'YYYYMMDDHH24MISS') - now())) < 60 FROM electric.migration_versions WHERE priority = 0" t
begins "a version serves once" "CALL electric.migration_version('zz')" "23505"
check "a label after a label with suffix" "BEGIN; CALL electric.capture_ddl('six'); COMMIT; SELECT label FROM electric.migration_versions ORDER BY txid DESC LIMIT 1" zz_r000002
silent "many migrations at the same moment" "$(for i in 1 2 3 4 5 6 7 8; do sql "BEGIN; CALL electric.capture_ddl('x'); COMMIT" & done; wait)"
check "labels stay distinct" "SELECT count(*) = count(DISTINCT label) FROM electric.migration_versions" t
