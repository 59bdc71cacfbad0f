#ifndef PENSTOCK_CSTORESUPPORT_H
#define PENSTOCK_CSTORESUPPORT_H

#include <stddef.h>
#include <stdint.h>

/* CRC-32C (Castagnoli). `crc` is the value of the bytes before, 0 for none. Uses the processor's instruction if it has one. */
uint32_t penstock_crc32c(uint32_t crc, const void *bytes, size_t length);

/* The same by table, on any processor. */
uint32_t penstock_crc32c_portable(uint32_t crc, const void *bytes, size_t length);

/* 1 when penstock_crc32c uses the processor's instruction. */
int penstock_crc32c_is_hardware(void);

/* Renames without replacing: fails with EEXIST. Returns 0, or an errno value. */
int penstock_rename_exclusive(const char *from, const char *to);

/* Takes an exclusive advisory lock on an open file without waiting. Returns 0, or an errno value. */
int penstock_lock_exclusive(int descriptor);

/* Gives back the room of a range of an open file, which reads as zeros then. Returns 0, or an errno value: EOPNOTSUPP or
 * ENOSYS where it cannot be done. */
int penstock_free_range(int descriptor, int64_t start, int64_t length);

/* Makes everything in the file system of an open file durable (Linux). Returns 0, or an errno value. */
int penstock_sync_file_system(int descriptor);

#endif
