#include "CSQLText.h"

#pragma clang diagnostic ignored "-Wc23-extensions"

/* The compiler notes the embedded files as dependencies, so a change to one of them is found by the next build. */

static const char electric_010[] = {
#embed "../../sql/electric/010-schema.sql"
    , 0};
static const char electric_020[] = {
#embed "../../sql/electric/020-types.sql"
    , 0};
static const char electric_030[] = {
#embed "../../sql/electric/030-tables.sql"
    , 0};
static const char electric_040[] = {
#embed "../../sql/electric/040-versions.sql"
    , 0};
static const char electric_050[] = {
#embed "../../sql/electric/050-catalogue.sql"
    , 0};
static const char electric_060[] = {
#embed "../../sql/electric/060-row-functions.sql"
    , 0};
static const char electric_070[] = {
#embed "../../sql/electric/070-electrify.sql"
    , 0};
static const char electric_080[] = {
#embed "../../sql/electric/080-ddl-capture.sql"
    , 0};
static const char electric_085[] = {
#embed "../../sql/electric/085-event-triggers.sql"
    , 0};
static const char electric_090[] = {
#embed "../../sql/electric/090-takeover.sql"
    , 0};
static const char electric_100[] = {
#embed "../../sql/electric/100-access.sql"
    , 0};

static const penstock_sql_file electric_files[] = {
    {"010-schema.sql", electric_010},
    {"020-types.sql", electric_020},
    {"030-tables.sql", electric_030},
    {"040-versions.sql", electric_040},
    {"050-catalogue.sql", electric_050},
    {"060-row-functions.sql", electric_060},
    {"070-electrify.sql", electric_070},
    {"080-ddl-capture.sql", electric_080},
    {"085-event-triggers.sql", electric_085},
    {"090-takeover.sql", electric_090},
    {"100-access.sql", electric_100},
    {0, 0},
};

static const char roles_direct_writes[] = {
#embed "../../sql/roles-direct-writes.sql"
    , 0};
static const char roles_logical_replication[] = {
#embed "../../sql/roles-logical-replication.sql"
    , 0};
static const char uninstall[] = {
#embed "../../sql/uninstall.sql"
    , 0};

static const penstock_sql_file script_files[] = {
    {"roles-direct-writes.sql", roles_direct_writes},
    {"roles-logical-replication.sql", roles_logical_replication},
    {"uninstall.sql", uninstall},
    {0, 0},
};

const penstock_sql_file *penstock_sql_electric(void) { return electric_files; }

const penstock_sql_file *penstock_sql_scripts(void) { return script_files; }
