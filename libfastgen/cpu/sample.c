/*
 * sample.c - one row of logits to one token. ../sample_math.h defines what is computed, this file how.
 *
 * The vocabulary is walked in chunks of CHUNK tokens. One pass finds the least distance of each chunk; all later passes
 * visit only the chunks that can hold what they look for: for most real distributions, these are few.
 */
#include "sample.h"

#include "../error.h"
#include "../sample_math.h"
#include "../sampling.h"
#include "chunk.h"

#include <stdbool.h>
#include <stdlib.h>

struct fg_sampler {
	int32_t vocab_size;
	fg_sampling params; /* its pointers are to the copies below, history is NULL */
	float min_p_limit;
	bool penalties;
	uint32_t *counts; /* [vocab_size] with penalties: times in the output, and IN_PROMPT */
	int32_t *seen;    /* [vocab_size] with penalties: the tokens whose counts are not 0, each once */
	int32_t n_seen;
	int32_t ids[]; /* stop_ids, then bias_ids, then bias */
};

#define IN_PROMPT 0x80000000u

/* ---- Penalty counts ---- */

static void count_token(fg_sampler *sampler, int32_t id, bool in_prompt) {
	if (sampler->counts[id] == 0) sampler->seen[sampler->n_seen++] = id;
	if (in_prompt) sampler->counts[id] |= IN_PROMPT;
	else sampler->counts[id]++;
}

/* ---- The sampler ---- */

fg_status fg_sampler_new(const fg_sampling *sampling, int32_t vocab_size, fg_sampler **sampler) {
	*sampler = NULL;
	fg_status status = fg_sampling_check(sampling, vocab_size);
	if (status != FG_OK) return status;

	const size_t n_stop = (size_t)sampling->n_stop_ids, n_bias = (size_t)sampling->n_bias;
	fg_sampler *made = calloc(1, sizeof *made + (n_stop + n_bias) * sizeof(int32_t) + n_bias * sizeof(float));
	if (!made) goto out_of_memory;
	made->vocab_size = vocab_size;
	made->min_p_limit = fg_min_p_limit(sampling->min_p);
	made->penalties = fg_sampling_penalizes(sampling);
	made->params = *sampling;
	made->params.history = NULL;
	made->params.stop_ids = made->ids;
	made->params.bias_ids = made->ids + n_stop;
	made->params.bias = (const float *)(made->ids + n_stop + n_bias);
	if (n_stop > 0) memcpy(made->ids, sampling->stop_ids, n_stop * sizeof(int32_t));
	if (n_bias > 0) {
		memcpy(made->ids + n_stop, sampling->bias_ids, n_bias * sizeof(int32_t));
		memcpy(made->ids + n_stop + n_bias, sampling->bias, n_bias * sizeof(float));
	}
	if (made->penalties) {
		made->counts = calloc((size_t)vocab_size, sizeof *made->counts);
		made->seen = malloc((size_t)vocab_size * sizeof *made->seen);
		if (!made->counts || !made->seen) goto out_of_memory;
		for (int64_t i = 0; i < (int64_t)sampling->n_prompt + sampling->n_output; i++)
			count_token(made, sampling->history[i], i < sampling->n_prompt);
	}
	*sampler = made;
	return FG_OK;

out_of_memory:
	fg_sampler_free(made);
	return fg_fail(FG_OUT_OF_MEMORY, "out of host memory for the sampling state of a slot: lower max_seqs");
}

void fg_sampler_free(fg_sampler *sampler) {
	if (!sampler) return;
	free(sampler->counts);
	free(sampler->seen);
	free(sampler);
}

/* Steps 1 to 4 of sample_math.h. Returns `logits` where they change nothing, else a copy in `z`. */
FG_INLINE const float *adjust(const fg_sampler *sampler, const float *logits, const uint32_t *mask, int32_t position,
                              float *z) {
	const fg_sampling *s = &sampler->params;
	const int32_t vocab_size = sampler->vocab_size;
	const bool hold_stops = s->n_stop_ids > 0 && position < s->min_context;
	if (!mask && s->n_bias == 0 && !hold_stops && sampler->n_seen == 0) return logits;

	if (mask) {
		int32_t i = 0;
		for (; i + 32 <= vocab_size; i += 32)
			for (int32_t j = 0; j < 32; j++) z[i + j] = mask[i / 32] >> j & 1 ? logits[i + j] : -INFINITY;
		for (; i < vocab_size; i++) z[i] = mask[i / 32] >> (i % 32) & 1 ? logits[i] : -INFINITY;
	} else {
		memcpy(z, logits, (size_t)vocab_size * sizeof(float));
	}
	for (int32_t i = 0; i < s->n_bias; i++) z[s->bias_ids[i]] += s->bias[i];
	if (hold_stops)
		for (int32_t i = 0; i < s->n_stop_ids; i++) z[s->stop_ids[i]] = -INFINITY;
	for (int32_t i = 0; i < sampler->n_seen; i++) {
		const int32_t id = sampler->seen[i];
		z[id] = fg_penalize(z[id], s->repetition_penalty, s->frequency_penalty, s->presence_penalty,
		                    sampler->counts[id] & ~IN_PROMPT);
	}
	return z;
}

/* ---- Filters ---- */

typedef struct {
	const float *z;       /* [vocab_size]: adjusted logits */
	const float *nearest; /* [n_chunks]: the least distance in each chunk; inf where nothing can be sampled */
	int32_t vocab_size;
	int32_t n_chunks;
	float zmax;
	float temperature;
	uint32_t *keys;    /* [vocab_size]: scratch, distances as ordered integers */
	uint32_t *weights; /* [vocab_size]: scratch */
} row;

FG_INLINE void load_distances(const row *r, int32_t chunk, float d[CHUNK]) {
	load_chunk(r->z, r->vocab_size, chunk, d);
	for (int j = 0; j < CHUNK; j++) d[j] = fg_distance(r->zmax, d[j], r->temperature);
}

/* Gathers every token with d <= limit into r->keys (and r->weights); returns how many. */
FG_INLINE int32_t gather(const row *r, float limit, bool weigh) {
	int32_t n = 0;
	float d[CHUNK];
	for (int32_t c = 0; c < r->n_chunks; c++) {
		if (!(r->nearest[c] <= limit)) continue;
		load_distances(r, c, d);
		const int32_t width = chunk_width(r->vocab_size, c);
		for (int32_t j = 0; j < width; j++) {
			r->keys[n] = fg_as_bits(d[j]);
			n += d[j] <= limit;
		}
	}
	if (weigh)
		for (int32_t i = 0; i < n; i++) r->weights[i] = fg_weight(fg_as_float(r->keys[i]));
	return n;
}

/* The least key such that the weights of the keys up to it reach `target`. Without `weights` each weighs 1. `target`
 * must be at most the sum of all weights. Radix selection, 8 bits at a time; reorders both arrays. */
static uint32_t select_key(uint32_t *keys, uint32_t *weights, int32_t n, uint64_t target) {
	uint32_t prefix = 0;
	for (int shift = 24; shift >= 0; shift -= 8) {
		uint64_t sums[256] = {0};
		for (int32_t i = 0; i < n; i++) sums[keys[i] >> shift & 255] += weights ? weights[i] : 1;
		uint32_t digit = 0;
		while (digit < 255 && sums[digit] < target) target -= sums[digit++];
		prefix |= digit << shift;
		int32_t kept = 0;
		for (int32_t i = 0; i < n; i++) {
			if ((keys[i] >> shift & 255) != digit) continue;
			keys[kept] = keys[i];
			if (weights) weights[kept] = weights[i];
			kept++;
		}
		n = kept;
		if (n == 1) return keys[0];
	}
	return prefix;
}

/* The limit on d after top_k, given the one so far. */
FG_INLINE float limit_top_k(const row *r, int32_t top_k, float limit) {
	/* The top_k nearest chunks hold at least one token each within the top_k-th of their least distances. */
	float bound = INFINITY;
	if (top_k <= r->n_chunks) {
		memcpy(r->keys, r->nearest, (size_t)r->n_chunks * sizeof(float));
		bound = fg_as_float(select_key(r->keys, NULL, r->n_chunks, (uint64_t)top_k));
	}
	const int32_t n = gather(r, fminf(bound, limit), false);
	if (n < top_k) return limit;
	return fminf(limit, fg_as_float(select_key(r->keys, NULL, n, (uint64_t)top_k)));
}

/* The limit on d after top_p, given the one so far. */
FG_INLINE float limit_top_p(const row *r, float top_p, float limit) {
	limit = fminf(limit, FG_WEIGHT_LIMIT); /* tokens beyond it weigh nothing, so top_p never keeps them */
	uint64_t total = 0;
	float d[CHUNK];
	uint32_t weight[CHUNK];
	for (int32_t c = 0; c < r->n_chunks; c++) {
		if (!(r->nearest[c] <= limit)) continue;
		load_distances(r, c, d);
		for (int j = 0; j < CHUNK; j++) weight[j] = fg_weight(d[j]);
		for (int j = 0; j < CHUNK; j++) total += d[j] <= limit ? weight[j] : 0;
	}
	const uint64_t target = fg_top_p_target(top_p, total);
	/* The likeliest tokens usually suffice: exp(-8) is 1/3000 of the greatest probability. */
	for (float bound = fminf(limit, 8.0f);; bound = limit) {
		const int32_t n = gather(r, bound, true);
		uint64_t sum = 0;
		for (int32_t i = 0; i < n; i++) sum += r->weights[i];
		if (sum >= target) return fg_as_float(select_key(r->keys, r->weights, n, target));
	}
}

/* ---- The draw ---- */

/* The random words of one chunk's tokens: fg_philox, all blocks side by side. */
FG_INLINE void random_chunk(uint64_t seed, uint32_t position, int32_t chunk, uint32_t random[CHUNK]) {
	enum { BLOCKS = CHUNK / 4 };
	uint32_t c0[BLOCKS], c1[BLOCKS], c2[BLOCKS], c3[BLOCKS];
#pragma GCC unroll 1
	for (int j = 0; j < BLOCKS; j++) {
		c0[j] = (uint32_t)(chunk * BLOCKS + j);
		c1[j] = position;
		c2[j] = c3[j] = 0;
	}
	uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
#pragma GCC unroll 10
	for (int round = 0; round < 10; round++) {
#pragma GCC unroll 1
		for (int j = 0; j < BLOCKS; j++) {
			const uint32_t a_high = (uint32_t)((uint64_t)c0[j] * 0xD2511F53u >> 32), a_low = c0[j] * 0xD2511F53u;
			const uint32_t b_high = (uint32_t)((uint64_t)c2[j] * 0xCD9E8D57u >> 32), b_low = c2[j] * 0xCD9E8D57u;
			c0[j] = b_high ^ c1[j] ^ k0;
			c1[j] = b_low;
			c2[j] = a_high ^ c3[j] ^ k1;
			c3[j] = a_low;
		}
		k0 += 0x9E3779B9u;
		k1 += 0xBB67AE85u;
	}
#pragma GCC unroll 1
	for (int j = 0; j < BLOCKS; j++) {
		random[4 * j] = c0[j];
		random[4 * j + 1] = c1[j];
		random[4 * j + 2] = c2[j];
		random[4 * j + 3] = c3[j];
	}
}

FG_INLINE int32_t draw(const row *r, int32_t first_chunk, float limit, uint64_t seed, uint32_t position) {
	float best = -INFINITY;
	int32_t best_id = FG_NO_TOKEN;
	float d[CHUNK], score[CHUNK];
	uint32_t random[CHUNK];
	/* The chunk of the likeliest token first: a good score early rules out most other chunks unseen. */
	for (int32_t i = -1; i < r->n_chunks; i++) {
		const int32_t c = i < 0 ? first_chunk : i;
		if (i == first_chunk || !(r->nearest[c] <= limit) || FG_GUMBEL_MAX - r->nearest[c] < best) continue;
		load_distances(r, c, d);
		random_chunk(seed, position, c, random);
		for (int j = 0; j < CHUNK; j++) score[j] = fg_gumbel(random[j]) - d[j];
		for (int j = 0; j < CHUNK; j++) score[j] = d[j] <= limit ? score[j] : -INFINITY;
		const float top = max_of_chunk(score);
		if (!(top >= best) || top == -INFINITY) continue;
		int32_t id = c * CHUNK;
		while (score[id - c * CHUNK] != top) id++;
		if (top > best || id < best_id) {
			best = top;
			best_id = id;
		}
	}
	return best_id;
}

/* The arrays that lie in the scratch, each [n_chunks * CHUNK], the size that keeps the next one aligned. */
enum { Z, NEAREST, KEYS, WEIGHTS, PROCESSED, N_ARRAYS };

FG_INLINE float *scratch_array(void *scratch, int32_t vocab_size, int which) {
	return (float *)scratch + (size_t)which * (size_t)chunk_count(vocab_size) * CHUNK;
}

/* Steps 1 to 6 of sample_math.h. `nearest` becomes the greatest logit of each chunk. */
FG_INLINE row begin_row(const fg_sampler *sampler, const float *logits, const uint32_t *mask, int32_t position,
                        void *scratch, float **nearest) {
	const int32_t vocab_size = sampler->vocab_size;
	*nearest = scratch_array(scratch, vocab_size, NEAREST);
	row r = {.nearest = *nearest,
	         .vocab_size = vocab_size,
	         .n_chunks = chunk_count(vocab_size),
	         .temperature = sampler->params.temperature,
	         .keys = (uint32_t *)scratch_array(scratch, vocab_size, KEYS),
	         .weights = (uint32_t *)scratch_array(scratch, vocab_size, WEIGHTS)};
	r.z = adjust(sampler, logits, mask, position, scratch_array(scratch, vocab_size, Z));
	r.zmax = chunk_maxima(r.z, vocab_size, *nearest) + 0.0f; /* never -0, so that no distance is -0 */
	return r;
}

/* Steps 7 and 8: turns `nearest` into distances, and returns the limit on d. */
FG_INLINE float filter(const fg_sampler *sampler, const row *r, float *nearest) {
	const fg_sampling *s = &sampler->params;
	for (int32_t c = 0; c < r->n_chunks; c++) nearest[c] = fg_distance(r->zmax, nearest[c], s->temperature);
	float limit = sampler->min_p_limit;
	if (s->top_k > 0 && s->top_k < r->vocab_size) limit = limit_top_k(r, s->top_k, limit);
	if (s->top_p < 1) limit = limit_top_p(r, s->top_p, limit);
	return limit;
}

FG_INLINE int32_t sample(const fg_sampler *sampler, const float *logits, const uint32_t *mask, int32_t position,
                         int32_t *greatest, void *scratch) {
	float *nearest;
	const row r = begin_row(sampler, logits, mask, position, scratch, &nearest);
	if (r.zmax == -INFINITY) return FG_NO_TOKEN;
	int32_t first_chunk = 0;
	while (nearest[first_chunk] != r.zmax) first_chunk++;
	int32_t id = first_chunk * CHUNK;
	while (!(fg_clean(r.z[id]) == r.zmax)) id++;
	*greatest = id;
	if (r.temperature == 0) return id;
	const float limit = filter(sampler, &r, nearest);
	return draw(&r, first_chunk, limit, sampler->params.seed, (uint32_t)position);
}

FG_SIMD static int32_t sample_simd(const fg_sampler *sampler, const float *logits, const uint32_t *mask,
                                   int32_t position, int32_t *greatest, void *scratch) {
	return sample(sampler, logits, mask, position, greatest, scratch);
}

/* Step 10. Writes [n_chunks * CHUNK]. */
FG_INLINE void process(const fg_sampler *sampler, const float *logits, const uint32_t *mask, int32_t position,
                       float *processed, void *scratch) {
	const fg_sampling *s = &sampler->params;
	float *nearest;
	row r = begin_row(sampler, logits, mask, position, scratch, &nearest);
	float limit = INFINITY;
	if (r.zmax == -INFINITY) limit = -INFINITY;
	else if (s->temperature == 0) r.temperature = 1;
	else {
		limit = filter(sampler, &r, nearest);
		if (s->top_k > 0 && s->top_k < r.vocab_size) limit = fminf(limit, FG_TOP_K_REACH);
	}
	for (int32_t c = 0; c < r.n_chunks; c++) {
		float d[CHUNK];
		load_distances(&r, c, d);
		for (int j = 0; j < CHUNK; j++) processed[c * CHUNK + j] = d[j] <= limit ? -d[j] : -INFINITY;
	}
}

FG_SIMD static void process_simd(const fg_sampler *sampler, const float *logits, const uint32_t *mask, int32_t position,
                                 float *processed, void *scratch) {
	process(sampler, logits, mask, position, processed, scratch);
}

const float *fg_sampler_reported(const fg_sampler *sampler, const float *logits, const uint32_t *mask, int32_t position,
                                 void *scratch) {
	if (sampler->params.logprobs_mode == FG_RAW_LOGPROBS) return logits;
	float *processed = scratch_array(scratch, sampler->vocab_size, PROCESSED);
	process_simd(sampler, logits, mask, position, processed, scratch);
	return processed;
}

size_t fg_sample_scratch_bytes(int32_t vocab_size) {
	return (size_t)chunk_count(vocab_size) * CHUNK * N_ARRAYS * sizeof(float);
}

int32_t fg_sampler_sample(fg_sampler *sampler, const float *logits, const uint32_t *mask, int32_t position,
                          void *scratch) {
	int32_t greatest;
	const int32_t id = sample_simd(sampler, logits, mask, position, &greatest, scratch);
	if (id >= 0) fg_sampler_count(sampler, id);
	return id;
}

int32_t fg_sampler_foresee(const fg_sampler *sampler, const float *logits, int32_t position, int32_t *greatest,
                           void *scratch) {
	/* A mask that leaves the greatest logit leaves all distances as they are, and so what min_p keeps. What top_k and
	 * top_p keep depends on the others too. */
	const fg_sampling *s = &sampler->params;
	const bool top_k = s->top_k > 0 && s->top_k < sampler->vocab_size;
	if (s->temperature != 0 && (top_k || s->top_p < 1)) return FG_NO_TOKEN;
	return sample_simd(sampler, logits, NULL, position, greatest, scratch);
}

void fg_sampler_count(fg_sampler *sampler, int32_t id) {
	if (sampler->penalties) count_token(sampler, id, false);
}
