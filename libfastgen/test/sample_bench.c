/*
 * sample_bench.c - how long sampling a row takes on one core.
 */
#include "sample_check.h"

#include <time.h>

static double seconds(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Microseconds per row, median of 201, for logits shaped like a language model's: a bell and a few likely tokens. */
static void bench(int32_t vocab) {
	static const struct {
		const char *name;
		fg_sampling s;
		int32_t n_logprobs;
	} cases[] = {
		{"greedy", {.temperature = 0, .top_p = 1, .repetition_penalty = 1}, -1},
		{"T=0.8", {.temperature = 0.8f, .top_p = 1, .repetition_penalty = 1}, -1},
		{"T=0.8 top_p=0.95", {.temperature = 0.8f, .top_p = 0.95f, .repetition_penalty = 1}, -1},
		{"T=0.8 top_p=0.95 top_k=50", {.temperature = 0.8f, .top_p = 0.95f, .top_k = 50, .repetition_penalty = 1}, -1},
		{"T=2 top_p=0.95 (flat)", {.temperature = 2, .top_p = 0.95f, .repetition_penalty = 1}, -1},
		{"T=0.8 min_p=0.05", {.temperature = 0.8f, .top_p = 1, .min_p = 0.05f, .repetition_penalty = 1}, -1},
		{"greedy repetition_penalty=1.1", {.temperature = 0, .top_p = 1, .repetition_penalty = 1.1f}, -1},
		{"logprobs=5", {0}, 5},
	};
	enum { REPEATS = 201 };
	float *logits = aligned_alloc(64, (size_t)vocab * sizeof(float));
	void *scratch = scratch_for(vocab);
	int32_t history[1000], rank, ids[FG_MAX_LOGPROBS];
	float logprob, top[FG_MAX_LOGPROBS];
	double times[REPEATS];
	if (!logits) exit(1);
	for (int32_t i = 0; i < vocab; i++) logits[i] = bell(2.5f);
	for (int i = 0; i < 10; i++) logits[below(vocab)] = 12 + 0.5f * (float)i;
	for (int i = 0; i < 1000; i++) history[i] = below(vocab);
	for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
		fg_sampling s = cases[c].s;
		s.history = history;
		s.n_prompt = 1000;
		fg_sampler *sampler = cases[c].n_logprobs < 0 ? make(&s, vocab) : NULL;
		for (int32_t i = 0; i < REPEATS; i++) {
			const double start = seconds();
			if (sampler) fg_sampler_sample(sampler, logits, NULL, i, scratch);
			else fg_logprobs(logits, vocab, 7, cases[c].n_logprobs, &logprob, &rank, ids, top, scratch);
			times[i] = seconds() - start;
		}
		for (int i = 1; i < REPEATS; i++) /* insertion sort */
			for (int j = i; j > 0 && times[j] < times[j - 1]; j--) {
				const double t = times[j];
				times[j] = times[j - 1];
				times[j - 1] = t;
			}
		printf("vocab %6d  %-30s %8.1f us\n", vocab, cases[c].name, 1e6 * times[REPEATS / 2]);
		fg_sampler_free(sampler);
	}
	free(logits);
	free(scratch);
}

int main(void) {
	bench(49152);
	bench(151936);
	return 0;
}
