/*
 * processed_check.h - compares processed log probabilities with the references of sample_reference.h.
 */
#ifndef FG_PROCESSED_CHECK_H
#define FG_PROCESSED_CHECK_H

#include "sample_check.h"
#include "sample_reference.h"

/* The processed row against the twin to the bit, and log probabilities of it against the model, whose p is 0 where a
 * token is filtered out. Returns how far the latter are off, in units of what float32 may cause. */
static inline double check_processed(const fg_sampling *sampling, const float *logits, int32_t vocab,
                                     const uint32_t *mask, int32_t position, const char *where) {
	static float want[MAX_VOCAB];
	static model m;
	fg_sampling s = *sampling;
	s.logprobs_mode = FG_PROCESSED_LOGPROBS;
	fg_sampler *sampler = make(&s, vocab);
	void *scratch = scratch_for(vocab);
	const float *got = fg_sampler_reported(sampler, logits, mask, position, scratch);
	twin_processed(&s, logits, vocab, mask, position, want);
	CHECK(!memcmp(got, want, (size_t)vocab * sizeof *want), "%s: the processed row", where);
	if (s.temperature == 0) s.temperature = 1, s.top_p = 1, s.top_k = 0, s.min_p = 0;
	run_model(&m, &s, logits, vocab, mask, position);
	/* Sampling leaves the row alone. */
	const int32_t drawn = fg_sampler_sample(sampler, logits, mask, position, scratch);
	CHECK(!memcmp(got, want, (size_t)vocab * sizeof *want), "%s: the processed row, after the draw", where);
	CHECK(drawn == twin_sample(sampling, logits, vocab, mask, position), "%s: the draw", where);
	double worst = 0;
	for (int i = 0; i < 3 && drawn >= 0 && !m.close; i++) {
		const int32_t id = i == 0 ? drawn : (int32_t)((unsigned)(drawn + 7919 * i) % (unsigned)vocab);
		float logprob;
		int32_t rank, above = 0;
		fg_logprobs(got, vocab, id, 0, &logprob, &rank, NULL, NULL, scratch);
		for (int32_t j = 0; j < vocab; j++) above += want[j] > want[id];
		CHECK(rank == 1 + above, "%s: rank %d, not %d", where, rank, 1 + above);
		/* With top_k, what can hardly be drawn counts as filtered out. */
		if (logprob == -INFINITY) CHECK(m.p[id] < 1e-13, "%s: %g, not %g", where, (double)logprob, log(m.p[id]));
		else worst = fmax(worst, fabs((double)logprob - log(m.p[id])) / (m.tolerance + 1e-6));
	}
	free(scratch);
	fg_sampler_free(sampler);
	return worst;
}

#endif
