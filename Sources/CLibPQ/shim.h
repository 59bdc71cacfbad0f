#include <libpq-fe.h>
#include <pthread.h>

/* Gives the calling thread a name for debuggers and `top`; at most 15 bytes on Linux. */
#if defined(__linux__)
extern int pthread_setname_np(pthread_t thread, const char *name);
static inline void penstock_name_thread(const char *name) { (void) pthread_setname_np(pthread_self(), name); }
#else
static inline void penstock_name_thread(const char *name) { (void) pthread_setname_np(name); }
#endif
