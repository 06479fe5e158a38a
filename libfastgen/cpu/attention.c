/*
 * attention.c - attention of some query rows over one KV head of a paged cache, a page (64 keys) at a time with a
 * running softmax (Milakov and Gimelshein, arXiv:1805.02867), scores and sums in float32.
 *
 * A row's result depends on its own query and keys alone: pages are visited in order, pages and spans begin at
 * absolute positions, and keys that a row does not see never enter its sums, not even multiplied by 0.
 *
 * K is stored [head_dim][64] within a page, so that both products are the same operation: a row of scalars times a
 * matrix whose rows are contiguous vectors.
 */
#include "formats.h"

#if LANES == 16
#define ROWS 6
#define COLS 4
#elif LANES == 8
#define ROWS 3
#define COLS 2
#else
#define ROWS 2
#define COLS 2
#endif

#define UNROLL _Pragma("GCC unroll 8")

/* out[r][c] += sum over j in [from, to), in order, of a[r][j] * b[j][c], for R rows and n_cols columns, C vectors of
 * them at a time. R, C and dtype are constants where it is inlined. `next`, if not NULL, is a matrix like b, to be
 * prefetched meanwhile. */
INLINE void product_tile(const int R, const int C, const int32_t dtype, const float *a, size_t a_stride, const char *b,
                         const char *next, int n_cols, int from, int to, float *out, size_t out_stride) {
	size_t row_bytes = (size_t)n_cols * dtype_bytes(dtype);
	for (int col = 0; col < n_cols; col += C * LANES) {
		vf acc[ROWS][COLS];
		UNROLL for (int r = 0; r < R; r++) {
			UNROLL for (int c = 0; c < C; c++) acc[r][c] = vf_load(out + (size_t)r * out_stride + col + c * LANES);
		}
		for (int j = from; j < to; j++) {
			const char *bj = b + (size_t)j * row_bytes;
			if (next) {
				const char *nj = next + (size_t)j * row_bytes + (size_t)col * dtype_bytes(dtype);
				for (int c = 0; c < C * LANES * (int)dtype_bytes(dtype); c += 64) __builtin_prefetch(nj + c, 0, 2);
			}
			vf bv[COLS];
			UNROLL for (int c = 0; c < C; c++) bv[c] = vf_read(bj, dtype, (size_t)(col + c * LANES));
			UNROLL for (int r = 0; r < R; r++) {
				vf ar = vf_set(a[(size_t)r * a_stride + (size_t)j]);
				UNROLL for (int c = 0; c < C; c++) acc[r][c] = vf_fma(ar, bv[c], acc[r][c]);
			}
		}
		UNROLL for (int r = 0; r < R; r++) {
			UNROLL for (int c = 0; c < C; c++) vf_store(out + (size_t)r * out_stride + col + c * LANES, acc[r][c]);
		}
	}
}

INLINE void product_rows(const int R, const int32_t dtype, const float *a, size_t a_stride, const char *b,
                         const char *next, int n_cols, int from, int to, float *out, size_t out_stride) {
	if (n_cols % (COLS * LANES) == 0) {
		product_tile(R, COLS, dtype, a, a_stride, b, next, n_cols, from, to, out, out_stride);
	} else { /* head_dim 32 */
		product_tile(R, 2, dtype, a, a_stride, b, next, n_cols, from, to, out, out_stride);
	}
}

/* The same for 1 to ROWS rows. */
INLINE void product(int rows, const int32_t dtype, const float *a, size_t a_stride, const char *b, const char *next,
                    int n_cols, int from, int to, float *out, size_t out_stride) {
	switch (rows) {
#if ROWS >= 6
	case 6: product_rows(6, dtype, a, a_stride, b, next, n_cols, from, to, out, out_stride); break;
	case 5: product_rows(5, dtype, a, a_stride, b, next, n_cols, from, to, out, out_stride); break;
	case 4: product_rows(4, dtype, a, a_stride, b, next, n_cols, from, to, out, out_stride); break;
#endif
#if ROWS >= 3
	case 3: product_rows(3, dtype, a, a_stride, b, next, n_cols, from, to, out, out_stride); break;
#endif
	case 2: product_rows(2, dtype, a, a_stride, b, next, n_cols, from, to, out, out_stride); break;
	default: product_rows(1, dtype, a, a_stride, b, next, n_cols, from, to, out, out_stride); break;
	}
}

/* The keys that a row sees of the page that begins at position `start`: [*from, *to), empty when *from >= *to. */
INLINE void visible(const fg_attention_args *a, int row, int32_t start, int *from, int *to) {
	int32_t low = a->low[row] - start, high = a->high[row] - start;
	*from = low > 0 ? low : 0;
	*to = high < FG_PAGE_TOKENS ? high : FG_PAGE_TOKENS;
}

/* Adds one row's raw scores of a page to its running softmax; the scores become weights. k_scale, v_scale: [64], of FP8
 * keys and values, else NULL; a weight is then multiplied by its value's scale. */
INLINE void soften(fg_softmax *run, int row, float *scores, int from, int to, float scale, const float *k_scale,
                   const float *v_scale, int head_dim) {
	vi lane, see[FG_PAGE_TOKENS / LANES];
	vf s[FG_PAGE_TOKENS / LANES], max = vf_set(-INFINITY);
	for (int i = 0; i < LANES; i++) lane[i] = i;
	for (int i = 0; i < FG_PAGE_TOKENS / LANES; i++) {
		vi key = lane + i * LANES;
		see[i] = (key >= from) & (key < to);
		vf score = vf_load(scores + i * LANES) * scale;
		if (k_scale) score *= vf_load(k_scale + i * LANES);
		s[i] = vf_select(see[i], score, vf_set(-INFINITY));
		max = vf_max(max, s[i]);
	}
	float old_max = run->max[row], page_max = vf_max_lane(max), new_max = page_max > old_max ? page_max : old_max;
	vf sum = {0};
	for (int i = 0; i < FG_PAGE_TOKENS / LANES; i++) {
		s[i] = vf_select(see[i], vf_exp(s[i] - new_max), (vf){0});
		vf_store(scores + i * LANES, v_scale ? s[i] * vf_load(v_scale + i * LANES) : s[i]);
		sum += s[i];
	}
	if (run->sum[row] != 0 && new_max != old_max) {
		float shrink = vf_exp(vf_set(old_max - new_max))[0];
		run->sum[row] *= shrink;
		for (int i = 0; i < head_dim; i += LANES) vf_store(run->acc[row] + i, vf_load(run->acc[row] + i) * shrink);
	}
	run->sum[row] += vf_sum(sum);
	run->max[row] = new_max;
}

/* acc[row..] += weights * V, each row over the keys it sees, in order. */
INLINE void add_values(fg_attention_scratch *s, int row, int rows, const char *v, const char *next, const int32_t dtype,
                       int head_dim, const int *from, const int *to) {
	int first = from[0], last = to[0];
	for (int r = 1; r < rows; r++) {
		if (from[r] > first) first = from[r];
		if (to[r] < last) last = to[r];
	}
	if (first >= last) { /* no key that all rows see */
		for (int r = row; r < row + rows; r++) {
			product(1, dtype, s->scores[r], 0, v, NULL, head_dim, from[r - row], to[r - row], s->run.acc[r], 0);
		}
		return;
	}
	for (int r = 0; r < rows; r++) {
		if (from[r] < first)
			product(1, dtype, s->scores[row + r], 0, v, NULL, head_dim, from[r], first, s->run.acc[row + r], 0);
	}
	product(rows, dtype, s->scores[row], FG_PAGE_TOKENS, v, next, head_dim, first, last, s->run.acc[row],
	        FG_MAX_HEAD_DIM);
	for (int r = 0; r < rows; r++) {
		if (to[r] > last)
			product(1, dtype, s->scores[row + r], 0, v, NULL, head_dim, last, to[r], s->run.acc[row + r], 0);
	}
}

/* `more`: the page after this one comes next. */
INLINE void attend_page(const fg_attention_args *a, int32_t page, int more, const int32_t dtype,
                        fg_attention_scratch *s) {
	const char *base = a->kv + (size_t)a->pages[page] * a->page_bytes, *k = base + a->k_offset, *v = base + a->v_offset;
	const float *k_scale = dtype == FG_FP8_E4M3 ? (const float *)(base + a->k_scale_offset) : NULL;
	const float *v_scale = dtype == FG_FP8_E4M3 ? (const float *)(base + a->v_scale_offset) : NULL;
	const char *next_k = more ? a->kv + (size_t)a->pages[page + 1] * a->page_bytes + a->k_offset : NULL;
	for (int row = 0; row < a->n_rows; row += ROWS) {
		int rows = a->n_rows - row < ROWS ? a->n_rows - row : ROWS, from[ROWS], to[ROWS], any = 0;
		for (int r = 0; r < rows; r++) {
			visible(a, row + r, page * FG_PAGE_TOKENS, &from[r], &to[r]);
			any |= from[r] < to[r];
			memset(s->scores[row + r], 0, sizeof s->scores[row + r]);
		}
		if (!any) continue;
		product(rows, dtype, s->q[row], FG_MAX_HEAD_DIM, k, row ? NULL : v, FG_PAGE_TOKENS, 0, a->head_dim,
		        s->scores[row], FG_PAGE_TOKENS);
		for (int r = 0; r < rows; r++) {
			if (from[r] >= to[r]) continue;
			soften(&s->run, row + r, s->scores[row + r], from[r], to[r], a->scale, k_scale, v_scale, a->head_dim);
		}
		add_values(s, row, rows, v, row ? NULL : next_k, dtype, a->head_dim, from, to);
	}
}

void FG_ISA(fg_attend)(const fg_attention_args *a, int32_t span, fg_attention_scratch *s) {
	int32_t low = a->low[0], high = a->high[0];
	for (int row = 0; row < a->n_rows; row++) {
		if (a->low[row] < low) low = a->low[row];
		if (a->high[row] > high) high = a->high[row];
		s->run.max[row] = -INFINITY;
		s->run.sum[row] = 0;
		memset(s->run.acc[row], 0, (size_t)a->head_dim * sizeof(float));
	}
	int32_t start = span * FG_SPAN_TOKENS, end = start + FG_SPAN_TOKENS;
	if (low < start) low = start;
	if (high > end) high = end;
	for (int32_t page = low / FG_PAGE_TOKENS; page * FG_PAGE_TOKENS < high; page++) {
		int more = (page + 1) * FG_PAGE_TOKENS < high;
		if (a->kv_dtype == FG_F32) attend_page(a, page, more, FG_F32, s);
		else if (a->kv_dtype == FG_F16) attend_page(a, page, more, FG_F16, s);
		else if (a->kv_dtype == FG_BF16) attend_page(a, page, more, FG_BF16, s);
		else attend_page(a, page, more, FG_FP8_E4M3, s);
	}
}

void FG_ISA(fg_merge)(fg_softmax *total, const fg_softmax *run, int32_t n_rows, int32_t head_dim) {
	for (int row = 0; row < n_rows; row++) {
		if (run->sum[row] == 0) continue;
		if (total->sum[row] == 0) {
			total->max[row] = run->max[row];
			total->sum[row] = run->sum[row];
			memcpy(total->acc[row], run->acc[row], (size_t)head_dim * sizeof(float));
			continue;
		}
		float max = total->max[row] > run->max[row] ? total->max[row] : run->max[row];
		float keep = vf_exp(vf_set(total->max[row] - max))[0], add = vf_exp(vf_set(run->max[row] - max))[0];
		total->max[row] = max;
		total->sum[row] = total->sum[row] * keep + run->sum[row] * add;
		for (int i = 0; i < head_dim; i += LANES) {
			vf_store(total->acc[row] + i, vf_load(total->acc[row] + i) * keep + vf_load(run->acc[row] + i) * add);
		}
	}
}

void FG_ISA(fg_finish)(const fg_softmax *total, int32_t row, int32_t head_dim, fg_x_format format, void *out) {
	float scale = 1.0f / total->sum[row];
	for (int i = 0; i < head_dim; i += LANES) {
		vf_write_x(out, format, (size_t)i, vf_load(total->acc[row] + i) * scale);
	}
}
