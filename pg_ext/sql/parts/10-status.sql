-- Workers: what each is doing.

CREATE FUNCTION penstock.worker_status(
    OUT database text,
    OUT pid integer,
    OUT state text,
    OUT state_since timestamptz,
    OUT slot_name text,
    OUT slot_state text,
    OUT slot_pid integer,
    OUT sidecar_uid bigint,
    OUT restart_lsn pg_lsn,
    OUT confirmed_lsn pg_lsn,
    OUT acked_lsn pg_lsn,
    OUT sent_lsn pg_lsn,
    OUT decoded_lsn pg_lsn,
    OUT flush_lsn pg_lsn,
    OUT retained_bytes bigint,
    OUT lag_bytes bigint,
    OUT buffered_bytes bigint,
    OUT messages bigint,
    OUT message_bytes bigint,
    OUT connections bigint,
    OUT errors bigint,
    OUT last_error_at timestamptz,
    OUT last_error_sqlstate text,
    OUT last_error text
) RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'penstock_worker_status';

CREATE VIEW penstock.status WITH (security_barrier) AS
    SELECT s.database, s.pid, s.state, s.state_since,
           s.slot_name, s.slot_state, s.slot_pid, s.sidecar_uid,
           s.restart_lsn, s.confirmed_lsn, s.acked_lsn, s.sent_lsn, s.decoded_lsn, s.flush_lsn,
           s.retained_bytes, s.lag_bytes, s.buffered_bytes,
           s.messages, s.message_bytes, s.connections,
           s.errors, s.last_error_at, s.last_error_sqlstate, s.last_error
    FROM penstock.worker_status() s;

CREATE FUNCTION penstock.wake() RETURNS boolean
LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'penstock_wake';

REVOKE ALL ON FUNCTION penstock.worker_status() FROM PUBLIC;
REVOKE ALL ON FUNCTION penstock.wake() FROM PUBLIC;
REVOKE ALL ON penstock.status FROM PUBLIC;
GRANT EXECUTE ON FUNCTION penstock.worker_status() TO pg_monitor;
GRANT SELECT ON penstock.status TO pg_monitor;

COMMENT ON VIEW penstock.status IS 'one row for each worker: what it is doing, and how far it is';
COMMENT ON FUNCTION penstock.wake() IS 'makes the worker of this database try again now';
