/*
 * engine_state.h - an engine and its ranks, for the files that make it up: engine.c, rank_thread.c, engine_trace.c.
 */
#ifndef FG_ENGINE_STATE_H
#define FG_ENGINE_STATE_H

#include "engine.h"
#include "masks.h"
#include "queue.h"
#include "trace.h"

/* Who uses what. The queue orders the caller's thread and the rank threads: what the caller has written before it
 * pushes a command may be read by the command, and what the command writes may be read once it was waited for, or the
 * queue was drained. In between, the caller leaves alone what commands that are under way use. */
typedef struct {
	fg_engine *engine;
	fg_ctx *ctx;          /* written by OPEN and QUIT */
	fg_trace *trace;      /* used by steps that are traced */
	int32_t watched;      /* likewise: the device tells the trace what it runs */
	fg_capacity capacity; /* written by READY */
	pthread_t thread;
	int32_t rank;
} rank_state;

struct fg_engine {
	const fg_ops *ops;
	fg_config config;
	fg_slots slots;
	fg_queue queue;
	fg_masks masks;
	rank_state ranks[FG_MAX_RANKS];
	int32_t n_started; /* rank threads */

	/* Read by IMPORT and LOAD. */
	fg_tensor_table table;
	int32_t random; /* weights are made, not loaded */
	uint64_t random_seed;

	fg_command *load;          /* the last one, once fg_load was called */
	pthread_mutex_t load_lock; /* while a load begins, so that fg_progress tells of one load and not of two */
	uint64_t load_total;       /* under the lock; 0 before fg_load */
	atomic_ullong load_done;   /* bytes, on rank 0 */
	atomic_int load_cancel;
	atomic_int load_left; /* ranks that are still loading */
	int32_t loading;      /* fg_ready has not returned since the last load began */
	int32_t whole;        /* the weights are: the last load has succeeded, and they were not dropped since */
	int32_t asleep;       /* FG_WAKE_WEIGHTS, FG_WAKE_KV_CACHE: what must wake before the next step */

	/* What is read by fg_progress, on any thread, is atomic, under load_lock, or written before `ready` and never
	 * again. All else is the caller's alone. */
	atomic_int ready;    /* 1: the capacity is known */
	int32_t never_ready; /* getting ready has failed half-way */
	fg_capacity capacity;
	int32_t tracing;
	int32_t trace_process;
	int32_t trace_left;                    /* steps that the trace still takes; -1: no end */
	char unwatched[FG_ERROR_BYTES];        /* why the device does not tell what it runs; "" where it cannot */
	fg_command *steps[FG_STEPS_IN_FLIGHT]; /* submitted and not waited for, oldest first */
	int32_t n_steps;
	uint64_t next_step;
};

/* A rank's thread: runs the commands of the engine's queue in order, until FG_CMD_QUIT. `argument` is its rank_state.
 */
void *fg_rank_main(void *argument);

#endif
