/*
 * sample_math.h - the arithmetic of sampling, defined to the bit and shared by both libraries.
 *
 * One row, logits z[vocab], in this order; every step is float32, rounded to nearest, subnormals kept:
 *
 *   1. Allowed-token mask: z = -inf where not allowed.
 *   2. Logit bias: z += bias, entry after entry, so that an id that is given twice gets both.
 *   3. Stop ids: z = -inf where position < min_context.
 *   4. fg_penalize() once for each distinct token in prompt or output.
 *   5. fg_clean().
 *   6. zmax = max z, ignoring NaN; +0 when it is a zero. When zmax is -inf there is no token to sample.
 *      Greedy (temperature 0): the lowest id with z == zmax. Else:
 *   7. fg_distance(): d = (zmax - z) / temperature. d >= 0, the likeliest token has d = 0, and exp(-d) is a token's
 *      probability relative to it. As d >= 0, the bits of d order as unsigned integers. A NaN logit has d = NaN, which
 *      fails every `d <= limit` and so is never kept; -inf has d = inf.
 *   8. Filters: each is an upper limit on d, and all that is kept is d <= limit. So ties with the last kept token stay,
 *      nothing needs sorting, and the limits compose by taking the least:
 *        min_p  limit = fg_min_p_limit(min_p)
 *        top_k  limit = the top_k-th smallest d of the row, NaN left out, each of several equal ones counted. Applies
 *               where 0 < top_k < vocab and the row has that many.
 *        top_p  over the tokens kept so far: limit = the least d such that the sum of fg_weight over those up to d
 *               reaches fg_top_p_target(top_p, sum over all kept). Applies where top_p < 1. Weights are integers, so
 *               the sums are exact in any order.
 *   9. Draw: the kept token with the greatest score fg_gumbel(random word) - d, the lowest id of equals. The random
 *      word of token i is word i % 4 of fg_philox(seed, position, i / 4). A token whose d is inf never wins.
 *   The drawn token counts as output from then on.
 *
 * Processed log probabilities, from what was counted before the draw:
 *
 *  10. Processed logits: -d of each kept token, -inf of all others. With temperature 0, steps 7 and 8 are done as if it
 *      were 1 and no filter were on. With 0 < top_k < vocab, tokens with d > FG_TOP_K_REACH count as left out, so that
 *      nobody has to look for the top_k-th among them. Their probability is below 1e-13.
 *  11. log_softmax of these.
 *
 * `position` is where the token goes, from the start of the sequence. test/sample_reference.h has all this as plain
 * code (twin_sample).
 *
 * Nothing here may be reassociated or fused differently: where a multiplication meets an addition, either fmaf()
 * says that they fuse, or the product is exact, so that a compiler that contracts changes nothing. CUDA: compile
 * without --use_fast_math, -ftz, -prec-div=false; -fmad does not matter.
 */
#ifndef FG_SAMPLE_MATH_H
#define FG_SAMPLE_MATH_H

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef __CUDACC__
#define FG_FN static __host__ __device__ __forceinline__
#else
#define FG_FN static inline __attribute__((always_inline))
#endif

/* No draw of fg_gumbel is greater: -log(2^-33) = 22.874. */
#define FG_GUMBEL_MAX 22.875f
/* fg_weight is 0 for each d above this: 2^30 exp(-d) < 1/2 from 31 log 2 = 21.49 on. */
#define FG_WEIGHT_LIMIT 22.0f

/* Beyond this d, just below 32, no token can be drawn: it scores below FG_GUMBEL_MAX - 32, and the likeliest one above
 * -3. */
#define FG_TOP_K_REACH 0x1.fffffep4f

FG_FN uint32_t fg_as_bits(float x) {
	uint32_t bits;
	memcpy(&bits, &x, sizeof bits);
	return bits;
}

FG_FN float fg_as_float(uint32_t bits) {
	float x;
	memcpy(&x, &bits, sizeof x);
	return x;
}

/* +inf becomes FLT_MAX, so that differences of logits stay defined; NaN stays NaN. */
FG_FN float fg_clean(float logit) {
	return logit > FLT_MAX ? FLT_MAX : logit;
}

/* Repetition penalty (CTRL, arXiv:1909.05858), then frequency and presence penalties (OpenAI) of a token that is in the
 * prompt or the output, `n_output` times in the output. */
FG_FN float fg_penalize(float logit, float repetition, float frequency, float presence, uint32_t n_output) {
	/* fmaf(x, y, 0) is x * y that cannot fuse with a subtraction after it. */
	logit = logit > 0 ? logit / repetition : fmaf(logit, repetition, 0.0f);
	return n_output == 0 ? logit : fmaf(-frequency, (float)n_output, logit) - presence;
}

FG_FN float fg_distance(float zmax, float logit, float temperature) {
	return (zmax - logit) / temperature;
}

/* exp(-d) >= min_p means d <= -log(min_p). Computed once, on the host. */
static inline float fg_min_p_limit(float min_p) {
	return min_p > 0 ? fabsf((float)log((double)min_p)) : INFINITY;
}

/* exp(-d) for d >= 0, within 1 ulp, exactly 1 at 0; d >= 87 and NaN give exp(-87), about 1.6e-38. Range reduction
 * by multiples of log 2 and a minimax polynomial. */
FG_FN float fg_exp_neg(float d) {
	const float shift = 12582912.0f; /* 1.5 * 2^23: adding it leaves the nearest integer in the low bits */
	float x = d < 87.0f ? -d : -87.0f;
	float shifted = fmaf(x, 1.44269504f, shift);
	float n = shifted - shift;
	float r = fmaf(n, -0.693145752f, x); /* log 2 in two parts, the first exact in 15 bits */
	r = fmaf(n, -1.42860677e-6f, r);
	float p = fmaf(0.00138145965f, r, 0.00836871751f);
	p = fmaf(p, r, 0.0416683890f);
	p = fmaf(p, r, 0.166665211f);
	p = fmaf(p, r, 0.499999940f);
	p = fmaf(p * r, r, r) + 1.0f;
	return fg_as_float(fg_as_bits(p) + (fg_as_bits(shifted) << 23)); /* times 2^n */
}

/* log(x) for positive normal x, within 1 ulp: x = m 2^e with m in [sqrt(1/2), sqrt 2), and a minimax polynomial. */
FG_FN float fg_log(float x) {
	int32_t e = (int32_t)(fg_as_bits(x) - 0x3f3504f3u) >> 23;
	float f = fg_as_float(fg_as_bits(x) - ((uint32_t)e << 23)) - 1.0f;
	float p = fmaf(-0.0763442963f, f, 0.127615496f);
	p = fmaf(p, f, -0.131601945f);
	p = fmaf(p, f, 0.142017618f);
	p = fmaf(p, f, -0.166233569f);
	p = fmaf(p, f, 0.200012267f);
	p = fmaf(p, f, -0.250008225f);
	p = fmaf(p, f, 0.333333313f);
	float f2 = f * f;
	p = fmaf(p * f, f2, (float)e * 1.42860677e-6f);
	p = fmaf(-0.5f, f2, p);
	return fmaf((float)e, 0.693145752f, f + p);
}

/* A standard Gumbel number, -log(-log(1 - v)), from 32 random bits: v = (bits + 1/2) / 2^32 in float32. Large `bits`
 * are reduced by up to 255, which is less than v's rounding and keeps v below 1. v runs from 2^-33 to 1 - 2^-24: draws
 * with a small v win, and float32 is densest there. The result lies in [-2.82, FG_GUMBEL_MAX]. */
FG_FN float fg_gumbel(uint32_t bits) {
	float v = ((float)(bits - (bits >> 24)) + 0.5f) * 0x1p-32f;
	float u = 1.0f - v;
	float lost = (1.0f - u) - v; /* what rounding took from u, exactly: log(1 - v) = log(u) + lost / u */
	float exponential = -(fg_log(u) + lost / u);
	return -fg_log(exponential);
}

/* The weight exp(-d) in units of 2^-30, for d >= 0. */
FG_FN uint32_t fg_weight(float d) {
	return (uint32_t)(int32_t)(fg_exp_neg(d) * 0x1p30f + 0.5f);
}

/* The weight that the tokens kept by top_p must reach, out of `total`. At least 1, at most total. */
FG_FN uint64_t fg_top_p_target(float top_p, uint64_t total) {
	uint64_t target = (uint64_t)ceil((double)top_p * (double)total);
	return target < 1 ? 1 : target < total ? target : total;
}

/* Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): key = seed, counter =
 * (block, position, 0, 0), low words first. */
FG_FN void fg_philox(uint64_t seed, uint32_t position, uint32_t block, uint32_t out[4]) {
	uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
	uint32_t c0 = block, c1 = position, c2 = 0, c3 = 0;
	for (int round = 0; round < 10; round++) {
		uint64_t a = (uint64_t)0xD2511F53u * c0, b = (uint64_t)0xCD9E8D57u * c2;
		c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
		c1 = (uint32_t)b;
		c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
		c3 = (uint32_t)a;
		k0 += 0x9E3779B9u;
		k1 += 0xBB67AE85u;
	}
	out[0] = c0;
	out[1] = c1;
	out[2] = c2;
	out[3] = c3;
}

#endif
