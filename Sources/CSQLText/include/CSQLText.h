#ifndef PENSTOCK_SQL_TEXT_H
#define PENSTOCK_SQL_TEXT_H

/* The SQL files of the repository as part of the program: one binary is all that has to be installed. */

typedef struct {
    const char *name; /* of the file, without its folder */
    const char *text;
} penstock_sql_file;

/* Parts of the electric schema in the order in which they run; the last entry has no name. */
const penstock_sql_file *penstock_sql_electric(void);

/* Scripts for administrators; the last entry has no name. */
const penstock_sql_file *penstock_sql_scripts(void);

#endif
