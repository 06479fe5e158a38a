/*
 * sample_reference.h - two slow references for sampling.
 *
 * `model` computes what fastgen.h defines, in double precision with a full sort; it is independent of any
 * implementation. `twin` follows sample_math.h to the letter, in float32: implementations must agree with it to the
 * bit.
 */
#ifndef FG_SAMPLE_REFERENCE_H
#define FG_SAMPLE_REFERENCE_H

#include "../cpu/sample.h"
#include "../sample_math.h"

#include <stdbool.h>
#include <stdlib.h>

enum { MAX_VOCAB = 20000 };

/* ---- The model: double precision, sorted ---- */

typedef struct {
	double p[MAX_VOCAB]; /* probability; 0 = filtered out or impossible */
	double z[MAX_VOCAB]; /* adjusted logit over temperature */
	double tolerance;    /* the error that float32 may cause in z */
	bool close;          /* a filter's edge is nearer than that, so that float32 may decide differently */
	bool empty;
	int32_t greedy;
	double greedy_margin; /* the distance to the greatest logit that differs */
} model;

static const double *sort_key;

static int by_key_descending(const void *a, const void *b) {
	const double x = sort_key[*(const int32_t *)a], y = sort_key[*(const int32_t *)b];
	return x < y ? 1 : x > y ? -1 : 0;
}

static inline void run_model(model *m, const fg_sampling *s, const float *logits, int32_t vocab, const uint32_t *mask,
                             int32_t position) {
	static double z[MAX_VOCAB];
	static int32_t order[MAX_VOCAB];
	double largest = 0;
	for (int32_t i = 0; i < vocab; i++) {
		z[i] = isnan(logits[i]) ? -INFINITY : (double)logits[i];
		if (mask && !(mask[i / 32] >> (i % 32) & 1)) z[i] = -INFINITY;
	}
	for (int32_t i = 0; i < s->n_bias; i++) z[s->bias_ids[i]] += (double)s->bias[i];
	for (int32_t i = 0; i < s->n_stop_ids; i++)
		if (position < s->min_context) z[s->stop_ids[i]] = -INFINITY;
	static int32_t outputs[MAX_VOCAB];
	static bool seen[MAX_VOCAB];
	memset(outputs, 0, sizeof outputs);
	memset(seen, 0, sizeof seen);
	for (int32_t i = 0; i < s->n_prompt + s->n_output; i++) {
		seen[s->history[i]] = true;
		outputs[s->history[i]] += i >= s->n_prompt;
	}
	for (int32_t i = 0; i < vocab; i++) {
		if (seen[i]) z[i] = z[i] > 0 ? z[i] / (double)s->repetition_penalty : z[i] * (double)s->repetition_penalty;
		z[i] -= (double)s->frequency_penalty * outputs[i] + (outputs[i] ? (double)s->presence_penalty : 0);
		if (isfinite(z[i]) && fabs(z[i]) > largest) largest = fabs(z[i]);
		order[i] = i;
	}
	sort_key = z;
	qsort(order, (size_t)vocab, sizeof *order, by_key_descending);
	const double zmax = z[order[0]];
	m->empty = zmax == -INFINITY;
	m->close = false;
	if (m->empty) return;
	m->greedy = vocab;
	m->greedy_margin = INFINITY;
	for (int32_t i = 0; i < vocab; i++) {
		if (z[i] == zmax && i < m->greedy) m->greedy = i;
		if (z[i] < zmax && zmax - z[i] < m->greedy_margin) m->greedy_margin = zmax - z[i];
	}
	const double t = s->temperature == 0 ? 1 : (double)s->temperature;
	m->tolerance = 4e-7 * (1 + largest) / t;
	m->greedy_margin -= 4e-7 * (1 + largest);
	for (int32_t i = 0; i < vocab; i++) m->z[i] = z[i] / t;
	const double top = zmax / t;

	int32_t kept = 0;
	while (kept < vocab && m->z[order[kept]] > -INFINITY) kept++;
	int32_t by_min_p = 0;
	while (by_min_p < kept && exp(m->z[order[by_min_p]] - top) >= (double)s->min_p * (1 - 1e-12)) by_min_p++;
	if (s->min_p > 0)
		for (int32_t i = 0; i < kept; i++)
			if (m->z[order[i]] != top && fabs(m->z[order[i]] - top - log((double)s->min_p)) < m->tolerance + 1e-6)
				m->close = true;
	kept = by_min_p;
	if (s->top_k > 0 && s->top_k < kept) {
		const double least = m->z[order[s->top_k - 1]];
		int32_t k = s->top_k;
		while (k < kept && m->z[order[k]] == least) k++;
		if (k < kept && least - m->z[order[k]] < m->tolerance) m->close = true;
		kept = k;
	}
	double total = 0;
	for (int32_t i = 0; i < kept; i++) total += exp(m->z[order[i]] - top);
	if (s->top_p < 1) {
		const double slack = total * (2 * m->tolerance + 1e-6) + kept * 0x1p-30;
		double sum = 0;
		int32_t k = 0;
		while (k < kept && sum < (double)s->top_p * total) {
			const double least = m->z[order[k]];
			while (k < kept && m->z[order[k]] == least) sum += exp(m->z[order[k++]] - top);
			if (fabs(sum - (double)s->top_p * total) < slack) m->close = true;
		}
		if (k < kept && m->z[order[k - 1]] - m->z[order[k]] < m->tolerance) m->close = true;
		kept = k;
	}
	total = 0;
	for (int32_t i = 0; i < kept; i++) total += exp(m->z[order[i]] - top);
	memset(m->p, 0, sizeof m->p);
	for (int32_t i = 0; i < kept; i++) m->p[order[i]] = exp(m->z[order[i]] - top) / total;
}

/* The Gumbel-max draw in double precision. -1 when the two best are too close to call in float32. */
static inline int32_t model_draw(const model *m, int32_t vocab, uint64_t seed, int32_t position) {
	double best = -INFINITY, second = -INFINITY;
	int32_t best_id = -1;
	for (int32_t i = 0; i < vocab; i++) {
		if (m->p[i] == 0) continue;
		uint32_t words[4];
		fg_philox(seed, (uint32_t)position, (uint32_t)i / 4, words);
		const double v = ((double)words[i % 4] + 0.5) * 0x1p-32;
		const double score = m->z[i] - log(-log1p(-v));
		if (score > best) {
			second = best;
			best = score;
			best_id = i;
		} else if (score > second) {
			second = score;
		}
	}
	return best - second < m->tolerance + 1e-5 ? -1 : best_id;
}

/* ---- The twin: sample_math.h to the letter ---- */

static int by_bits(const void *a, const void *b) {
	const uint32_t x = fg_as_bits(*(const float *)a), y = fg_as_bits(*(const float *)b);
	return (x > y) - (x < y);
}

/* Steps 1 to 8: the distances z, with temperature 0 as if it were 1, and the limit on them, which greedy has none of.
 * False where there is no token to sample. */
static inline bool twin_distances(const fg_sampling *s, const float *logits, int32_t vocab, const uint32_t *mask,
                                  int32_t position, float *z, float *limit) {
	static float sorted[MAX_VOCAB];
	for (int32_t i = 0; i < vocab; i++) z[i] = mask && !(mask[i / 32] >> (i % 32) & 1) ? -INFINITY : logits[i];
	for (int32_t i = 0; i < s->n_bias; i++) z[s->bias_ids[i]] += s->bias[i];
	for (int32_t i = 0; i < s->n_stop_ids; i++)
		if (position < s->min_context) z[s->stop_ids[i]] = -INFINITY;
	if (s->history) {
		static uint32_t outputs[MAX_VOCAB];
		static bool seen[MAX_VOCAB];
		memset(outputs, 0, sizeof outputs);
		memset(seen, 0, sizeof seen);
		for (int32_t i = 0; i < s->n_prompt + s->n_output; i++) {
			seen[s->history[i]] = true;
			outputs[s->history[i]] += i >= s->n_prompt;
		}
		for (int32_t i = 0; i < vocab; i++)
			if (seen[i])
				z[i] = fg_penalize(z[i], s->repetition_penalty, s->frequency_penalty, s->presence_penalty, outputs[i]);
	}
	float zmax = -INFINITY;
	for (int32_t i = 0; i < vocab; i++) {
		z[i] = fg_clean(z[i]);
		if (z[i] > zmax) zmax = z[i];
	}
	if (zmax == -INFINITY) return false;
	zmax += 0.0f; /* -0 becomes +0 */
	int32_t n = 0;
	for (int32_t i = 0; i < vocab; i++) {
		z[i] = fg_distance(zmax, z[i], s->temperature == 0 ? 1 : s->temperature);
		if (z[i] <= INFINITY) sorted[n++] = z[i];
	}
	*limit = INFINITY;
	if (s->temperature == 0) return true;
	qsort(sorted, (size_t)n, sizeof *sorted, by_bits);
	*limit = fg_min_p_limit(s->min_p);
	if (s->top_k > 0 && s->top_k <= n) *limit = fminf(*limit, sorted[s->top_k - 1]);
	if (s->top_p < 1) {
		uint64_t total = 0, sum = 0;
		for (int32_t i = 0; i < n && sorted[i] <= *limit; i++) total += fg_weight(sorted[i]);
		const uint64_t target = fg_top_p_target(s->top_p, total);
		int32_t i = 0;
		while ((sum += fg_weight(sorted[i])) < target) i++;
		*limit = sorted[i];
	}
	return true;
}

/* Step 10. */
static inline void twin_processed(const fg_sampling *s, const float *logits, int32_t vocab, const uint32_t *mask,
                                  int32_t position, float *processed) {
	static float z[MAX_VOCAB];
	float limit;
	const bool any = twin_distances(s, logits, vocab, mask, position, z, &limit);
	if (any && s->temperature != 0 && s->top_k > 0 && s->top_k < vocab) limit = fminf(limit, FG_TOP_K_REACH);
	for (int32_t i = 0; i < vocab; i++) processed[i] = any && z[i] <= limit ? -z[i] : -INFINITY;
}

static inline int32_t twin_sample(const fg_sampling *s, const float *logits, int32_t vocab, const uint32_t *mask,
                                  int32_t position) {
	static float z[MAX_VOCAB];
	float limit;
	if (!twin_distances(s, logits, vocab, mask, position, z, &limit)) return FG_NO_TOKEN;
	if (s->temperature == 0) {
		for (int32_t i = 0;; i++)
			if (z[i] == 0) return i;
	}
	float best = -INFINITY;
	int32_t best_id = FG_NO_TOKEN;
	for (int32_t i = 0; i < vocab; i++) {
		uint32_t words[4];
		fg_philox(s->seed, (uint32_t)position, (uint32_t)i / 4, words);
		const float score = fg_gumbel(words[i % 4]) - z[i];
		if (z[i] <= limit && score > best) {
			best = score;
			best_id = i;
		}
	}
	return best_id;
}

#endif
