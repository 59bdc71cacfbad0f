-- The electric schema, part 6: the row triggers of electrified tables in PL/pgSQL.
--
-- A function is generated for each table and trigger, with the names of the table written into it. Values of identifiers
-- pass through format(), never through concatenation. Local variables begin with __el_ so that they do not meet columns.

-- Postgres' next tag for a row whose greatest tag is `previous`: Postgres wins over every client, and of two Postgres
-- transactions the one that commits later has the greater tag. A transaction stamps a row once.
-- (Without a SET clause, so that it is expanded in place; its body is bound when it is made.)
CREATE OR REPLACE FUNCTION electric.__next_tag(previous electric.tag, last_modified bigint) RETURNS electric.tag
LANGUAGE sql VOLATILE
RETURN ROW(CASE
    WHEN previous IS NULL OR (previous)."timestamp" < CURRENT_TIMESTAMP(3) THEN CURRENT_TIMESTAMP(3)
    WHEN last_modified = pg_current_xact_id()::text::bigint OR (previous).source_id IS NOT NULL
        THEN (previous)."timestamp"
    ELSE (previous)."timestamp" + interval '1 millisecond'
END, NULL)::electric.unbounded_tag::electric.tag;

-- A row's tags after an operation of a client: those it had not observed, and its own unless it is a delete.
CREATE OR REPLACE FUNCTION electric.__resolved_tags(present electric.tag[], observed electric.tag[], tag electric.tag,
                                                    is_delete boolean) RETURNS electric.tag[]
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $electric$
DECLARE
    result electric.tag[] := '{}';
    candidate electric.tag;
BEGIN
    FOREACH candidate IN ARRAY coalesce(present, '{}') LOOP
        IF (candidate = ANY (observed)) IS NOT TRUE THEN
            result := array_append(result, candidate);
        END IF;
    END LOOP;
    IF NOT coalesce(is_delete, false) AND (tag = ANY (result)) IS NOT TRUE THEN
        result := array_append(result, tag);
    END IF;
    RETURN result;
END
$electric$;

-- The name of a generated function. Names that would be cut are hashed.
CREATE OR REPLACE FUNCTION electric.__row_function_name(kind text, schema_name text, table_name text) RETURNS name
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $electric$
    SELECT CASE WHEN octet_length(kind || '___' || schema_name || '__' || table_name) <= 63
                THEN kind || '___' || schema_name || '__' || table_name
                ELSE kind || '___' || left(md5(schema_name || '.' || table_name), 16) END::name
$electric$;

CREATE OR REPLACE FUNCTION electric.__make_row_function(
    function_name name, body text,
    -- The plans of these functions are made early, perhaps while a table is empty, and kept: never for a scan of the whole.
    settings text DEFAULT 'SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off'
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $electric$
BEGIN
    EXECUTE format('CREATE OR REPLACE FUNCTION electric.%I() RETURNS trigger LANGUAGE plpgsql %s AS %L', function_name,
                   settings, body);
    EXECUTE format('REVOKE ALL ON FUNCTION electric.%I() FROM PUBLIC', function_name);
END
$electric$;

CREATE OR REPLACE FUNCTION electric.__make_postgres_write_functions(relation regclass, shadow regclass,
    tombstone regclass, schema_name text, table_name text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $electric$
DECLARE
    l record;
    mark_deleted text;
    save_tombstone text;
BEGIN
    SELECT
        string_agg(format('%s', electric.__quoted(c.name)), ', ' ORDER BY c.num) AS all_columns,
        string_agg(format('main.%s', electric.__quoted(c.name)), ', ' ORDER BY c.num) AS main_columns,
        string_agg(format('OLD.%s', electric.__quoted(c.name)), ', ' ORDER BY c.num) AS old_columns,
        string_agg(format('%s', electric.__quoted(c.name)), ', ' ORDER BY c.key_position) FILTER (WHERE c.key_position IS NOT NULL) AS key,
        string_agg(format('NEW.%s', electric.__quoted(c.name)), ', ' ORDER BY c.key_position)
            FILTER (WHERE c.key_position IS NOT NULL) AS new_key,
        string_agg(format('OLD.%s', electric.__quoted(c.name)), ', ' ORDER BY c.key_position)
            FILTER (WHERE c.key_position IS NOT NULL) AS old_key,
        string_agg(format('main.%s', electric.__quoted(c.name)), ', ' ORDER BY c.key_position)
            FILTER (WHERE c.key_position IS NOT NULL) AS main_key,
        string_agg(format('main.%1$s = NEW.%1$s', electric.__quoted(c.name)), ' AND ' ORDER BY c.key_position)
            FILTER (WHERE c.key_position IS NOT NULL) AS main_is_new,
        string_agg(format('shadow.%1$s = NEW.%1$s', electric.__quoted(c.name)), ' AND ' ORDER BY c.key_position)
            FILTER (WHERE c.key_position IS NOT NULL) AS shadow_is_new,
        string_agg(format('shadow.%1$s = OLD.%1$s', electric.__quoted(c.name)), ' AND ' ORDER BY c.key_position)
            FILTER (WHERE c.key_position IS NOT NULL) AS shadow_is_old,
        string_agg(format('NEW.%1$s IS DISTINCT FROM OLD.%1$s', electric.__quoted(c.name)), ' OR ' ORDER BY c.key_position)
            FILTER (WHERE c.key_position IS NOT NULL) AS key_changed,
        coalesce(string_agg(format(', %I', electric.shadow_tag_column(c.name)), '' ORDER BY c.num)
            FILTER (WHERE c.key_position IS NULL), '') AS tag_columns,
        coalesce(string_agg(', __el_tag', '' ORDER BY c.num) FILTER (WHERE c.key_position IS NULL), '') AS tag_values,
        coalesce(string_agg(format(', __el_present.%I', electric.shadow_tag_column(c.name)), '' ORDER BY c.num)
            FILTER (WHERE c.key_position IS NULL), '') AS present_tags,
        coalesce(string_agg(format(', shadow.%I', electric.shadow_tag_column(c.name)), '' ORDER BY c.num)
            FILTER (WHERE c.key_position IS NULL), '') AS shadow_tags,
        coalesce(string_agg(format(E',\n            %1$I = CASE WHEN __el_fresh OR NEW.%2$s IS DISTINCT FROM OLD.%2$s '
                                   'THEN __el_tag ELSE shadow.%1$I END', electric.shadow_tag_column(c.name), electric.__quoted(c.name)), ''
                            ORDER BY c.num) FILTER (WHERE c.key_position IS NULL), '') AS tag_assignments,
        coalesce(string_agg(format(', %I = NULL', electric.shadow_parking_column(c.name)), '' ORDER BY c.num)
            FILTER (WHERE c.key_position IS NULL), '') AS clear_parking,
        string_agg(format('%1$s = excluded.%1$s', electric.__quoted(c.name)), ', ' ORDER BY c.num)
            FILTER (WHERE c.key_position IS NULL) AS overwrite
    INTO l
    FROM electric.__columns(relation) c;

    l.overwrite := CASE WHEN l.overwrite IS NULL THEN 'NOTHING' ELSE 'UPDATE SET ' || l.overwrite END;

    save_tombstone := format('INSERT INTO %1$s AS tombstone (%2$s) VALUES (%3$s) ON CONFLICT (%4$s) DO %5$s;',
                             tombstone, l.all_columns, l.old_columns, l.key, l.overwrite);

    -- Marks the shadow row of OLD as deleted. The main row is locked by the statement that fired the trigger.
    mark_deleted := format($body$
    SELECT shadow.* INTO __el_present FROM %1$s AS shadow WHERE %2$s;
    IF FOUND THEN
        __el_tag := GREATEST(__el_present._tag%3$s);
        __el_tag := electric.__next_tag(__el_tag, __el_present._last_modified);
        UPDATE %1$s AS shadow
        SET _tag = __el_tag, _tags = '{}', _is_a_delete_operation = true, _resolved = true, _last_modified = __el_xid,
            _observed_tags = NULL, _modified_columns_bit_mask = NULL, _currently_reordering = NULL%4$s
        WHERE %2$s;
    ELSE
        INSERT INTO %1$s AS shadow (%5$s, _tag, _tags, _is_a_delete_operation, _resolved, _last_modified)
        VALUES (%6$s, electric.__next_tag(NULL, NULL), '{}', true, true, __el_xid);
    END IF;$body$,
        shadow, l.shadow_is_old, l.present_tags, l.clear_parking, l.key, l.old_key);

    PERFORM electric.__make_row_function(
        electric.__row_function_name('save_deleted_row', schema_name, table_name),
        format($body$
#variable_conflict use_column
BEGIN
    %s
    RETURN NULL;
END$body$, save_tombstone), 'SECURITY DEFINER SET search_path = pg_catalog, pg_temp');

    PERFORM electric.__make_row_function(
        electric.__row_function_name('postgres_delete', schema_name, table_name),
        format($body$
#variable_conflict use_column
DECLARE
    __el_xid bigint := pg_current_xact_id()::text::bigint;
    __el_present %1$s;
    __el_tag electric.tag;
BEGIN
    IF current_setting('electric.applying', true) = pg_trigger_depth()::text THEN
        RETURN OLD;
    END IF;
    %2$s
    RETURN OLD;
END$body$, shadow, mark_deleted));

    -- An INSERT that meets an existing row either fails or becomes nothing or an UPDATE, which then has its own turn: so
    -- it leaves no mark.
    PERFORM electric.__make_row_function(
        electric.__row_function_name('postgres_write', schema_name, table_name),
        format($body$
#variable_conflict use_column
DECLARE
    __el_xid bigint := pg_current_xact_id()::text::bigint;
    __el_present %1$s;
    __el_tag electric.tag;
    __el_fresh boolean := TG_OP = 'INSERT';
BEGIN
    IF current_setting('electric.applying', true) = pg_trigger_depth()::text THEN
        RETURN NEW;
    END IF;
    IF TG_OP = 'UPDATE' AND (%3$s) THEN
        %4$s
        %5$s
        __el_fresh := true;
    END IF;

    IF NOT __el_fresh THEN
        SELECT shadow.* INTO __el_present FROM %1$s AS shadow WHERE %6$s;
    END IF;
    IF __el_fresh OR NOT FOUND THEN
        __el_tag := ROW(CURRENT_TIMESTAMP(3), NULL)::electric.unbounded_tag;
        LOOP
            INSERT INTO %1$s AS shadow (%7$s, _tag, _tags, _is_a_delete_operation, _resolved, _last_modified%8$s)
            SELECT %9$s, __el_tag, ARRAY[__el_tag], false, true, __el_xid%10$s
            WHERE NOT __el_fresh OR NOT EXISTS (SELECT FROM %2$s AS main WHERE %11$s)
            ON CONFLICT (%7$s) DO NOTHING;
            IF FOUND THEN
                RETURN NEW;
            END IF;
            SELECT shadow.* INTO __el_present FROM %1$s AS shadow WHERE %6$s FOR UPDATE;
            IF __el_fresh AND EXISTS (SELECT FROM %2$s AS main WHERE %11$s) THEN
                RETURN NEW;
            END IF;
            EXIT WHEN FOUND;
        END LOOP;
    END IF;

    __el_tag := GREATEST(__el_present._tag%12$s);
    __el_tag := electric.__next_tag(__el_tag, __el_present._last_modified);
    UPDATE %1$s AS shadow
    SET _tag = __el_tag, _tags = ARRAY[__el_tag], _is_a_delete_operation = false, _resolved = true,
        _last_modified = __el_xid, _observed_tags = NULL, _modified_columns_bit_mask = NULL,
        _currently_reordering = NULL%13$s%14$s
    WHERE %6$s;
    RETURN NEW;
END$body$,
            shadow, relation, l.key_changed, mark_deleted, save_tombstone, l.shadow_is_new, l.key, l.tag_columns,
            l.new_key, l.tag_values, l.main_is_new, l.present_tags, l.clear_parking, l.tag_assignments));

    PERFORM electric.__make_row_function(
        electric.__row_function_name('postgres_truncate', schema_name, table_name),
        format($body$
#variable_conflict use_column
DECLARE
    __el_xid bigint := pg_current_xact_id()::text::bigint;
BEGIN
    INSERT INTO %1$s AS tombstone (%2$s) SELECT %3$s FROM %4$s AS main ON CONFLICT (%5$s) DO %6$s;
    INSERT INTO %7$s AS shadow (%5$s, _tag, _tags, _is_a_delete_operation, _resolved, _last_modified)
    SELECT %8$s, electric.__next_tag(NULL, NULL), '{}', true, true, __el_xid FROM %4$s AS main
    ON CONFLICT (%5$s) DO UPDATE
    SET _tag = electric.__next_tag(GREATEST(shadow._tag%9$s), shadow._last_modified), _tags = '{}',
        _is_a_delete_operation = true, _resolved = true, _last_modified = __el_xid, _observed_tags = NULL,
        _modified_columns_bit_mask = NULL, _currently_reordering = NULL%10$s;
    RETURN NULL;
END$body$,
            tombstone, l.all_columns, l.main_columns, relation, l.key, l.overwrite, shadow, l.main_key, l.shadow_tags,
            l.clear_parking), 'SECURITY DEFINER SET search_path = pg_catalog, pg_temp');
END
$electric$;

CREATE OR REPLACE FUNCTION electric.__make_client_write_functions(relation regclass, shadow regclass,
    tombstone regclass, schema_name text, table_name text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $electric$
DECLARE
    l record;
BEGIN
    SELECT
        string_agg(format('%s', electric.__quoted(c.name)), ', ' ORDER BY c.num) AS all_columns,
        -- PL/pgSQL reads the targets of assignments by its own keywords, so these are always quoted.
        string_agg(format('__el_row.%s', electric.__quoted(c.name)), ', ' ORDER BY c.num) AS row_columns,
        string_agg(format('source.%s', electric.__quoted(c.name)), ', ' ORDER BY c.num) AS source_columns,
        string_agg(format('%s', electric.__quoted(c.name)), ', ' ORDER BY c.key_position) FILTER (WHERE c.key_position IS NOT NULL) AS key,
        string_agg(format('NEW.%s', electric.__quoted(c.name)), ', ' ORDER BY c.key_position)
            FILTER (WHERE c.key_position IS NOT NULL) AS new_key,
        string_agg(format('main.%1$s = NEW.%1$s', electric.__quoted(c.name)), ' AND ' ORDER BY c.key_position)
            FILTER (WHERE c.key_position IS NOT NULL) AS main_is_new,
        string_agg(format('source.%1$s = NEW.%1$s', electric.__quoted(c.name)), ' AND ' ORDER BY c.key_position)
            FILTER (WHERE c.key_position IS NOT NULL) AS source_is_new,
        string_agg(format('shadow.%1$s = NEW.%1$s', electric.__quoted(c.name)), ' AND ' ORDER BY c.key_position)
            FILTER (WHERE c.key_position IS NOT NULL) AS shadow_is_new,
        coalesce(string_agg(format(', %I', electric.shadow_parking_column(c.name)), '' ORDER BY c.num)
            FILTER (WHERE c.key_position IS NULL), '') AS parking_columns,
        coalesce(string_agg(format(', NEW.%s', electric.__quoted(c.name)), '' ORDER BY c.num)
            FILTER (WHERE c.key_position IS NULL), '') AS new_values,
        coalesce(string_agg(format(', %1$I = excluded.%1$I', electric.shadow_parking_column(c.name)), '' ORDER BY c.num)
            FILTER (WHERE c.key_position IS NULL), '') AS park,
        coalesce(string_agg(format(E'\n    NEW.%I := NULL;', electric.shadow_parking_column(c.name)), '' ORDER BY c.num)
            FILTER (WHERE c.key_position IS NULL), '') AS clear_parking,
        coalesce(string_agg(format(
            E'\n        IF NEW._modified_columns_bit_mask[%1$s] AND (OLD.%2$I IS NULL OR NEW._tag >= OLD.%2$I) THEN'
            '\n            NEW.%2$I := NEW._tag;\n        END IF;',
            c.mask_index, electric.shadow_tag_column(c.name)), '' ORDER BY c.num)
            FILTER (WHERE c.key_position IS NULL), '') AS resolve_columns,
        string_agg(CASE WHEN c.key_position IS NULL
                        THEN format(E'\n            __el_row.%s := __el_parked.%I;', electric.__quoted(c.name),
                                    electric.shadow_parking_column(c.name))
                        ELSE format(E'\n            __el_row.%1$s := NEW.%1$s;', electric.__quoted(c.name)) END, ''
                   ORDER BY c.num) AS take_all_parked,
        coalesce(string_agg(format(
            E'\n            IF NEW._modified_columns_bit_mask[%1$s] AND __el_resolved.%2$I = NEW._tag THEN'
            '\n                __el_row.%3$s := __el_parked.%4$I;\n            END IF;',
            c.mask_index, electric.shadow_tag_column(c.name), electric.__quoted(c.name), electric.shadow_parking_column(c.name)), ''
            ORDER BY c.num) FILTER (WHERE c.key_position IS NULL), '') AS take_parked,
        coalesce(string_agg(format('%1$s = __el_row.%1$s', electric.__quoted(c.name)), ', ' ORDER BY c.num)
                     FILTER (WHERE c.key_position IS NULL),
                 string_agg(format('%1$s = main.%1$s', electric.__quoted(c.name)), ', ' ORDER BY c.num)) AS assignments
    INTO l
    FROM electric.__columns(relation) c;

    -- Step 1: the row is not written but parked in its shadow row. The main row is locked first, as a write by Postgres
    -- does, so that the two do not wait for each other.
    PERFORM electric.__make_row_function(
        electric.__row_function_name('client_park', schema_name, table_name),
        format($body$
#variable_conflict use_column
BEGIN
    PERFORM FROM %1$s AS main WHERE %2$s FOR UPDATE;
    INSERT INTO %3$s AS shadow (%4$s, _currently_reordering%5$s)
    VALUES (%6$s, true%7$s)
    ON CONFLICT (%4$s) DO UPDATE SET _currently_reordering = true%8$s;
    RETURN NULL;
END$body$, relation, l.main_is_new, shadow, l.key, l.parking_columns, l.new_key, l.new_values, l.park));

    -- Step 2: tags of the row and its columns.
    PERFORM electric.__make_row_function(
        electric.__row_function_name('client_resolve', schema_name, table_name),
        format($body$
#variable_conflict use_column
BEGIN
    NEW._tags := electric.__resolved_tags(OLD._tags, NEW._observed_tags, NEW._tag, NEW._is_a_delete_operation);
    IF NEW._is_a_delete_operation IS NOT TRUE THEN%1$s
    END IF;
    NEW._observed_tags := NULL;
    NEW._modified_columns_bit_mask := NULL;
    NEW._currently_reordering := NULL;
    NEW._resolved := true;
    NEW._last_modified := pg_current_xact_id()::text::bigint;%2$s
    RETURN NEW;
END$body$, CASE WHEN l.resolve_columns = '' THEN E'\n        NULL;' ELSE l.resolve_columns END, l.clear_parking),
        'SECURITY DEFINER SET search_path = pg_catalog, pg_temp');

    -- Step 3: the row itself, built from what was parked and what is there. The shadow row is complete by then, for
    -- triggers of the user may write to the same row. A row that ends as it was is written all the same, so that the
    -- client sees its change come back. Alone of all this function runs with the rights and the search path of the session,
    -- which is the service's own: triggers of the user fire inside it and expect them.
    PERFORM electric.__make_row_function(
        electric.__row_function_name('client_apply', schema_name, table_name),
        format($body$
#variable_conflict use_column
DECLARE
    __el_parked %1$s;
    __el_resolved %1$s;
    __el_row %2$s;
    __el_place tid;
    __el_exists boolean;
    __el_known boolean;
    __el_seqscan text := current_setting('enable_seqscan');
BEGIN
    -- For the look-ups alone: triggers of the user keep the session's setting.
    PERFORM set_config('enable_seqscan', 'off', true);
    SELECT shadow.* INTO __el_parked FROM %1$s AS shadow WHERE %3$s AND shadow._currently_reordering FOR UPDATE;
    IF NOT FOUND THEN
        -- The row was never parked: a trigger of the user has vetoed it.
        PERFORM set_config('enable_seqscan', __el_seqscan, true);
        RETURN NULL;
    END IF;
    UPDATE %1$s AS shadow
    SET _tag = NEW._tag, _is_a_delete_operation = coalesce(NEW._is_a_delete_operation, false),
        _observed_tags = NEW._observed_tags, _modified_columns_bit_mask = NEW._modified_columns_bit_mask,
        _currently_reordering = NULL, _resolved = false
    WHERE %3$s
    RETURNING shadow.* INTO __el_resolved;

    SELECT source.ctid, %4$s INTO __el_place, %5$s FROM %2$s AS source WHERE %6$s FOR UPDATE;
    __el_exists := FOUND;
    IF cardinality(__el_resolved._tags) > 0 THEN
        __el_known := __el_exists;
        IF NOT __el_known THEN
            SELECT %4$s INTO %5$s FROM %7$s AS source WHERE %6$s;
            __el_known := FOUND;
        END IF;
        IF NOT __el_known THEN%8$s
        ELSIF NEW._is_a_delete_operation IS NOT TRUE THEN%9$s
        END IF;
    END IF;

    PERFORM set_config('enable_seqscan', __el_seqscan, true);
    PERFORM set_config('electric.applying', (pg_trigger_depth() + 1)::text, true);
    IF cardinality(__el_resolved._tags) = 0 THEN
        DELETE FROM %2$s AS main WHERE main.ctid = __el_place;
    ELSIF __el_exists THEN
        UPDATE %2$s AS main SET %10$s WHERE main.ctid = __el_place;
    ELSE
        INSERT INTO %2$s (%11$s) VALUES (%12$s);
    END IF;
    PERFORM set_config('electric.applying', '', true);
    RETURN NULL;
END$body$,
            shadow, relation, l.shadow_is_new, l.source_columns, l.row_columns, l.source_is_new, tombstone,
            l.take_all_parked, CASE WHEN l.take_parked = '' THEN E'\n            NULL;' ELSE l.take_parked END,
            l.assignments, l.all_columns, l.row_columns), 'SECURITY INVOKER');
END
$electric$;

-- All foreign keys between electrified tables that can be followed upwards from a table.
CREATE OR REPLACE FUNCTION electric.__foreign_key_graph(relation regclass) RETURNS SETOF pg_constraint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $electric$
    WITH RECURSIVE reachable(rel) AS (
        SELECT relation::oid
        UNION
        SELECT k.confrelid FROM reachable r
        JOIN pg_constraint k ON k.conrelid = r.rel AND k.contype = 'f'
        JOIN electric.electrified e ON e.oid = k.confrelid
    )
    SELECT k.* FROM pg_constraint k
    WHERE k.contype = 'f' AND k.conrelid IN (SELECT r.rel FROM reachable r)
      AND k.confrelid IN (SELECT e.oid FROM electric.electrified e)
$electric$;

-- After a statement, every row that its rows refer to, directly or through others, is announced in the stream once.
-- Rows are walked as a set of (table, position) pairs, so that cycles end and the cost is linear.
CREATE OR REPLACE FUNCTION electric.__make_fk_chain_function(relation regclass, schema_name text, table_name text)
RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $electric$
DECLARE
    edge record;
    target record;
    seeds text;
    steps text;
    walk text;
    messages text;
    columns record;
BEGIN
    FOR edge IN
        SELECT k.conrelid, k.confrelid,
               k.conrelid::regclass AS child, k.confrelid::regclass AS parent,
               string_agg(format('%I', a.attname), ', ' ORDER BY p.position) AS child_columns,
               string_agg(format('child.%I IS NOT NULL', a.attname), ' AND ' ORDER BY p.position) AS not_null,
               string_agg(format('parent.%I = child.%I', f.attname, a.attname), ' AND ' ORDER BY p.position) AS matches
        FROM electric.__foreign_key_graph(relation) k
        CROSS JOIN LATERAL unnest(k.conkey, k.confkey) WITH ORDINALITY AS p(child_num, parent_num, position)
        JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = p.child_num
        JOIN pg_attribute f ON f.attrelid = k.confrelid AND f.attnum = p.parent_num
        GROUP BY k.oid, k.conrelid, k.confrelid
        ORDER BY k.oid
    LOOP
        IF edge.conrelid = relation::oid THEN
            seeds := concat_ws(E'\n            UNION ALL\n', seeds, format(
                '            SELECT %s::oid AS rel, found.place FROM (SELECT DISTINCT %s FROM new_rows AS child '
                'WHERE %s) AS child CROSS JOIN LATERAL (SELECT parent.ctid AS place FROM %s AS parent WHERE %s OFFSET 0) '
                'AS found',
                edge.confrelid::text, edge.child_columns, edge.not_null, edge.parent, edge.matches));
        END IF;
        steps := concat_ws(E'\n                UNION ALL\n', steps, format(
            '                SELECT %s::oid, found.place FROM (SELECT * FROM %s AS source WHERE walk.rel = %s::oid AND '
            'source.ctid = walk.place OFFSET 0) AS child CROSS JOIN LATERAL (SELECT parent.ctid AS place FROM %s AS parent '
            'WHERE %s OFFSET 0) AS found',
            edge.confrelid::text, edge.child, edge.conrelid::text, edge.parent, edge.matches));
    END LOOP;
    IF seeds IS NULL THEN
        RETURN false;
    END IF;

    walk := format($walk$WITH RECURSIVE walk(rel, place) AS (
            (
%s
            )
            UNION
            SELECT next.rel, next.place FROM walk CROSS JOIN LATERAL (
%s
            ) AS next(rel, place)
        )$walk$, seeds, steps);

    FOR target IN
        SELECT DISTINCT k.confrelid, k.confrelid::regclass AS parent, e.schema_name, e.table_name
        FROM electric.__foreign_key_graph(relation) k JOIN electric.electrified e ON e.oid = k.confrelid
        ORDER BY k.confrelid
    LOOP
        SELECT
            string_agg(quote_literal(c.name), ', ' ORDER BY c.num) AS names,
            string_agg(CASE WHEN c.type_id = 'bool'::regtype
                            THEN format('CASE source.%1$I WHEN true THEN ''t'' WHEN false THEN ''f'' END', c.name)
                            ELSE format('source.%s::text', electric.__quoted(c.name)) END, ', ' ORDER BY c.num) AS texts,
            string_agg(CASE WHEN c.type_id = 'bool'::regtype
                            THEN format('CASE source.%1$I WHEN true THEN ''t'' WHEN false THEN ''f'' END', c.name)
                            ELSE format('source.%s::text', electric.__quoted(c.name)) END, ', ' ORDER BY c.key_position)
                FILTER (WHERE c.key_position IS NOT NULL) AS key_texts,
            string_agg(format('shadow.%1$s = source.%1$s', electric.__quoted(c.name)), ' AND ' ORDER BY c.key_position)
                FILTER (WHERE c.key_position IS NOT NULL) AS shadow_is_source
        INTO columns
        FROM electric.__columns(target.parent) c;
        messages := concat_ws(E'\n            UNION ALL\n', messages, format(
            $message$            SELECT json_build_object('schema', %L, 'table', %L, 'tags', found.tags,
                'data', json_object(found.names, found.texts), 'pk', to_json(found.key))::text AS content
            FROM walk CROSS JOIN LATERAL (
                SELECT ARRAY[%s]::text[] AS names, ARRAY[%s]::text[] AS texts, ARRAY[%s]::text[] AS key,
                       to_json(coalesce((SELECT shadow._tags::text[] FROM electric.%I AS shadow WHERE %s),
                                        ARRAY['("1970-01-01 00:00:00+00",)'])) AS tags
                FROM %s AS source WHERE walk.rel = %s::oid AND source.ctid = walk.place OFFSET 0) AS found$message$,
            target.schema_name, target.table_name, columns.names, columns.texts, columns.key_texts,
            electric.shadow_name(target.schema_name, target.table_name), columns.shadow_is_source,
            target.parent, target.confrelid::text));
    END LOOP;

    PERFORM electric.__make_row_function(
        electric.__row_function_name('send_self_and_references', schema_name, table_name),
        format($body$
#variable_conflict use_column
BEGIN
    IF NOT EXISTS (SELECT FROM new_rows) THEN
        RETURN NULL;
    END IF;
    PERFORM count(pg_logical_emit_message(true, 'electric.fk_chain_touch', message.content)) FROM (
        %s
%s
    ) AS message;
    RETURN NULL;
END$body$, walk, messages),
        'SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET "TimeZone" = ''UTC'' SET "DateStyle" = ''ISO, DMY'' SET bytea_output = ''hex'' '
        'SET extra_float_digits = 1 SET "IntervalStyle" = ''postgres''');
    RETURN true;
END
$electric$;
