-- The electric schema, part 7: electrifying tables, and undoing it.

-- Tables of our own that the publication carries besides the electrified tables and their shadows.
CREATE OR REPLACE FUNCTION electric.__published_tables() RETURNS SETOF regclass
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $electric$
    SELECT to_regclass('electric.' || t.name)
    FROM unnest(ARRAY['ddl_commands', 'electrified', 'transaction_marker', 'grants', 'roles', 'assignments',
                      'acknowledged_client_lsns']) AS t(name)
    UNION ALL
    SELECT c.oid::regclass FROM electric.electrified e JOIN pg_class c ON c.oid = e.oid
    UNION ALL
    SELECT s.rel FROM electric.electrified e
    CROSS JOIN LATERAL (SELECT to_regclass(format('electric.%I', electric.shadow_name(e.schema_name, e.table_name)))) s(rel)
    WHERE s.rel IS NOT NULL
$electric$;

-- Creates the publication, or brings it back to what it must be, and tells what it has changed. Other tables that
-- somebody has added stay.
CREATE OR REPLACE FUNCTION electric.ensure_publication(OUT action text, OUT object text) RETURNS SETOF record
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $electric$
DECLARE
    publication pg_publication%ROWTYPE;
    member record;
    internal text := current_setting('electric.internal_ddl', true);
BEGIN
    PERFORM set_config('electric.internal_ddl', 'on', true);
    SELECT p.* INTO publication FROM pg_publication p WHERE p.pubname = 'electric_publication';
    IF NOT FOUND THEN
        CREATE PUBLICATION electric_publication;
        action := 'created'; object := 'electric_publication';
        RETURN NEXT;
        SELECT p.* INTO publication FROM pg_publication p WHERE p.pubname = 'electric_publication';
    END IF;
    IF NOT (publication.pubinsert AND publication.pubupdate AND publication.pubdelete AND publication.pubtruncate) THEN
        ALTER PUBLICATION electric_publication SET (publish = 'insert, update, delete, truncate');
        action := 'operations restored'; object := 'electric_publication';
        RETURN NEXT;
    END IF;
    IF publication.pubviaroot THEN
        ALTER PUBLICATION electric_publication SET (publish_via_partition_root = false);
        action := 'options restored'; object := 'electric_publication';
        RETURN NEXT;
    END IF;
    IF NOT publication.puballtables THEN
        FOR member IN
            -- Row filters and column lists exist since Postgres 15: a membership that has one is made anew.
            SELECT t.rel, r.oid IS NOT NULL AS filtered
            FROM electric.__published_tables() AS t(rel)
            LEFT JOIN pg_publication_rel r ON r.prpubid = publication.oid AND r.prrelid = t.rel
            WHERE r.oid IS NULL OR to_jsonb(r) ->> 'prqual' IS NOT NULL OR to_jsonb(r) ->> 'prattrs' IS NOT NULL
        LOOP
            IF member.filtered THEN
                EXECUTE format('ALTER PUBLICATION electric_publication DROP TABLE ONLY %s', member.rel);
            END IF;
            EXECUTE format('ALTER PUBLICATION electric_publication ADD TABLE ONLY %s', member.rel);
            action := CASE WHEN member.filtered THEN 'filter removed' ELSE 'table added' END;
            object := member.rel::text;
            RETURN NEXT;
        END LOOP;
    END IF;
    PERFORM set_config('electric.internal_ddl', coalesce(internal, ''), true);
END
$electric$;

-- Finds a table by the name that a caller has given, along the caller's own search path.
CREATE OR REPLACE FUNCTION electric.__resolve_table(name1 text, name2 text) RETURNS regclass
LANGUAGE plpgsql STABLE
AS $electric$
DECLARE
    found regclass;
BEGIN
    IF name2 IS NOT NULL THEN
        found := pg_catalog.to_regclass(pg_catalog.format('%I.%I', name1, name2));
    ELSE
        BEGIN
            found := pg_catalog.to_regclass(name1);
        EXCEPTION WHEN syntax_error OR invalid_name OR feature_not_supported THEN
            found := NULL;
        END;
        IF found IS NULL THEN
            found := pg_catalog.to_regclass(pg_catalog.quote_ident(name1));
        END IF;
    END IF;
    IF found IS NULL THEN
        RAISE EXCEPTION 'table "%" does not exist', pg_catalog.concat_ws('.', name1, name2)
            USING ERRCODE = 'undefined_table';
    END IF;
    RETURN found;
END
$electric$;

CREATE OR REPLACE FUNCTION electric.__test_flag(flag text, standard boolean) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $electric$ SELECT coalesce(nullif(current_setting('electric.' || flag, true), '')::boolean, standard) $electric$;

-- Refuses a table that cannot be synchronised, with everything that stands in the way.
CREATE OR REPLACE FUNCTION electric.__validate(relation regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $electric$
DECLARE
    class record;
    title text;
    offenders text;
    collision record;
BEGIN
    SELECT c.*, n.nspname INTO class FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation;
    title := format('%I.%I', class.nspname, class.relname);

    IF electric.__test_flag('__schema_validation_enabled', true) AND class.nspname <> 'public' THEN
        RAISE EXCEPTION 'Cannot electrify % because only tables in the default `public` schema can be electrified.', title
            USING ERRCODE = 'P0001';
    END IF;

    SELECT string_agg(E'\n  ' || quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod), ''
                      ORDER BY a.attnum) INTO offenders
    FROM pg_attribute a
    WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped
      AND NOT electric.__supported_type(a.atttypid, a.atttypmod);
    IF offenders IS NOT NULL THEN
        RAISE EXCEPTION 'Cannot electrify % because some of its columns have types not supported by Electric:%',
                title, offenders
            USING ERRCODE = 'P0001';
    END IF;

    SELECT string_agg(E'\n  ' || quote_ident(a.attname), '' ORDER BY a.attnum) INTO offenders
    FROM pg_attribute a
    WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped AND (a.atthasdef OR a.attidentity <> '');
    IF offenders IS NOT NULL THEN
        RAISE EXCEPTION 'Cannot electrify % because some of its columns have DEFAULT expressions which are not currently supported by Electric:%',
                title, offenders
            USING ERRCODE = 'P0001', HINT = 'Generated and identity columns count as columns with a DEFAULT expression.';
    END IF;

    IF NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = relation AND k.contype = 'p') THEN
        RAISE EXCEPTION 'Cannot electrify % because it doesn''t have a PRIMARY KEY.', title USING ERRCODE = 'P0001';
    END IF;

    IF electric.__test_flag('__constraint_validation_enabled', true) THEN
        SELECT string_agg(E'\n  ' || k.conname || ' ' || pg_get_constraintdef(k.oid), '' ORDER BY k.conname)
        INTO offenders
        FROM pg_constraint k WHERE k.conrelid = relation AND k.contype NOT IN ('p', 'f', 'n');
        IF offenders IS NOT NULL THEN
            RAISE EXCEPTION 'Cannot electrify % because some of its columns have CHECK, UNIQUE, EXCLUDE or user-defined constraints which are not currently supported by Electric:%',
                    title, offenders
                USING ERRCODE = 'P0001';
        END IF;
    END IF;

    -- Derived names are cut at 63 bytes and must stay apart.
    SELECT array_agg(quote_ident(d.source) ORDER BY d.source) AS sources, d.name INTO collision
    FROM (
        SELECT c.name::text AS source, c.name FROM electric.__columns(relation) c WHERE c.key_position IS NOT NULL
        UNION ALL
        SELECT c.name, electric.shadow_tag_column(c.name) FROM electric.__columns(relation) c WHERE c.key_position IS NULL
        UNION ALL
        SELECT c.name, electric.shadow_parking_column(c.name) FROM electric.__columns(relation) c
        WHERE c.key_position IS NULL
        UNION ALL
        SELECT 'bookkeeping', s.name::name
        FROM unnest(ARRAY['_tags', '_last_modified', '_is_a_delete_operation', '_tag', '_observed_tags',
                          '_modified_columns_bit_mask', '_resolved', '_currently_reordering']) AS s(name)
    ) d
    GROUP BY d.name HAVING count(*) > 1 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'Cannot electrify % because the names of its columns % would meet in the bookkeeping column %.',
                title, array_to_string(collision.sources, ', '), quote_ident(collision.name)
            USING ERRCODE = 'P0001', HINT = 'Rename a column: derived names are cut at 63 bytes.';
    END IF;

    SELECT format('%I.%I', e.schema_name, e.table_name) AS title INTO collision
    FROM electric.electrified e
    WHERE e.oid <> relation::oid
      AND (electric.shadow_name(e.schema_name, e.table_name) = electric.shadow_name(class.nspname, class.relname)
           OR electric.tombstone_name(e.schema_name, e.table_name) = electric.tombstone_name(class.nspname, class.relname));
    IF FOUND THEN
        RAISE EXCEPTION 'Cannot electrify % because its bookkeeping tables would have the same names as those of %.',
                title, collision.title
            USING ERRCODE = 'P0001', HINT = 'Rename a table: derived names are cut at 63 bytes.';
    END IF;
END
$electric$;

-- A table may refer only to electrified tables, for clients have no others. Tables that refer to each other in a circle
-- are electrified in one transaction: `at_commit` is when they have all had their turn.
CREATE OR REPLACE FUNCTION electric.__validate_references(relation regclass, at_commit boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $electric$
DECLARE
    missing record;
BEGIN
    FOR missing IN
        SELECT k.conname, format('%I.%I', n.nspname, c.relname) AS child, format('%I.%I', pn.nspname, p.relname) AS parent,
               EXISTS (
                   WITH RECURSIVE reachable(rel) AS (
                       SELECT k.confrelid
                       UNION
                       SELECT u.confrelid FROM reachable r
                       JOIN pg_constraint u ON u.conrelid = r.rel AND u.contype = 'f')
                   SELECT FROM reachable r WHERE r.rel = relation) AS circular
        FROM pg_constraint k
        JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_class p ON p.oid = k.confrelid JOIN pg_namespace pn ON pn.oid = p.relnamespace
        WHERE k.conrelid = relation AND k.contype = 'f' AND k.confrelid <> k.conrelid
          AND NOT EXISTS (SELECT FROM electric.electrified e WHERE e.oid = k.confrelid)
        ORDER BY k.conname
    LOOP
        IF missing.circular AND NOT at_commit THEN
            CONTINUE;
        END IF;
        RAISE EXCEPTION 'Cannot electrify % because its foreign key % refers to table %, which is not electrified.',
                missing.child, quote_ident(missing.conname), missing.parent
            USING ERRCODE = 'P0001',
                  HINT = CASE WHEN missing.circular
                              THEN format('The tables refer to each other: electrify %s in the same transaction.',
                                          missing.parent)
                              ELSE format('Electrify %s first.', missing.parent) END;
    END LOOP;
END
$electric$;

CREATE OR REPLACE FUNCTION electric.__check_references_at_commit() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $electric$
BEGIN
    IF EXISTS (SELECT FROM electric.electrified e JOIN pg_class c ON c.oid = e.oid WHERE e.oid = NEW.oid) THEN
        PERFORM electric.__validate_references(NEW.oid::regclass, true);
    END IF;
    RETURN NULL;
END
$electric$;

DO $electric$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_trigger t
                   WHERE t.tgrelid = 'electric.electrified'::regclass AND t.tgname = 'check_references_at_commit') THEN
        CREATE CONSTRAINT TRIGGER check_references_at_commit AFTER INSERT ON electric.electrified
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION electric.__check_references_at_commit();
    END IF;
END
$electric$;

-- Creates the shadow and the tombstone of a table, or adds the columns that they lack.
CREATE OR REPLACE FUNCTION electric.__ensure_shadow(relation regclass, schema_name text, table_name text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $electric$
DECLARE
    shadow text := format('electric.%I', electric.shadow_name(schema_name, table_name));
    tombstone text := format('electric.%I', electric.tombstone_name(schema_name, table_name));
    key text;
    parking text;
    key_columns text;
    tags text;
    all_columns text;
    missing record;
BEGIN
    SELECT string_agg(format('%I', c.name), ', ' ORDER BY c.key_position) FILTER (WHERE c.key_position IS NOT NULL),
           string_agg(format('%I %s%s, ', electric.shadow_parking_column(c.name), c.type, c.collation_clause), ''
                      ORDER BY c.num) FILTER (WHERE c.key_position IS NULL),
           string_agg(format('%I %s%s NOT NULL, ', c.name, c.type, c.collation_clause), ''
                      ORDER BY c.num) FILTER (WHERE c.key_position IS NOT NULL),
           string_agg(format('%I electric.tag, ', electric.shadow_tag_column(c.name)), ''
                      ORDER BY c.num) FILTER (WHERE c.key_position IS NULL),
           string_agg(format('%I %s%s%s, ', c.name, c.type, c.collation_clause,
                             CASE WHEN c.not_null THEN ' NOT NULL' ELSE '' END), '' ORDER BY c.num)
    INTO key, parking, key_columns, tags, all_columns
    FROM electric.__columns(relation) c;

    IF to_regclass(shadow) IS NULL THEN
        EXECUTE format(
            'CREATE TABLE %s (_tags electric.tag[] DEFAULT ''{}'', _last_modified bigint, '
            '_is_a_delete_operation boolean DEFAULT false, _tag electric.tag, _observed_tags electric.tag[], '
            '_modified_columns_bit_mask boolean[], _resolved boolean, _currently_reordering boolean, '
            '%s%s%sPRIMARY KEY (%s))', shadow, parking, key_columns, tags, key);
        EXECUTE format('ALTER TABLE %s REPLICA IDENTITY FULL', shadow);
    ELSE
        FOR missing IN
            SELECT d.name, d.type
            FROM electric.__columns(relation) c
            CROSS JOIN LATERAL (VALUES
                (electric.shadow_parking_column(c.name), c.type || c.collation_clause),
                (electric.shadow_tag_column(c.name), 'electric.tag')) AS d(name, type)
            WHERE c.key_position IS NULL
              AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = to_regclass(shadow) AND a.attname = d.name
                                                           AND NOT a.attisdropped)
            ORDER BY c.num
        LOOP
            EXECUTE format('ALTER TABLE %s ADD COLUMN %I %s', shadow, missing.name, missing.type);
        END LOOP;
    END IF;

    IF to_regclass(tombstone) IS NULL THEN
        EXECUTE format('CREATE TABLE %s (%sPRIMARY KEY (%s))', tombstone, all_columns, key);
    ELSE
        FOR missing IN
            -- Tombstones from before the column have no value for it, so it may be null there.
            SELECT c.name, c.type || c.collation_clause AS type
            FROM electric.__columns(relation) c
            WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = to_regclass(tombstone) AND a.attname = c.name
                                                           AND NOT a.attisdropped)
            ORDER BY c.num
        LOOP
            EXECUTE format('ALTER TABLE %s ADD COLUMN %I %s', tombstone, missing.name, missing.type);
        END LOOP;
    END IF;
END
$electric$;

-- The functions that row triggers in C need, all or none.
CREATE OR REPLACE FUNCTION electric.__c_triggers_available() RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $electric$
    SELECT bool_and(to_regprocedure('penstock.' || f.name || '()') IS NOT NULL)
    FROM unnest(ARRAY['save_tombstone', 'postgres_write_upsert', 'postgres_write_delete', 'satellite_write_reorder',
                      'satellite_shadow_insert', 'satellite_shadow_resolve', 'fk_chain_touch',
                      'postgres_write_truncate']) AS f(name)
$electric$;

-- Makes the row triggers of an electrified table, in C when the extension offers them and in PL/pgSQL otherwise; the
-- setting electric.row_trigger_language (auto, plpgsql, c) decides otherwise. Triggers that are already as they must be
-- are left alone, so that no lock is taken. Returns the language used.
CREATE OR REPLACE FUNCTION electric.install_row_triggers(relation regclass) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $electric$
DECLARE
    entry electric.electrified%ROWTYPE;
    state electric.table_states%ROWTYPE;
    shadow regclass;
    tombstone regclass;
    wanted text := coalesce(nullif(current_setting('electric.row_trigger_language', true), ''), 'auto');
    language text;
    has_references boolean;
    internal text := current_setting('electric.internal_ddl', true);
    is_client text := $$coalesce(nullif(current_setting('electric.session_replication_role', true), ''), current_setting('session_replication_role')) = 'replica'$$;
    part record;
    statements text[] := '{}';
    fingerprint text;
    complete boolean;
    stale record;
BEGIN
    SELECT e.* INTO entry FROM electric.electrified e WHERE e.oid = relation::oid;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'table % is not electrified', relation USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF wanted NOT IN ('auto', 'plpgsql', 'c') THEN
        RAISE EXCEPTION 'invalid value for setting electric.row_trigger_language: "%"', wanted
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Use auto, plpgsql or c.';
    END IF;
    IF wanted = 'c' AND NOT electric.__c_triggers_available() THEN
        RAISE EXCEPTION 'row triggers in C are not available' USING ERRCODE = 'feature_not_supported',
            HINT = 'CREATE EXTENSION penstock; or set electric.row_trigger_language to auto.';
    END IF;
    language := CASE WHEN wanted = 'plpgsql' OR NOT electric.__c_triggers_available() THEN 'plpgsql' ELSE 'c' END;
    shadow := format('electric.%I', electric.shadow_name(entry.schema_name, entry.table_name))::regclass;
    tombstone := format('electric.%I', electric.tombstone_name(entry.schema_name, entry.table_name))::regclass;

    PERFORM set_config('electric.internal_ddl', 'on', true);
    IF language = 'plpgsql' THEN
        PERFORM electric.__make_postgres_write_functions(relation, shadow, tombstone, entry.schema_name, entry.table_name);
        PERFORM electric.__make_client_write_functions(relation, shadow, tombstone, entry.schema_name, entry.table_name);
        has_references := electric.__make_fk_chain_function(relation, entry.schema_name, entry.table_name);
    ELSE
        has_references := EXISTS (SELECT FROM electric.__foreign_key_graph(relation) k WHERE k.conrelid = relation);
    END IF;

    -- In PL/pgSQL a WHEN clause keeps the triggers that do not concern a write from being called; in C they look for
    -- themselves, which is cheaper.
    FOR part IN
        SELECT t.*, CASE WHEN language = 'c' THEN 'penstock.' || quote_ident(t.c_function)
                         ELSE format('electric.%I', electric.__row_function_name(t.kind, entry.schema_name, entry.table_name))
                    END AS function
        FROM (VALUES
            ('as_first__save_deleted_rows_to_tombstone_table', relation, 'AFTER DELETE', 'ROW', 'ALWAYS',
             'save_deleted_row', 'save_tombstone', NULL),
            ('postgres_write__upsert_generate_shadow_rows', relation, 'BEFORE INSERT OR UPDATE', 'ROW', 'ORIGIN',
             'postgres_write', 'postgres_write_upsert', format('NOT (%s) OR pg_trigger_depth() > 0', is_client)),
            ('postgres_write__delete_generate_shadow_rows', relation, 'BEFORE DELETE', 'ROW', 'ORIGIN',
             'postgres_delete', 'postgres_write_delete', format('NOT (%s) OR pg_trigger_depth() > 0', is_client)),
            ('postgres_write__truncate', relation, 'BEFORE TRUNCATE', 'STATEMENT', 'ORIGIN',
             'postgres_truncate', 'postgres_write_truncate', NULL),
            ('satellite_write__save_operation_for_reordering', relation, 'BEFORE INSERT OR UPDATE', 'ROW', 'ALWAYS',
             'client_park', 'satellite_write_reorder', format('%s AND pg_trigger_depth() < 1', is_client)),
            ('satellite_write__upsert_rows', shadow, 'BEFORE INSERT', 'ROW', 'ALWAYS',
             'client_apply', 'satellite_shadow_insert',
             format('%s AND pg_trigger_depth() < 1 AND NEW._currently_reordering IS NULL', is_client)),
            ('satellite_write__resolve_observed_tags', shadow, 'BEFORE UPDATE', 'ROW', 'ALWAYS',
             'client_resolve', 'satellite_shadow_resolve',
             format('%s AND NEW._currently_reordering IS NULL AND OLD._currently_reordering AND NOT NEW._resolved',
                    is_client)),
            ('send_self_and_references_on_insert', relation, 'AFTER INSERT', 'TABLE', 'ALWAYS',
             'send_self_and_references', 'fk_chain_touch', NULL),
            ('send_self_and_references_on_update', relation, 'AFTER UPDATE', 'TABLE', 'ALWAYS',
             'send_self_and_references', 'fk_chain_touch', NULL)
        ) AS t(name, rel, event, level, enabled, kind, c_function, condition)
        WHERE has_references OR t.level <> 'TABLE'
    LOOP
        statements := statements || format('CREATE OR REPLACE TRIGGER %I %s ON %s%s FOR EACH %s%s EXECUTE FUNCTION %s()',
            part.name, part.event, part.rel,
            CASE WHEN part.level = 'TABLE' THEN ' REFERENCING NEW TABLE AS new_rows' ELSE '' END,
            CASE WHEN part.level = 'ROW' THEN 'ROW' ELSE 'STATEMENT' END,
            CASE WHEN language = 'plpgsql' AND part.condition IS NOT NULL
                 THEN format(' WHEN (%s)', part.condition) ELSE '' END,
            part.function);
        IF part.enabled = 'ALWAYS' THEN
            statements := statements || format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', part.rel, part.name);
        END IF;
        complete := coalesce(complete, true) AND EXISTS (
            SELECT FROM pg_trigger t
            WHERE t.tgrelid = part.rel AND t.tgname = part.name
              AND t.tgenabled = CASE WHEN part.enabled = 'ALWAYS' THEN 'A' ELSE 'O' END
              AND t.tgfoid = to_regprocedure(part.function || '()'));
    END LOOP;

    fingerprint := md5(array_to_string(statements, E'\n'));
    SELECT s.* INTO state FROM electric.table_states s WHERE s.electrified_id = entry.id;
    FOR stale IN
        -- Triggers of earlier versions and those that the table no longer needs.
        SELECT t.tgname, t.tgrelid::regclass AS rel FROM pg_trigger t
        WHERE t.tgrelid IN (relation, shadow) AND NOT t.tgisinternal
          AND (t.tgname = 'postgres_write__write_resolved_tags'
               OR (NOT has_references AND t.tgname IN ('send_self_and_references_on_insert',
                                                       'send_self_and_references_on_update')))
    LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', stale.tgname, stale.rel);
    END LOOP;
    IF NOT complete OR state.trigger_fingerprint IS DISTINCT FROM fingerprint THEN
        FOR i IN 1 .. cardinality(statements) LOOP
            EXECUTE statements[i];
        END LOOP;
    END IF;
    INSERT INTO electric.table_states AS s (electrified_id, definition, trigger_language, trigger_fingerprint)
    VALUES (entry.id, electric.__definition(relation), language, fingerprint)
    ON CONFLICT (electrified_id) DO UPDATE SET trigger_language = excluded.trigger_language,
                                               trigger_fingerprint = excluded.trigger_fingerprint
    WHERE (s.trigger_language, s.trigger_fingerprint)
          IS DISTINCT FROM (excluded.trigger_language, excluded.trigger_fingerprint);
    PERFORM set_config('electric.internal_ddl', coalesce(internal, ''), true);
    RETURN language;
END
$electric$;

-- Makes the triggers of the tables anew that announce rows of this table, after it has changed or come into being.
CREATE OR REPLACE FUNCTION electric.__refresh_referring_tables(relation regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $electric$
DECLARE
    referring record;
BEGIN
    FOR referring IN
        WITH RECURSIVE referring(rel) AS (
            SELECT relation::oid
            UNION
            SELECT k.conrelid FROM referring r
            JOIN pg_constraint k ON k.confrelid = r.rel AND k.contype = 'f'
            JOIN electric.electrified e ON e.oid = k.conrelid)
        SELECT r.rel::regclass AS rel FROM referring r WHERE r.rel <> relation::oid ORDER BY r.rel
    LOOP
        PERFORM electric.install_row_triggers(referring.rel);
    END LOOP;
END
$electric$;

-- Regenerates all that belongs to a table from its present definition.
CREATE OR REPLACE FUNCTION electric.__rebuild(relation regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $electric$
DECLARE
    entry electric.electrified%ROWTYPE;
    internal text := current_setting('electric.internal_ddl', true);
BEGIN
    SELECT e.* INTO entry FROM electric.electrified e WHERE e.oid = relation::oid;
    PERFORM set_config('electric.internal_ddl', 'on', true);
    PERFORM electric.__ensure_shadow(relation, entry.schema_name, entry.table_name);
    PERFORM electric.install_row_triggers(relation);
    UPDATE electric.table_states s SET definition = electric.__definition(relation) WHERE s.electrified_id = entry.id;
    PERFORM electric.__refresh_referring_tables(relation);
    PERFORM set_config('electric.internal_ddl', coalesce(internal, ''), true);
END
$electric$;

CREATE OR REPLACE PROCEDURE electric.__electrify(relation regclass)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $electric$
DECLARE
    class record;
    statement text;
    enum_type oid;
    title text;
    internal text := current_setting('electric.internal_ddl', true);
BEGIN
    SELECT c.relname, n.nspname, c.relkind, c.relispartition, c.relpersistence, c.relowner, c.relreplident INTO class
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation;
    title := format('%I.%I', class.nspname, class.relname);
    IF class.relkind <> 'r' OR class.relispartition OR class.relpersistence <> 'p' THEN
        RAISE EXCEPTION '% is not an ordinary table', title USING ERRCODE = 'P0001';
    END IF;
    IF EXISTS (SELECT FROM electric.electrified e WHERE e.schema_name = class.nspname AND e.table_name = class.relname) THEN
        RAISE NOTICE 'table % is already electrified', title;
        RETURN;
    END IF;
    RAISE NOTICE 'Electrify table %', title;
    PERFORM electric.__validate(relation);
    PERFORM electric.__validate_references(relation, false);
    IF NOT pg_has_role(current_user, class.relowner, 'USAGE') THEN
        RAISE EXCEPTION 'role % must own table % to electrify it', quote_ident(current_user), title
            USING ERRCODE = 'insufficient_privilege',
                  HINT = format('GRANT %I TO %I; or ALTER TABLE %s OWNER TO %I;', pg_get_userbyid(class.relowner),
                                current_user, title, current_user);
    END IF;

    FOR enum_type IN
        SELECT t.oid FROM electric.__columns(relation) c JOIN pg_type t ON t.oid = c.type_id
        WHERE t.typtype = 'e' GROUP BY t.oid ORDER BY min(c.num)
    LOOP
        IF NOT electric.__enum_is_recorded(enum_type, relation) THEN
            CALL electric.capture_ddl(electric.__create_enum_sql(enum_type));
        END IF;
    END LOOP;
    CALL electric.capture_ddl(electric.__create_table_sql(relation));

    PERFORM set_config('electric.internal_ddl', 'on', true);
    IF class.relreplident <> 'f' THEN
        EXECUTE format('ALTER TABLE %s REPLICA IDENTITY FULL', relation);
    END IF;
    INSERT INTO electric.electrified (schema_name, table_name, oid) VALUES (class.nspname, class.relname, relation);
    PERFORM electric.__rebuild(relation);
    PERFORM electric.ensure_publication();
    PERFORM set_config('electric.internal_ddl', coalesce(internal, ''), true);
END
$electric$;

-- These resolve the name along the caller's search path, hence with the caller's rights; the work is done above.
CREATE OR REPLACE PROCEDURE electric.electrify(name1 text, name2 text DEFAULT NULL)
LANGUAGE plpgsql
AS $electric$
BEGIN
    CALL electric.__electrify(electric.__resolve_table(name1, name2));
END
$electric$;

CREATE OR REPLACE PROCEDURE electric.enable(table_name text)
LANGUAGE plpgsql
AS $electric$
BEGIN
    CALL electric.__electrify(electric.__resolve_table(table_name, NULL));
END
$electric$;

-- Drops the generated functions of a table that has lost its name. The triggers of `relation`, if it is given, go with
-- them, to be made anew.
CREATE OR REPLACE FUNCTION electric.__drop_row_functions(schema_name text, table_name text, relation regclass)
RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $electric$
DECLARE
    kind text;
BEGIN
    FOREACH kind IN ARRAY ARRAY['save_deleted_row', 'postgres_write', 'postgres_delete', 'postgres_truncate', 'client_park',
                                'client_resolve', 'client_apply', 'send_self_and_references']
    LOOP
        EXECUTE format('DROP FUNCTION IF EXISTS electric.%I() %s',
                       electric.__row_function_name(kind, schema_name, table_name),
                       CASE WHEN relation IS NULL THEN '' ELSE 'CASCADE' END);
    END LOOP;
END
$electric$;

-- Takes away all that belongs to an electrified table, except the table.
CREATE OR REPLACE FUNCTION electric.__forget_table(relation oid, table_exists boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $electric$
DECLARE
    entry electric.electrified%ROWTYPE;
    internal text := current_setting('electric.internal_ddl', true);
    part record;
BEGIN
    SELECT e.* INTO entry FROM electric.electrified e WHERE e.oid = relation;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM set_config('electric.internal_ddl', 'on', true);
    IF table_exists THEN
        FOR part IN
            SELECT t.tgname FROM pg_trigger t
            WHERE t.tgrelid = relation AND NOT t.tgisinternal AND t.tgname IN (
                'as_first__save_deleted_rows_to_tombstone_table', 'postgres_write__upsert_generate_shadow_rows',
                'postgres_write__delete_generate_shadow_rows', 'postgres_write__truncate',
                'satellite_write__save_operation_for_reordering', 'send_self_and_references_on_insert',
                'send_self_and_references_on_update')
        LOOP
            EXECUTE format('DROP TRIGGER %I ON %s', part.tgname, relation::regclass);
        END LOOP;
        IF EXISTS (SELECT FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
                   WHERE p.pubname = 'electric_publication' AND r.prrelid = relation) THEN
            EXECUTE format('ALTER PUBLICATION electric_publication DROP TABLE ONLY %s', relation::regclass);
        END IF;
        EXECUTE format('ALTER TABLE %s REPLICA IDENTITY DEFAULT', relation::regclass);
    END IF;
    EXECUTE format('DROP TABLE IF EXISTS electric.%I', electric.shadow_name(entry.schema_name, entry.table_name));
    EXECUTE format('DROP TABLE IF EXISTS electric.%I', electric.tombstone_name(entry.schema_name, entry.table_name));
    PERFORM electric.__drop_row_functions(entry.schema_name, entry.table_name, NULL);
    DELETE FROM electric.table_states s WHERE s.electrified_id = entry.id;
    DELETE FROM electric.electrified e WHERE e.id = entry.id;
    PERFORM set_config('electric.internal_ddl', coalesce(internal, ''), true);
END
$electric$;

CREATE OR REPLACE PROCEDURE electric.__unelectrify(relation regclass)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $electric$
DECLARE
    referring record;
BEGIN
    IF NOT electric.is_electrified(relation) THEN
        RAISE NOTICE 'table % is not electrified', relation;
        RETURN;
    END IF;
    SELECT k.conname, format('%I.%I', e.schema_name, e.table_name) AS title INTO referring
    FROM pg_constraint k JOIN electric.electrified e ON e.oid = k.conrelid
    WHERE k.confrelid = relation AND k.contype = 'f' AND k.conrelid <> k.confrelid
    ORDER BY 2 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'Cannot disable % because the foreign key % of electrified table % refers to it.',
                relation, quote_ident(referring.conname), referring.title
            USING ERRCODE = 'dependent_objects_still_exist', HINT = format('Disable %s first.', referring.title);
    END IF;
    PERFORM electric.__forget_table(relation, true);
    RAISE NOTICE 'table % is no longer electrified', relation;
END
$electric$;

CREATE OR REPLACE PROCEDURE electric.disable(table_name text)
LANGUAGE plpgsql
AS $electric$
BEGIN
    CALL electric.__unelectrify(electric.__resolve_table(table_name, NULL));
END
$electric$;
