/*
 * lock.h - a lock with the two conditions that threads wait for under it.
 */
#ifndef FG_LOCK_H
#define FG_LOCK_H

#include "error.h"

#include <pthread.h>

/* Makes all three, or none. */
static inline fg_status fg_lock_init(pthread_mutex_t *lock, pthread_cond_t *one, pthread_cond_t *other) {
	if (pthread_mutex_init(lock, NULL)) return fg_fail(FG_OUT_OF_MEMORY, "cannot make a mutex");
	if (!pthread_cond_init(one, NULL)) {
		if (!pthread_cond_init(other, NULL)) return FG_OK;
		pthread_cond_destroy(one);
	}
	pthread_mutex_destroy(lock);
	return fg_fail(FG_OUT_OF_MEMORY, "cannot make a condition variable");
}

static inline void fg_lock_destroy(pthread_mutex_t *lock, pthread_cond_t *one, pthread_cond_t *other) {
	pthread_cond_destroy(one);
	pthread_cond_destroy(other);
	pthread_mutex_destroy(lock);
}

#endif
