
-- Row triggers of electrified tables, in C.  They find the shadow and tombstone
-- tables of a table through the catalogue.  Only who may create triggers on a
-- table can have them called, so the right to execute is not restricted further:
-- it is checked when a trigger is created, with the rights of the table's owner.
CREATE FUNCTION penstock.save_tombstone() RETURNS trigger
    AS 'MODULE_PATHNAME', 'penstock_save_tombstone'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
CREATE FUNCTION penstock.postgres_write_upsert() RETURNS trigger
    AS 'MODULE_PATHNAME', 'penstock_postgres_write_upsert'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
CREATE FUNCTION penstock.postgres_write_delete() RETURNS trigger
    AS 'MODULE_PATHNAME', 'penstock_postgres_write_delete'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
CREATE FUNCTION penstock.postgres_write_truncate() RETURNS trigger
    AS 'MODULE_PATHNAME', 'penstock_postgres_write_truncate'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
CREATE FUNCTION penstock.satellite_write_reorder() RETURNS trigger
    AS 'MODULE_PATHNAME', 'penstock_satellite_write_reorder'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
CREATE FUNCTION penstock.satellite_shadow_insert() RETURNS trigger
    AS 'MODULE_PATHNAME', 'penstock_satellite_shadow_insert'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
CREATE FUNCTION penstock.satellite_shadow_resolve() RETURNS trigger
    AS 'MODULE_PATHNAME', 'penstock_satellite_shadow_resolve'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
CREATE FUNCTION penstock.fk_chain_touch() RETURNS trigger
    AS 'MODULE_PATHNAME', 'penstock_fk_chain_touch'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION penstock.save_tombstone() IS
    'AFTER DELETE FOR EACH ROW: keeps the value of a deleted row';
COMMENT ON FUNCTION penstock.postgres_write_upsert() IS
    'INSERT OR UPDATE FOR EACH ROW: stamps rows written by Postgres';
COMMENT ON FUNCTION penstock.postgres_write_delete() IS
    'DELETE FOR EACH ROW: marks rows deleted by Postgres';
COMMENT ON FUNCTION penstock.postgres_write_truncate() IS
    'BEFORE TRUNCATE: treats a truncation as a delete of every row';
COMMENT ON FUNCTION penstock.satellite_write_reorder() IS
    'BEFORE INSERT OR UPDATE FOR EACH ROW: parks the changes of clients';
COMMENT ON FUNCTION penstock.satellite_shadow_insert() IS
    'BEFORE INSERT FOR EACH ROW on a shadow table: resolves the changes of clients';
COMMENT ON FUNCTION penstock.satellite_shadow_resolve() IS
    'BEFORE UPDATE FOR EACH ROW on a shadow table: does nothing, the insert resolves';
COMMENT ON FUNCTION penstock.fk_chain_touch() IS
    'AFTER INSERT or UPDATE with a table of new rows: announces the rows they refer to';
