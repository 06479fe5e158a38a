/*
 * masks.h - masks that come after their step was submitted, and the threads that fill them.
 */
#ifndef FG_MASKS_H
#define FG_MASKS_H

#include "ops.h"

#include <pthread.h>

/* A fill that is to be called. */
typedef struct fg_mask_job {
	struct fg_mask_job *next;
	fg_mask_fill fill;
	void *source;
} fg_mask_job;

/* A step in flight has a place, its number modulo FG_STEPS_IN_FLIGHT. Calls come from one thread at a time. */
typedef struct fg_masks {
	fg_mask_rows rows[FG_STEPS_IN_FLIGHT]; /* set by the engine once the device is ready */
	size_t bytes;                          /* of a mask's words */
	int32_t max_seqs;
	fg_mask_job *jobs; /* [FG_STEPS_IN_FLIGHT][max_seqs]: of each row */
	pthread_t *threads;
	int32_t n_started;
	/* below: under the lock */
	pthread_mutex_t lock;
	pthread_cond_t work, ended;
	fg_mask_job *head, *tail;            /* not begun, oldest first */
	int32_t running[FG_STEPS_IN_FLIGHT]; /* fills that have begun, by place */
	int32_t quit;
} fg_masks;

/* Starts the threads, as many as the options ask for. Where they leave it to the library: none if `sampler_fills`,
 * since the threads of the steps then call fg_masks_fill_next. After a failure nothing is left to free. */
fg_status fg_masks_init(fg_masks *masks, const fg_config *config, int sampler_fills);
/* Waits for the fills that have begun. Nothing is waiting in the queue any more: every step was ended. */
void fg_masks_free(fg_masks *masks);

/* Gives a row of the step at `place`: starts its fill, or copies its words from `source` where `fill` is NULL. The row
 * was not given before. */
void fg_masks_give(fg_masks *masks, int32_t place, int32_t row, fg_mask_fill fill, void *source);

/* Calls the oldest fill of the step at `place` that has not begun, on this thread. Returns 0 where there is none. Only
 * between the step's beginning and its end; any number of threads. */
int fg_masks_fill_next(fg_masks *masks, int32_t place);

/* When the step at `place` has sampled, or failed: forgets its fills that have not begun, and waits for the others. */
void fg_masks_end(fg_masks *masks, int32_t place);

#endif
