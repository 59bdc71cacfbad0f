-- The electric schema, part 10: who may do what, and the check of the setup.

-- Roles of applications need nothing here: the row functions and the event triggers run with the rights of the schema's owner.
DO $electric$
DECLARE
    routine record;
BEGIN
    FOR routine IN
        SELECT p.oid::regprocedure AS signature FROM pg_proc p
        WHERE p.pronamespace = 'electric'::regnamespace AND p.prokind IN ('f', 'p')
          AND (p.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(p.proacl) a WHERE a.grantee = 0))
          AND p.oid <> 'electric.__session_replication_role()'::regprocedure
    LOOP
        EXECUTE format('REVOKE ALL ON ROUTINE %s FROM PUBLIC', routine.signature);
    END LOOP;
END
$electric$;

-- Lets a role electrify tables and name versions. The tables that it electrifies must belong to the schema's owner.
CREATE OR REPLACE PROCEDURE electric.grant_migrator(role_name name)
LANGUAGE plpgsql SECURITY INVOKER SET search_path = pg_catalog, pg_temp
AS $electric$
DECLARE
    routine text;
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA electric TO %I', role_name);
    FOREACH routine IN ARRAY ARRAY[
        'electric.electrify(text, text)', 'electric.enable(text)', 'electric.disable(text)',
        'electric.__electrify(regclass)', 'electric.__unelectrify(regclass)', 'electric.__resolve_table(text, text)',
        'electric.migration_version(text)', 'electric.assign_migration_version(text, int)']
    LOOP
        EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO %I', routine, role_name);
    END LOOP;
END
$electric$;
REVOKE ALL ON PROCEDURE electric.grant_migrator(name) FROM PUBLIC;

CREATE OR REPLACE FUNCTION electric.main_slot_name() RETURNS name
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $electric$
    SELECT ('electric_replication_out_' || left(
        trim(BOTH '_' FROM regexp_replace(lower(current_database()), '[^a-z0-9_]', '_', 'g')), 38))::name
$electric$;
REVOKE ALL ON FUNCTION electric.main_slot_name() FROM PUBLIC;

-- What stands in the way of the service, row by row. Severity is error (it cannot run), warning or info.
CREATE OR REPLACE FUNCTION electric.check_setup()
RETURNS TABLE (check_name text, ok boolean, severity text, detail text, remedy text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $electric$
DECLARE
    me pg_roles%ROWTYPE;
    count_used int;
    count_max int;
    found text;
    preload text;
    slot record;
BEGIN
    SELECT r.* INTO me FROM pg_roles r WHERE r.rolname = current_user;

    check_name := 'server_version'; severity := 'error';
    ok := current_setting('server_version_num')::int >= 140000;
    detail := 'Postgres ' || current_setting('server_version');
    remedy := CASE WHEN NOT ok THEN 'Use Postgres 14 or newer.' END;
    RETURN NEXT;

    check_name := 'encoding';
    ok := current_setting('server_encoding') = 'UTF8';
    detail := 'The database is encoded in ' || current_setting('server_encoding') || '.';
    remedy := CASE WHEN NOT ok THEN 'Create the database with ENCODING ''UTF8''.' END;
    RETURN NEXT;

    check_name := 'primary';
    ok := NOT pg_is_in_recovery();
    detail := CASE WHEN ok THEN 'The server is a primary.' ELSE 'The server is a standby.' END;
    remedy := CASE WHEN NOT ok THEN 'Connect to the primary.' END;
    RETURN NEXT;

    check_name := 'wal_level';
    ok := current_setting('wal_level') = 'logical';
    detail := 'wal_level is ' || current_setting('wal_level') || '.';
    remedy := CASE WHEN NOT ok THEN 'ALTER SYSTEM SET wal_level = ''logical''; and restart the server.' END;
    RETURN NEXT;

    SELECT s.slot_name, s.wal_status, to_jsonb(s) ->> 'invalidation_reason' AS reason, s.active INTO slot
    FROM pg_replication_slots s WHERE s.slot_name = electric.main_slot_name();
    check_name := 'replication_slot'; severity := 'error';
    ok := slot.slot_name IS NULL OR slot.wal_status IS DISTINCT FROM 'lost';
    detail := CASE WHEN slot.slot_name IS NULL THEN 'The slot has not been made yet.'
                   ELSE format('Slot %s is %s%s.', slot.slot_name, coalesce(slot.wal_status, 'new'),
                               coalesce(' (' || slot.reason || ')', '')) END;
    remedy := CASE WHEN NOT ok THEN 'The service makes the slot anew and clients resynchronise; '
                                    'raise max_slot_wal_keep_size to avoid it.' END;
    RETURN NEXT;

    SELECT count(*) INTO count_used FROM pg_replication_slots;
    count_max := current_setting('max_replication_slots')::int;
    check_name := 'free_replication_slots'; severity := 'error';
    ok := slot.slot_name IS NOT NULL OR count_used < count_max;
    detail := format('%s of %s replication slots are in use.', count_used, count_max);
    remedy := CASE WHEN NOT ok THEN 'Drop a slot that is no longer used, or raise max_replication_slots and restart.' END;
    RETURN NEXT;

    SELECT count(*) INTO count_used FROM pg_stat_activity a WHERE a.backend_type = 'walsender';
    count_max := current_setting('max_wal_senders')::int;
    check_name := 'free_wal_senders';
    ok := count_used < count_max OR coalesce(slot.active, false);
    detail := format('%s of %s WAL senders are in use.', count_used, count_max);
    remedy := CASE WHEN NOT ok THEN 'Raise max_wal_senders and restart.' END;
    RETURN NEXT;

    check_name := 'role_replication';
    ok := me.rolsuper OR me.rolreplication OR EXISTS (
        SELECT FROM pg_roles r WHERE r.rolname IN ('rds_replication', 'rds_superuser')
                                 AND pg_has_role(current_user, r.oid, 'MEMBER'));
    detail := format('Role %I %s replicate.', current_user, CASE WHEN ok THEN 'may' ELSE 'may not' END);
    remedy := CASE WHEN NOT ok THEN format('ALTER ROLE %I REPLICATION; (on RDS: GRANT rds_replication TO %1$I;)',
                                           current_user) END;
    RETURN NEXT;

    check_name := 'role_superuser'; severity := 'info';
    ok := me.rolsuper;
    detail := CASE WHEN ok THEN 'The role is a superuser.' ELSE 'The role is not a superuser.' END;
    remedy := CASE WHEN NOT ok THEN 'Needed for the logical_replication write mode only.' END;
    RETURN NEXT;

    check_name := 'schema_ownership'; severity := 'error';
    SELECT pg_get_userbyid(n.nspowner) INTO found FROM pg_namespace n WHERE n.nspname = 'electric';
    ok := pg_has_role(current_user, found::name, 'USAGE');
    detail := 'Schema electric belongs to role ' || quote_ident(found) || '.';
    remedy := CASE WHEN NOT ok THEN format('GRANT %I TO %I;', found, current_user) END;
    RETURN NEXT;

    SELECT string_agg(format('%I.%I (%I)', e.schema_name, e.table_name, pg_get_userbyid(c.relowner)), ', '
                      ORDER BY e.schema_name, e.table_name) INTO found
    FROM electric.electrified e JOIN pg_class c ON c.oid = e.oid
    WHERE NOT pg_has_role(current_user, c.relowner, 'USAGE');
    check_name := 'table_ownership';
    ok := found IS NULL;
    detail := CASE WHEN ok THEN 'All electrified tables belong to the role.' ELSE 'Tables of other roles: ' || found || '.' END;
    remedy := CASE WHEN NOT ok THEN format('GRANT the owner TO %I; or ALTER TABLE ... OWNER TO %1$I;', current_user) END;
    RETURN NEXT;

    SELECT string_agg(format('%I.%I', e.schema_name, e.table_name), ', ' ORDER BY e.schema_name, e.table_name) INTO found
    FROM electric.electrified e
    WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = e.oid AND c.relreplident = 'f');
    check_name := 'replica_identity'; severity := 'error';
    ok := found IS NULL;
    detail := CASE WHEN ok THEN 'All electrified tables have full replica identity.'
                   ELSE 'Missing, or without full replica identity: ' || found || '.' END;
    remedy := CASE WHEN NOT ok THEN 'ALTER TABLE ... REPLICA IDENTITY FULL;' END;
    RETURN NEXT;

    SELECT pg_get_userbyid(p.pubowner) INTO found FROM pg_publication p WHERE p.pubname = 'electric_publication';
    check_name := 'publication_ownership';
    ok := found IS NOT NULL AND pg_has_role(current_user, found::name, 'USAGE');
    detail := coalesce('Publication electric_publication belongs to role ' || quote_ident(found) || '.',
                       'Publication electric_publication does not exist.');
    remedy := CASE WHEN found IS NULL THEN 'SELECT * FROM electric.ensure_publication();'
                   WHEN NOT ok THEN format('ALTER PUBLICATION electric_publication OWNER TO %I;', current_user) END;
    RETURN NEXT;

    SELECT string_agg(t.rel::text, ', ') INTO found
    FROM electric.__published_tables() AS t(rel)
    WHERE NOT EXISTS (SELECT FROM pg_publication p WHERE p.pubname = 'electric_publication' AND p.puballtables)
      AND NOT EXISTS (SELECT FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
                      WHERE p.pubname = 'electric_publication' AND r.prrelid = t.rel);
    check_name := 'publication_tables'; severity := 'error';
    ok := found IS NULL;
    detail := CASE WHEN ok THEN 'The publication carries all tables that it must.' ELSE 'Missing: ' || found || '.' END;
    remedy := CASE WHEN NOT ok THEN 'SELECT * FROM electric.ensure_publication();' END;
    RETURN NEXT;

    SELECT string_agg(format('%I.%I', e.schema_name, e.table_name), ', ' ORDER BY e.schema_name, e.table_name) INTO found
    FROM electric.electrified e
    WHERE (SELECT count(*) FROM pg_trigger t
           WHERE t.tgrelid = e.oid AND t.tgenabled <> 'D' AND t.tgname IN (
               'as_first__save_deleted_rows_to_tombstone_table', 'postgres_write__upsert_generate_shadow_rows',
               'postgres_write__delete_generate_shadow_rows', 'postgres_write__truncate',
               'satellite_write__save_operation_for_reordering')) < 5;
    check_name := 'row_triggers'; severity := 'error';
    ok := found IS NULL;
    detail := CASE WHEN ok THEN 'All electrified tables have their triggers'
                        || coalesce(' (' || (SELECT string_agg(DISTINCT s.trigger_language, ', ')
                                             FROM electric.table_states s) || ').', '.')
                   ELSE 'Triggers are missing or disabled: ' || found || '.' END;
    remedy := CASE WHEN NOT ok THEN 'SELECT * FROM electric.refresh_tables();' END;
    RETURN NEXT;

    SELECT string_agg(n.nspname || '.' || p.proname, ', ') INTO found
    FROM pg_event_trigger t JOIN pg_proc p ON p.oid = t.evtfoid JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE t.evtname IN ('penstock_ddl_command_end', 'penstock_sql_drop') AND t.evtenabled <> 'D';
    check_name := 'migration_capture'; severity := 'warning';
    ok := (SELECT count(*) = 2 FROM pg_event_trigger t
           WHERE t.evtname IN ('penstock_ddl_command_end', 'penstock_sql_drop') AND t.evtenabled <> 'D');
    detail := coalesce('Event triggers call ' || found || '.',
                       'There are no event triggers: migrations of electrified tables are neither captured nor refused, and clients lose data by them.');
    remedy := CASE WHEN NOT ok THEN 'As superuser: SELECT electric.install_event_triggers(); (or CREATE EXTENSION penstock;)' END;
    RETURN NEXT;

    SELECT s.setting INTO preload FROM pg_settings s WHERE s.name = 'shared_preload_libraries';
    check_name := 'extension'; severity := 'info';
    ok := EXISTS (SELECT FROM pg_extension e WHERE e.extname = 'penstock')
          AND coalesce(preload ~ '(^|[ ,"/])penstock', true);
    detail := concat_ws(' ',
        CASE WHEN EXISTS (SELECT FROM pg_extension e WHERE e.extname = 'penstock') THEN 'The extension is installed.'
             WHEN EXISTS (SELECT FROM pg_available_extensions e WHERE e.name = 'penstock')
             THEN 'The extension is available, not installed.'
             ELSE 'The extension is not available on this server.' END,
        CASE WHEN preload IS NULL THEN 'shared_preload_libraries may not be read by this role.'
             WHEN preload ~ '(^|[ ,"/])penstock' THEN 'Its library is preloaded.'
             ELSE 'Its library is not preloaded.' END);
    remedy := CASE WHEN NOT ok THEN 'Optional: add penstock to shared_preload_libraries, restart, CREATE EXTENSION penstock;' END;
    RETURN NEXT;
END
$electric$;
REVOKE ALL ON FUNCTION electric.check_setup() FROM PUBLIC;
