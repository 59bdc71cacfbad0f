-- Surface of the extension as far as the workers are concerned.
CREATE EXTENSION penstock;
\d penstock.status
SELECT database, pid IS NULL AS no_pid, state FROM penstock.status;
SELECT penstock.wake();

-- Monitoring sees the view; others see nothing and wake nobody.
CREATE ROLE penstock_regress_nobody;
CREATE ROLE penstock_regress_monitor IN ROLE pg_monitor;
SET ROLE penstock_regress_nobody;
SELECT state FROM penstock.status;
SELECT state FROM penstock.worker_status();
SELECT penstock.wake();
RESET ROLE;
SET ROLE penstock_regress_monitor;
SELECT state FROM penstock.status;
SELECT penstock.wake();
RESET ROLE;
DROP ROLE penstock_regress_nobody;
DROP ROLE penstock_regress_monitor;

-- Settings.
SELECT name, CASE name WHEN 'penstock.socket' THEN '' ELSE setting END AS setting, unit, context FROM pg_settings WHERE name LIKE 'penstock.%' ORDER BY name COLLATE "C";
SET penstock.databases = 'x';
SET penstock.unknown = 1;
ALTER SYSTEM SET penstock.socket = 'relative/path';
ALTER SYSTEM SET penstock.databases = 'a,,b';
ALTER SYSTEM SET penstock.databases = 'a, a';
ALTER SYSTEM SET penstock.slot_prefix = 'Bad-Prefix';

-- Every function has a fixed search path, and the public may run none that tells of the workers.
SELECT p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname = 'penstock' AND p.proname IN ('worker_status', 'wake')
   AND NOT coalesce(p.proconfig, '{}') @> ARRAY['search_path=pg_catalog, pg_temp'];

-- A schema that exists already is not adopted.
DROP EXTENSION penstock;
SELECT count(*) FROM pg_namespace WHERE nspname = 'penstock';
\set VERBOSITY terse
CREATE SCHEMA penstock;
CREATE EXTENSION penstock;
DROP SCHEMA penstock;
