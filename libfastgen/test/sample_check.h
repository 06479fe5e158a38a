/*
 * sample_check.h - what the tests of sampling share: CHECK, and making logits and samplers.
 */
#ifndef FG_SAMPLE_CHECK_H
#define FG_SAMPLE_CHECK_H

#include "../cpu/sample.h"
#include "../error.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long n_checks, n_failed;

#define CHECK(condition, ...)                                                                                          \
	do {                                                                                                               \
		n_checks++;                                                                                                    \
		if (!(condition) && ++n_failed <= 30) {                                                                        \
			printf("%s:%d: failed: %s: ", __FILE__, __LINE__, #condition);                                             \
			printf(__VA_ARGS__);                                                                                       \
			putchar('\n');                                                                                             \
		}                                                                                                              \
	} while (0)

static const fg_sampling PLAIN = {.temperature = 1, .top_p = 1, .repetition_penalty = 1};

static inline int report(const char *name) {
	printf("%s: %ld checks, %ld failed\n", name, n_checks, n_failed);
	return n_failed > 0;
}

/* ---- Making inputs ---- */

static uint64_t random_state = 1;

static inline uint64_t next_random(void) { /* SplitMix64 */
	uint64_t z = random_state += 0x9E3779B97F4A7C15u;
	z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
	z = (z ^ z >> 27) * 0x94D049BB133111EBu;
	return z ^ z >> 31;
}

static inline int32_t below(int32_t n) {
	return (int32_t)(next_random() % (uint64_t)n);
}

static inline float uniform(float low, float high) {
	return low + (high - low) * (float)(next_random() >> 40) * 0x1p-24f;
}

/* Roughly normal, from integers only, so that every machine makes the same logits. */
static inline float bell(float deviation) {
	int32_t sum = 0;
	for (int i = 0; i < 12; i++) sum += below(1 << 16);
	return deviation * (float)(sum - 6 * (1 << 16)) * 0x1p-16f;
}

enum { SMOOTH, TIED, FLAT, SPIKY, HOLES, N_KINDS };

static inline void make_logits(float *logits, int32_t vocab, int kind) {
	for (int32_t i = 0; i < vocab; i++) {
		logits[i] = bell(2);
		if (kind == TIED) logits[i] = (float)below(7) - 3;
		if (kind == FLAT) logits[i] = 0.5f;
		if (kind == SPIKY && below(20) == 0) logits[i] += 12;
		if (kind == HOLES && below(3) == 0) logits[i] = below(2) ? -INFINITY : NAN;
	}
	if (kind == HOLES) logits[below(vocab)] = 1;
}

static inline fg_sampler *make(const fg_sampling *s, int32_t vocab) {
	fg_sampler *sampler;
	if (fg_sampler_new(s, vocab, &sampler) == FG_OK) return sampler;
	printf("fg_sampler_new: %s\n", fg_error_text());
	exit(1);
}

static inline void *scratch_for(int32_t vocab) {
	void *scratch = aligned_alloc(64, fg_sample_scratch_bytes(vocab));
	if (!scratch) exit(1);
	memset(scratch, 0xff, fg_sample_scratch_bytes(vocab)); /* NaN: what it holds must not matter */
	return scratch;
}

static inline int32_t sample_once(const fg_sampling *s, const float *logits, int32_t vocab, const uint32_t *mask,
                                  int32_t position) {
	fg_sampler *sampler = make(s, vocab);
	void *scratch = scratch_for(vocab);
	const int32_t id = fg_sampler_sample(sampler, logits, mask, position, scratch);
	free(scratch);
	fg_sampler_free(sampler);
	return id;
}

#endif
