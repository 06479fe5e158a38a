/*
 * logprobs.c - log probabilities of one row of logits.
 */
#include "sample.h"

#include "chunk.h"

#include <stdbool.h>

/* log(sum exp(x - greatest)). Chunks whose share is too small for float32 are left out. */
FG_INLINE double log_of_sum(const float *logits, int32_t vocab_size, const float *maxima, float greatest) {
	const float negligible = 40.0f; /* exp(-40) * 2^20 tokens = 4e-12 */
	double sum = 0;
	float e[CHUNK];
	for (int32_t c = 0; c < chunk_count(vocab_size); c++) {
		if (!(greatest - maxima[c] < negligible)) continue;
		load_chunk(logits, vocab_size, c, e);
		for (int j = 0; j < CHUNK; j++) e[j] = fg_exp_neg(greatest - e[j]);
		for (int half = CHUNK / 2; half > 0; half /= 2)
			for (int j = 0; j < half; j++) e[j] += e[j + half];
		sum += e[0];
	}
	return log(sum);
}

/* The n_top greatest logits in order, of equal ones the lower id first; returns how many are above -inf. */
FG_INLINE int32_t top_logits(const float *logits, int32_t vocab_size, const float *maxima, int32_t n_top, int32_t *ids,
                             float *values) {
	int32_t n = 0;
	float x[CHUNK];
	for (int32_t c = 0; c < chunk_count(vocab_size); c++) {
		float least = n < n_top ? -INFINITY : values[n_top - 1];
		if (!(maxima[c] > least)) continue;
		load_chunk(logits, vocab_size, c, x);
		for (int32_t j = 0; j < CHUNK; j++) {
			if (!(x[j] > least)) continue;
			int32_t at = n < n_top ? n++ : n_top - 1;
			for (; at > 0 && values[at - 1] < x[j]; at--) {
				values[at] = values[at - 1];
				ids[at] = ids[at - 1];
			}
			values[at] = x[j];
			ids[at] = c * CHUNK + j;
			least = n < n_top ? -INFINITY : values[n_top - 1];
		}
	}
	return n;
}

/* How many logits are greater than `than`. */
FG_INLINE int32_t count_greater(const float *logits, int32_t vocab_size, const float *maxima, float than) {
	int32_t count = 0;
	float x[CHUNK];
	for (int32_t c = 0; c < chunk_count(vocab_size); c++) {
		if (!(maxima[c] > than)) continue;
		load_chunk(logits, vocab_size, c, x);
		for (int j = 0; j < CHUNK; j++) count += x[j] > than;
	}
	return count;
}

FG_SIMD static void logprobs_simd(const float *logits, int32_t vocab_size, int32_t id, int32_t n_top, float *logprob,
                                  int32_t *rank, int32_t *top_ids, float *top_logprobs, float *maxima) {
	const float greatest = chunk_maxima(logits, vocab_size, maxima);
	const bool empty = greatest == -INFINITY;
	const double log_sum = empty ? 0 : log_of_sum(logits, vocab_size, maxima, greatest);
	const float chosen = id >= 0 && logits[id] > -INFINITY ? fg_clean(logits[id]) : -INFINITY; /* NaN too */
	*rank = id < 0 ? 0 : 1 + count_greater(logits, vocab_size, maxima, chosen);
	*logprob = chosen > -INFINITY ? (float)((double)chosen - greatest - log_sum) : -INFINITY;

	if (n_top == 0) return;
	int32_t n = top_logits(logits, vocab_size, maxima, n_top, top_ids, top_logprobs);
	for (int32_t i = 0; i < n; i++) top_logprobs[i] = (float)((double)top_logprobs[i] - greatest - log_sum);
	/* Where fewer than n_top tokens are possible, the lowest of the other ids follow. */
	for (int32_t i = 0; i < vocab_size && n < n_top; i++) {
		if (logits[i] > -INFINITY) continue;
		top_ids[n] = i;
		top_logprobs[n++] = -INFINITY;
	}
	for (; n < n_top; n++) {
		top_ids[n] = -1;
		top_logprobs[n] = -INFINITY;
	}
}

void fg_logprobs(const float *logits, int32_t vocab_size, int32_t id, int32_t n_top, float *logprob, int32_t *rank,
                 int32_t *top_ids, float *top_logprobs, void *scratch) {
	logprobs_simd(logits, vocab_size, id, n_top, logprob, rank, top_ids, top_logprobs, scratch);
}
