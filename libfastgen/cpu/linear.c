/*
 * linear.c - y[t][r] = sum over k of x[t][k] * w[r][k].
 *
 * Weights are read in place, row-major, so each output is a dot product: LANES partial sums (of every LANES-th product,
 * in order of k), folded at the end. That is the same for every tile, so an output does not depend on the tile it falls in.
 */
#include "simd.h"

/* Register tile: R weight rows by T tokens of accumulators, R + 1 vectors of operands beside them. */
#if LANES == 16
#define TILE_ROWS 4
#define TILE_TOKENS 6
#elif LANES == 8
#define TILE_ROWS 4
#define TILE_TOKENS 2
#else
#define TILE_ROWS 2
#define TILE_TOKENS 2
#endif

#define UNROLL _Pragma("GCC unroll 8")

/* One tile. R, T, w_dtype and format are constants where it is inlined. */
INLINE void tile(const fg_linear_args *a, int row, int token, const int R, const int T, const int32_t w_dtype,
				 const fg_x_format format) {
	const size_t k_size = (size_t)a->k, w_bytes = w_dtype == FG_F32 ? 4 : 2, x_bytes = format == FG_X_BF16 ? 2 : 4;
	const char *w = (const char *)a->w + (size_t)row * k_size * w_bytes;
	const char *x = (const char *)a->x + (size_t)token * k_size * x_bytes;
	vf acc[TILE_ROWS][TILE_TOKENS];
	UNROLL for (int r = 0; r < R; r++) {
		UNROLL for (int t = 0; t < T; t++) acc[r][t] = (vf){0};
	}
	size_t k = 0;
#if defined(__AVX512BF16__)
	if (format == FG_X_BF16) {
		for (; k < k_size; k += 2 * LANES) {
			/* Lanes past the end are 0 in both operands: they add nothing. */
			__mmask32 m = k_size - k >= 32 ? ~0u : ~0u >> (32 - (k_size - k));
			__m512bh xv[TILE_TOKENS];
			UNROLL for (int t = 0; t < T; t++) {
				xv[t] = (__m512bh)_mm512_maskz_loadu_epi16(m, x + (size_t)t * k_size * 2 + k * 2);
			}
			UNROLL for (int r = 0; r < R; r++) {
				__m512bh wv = (__m512bh)_mm512_maskz_loadu_epi16(m, w + (size_t)r * k_size * 2 + k * 2);
				UNROLL for (int t = 0; t < T; t++) acc[r][t] = _mm512_dpbf16_ps(acc[r][t], wv, xv[t]);
			}
		}
	} else
#endif
	{
		for (; k + LANES <= k_size; k += LANES) {
			vf xv[TILE_TOKENS];
			UNROLL for (int t = 0; t < T; t++) xv[t] = vf_read(x + (size_t)t * k_size * 4, FG_F32, k);
			UNROLL for (int r = 0; r < R; r++) {
				vf wv = vf_read(w + (size_t)r * k_size * w_bytes, w_dtype, k);
				UNROLL for (int t = 0; t < T; t++) acc[r][t] = vf_fma(wv, xv[t], acc[r][t]);
			}
		}
		if (k < k_size) {
			int left = (int)(k_size - k);
			for (int r = 0; r < R; r++) {
				vf wv = vf_read_some(w + (size_t)r * k_size * w_bytes, w_dtype, k, left);
				for (int t = 0; t < T; t++) {
					acc[r][t] = vf_fma(wv, vf_read_some(x + (size_t)t * k_size * 4, FG_F32, k, left), acc[r][t]);
				}
			}
		}
	}
	UNROLL for (int t = 0; t < T; t++) {
		float *y = a->y + (size_t)(token + t) * a->y_stride + row;
		UNROLL for (int r = 0; r < R; r++) y[r] = vf_sum(acc[r][t]) + (a->add ? y[r] : 0.0f);
	}
}

/* All tiles for one pair of formats. Rows outside, tokens inside: a tile's weight rows stay in the first-level cache. */
INLINE void tiles(const fg_linear_args *a, const int32_t w_dtype, const fg_x_format format) {
	for (int row = 0; row < a->n_rows;) {
		int rows = a->n_rows - row >= TILE_ROWS ? TILE_ROWS : 1;
		int token = 0;
		for (; token + TILE_TOKENS <= a->n_tokens; token += TILE_TOKENS) {
			if (rows == TILE_ROWS) tile(a, row, token, TILE_ROWS, TILE_TOKENS, w_dtype, format);
			else tile(a, row, token, 1, TILE_TOKENS, w_dtype, format);
		}
		for (; token < a->n_tokens; token++) {
			if (rows == TILE_ROWS) tile(a, row, token, TILE_ROWS, 1, w_dtype, format);
			else tile(a, row, token, 1, 1, w_dtype, format);
		}
		row += rows;
	}
}

void FG_ISA(fg_linear)(const fg_linear_args *a) {
#if defined(__AVX512BF16__)
	if (a->x_format == FG_X_BF16) {
		tiles(a, FG_BF16, FG_X_BF16);
		return;
	}
#endif
	if (a->w_dtype == FG_F32) tiles(a, FG_F32, FG_X_F32);
	else if (a->w_dtype == FG_F16) tiles(a, FG_F16, FG_X_F32);
	else tiles(a, FG_BF16, FG_X_F32);
}
