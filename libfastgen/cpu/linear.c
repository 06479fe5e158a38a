/*
 * linear.c - y[t][r] = sum over k of x[t][k] * w[r][k].
 *
 * Weights are read in place, row-major, so each output is a dot product: LANES partial sums (of every LANES-th product,
 * in order of k), folded at the end. Every tile sums in this way, so an output does not depend on the tile it falls
 * in.
 *
 * FP8 weights are widened as they are read, or, for more than one tile of tokens, into scratch first. x then holds FP8
 * values too, in its own format. The scales multiply the finished sums (FG_ROWS), or the sums over 128 values of k
 * (FG_BLOCKS).
 */
#include "formats.h"

/* Register tile: accumulators for 4 weight rows by up to TILE_TOKENS tokens, and the operands beside them. */
#define TILE_ROWS 4
#if LANES == 16
#define TILE_TOKENS 6
#elif LANES == 8
#define TILE_TOKENS 3
#else
#define TILE_TOKENS 2
#endif

#define UNROLL _Pragma("GCC unroll 8")

/* One step of k for a tile, over LANES values (bf16 dot products: 2 * LANES), or `left` of them at the end. Lanes past
 * the end are 0 in both operands. */
INLINE void accumulate(vf acc[TILE_ROWS][TILE_TOKENS], const char *w, const char *x, size_t k_size, size_t k,
                       const int R, const int T, const int32_t w_dtype, const fg_x_format format, const int left) {
	size_t w_bytes = dtype_bytes(w_dtype);
#if defined(__AVX512BF16__)
	if (format == FG_X_BF16) {
		__mmask32 mask = left ? ~0u >> (32 - left) : ~0u;
		__m512bh xv[TILE_TOKENS];
		UNROLL for (int t = 0; t < T; t++) {
			const char *p = x + ((size_t)t * k_size + k) * 2;
			xv[t] = (__m512bh)(left ? _mm512_maskz_loadu_epi16(mask, p) : _mm512_loadu_si512(p));
		}
		UNROLL for (int r = 0; r < R; r++) {
			const char *p = w + ((size_t)r * k_size + k) * w_bytes;
			__m512bh wv;
			if (w_dtype == FG_FP8_E4M3) {
				wv = (__m512bh)bf16_from_e4m3(left ? _mm256_maskz_loadu_epi8(mask, p)
				                                   : _mm256_loadu_si256((const void *)p));
			} else {
				wv = (__m512bh)(left ? _mm512_maskz_loadu_epi16(mask, p) : _mm512_loadu_si512(p));
			}
			UNROLL for (int t = 0; t < T; t++) acc[r][t] = _mm512_dpbf16_ps(acc[r][t], wv, xv[t]);
		}
		return;
	}
#endif
	(void)format;
	vf xv[TILE_TOKENS];
	UNROLL for (int t = 0; t < T; t++) {
		const char *p = x + (size_t)t * k_size * 4;
		xv[t] = left ? vf_read_some(p, FG_F32, k, left) : vf_read(p, FG_F32, k);
	}
	UNROLL for (int r = 0; r < R; r++) {
		const char *p = w + (size_t)r * k_size * w_bytes;
		vf wv = left ? vf_read_some(p, w_dtype, k, left) : vf_read(p, w_dtype, k);
		UNROLL for (int t = 0; t < T; t++) acc[r][t] = vf_fma(wv, xv[t], acc[r][t]);
	}
}

/* How far ahead of their use weights are prefetched into the second-level cache, in bytes. Without prefetching, four
 * rows side by side stream at a third of the speed. A core drops prefetches while its queue of misses is full. So with
 * one tile of tokens, when a core does little else, each line is asked for four times, each time a little nearer:
 * asked for once, weights arrive at two thirds of the speed. With several tiles of tokens it is best to ask once in
 * each of the first two. */
#define AHEAD 16384

/* Sums of a tile over k in [from, to), `from` a multiple of the step. R (1 or TILE_ROWS), T, w_dtype, format and fetch
 * (times to ask for each line ahead) are constants where it is inlined, in what follows too. */
INLINE void sum_range(vf acc[TILE_ROWS][TILE_TOKENS], const fg_linear_args *a, int row, int token, size_t from,
                      size_t to, const int R, const int T, const int32_t w_dtype, const fg_x_format format,
                      const int fetch) {
	const size_t k_size = (size_t)a->k, w_bytes = dtype_bytes(w_dtype), x_bytes = format == FG_X_BF16 ? 2 : 4;
	const size_t step = format == FG_X_BF16 ? 2 * LANES : LANES;
	const char *w = (const char *)a->w + (size_t)row * k_size * w_bytes;
	const char *x = (const char *)a->x + (size_t)token * k_size * x_bytes;
	UNROLL for (int r = 0; r < R; r++) {
		UNROLL for (int t = 0; t < T; t++) acc[r][t] = (vf){0};
	}
	const int wanted = (int)(step * w_bytes) * fetch, times = wanted < 64 ? 1 : wanted / 64; /* in one step, per row */
	size_t k = from;
	for (; k + step <= to; k += step) {
		if (fetch) {
			UNROLL for (int r = 0; r < R; r++) {
				const char *p = w + ((size_t)r * k_size + k) * w_bytes + AHEAD;
				UNROLL for (int i = 0; i < times; i++) __builtin_prefetch(p - i * 64, 0, 2);
			}
		}
		accumulate(acc, w, x, k_size, k, R, T, w_dtype, format, 0);
	}
	if (k < to) accumulate(acc, w, x, k_size, k, R, T, w_dtype, format, (int)(to - k));
}

/* Folds the sums of a tile and writes its outputs. */
INLINE void write_tile(vf acc[TILE_ROWS][TILE_TOKENS], const fg_linear_args *a, int row, int token, const int R,
                       const int T, const fg_scaling scaling) {
	vf4 w_scale = {1, 1, 1, 1};
	if (scaling == FG_ROWS) __builtin_memcpy(&w_scale, a->w_scale + row, R * sizeof(float));
	UNROLL for (int t = 0; t < T; t++) {
		float *y = a->y + (size_t)(token + t) * a->y_stride + row;
		vf4 old = {0},
			sum = R == TILE_ROWS ? vf_sum4(acc[0][t], acc[1][t], acc[2][t], acc[3][t]) : (vf4){vf_sum(acc[0][t])};
		if (scaling == FG_ROWS) sum *= w_scale * a->x_scale[token + t];
		if (a->add) __builtin_memcpy(&old, y, R * sizeof(float));
		sum += old;
		__builtin_memcpy(y, &sum, R * sizeof(float));
	}
}

INLINE void tile(const fg_linear_args *a, int row, int token, const int R, const int T, const int32_t w_dtype,
                 const fg_x_format format, const fg_scaling scaling, const int fetch) {
	vf total[TILE_ROWS][TILE_TOKENS], acc[TILE_ROWS][TILE_TOKENS];
	if (scaling != FG_BLOCKS) {
		sum_range(acc, a, row, token, 0, (size_t)a->k, R, T, w_dtype, format, fetch);
		write_tile(acc, a, row, token, R, T, scaling);
		return;
	}
	const size_t k_size = (size_t)a->k, n_blocks = (k_size + FG_SCALE_BLOCK - 1) / FG_SCALE_BLOCK;
	const float *x_scale = a->x_scale + (size_t)token * n_blocks, *w_scale[TILE_ROWS];
	UNROLL for (int r = 0; r < R; r++) {
		w_scale[r] = a->w_scale + (size_t)((a->block_row + row + r) / FG_SCALE_BLOCK) * n_blocks;
		UNROLL for (int t = 0; t < T; t++) total[r][t] = (vf){0};
	}
	for (size_t b = 0; b < n_blocks; b++) {
		size_t from = b * FG_SCALE_BLOCK, to = from + FG_SCALE_BLOCK < k_size ? from + FG_SCALE_BLOCK : k_size;
		sum_range(acc, a, row, token, from, to, R, T, w_dtype, format, fetch);
		UNROLL for (int r = 0; r < R; r++) {
			vf scale = vf_set(w_scale[r][b]);
			UNROLL for (int t = 0; t < T; t++) {
				total[r][t] = vf_fma(acc[r][t], scale * vf_set(x_scale[(size_t)t * n_blocks + b]), total[r][t]);
			}
		}
	}
	write_tile(total, a, row, token, R, T, FG_BLOCKS);
}

/* Tokens of a tile. By block there is a second set of accumulators. */
#define TOKENS_OF(scaling) ((scaling) == FG_BLOCKS ? (TILE_TOKENS + 1) / 2 : TILE_TOKENS)

/* 1 to TOKENS_OF(scaling) tokens with TILE_ROWS rows. */
INLINE void row_tile(const fg_linear_args *a, int row, int token, int n, const int32_t w_dtype,
                     const fg_x_format format, const fg_scaling scaling, const int fetch) {
#define CASE(n)                                                                                                        \
	case n:                                                                                                            \
		if (n <= TOKENS_OF(scaling)) tile(a, row, token, TILE_ROWS, n, w_dtype, format, scaling, fetch);               \
		break
	switch (n) {
#if TILE_TOKENS >= 6
		CASE(6);
		CASE(5);
		CASE(4);
#endif
#if TILE_TOKENS >= 3
		CASE(3);
#endif
		CASE(2);
		CASE(1);
	}
#undef CASE
}

/* Widens TILE_ROWS rows of FP8 weights into scratch, in the format of x, which holds them exactly. */
INLINE void widen_rows(const fg_linear_args *a, int row, const fg_x_format format) {
	const size_t k_size = (size_t)a->k;
	for (size_t r = 0; r < TILE_ROWS; r++) {
		const char *w = (const char *)a->w + ((size_t)row + r) * k_size;
		size_t k = 0;
#if defined(__AVX512BF16__)
		for (; format == FG_X_BF16 && k + 32 <= k_size; k += 32) {
			__builtin_prefetch(w + k + AHEAD, 0, 2);
			_mm512_storeu_si512((char *)a->scratch + (r * k_size + k) * 2,
			                    bf16_from_e4m3(_mm256_loadu_si256((const void *)(w + k))));
		}
#endif
		for (; format != FG_X_BF16 && k + LANES <= k_size; k += LANES) {
			__builtin_prefetch(w + k + AHEAD, 0, 2);
			vf_write(a->scratch, FG_F32, r * k_size + k, vf_from_e4m3(w + k));
		}
		for (; k < k_size; k++) {
			fg_write(a->scratch, format == FG_X_BF16 ? FG_BF16 : FG_F32, r * k_size + k, fg_from_e4m3((uint8_t)w[k]));
		}
	}
}

/* The same product, from row `row` on, with the weights in scratch. */
INLINE fg_linear_args from_scratch(const fg_linear_args *a, int row) {
	fg_linear_args b = *a;
	b.w = a->scratch;
	b.y += row;
	b.block_row += row;
	if (a->scaling == FG_ROWS) b.w_scale += row;
	return b;
}

/* The tiles of TILE_ROWS rows. The first tokens of each fetch the next rows. */
INLINE void token_tiles(const fg_linear_args *a, int row, const int32_t w_dtype, const fg_x_format format,
                        const fg_scaling scaling) {
	const int most = TOKENS_OF(scaling);
	int left = a->n_tokens;
	for (int token = 0; left; left = a->n_tokens - token) {
		int n_tiles = (left + most - 1) / most, n = (left + n_tiles - 1) / n_tiles; /* even ones */
		if (n == a->n_tokens) row_tile(a, row, 0, n, w_dtype, format, scaling, 4);
		else if (token <= most) row_tile(a, row, token, n, w_dtype, format, scaling, 1);
		else row_tile(a, row, token, n, w_dtype, format, scaling, 0);
		token += n;
	}
}

/* All tiles for one pair of formats. Rows outside, tokens inside: a tile's weight rows stay in the first-level cache.
 */
INLINE void tiles(const fg_linear_args *a, const int32_t w_dtype, const fg_x_format format, const fg_scaling scaling) {
	int row = 0;
	for (; row + TILE_ROWS <= a->n_rows; row += TILE_ROWS) {
		if (w_dtype == FG_FP8_E4M3 && a->n_tokens > TOKENS_OF(scaling)) {
			widen_rows(a, row, format);
			fg_linear_args b = from_scratch(a, row);
			token_tiles(&b, 0, format == FG_X_BF16 ? FG_BF16 : FG_F32, format, scaling);
		} else {
			token_tiles(a, row, w_dtype, format, scaling);
		}
	}
	for (; row < a->n_rows; row++) {
		for (int token = 0; token < a->n_tokens; token++) tile(a, row, token, 1, 1, w_dtype, format, scaling, 0);
	}
}

INLINE void fp8_tiles(const fg_linear_args *a, const fg_x_format format) {
	if (a->scaling == FG_ROWS) tiles(a, FG_FP8_E4M3, format, FG_ROWS);
	else tiles(a, FG_FP8_E4M3, format, FG_BLOCKS);
}

void FG_ISA(fg_linear)(const fg_linear_args *a) {
#if defined(__AVX512BF16__)
	if (a->x_format == FG_X_BF16) {
		if (a->w_dtype == FG_FP8_E4M3) fp8_tiles(a, FG_X_BF16);
		else tiles(a, FG_BF16, FG_X_BF16, FG_PLAIN);
		return;
	}
#endif
	if (a->w_dtype == FG_F32) tiles(a, FG_F32, FG_X_F32, FG_PLAIN);
	else if (a->w_dtype == FG_F16) tiles(a, FG_F16, FG_X_F32, FG_PLAIN);
	else if (a->w_dtype == FG_BF16) tiles(a, FG_BF16, FG_X_F32, FG_PLAIN);
	else fp8_tiles(a, FG_X_F32);
}
