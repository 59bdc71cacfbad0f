-- The electric schema, part 5: what the catalogue says about a table, and the statements generated from it.

CREATE OR REPLACE FUNCTION electric.__session_replication_role() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $electric$
    SELECT coalesce(nullif(current_setting('electric.session_replication_role', true), ''),
                    current_setting('session_replication_role'))
$electric$;

-- Names derived from a table's own are cut at 63 bytes, as the server itself cuts identifiers. Tables and columns whose
-- derived names would meet are refused.
CREATE OR REPLACE FUNCTION electric.shadow_name(schema_name text, table_name text) RETURNS name
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $electric$ SELECT ('shadow__' || schema_name || '__' || table_name)::name $electric$;

CREATE OR REPLACE FUNCTION electric.tombstone_name(schema_name text, table_name text) RETURNS name
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $electric$ SELECT ('tombstone__' || schema_name || '__' || table_name)::name $electric$;

CREATE OR REPLACE FUNCTION electric.shadow_tag_column(column_name text) RETURNS name
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $electric$ SELECT ('_tag_' || column_name)::name $electric$;

CREATE OR REPLACE FUNCTION electric.shadow_parking_column(column_name text) RETURNS name
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $electric$ SELECT ('__reordered_' || column_name)::name $electric$;

-- Always quoted, unlike quote_ident.
CREATE OR REPLACE FUNCTION electric.__quoted(identifier text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $electric$ SELECT '"' || replace(identifier, '"', '""') || '"' $electric$;

-- The columns of a table in order. `mask_index` is the 1-based position among the columns outside the primary key.
CREATE OR REPLACE FUNCTION electric.__columns(
    relation regclass,
    OUT num int2, OUT name name, OUT type_id oid, OUT type text, OUT not_null boolean, OUT key_position int,
    OUT mask_index int, OUT collation_clause text
) RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $electric$
    SELECT a.attnum, a.attname, a.atttypid, format_type(a.atttypid, a.atttypmod), a.attnotnull,
           array_position(k.conkey, a.attnum),
           CASE WHEN array_position(k.conkey, a.attnum) IS NULL
                THEN (count(*) FILTER (WHERE array_position(k.conkey, a.attnum) IS NULL)
                      OVER (ORDER BY a.attnum))::int END,
           CASE WHEN a.attcollation <> t.typcollation
                THEN format(' COLLATE %I.%I', cn.nspname, c.collname) ELSE '' END
    FROM pg_attribute a
    JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_constraint k ON k.conrelid = a.attrelid AND k.contype = 'p'
    LEFT JOIN pg_collation c ON c.oid = a.attcollation
    LEFT JOIN pg_namespace cn ON cn.oid = c.collnamespace
    WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum
$electric$;

CREATE OR REPLACE FUNCTION electric.__supported_type(type_id oid, type_modifier int) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $electric$
    SELECT CASE
        WHEN t.typtype = 'e' THEN
            t.typnamespace = 'public'::regnamespace
            AND NOT EXISTS (SELECT FROM pg_enum e WHERE e.enumtypid = t.oid AND e.enumlabel !~* '^[a-z][a-z_0-9]*$')
        WHEN t.typnamespace <> 'pg_catalog'::regnamespace THEN false
        WHEN t.typname = 'varchar' THEN type_modifier = -1
        ELSE t.typname IN ('bool', 'int2', 'int4', 'int8', 'float4', 'float8', 'text', 'uuid', 'date', 'time',
                           'timestamp', 'timestamptz', 'bytea', 'jsonb')
    END
    FROM pg_type t WHERE t.oid = type_id
$electric$;

-- The catalogue's view of a table in a form that can be stored and compared.
CREATE OR REPLACE FUNCTION electric.__definition(relation regclass) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $electric$
    SELECT jsonb_build_object(
        'oid', c.oid::int8,
        'schema', n.nspname,
        'name', c.relname,
        'replica_identity', c.relreplident,
        'persistence', c.relpersistence,
        'columns', (
            SELECT coalesce(jsonb_agg(jsonb_build_object(
                       'num', a.attnum, 'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod),
                       'type_id', a.atttypid::int8, 'modifier', a.atttypmod, 'not_null', a.attnotnull,
                       'default', pg_get_expr(d.adbin, d.adrelid), 'identity', a.attidentity,
                       'generated', a.attgenerated) ORDER BY a.attnum), '[]')
            FROM pg_attribute a
            LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
        'constraints', (
            SELECT coalesce(jsonb_agg(jsonb_build_object(
                       'oid', k.oid::int8, 'name', k.conname, 'kind', k.contype, 'columns', to_jsonb(k.conkey),
                       'definition', pg_get_constraintdef(k.oid)) ORDER BY k.oid), '[]')
            FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype NOT IN ('n', 't')),
        'enums', (
            SELECT coalesce(jsonb_object_agg(t.oid::text, (
                       SELECT jsonb_agg(e.enumlabel ORDER BY e.enumsortorder)
                       FROM pg_enum e WHERE e.enumtypid = t.oid)), '{}')
            FROM pg_type t
            WHERE t.typtype = 'e' AND t.oid IN (
                SELECT a.atttypid FROM pg_attribute a
                WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)))
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = relation
$electric$;

CREATE OR REPLACE FUNCTION electric.__primary_key_names(relation regclass) RETURNS name[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $electric$
    SELECT array_agg(c.name ORDER BY c.key_position) FROM electric.__columns(relation) c
    WHERE c.key_position IS NOT NULL
$electric$;

CREATE OR REPLACE FUNCTION electric.is_electrified(relation regclass) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $electric$ SELECT EXISTS (SELECT FROM electric.electrified e WHERE e.oid = relation::oid) $electric$;

-- The statements that make the table anew, for clients: a CREATE TYPE for each enum, then the CREATE TABLE.
CREATE OR REPLACE FUNCTION electric.__create_enum_sql(enum_type oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $electric$
    SELECT format('CREATE TYPE %s.%s AS ENUM (%s)', electric.__quoted(n.nspname), electric.__quoted(t.typname),
                  (SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder)
                   FROM pg_enum e WHERE e.enumtypid = t.oid))
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE t.oid = enum_type
$electric$;

CREATE OR REPLACE FUNCTION electric.__quoted_columns(relation oid, numbers int2[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $electric$
    SELECT string_agg(electric.__quoted(a.attname), ', ' ORDER BY u.position)
    FROM unnest(numbers) WITH ORDINALITY AS u(num, position)
    JOIN pg_attribute a ON a.attrelid = relation AND a.attnum = u.num
$electric$;

CREATE OR REPLACE FUNCTION electric.__foreign_key_sql(foreign_key oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $electric$
    SELECT format('CONSTRAINT %s FOREIGN KEY (%s) REFERENCES %s.%s(%s)',
                  electric.__quoted(k.conname), electric.__quoted_columns(k.conrelid, k.conkey),
                  electric.__quoted(n.nspname), electric.__quoted(c.relname),
                  electric.__quoted_columns(k.confrelid, k.confkey))
        || CASE WHEN k.confmatchtype = 'f' THEN ' MATCH FULL' ELSE '' END
        || CASE k.confupdtype WHEN 'r' THEN ' ON UPDATE RESTRICT' WHEN 'c' THEN ' ON UPDATE CASCADE'
                              WHEN 'n' THEN ' ON UPDATE SET NULL' WHEN 'd' THEN ' ON UPDATE SET DEFAULT' ELSE '' END
        || CASE k.confdeltype WHEN 'r' THEN ' ON DELETE RESTRICT' WHEN 'c' THEN ' ON DELETE CASCADE'
                              WHEN 'n' THEN ' ON DELETE SET NULL' WHEN 'd' THEN ' ON DELETE SET DEFAULT' ELSE '' END
        || CASE WHEN k.condeferrable THEN ' DEFERRABLE' ELSE '' END
        || CASE WHEN k.condeferred THEN ' INITIALLY DEFERRED' ELSE '' END
    FROM pg_constraint k
    JOIN pg_class c ON c.oid = k.confrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE k.oid = foreign_key
$electric$;

CREATE OR REPLACE FUNCTION electric.__create_table_sql(relation regclass) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $electric$
    SELECT format(E'CREATE TABLE %s.%s (\n%s\n)', electric.__quoted(n.nspname), electric.__quoted(c.relname),
        (SELECT string_agg('    ' || item.text, E',\n' ORDER BY item.section, item.position, item.text)
         FROM (
            SELECT 1 AS section, a.num::int AS position,
                   electric.__quoted(a.name) || ' ' || a.type || CASE WHEN a.not_null THEN ' NOT NULL' ELSE '' END AS text
            FROM electric.__columns(relation) a
            UNION ALL
            SELECT 2, 0, format('CONSTRAINT %s PRIMARY KEY (%s)', electric.__quoted(k.conname),
                                electric.__quoted_columns(k.conrelid, k.conkey))
            FROM pg_constraint k WHERE k.conrelid = relation AND k.contype = 'p'
            UNION ALL
            SELECT 3, 0, electric.__foreign_key_sql(k.oid)
            FROM pg_constraint k WHERE k.conrelid = relation AND k.contype = 'f'
         ) item))
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = relation
$electric$;

CREATE OR REPLACE FUNCTION electric.generate_electrified_sql(relation regclass) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $electric$
    SELECT array(
        SELECT electric.__create_enum_sql(t.oid)
        FROM electric.__columns(relation) c JOIN pg_type t ON t.oid = c.type_id
        WHERE t.typtype = 'e'
        GROUP BY t.oid
        ORDER BY min(c.num)
    ) || electric.__create_table_sql(relation)
$electric$;

-- Whether clients have already been told of an enum type.
CREATE OR REPLACE FUNCTION electric.__enum_is_recorded(enum_type oid, except_relation regclass) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $electric$
    SELECT EXISTS (
        SELECT FROM electric.electrified e
        JOIN pg_attribute a ON a.attrelid = e.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE a.atttypid = enum_type AND e.oid <> except_relation::oid
    ) OR EXISTS (
        SELECT FROM electric.ddl_commands d, pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
        WHERE t.oid = enum_type
          AND starts_with(d.query, format('CREATE TYPE %s.%s AS ENUM', electric.__quoted(n.nspname),
                                          electric.__quoted(t.typname))))
$electric$;
