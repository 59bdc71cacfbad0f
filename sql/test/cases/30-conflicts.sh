# Conflicts between clients and Postgres. Numbers are those of the legacy service's end-to-end tests.
new_database conflicts
script >/dev/null <<'SQL'
CREATE TABLE items (id text PRIMARY KEY, content varchar NOT NULL, extra text, n int);
CREATE TABLE other_items (content text NOT NULL, id text PRIMARY KEY, item_id text REFERENCES items (id));
CALL electric.electrify('items'); CALL electric.electrify('other_items');
SQL
row="SELECT content, extra, n FROM items WHERE id ="
shadow="FROM electric.shadow__public__items WHERE id ="

# 02.04 / 02.05
silent "client inserts (02.04)" "$(client <<'SQL'
CALL test.change('items', 'insert', '{"id": "a", "content": "hello", "n": 1}', NULL, '2023-06-06 00:00:00+00', 'c1')
SQL
)"
check "the row is there" "$row 'a'" "hello||1"
check "its tag is the client's" "SELECT test.tag(_tag), _tags::text, _resolved, _currently_reordering IS NULL AND _observed_tags IS NULL AND _modified_columns_bit_mask IS NULL AND __reordered_content IS NULL AND NOT _is_a_delete_operation $shadow 'a'" 'c1@1686009600000|{"(\"2023-06-06 00:00:00+00\",c1)"}|t|t'
client >/dev/null <<'SQL'
CALL test.change('items', 'insert', '{"id": "a", "content": "hello", "n": 1}', NULL, '2023-06-06 00:00:00+00', 'c1')
SQL
check "delivered twice it is the same" "SELECT _tags::text, (SELECT content FROM items) $shadow 'a'" '{"(\"2023-06-06 00:00:00+00\",c1)"}|hello'
client >/dev/null <<'SQL'
CALL test.change('items', 'delete', '{"id": "a", "content": "hello", "n": 1}', NULL, '2023-06-06 00:00:01+00', 'c2', '{"(\"2023-06-05 00:00:00+00\",c1)"}')
SQL
check "a delete that has not seen the last tag does not delete" "$row 'a'" "hello||1"
client >/dev/null <<'SQL'
CALL test.change('items', 'delete', '{"id": "a", "content": "hello", "n": 1}', NULL, '2023-06-06 00:00:01+00', 'c2', '{"(\"2023-06-06 00:00:00+00\",c1)"}')
SQL
check "a delete with the observed tag does (02.05)" "SELECT (SELECT count(*) FROM items), cardinality(_tags), _is_a_delete_operation, test.tag(_tag), (SELECT content FROM electric.tombstone__public__items WHERE id = 'a') $shadow 'a'" "0|0|t|c2@1686009601000|hello"

# 05.01
sql "INSERT INTO items VALUES ('b', 'original', 'x', 1)" >/dev/null
client >/dev/null <<'SQL'
CALL test.change('items', 'update', '{"id": "b", "content": "too late", "extra": "x", "n": 1}', '{content}', '2020-01-01', 'c1')
SQL
check "an update in the past does not change the value (05.01)" "$row 'b'" "original|x|1"
check "its echo carries the client's tag" "SELECT test.tag(_tag), test.sources(_tags), test.sources(ARRAY[_tag_content]) $shadow 'b'" "c1@1577836800000|postgres_1,c1|postgres_1"

# 05.02
client >/dev/null <<'SQL'
CALL test.change('items', 'update', '{"id": "b", "content": "from c1", "extra": "x", "n": 1}', '{content}', '2098-01-01', 'c1')
SQL
client >/dev/null <<'SQL'
CALL test.change('items', 'update', '{"id": "b", "content": "original", "extra": "from c2", "n": 1}', '{extra}', '2098-01-01', 'c2')
SQL
check "updates of different columns both survive (05.02)" "$row 'b'" "from c1|from c2|1"
check "column tags name the writers" "SELECT test.sources(ARRAY[_tag_content, _tag_extra, _tag_n]) $shadow 'b'" "c1,c2,postgres_1"
client >/dev/null <<'SQL'
CALL test.change('items', 'update', '{"id": "b", "content": "from b", "extra": "x", "n": 1}', '{content}', '2098-01-01', 'b');
CALL test.change('items', 'update', '{"id": "b", "content": "x", "extra": "from d", "n": 1}', '{extra}', '2098-01-01', 'd')
SQL
check "at the same moment the greater source wins" "$row 'b'" "from c1|from d|1"

# 05.03
sql "UPDATE items SET content = 'postgres' WHERE id = 'b'" >/dev/null
check "Postgres wins over a client's clock that runs ahead (05.03)" "SELECT (SELECT content FROM items WHERE id = 'b'), test.tag(_tag_content), test.tag(_tag), test.sources(ARRAY[_tag_extra]), test.sources(_tags) $shadow 'b'" "postgres|postgres_1@4039372800000|postgres_1@4039372800000|d|postgres_1"
client >/dev/null <<'SQL'
CALL test.change('items', 'update', '{"id": "b", "content": "equal", "extra": "", "n": 1}', '{content}', '2098-01-01', 'zzz')
SQL
check "and at the same moment" "$row 'b'" "postgres|from d|1"
sql "DELETE FROM items WHERE id = 'b'" >/dev/null
check "Postgres deletes a row of a client ahead of time" "SELECT cardinality(_tags), _is_a_delete_operation, test.tag(_tag) $shadow 'b'" "0|t|postgres_1@4039372800001"

# 05.04
script >/dev/null <<'SQL'
INSERT INTO items VALUES ('c', 'first', 'kept', 5);
DELETE FROM items WHERE id = 'c';
SQL
client >/dev/null <<'SQL'
CALL test.change('items', 'update', '{"id": "c", "content": "revived", "extra": "stale", "n": 0}', '{content}', '2097-01-01', 'c1')
SQL
check "an update that has not seen the delete revives the row (05.04)" "$row 'c'" "revived|kept|5"
check "and its tags" "SELECT test.sources(_tags), _is_a_delete_operation $shadow 'c'" "c1|f"

# 03.11 and 03.25
script >/dev/null <<'SQL'
INSERT INTO items VALUES ('p', 'parent', 'e', 1);
DELETE FROM items WHERE id = 'p';
SQL
silent "client inserts a child with a compensation (03.11)" "$(client <<'SQL'
CALL test.change('items', 'compensation', '{"id": "p"}', NULL, '2024-01-01', 'c1');
CALL test.change('other_items', 'insert', '{"id": "o", "content": "child", "item_id": "p"}', NULL, '2024-01-01', 'c1')
SQL
)"
check "the parent comes back with its content" "$row 'p'" "parent|e|1"
check "the child is there, its key not being the first column (03.25)" "SELECT * FROM other_items" "child|o|p"
sql "DELETE FROM other_items WHERE id = 'o'" >/dev/null
client >/dev/null <<'SQL'
CALL test.change('items', 'compensation', '{"id": "p"}', NULL, '2024-01-02', 'c1');
CALL test.change('other_items', 'update', '{"id": "o", "content": "again", "item_id": "p"}', '{content}', '2099-01-02', 'c1')
SQL
check "a child is revived where the key is not the first column (03.25)" "SELECT * FROM other_items" "again|o|p"
case "$(client <<'SQL'
CALL test.change('items', 'compensation', '{"id": "unknown"}', NULL, '2024-01-01', 'c1')
SQL
)" in
    *"null value in column"*) passed=$((passed + 1)) ;;
    *) result "a compensation for a row that nobody knows fails on NOT NULL" "null value in column" "no failure" ;;
esac

# 05.05
silent "insert, compensation and child in one transaction (05.05)" "$(client <<'SQL'
CALL test.change('items', 'insert', '{"id": "q", "content": "new", "n": 3}', NULL, '2024-01-01', 'c1');
CALL test.change('items', 'compensation', '{"id": "q"}', NULL, '2024-01-01', 'c1');
CALL test.change('other_items', 'insert', '{"id": "r", "content": "child", "item_id": "q"}', NULL, '2024-01-01', 'c1')
SQL
)"
check "all of it is there" "SELECT i.content, i.n, o.content, (SELECT _tags::text $shadow 'q') FROM items i JOIN other_items o ON o.item_id = i.id WHERE i.id = 'q'" 'new|3|child|{"(\"2024-01-01 00:00:00+00\",c1)"}'

# 03.27
script >/dev/null <<'SQL'
CREATE TABLE dropped (gone text, id text PRIMARY KEY, value text, gone2 int, value2 text); ALTER TABLE dropped DROP COLUMN gone, DROP COLUMN gone2;
CALL electric.electrify('dropped');
SQL
client >/dev/null <<'SQL'
CALL test.change('dropped', 'insert', '{"id": "1", "value": "late", "value2": "late2"}', NULL, '2024-01-02', 'c2')
SQL
client >/dev/null <<'SQL'
CALL test.change('dropped', 'insert', '{"id": "1", "value": "early", "value2": "early2"}', NULL, '2024-01-01', 'c1')
SQL
check "two clients insert one key: the later wins (03.27)" "SELECT value, value2, test.tag(_tag_value), test.sources(_tags) FROM dropped, electric.shadow__public__dropped" "late|late2|c2@1704153600000|c2,c1"

# Writes by Postgres.
sql "INSERT INTO items VALUES ('k', 'a', 'b', 1)" >/dev/null
before=$(sql "SELECT _tag_extra $shadow 'k'")
sql "UPDATE items SET content = 'c' WHERE id = 'k'" >/dev/null
check "an update tags what it changes" "SELECT _tag_extra = '$before'::electric.tag, _tag_content > _tag_extra, _tag = _tag_content, _tags = ARRAY[_tag], _resolved $shadow 'k'" "t|t|t|t|t"
sql "UPDATE items SET content = content WHERE id = 'k'" >/dev/null
check "an update that changes nothing is an event" "SELECT _tag > _tag_content $shadow 'k'" t
script >/dev/null <<'SQL'
INSERT INTO items VALUES ('k', 'no', 'no', 0) ON CONFLICT DO NOTHING;
SQL
check "an insert that does nothing leaves no mark" "SELECT _tag > _tag_content $shadow 'k'" t
script >/dev/null <<'SQL'
INSERT INTO items VALUES ('k', 'no', 'yes', 0) ON CONFLICT (id) DO UPDATE SET extra = excluded.extra;
SQL
check "an upsert marks what it changes" "SELECT (SELECT extra FROM items WHERE id = 'k'), _tag_extra = _tag, _tag_content < _tag $shadow 'k'" "yes|t|t"
script >/dev/null <<'SQL'
UPDATE items SET id = 'k2', n = 9 WHERE id = 'k';
SQL
check "a changed key is a delete" "SELECT cardinality(_tags), _is_a_delete_operation, (SELECT n FROM electric.tombstone__public__items WHERE id = 'k') $shadow 'k'" "0|t|1"
check "and an insert" "SELECT test.sources(_tags), _is_a_delete_operation, _tag_n = _tag AND _tag_content = _tag $shadow 'k2'" "postgres_1|f|t"
script >/dev/null <<'SQL'
BEGIN; INSERT INTO items VALUES ('t', 'a', NULL, 1); UPDATE items SET n = 2 WHERE id = 't'; DELETE FROM items WHERE id = 't'; INSERT INTO items VALUES ('t', 'b', NULL, 1); COMMIT;
SQL
check "a transaction stamps a row once" "SELECT _tag_content = _tag AND _tag_n = _tag AND _tags = ARRAY[_tag] AND NOT _is_a_delete_operation $shadow 't'" t
script >/dev/null <<'SQL'
BEGIN; INSERT INTO items VALUES ('s', 'a', NULL, 1); SAVEPOINT x; UPDATE items SET n = 2 WHERE id = 's'; ROLLBACK TO x; COMMIT;
SQL
check "a rolled back savepoint leaves the row as it was" "SELECT (SELECT n FROM items WHERE id = 's'), _tag_n = _tag_content $shadow 's'" "1|t"
script >/dev/null <<'SQL'
CREATE TABLE plain (id int PRIMARY KEY, v text); INSERT INTO plain VALUES (1, 'a'), (2, 'b'), (3, 'c'); CALL electric.electrify('plain');
UPDATE plain SET v = 'A' WHERE id = 1; DELETE FROM plain WHERE id = 2;
SQL
check "rows older than electrification" "SELECT string_agg(id || ' ' || test.sources(_tags) || ' ' || _is_a_delete_operation, ', ' ORDER BY id) FROM electric.shadow__public__plain" "1 postgres_1 false, 2  true"
client >/dev/null <<'SQL'
CALL test.change('plain', 'update', '{"id": 3, "v": "client"}', '{v}', '2024-01-01', 'c')
SQL
check "a client updates such a row" "SELECT v FROM plain WHERE id = 3" client
sql "TRUNCATE plain" >/dev/null
check "TRUNCATE deletes every row" "SELECT count(*) FILTER (WHERE cardinality(_tags) = 0 AND _is_a_delete_operation AND test.sources(ARRAY[_tag]) = 'postgres_1'), count(*), (SELECT string_agg(v, ' ' ORDER BY id) FROM electric.tombstone__public__plain) FROM electric.shadow__public__plain" "3|3|A b client"
sql "INSERT INTO plain VALUES (1, 'again')" >/dev/null
check "a row after TRUNCATE" "SELECT test.sources(_tags), _is_a_delete_operation FROM electric.shadow__public__plain WHERE id = 1" "postgres_1|f"

# Triggers of the application run on clients' writes too, and theirs are writes of Postgres.
script >/dev/null <<'SQL'
CREATE TABLE log (id text PRIMARY KEY, what text); CALL electric.electrify('log');
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO log VALUES (NEW.id, TG_OP) ON CONFLICT (id) DO UPDATE SET what = log.what || ' ' || excluded.what;
    IF NEW.n IS NULL THEN UPDATE items SET n = 42 WHERE id = NEW.id; END IF;
    RETURN NULL; END $$;
CREATE TRIGGER note AFTER INSERT OR UPDATE ON items FOR EACH ROW EXECUTE FUNCTION note();
SQL
silent "a trigger of the application during a client's write" "$(client <<'SQL'
CALL test.change('items', 'insert', '{"id": "trigger", "content": "x"}', NULL, '2024-01-01', 'c1')
SQL
)"
check "its own row is Postgres'" "SELECT what, test.sources(_tags) FROM log JOIN electric.shadow__public__log USING (id)" "INSERT UPDATE|postgres_1"
check "what it changed in the client's row is Postgres'" "SELECT (SELECT n FROM items WHERE id = 'trigger'), test.sources(ARRAY[_tag_content, _tag_n]), test.sources(_tags) $shadow 'trigger'" "42|c1,postgres_1|postgres_1"
sql "DROP TRIGGER note ON items" >/dev/null
script >/dev/null <<'SQL'
CREATE TABLE cascading (id text PRIMARY KEY, item text REFERENCES items (id) ON DELETE CASCADE); CALL electric.electrify('cascading');
INSERT INTO items VALUES ('up', 'x'); INSERT INTO cascading VALUES ('down', 'up');
SQL
observed=$(sql "SELECT _tags $shadow 'up'")
silent "a client deletes a parent" "$(client <<SQL
CALL test.change('items', 'delete', '{"id": "up", "content": "x"}', NULL, '2099-01-01', 'c1', '$observed')
SQL
)"
check "the cascade deletes as Postgres" "SELECT (SELECT count(*) FROM cascading), cardinality(_tags), _is_a_delete_operation, test.sources(ARRAY[_tag]) FROM electric.shadow__public__cascading" "0|0|t|postgres_1"

# The apply worker writes with the server's own replica role.
script >/dev/null <<'SQL'
SET session_replication_role = replica;
CALL test.change('items', 'insert', '{"id": "apply", "content": "x"}', NULL, '2024-01-01', 'c1');
INSERT INTO electric.acknowledged_client_lsns VALUES ('c1', '\x01');
INSERT INTO electric.acknowledged_client_lsns VALUES ('c1', '\x02');
SQL
check "the built-in role replica is a client too" "SELECT (SELECT count(*) FROM items WHERE id = 'apply'), test.sources(_tags) $shadow 'apply'" "1|c1"
check "the apply worker's second report replaces the first" "SELECT lsn FROM electric.acknowledged_client_lsns" '\x02'

# Two transactions of Postgres that overlap: the one that commits later has the later tag.
sql "INSERT INTO items VALUES ('race', 'x')" >/dev/null
{ echo "BEGIN; SELECT now(); SELECT pg_sleep(0.3); UPDATE items SET content = 'older transaction' WHERE id = 'race'; COMMIT;" | script >/dev/null; } &
sleep 0.1
sql "UPDATE items SET content = 'newer transaction' WHERE id = 'race'" >/dev/null
between=$(sql "SELECT _tag $shadow 'race'")
wait $!
check "tags rise in the order of commits" "SELECT (SELECT content FROM items WHERE id = 'race'), _tag > '$between'::electric.tag, _tag_content = _tag $shadow 'race'" "older transaction|t|t"
for i in 1 2 3 4; do
    { for j in $(seq 25); do
        echo "BEGIN; UPDATE items SET n = coalesce(n, 0) + 1 WHERE id = 'race'; INSERT INTO test.seen SELECT n, (_tag).\"timestamp\" FROM items JOIN electric.shadow__public__items USING (id) WHERE id = 'race'; COMMIT;"
    done; } >"$work/race.$i"
done
sql "CREATE TABLE test.seen (n int, at timestamptz)" >/dev/null
for i in 1 2 3 4; do script <"$work/race.$i" >/dev/null & done; wait
check "a hundred updates by four sessions: tags rise strictly" "SELECT count(*), bool_and(at > before) FROM (SELECT at, lag(at, 1, '-infinity') OVER (ORDER BY n) AS before FROM test.seen) x" "100|t"

# Postgres and clients on the same rows do not deadlock.
sql "INSERT INTO items SELECT 'd' || i, 'x', NULL, 0 FROM generate_series(1, 3) i" >/dev/null
for j in $(seq 40); do echo "UPDATE items SET n = n + 1 WHERE id = 'd$((j % 3 + 1))';"; done >"$work/pg.sql"
{ echo "SET electric.session_replication_role = replica;"
  for j in $(seq 40); do echo "BEGIN; CALL test.change('items', 'update', '{\"id\": \"d$((j % 3 + 1))\", \"content\": \"c$j\", \"n\": 0}', '{content}', '2099-01-01', 'c$j'); COMMIT;"; done; } >"$work/client.sql"
silent "no deadlock between Postgres and clients" "$(script <"$work/pg.sql" & script <"$work/pg.sql" & script <"$work/client.sql" & script <"$work/client.sql" & wait)"
check "no update is lost" "SELECT sum(n) FROM items WHERE id IN ('d1', 'd2', 'd3')" 80

# A start of the service beside a long transaction of the application waits for nothing.
{ echo "BEGIN; INSERT INTO items VALUES ('long', 'transaction'); SELECT pg_sleep(4); COMMIT;" | script >/dev/null; } &
until [ "$(sql "SELECT count(*) FROM pg_locks WHERE relation = 'items'::regclass AND mode = 'RowExclusiveLock'")" != 0 ]; do :; done
silent "a start beside a long transaction" "$(PGOPTIONS="$PGOPTIONS -c lock_timeout=1s" install_schema conflicts)"
check "which was still running" "SELECT count(*) FROM pg_locks WHERE relation = 'items'::regclass AND mode = 'RowExclusiveLock'" 1
wait $!
check "and has been stamped" "SELECT test.sources(_tags) $shadow 'long'" postgres_1
