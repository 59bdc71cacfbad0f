#ifndef PENSTOCK_CLMDB_H
#define PENSTOCK_CLMDB_H

#include <lmdb.h>

#endif
