/* See threads.h. */
#include "threads.h"
#include "../clock.h"
#include "../lock.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* How long a worker polls for the next loop before it sleeps. The gaps between the loops of a step are a few
 * microseconds; waking a sleeping thread takes about 50. */
enum { SPIN_NS = 40000 };

/* To publish a loop, the caller closes the one before (INT32_MAX: no item is left), writes the new loop's fields, and
 * then writes its number and item 0 into `ticket`. If the old ticket were still open, a worker that is late to the old
 * loop could take one more item of it, by the new n. A thread takes an item by raising the ticket from a value of the
 * loop that it knows, which fails once that loop is closed. Taking an item also proves that the fields it read were
 * that loop's, because the loop cannot end before the item does. A worker that sleeps or was descheduled delays nobody:
 * the others take its items. */
struct fg_pool {
	_Alignas(64) atomic_ullong ticket; /* loop number << 32 | next item */
	_Alignas(64) atomic_int left;      /* items of the loop that have not ended */
	_Alignas(64) _Atomic(fg_item *) run;
	_Atomic(void *) argument;
	atomic_int n;
	_Alignas(64) atomic_int sleepers;
	atomic_int waiting; /* the caller sleeps until `left` is 0 */
	atomic_int quit;
	pthread_mutex_t lock;
	pthread_cond_t work, done;
	int32_t n_threads, n_started;
	pthread_t *threads;
	struct worker {
		fg_pool *pool;
		int32_t thread;
	} *workers;
};

static uint32_t loop_of(unsigned long long ticket) {
	return (uint32_t)(ticket >> 32);
}

/* Runs items of loop number `loop` until none is left. */
static void take_items(fg_pool *p, uint32_t loop, int32_t thread) {
	int32_t ended = 0;
	unsigned long long ticket = atomic_load(&p->ticket);
	fg_item *run = atomic_load_explicit(&p->run, memory_order_acquire);
	void *argument = atomic_load_explicit(&p->argument, memory_order_acquire);
	int32_t n = atomic_load_explicit(&p->n, memory_order_acquire);
	while (loop_of(ticket) == loop && (int32_t)(uint32_t)ticket < n) {
		if (!atomic_compare_exchange_weak(&p->ticket, &ticket, ticket + 1)) continue;
		run(argument, (int32_t)(uint32_t)ticket, thread);
		ended++;
		ticket = atomic_load(&p->ticket);
	}
	if (ended && atomic_fetch_sub(&p->left, ended) == ended && atomic_load(&p->waiting)) {
		pthread_mutex_lock(&p->lock);
		pthread_cond_signal(&p->done);
		pthread_mutex_unlock(&p->lock);
	}
}

/* Waits until a loop other than `loop` has begun, and returns its number. */
static uint32_t next_loop(fg_pool *p, uint32_t loop) {
	uint64_t start = fg_clock_ns();
	do {
		for (int i = 0; i < 32; i++) {
			uint32_t now = loop_of(atomic_load_explicit(&p->ticket, memory_order_acquire));
			if (now != loop) return now;
			fg_relax();
		}
	} while (fg_clock_ns() - start < SPIN_NS);
	uint32_t now;
	pthread_mutex_lock(&p->lock);
	atomic_fetch_add(&p->sleepers, 1);
	while ((now = loop_of(atomic_load(&p->ticket))) == loop && !atomic_load(&p->quit)) {
		pthread_cond_wait(&p->work, &p->lock);
	}
	atomic_fetch_sub(&p->sleepers, 1);
	pthread_mutex_unlock(&p->lock);
	return now;
}

static void *worker_main(void *argument) {
	struct worker *w = argument;
	uint32_t loop = 0;
	while (!atomic_load(&w->pool->quit)) {
		loop = next_loop(w->pool, loop);
		take_items(w->pool, loop, w->thread);
	}
	return NULL;
}

void fg_parallel(fg_pool *p, int32_t n, fg_item *run, void *argument) {
	if (n <= 1 || p->n_threads == 1) {
		for (int32_t i = 0; i < n; i++) run(argument, i, 0);
		return;
	}
	uint32_t loop = loop_of(atomic_fetch_or(&p->ticket, INT32_MAX)) + 1;
	atomic_store_explicit(&p->run, run, memory_order_release);
	atomic_store_explicit(&p->argument, argument, memory_order_release);
	atomic_store_explicit(&p->n, n, memory_order_release);
	atomic_store_explicit(&p->left, n, memory_order_release);
	atomic_store(&p->ticket, (unsigned long long)loop << 32);
	if (atomic_load(&p->sleepers)) {
		pthread_mutex_lock(&p->lock);
		pthread_cond_broadcast(&p->work);
		pthread_mutex_unlock(&p->lock);
	}
	take_items(p, loop, 0);
	uint64_t start = fg_clock_ns();
	while (atomic_load_explicit(&p->left, memory_order_acquire)) {
		for (int i = 0; i < 32 && atomic_load_explicit(&p->left, memory_order_acquire); i++) fg_relax();
		if (fg_clock_ns() - start < SPIN_NS) continue;
		pthread_mutex_lock(&p->lock); /* a worker has lost its core in the middle of an item: let it have this core */
		atomic_store(&p->waiting, 1);
		while (atomic_load(&p->left)) pthread_cond_wait(&p->done, &p->lock);
		atomic_store(&p->waiting, 0);
		pthread_mutex_unlock(&p->lock);
	}
}

fg_status fg_pool_new(int32_t n_threads, fg_pool **out) {
	*out = NULL;
	fg_pool *p = aligned_alloc(64, sizeof *p);
	if (!p) return fg_fail(FG_OUT_OF_MEMORY, "no memory for a thread pool");
	memset(p, 0, sizeof *p);
	p->n_threads = n_threads;
	p->threads = calloc((size_t)n_threads, sizeof *p->threads);
	p->workers = calloc((size_t)n_threads, sizeof *p->workers);
	fg_status status = fg_lock_init(&p->lock, &p->work, &p->done);
	if (!status && (!p->threads || !p->workers)) {
		fg_lock_destroy(&p->lock, &p->work, &p->done);
		status = fg_fail(FG_OUT_OF_MEMORY, "no memory for a thread pool");
	}
	if (status) {
		free(p->threads);
		free(p->workers);
		free(p);
		return status;
	}
	for (int32_t i = 1; i < n_threads; i++) {
		p->workers[i] = (struct worker){p, i};
		int error = pthread_create(&p->threads[i], NULL, worker_main, &p->workers[i]);
		if (error) {
			fg_pool_free(p);
			return fg_fail(FG_OUT_OF_MEMORY, "cannot start %d worker threads: %s", n_threads, strerror(error));
		}
		p->n_started++;
	}
	*out = p;
	return FG_OK;
}

void fg_pool_free(fg_pool *p) {
	if (!p) return;
	pthread_mutex_lock(&p->lock);
	atomic_store(&p->quit, 1);
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	for (int32_t i = 1; i <= p->n_started; i++) pthread_join(p->threads[i], NULL);
	fg_lock_destroy(&p->lock, &p->work, &p->done);
	free(p->threads);
	free(p->workers);
	free(p);
}

int32_t fg_pool_threads(const fg_pool *p) {
	return p->n_threads;
}
