-- Takes everything of the service out of a database: slots, subscription, event triggers, row triggers, publication and the
-- schema electric with all that it holds. The application's tables and rows stay. Stop the service first. It may be run again.

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL client_min_messages = warning;

DO $penstock_uninstall$
DECLARE
    main_slot text := 'electric_replication_out_' || left(
        trim(BOTH '_' FROM regexp_replace(lower(current_database()), '[^a-z0-9_]', '_', 'g')), 38);
    part record;
    statement text;
BEGIN
    -- Dropped objects are nobody's concern from here on.
    PERFORM set_config('electric.internal_ddl', 'on', true);
    PERFORM set_config('electric.guard', 'off', true);

    FOR part IN
        SELECT s.slot_name, s.active_pid FROM pg_replication_slots s
        WHERE s.database = current_database() AND s.slot_name IN (main_slot, left(main_slot, 60) || '_rc')
    LOOP
        IF part.active_pid IS NOT NULL THEN
            RAISE EXCEPTION 'replication slot "%" is in use by process %', part.slot_name, part.active_pid
                USING ERRCODE = 'object_in_use', HINT = 'Stop the service, then run this script again.';
        END IF;
        PERFORM pg_drop_replication_slot(part.slot_name);
    END LOOP;

    FOR part IN
        SELECT s.subname, s.subenabled FROM pg_subscription s
        WHERE s.subname = 'postgres_1' AND 'electric_publication' = ANY (s.subpublications)
          AND s.subdbid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
    LOOP
        -- The slot that the subscription names is the service's own: there is nothing to drop at the other end.
        EXECUTE format('ALTER SUBSCRIPTION %I DISABLE', part.subname);
        EXECUTE format('ALTER SUBSCRIPTION %I SET (slot_name = NONE)', part.subname);
        EXECUTE format('DROP SUBSCRIPTION %I', part.subname);
    END LOOP;

    FOR part IN
        -- Those of the extension go with it.
        SELECT t.evtname FROM pg_event_trigger t JOIN pg_proc p ON p.oid = t.evtfoid
        WHERE p.pronamespace = to_regnamespace('electric')
           OR t.evtname IN ('electric_event_trigger_ddl_end', 'electric_event_trigger_sql_drop')
    LOOP
        EXECUTE format('DROP EVENT TRIGGER %I', part.evtname);
    END LOOP;

    IF to_regclass('electric.electrified') IS NOT NULL THEN
        FOR part IN
            SELECT c.oid::regclass AS rel, c.relreplident FROM electric.electrified e JOIN pg_class c ON c.oid = e.oid
        LOOP
            FOR statement IN
                SELECT format('DROP TRIGGER %I ON %s', t.tgname, part.rel) FROM pg_trigger t
                WHERE t.tgrelid = part.rel AND NOT t.tgisinternal AND t.tgname IN (
                    'as_first__save_deleted_rows_to_tombstone_table', 'postgres_write__upsert_generate_shadow_rows',
                    'postgres_write__delete_generate_shadow_rows', 'postgres_write__truncate',
                    'satellite_write__save_operation_for_reordering', 'send_self_and_references_on_insert',
                    'send_self_and_references_on_update')
            LOOP
                EXECUTE statement;
            END LOOP;
            IF part.relreplident = 'f' THEN
                EXECUTE format('ALTER TABLE %s REPLICA IDENTITY DEFAULT', part.rel);
            END IF;
        END LOOP;
    END IF;

    DROP PUBLICATION IF EXISTS electric_publication;
    DROP SCHEMA IF EXISTS electric CASCADE;
END
$penstock_uninstall$;

COMMIT;
