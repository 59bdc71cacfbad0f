-- The row triggers, on companion tables made by hand.
SET client_min_messages = warning;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
CREATE EXTENSION penstock;
CREATE SCHEMA electric;
CREATE TYPE electric.unbounded_tag AS ("timestamp" timestamptz, source_id varchar(255));
CREATE DOMAIN electric.tag AS electric.unbounded_tag CHECK (VALUE IS NULL OR (VALUE)."timestamp" IS NOT NULL);
CREATE TABLE item (id int PRIMARY KEY, "Content" text NOT NULL, _n int);
CREATE TABLE electric.shadow__public__item (
    _tags electric.tag[] DEFAULT '{}', _last_modified bigint, _is_a_delete_operation boolean DEFAULT false,
    _tag electric.tag, _observed_tags electric.tag[], _modified_columns_bit_mask boolean[], _resolved boolean,
    _currently_reordering boolean, "__reordered_Content" text, __reordered__n int, id int NOT NULL,
    "_tag_Content" electric.tag, _tag__n electric.tag, PRIMARY KEY (id));

-- A function that finds no companion tables says so.
CREATE TRIGGER postgres_write__upsert_generate_shadow_rows BEFORE INSERT OR UPDATE ON item
    FOR EACH ROW EXECUTE FUNCTION penstock.postgres_write_upsert();
INSERT INTO item VALUES (1, 'one', 1);

CREATE TABLE electric.tombstone__public__item (id int NOT NULL PRIMARY KEY, "Content" text NOT NULL, _n int);
CREATE TRIGGER as_first__save_deleted_rows_to_tombstone_table AFTER DELETE ON item
    FOR EACH ROW EXECUTE FUNCTION penstock.save_tombstone();
CREATE TRIGGER postgres_write__delete_generate_shadow_rows BEFORE DELETE ON item
    FOR EACH ROW EXECUTE FUNCTION penstock.postgres_write_delete();
CREATE TRIGGER postgres_write__truncate BEFORE TRUNCATE ON item
    FOR EACH STATEMENT EXECUTE FUNCTION penstock.postgres_write_truncate();
CREATE TRIGGER satellite_write__save_operation_for_reordering BEFORE INSERT OR UPDATE ON item
    FOR EACH ROW EXECUTE FUNCTION penstock.satellite_write_reorder();
CREATE TRIGGER satellite_write__upsert_rows BEFORE INSERT ON electric.shadow__public__item
    FOR EACH ROW EXECUTE FUNCTION penstock.satellite_shadow_insert();
CREATE TRIGGER satellite_write__resolve_observed_tags BEFORE UPDATE ON electric.shadow__public__item
    FOR EACH ROW EXECUTE FUNCTION penstock.satellite_shadow_resolve();

CREATE VIEW state AS
    SELECT s.id, CASE WHEN i.id IS NULL THEN 'gone' ELSE i."Content" || coalesce(' ' || i._n, '') END AS row,
           (SELECT string_agg(coalesce((t).source_id, 'postgres'), ',') FROM unnest(s._tags) t) AS tags,
           (s._tag).source_id AS by, s._is_a_delete_operation AS deleted, s._resolved AS resolved,
           s._tag = s."_tag_Content" AS content, s._tag = s._tag__n AS n,
           t."Content" || coalesce(' ' || t._n, '') AS tombstone,
           num_nulls(s._observed_tags, s._modified_columns_bit_mask, s._currently_reordering, s."__reordered_Content",
                     s.__reordered__n) AS cleared
    FROM electric.shadow__public__item s LEFT JOIN item i USING (id)
    LEFT JOIN electric.tombstone__public__item t USING (id) ORDER BY s.id;
CREATE FUNCTION client(key int, content text, n int, at timestamptz, client text, is_delete boolean, mask boolean[],
                       observed electric.tag[]) RETURNS void LANGUAGE sql AS $$
    SELECT set_config('electric.session_replication_role', 'replica', true);
    INSERT INTO item VALUES (key, content, n);
    INSERT INTO electric.shadow__public__item (id, _tag, _is_a_delete_operation, _observed_tags, _modified_columns_bit_mask)
    VALUES (key, ROW(at, client), is_delete, observed, mask);
    SELECT set_config('electric.session_replication_role', '', true);
$$;

-- Writes by Postgres.
BEGIN;
INSERT INTO item VALUES (1, 'one', 1), (2, 'two', 2), (3, 'three', NULL);
SELECT bool_and(_tag = ROW(CURRENT_TIMESTAMP(3), NULL)::electric.unbounded_tag
                AND _last_modified = pg_current_xact_id()::text::bigint) AS stamped FROM electric.shadow__public__item;
COMMIT;
UPDATE item SET _n = 20 WHERE id = 2;
DELETE FROM item WHERE id = 3;
SELECT * FROM state;

-- An upsert that meets a row stamps what it changes; one that does nothing leaves no mark.
INSERT INTO item VALUES (1, 'one', 10) ON CONFLICT (id) DO UPDATE SET _n = excluded._n;
SELECT _last_modified AS before FROM electric.shadow__public__item WHERE id = 1 \gset
INSERT INTO item VALUES (1, 'other', 10) ON CONFLICT DO NOTHING;
SELECT _last_modified = :before AS untouched FROM electric.shadow__public__item WHERE id = 1;
SELECT * FROM state WHERE id = 1;

-- A change of the key.
UPDATE item SET id = 4 WHERE id = 2;
SELECT * FROM state WHERE id IN (2, 4);

-- Refused as the table itself would refuse it.
INSERT INTO item VALUES (NULL, 'x');
INSERT INTO item VALUES (1, 'x');

-- Undone with the writes.
BEGIN;
SAVEPOINT a;
UPDATE item SET _n = 99 WHERE id = 1;
DELETE FROM item WHERE id = 4;
ROLLBACK TO a;
UPDATE item SET "Content" = 'uno' WHERE id = 1;
COMMIT;
SELECT * FROM state WHERE id IN (1, 4);

-- Tags of a row rise; a tag of a client in the future is overtaken.
SELECT client(5, 'five', 5, '2100-01-01', 'c1', false, '{t,t}', '{}');
UPDATE item SET _n = 6 WHERE id = 5;
SELECT (_tag)."timestamp" AT TIME ZONE 'UTC' AS at, (_tag).source_id FROM electric.shadow__public__item WHERE id = 5;
UPDATE item SET _n = 7 WHERE id = 5;
SELECT (_tag)."timestamp" AT TIME ZONE 'UTC' AS at, (_tag).source_id FROM electric.shadow__public__item WHERE id = 5;
SELECT * FROM state WHERE id = 5;

-- Clients: the later change of a column wins.
SELECT client(6, 'six', 6, '2001-01-01', 'c1', false, '{t,t}', '{}');
SELECT client(6, 'SIX', 66, '2001-01-03', 'c2', false, '{t,f}', '{"(\"2001-01-01 00:00:00+00\",c1)"}');
SELECT client(6, 'vi', 666, '2001-01-02', 'c1', false, '{t,t}', '{"(\"2001-01-01 00:00:00+00\",c1)"}');
SELECT * FROM state WHERE id = 6;
-- a delete that has not seen everything leaves the row, one that has removes it
SELECT client(6, 'six', 6, '2001-01-04', 'c1', true, '{f,f}', '{"(\"2001-01-02 00:00:00+00\",c1)"}');
SELECT * FROM state WHERE id = 6;
SELECT client(6, 'six', 6, '2001-01-05', 'c1', true, '{f,f}', '{"(\"2001-01-03 00:00:00+00\",c2)"}');
SELECT * FROM state WHERE id = 6;
-- an update that did not see the delete brings it back, the rest from the tombstone
SELECT client(6, 'back', 0, '2001-01-06', 'c3', false, '{t,f}', '{}');
SELECT * FROM state WHERE id = 6;

-- The rights of an application are those on its own tables.
CREATE ROLE penstock_regress_app;
GRANT ALL ON item TO penstock_regress_app;
SET ROLE penstock_regress_app;
INSERT INTO item VALUES (7, 'seven', 7);
UPDATE item SET _n = 8 WHERE id = 7;
DELETE FROM item WHERE id = 7;
SELECT count(*) FROM electric.shadow__public__item;
RESET ROLE;
SELECT * FROM state WHERE id = 7;

-- A trigger of the user inside a change of a client writes as Postgres, to the same row too.
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE item SET _n = 1000 WHERE id = NEW.id AND _n IS DISTINCT FROM 1000;
    RETURN NULL;
END $$;
CREATE TRIGGER touch AFTER INSERT OR UPDATE ON item FOR EACH ROW EXECUTE FUNCTION touch();
SELECT client(8, 'eight', 8, '2001-01-01', 'c1', false, '{t,t}', '{}');
SELECT * FROM state WHERE id = 8;
DROP TRIGGER touch ON item;

-- A new column, while the session knows the table already.
ALTER TABLE item ADD COLUMN extra text;
ALTER TABLE electric.shadow__public__item ADD COLUMN __reordered_extra text, ADD COLUMN _tag_extra electric.tag;
ALTER TABLE electric.tombstone__public__item ADD COLUMN extra text;
UPDATE item SET extra = 'new' WHERE id = 1;
SELECT _tag_extra = _tag AS extra, "_tag_Content" = _tag AS content FROM electric.shadow__public__item WHERE id = 1;

-- TRUNCATE is a delete of every row.
TRUNCATE item;
SELECT bool_and(cardinality(_tags) = 0) AS no_tags, count(*), count(*) FILTER (WHERE _is_a_delete_operation) AS deleted
FROM electric.shadow__public__item;
SELECT * FROM electric.tombstone__public__item ORDER BY id;

-- Not to be called in other ways.
SELECT penstock.save_tombstone();
CREATE TRIGGER wrong AFTER INSERT ON item FOR EACH STATEMENT EXECUTE FUNCTION penstock.postgres_write_upsert();
INSERT INTO item VALUES (1, 'x', 1);
DROP TRIGGER wrong ON item;
CREATE TRIGGER wrong AFTER INSERT ON item FOR EACH STATEMENT EXECUTE FUNCTION penstock.fk_chain_touch();
INSERT INTO item VALUES (1, 'x', 1);

DROP VIEW state;
DROP FUNCTION client, touch;
DROP TABLE item;
DROP SCHEMA electric CASCADE;
DROP EXTENSION penstock;
DROP ROLE penstock_regress_app;
