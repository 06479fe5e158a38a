/*
 * logprobs_test.c - compares log probabilities with double precision and a plain search.
 */
#include "sample_check.h"

int main(void) {
	static const int32_t vocabs[] = {1, 3, 19, 20, 21, 64, 100, 1000, 20000};
	static float logits[20000];
	random_state = 21;
	double worst = 0;
	for (int round = 0; round < 300; round++) {
		const int32_t vocab = vocabs[below(sizeof vocabs / sizeof *vocabs)];
		make_logits(logits, vocab, below(N_KINDS));
		double zmax = -INFINITY, sum = 0;
		for (int32_t i = 0; i < vocab; i++)
			if (logits[i] > zmax) zmax = (double)logits[i];
		for (int32_t i = 0; i < vocab; i++)
			if (!isnan(logits[i])) sum += exp((double)logits[i] - zmax);
		void *scratch = scratch_for(vocab);
		const int32_t id = below(vocab), n_top = below(FG_MAX_LOGPROBS + 1);
		float logprob, top[FG_MAX_LOGPROBS];
		int32_t rank, above = 0, ids[FG_MAX_LOGPROBS];
		fg_logprobs(logits, vocab, id, n_top, &logprob, &rank, ids, top, scratch);
		free(scratch);
#define WANT(i) (isnan(logits[i]) ? -INFINITY : (double)logits[i] - zmax - log(sum))
		if (WANT(id) == -INFINITY) CHECK(logprob == -INFINITY, "round %d: %g", round, (double)logprob);
		else worst = fmax(worst, fabs((double)logprob - WANT(id)));
		for (int32_t i = 0; i < vocab; i++) above += logits[i] > (isnan(logits[id]) ? -INFINITY : logits[id]);
		CHECK(rank == 1 + above, "round %d: rank %d, not %d", round, rank, 1 + above);
		bool taken[20000] = {false};
		for (int32_t n = 0; n < n_top; n++) {
			if (n >= vocab) {
				CHECK(ids[n] == -1 && top[n] == -INFINITY, "round %d: entry %d past the vocabulary", round, n);
				continue;
			}
			int32_t best = -1; /* the greatest not yet taken; of equal ones the lowest id */
			for (int32_t i = 0; i < vocab; i++)
				if (!taken[i] && (best < 0 || WANT(i) > WANT(best))) best = i;
			taken[best] = true;
			CHECK(ids[n] == best, "round %d entry %d: %d, not %d", round, n, ids[n], best);
			if (WANT(best) == -INFINITY) CHECK(top[n] == -INFINITY, "round %d: %g", round, (double)top[n]);
			else worst = fmax(worst, fabs((double)top[n] - WANT(best)));
			if (ids[n] == id)
				CHECK(top[n] == logprob || logprob == -INFINITY, "round %d: two values for one token", round);
		}
#undef WANT
	}
	CHECK(worst < 2e-6, "off by %g", worst);
	const float nothing[3] = {-INFINITY, NAN, -INFINITY};
	float logprob, top[2];
	int32_t rank, ids[2];
	void *scratch = scratch_for(3);
	fg_logprobs(nothing, 3, 1, 2, &logprob, &rank, ids, top, scratch);
	CHECK(logprob == -INFINITY && ids[0] == 0 && ids[1] == 1 && top[0] == -INFINITY && rank == 1,
	      "nothing is possible");
	fg_logprobs(nothing, 3, FG_NO_TOKEN, 0, &logprob, &rank, NULL, NULL, scratch);
	CHECK(logprob == -INFINITY && rank == 0, "no token");
	free(scratch);
	printf("  log probabilities within %.1e\n", worst);
	return report("logprobs_test");
}
