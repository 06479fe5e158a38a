/*
 * masks.h - masks that come after their step was submitted, and who fills them: threads of their own, or those of the
 * step, each at the row that it samples.
 */
#ifndef FG_MASKS_H
#define FG_MASKS_H

#include "ops.h"

#include <pthread.h>

/* How a mask is made. */
typedef struct {
	fg_follower how; /* known and take are NULL where others follow the tokens */
	void *source;
} fg_mask_job;

/* The fills of one step for the threads, in the order in which they were given. */
typedef struct {
	int32_t n_given, n_begun, n_running;
	int32_t *rows; /* [max_seqs] */
} fg_mask_queue;

/* A step in flight has a place, its number modulo FG_STEPS_IN_FLIGHT. Calls come from one thread at a time, but
 * those of the step's threads. */
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
	fg_mask_queue queues[FG_STEPS_IN_FLIGHT];
	int32_t oldest; /* place of the oldest step in flight: its fills come first */
	int32_t quit;
} fg_masks;

/* Starts the threads, as many as the options ask for. Where they leave it to the library: none if `sampler_fills`,
 * since the threads of the steps then call the functions below. After a failure nothing is left to free. */
fg_status fg_masks_init(fg_masks *masks, const fg_config *config, int sampler_fills);
/* Waits for the fills that have begun. Every step was ended. */
void fg_masks_free(fg_masks *masks);

/* Gives a row of the step at `place`: how it is made, or where `job.how.fill` is NULL its words, at `job.source`, which
 * are copied. The row was not given before. */
void fg_masks_give(fg_masks *masks, int32_t place, int32_t row, fg_mask_job job);

/* For threads of the step at `place` where no others fill, of a row in FG_MASK_FILLING, between the step's beginning
 * and its end; one thread for each row, any number of rows at once. */

/* A follower's `known`; FG_NO_TOKEN of any other. */
int32_t fg_masks_known(const fg_masks *masks, int32_t place, int32_t row, int32_t position);
/* A follower's `take`; nothing for any other. Also after the row was filled. */
void fg_masks_take(const fg_masks *masks, int32_t place, int32_t row, int32_t position, int32_t token);
/* Whether the row's mask allows `token` for certain. 0 also means that nobody can tell without the mask. */
int fg_masks_check(const fg_masks *masks, int32_t place, int32_t row, int32_t token);
/* Calls the row's fill. Its state is FG_MASK_READY or FG_MASK_BROKEN then. */
void fg_masks_fill(fg_masks *masks, int32_t place, int32_t row);

/* When the step at `place` has sampled, or failed: forgets its fills that have not begun, and waits for the others. */
void fg_masks_end(fg_masks *masks, int32_t place);

#endif
