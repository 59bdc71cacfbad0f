-- The electric schema, part 2: types, and the order of tags.
--
-- A tag names a write: when it was made and by whom. A tag without a source was made in Postgres; at the same
-- timestamp it sorts above the tags of all clients. Comparing tags as records gives the same order.

DO $electric$
BEGIN
    IF to_regtype('electric.client_additional_data_subject') IS NULL THEN
        CREATE TYPE electric.client_additional_data_subject AS ENUM ('transaction', 'subscription');
    END IF;
    IF to_regtype('electric.unbounded_tag') IS NULL THEN
        CREATE TYPE electric.unbounded_tag AS ("timestamp" timestamptz, source_id varchar(255));
    END IF;
    IF to_regtype('electric.tag') IS NULL THEN
        CREATE DOMAIN electric.tag AS electric.unbounded_tag
            CHECK (VALUE IS NULL OR (VALUE)."timestamp" IS NOT NULL);
    END IF;
END
$electric$;

CREATE OR REPLACE FUNCTION electric.__tag_compare(first electric.tag, second electric.tag) RETURNS int
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE
    WHEN (first)."timestamp" < (second)."timestamp" THEN -1
    WHEN (first)."timestamp" > (second)."timestamp" THEN 1
    WHEN (first).source_id IS NULL AND (second).source_id IS NULL THEN 0
    WHEN (first).source_id IS NULL THEN 1
    WHEN (second).source_id IS NULL THEN -1
    WHEN (first).source_id < (second).source_id THEN -1
    WHEN (first).source_id > (second).source_id THEN 1
    ELSE 0
END;

CREATE OR REPLACE FUNCTION electric.__tag_eq(first electric.tag, second electric.tag) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN electric.__tag_compare(first, second) = 0;
CREATE OR REPLACE FUNCTION electric.__tag_ne(first electric.tag, second electric.tag) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN electric.__tag_compare(first, second) <> 0;
CREATE OR REPLACE FUNCTION electric.__tag_lt(first electric.tag, second electric.tag) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN electric.__tag_compare(first, second) < 0;
CREATE OR REPLACE FUNCTION electric.__tag_gt(first electric.tag, second electric.tag) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN electric.__tag_compare(first, second) > 0;
CREATE OR REPLACE FUNCTION electric.__tag_le(first electric.tag, second electric.tag) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN electric.__tag_compare(first, second) <= 0;
CREATE OR REPLACE FUNCTION electric.__tag_ge(first electric.tag, second electric.tag) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN electric.__tag_compare(first, second) >= 0;

DO $electric$
DECLARE
    operator record;
BEGIN
    FOR operator IN
        SELECT * FROM (VALUES ('=', '__tag_eq'), ('<>', '__tag_ne'), ('<', '__tag_lt'), ('>', '__tag_gt'),
                              ('<=', '__tag_le'), ('>=', '__tag_ge')) AS o(name, function)
    LOOP
        IF to_regoperator(format('electric.%s(electric.tag,electric.tag)', operator.name)) IS NULL THEN
            EXECUTE format('CREATE OPERATOR electric.%s (LEFTARG = electric.tag, RIGHTARG = electric.tag, '
                           'FUNCTION = electric.%s)', operator.name, operator.function);
        END IF;
    END LOOP;
END
$electric$;
