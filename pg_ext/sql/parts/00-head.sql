\echo Use "CREATE EXTENSION penstock" to load this file. \quit

-- The schema is made here, so a schema prepared by somebody else is never adopted.
CREATE SCHEMA penstock;
REVOKE ALL ON SCHEMA penstock FROM PUBLIC;
GRANT USAGE ON SCHEMA penstock TO PUBLIC;
COMMENT ON SCHEMA penstock IS 'Penstock: functions of the extension';
