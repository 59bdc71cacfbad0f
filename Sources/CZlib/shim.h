#ifndef PENSTOCK_CZLIB_SHIM_H
#define PENSTOCK_CZLIB_SHIM_H

#include <zlib.h>

// deflateInit2 is a macro, which Swift cannot call.

/// Without zlib's header and trailer, as zip members have it.
static inline int penstock_raw_deflate_init(z_stream *stream, int level) {
    return deflateInit2(stream, level, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
}

/// With the header and trailer of gzip, or with those of zlib.
static inline int penstock_deflate_init(z_stream *stream, int level, int gzip) {
    return deflateInit2(stream, level, Z_DEFLATED, gzip ? MAX_WBITS + 16 : MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
}

#endif
