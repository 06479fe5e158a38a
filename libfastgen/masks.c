/* See masks.h. */
#include "masks.h"
#include "cores.h"
#include "lock.h"

#include <stdlib.h>
#include <string.h>

/* The library's choice of mask_threads: a quarter of the cores, since a fill takes far less than a step. */
enum { MOST_THREADS = 8 };

static int32_t choose_threads(int32_t asked, int sampler_fills) {
	if (asked || sampler_fills) return asked;
	int32_t n = fg_cores() / 4;
	return n < 1 ? 1 : n > MOST_THREADS ? MOST_THREADS : n;
}

static fg_mask_job *job_of(const fg_masks *m, int32_t place, int32_t row) {
	return &m->jobs[place * m->max_seqs + row];
}

static uint32_t *words_of(const fg_masks *m, int32_t place, int32_t row) {
	return m->rows[place].words + (size_t)row * m->rows[place].stride;
}

static void set_state(fg_masks *m, int32_t place, int32_t row, fg_mask_state state) {
	__atomic_store_n(&m->rows[place].state[row], state, __ATOMIC_RELEASE);
}

int fg_masks_check(const fg_masks *m, int32_t place, int32_t row, int32_t token) {
	const fg_mask_job *job = job_of(m, place, row);
	return job->how.check && job->how.check(job->source, token) == 1;
}

int32_t fg_masks_known(const fg_masks *m, int32_t place, int32_t row, int32_t position) {
	const fg_mask_job *job = job_of(m, place, row);
	return job->how.known ? job->how.known(job->source, position) : FG_NO_TOKEN;
}

void fg_masks_take(const fg_masks *m, int32_t place, int32_t row, int32_t position, int32_t token) {
	const fg_mask_job *job = job_of(m, place, row);
	if (job->how.take) job->how.take(job->source, position, token);
}

void fg_masks_fill(fg_masks *m, int32_t place, int32_t row) {
	const fg_mask_job *job = job_of(m, place, row);
	int failed = job->how.fill(job->source, words_of(m, place, row), m->bytes) != 0;
	set_state(m, place, row, failed ? FG_MASK_BROKEN : FG_MASK_READY);
}

/* Calls the oldest fill of the step at `place` that has not begun. Under the lock, which it lets go meanwhile. Returns
 * 0 where there is none. */
static int fill_next(fg_masks *m, int32_t place) {
	fg_mask_queue *q = &m->queues[place];
	if (q->n_begun == q->n_given) return 0;
	int32_t row = q->rows[q->n_begun++];
	q->n_running++;
	pthread_mutex_unlock(&m->lock);
	fg_masks_fill(m, place, row);
	pthread_mutex_lock(&m->lock);
	if (--q->n_running == 0) pthread_cond_broadcast(&m->ended);
	return 1;
}

static void *thread_main(void *argument) {
	fg_masks *m = argument;
	pthread_mutex_lock(&m->lock);
	while (!m->quit) {
		int found = 0;
		for (int32_t i = 0; i < FG_STEPS_IN_FLIGHT && !found; i++)
			found = fill_next(m, (m->oldest + i) % FG_STEPS_IN_FLIGHT);
		if (!found) pthread_cond_wait(&m->work, &m->lock);
	}
	pthread_mutex_unlock(&m->lock);
	return NULL;
}

fg_status fg_masks_init(fg_masks *m, const fg_config *config, int sampler_fills) {
	memset(m, 0, sizeof *m);
	int32_t n_threads = choose_threads(config->options.mask_threads, sampler_fills);
	m->max_seqs = config->options.max_seqs;
	m->bytes = fg_mask_words(config->shape.vocab_size) * sizeof(uint32_t);
	const size_t n_rows = (size_t)FG_STEPS_IN_FLIGHT * (size_t)m->max_seqs;
	m->jobs = calloc(n_rows, sizeof *m->jobs);
	int32_t *rows = calloc(n_rows, sizeof *rows);
	m->threads = calloc((size_t)n_threads + 1, sizeof *m->threads); /* none may be NULL: one more */
	fg_status status = fg_lock_init(&m->lock, &m->work, &m->ended);
	if (!status && (!m->jobs || !rows || !m->threads)) {
		fg_lock_destroy(&m->lock, &m->work, &m->ended);
		status = fg_fail(FG_OUT_OF_MEMORY, "no memory for the masks of %d slots", m->max_seqs);
	}
	if (status) {
		free(m->jobs);
		free(rows);
		free(m->threads);
		return status;
	}
	for (int32_t place = 0; place < FG_STEPS_IN_FLIGHT; place++) m->queues[place].rows = rows + place * m->max_seqs;
	for (; m->n_started < n_threads; m->n_started++) {
		int error = pthread_create(&m->threads[m->n_started], NULL, thread_main, m);
		if (!error) continue;
		fg_masks_free(m);
		return fg_fail(FG_OUT_OF_MEMORY, "cannot start %d threads for masks: %s", n_threads, strerror(error));
	}
	return FG_OK;
}

void fg_masks_free(fg_masks *m) {
	pthread_mutex_lock(&m->lock);
	m->quit = 1;
	pthread_cond_broadcast(&m->work);
	pthread_mutex_unlock(&m->lock);
	for (int32_t i = 0; i < m->n_started; i++) pthread_join(m->threads[i], NULL);
	fg_lock_destroy(&m->lock, &m->work, &m->ended);
	free(m->jobs);
	free(m->queues[0].rows);
	free(m->threads);
}

void fg_masks_give(fg_masks *m, int32_t place, int32_t row, fg_mask_job job) {
	if (!job.how.fill) {
		memcpy(words_of(m, place, row), job.source, m->bytes);
		set_state(m, place, row, FG_MASK_READY);
		return;
	}
	*job_of(m, place, row) = job;
	set_state(m, place, row, FG_MASK_FILLING);
	if (!m->n_started) return; /* whoever samples the row fills it */
	pthread_mutex_lock(&m->lock);
	fg_mask_queue *q = &m->queues[place];
	q->rows[q->n_given++] = row;
	pthread_cond_signal(&m->work);
	pthread_mutex_unlock(&m->lock);
}

void fg_masks_end(fg_masks *m, int32_t place) {
	pthread_mutex_lock(&m->lock);
	fg_mask_queue *q = &m->queues[place];
	q->n_given = q->n_begun;
	while (q->n_running) pthread_cond_wait(&m->ended, &m->lock);
	q->n_given = q->n_begun = 0;
	m->oldest = (place + 1) % FG_STEPS_IN_FLIGHT;
	pthread_mutex_unlock(&m->lock);
}
