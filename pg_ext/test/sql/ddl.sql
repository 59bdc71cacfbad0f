-- The event triggers call the hooks of the electric schema, if they are there and drop their rights.
CREATE SCHEMA electric;
CREATE TABLE electric.electrified (oid oid);
CREATE FUNCTION electric.__on_sql_drop() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'own'; END $$;
CREATE EVENT TRIGGER penstock_sql_drop ON sql_drop EXECUTE FUNCTION electric.__on_sql_drop();
-- takes the place of the trigger that the schema has made for itself
CREATE EXTENSION penstock;
SELECT evtname, evtevent, evtfoid::regproc, evttags FROM pg_event_trigger ORDER BY evtname;

-- Without hooks nothing happens.
CREATE TABLE t (a int);
ALTER TABLE t ADD COLUMN b int;
DROP TABLE t;

-- A hook that would run with the rights of the caller is not called.
CREATE FUNCTION electric.ddl_command_end_hook() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'hook 1'; END $$;
CREATE TABLE t (a int);
ALTER TABLE t ADD COLUMN b int;

-- One that belongs to somebody who has nothing to do with the schema is not called either.
CREATE ROLE penstock_regress_stranger;
ALTER FUNCTION electric.ddl_command_end_hook() SECURITY DEFINER;
ALTER FUNCTION electric.ddl_command_end_hook() OWNER TO penstock_regress_stranger;
ALTER TABLE t ADD COLUMN c int;
ALTER SCHEMA electric OWNER TO penstock_regress_stranger;
ALTER TABLE t ADD COLUMN d int;

-- The hooks see the commands, whoever makes them.
CREATE OR REPLACE FUNCTION electric.ddl_command_end_hook() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    c record;
BEGIN
    FOR c IN SELECT * FROM pg_event_trigger_ddl_commands() LOOP
        RAISE NOTICE '% % as %', c.command_tag, c.object_identity, current_user;
    END LOOP;
END $$;
CREATE FUNCTION electric.sql_drop_hook() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    c record;
BEGIN
    FOR c IN SELECT * FROM pg_event_trigger_dropped_objects() WHERE original LOOP
        RAISE NOTICE 'dropped % %', c.object_type, c.object_identity;
    END LOOP;
END $$;
CREATE ROLE penstock_regress_owner;
GRANT CREATE ON SCHEMA public TO penstock_regress_owner;
ALTER TABLE t OWNER TO penstock_regress_owner;
SET ROLE penstock_regress_owner;
DO $$ BEGIN EXECUTE 'ALTER TABLE t ADD COLUMN e int'; END $$;
CREATE INDEX ON t (a);
ALTER TABLE t DROP COLUMN e;
SELECT penstock.hook_exists('sql_drop_hook');
RESET ROLE;
CREATE TYPE penstock_mood AS ENUM ('sad');
ALTER TYPE penstock_mood ADD VALUE 'glad';
-- not a matter of migrations
CREATE TABLE u (a int);
COMMENT ON TABLE u IS 'x';

-- The schema may go while the extension stays, and the extension while the schema stays.
DROP TYPE penstock_mood;
SET client_min_messages = warning;
DROP SCHEMA electric CASCADE;
DROP TABLE t, u;
CREATE TABLE t (a int);
ALTER TABLE t ADD COLUMN b int;
DROP TABLE t;
DROP EXTENSION penstock;
SELECT count(*) FROM pg_event_trigger;
REVOKE CREATE ON SCHEMA public FROM penstock_regress_owner;
DROP ROLE penstock_regress_owner, penstock_regress_stranger;
