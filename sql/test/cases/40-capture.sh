# Capture of migrations by event triggers, and the guard.
new_database capture
script >/dev/null <<'SQL'
CREATE TABLE parents (id int PRIMARY KEY);
CREATE TABLE items (id int PRIMARY KEY, content text, parent int REFERENCES parents (id));
CREATE TABLE plain (id int PRIMARY KEY);
CREATE TYPE color AS ENUM ('RED', 'GREEN');
CALL electric.electrify('parents'); CALL electric.electrify('items');
SQL
captured="SELECT string_agg(query, '|' ORDER BY id) FROM electric.ddl_commands WHERE id > 2"
check "who captures" "SELECT electric.install_event_triggers() IN ('schema', 'extension')" t
silent "what is not electrified passes" "$(sql "ALTER TABLE plain ADD COLUMN a numeric DEFAULT 1; ALTER TABLE plain RENAME COLUMN a TO b; ALTER TABLE plain DROP COLUMN b; CREATE INDEX ON plain (id); CREATE TABLE more (id int); DROP TABLE more; CREATE TEMP TABLE items2 (id int); ALTER TABLE items2 ADD COLUMN x numeric; DROP TABLE items2")"
check "and is not captured" "$captured" ""
silent "columns are added in any manner" "$(script <<'SQL'
ALTER TABLE items ADD COLUMN "new Column" int;
alter table only public.items /* and */ add a1 varchar, add column if not exists a1 varchar, ADD COLUMN a2 timestamptz NULL;
DO $$ BEGIN EXECUTE 'ALTER TABLE items ADD COLUMN from_do uuid'; END $$;
CREATE FUNCTION migrate() RETURNS void LANGUAGE plpgsql AS $$ BEGIN ALTER TABLE items ADD COLUMN from_function bool; END $$;
SELECT migrate();
ALTER TABLE parents ADD COLUMN required text NOT NULL;
ALTER TABLE items ADD COLUMN c color;
SQL
)"
check "each is recorded in one canonical form" "$captured" 'ALTER TABLE "public"."items" ADD COLUMN "new Column" integer|ALTER TABLE "public"."items" ADD COLUMN "a1" character varying|ALTER TABLE "public"."items" ADD COLUMN "a2" timestamp with time zone|ALTER TABLE "public"."items" ADD COLUMN "from_do" uuid|ALTER TABLE "public"."items" ADD COLUMN "from_function" boolean|ALTER TABLE "public"."parents" ADD COLUMN "required" text NOT NULL|CREATE TYPE "public"."color" AS ENUM ('"'RED', 'GREEN'"')|ALTER TABLE "public"."items" ADD COLUMN "c" public.color'
check "shadow and tombstone have the columns (01.04)" "SELECT count(*) FROM pg_attribute WHERE (attrelid = 'electric.shadow__public__items'::regclass AND attname IN ('_tag_new Column', '__reordered_new Column', '_tag_c')) OR (attrelid = 'electric.tombstone__public__items'::regclass AND attname = 'new Column')" 4
silent "new columns are written" "$(sql "INSERT INTO parents VALUES (1, 'r'); INSERT INTO items (id, parent, \"new Column\", c) VALUES (1, 1, 7, 'RED')"; sql "UPDATE items SET c = 'GREEN'")"
check "and tagged" "SELECT _tag_c > \"_tag_new Column\" FROM electric.shadow__public__items" t
silent "new columns are written by clients" "$(client <<'SQL'
CALL test.change('items', 'update', '{"id": 1, "new Column": 8}', '{new Column}', '2099-01-01', 'c1')
SQL
)"
check "their value" "SELECT \"new Column\" FROM items" 8
check "a rolled back migration leaves nothing" "BEGIN; ALTER TABLE items ADD COLUMN rolled int; ROLLBACK; SELECT count(*) FROM electric.ddl_commands WHERE query LIKE '%rolled%'" 0
sql "DELETE FROM electric.ddl_commands WHERE id > 2" >/dev/null
silent "indexes and enum values" "$(script <<'SQL'
CREATE INDEX by_content ON items (content);
CREATE UNIQUE INDEX ON items (content, a1);
ALTER TYPE color ADD VALUE 'BLUE';
ALTER TYPE color ADD VALUE 'AZURE' BEFORE 'GREEN';
SQL
)"
silent "an index made concurrently" "$(sql "CREATE INDEX CONCURRENTLY concurrent ON items (a2)")"
check "are recorded" "$captured" "CREATE INDEX by_content ON public.items USING btree (content)|CREATE UNIQUE INDEX items_content_a1_idx ON public.items USING btree (content, a1)|ALTER TYPE \"public\".\"color\" ADD VALUE 'BLUE'|ALTER TYPE \"public\".\"color\" ADD VALUE 'AZURE' AFTER 'RED'|CREATE INDEX concurrent ON public.items USING btree (a2)"
silent "dropping an index passes" "$(sql "DROP INDEX by_content")"

begins "numeric column" "ALTER TABLE items ADD COLUMN x numeric" 'EX005 Cannot electrify column of type "numeric"'
begins "sized column" "ALTER TABLE items ADD COLUMN x varchar(10)" 'EX005 Cannot electrify column of type "character varying(10)"'
begins "array column" "ALTER TABLE items ADD COLUMN x int[]" 'EX005 Cannot electrify column of type "integer[]"'
begins "default" "ALTER TABLE items ADD COLUMN x int DEFAULT 1" "EX006 Cannot electrify column with DEFAULT clause"
begins "check" "ALTER TABLE items ADD COLUMN x int CHECK (x > 0)" "EX011 Cannot electrify column with CHECK constraint"
begins "unique" "ALTER TABLE items ADD COLUMN x int UNIQUE" "EX011 Cannot electrify column with UNIQUE constraint"
begins "references" "ALTER TABLE items ADD COLUMN x int REFERENCES parents (id)" "EX011 Cannot electrify column with FOREIGN KEY constraint"
begins "identity" "ALTER TABLE items ADD COLUMN x int GENERATED ALWAYS AS IDENTITY" "EX011 Cannot electrify column with IDENTITY constraint"
begins "in a DO block" "DO \$\$ BEGIN ALTER TABLE items ADD COLUMN x numeric; END \$\$" "EX005"
begins "rename table" "ALTER TABLE items RENAME TO itemz" 'EX002 Cannot rename electrified table "public"."items"'
begins "drop table" "DROP TABLE items" 'EX004 Cannot drop electrified table "public"."items"'
begins "drop several tables" "DROP TABLE plain, items" 'EX004 Cannot drop electrified table "public"."items"'
begins "drop schema" "DROP SCHEMA public CASCADE" 'EX004 Cannot drop electrified table'
begins "drop parent with cascade" "DROP TABLE parents CASCADE" 'EX004 Cannot drop electrified table "public"."parents"'
begins "drop column" "ALTER TABLE items DROP COLUMN content" 'EX010 Cannot drop column "content" of electrified table "public"."items"'
begins "drop type with cascade" "DROP TYPE color CASCADE" 'EX010 Cannot drop column "c" of electrified table "public"."items"'
begins "rename column" "ALTER TABLE items RENAME content TO kontent" 'EX008 Cannot rename column "content" of electrified table "public"."items"'
begins "change type" "ALTER TABLE items ALTER COLUMN content TYPE varchar" 'EX009 Cannot change type of column "content" of electrified table "public"."items"'
begins "set default" "ALTER TABLE items ALTER COLUMN content SET DEFAULT 'x'" 'EX007 Cannot alter column "content" of electrified table "public"."items"'
begins "set not null" "ALTER TABLE items ALTER COLUMN parent SET NOT NULL" 'EX007 Cannot alter column "parent" of electrified table "public"."items"'
begins "drop not null" "ALTER TABLE parents ALTER COLUMN required DROP NOT NULL" 'EX007 Cannot alter column "required" of electrified table "public"."parents"'
begins "add constraint" "ALTER TABLE items ADD CONSTRAINT positive CHECK (id > 0)" 'EX007 Cannot add constraint "positive" to electrified table "public"."items"'
begins "drop constraint" "ALTER TABLE items DROP CONSTRAINT items_parent_fkey" 'EX007 Cannot drop constraint "items_parent_fkey" of electrified table "public"."items"'
begins "rename constraint" "ALTER TABLE items RENAME CONSTRAINT items_parent_fkey TO fk" 'EX012 Cannot rename constraint "items_parent_fkey" of electrified table "public"."items"'
begins "replica identity" "ALTER TABLE items REPLICA IDENTITY DEFAULT" 'EX007 Cannot change the replica identity of electrified table "public"."items"'
begins "rename enum value" "ALTER TYPE color RENAME VALUE 'RED' TO 'ROT'" 'EX007 Cannot rename a value of type "public"."color"'
begins "rename enum type" "ALTER TYPE color RENAME TO colour" 'EX009 Cannot change type of column "c" of electrified table "public"."items"'
silent "what does not concern clients passes" "$(sql "ALTER TABLE items DISABLE TRIGGER USER; ALTER TABLE items ENABLE TRIGGER USER; ALTER TABLE items SET (fillfactor = 90); ALTER TABLE items ALTER content SET STATISTICS 10; ALTER TABLE items OWNER TO postgres")"
begins "an unknown guard" "SET LOCAL electric.guard = 'maybe'; ALTER TABLE items RENAME TO itemz" '22023 invalid value for setting electric.guard: "maybe"'
sql "SELECT * FROM electric.refresh_tables()" >/dev/null

silent "with the guard off everything passes" "$(script <<'SQL'
SET electric.guard = off;
ALTER TABLE items RENAME COLUMN content TO "kontent";
ALTER TABLE items DROP COLUMN a2, ALTER COLUMN a1 TYPE text;
ALTER TABLE items DROP CONSTRAINT items_parent_fkey;
ALTER TABLE items RENAME TO "Renamed items";
SQL
)"
check "the bookkeeping follows" "SELECT string_agg(attname, ' ' ORDER BY attname) FROM pg_attribute WHERE attrelid = 'electric.\"shadow__public__Renamed items\"'::regclass AND attname IN ('_tag_kontent', '_tag_content', '_tag_a2', '__reordered_kontent') AND NOT attisdropped" "__reordered_kontent _tag_kontent"
silent "the table is written after it" "$(sql "UPDATE \"Renamed items\" SET kontent = 'x'; DELETE FROM \"Renamed items\"; INSERT INTO \"Renamed items\" (id, kontent) VALUES (5, 'y')")"
check "a warning" "SET electric.guard = warn; ALTER TABLE \"Renamed items\" DROP COLUMN c" 'WARNING:  Cannot drop column "c" of electrified table "public"."Renamed items"
DETAIL:  Clients are not told of this change.'
silent "a table is dropped with the guard off" "$(sql "SET electric.guard = off; DROP TABLE \"Renamed items\"")"
check "nothing of it stays" "SELECT (SELECT count(*) FROM electric.electrified WHERE table_name LIKE '%tems'), (SELECT count(*) FROM pg_class WHERE relnamespace = 'electric'::regnamespace AND relname LIKE '%tems'), (SELECT count(*) FROM pg_proc WHERE pronamespace = 'electric'::regnamespace AND proname LIKE '%tems')" "0|0|0"

# Without event triggers the proxy asks for the same.
script >/dev/null <<'SQL'
ALTER EVENT TRIGGER penstock_ddl_command_end DISABLE;
ALTER TABLE parents ADD COLUMN quiet int;
SQL
check "a change that nobody saw is found on request" "SELECT electric.note_table_change('parents'); SELECT query FROM electric.ddl_commands ORDER BY id DESC LIMIT 1" 't
ALTER TABLE "public"."parents" ADD COLUMN "quiet" integer'
