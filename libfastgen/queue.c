/* See queue.h. */
#include "queue.h"
#include "clock.h"
#include "lock.h"

#include <stdio.h>
#include <stdlib.h>

/* How long a rank thread polls for its next command before it sleeps: a little longer than waking it takes. */
enum { SPIN_NS = 30000 };

fg_status fg_queue_init(fg_queue *q, int32_t n_ranks) {
	q->n_ranks = n_ranks;
	return fg_lock_init(&q->lock, &q->work, &q->done);
}

void fg_queue_destroy(fg_queue *q) {
	fg_lock_destroy(&q->lock, &q->work, &q->done);
}

fg_command *fg_command_new(fg_command_kind kind) {
	fg_command *c = calloc(1, sizeof *c);
	if (!c) fg_fail(FG_OUT_OF_MEMORY, "no memory for a command");
	else c->kind = kind;
	return c;
}

void fg_command_free(fg_command *c) {
	if (!c) return;
	free(c->copies);
	free(c);
}

void fg_queue_push(fg_queue *q, fg_command *c) {
	pthread_mutex_lock(&q->lock);
	c->ranks_left = q->n_ranks;
	q->unfinished++;
	for (int32_t i = 0; i < q->n_ranks; i++) {
		if (q->rank[i].tail) q->rank[i].tail->next[i] = c;
		else q->rank[i].head = c;
		q->rank[i].tail = c;
		atomic_fetch_add(&q->rank[i].queued, 1);
	}
	pthread_cond_broadcast(&q->work);
	pthread_mutex_unlock(&q->lock);
}

fg_command *fg_queue_take(fg_queue *q, int32_t rank) {
	uint64_t start = fg_clock_ns();
	while (!atomic_load_explicit(&q->rank[rank].queued, memory_order_relaxed) && fg_clock_ns() - start < SPIN_NS) {
		for (int i = 0; i < 16; i++) fg_relax();
	}
	pthread_mutex_lock(&q->lock);
	while (!q->rank[rank].head) pthread_cond_wait(&q->work, &q->lock);
	fg_command *c = q->rank[rank].head;
	q->rank[rank].head = c->next[rank];
	if (!q->rank[rank].head) q->rank[rank].tail = NULL;
	atomic_fetch_sub(&q->rank[rank].queued, 1);
	pthread_mutex_unlock(&q->lock);
	return c;
}

void fg_queue_finish(fg_queue *q, fg_command *c, fg_status status) {
	pthread_mutex_lock(&q->lock);
	if (status && !c->status) {
		c->status = status;
		snprintf(c->error, sizeof c->error, "%s", fg_error());
	}
	if (--c->ranks_left == 0) {
		q->unfinished--;
		pthread_cond_broadcast(&q->done);
	}
	pthread_mutex_unlock(&q->lock);
}

fg_status fg_queue_wait(fg_queue *q, fg_command *c) {
	pthread_mutex_lock(&q->lock);
	while (c->ranks_left) pthread_cond_wait(&q->done, &q->lock);
	pthread_mutex_unlock(&q->lock);
	return c->status ? fg_fail(c->status, "%s", c->error) : FG_OK;
}

void fg_queue_drain(fg_queue *q) {
	pthread_mutex_lock(&q->lock);
	while (q->unfinished) pthread_cond_wait(&q->done, &q->lock);
	pthread_mutex_unlock(&q->lock);
}
