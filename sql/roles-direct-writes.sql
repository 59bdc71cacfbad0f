-- The role of the service for ELECTRIC_WRITE_TO_PG_MODE=direct_writes. Run it in the application's database as a superuser
-- (or the provider's administrator). It may be run again.
--
--   {{role}}            the role, as a quoted identifier
--   {{database}}        the database, as a quoted identifier
--   {{password}}        `PASSWORD` and a quoted literal, or nothing: then the role keeps the password it has
--   {{event_triggers}}  the text of electric/085-event-triggers.sql
--
-- `penstock sql direct-writes --role ... --database ...` prints it with the values in place.

DO $penstock_roles$
BEGIN
    CREATE ROLE {{role}};
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END
$penstock_roles$;

ALTER ROLE {{role}} LOGIN {{password}};

DO $penstock_roles$
BEGIN
    ALTER ROLE {{role}} REPLICATION;
EXCEPTION WHEN insufficient_privilege THEN
    -- Amazon RDS keeps the attribute to itself and has a role in its stead.
    IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'rds_replication') THEN
        GRANT rds_replication TO {{role}};
    ELSE
        RAISE;
    END IF;
END
$penstock_roles$;

GRANT CONNECT, CREATE, TEMPORARY ON DATABASE {{database}} TO {{role}};
GRANT CREATE, USAGE ON SCHEMA public TO {{role}};
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO {{role}};
GRANT ALL ON ALL TABLES IN SCHEMA public TO {{role}};
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO {{role}};

-- Triggers, replica identity and membership in a publication are matters of a table's owner, so the service's role is made
-- a member of the roles that own tables. Superusers are left out: their tables are listed instead.
DO $penstock_roles$
DECLARE
    table_owner pg_catalog.name;
    owned pg_catalog.text;
BEGIN
    FOR table_owner, owned IN
        SELECT r.rolname, pg_catalog.string_agg(c.oid::pg_catalog.regclass::pg_catalog.text, ', ' ORDER BY c.relname)
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_roles r ON r.oid = c.relowner
        WHERE c.relnamespace = 'public'::pg_catalog.regnamespace AND c.relkind = 'r'
        GROUP BY r.oid, r.rolname, r.rolsuper
        HAVING NOT r.rolsuper
    LOOP
        BEGIN
            EXECUTE pg_catalog.format('GRANT %I TO ', table_owner) || $penstock_role_name${{role}}$penstock_role_name$;
        EXCEPTION
            WHEN invalid_grant_operation THEN NULL;
            WHEN insufficient_privilege THEN
                RAISE NOTICE 'role % owns %: grant it to the role of the service to electrify them', table_owner, owned;
        END;
    END LOOP;
    SELECT pg_catalog.string_agg(c.oid::pg_catalog.regclass::pg_catalog.text, ', ' ORDER BY c.relname) INTO owned
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_roles r ON r.oid = c.relowner
    WHERE c.relnamespace = 'public'::pg_catalog.regnamespace AND c.relkind = 'r' AND r.rolsuper;
    IF owned IS NOT NULL THEN
        RAISE NOTICE 'tables that belong to a superuser must be given to another owner before they can be electrified: %',
            owned;
    END IF;
END
$penstock_roles$;

-- Event triggers capture the migrations of electrified tables, and refuse those that clients cannot follow. Only a superuser can
-- make them, so they are made here: until the service has installed the rest of its schema they do nothing.
DO $penstock_capture$
DECLARE
    service pg_catalog.name;
    signature pg_catalog.text;
BEGIN
    BEGIN
        IF pg_catalog.to_regnamespace('electric') IS NULL THEN
            CREATE SCHEMA electric AUTHORIZATION {{role}};
        END IF;
        EXECUTE $penstock_part$
{{event_triggers}}
$penstock_part$;
        SELECT pg_catalog.pg_get_userbyid(n.nspowner) INTO service FROM pg_catalog.pg_namespace n WHERE n.nspname = 'electric';
        FOREACH signature IN ARRAY ARRAY['__on_ddl_command_end()', '__on_sql_drop()', 'install_event_triggers()'] LOOP
            EXECUTE pg_catalog.format('ALTER FUNCTION electric.%s OWNER TO %I', signature, service);
        END LOOP;
        IF electric.install_event_triggers() <> 'none' THEN RETURN; END IF;
    EXCEPTION WHEN insufficient_privilege THEN
        NULL;
    END;
    RAISE WARNING 'the event triggers that capture migrations could not be made: clients lose data by migrations'
        USING HINT = 'Once the service has run, as a superuser: SELECT electric.install_event_triggers();';
END
$penstock_capture$;
