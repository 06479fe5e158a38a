/*
 * queue.h - the work of an engine's rank threads: commands, run by every rank in the order they were pushed.
 */
#ifndef FG_QUEUE_H
#define FG_QUEUE_H

#include "ops.h"

#include <pthread.h>

typedef enum {
	FG_CMD_OPEN,
	FG_CMD_IMPORT,
	FG_CMD_LOAD,
	FG_CMD_READY,
	FG_CMD_SLEEP,
	FG_CMD_WAKE,
	FG_CMD_COPY,
	FG_CMD_STEP,
	FG_CMD_QUIT
} fg_command_kind;

typedef struct fg_command {
	struct fg_command *next[FG_MAX_RANKS];
	fg_command_kind kind;
	int32_t ranks_left;         /* that have not finished it */
	fg_status status;           /* of the first rank that failed */
	char error[FG_ERROR_BYTES]; /* and its message */
	int32_t argument;           /* SLEEP: the level; WAKE: what */
	fg_batch *batch;            /* STEP */
	uint64_t step;              /* STEP: its number */
	int32_t traced;             /* STEP */
	int32_t n_masks;            /* STEP: given with it */
	int32_t n_late_masks;       /* STEP */
	int32_t n_copies;           /* STEP, COPY */
	fg_page_copy *copies;       /* STEP: made before it; COPY: freed with the command */
} fg_command;

typedef struct {
	pthread_mutex_t lock;
	pthread_cond_t work, done;
	int32_t n_ranks;
	int32_t unfinished; /* commands that some rank has not finished */
	struct {
		fg_command *head, *tail;
		atomic_int queued;
	} rank[FG_MAX_RANKS];
} fg_queue;

fg_status fg_queue_init(fg_queue *queue, int32_t n_ranks);
void fg_queue_destroy(fg_queue *queue); /* when the rank threads are gone */

/* NULL, with fg_error's text set, when out of memory. */
fg_command *fg_command_new(fg_command_kind kind);
void fg_command_free(fg_command *command); /* not its batch */

void fg_queue_push(fg_queue *queue, fg_command *command);

/* For a rank thread: take waits for its next command; finish reports one as done, with its status and fg_error's text.
 */
fg_command *fg_queue_take(fg_queue *queue, int32_t rank);
void fg_queue_finish(fg_queue *queue, fg_command *command, fg_status status);

/* Waits until every rank has finished the command, and returns its status with its message; drain: all commands. */
fg_status fg_queue_wait(fg_queue *queue, fg_command *command);
void fg_queue_drain(fg_queue *queue);

#endif
