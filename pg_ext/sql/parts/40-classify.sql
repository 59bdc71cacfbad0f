
-- The statements of a text, as the server's own parser sees them.
CREATE FUNCTION penstock.classify(
    sql text,
    OUT ordinal int, OUT command_tag text, OUT location int, OUT length int, OUT objects jsonb
) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'penstock_classify'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION penstock.classify(text) IS
    'statements of a text: command tag, place in bytes, and the objects named; nothing is executed';
