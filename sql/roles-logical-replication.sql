-- The role of the service for ELECTRIC_WRITE_TO_PG_MODE=logical_replication, where Postgres subscribes to the service:
-- making that subscription takes a superuser. Run it as a superuser. It may be run again.
--
--   {{role}}      the role, as a quoted identifier
--   {{database}}  the database, as a quoted identifier
--   {{password}}  `PASSWORD` and a quoted literal, or nothing: then the role keeps the password it has
--
-- `penstock sql logical-replication --role ... --database ...` prints it with the values in place.

DO $penstock_roles$
BEGIN
    CREATE ROLE {{role}};
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END
$penstock_roles$;

ALTER ROLE {{role}} LOGIN SUPERUSER {{password}};
GRANT CONNECT, CREATE, TEMPORARY ON DATABASE {{database}} TO {{role}};
