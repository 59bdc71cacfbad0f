-- The electric schema, part 8b: the event triggers. With the extension they belong to it; without it they are made here if the
-- role may. `penstock sql direct-writes` has this part, too, for a superuser to run before the service has installed anything.
-- Where they are missing, migrations are neither seen nor refused.

CREATE OR REPLACE FUNCTION electric.__on_ddl_command_end() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $electric$
BEGIN
    IF to_regprocedure('electric.ddl_command_end_hook()') IS NOT NULL THEN
        PERFORM electric.ddl_command_end_hook();
    END IF;
END
$electric$;

CREATE OR REPLACE FUNCTION electric.__on_sql_drop() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $electric$
BEGIN
    IF to_regprocedure('electric.sql_drop_hook()') IS NOT NULL THEN
        PERFORM electric.sql_drop_hook();
    END IF;
END
$electric$;

-- Returns who captures migrations: the extension, the schema itself, or nobody.
-- Runs with the caller's rights, so that a superuser can do it for a service that is none.
CREATE OR REPLACE FUNCTION electric.install_event_triggers() RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $electric$
BEGIN
    IF EXISTS (SELECT FROM pg_event_trigger t JOIN pg_proc p ON p.oid = t.evtfoid
               WHERE t.evtname = 'penstock_ddl_command_end' AND p.pronamespace = to_regnamespace('penstock')) THEN
        RETURN 'extension';
    END IF;
    BEGIN
        IF NOT EXISTS (SELECT FROM pg_event_trigger t WHERE t.evtname = 'penstock_ddl_command_end') THEN
            CREATE EVENT TRIGGER penstock_ddl_command_end ON ddl_command_end
                WHEN TAG IN ('ALTER TABLE', 'CREATE INDEX', 'ALTER TYPE')
                EXECUTE FUNCTION electric.__on_ddl_command_end();
        END IF;
        IF NOT EXISTS (SELECT FROM pg_event_trigger t WHERE t.evtname = 'penstock_sql_drop') THEN
            CREATE EVENT TRIGGER penstock_sql_drop ON sql_drop EXECUTE FUNCTION electric.__on_sql_drop();
        END IF;
    EXCEPTION WHEN insufficient_privilege THEN
        RETURN 'none';
    END;
    RETURN 'schema';
END
$electric$;
