#ifndef PENSTOCK_CFILETRAP_H
#define PENSTOCK_CFILETRAP_H

#include <stddef.h>
#include <stdint.h>

/*
 * For tests on Linux: the program that links this has its own pwrite, writev, fdatasync, fsync, ftruncate and statvfs, which its
 * shared libraries use too (LMDB is one). Each asks the hook first and goes to the system if the hook passes.
 */

enum penstock_trap_operation {
	/* Whether the file is of interest: 0, or PENSTOCK_TRAP_PASS. */
	PENSTOCK_TRAP_ASK = 0,
	PENSTOCK_TRAP_WRITE = 1,
	PENSTOCK_TRAP_SYNC = 2,
	PENSTOCK_TRAP_TRUNCATE = 3,
	/* Whether there is room where a path lies, which is in `bytes`: 1 or 0. */
	PENSTOCK_TRAP_ROOM = 4,
};

/* Let the system do it. */
#define PENSTOCK_TRAP_PASS INT64_MIN

/* Returns what the call returns, or a negative errno value, or PENSTOCK_TRAP_PASS. Called on any thread. */
typedef int64_t (*penstock_trap_hook)(int operation, int descriptor, const void *bytes, size_t count, int64_t offset);

/* 1 where calls can be trapped. */
int penstock_trap_is_available(void);

/* NULL for none. */
void penstock_trap_install(penstock_trap_hook hook);

/* The system's pwrite. Returns the count, or a negative errno value. */
int64_t penstock_trap_system_write(int descriptor, const void *bytes, size_t count, int64_t offset);

/* The system's ftruncate. Returns 0, or a negative errno value. */
int64_t penstock_trap_system_truncate(int descriptor, int64_t size);

#endif
