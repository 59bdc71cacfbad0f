-- The electric schema, part 4: versions of migrations, and the record of DDL.

CREATE OR REPLACE FUNCTION electric.current_transaction_id(OUT txid xid8, OUT txts int8)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS 'SELECT electric.current_xact_id(), electric.current_xact_ts()';

CREATE OR REPLACE FUNCTION electric.tx_has_assigned_version() RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $electric$
    SELECT EXISTS (SELECT FROM electric.migration_versions v
                   WHERE v.txid = electric.current_xact_id() AND v.txts = electric.current_xact_ts())
$electric$;

-- Gives the transaction a version; a version of higher priority replaces one of lower. A version that another
-- transaction has already used is a unique violation.
CREATE OR REPLACE PROCEDURE electric.assign_migration_version(version text, priority int DEFAULT 0)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $electric$
BEGIN
    IF assign_migration_version.version IS NULL OR assign_migration_version.version = '' THEN
        RAISE EXCEPTION 'a migration version must not be empty' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO electric.migration_versions AS v (txid, txts, version, priority)
    VALUES (electric.current_xact_id(), electric.current_xact_ts(), assign_migration_version.version,
            assign_migration_version.priority)
    ON CONFLICT (txid, txts) DO UPDATE
        SET version = excluded.version, priority = excluded.priority
        WHERE v.priority < excluded.priority;
END
$electric$;

CREATE OR REPLACE PROCEDURE electric.migration_version(version text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $electric$
BEGIN
    CALL electric.assign_migration_version(migration_version.version, 32767);
END
$electric$;

-- The version of a transaction that nobody named: the time at which it began, in UTC. A name that another transaction
-- has taken, or is about to take, is avoided without waiting for that transaction.
CREATE OR REPLACE PROCEDURE electric.assign_default_version()
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $electric$
DECLARE
    moment timestamp := transaction_timestamp() AT TIME ZONE 'UTC';
    candidate text;
BEGIN
    IF electric.tx_has_assigned_version() THEN
        RETURN;
    END IF;
    LOOP
        candidate := to_char(moment, 'YYYYMMDDHH24MISS_MS');
        IF pg_try_advisory_xact_lock(hashtext('electric migration version'), hashtext(candidate)) THEN
            INSERT INTO electric.migration_versions (txid, txts, version, priority)
            VALUES (electric.current_xact_id(), electric.current_xact_ts(), candidate, 0)
            ON CONFLICT (version) DO NOTHING;
            EXIT WHEN FOUND;
        END IF;
        moment := moment + interval '1 millisecond';
    END LOOP;
END
$electric$;

-- At commit the transaction's label is settled: labels rise in the order of commits, whatever versions were given, for
-- clients skip a migration whose label does not sort above the last they have seen. The label travels in the stream
-- with the transaction, as a logical message, so that a consumer has no need to look it up.
CREATE OR REPLACE FUNCTION electric.__settle_migration_label() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $electric$
DECLARE
    mine electric.migration_versions%ROWTYPE;
    latest text;
    settled text;
BEGIN
    SELECT v.* INTO mine FROM electric.migration_versions v WHERE v.txid = NEW.txid AND v.txts = NEW.txts;
    IF NOT FOUND OR mine.version <> NEW.version THEN
        RETURN NULL;
    END IF;
    -- Held until the commit is visible: the next in line reads this label.
    PERFORM pg_advisory_xact_lock(hashtext('electric migration label'));
    SELECT max(coalesce(v.label, v.version::text) COLLATE "C") INTO latest
    FROM electric.migration_versions v
    WHERE (v.txid, v.txts) <> (NEW.txid, NEW.txts);
    settled := mine.version;
    IF latest IS NOT NULL AND settled COLLATE "C" <= latest COLLATE "C" THEN
        IF latest ~ '_r[0-9]{6}$' AND right(latest, 6) <> '999999' THEN
            settled := left(latest, -6) || lpad((right(latest, 6)::int + 1)::text, 6, '0');
        ELSE
            settled := latest || '_r000001';
        END IF;
    END IF;
    IF mine.label IS DISTINCT FROM settled THEN
        UPDATE electric.migration_versions v SET label = settled WHERE v.txid = NEW.txid AND v.txts = NEW.txts;
    END IF;
    PERFORM pg_logical_emit_message(true, 'electric.migration_version', json_build_object(
        'txid', mine.txid::text, 'txts', mine.txts::text, 'version', mine.version, 'label', settled,
        'priority', mine.priority)::text);
    RETURN NULL;
END
$electric$;

DO $electric$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_trigger t
                   WHERE t.tgrelid = 'electric.migration_versions'::regclass AND t.tgname = 'settle_migration_label') THEN
        CREATE CONSTRAINT TRIGGER settle_migration_label
            AFTER INSERT OR UPDATE OF version ON electric.migration_versions
            DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION electric.__settle_migration_label();
    END IF;
END
$electric$;

-- Records one statement of the migration that the transaction is. The same statement twice in one transaction counts once.
CREATE OR REPLACE PROCEDURE electric.capture_ddl(query text DEFAULT NULL)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $electric$
BEGIN
    CALL electric.assign_default_version();
    INSERT INTO electric.ddl_commands (txid, txts, query)
    VALUES (electric.current_xact_id(), electric.current_xact_ts(), coalesce(capture_ddl.query, current_query()))
    ON CONFLICT ON CONSTRAINT ddl_table_unique_migrations DO NOTHING;
END
$electric$;
