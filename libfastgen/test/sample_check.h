/*
 * sample_check.h - logits and samplers for the tests of sampling.
 */
#ifndef FG_SAMPLE_CHECK_H
#define FG_SAMPLE_CHECK_H

#include "../cpu/sample.h"
#include "../error.h"
#include "check.h"

static const fg_sampling PLAIN = {.temperature = 1, .top_p = 1, .repetition_penalty = 1};

/* ---- Making inputs ---- */

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
	printf("fg_sampler_new: %s\n", fg_error());
	exit(1);
}

static inline void *scratch_for(int32_t vocab) {
	void *scratch = aligned_alloc(64, fg_sample_scratch_bytes(vocab));
	if (!scratch) exit(1);
	memset(scratch, 0xff, fg_sample_scratch_bytes(vocab)); /* NaN: its contents must not matter */
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
