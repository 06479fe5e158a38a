/*
 * threads.h - a pool of worker threads for short parallel loops.
 */
#ifndef FG_THREADS_H
#define FG_THREADS_H

#include "../fastgen.h"

typedef struct fg_pool fg_pool;

/* Runs item `item` of a loop; `thread` is 0 <= thread < fg_pool_threads, for scratch memory. */
typedef void fg_item(void *argument, int32_t item, int32_t thread);

/* A pool of n_threads, one of which is the caller of fg_parallel. */
fg_status fg_pool_new(int32_t n_threads, fg_pool **pool);
void fg_pool_free(fg_pool *pool); /* NULL is allowed */
int32_t fg_pool_threads(const fg_pool *pool);

/* Calls run(argument, i, thread) once for each i in [0, n), in any order, on any of the threads, and returns when all
 * have returned. From one thread at a time. Idle workers poll for some tens of microseconds, then sleep. */
void fg_parallel(fg_pool *pool, int32_t n, fg_item *run, void *argument);

#endif
