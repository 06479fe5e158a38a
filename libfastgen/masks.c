#include "masks.h"
#include "cores.h"

#include <stdlib.h>
#include <string.h>

/* The library's choice of mask_threads: a quarter of the cores, since a fill takes far less than a step. */
enum { MOST_THREADS = 8 };

static int32_t choose_threads(int32_t asked, int sampler_fills) {
	if (asked || sampler_fills) return asked;
	int32_t n = fg_cores() / 4;
	return n < 1 ? 1 : n > MOST_THREADS ? MOST_THREADS : n;
}

/* Calls the fill of a row, and says that its mask is there. */
static void run(fg_masks *m, const fg_mask_job *job, int32_t place, int32_t row) {
	fg_mask_rows rows = m->rows[place];
	int failed = job->fill(job->source, rows.words + (size_t)row * rows.stride, m->bytes) != 0;
	__atomic_store_n(&rows.state[row], failed ? FG_MASK_BROKEN : FG_MASK_READY, __ATOMIC_RELEASE);
}

static int32_t place_of(const fg_masks *m, const fg_mask_job *job) {
	return (int32_t)(job - m->jobs) / m->max_seqs;
}

/* Takes the job that `link` leads to out of the queue, and runs it. Under the lock, which it lets go meanwhile. */
static void take(fg_masks *m, fg_mask_job **link, fg_mask_job *before) {
	fg_mask_job *job = *link;
	const int32_t place = place_of(m, job);
	*link = job->next;
	if (m->tail == job) m->tail = before;
	m->running[place]++;
	pthread_mutex_unlock(&m->lock);
	run(m, job, place, (int32_t)(job - m->jobs) % m->max_seqs);
	pthread_mutex_lock(&m->lock);
	if (--m->running[place] == 0) pthread_cond_broadcast(&m->ended);
}

static void *thread_main(void *argument) {
	fg_masks *m = argument;
	pthread_mutex_lock(&m->lock);
	while (!m->quit) {
		if (m->head) take(m, &m->head, NULL);
		else pthread_cond_wait(&m->work, &m->lock);
	}
	pthread_mutex_unlock(&m->lock);
	return NULL;
}

int fg_masks_fill_next(fg_masks *m, int32_t place) {
	pthread_mutex_lock(&m->lock);
	fg_mask_job **link = &m->head, *before = NULL;
	while (*link && place_of(m, *link) != place) before = *link, link = &before->next;
	const int found = *link != NULL;
	if (found) take(m, link, before);
	pthread_mutex_unlock(&m->lock);
	return found;
}

fg_status fg_masks_init(fg_masks *m, const fg_config *config, int sampler_fills) {
	memset(m, 0, sizeof *m);
	int32_t n_threads = choose_threads(config->options.mask_threads, sampler_fills);
	m->max_seqs = config->options.max_seqs;
	m->bytes = fg_mask_words(config->shape.vocab_size) * sizeof(uint32_t);
	m->jobs = calloc((size_t)FG_STEPS_IN_FLIGHT * (size_t)m->max_seqs, sizeof *m->jobs);
	m->threads = calloc((size_t)n_threads + 1, sizeof *m->threads); /* none may be NULL: one more */
	if (!m->jobs || !m->threads || pthread_mutex_init(&m->lock, NULL)) {
		free(m->jobs);
		free(m->threads);
		return fg_fail(FG_OUT_OF_MEMORY, "no memory for the masks of %d slots", m->max_seqs);
	}
	pthread_cond_init(&m->work, NULL);
	pthread_cond_init(&m->ended, NULL);
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
	pthread_cond_destroy(&m->work);
	pthread_cond_destroy(&m->ended);
	pthread_mutex_destroy(&m->lock);
	free(m->jobs);
	free(m->threads);
}

void fg_masks_give(fg_masks *m, int32_t place, int32_t row, fg_mask_fill fill, void *source) {
	fg_mask_rows rows = m->rows[place];
	if (!fill) {
		memcpy(rows.words + (size_t)row * rows.stride, source, m->bytes);
		__atomic_store_n(&rows.state[row], FG_MASK_READY, __ATOMIC_RELEASE);
		return;
	}
	__atomic_store_n(&rows.state[row], FG_MASK_FILLING, __ATOMIC_RELAXED);
	fg_mask_job *job = &m->jobs[place * m->max_seqs + row];
	*job = (fg_mask_job){NULL, fill, source};
	pthread_mutex_lock(&m->lock);
	if (m->tail) m->tail->next = job;
	else m->head = job;
	m->tail = job;
	pthread_cond_signal(&m->work);
	pthread_mutex_unlock(&m->lock);
}

void fg_masks_end(fg_masks *m, int32_t place) {
	pthread_mutex_lock(&m->lock);
	fg_mask_job **link = &m->head;
	m->tail = NULL;
	while (*link) {
		if (place_of(m, *link) == place) {
			*link = (*link)->next;
		} else {
			m->tail = *link;
			link = &(*link)->next;
		}
	}
	while (m->running[place]) pthread_cond_wait(&m->ended, &m->lock);
	pthread_mutex_unlock(&m->lock);
}
