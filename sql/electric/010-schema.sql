-- The electric schema, part 1: preconditions and the installation record.
--
-- All parts run in numbered order inside one transaction, at every start of the service. They may be run any number
-- of times: existing data is kept, routines are replaced by those of the running version.

SET LOCAL client_min_messages = warning;
SET LOCAL search_path = pg_catalog, pg_temp;

DO $electric$
DECLARE
    schema_owner oid;
BEGIN
    IF current_setting('server_version_num')::int < 140000 THEN
        RAISE EXCEPTION 'Postgres 14 or newer is required, this server is %', current_setting('server_version')
            USING ERRCODE = 'feature_not_supported';
    END IF;
    IF current_setting('server_encoding') <> 'UTF8' THEN
        RAISE EXCEPTION 'the database must be encoded in UTF8, it is encoded in %', current_setting('server_encoding')
            USING ERRCODE = 'feature_not_supported',
                  HINT = 'Create the database with ENCODING ''UTF8''.';
    END IF;
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'the server is a standby: the electric schema can be installed on a primary only'
            USING ERRCODE = 'read_only_sql_transaction';
    END IF;

    -- Two services that start together install one after the other.
    PERFORM pg_advisory_xact_lock(hashtext('electric schema installation'));

    SELECT n.nspowner INTO schema_owner FROM pg_namespace n WHERE n.nspname = 'electric';
    IF NOT FOUND THEN
        EXECUTE 'CREATE SCHEMA electric';
    ELSIF NOT pg_has_role(current_user, schema_owner, 'USAGE') THEN
        RAISE EXCEPTION 'schema "electric" is owned by role "%", the current role is "%"',
                pg_get_userbyid(schema_owner), current_user
            USING ERRCODE = 'insufficient_privilege',
                  HINT = format('Connect as %I, or run: GRANT %I TO %I;', pg_get_userbyid(schema_owner),
                                pg_get_userbyid(schema_owner), current_user);
    END IF;
END
$electric$;

CREATE TABLE IF NOT EXISTS electric.schema_migrations (
    version int8 NOT NULL PRIMARY KEY,
    inserted_at timestamp NOT NULL DEFAULT LOCALTIMESTAMP
);

LOCK TABLE electric.schema_migrations IN SHARE UPDATE EXCLUSIVE MODE;

-- Our own installation record. It is kept apart from schema_migrations, which belongs to the layout shared with the
-- legacy service.
CREATE TABLE IF NOT EXISTS electric.installation (
    component text NOT NULL PRIMARY KEY,
    version int NOT NULL,
    installed_at timestamptz NOT NULL DEFAULT now(),
    taken_over boolean NOT NULL DEFAULT false
);

DO $electric$
DECLARE
    unknown_versions text;
    ours int;
    leftover record;
BEGIN
    SELECT i.version INTO ours FROM electric.installation i WHERE i.component = 'schema';
    IF ours > 1 THEN
        RAISE EXCEPTION 'the electric schema was installed by a newer version (layout %, this version knows layout 1)', ours
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Start the newer version of the service, or restore a backup of the schema.';
    END IF;

    SELECT string_agg(m.version::text, ', ' ORDER BY m.version) INTO unknown_versions
    FROM electric.schema_migrations m
    WHERE m.version < 20230328113927 OR m.version > 20240501000000;
    IF unknown_versions IS NOT NULL THEN
        RAISE EXCEPTION 'electric.schema_migrations holds versions that are not known here: %', unknown_versions
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = 'Schemas of versions 20230328113927 to 20240501000000 can be taken over.',
                  HINT = 'The schema was made by another product or by a newer version of it. '
                         'Run sql/uninstall.sql to start afresh, or keep that product.';
    END IF;

    -- Taking over a schema of the legacy service: its routines go, save those that tables and triggers still use.
    -- What remains is replaced below, and once the triggers have been replaced the rest is dropped (090-takeover.sql).
    IF ours IS NULL AND EXISTS (SELECT FROM electric.schema_migrations) THEN
        FOR leftover IN
            SELECT p.oid::regprocedure AS signature, p.prokind
            FROM pg_proc p
            WHERE p.pronamespace = 'electric'::regnamespace AND p.prokind IN ('f', 'p')
        LOOP
            BEGIN
                EXECUTE format('DROP ROUTINE %s', leftover.signature);
            EXCEPTION WHEN dependent_objects_still_exist OR undefined_function THEN
                NULL;
            END;
        END LOOP;
        PERFORM set_config('electric.leftover_routines', coalesce(
            (SELECT string_agg(p.oid || ':' || p.xmin, ' ') FROM pg_proc p
             WHERE p.pronamespace = 'electric'::regnamespace), ''), true);
    END IF;
END
$electric$;
