-- Helpers of the tests: a client's change is two INSERTs, first into the table, then into its shadow.
CREATE SCHEMA test;

CREATE PROCEDURE test.change(relation regclass, kind text, fields jsonb, changed text[], moment timestamptz, client text,
                             observed text[] DEFAULT '{}')
LANGUAGE plpgsql AS $test$
DECLARE
    columns text;
    key text;
    mask text;
    shadow text;
BEGIN
    SELECT string_agg(format('%I', c.name), ', ' ORDER BY c.num),
           string_agg(format('%I', c.name), ', ' ORDER BY c.num) FILTER (WHERE c.key_position IS NOT NULL),
           coalesce(string_agg((kind = 'insert' OR (kind = 'update' AND c.name = ANY (changed)))::text, ',' ORDER BY c.num)
                    FILTER (WHERE c.key_position IS NULL), '')
    INTO columns, key, mask FROM electric.__columns(relation) c;
    SELECT format('electric.%I', electric.shadow_name(e.schema_name, e.table_name)) INTO shadow
    FROM electric.electrified e WHERE e.oid = relation;
    EXECUTE format('INSERT INTO %1$s (%2$s) SELECT %2$s FROM jsonb_populate_record(NULL::%1$s, $1)', relation, columns)
        USING fields;
    EXECUTE format('INSERT INTO %s (%s, _tag, _is_a_delete_operation, _observed_tags, _modified_columns_bit_mask) '
                   'SELECT %2$s, $2, $3, $4, $5 FROM jsonb_populate_record(NULL::%4$s, $1)', shadow, key, NULL, relation)
        USING fields, ROW(moment, client)::electric.unbounded_tag::electric.tag, kind = 'delete',
              observed::electric.tag[], ('{' || mask || '}')::boolean[];
END
$test$;

-- A tag as clients write it: source@milliseconds.
CREATE FUNCTION test.tag(tag electric.tag) RETURNS text LANGUAGE sql AS $test$
    SELECT coalesce((tag).source_id, 'postgres_1') || '@' || (extract(epoch FROM (tag)."timestamp") * 1000)::bigint
$test$;

CREATE FUNCTION test.sources(tags electric.tag[]) RETURNS text LANGUAGE plpgsql AS $test$
DECLARE
    result text := '';
    tag electric.tag;
BEGIN
    FOREACH tag IN ARRAY tags LOOP
        result := concat_ws(',', nullif(result, ''), coalesce((tag).source_id, 'postgres_1'));
    END LOOP;
    RETURN result;
END
$test$;

-- The SQLSTATE and message with which a statement fails, or `no error`.
CREATE FUNCTION test.failure(statement text) RETURNS text LANGUAGE plpgsql AS $test$
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END
$test$;
