/*
 * gpu.c - libfastgen's ABI on GPUs that do not exist. Steps take the time that they would take an H100 with Mistral 7B
 * in bfloat16, and sample tokens at random, so that what surrounds GPUs can be measured without any: the HTTP thread,
 * clients, routers. The costs are those of bench/simulate.ts.
 */
#define _GNU_SOURCE
#include "fastgen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { N_GPUS = 64, N_LAYERS = 32, N_PAGES = 7432, PAGE_BYTES = 8 << 20, FIRST_ID = 1000 };

/* Tokens in a step, and microseconds of a layer's products. */
static const double TOKENS[] = {1, 64, 128, 256, 272, 320, 384, 448, 512, 576, 768, 1024, 2048};
static const double PRODUCTS[] = {150, 153, 164, 198, 253, 265, 295, 325, 355, 420, 510, 650, 1330};
enum { N_POINTS = sizeof TOKENS / sizeof *TOKENS };

static const char *text = "";

typedef struct {
	double end, run, idle; /* seconds of the clock; seconds */
	int32_t n_rows;
	int32_t *ids; /* [max_step_tokens] */
} sim_step;

struct fg_engine {
	int32_t vocab_size, max_step_tokens;
	uint64_t n_submitted, n_waited, random;
	double free_at; /* when the last step that was submitted ends */
	sim_step steps[FG_STEPS_IN_FLIGHT];
};

static fg_status fail(fg_status status, const char *why) {
	text = why;
	return status;
}

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void sleep_until(double when) {
	struct timespec t = {.tv_sec = (time_t)when};
	t.tv_nsec = (long)((when - (double)t.tv_sec) * 1e9);
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL)) continue;
}

static double products_time(double tokens) {
	int at = 1;
	while (at < N_POINTS - 1 && TOKENS[at] < tokens) at++;
	const double slope = (PRODUCTS[at] - PRODUCTS[at - 1]) / (TOKENS[at] - TOKENS[at - 1]);
	return PRODUCTS[at - 1] + slope * (tokens - TOKENS[at - 1]);
}

static double step_seconds(const fg_step *step, int32_t n_rows) {
	double decode_context = 0, scores = 0;
	for (int32_t i = 0; i < step->n_seqs; i++) {
		const double n = step->seqs[i].n_new, context = step->seqs[i].context;
		if (n == 1) decode_context += context;
		else scores += n * (context - n) + n * (n + 1) / 2;
	}
	const double n = step->n_tokens, kv_bytes = 2.0 * N_LAYERS * 8 * 128 * 2;
	double us = N_LAYERS * (products_time(n) + 12 + 0.02 * n);
	us += decode_context * kv_bytes / 2.96e6 + scores * 4 * 4096 * N_LAYERS / 370e6;
	return 1e-6 * (us + (n_rows * 0.47 > 150 ? n_rows * 0.47 : 150));
}

int32_t fg_abi_version(void) {
	return FG_ABI_VERSION;
}

const char *fg_error(void) {
	return text;
}

int32_t fg_error_slot(void) {
	return -1;
}

fg_status fg_devices(int32_t *count) {
	*count = N_GPUS;
	return FG_OK;
}

fg_status fg_device(int32_t device, fg_device_info *info) {
	(void)device;
	*info = (fg_device_info){.name = "simulated H100", .memory_bytes = 80ull << 30, .free_bytes = 80ull << 30};
	return FG_OK;
}

fg_status fg_open(const fg_shape *shape, const fg_options *options, fg_engine **engine) {
	fg_engine *e = *engine = calloc(1, sizeof *e);
	if (!e) return fail(FG_OUT_OF_MEMORY, "no memory");
	e->vocab_size = shape->vocab_size, e->max_step_tokens = options->max_step_tokens;
	for (int i = 0; i < FG_STEPS_IN_FLIGHT; i++) {
		e->steps[i].ids = calloc((size_t)e->max_step_tokens, sizeof *e->steps[i].ids);
		if (e->steps[i].ids) continue;
		fg_close(e);
		*engine = NULL;
		return fail(FG_OUT_OF_MEMORY, "no memory");
	}
	return FG_OK;
}

fg_status fg_load(fg_engine *engine, const fg_tensor *tensors, int32_t n_tensors) {
	(void)engine, (void)tensors, (void)n_tensors;
	return FG_OK;
}

fg_status fg_load_random(fg_engine *engine, uint64_t seed) {
	engine->random = seed;
	return FG_OK;
}

fg_status fg_progress(fg_engine *engine, fg_load_progress *progress) {
	(void)engine;
	*progress = (fg_load_progress){.finished = 1};
	return FG_OK;
}

fg_status fg_ready(fg_engine *engine, fg_capacity *capacity) {
	(void)engine;
	*capacity =
		(fg_capacity){.n_pages = N_PAGES, .page_bytes = PAGE_BYTES, .weight_bytes = 14500000000ull, .n_threads = 1};
	return FG_OK;
}

fg_status fg_sleep(fg_engine *engine, int32_t level) {
	(void)engine, (void)level;
	return FG_OK;
}

fg_status fg_wake(fg_engine *engine, int32_t what) {
	(void)engine, (void)what;
	return FG_OK;
}

fg_status fg_copy(fg_engine *engine, const fg_page_copy *copies, int32_t n_copies) {
	(void)engine, (void)copies, (void)n_copies;
	return fail(FG_UNSUPPORTED, "simulated GPUs have no host pages");
}

fg_status fg_host_page(fg_engine *engine, int32_t rank, int32_t host_page, void **bytes) {
	(void)engine, (void)rank, (void)host_page, (void)bytes;
	return fail(FG_UNSUPPORTED, "simulated GPUs have no host pages");
}

fg_status fg_submit(fg_engine *engine, const fg_step *step) {
	if (engine->n_submitted - engine->n_waited == FG_STEPS_IN_FLIGHT)
		return fail(FG_BUSY, "too many steps are in flight");
	sim_step *s = &engine->steps[engine->n_submitted % FG_STEPS_IN_FLIGHT];
	s->n_rows = 0;
	for (int32_t i = 0; i < step->n_seqs; i++) {
		if (step->seqs[i].flags & (FG_SCORE | FG_LOGITS)) return fail(FG_UNSUPPORTED, "simulated GPUs score nothing");
		if (!(step->seqs[i].flags & FG_SAMPLE)) continue;
		engine->random = engine->random * 6364136223846793005ull + 1442695040888963407ull;
		s->ids[s->n_rows++] = FIRST_ID + (int32_t)((engine->random >> 33) % (uint64_t)(engine->vocab_size - FIRST_ID));
	}
	const double at = now();
	s->idle = engine->n_submitted && at > engine->free_at ? at - engine->free_at : 0;
	s->run = step_seconds(step, s->n_rows);
	s->end = engine->free_at = (at > engine->free_at ? at : engine->free_at) + s->run;
	engine->n_submitted++;
	return FG_OK;
}

fg_status fg_mask(fg_engine *engine, uint64_t step, int32_t mask, fg_mask_fill fill, fg_mask_check check,
                  void *source) {
	(void)engine, (void)step, (void)mask, (void)fill, (void)source;
	return fail(FG_UNSUPPORTED, "simulated GPUs have no masks");
}

fg_status fg_follow(fg_engine *engine, uint64_t step, int32_t mask, const fg_follower *follower, void *source) {
	(void)engine, (void)step, (void)mask, (void)follower, (void)source;
	return fail(FG_UNSUPPORTED, "simulated GPUs have no masks");
}

fg_status fg_wait(fg_engine *engine, fg_result *result) {
	if (engine->n_submitted == engine->n_waited) return fail(FG_INVALID, "no step is in flight");
	const sim_step *s = &engine->steps[engine->n_waited % FG_STEPS_IN_FLIGHT];
	sleep_until(s->end);
	result->step = engine->n_waited++;
	result->n_rows = s->n_rows, result->run_seconds = s->run, result->idle_seconds = s->idle;
	result->to_host_seconds = result->to_device_seconds = 0;
	memcpy(result->ids, s->ids, (size_t)s->n_rows * sizeof *s->ids);
	return FG_OK;
}

fg_status fg_trace_start(fg_engine *engine, int32_t process, int32_t n_steps) {
	(void)engine, (void)process, (void)n_steps;
	return fail(FG_UNSUPPORTED, "simulated GPUs have no ops to trace");
}

fg_status fg_trace_stop(fg_engine *engine, const char *path) {
	(void)engine, (void)path;
	return fail(FG_UNSUPPORTED, "simulated GPUs have no ops to trace");
}

void fg_close(fg_engine *engine) {
	if (!engine) return;
	for (int i = 0; i < FG_STEPS_IN_FLIGHT; i++) free(engine->steps[i].ids);
	free(engine);
}
