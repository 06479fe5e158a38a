/*
 * kernels_test.c - compares the inner loops on every instruction set of this CPU with double precision; and checks that
 * not a bit of what they compute for a token depends on what else is in the call.
 */
#include "../cpu/kernels.h"
#include "../numeric.h"
#include "check.h"

static const int32_t dtypes[] = {FG_F32, FG_F16, FG_BF16};

static void *make(size_t bytes) {
	void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
	if (!p) exit(1);
	return p;
}

/* ---- conversions ---- */

static void test_conversions(const fg_kernels *k) {
	/* every 16-bit value goes to float32 and back unchanged (NaN stays NaN) */
	enum { N = 1 << 16 };
	uint16_t *h = make(N * 2), *back = make(N * 2);
	float *f = make(N * 4);
	long wrong = 0;
	for (int d = 1; d < 3; d++) {
		for (int i = 0; i < N; i++) h[i] = (uint16_t)i;
		k->load(h, N, dtypes[d], f);
		k->store(f, N, dtypes[d], back);
		for (int i = 0; i < N; i++) {
			float want = fg_read(h, dtypes[d], (size_t)i);
			wrong += isnan(want) ? !isnan(f[i]) || !isnan(fg_read(back, dtypes[d], (size_t)i))
			                     : fg_float_bits(want) != fg_float_bits(f[i]) || back[i] != h[i];
		}
	}
	CHECK(wrong == 0, "%s: %ld 16-bit values", k->isa, wrong);
	/* rounding: random float32 bits, and halfway cases */
	wrong = 0;
	for (int round = 0; round < 40; round++) {
		for (int i = 0; i < N; i++) {
			uint32_t bits = (uint32_t)next_random();
			if (round & 1) bits = (bits & 0xffff0000) | 0x8000; /* a tie in bf16 */
			if (round & 2)
				bits = (bits & 0x800fe000) | (uint32_t)(96 + below(64)) << 23 | 0x1000; /* f16, near its range */
			f[i] = fg_bits_float(bits);
		}
		for (int d = 1; d < 3; d++) {
			k->store(f, N, dtypes[d], back);
			for (int i = 0; i < N; i++) {
				uint16_t want = dtypes[d] == FG_F16 ? fg_to_f16(f[i]) : fg_to_bf16(f[i]);
				wrong += isnan(f[i]) ? !isnan(fg_read(back, dtypes[d], (size_t)i)) : back[i] != want;
			}
		}
	}
	CHECK(wrong == 0, "%s: %ld roundings", k->isa, wrong);
	free(h), free(back), free(f);
}

/* ---- linear ---- */

static fg_x_format formats[] = {FG_X_F32, FG_X_ROUND_F16, FG_X_ROUND_BF16, FG_X_BF16};

static float read_x(const void *x, fg_x_format format, size_t i) {
	return fg_read(x, format == FG_X_BF16 ? FG_BF16 : FG_F32, i);
}

static void test_linear_case(const fg_kernels *k, int n_tokens, int n_rows, int cols, int32_t w_dtype,
                             fg_x_format format, int add) {
	size_t xn = (size_t)n_tokens * (size_t)cols, wn = (size_t)n_rows * (size_t)cols, stride = (size_t)n_rows + 3;
	size_t w_bytes = (size_t)fg_dtype_bytes(w_dtype);
	void *x = make(xn * 4), *w = make(wn * 4);
	float *y = make((size_t)n_tokens * stride * 4), *before = make((size_t)n_tokens * stride * 4);
	for (size_t i = 0; i < xn; i++) {
		float v = bell(1);
		if (format == FG_X_BF16) fg_write(x, FG_BF16, i, v);
		else fg_write(x, FG_F32, i, format == FG_X_F32 ? v : fg_round(v, format == FG_X_ROUND_F16 ? FG_F16 : FG_BF16));
	}
	for (size_t i = 0; i < wn; i++) fg_write(w, w_dtype, i, bell(0.1f));
	for (size_t i = 0; i < (size_t)n_tokens * stride; i++) before[i] = y[i] = bell(1);
	fg_linear_args args = {.x = x,
	                       .w = w,
	                       .y = y,
	                       .y_stride = stride,
	                       .n_tokens = n_tokens,
	                       .n_rows = n_rows,
	                       .k = cols,
	                       .w_dtype = w_dtype,
	                       .x_format = format,
	                       .add = add};
	k->linear(&args);
	long off = 0, touched = 0, differ = 0;
	for (int t = 0; t < n_tokens; t++) {
		for (size_t r = 0; r < stride; r++) {
			size_t at = (size_t)t * stride + r;
			if (r >= (size_t)n_rows) {
				touched += fg_float_bits(y[at]) != fg_float_bits(before[at]);
				continue;
			}
			double want = add ? (double)before[at] : 0, size = fabs(want);
			for (int c = 0; c < cols; c++) {
				double p = (double)read_x(x, format, (size_t)t * (size_t)cols + (size_t)c) *
				           (double)fg_read(w, w_dtype, r * (size_t)cols + (size_t)c);
				want += p;
				size += fabs(p);
			}
			/* any order of summation in float32 stays within n units of roundoff of the sum of magnitudes */
			off += !(fabs((double)y[at] - want) <= (double)(cols + 2) * 0x1p-24 * size + 1e-37);
			/* the same bits when computed alone */
			float alone[1] = {before[at]};
			fg_linear_args one = args;
			one.x = (const char *)x + (size_t)t * (size_t)cols * fg_x_bytes(format);
			one.w = (const char *)w + r * (size_t)cols * w_bytes;
			one.y = alone;
			one.n_tokens = one.n_rows = 1;
			k->linear(&one);
			differ += fg_float_bits(alone[0]) != fg_float_bits(y[at]);
		}
	}
	CHECK(off == 0 && touched == 0 && differ == 0,
	      "%s: %d tokens, [%d][%d] of dtype %d, format %d, add %d: %ld off, %ld touched outside, %ld not as alone",
	      k->isa, n_tokens, n_rows, cols, w_dtype, (int)format, add, off, touched, differ);
	free(x), free(w), free(y), free(before);
}

static void test_linear(const fg_kernels *k) {
	static const int cols[] = {1, 2, 7, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 100, 576};
	for (size_t c = 0; c < sizeof cols / sizeof *cols; c++) {
		for (int n_tokens = 1; n_tokens <= 14; n_tokens += n_tokens < 8 ? 1 : 3) {
			int n_rows = 1 + below(13), add = below(2);
			for (int d = 0; d < 3; d++) {
				for (int f = 0; f < 4; f++) {
					if (formats[f] == FG_X_BF16 && !(k->bf16_dot && dtypes[d] == FG_BF16)) continue;
					test_linear_case(k, n_tokens, n_rows, cols[c], dtypes[d], formats[f], add);
				}
			}
		}
	}
}

/* ---- elementwise ---- */

static double x_unit(fg_x_format format) { /* half a unit in the last place, relative */
	return format == FG_X_F32 ? 0x1p-24 : format == FG_X_ROUND_F16 ? 0x1p-11 : 0x1p-8;
}

static void test_elementwise(const fg_kernels *k) {
	enum { MAX = 700 };
	float in[MAX], other[MAX];
	char out[MAX * 4];
	for (int n = 1; n <= MAX; n += 1 + n / 6) {
		for (int f = 0; f < 4; f++) {
			if (formats[f] == FG_X_BF16 && !k->bf16_dot) continue;
			double squares = 0, unit = x_unit(formats[f]);
			long norm_off = 0, silu_off = 0;
			for (int i = 0; i < n; i++) {
				in[i] = bell(3);
				other[i] = bell(1);
				squares += (double)in[i] * (double)in[i];
			}
			k->rms_norm(in, other, n, 1e-5f, formats[f], out);
			for (int i = 0; i < n; i++) {
				double want = (double)in[i] / sqrt(squares / n + (double)1e-5f) * (double)other[i];
				/* each of the n squares, the root and two products may be rounded */
				double slack = fabs(want) * ((n + 8) * 0x1p-24 + unit) + 0x1p-25;
				norm_off += !(fabs((double)read_x(out, formats[f], (size_t)i) - want) <= slack);
			}
			for (int i = 0; i < n; i++) in[i] = uniform(-110, 110);
			k->silu_mul(in, other, n, formats[f], out);
			for (int i = 0; i < n; i++) {
				double want = (double)in[i] / (1 + exp(-(double)in[i])) * (double)other[i];
				/* below -87 the exponential may leave float32's normal range, and the result is tiny */
				double slack = fabs(want) * (8 * 0x1p-24 + unit) + 0x1p-25;
				silu_off += !(fabs((double)read_x(out, formats[f], (size_t)i) - want) <= slack);
			}
			CHECK(norm_off == 0 && silu_off == 0, "%s: %d values, format %d: %ld norms, %ld silus off", k->isa, n,
			      (int)formats[f], norm_off, silu_off);
		}
	}
	in[0] = NAN, in[1] = INFINITY, in[2] = -INFINITY, other[0] = other[1] = other[2] = 1;
	k->silu_mul(in, other, 3, FG_X_F32, out);
	CHECK(isnan(fg_read(out, FG_F32, 0)) && fg_read(out, FG_F32, 1) > 1e38f, "%s: silu of NaN and infinity", k->isa);
	for (int head_dim = 32; head_dim <= 128; head_dim *= 2) {
		float v[128], was[128], cosine[64], sine[64];
		long off = 0;
		for (int i = 0; i < head_dim; i++) v[i] = was[i] = bell(1);
		for (int i = 0; i < head_dim / 2; i++) cosine[i] = cosf((float)i), sine[i] = sinf((float)i);
		k->rope(v, cosine, sine, head_dim);
		for (int i = 0; i < head_dim / 2; i++) {
			double a = (double)was[i], b = (double)was[i + head_dim / 2], c = (double)cosine[i], s = (double)sine[i];
			double slack = (fabs(a) + fabs(b)) * 3 * 0x1p-24;
			off += !(fabs((double)v[i] - (a * c - b * s)) <= slack) +
			       !(fabs((double)v[i + head_dim / 2] - (b * c + a * s)) <= slack);
		}
		CHECK(off == 0, "%s: rope of %d: %ld off", k->isa, head_dim, off);
	}
}

/* ---- attention ---- */

enum { KEYS = 1200, PAGES = (KEYS + 63) / 64 };

typedef struct {
	int n_rows, head_dim, window;
	int32_t kv_dtype, low[FG_ATTENTION_ROWS], high[FG_ATTENTION_ROWS], pages[PAGES];
	char *kv;
	size_t page_bytes;
	float q[FG_ATTENTION_ROWS][FG_MAX_HEAD_DIM];
} attention_case;

static double kv_read(const attention_case *a, int which, int key, int d) {
	size_t panel = (size_t)64 * (size_t)a->head_dim;
	size_t at =
		which ? panel + (size_t)(key % 64) * (size_t)a->head_dim + (size_t)d : (size_t)d * 64 + (size_t)key % 64;
	return (double)fg_read(a->kv + (size_t)a->pages[key / 64] * a->page_bytes, a->kv_dtype, at);
}

/* Softmax attention of one row, in double precision or with every operation rounded to float32. */
static void attend_plainly(const attention_case *a, int row, int single, double *out) {
#define STEP(e) (single ? (double)(float)(e) : (e))
	static double score[KEYS];
	double max = -INFINITY, sum = 0;
	for (int j = a->low[row]; j < a->high[row]; j++) {
		score[j] = 0;
		for (int d = 0; d < a->head_dim; d++) score[j] = STEP(score[j] + (double)a->q[row][d] * kv_read(a, 0, j, d));
		score[j] = STEP(score[j] / sqrt(a->head_dim));
		if (score[j] > max) max = score[j];
	}
	for (int d = 0; d < a->head_dim; d++) out[d] = 0;
	for (int j = a->low[row]; j < a->high[row]; j++) {
		double p = STEP(exp(STEP(score[j] - max)));
		sum = STEP(sum + p);
		for (int d = 0; d < a->head_dim; d++) out[d] = STEP(out[d] + p * kv_read(a, 1, j, d));
	}
	for (int d = 0; d < a->head_dim; d++) out[d] = STEP(out[d] / sum);
#undef STEP
}

/* What the op does with the kernels: attends span by span, and merges in order. */
static void attend_with(const fg_kernels *k, attention_case *a, int first_row, int n_rows, fg_attention_scratch *s,
                        float out[][FG_MAX_HEAD_DIM]) {
	fg_attention_args args = {.kv = a->kv,
	                          .page_bytes = a->page_bytes,
	                          .k_offset = 0,
	                          .v_offset = a->page_bytes / 2,
	                          .pages = a->pages,
	                          .low = a->low + first_row,
	                          .high = a->high + first_row,
	                          .scale = 1 / sqrtf((float)a->head_dim),
	                          .n_rows = n_rows,
	                          .head_dim = a->head_dim,
	                          .kv_dtype = a->kv_dtype};
	memcpy(s->q, a->q[first_row], (size_t)n_rows * sizeof *s->q);
	memset(&s->total, 0, sizeof s->total);
	for (int span = 0; span * FG_SPAN_TOKENS < KEYS; span++) {
		k->attend(&args, span, s);
		k->merge(&s->total, &s->run, n_rows, a->head_dim);
	}
	for (int r = 0; r < n_rows; r++) k->finish(&s->total, r, a->head_dim, FG_X_F32, out[r]);
}

static void test_attention_case(const fg_kernels *k, int group, int n_tokens, int head_dim, int32_t kv_dtype,
                                int window, int last) {
	static attention_case a;
	static float out[FG_ATTENTION_ROWS][FG_MAX_HEAD_DIM], alone[1][FG_MAX_HEAD_DIM];
	fg_attention_scratch *s = make(sizeof *s);
	a.n_rows = group * n_tokens;
	a.head_dim = head_dim;
	a.kv_dtype = kv_dtype;
	a.page_bytes = (size_t)2 * 64 * (size_t)head_dim * (size_t)fg_dtype_bytes(kv_dtype);
	a.kv = make(PAGES * a.page_bytes);
	for (size_t i = 0; i < PAGES * 2 * 64 * (size_t)head_dim; i++) fg_write(a.kv, kv_dtype, i, bell(1));
	for (int i = 0; i < PAGES; i++) a.pages[i] = i * 7 % PAGES; /* PAGES = 19: any order */
	for (int r = 0; r < a.n_rows; r++) {
		int position = last - n_tokens + 1 + r / group;
		a.low[r] = window && position >= window ? position - window + 1 : 0;
		a.high[r] = position + 1;
		for (int d = 0; d < head_dim; d++) a.q[r][d] = bell(2);
	}
	/* keys that no row sees may hold anything */
	for (int key = last + 1; key < KEYS; key++) {
		size_t panel = (size_t)64 * (size_t)head_dim, j = (size_t)key % 64;
		char *page = a.kv + (size_t)a.pages[key / 64] * a.page_bytes;
		for (size_t d = 0; d < (size_t)head_dim; d++) {
			fg_write(page, kv_dtype, d * 64 + j, NAN);
			fg_write(page, kv_dtype, panel + j * (size_t)head_dim + d, INFINITY);
		}
	}
	attend_with(k, &a, 0, a.n_rows, s, out);
	double worst = 0, naive = 0, want[FG_MAX_HEAD_DIM], single[FG_MAX_HEAD_DIM];
	long differ = 0;
	for (int r = 0; r < a.n_rows; r++) {
		attend_plainly(&a, r, 0, want);
		attend_plainly(&a, r, 1, single);
		attend_with(k, &a, r, 1, s, alone);
		for (int d = 0; d < head_dim; d++) {
			worst = fmax(worst, fabs((double)out[r][d] - want[d]));
			if (isnan(out[r][d])) worst = INFINITY;
			naive = fmax(naive, fabs(single[d] - want[d]));
			differ += fg_float_bits(out[r][d]) != fg_float_bits(alone[0][d]);
		}
	}
	CHECK(worst <= 2 * naive + 4 * 0x1p-24 && differ == 0,
	      "%s: group %d, %d tokens up to %d, head_dim %d, dtype %d, window %d: error %.3g, plain float32 has %.3g; %ld "
	      "not as "
	      "alone",
	      k->isa, group, n_tokens, last, head_dim, kv_dtype, window, worst, naive, differ);
	free(a.kv);
	free(s);
}

static void test_attention(const fg_kernels *k) {
	static const int lasts[] = {0, 1, 62, 63, 64, 65, 127, 130, 510, 511, 512, 515, 1023, 1024, 1199};
	static const int windows[] = {0, 1, 5, 63, 64, 65, 200, 600};
	for (size_t i = 0; i < sizeof lasts / sizeof *lasts; i++) {
		for (int group = 1; group <= 8; group++) {
			int head_dim = 32 << below(3), window = windows[below(8)], n_tokens = 1 + below(32 / group);
			if (n_tokens > lasts[i] + 1) n_tokens = lasts[i] + 1;
			test_attention_case(k, group, n_tokens, head_dim, dtypes[below(3)], window, lasts[i]);
		}
	}
	for (int head_dim = 32; head_dim <= 128; head_dim *= 2) {
		for (int d = 0; d < 3; d++) test_attention_case(k, 3, 10, head_dim, dtypes[d], 0, 700);
	}
}

int main(void) {
	const fg_kernels *list[4];
	int32_t n = fg_kernels_all(list);
	for (int32_t i = 0; i < n; i++) {
		random_state = 7; /* the same inputs for each */
		test_conversions(list[i]);
		test_linear(list[i]);
		test_elementwise(list[i]);
		test_attention(list[i]);
	}
	return report("kernels_test");
}
