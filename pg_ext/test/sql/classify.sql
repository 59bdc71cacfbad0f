-- Statements as the server's own parser sees them.
CREATE EXTENSION penstock;
\pset format unaligned

SELECT ordinal, command_tag, location, length, objects FROM penstock.classify($$
  SELECT 1; -- a comment
  /* another /* nested */ */ ALTER TABLE "S".t ADD COLUMN "A b" int NOT NULL, DROP COLUMN x, ALTER y TYPE text;
  CREATE UNIQUE INDEX CONCURRENTLY i ON s.t (a);
  DROP TABLE a, b.c CASCADE;
  ALTER TABLE t RENAME COLUMN a TO b;
  ALTER TABLE t RENAME TO u;
  ALTER TABLE t SET SCHEMA elsewhere;
  ALTER TYPE mood ADD VALUE 'glad';
  CREATE TYPE mood AS ENUM ('sad');
  DROP TYPE mood;
  TRUNCATE a, b;
  INSERT INTO t VALUES (1);
  UPDATE s.t SET a = 1;
  WITH q AS (SELECT 1) DELETE FROM t;
  COPY t FROM STDIN;
  COPY t TO '/tmp/file';
  CALL electric.electrify('items');
  BEGIN; SAVEPOINT s; ROLLBACK TO s; COMMIT;
  DO $do$ BEGIN NULL; END $do$;
  SET ROLE somebody;
  EXPLAIN UPDATE t SET a = 2;;
  CREATE TABLE "Größe" (id int)
$$);

-- Places count bytes.
SELECT location, length, convert_from(substr(convert_to(t, 'UTF8'), location + 1, length), 'UTF8') AS statement
FROM (VALUES ('SELECT "ä"; SELECT ''ö'' ; SELECT 3')) v(t), penstock.classify(t);

-- Nothing in it.
SELECT count(*) FROM penstock.classify('');
SELECT count(*) FROM penstock.classify(' ; -- nothing');
SELECT count(*) FROM penstock.classify(NULL);

-- An error of syntax is the server's own.
\set VERBOSITY terse
SELECT * FROM penstock.classify('SELECT 1; SELEC 2');
SELECT * FROM penstock.classify('SELECT ''unterminated');
\set VERBOSITY default

-- Large and deep texts.
SELECT count(*), max(location) FROM penstock.classify(repeat('SELECT 1; ', 100000));
SELECT command_tag, length FROM penstock.classify('SELECT ''' || repeat('x', 1000000) || '''');
SELECT count(*) FROM penstock.classify('SELECT 1' || repeat('+1', 500000));
\set VERBOSITY terse
SELECT count(*) FROM penstock.classify('SELECT ' || repeat('(', 500000));
\set VERBOSITY default

DROP EXTENSION penstock;
