# What electrification costs the application, printed and not judged; and that the cost is linear.
new_database cost
script >/dev/null <<'SQL'
CREATE TABLE plain (id int PRIMARY KEY, a text, b int, c text); CREATE TABLE parents (id int PRIMARY KEY);
CREATE TABLE synced (id int PRIMARY KEY, a text, b int, c text);
CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents (id)); INSERT INTO parents VALUES (1);
CALL electric.electrify('synced'); CALL electric.electrify('parents'); CALL electric.electrify('children');
SQL
timed() { # statement -> milliseconds
    printf '\\timing on\n%s;\n' "$1" | "$bindir/psql" -X -q -A -t -d cost -f - | awk '/Time:/ {print int($2)}'
}
for rows in 8000 100000; do
    for table in plain synced; do
        printf 'cost: %s, %s rows: insert %s ms, update %s ms, delete %s ms\n' $table $rows \
            "$(timed "INSERT INTO $table SELECT i, 'a', i, 'c' FROM generate_series(1, $rows) i")" \
            "$(timed "UPDATE $table SET b = b + 1")" "$(timed "DELETE FROM $table")"
    done
    sql 'VACUUM synced, electric.shadow__public__synced, electric.tombstone__public__synced' >/dev/null
done
printf 'cost: 100000 rows that refer to one: %s ms\n' "$(timed "INSERT INTO children SELECT i, 1 FROM generate_series(1, 100000) i")"
check "all are marked" "SELECT count(*), bool_and(_is_a_delete_operation) FROM electric.shadow__public__synced" "100000|t"
