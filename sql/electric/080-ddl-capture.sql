-- The electric schema, part 8: capture of migrations, and the guard against those that clients cannot follow.
--
-- What a migration did to an electrified table is found by comparing the catalogue with what was stored of it before, so
-- that it does not matter how the statement was written, or whether it ran inside a DO block or a function. The event
-- triggers call the two hooks; where event triggers cannot be made, the proxy calls electric.note_table_change.
--
-- The setting electric.guard says what happens to changes that clients cannot follow: enforce (the default) refuses
-- them, warn lets them pass with a warning, off lets them pass. The bookkeeping follows such a change; clients do not
-- hear of it.

CREATE OR REPLACE FUNCTION electric.__guard() RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $electric$
DECLARE
    mode text := coalesce(nullif(current_setting('electric.guard', true), ''), 'enforce');
BEGIN
    IF mode NOT IN ('enforce', 'warn', 'off') THEN
        RAISE EXCEPTION 'invalid value for setting electric.guard: "%"', mode
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Use enforce, warn or off.';
    END IF;
    RETURN mode;
END
$electric$;

CREATE OR REPLACE FUNCTION electric.__refuse(code text, message text, schema_name text, table_name text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $electric$
BEGIN
    CASE electric.__guard()
    WHEN 'enforce' THEN
        RAISE EXCEPTION USING ERRCODE = code, MESSAGE = message, SCHEMA = schema_name, TABLE = table_name,
            DETAIL = 'Only additive changes of electrified tables are supported: new columns and new indexes.',
            HINT = 'CALL electric.disable(...) ends the synchronisation of a table; '
                   'SET electric.guard = off lets the statement pass without telling clients.';
    WHEN 'warn' THEN
        RAISE WARNING USING ERRCODE = code, MESSAGE = message, SCHEMA = schema_name, TABLE = table_name,
            DETAIL = 'Clients are not told of this change.';
    ELSE
        NULL;
    END CASE;
END
$electric$;

CREATE OR REPLACE FUNCTION electric.__capture(statement text, schema_name text, table_name text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $electric$
BEGIN
    CALL electric.capture_ddl(statement);
    RAISE NOTICE USING MESSAGE = format('Migration affecting electrified table %s.%s', electric.__quoted(schema_name),
                                        electric.__quoted(table_name)),
        DETAIL = 'Capturing migration: ' || statement, SCHEMA = schema_name, TABLE = table_name;
END
$electric$;

-- Refuses new columns that clients cannot have, each reason with its code.
CREATE OR REPLACE FUNCTION electric.__validate_new_column(fresh jsonb, new_column jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $electric$
DECLARE
    new_constraint jsonb;
    problem text;
    code text;
BEGIN
    IF NOT electric.__supported_type((new_column ->> 'type_id')::oid, (new_column ->> 'modifier')::int)
       OR ((new_column ->> 'modifier')::int <> -1) THEN
        code := 'EX005';
        problem := format('Cannot electrify column of type "%s"', new_column ->> 'type');
    ELSIF new_column ->> 'identity' <> '' THEN
        code := 'EX011';
        problem := 'Cannot electrify column with IDENTITY constraint';
    ELSIF new_column ->> 'generated' <> '' THEN
        code := 'EX011';
        problem := 'Cannot electrify column with GENERATED constraint';
    ELSIF new_column ->> 'default' IS NOT NULL THEN
        code := 'EX006';
        problem := 'Cannot electrify column with DEFAULT clause';
    ELSE
        SELECT c.value INTO new_constraint FROM jsonb_array_elements(fresh -> 'constraints') c
        WHERE c.value -> 'columns' @> (new_column -> 'num');
        IF NOT FOUND THEN
            RETURN;
        END IF;
        code := 'EX011';
        problem := format('Cannot electrify column with %s constraint', CASE new_constraint ->> 'kind'
            WHEN 'c' THEN 'CHECK' WHEN 'u' THEN 'UNIQUE' WHEN 'f' THEN 'FOREIGN KEY' WHEN 'p' THEN 'PRIMARY KEY'
            WHEN 'x' THEN 'EXCLUDE' ELSE 'user-defined' END);
    END IF;
    RAISE EXCEPTION USING ERRCODE = code, MESSAGE = problem, SCHEMA = fresh ->> 'schema', TABLE = fresh ->> 'name',
        COLUMN = new_column ->> 'name',
        DETAIL = format('The statement adds column %s to electrified table %s.%s.',
                        electric.__quoted(new_column ->> 'name'), electric.__quoted(fresh ->> 'schema'),
                        electric.__quoted(fresh ->> 'name'));
END
$electric$;

-- Carries a change that the guard has let pass over to the shadow and the tombstone.
CREATE OR REPLACE FUNCTION electric.__follow_column(entry electric.electrified, known jsonb, present jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $electric$
DECLARE
    shadow regclass := to_regclass(format('electric.%I', electric.shadow_name(entry.schema_name, entry.table_name)));
    tombstone regclass := to_regclass(format('electric.%I', electric.tombstone_name(entry.schema_name, entry.table_name)));
    part record;
BEGIN
    FOR part IN
        SELECT p.rel, p.is_tag, p.old_name, p.new_name
        FROM (VALUES
            (shadow, true, electric.shadow_tag_column(known ->> 'name'), electric.shadow_tag_column(present ->> 'name')),
            (shadow, false, electric.shadow_parking_column(known ->> 'name'),
             electric.shadow_parking_column(present ->> 'name')),
            (shadow, false, (known ->> 'name')::name, (present ->> 'name')::name),
            (tombstone, false, (known ->> 'name')::name, (present ->> 'name')::name)
        ) AS p(rel, is_tag, old_name, new_name)
        JOIN pg_attribute a ON a.attrelid = p.rel AND a.attname = p.old_name AND NOT a.attisdropped AND a.attnum > 0
    LOOP
        IF present IS NULL THEN
            EXECUTE format('ALTER TABLE %s DROP COLUMN %I', part.rel, part.old_name);
            CONTINUE;
        END IF;
        IF part.old_name <> part.new_name THEN
            EXECUTE format('ALTER TABLE %s RENAME COLUMN %I TO %I', part.rel, part.old_name, part.new_name);
        END IF;
        IF NOT part.is_tag AND known ->> 'type' <> present ->> 'type' THEN
            EXECUTE format('ALTER TABLE %1$s ALTER COLUMN %2$I TYPE %3$s USING %2$I::text::%3$s', part.rel, part.new_name,
                           present ->> 'type');
        END IF;
        IF part.rel = tombstone AND (known ->> 'not_null')::boolean AND NOT (present ->> 'not_null')::boolean THEN
            EXECUTE format('ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL', part.rel, part.new_name);
        END IF;
    END LOOP;
END
$electric$;

-- Looks at an electrified table again and deals with what has changed: new columns are checked, recorded for clients and
-- given their bookkeeping; other changes are put to the guard. Returns whether anything had changed.
CREATE OR REPLACE FUNCTION electric.note_table_change(relation regclass) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $electric$
DECLARE
    entry electric.electrified%ROWTYPE;
    known jsonb;
    fresh jsonb;
    title text;
    item record;
    internal text := current_setting('electric.internal_ddl', true);
BEGIN
    SELECT e.* INTO entry FROM electric.electrified e WHERE e.oid = relation::oid;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    SELECT s.definition INTO known FROM electric.table_states s WHERE s.electrified_id = entry.id;
    fresh := electric.__definition(relation);
    IF known IS NULL OR known = fresh THEN
        RETURN false;
    END IF;
    title := electric.__quoted(entry.schema_name) || '.' || electric.__quoted(entry.table_name);

    FOR item IN
        SELECT o.key::oid AS type_id FROM jsonb_each(known -> 'enums') o
        WHERE o.value <> fresh -> 'enums' -> o.key
    LOOP
        PERFORM electric.note_enum_change(item.type_id);
        SELECT s.definition INTO known FROM electric.table_states s WHERE s.electrified_id = entry.id;
    END LOOP;

    IF known ->> 'name' <> fresh ->> 'name' THEN
        PERFORM electric.__refuse('EX002', format('Cannot rename electrified table %s', title),
                                  entry.schema_name, entry.table_name);
    END IF;
    IF known ->> 'schema' <> fresh ->> 'schema' THEN
        PERFORM electric.__refuse('EX002', format('Cannot move electrified table %s to another schema', title),
                                  entry.schema_name, entry.table_name);
    END IF;
    IF known ->> 'replica_identity' <> fresh ->> 'replica_identity' THEN
        PERFORM electric.__refuse('EX007', format('Cannot change the replica identity of electrified table %s', title),
                                  entry.schema_name, entry.table_name);
    END IF;
    IF known ->> 'persistence' <> fresh ->> 'persistence' THEN
        PERFORM electric.__refuse('EX007', format('Cannot change the persistence of electrified table %s', title),
                                  entry.schema_name, entry.table_name);
    END IF;

    FOR item IN
        SELECT o.value AS known, n.value AS fresh
        FROM jsonb_array_elements(known -> 'columns') o
        LEFT JOIN jsonb_array_elements(fresh -> 'columns') n ON n.value -> 'num' = o.value -> 'num'
        ORDER BY (o.value ->> 'num')::int
    LOOP
        IF item.fresh IS NULL THEN
            PERFORM electric.__refuse('EX010', format('Cannot drop column %s of electrified table %s',
                electric.__quoted(item.known ->> 'name'), title), entry.schema_name, entry.table_name);
        ELSIF item.known ->> 'name' <> item.fresh ->> 'name' THEN
            PERFORM electric.__refuse('EX008', format('Cannot rename column %s of electrified table %s',
                electric.__quoted(item.known ->> 'name'), title), entry.schema_name, entry.table_name);
        ELSIF item.known -> 'type_id' <> item.fresh -> 'type_id' OR item.known -> 'modifier' <> item.fresh -> 'modifier'
              OR item.known -> 'type' <> item.fresh -> 'type' THEN
            PERFORM electric.__refuse('EX009', format('Cannot change type of column %s of electrified table %s',
                electric.__quoted(item.known ->> 'name'), title), entry.schema_name, entry.table_name);
        ELSIF item.known <> item.fresh THEN
            PERFORM electric.__refuse('EX007', format('Cannot alter column %s of electrified table %s',
                electric.__quoted(item.known ->> 'name'), title), entry.schema_name, entry.table_name);
        END IF;
    END LOOP;

    -- Before constraints: a constraint on a new column is a matter of that column.
    FOR item IN
        SELECT n.value AS fresh FROM jsonb_array_elements(fresh -> 'columns') n
        WHERE NOT EXISTS (SELECT FROM jsonb_array_elements(known -> 'columns') o WHERE o.value -> 'num' = n.value -> 'num')
    LOOP
        PERFORM electric.__validate_new_column(fresh, item.fresh);
    END LOOP;

    FOR item IN
        SELECT o.value AS known, n.value AS fresh, coalesce(o.value ->> 'name', n.value ->> 'name') AS name
        FROM jsonb_array_elements(known -> 'constraints') o
        FULL JOIN jsonb_array_elements(fresh -> 'constraints') n ON n.value -> 'oid' = o.value -> 'oid'
        ORDER BY name
    LOOP
        IF item.known ->> 'name' <> item.fresh ->> 'name' THEN
            PERFORM electric.__refuse('EX012', format('Cannot rename constraint %s of electrified table %s',
                electric.__quoted(item.name), title), entry.schema_name, entry.table_name);
        ELSIF item.known IS NULL THEN
            PERFORM electric.__refuse('EX007', format('Cannot add constraint %s to electrified table %s',
                electric.__quoted(item.name), title), entry.schema_name, entry.table_name);
        ELSIF item.fresh IS NULL THEN
            PERFORM electric.__refuse('EX007', format('Cannot drop constraint %s of electrified table %s',
                electric.__quoted(item.name), title), entry.schema_name, entry.table_name);
        ELSIF item.known -> 'columns' <> item.fresh -> 'columns'
              OR (item.known ->> 'definition' <> item.fresh ->> 'definition' AND item.known ->> 'kind' <> 'f'
                  AND known -> 'columns' = fresh -> 'columns') THEN
            PERFORM electric.__refuse('EX007', format('Cannot alter constraint %s of electrified table %s',
                electric.__quoted(item.name), title), entry.schema_name, entry.table_name);
        END IF;
    END LOOP;

    -- From here on the change is accepted.
    PERFORM set_config('electric.internal_ddl', 'on', true);
    IF known -> 'name' <> fresh -> 'name' OR known -> 'schema' <> fresh -> 'schema' THEN
        EXECUTE format('ALTER TABLE electric.%I RENAME TO %I', electric.shadow_name(entry.schema_name, entry.table_name),
                       electric.shadow_name(fresh ->> 'schema', fresh ->> 'name'));
        EXECUTE format('ALTER TABLE electric.%I RENAME TO %I', electric.tombstone_name(entry.schema_name, entry.table_name),
                       electric.tombstone_name(fresh ->> 'schema', fresh ->> 'name'));
        PERFORM electric.__drop_row_functions(entry.schema_name, entry.table_name, relation);
        UPDATE electric.electrified e SET schema_name = fresh ->> 'schema', table_name = fresh ->> 'name'
        WHERE e.id = entry.id RETURNING e.* INTO entry;
    END IF;
    FOR item IN
        SELECT o.value AS known, n.value AS fresh
        FROM jsonb_array_elements(known -> 'columns') o
        LEFT JOIN jsonb_array_elements(fresh -> 'columns') n ON n.value -> 'num' = o.value -> 'num'
        WHERE o.value IS DISTINCT FROM n.value
        ORDER BY (o.value ->> 'num')::int
    LOOP
        PERFORM electric.__follow_column(entry, item.known, item.fresh);
    END LOOP;
    FOR item IN
        SELECT n.value AS fresh, t.typtype, t.oid AS type_id
        FROM jsonb_array_elements(fresh -> 'columns') n
        JOIN pg_type t ON t.oid = (n.value ->> 'type_id')::oid
        WHERE NOT EXISTS (SELECT FROM jsonb_array_elements(known -> 'columns') o WHERE o.value -> 'num' = n.value -> 'num')
        ORDER BY (n.value ->> 'num')::int
    LOOP
        IF item.typtype = 'e' AND NOT known -> 'enums' ? item.type_id::text
           AND NOT electric.__enum_is_recorded(item.type_id, relation) THEN
            PERFORM electric.__capture(electric.__create_enum_sql(item.type_id), entry.schema_name, entry.table_name);
        END IF;
        PERFORM electric.__capture(format('ALTER TABLE %s ADD COLUMN %s %s%s',
            electric.__quoted(entry.schema_name) || '.' || electric.__quoted(entry.table_name),
            electric.__quoted(item.fresh ->> 'name'), item.fresh ->> 'type',
            CASE WHEN (item.fresh ->> 'not_null')::boolean THEN ' NOT NULL' ELSE '' END),
            entry.schema_name, entry.table_name);
    END LOOP;
    PERFORM electric.__rebuild(relation);
    PERFORM set_config('electric.internal_ddl', coalesce(internal, ''), true);
    RETURN true;
END
$electric$;

-- The same for an enum type: a new label is recorded, other changes are put to the guard.
CREATE OR REPLACE FUNCTION electric.note_enum_change(enum_type oid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $electric$
DECLARE
    known text[];
    fresh text[];
    title text;
    user_table electric.electrified%ROWTYPE;
    label text;
BEGIN
    SELECT array(SELECT jsonb_array_elements_text(s.definition -> 'enums' -> enum_type::text)) INTO known
    FROM electric.table_states s WHERE s.definition -> 'enums' ? enum_type::text
    ORDER BY s.electrified_id LIMIT 1;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    SELECT e.* INTO user_table FROM electric.electrified e JOIN electric.table_states s ON s.electrified_id = e.id
    WHERE s.definition -> 'enums' ? enum_type::text ORDER BY e.id LIMIT 1;
    SELECT electric.__quoted(n.nspname) || '.' || electric.__quoted(t.typname) INTO title
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.oid = enum_type;
    fresh := array(SELECT e.enumlabel FROM pg_enum e WHERE e.enumtypid = enum_type ORDER BY e.enumsortorder);
    IF known = fresh THEN
        -- The name or the schema of the type, or its owner.
        PERFORM electric.note_table_change(e.oid::regclass)
        FROM electric.electrified e JOIN electric.table_states s ON s.electrified_id = e.id
        WHERE s.definition -> 'enums' ? enum_type::text;
        RETURN false;
    END IF;
    IF NOT fresh @> known THEN
        PERFORM electric.__refuse('EX007', format('Cannot rename a value of type %s of electrified table %s.%s', title,
            electric.__quoted(user_table.schema_name), electric.__quoted(user_table.table_name)),
            user_table.schema_name, user_table.table_name);
    ELSE
        FOR i IN 1 .. cardinality(fresh) LOOP
            label := fresh[i];
            CONTINUE WHEN label = ANY (known);
            IF label !~* '^[a-z][a-z_0-9]*$' THEN
                RAISE EXCEPTION USING ERRCODE = 'EX005', MESSAGE = format('Cannot electrify column of type "%s"', title),
                    DETAIL = format('The value %L cannot be carried to clients.', label),
                    HINT = 'Values consist of letters, digits and underscores, and begin with a letter.';
            END IF;
            PERFORM electric.__capture(format('ALTER TYPE %s ADD VALUE %L%s', title, label,
                CASE WHEN i = cardinality(fresh) THEN ''
                     WHEN i = 1 THEN format(' BEFORE %L', fresh[2])
                     ELSE format(' AFTER %L', fresh[i - 1]) END),
                user_table.schema_name, user_table.table_name);
        END LOOP;
    END IF;
    UPDATE electric.table_states s
    SET definition = jsonb_set(s.definition, ARRAY['enums', enum_type::text], to_jsonb(fresh))
    WHERE s.definition -> 'enums' ? enum_type::text;
    RETURN true;
END
$electric$;

-- What the event trigger for ddl_command_end does. It may also be called by a function of the extension; elsewhere the
-- server refuses it.
CREATE OR REPLACE FUNCTION electric.ddl_command_end_hook() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $electric$
DECLARE
    command record;
BEGIN
    IF current_setting('electric.internal_ddl', true) = 'on' THEN
        RETURN;
    END IF;
    FOR command IN
        SELECT DISTINCT ON (c.kind, c.target, c.index) c.* FROM (
            SELECT CASE WHEN d.command_tag = 'CREATE INDEX' THEN d.objid END AS index,
                   CASE WHEN d.command_tag = 'CREATE INDEX' THEN 'index'
                        WHEN d.classid = 'pg_type'::regclass AND d.command_tag = 'ALTER TYPE' THEN 'type'
                        WHEN d.command_tag = 'ALTER TABLE' THEN 'table' END AS kind,
                   CASE d.classid
                        WHEN 'pg_constraint'::regclass THEN (SELECT k.conrelid FROM pg_constraint k WHERE k.oid = d.objid)
                        WHEN 'pg_type'::regclass THEN d.objid
                        WHEN 'pg_class'::regclass THEN
                            CASE WHEN d.command_tag = 'CREATE INDEX'
                                 THEN (SELECT i.indrelid FROM pg_index i WHERE i.indexrelid = d.objid)
                                 ELSE d.objid END
                   END AS target
            FROM pg_event_trigger_ddl_commands() d
            WHERE NOT d.in_extension
              AND d.command_tag IN ('ALTER TABLE', 'CREATE INDEX', 'ALTER TYPE')
              AND d.schema_name IS DISTINCT FROM 'pg_temp'
        ) c
        WHERE c.kind = 'type'
           OR (EXISTS (SELECT FROM electric.electrified e WHERE e.oid = c.target)
               AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = c.index AND k.conrelid = c.target))
        ORDER BY c.kind DESC, c.target, c.index
    LOOP
        CASE command.kind
        WHEN 'table' THEN
            PERFORM electric.note_table_change(command.target::regclass);
        WHEN 'type' THEN
            PERFORM electric.note_enum_change(command.target);
        WHEN 'index' THEN
            PERFORM electric.__capture(pg_get_indexdef(command.index), e.schema_name, e.table_name)
            FROM electric.electrified e WHERE e.oid = command.target;
        ELSE
            NULL;
        END CASE;
    END LOOP;
END
$electric$;

-- What the event trigger for sql_drop does.
CREATE OR REPLACE FUNCTION electric.sql_drop_hook() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $electric$
DECLARE
    dropped record;
    guard text := current_setting('electric.guard', true);
    concerned boolean := false;
BEGIN
    IF current_setting('electric.internal_ddl', true) = 'on' OR to_regclass('electric.electrified') IS NULL
       OR to_regclass('electric.table_states') IS NULL THEN
        RETURN;
    END IF;
    FOR dropped IN
        WITH objects AS (
            SELECT d.* FROM pg_event_trigger_dropped_objects() d WHERE NOT d.is_temporary
        )
        SELECT CASE WHEN o.objsubid = 0 THEN 1 ELSE 2 END AS step, e.oid, e.schema_name, e.table_name,
               CASE WHEN o.objsubid = 0 THEN NULL
                    ELSE o.address_names[3] END AS part
        FROM objects o JOIN electric.electrified e ON e.oid = o.objid
        WHERE o.classid = 'pg_class'::regclass
        UNION ALL
        SELECT 3, e.oid, e.schema_name, e.table_name, k.value ->> 'name'
        FROM objects o
        JOIN electric.table_states s ON s.definition -> 'constraints' @> jsonb_build_array(jsonb_build_object('oid', o.objid::int8))
        CROSS JOIN LATERAL jsonb_array_elements(s.definition -> 'constraints') k
        JOIN electric.electrified e ON e.id = s.electrified_id
        WHERE o.classid = 'pg_constraint'::regclass AND (k.value ->> 'oid')::oid = o.objid
          AND NOT EXISTS (SELECT FROM objects t WHERE t.classid = 'pg_class'::regclass AND t.objid = e.oid AND t.objsubid = 0)
          -- A constraint that goes with its column is a matter of the column.
          AND NOT EXISTS (SELECT FROM objects t WHERE t.classid = 'pg_class'::regclass AND t.objid = e.oid
                                                   AND k.value -> 'columns' @> to_jsonb(t.objsubid))
        ORDER BY 1, 3, 4, 5
    LOOP
        concerned := true;
        CASE dropped.step
        WHEN 1 THEN
            PERFORM electric.__refuse('EX004', format('Cannot drop electrified table %s.%s',
                electric.__quoted(dropped.schema_name), electric.__quoted(dropped.table_name)),
                dropped.schema_name, dropped.table_name);
            PERFORM electric.__forget_table(dropped.oid, false);
        WHEN 2 THEN
            PERFORM electric.__refuse('EX010', format('Cannot drop column %s of electrified table %s.%s',
                electric.__quoted(dropped.part), electric.__quoted(dropped.schema_name),
                electric.__quoted(dropped.table_name)), dropped.schema_name, dropped.table_name);
        ELSE
            PERFORM electric.__refuse('EX007', format('Cannot drop constraint %s of electrified table %s.%s',
                electric.__quoted(dropped.part), electric.__quoted(dropped.schema_name),
                electric.__quoted(dropped.table_name)), dropped.schema_name, dropped.table_name);
        END CASE;
    END LOOP;
    IF NOT concerned THEN
        RETURN;
    END IF;
    -- The guard has let it pass: the bookkeeping follows. (After ALTER TABLE ddl_command_end would see to it; for
    -- DROP ... CASCADE there is only this moment.)
    PERFORM set_config('electric.guard', 'off', true);
    PERFORM electric.note_table_change(r.oid::regclass)
    FROM (
        SELECT DISTINCT e.oid FROM pg_event_trigger_dropped_objects() o
        JOIN electric.electrified e ON true
        JOIN pg_class c ON c.oid = e.oid
        JOIN electric.table_states s ON s.electrified_id = e.id
        WHERE (o.classid = 'pg_class'::regclass AND o.objid = e.oid AND o.objsubid <> 0)
           OR (o.classid = 'pg_constraint'::regclass
               AND s.definition -> 'constraints' @> jsonb_build_array(jsonb_build_object('oid', o.objid::int8)))
    ) r;
    PERFORM set_config('electric.guard', coalesce(guard, ''), true);
END
$electric$;

-- For direct use by the proxy where event triggers are missing: adds the bookkeeping of one column and nothing else.
CREATE OR REPLACE PROCEDURE electric.alter_shadow_table(schema_name text, table_name text, action text, column_name text,
                                                        column_type text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $electric$
DECLARE
    relation regclass := to_regclass(format('%I.%I', schema_name, table_name));
BEGIN
    IF relation IS NULL OR NOT electric.is_electrified(relation) THEN
        RAISE EXCEPTION 'table %.% is not electrified', quote_ident(schema_name), quote_ident(table_name)
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    PERFORM electric.__rebuild(relation);
END
$electric$;
