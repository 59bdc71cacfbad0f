
-- Capture of migrations.  The event triggers belong to the extension, what they
-- do belongs to the electric schema; where that is absent they do nothing.
--
-- The functions run with the rights of the extension's owner so that everybody's
-- migrations are seen, whatever his rights on the electric schema.  They call a
-- hook only if it is SECURITY DEFINER, that is, if it drops those rights at once:
-- who puts a function of that name there gains nothing by it.
CREATE FUNCTION penstock.hook_exists(hook name) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT EXISTS (
        SELECT FROM pg_catalog.pg_proc p
        JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
        WHERE n.nspname OPERATOR(pg_catalog.=) 'electric'
          AND p.proname OPERATOR(pg_catalog.=) hook
          AND p.pronargs OPERATOR(pg_catalog.=) 0
          AND p.prokind OPERATOR(pg_catalog.=) 'f'
          AND p.prosecdef
          AND pg_catalog.pg_has_role(p.proowner, n.nspowner, 'USAGE')
    ) AND pg_catalog.to_regclass('electric.electrified') IS NOT NULL
    $$;

CREATE FUNCTION penstock.on_ddl_command_end() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF penstock.hook_exists('ddl_command_end_hook') THEN
        PERFORM electric.ddl_command_end_hook();
    END IF;
END
$$;

CREATE FUNCTION penstock.on_sql_drop() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF penstock.hook_exists('sql_drop_hook') THEN
        PERFORM electric.sql_drop_hook();
    END IF;
END
$$;

REVOKE ALL ON FUNCTION penstock.hook_exists(name) FROM PUBLIC;
REVOKE ALL ON FUNCTION penstock.on_ddl_command_end() FROM PUBLIC;
REVOKE ALL ON FUNCTION penstock.on_sql_drop() FROM PUBLIC;
COMMENT ON FUNCTION penstock.on_ddl_command_end() IS 'calls electric.ddl_command_end_hook() where it exists';
COMMENT ON FUNCTION penstock.on_sql_drop() IS 'calls electric.sql_drop_hook() where it exists';

-- A service that ran without the extension may have made the event triggers for
-- itself.  Those of the extension take their place.
DO $$
DECLARE
    own name;
BEGIN
    FOR own IN
        SELECT t.evtname
        FROM pg_catalog.pg_event_trigger t
        JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) t.evtfoid
        JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
        WHERE t.evtname OPERATOR(pg_catalog.=) ANY (ARRAY['penstock_ddl_command_end', 'penstock_sql_drop']::pg_catalog.name[])
          AND n.nspname OPERATOR(pg_catalog.=) 'electric'
    LOOP
        EXECUTE pg_catalog.format('DROP EVENT TRIGGER %I', own);
    END LOOP;
END
$$;

CREATE EVENT TRIGGER penstock_ddl_command_end ON ddl_command_end
    WHEN TAG IN ('ALTER TABLE', 'CREATE INDEX', 'ALTER TYPE')
    EXECUTE FUNCTION penstock.on_ddl_command_end();
CREATE EVENT TRIGGER penstock_sql_drop ON sql_drop
    EXECUTE FUNCTION penstock.on_sql_drop();
