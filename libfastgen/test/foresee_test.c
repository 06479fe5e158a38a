/*
 * foresee_test.c - what the sampler foresees without a mask is what it samples under masks that allow that token and
 * the greatest logit.
 */
#include "sample_check.h"

int main(void) {
	static float logits[1000];
	static uint32_t mask[1000 / 32 + 1];
	static const int32_t vocabs[] = {1, 33, 200, 1000};
	const int32_t ids[2] = {0, 0};
	const float bias[2] = {4, -1};
	int foreseen = 0, refused = 0, apart = 0;
	random_state = 11;
	for (int round = 0; round < 4000; round++) {
		const int32_t vocab = vocabs[below(4)];
		make_logits(logits, vocab, below(N_KINDS));
		fg_sampling s = PLAIN;
		s.seed = next_random();
		s.temperature = below(3) == 0 ? 0 : uniform(0.1f, 3);
		if (below(2)) s.min_p = uniform(0, 0.5f);
		if (below(4) == 0) s.top_k = 1 + below(vocab);
		if (below(4) == 0) s.top_p = uniform(0.1f, 1);
		if (below(4) == 0) s.bias_ids = ids, s.bias = bias, s.n_bias = 2;
		const int filters = s.temperature != 0 && ((s.top_k > 0 && s.top_k < vocab) || s.top_p < 1);
		fg_sampler *sampler = make(&s, vocab);
		void *scratch = scratch_for(vocab);
		int32_t greatest = -1;
		const int32_t id = fg_sampler_foresee(sampler, logits, round, &greatest, scratch);
		if (filters) CHECK(id == FG_NO_TOKEN, "round %d: %d is foreseen through top_k or top_p", round, id);
		refused += filters;
		for (int try = 0; id >= 0 && try < 4; try++) {
			for (int i = 0; i < vocab / 32 + 1; i++) mask[i] = (uint32_t)(next_random() & next_random());
			mask[id / 32] |= 1u << id % 32, mask[greatest / 32] |= 1u << greatest % 32;
			const int32_t masked = fg_sampler_sample(sampler, logits, mask, round, scratch);
			CHECK(masked == id, "round %d: %d is foreseen, %d is sampled", round, id, masked);
			foreseen++, apart += id != greatest;
		}
		free(scratch);
		fg_sampler_free(sampler);
	}
	CHECK(foreseen > 1000 && refused > 100 && apart > 100, "%d foreseen, %d refused, %d apart", foreseen, refused,
	      apart);
	return report("foresee_test");
}
