-- The electric schema, part 9: existing tables are brought up to this version, and a schema of the legacy service is
-- taken over.

-- Brings every electrified table up to date: tables that are gone are forgotten, tables that were restored from a dump get
-- their new identity, changes that nobody has captured are captured, triggers are made as they must be. A table that
-- cannot be brought up to date is reported and does not keep the others from it.
CREATE OR REPLACE FUNCTION electric.refresh_tables(OUT object text, OUT action text) RETURNS SETOF record
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $electric$
DECLARE
    entry electric.electrified%ROWTYPE;
    relation regclass;
    guard text := current_setting('electric.guard', true);
    known boolean;
BEGIN
    IF electric.__guard() = 'enforce' THEN
        PERFORM set_config('electric.guard', 'warn', true);
    END IF;
    FOR entry IN SELECT e.* FROM electric.electrified e ORDER BY e.id LOOP
        object := format('%I.%I', entry.schema_name, entry.table_name);
        relation := to_regclass(object);
        BEGIN
            IF relation IS NULL AND EXISTS (SELECT FROM pg_class c WHERE c.oid = entry.oid AND c.relkind = 'r')
               AND EXISTS (SELECT FROM electric.table_states s WHERE s.electrified_id = entry.id) THEN
                relation := entry.oid::regclass;
            ELSIF relation IS NULL THEN
                PERFORM electric.__forget_table(entry.oid, false);
                action := 'forgotten: the table does not exist';
                RETURN NEXT;
                CONTINUE;
            ELSIF relation::oid <> entry.oid THEN
                UPDATE electric.electrified e SET oid = relation WHERE e.id = entry.id;
                DELETE FROM electric.table_states s WHERE s.electrified_id = entry.id;
                action := 'identity renewed';
                RETURN NEXT;
            END IF;
            known := EXISTS (SELECT FROM electric.table_states s WHERE s.electrified_id = entry.id);
            IF known THEN
                IF electric.note_table_change(relation) THEN
                    action := 'changes taken over';
                    RETURN NEXT;
                END IF;
                PERFORM electric.install_row_triggers(relation);
            ELSE
                PERFORM electric.__rebuild(relation);
                action := 'taken over';
                RETURN NEXT;
            END IF;
        EXCEPTION
            WHEN query_canceled OR admin_shutdown OR lock_not_available OR deadlock_detected THEN
                RAISE;
            WHEN OTHERS THEN
                RAISE WARNING 'electrified table % could not be brought up to date: % (SQLSTATE %)', object, SQLERRM,
                    SQLSTATE;
                action := 'failed: ' || SQLERRM;
                RETURN NEXT;
        END;
    END LOOP;
    PERFORM set_config('electric.guard', coalesce(guard, ''), true);
END
$electric$;

DO $electric$
DECLARE
    first_time boolean := NOT EXISTS (SELECT FROM electric.installation i WHERE i.component = 'schema');
    legacy boolean := EXISTS (SELECT FROM electric.schema_migrations);
    leftover record;
BEGIN
    PERFORM set_config('electric.internal_ddl', 'on', true);
    PERFORM electric.refresh_tables();

    IF first_time AND legacy THEN
        FOR leftover IN
            SELECT t.evtname FROM pg_event_trigger t
            WHERE t.evtname IN ('electric_event_trigger_ddl_end', 'electric_event_trigger_sql_drop')
        LOOP
            BEGIN
                EXECUTE format('DROP EVENT TRIGGER %I', leftover.evtname);
            EXCEPTION WHEN insufficient_privilege THEN
                RAISE WARNING 'event trigger % of the legacy service could not be dropped: its owner must do it',
                    leftover.evtname;
            END;
        END LOOP;
        -- Operators on tags lie in whatever schema came first in its search path.
        FOR leftover IN
            SELECT o.oid::regoperator AS signature FROM pg_operator o
            WHERE o.oprleft = 'electric.tag'::regtype AND o.oprright = 'electric.tag'::regtype
              AND o.oprnamespace <> 'electric'::regnamespace
        LOOP
            BEGIN
                EXECUTE format('DROP OPERATOR %s', leftover.signature);
            EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege THEN
                RAISE WARNING 'operator % of the legacy service could not be dropped', leftover.signature;
            END;
        END LOOP;
        -- Routines of the legacy service that its triggers kept alive, and that nothing has replaced.
        FOR leftover IN
            SELECT p.oid::regprocedure AS signature
            FROM unnest(string_to_array(nullif(current_setting('electric.leftover_routines', true), ''), ' ')) AS l(mark)
            JOIN pg_proc p ON p.oid = split_part(l.mark, ':', 1)::oid AND p.xmin::text = split_part(l.mark, ':', 2)
        LOOP
            BEGIN
                EXECUTE format('DROP ROUTINE %s', leftover.signature);
            EXCEPTION WHEN dependent_objects_still_exist OR undefined_function THEN
                RAISE WARNING 'routine % of the legacy service is still in use and stays', leftover.signature;
            END;
        END LOOP;
    END IF;

    IF first_time THEN
        -- The layout is that of the legacy service's first to last internal migration.
        INSERT INTO electric.schema_migrations (version) VALUES (20230328113927), (20240501000000)
        ON CONFLICT (version) DO NOTHING;
        INSERT INTO electric.installation (component, version, taken_over) VALUES ('schema', 1, legacy);
    END IF;

    PERFORM electric.ensure_publication();
    PERFORM electric.install_event_triggers();
    PERFORM set_config('electric.internal_ddl', '', true);
END
$electric$;
