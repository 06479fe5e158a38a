/*
 * kernels_test.c - compares the inner loops on every instruction set of this CPU with double precision; and checks that
 * not a bit of what they compute for a token depends on what else is in the call.
 */
#include "../cpu/kernels.h"
#include "../numeric.h"
#include "check.h"

static const int32_t dtypes[] = {FG_F32, FG_F16, FG_BF16, FG_FP8_E4M3};

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

/* ---- FP8 ---- */

/* The E4M3 that is nearest to f, found among all of them; of two at the same distance, the one with an even mantissa.
 */
static uint8_t nearest_e4m3(float f) {
	int best = 0;
	double least = INFINITY;
	for (int code = 0; code < 0x7f; code++) {
		double exponent = code >> 3 ? (code >> 3) - 7 : -6,
			   value = ldexp((code >> 3 ? 8 : 0) + (code & 7), (int)exponent - 3);
		double distance = fabs(fabs((double)f) - value);
		if (distance < least || (distance == least && !(code & 1))) best = code, least = distance;
	}
	return (uint8_t)(best | (signbit(f) ? 0x80 : 0));
}

static void test_fp8(const fg_kernels *k) {
	enum { N = 1 << 16 };
	uint8_t *codes = make(N);
	uint16_t *bf16 = make(N * 2);
	float *f = make(N * 4), *back = make(N * 4);
	long wrong = 0;
	for (int i = 0; i < 256; i++) codes[i] = (uint8_t)i;
	k->load(codes, 256, FG_FP8_E4M3, f);
	k->store(f, 256, FG_FP8_E4M3, codes);
	for (int i = 0; i < 256; i++) {
		int nan = (i & 0x7f) == 0x7f;
		wrong += fg_float_bits(f[i]) != fg_float_bits(fg_from_e4m3((uint8_t)i)) && !nan;
		wrong += nan ? !isnan(f[i]) || (codes[i] & 0x7f) != 0x7f : codes[i] != i || nearest_e4m3(f[i]) != i;
	}
	CHECK(wrong == 0, "%s: %ld codes of E4M3", k->isa, wrong);
	/* every bf16, and float32 near the ties of those in range */
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < N; i++) {
			f[i] = round ? ldexpf((float)(below(1 << 12) * 2 + 1), below(24) - 21) : fg_from_bf16((uint16_t)i);
			if (round == 2) f[i] = nextafterf(f[i], i & 1 ? INFINITY : 0) * (i & 2 ? -1.0f : 1.0f);
		}
		k->store(f, N, FG_FP8_E4M3, codes);
		for (int i = 0; i < N; i++) {
			uint8_t want = isinf(f[i]) ? (uint8_t)(f[i] < 0 ? 0xfe : 0x7e) : nearest_e4m3(f[i]);
			wrong += isnan(f[i]) ? (codes[i] & 0x7f) != 0x7f : codes[i] != want || fg_to_e4m3(f[i]) != want;
		}
		CHECK(wrong == 0, "%s: %ld roundings to E4M3", k->isa, wrong);
	}
	for (int n = 1; n < 200; n += 7) {
		float want = 0;
		for (int i = 0; i < n; i++) f[i] = bell(3), want = fmaxf(want, fabsf(f[i]));
		if (n > 8) f[n / 2] = NAN, f[0] = -50, want = 50;
		float amax = k->amax(f, n), scale = fg_fp8_scale(amax);
		k->quantize(f, n, scale, FG_FP8_E4M3, codes), k->quantize(f, n, scale, FG_F32, back);
		k->quantize(f, n, scale, FG_BF16, bf16);
		wrong += amax != want;
		for (int i = 0; i < n; i++) {
			uint8_t code = fg_to_e4m3(f[i] * (1 / scale));
			if (isnan(f[i])) wrong += (codes[i] & 0x7f) != 0x7f || !isnan(back[i]) || !isnan(fg_from_bf16(bf16[i]));
			else wrong += codes[i] != code || back[i] != fg_from_e4m3(code) || fg_from_bf16(bf16[i]) != back[i];
		}
	}
	CHECK(wrong == 0, "%s: %ld values quantised wrongly", k->isa, wrong);
	CHECK(fg_fp8_scale(448) == 1 && fg_fp8_scale(0) == 1 && fg_fp8_scale(1e-40f) == 1, "scales");
	free(codes), free(bf16), free(f), free(back);
}

/* ---- linear ---- */

static fg_x_format formats[] = {FG_X_F32, FG_X_ROUND_F16, FG_X_ROUND_BF16, FG_X_BF16};

static float read_x(const void *x, fg_x_format format, size_t i) {
	return fg_read(x, format == FG_X_BF16 ? FG_BF16 : FG_F32, i);
}

/* The scale of an output's product at k, in double precision. */
static double scale_at(const fg_linear_args *a, int t, size_t row, int k) {
	int blocks = (a->k + 127) / 128;
	if (a->scaling == FG_PLAIN) return 1;
	if (a->scaling == FG_ROWS) return (double)a->x_scale[t] * (double)a->w_scale[row];
	size_t block_row = ((size_t)a->block_row + row) / 128;
	return (double)a->x_scale[t * blocks + k / 128] * (double)a->w_scale[block_row * (size_t)blocks + (size_t)k / 128];
}

static void test_linear_case(const fg_kernels *k, int n_tokens, int n_rows, int cols, int32_t w_dtype,
                             fg_x_format format, fg_scaling scaling, int add) {
	size_t xn = (size_t)n_tokens * (size_t)cols, wn = (size_t)n_rows * (size_t)cols, stride = (size_t)n_rows + 3;
	size_t w_bytes = (size_t)fg_dtype_bytes(w_dtype);
	void *x = make(xn * 4), *w = make(wn * 4);
	float *y = make((size_t)n_tokens * stride * 4), *before = make((size_t)n_tokens * stride * 4);
	float x_scale[14 * 8], w_scale[16 * 8];
	for (size_t i = 0; i < sizeof x_scale / sizeof *x_scale; i++) x_scale[i] = uniform(0.1f, 3);
	for (size_t i = 0; i < sizeof w_scale / sizeof *w_scale; i++) w_scale[i] = uniform(0.1f, 3);
	for (size_t i = 0; i < xn; i++) {
		float v = scaling == FG_PLAIN ? bell(1) : fg_round(bell(100), FG_FP8_E4M3);
		if (format == FG_X_BF16) fg_write(x, FG_BF16, i, v);
		else fg_write(x, FG_F32, i, format == FG_X_F32 ? v : fg_round(v, format == FG_X_ROUND_F16 ? FG_F16 : FG_BF16));
	}
	for (size_t i = 0; i < wn; i++) fg_write(w, w_dtype, i, bell(scaling == FG_PLAIN ? 0.1f : 100));
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
	                       .scaling = scaling,
	                       .x_scale = x_scale,
	                       .w_scale = w_scale,
	                       .scratch = make((size_t)cols * 16),
	                       .block_row = 120, /* the first rows' block ends within the call */
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
				           (double)fg_read(w, w_dtype, r * (size_t)cols + (size_t)c) * scale_at(&args, t, r, c);
				want += p;
				size += fabs(p);
			}
			/* any order of summation in float32 stays within n units of roundoff of the sum of magnitudes */
			off += !(fabs((double)y[at] - want) <= (double)(cols + 4) * 0x1p-24 * size + 1e-37);
			/* the same bits when computed alone */
			float alone[1] = {before[at]};
			fg_linear_args one = args;
			one.x = (const char *)x + (size_t)t * (size_t)cols * fg_x_bytes(format);
			one.w = (const char *)w + r * (size_t)cols * w_bytes;
			one.y = alone;
			one.n_tokens = one.n_rows = 1;
			size_t blocks = ((size_t)cols + 127) / 128;
			one.x_scale += (size_t)t * (scaling == FG_BLOCKS ? blocks : 1);
			one.w_scale += scaling == FG_BLOCKS ? (size_t)(120 + r) / 128 * blocks : r;
			one.block_row = (120 + (int)r) % 128;
			k->linear(&one);
			differ += fg_float_bits(alone[0]) != fg_float_bits(y[at]);
		}
	}
	CHECK(off == 0 && touched == 0 && differ == 0,
	      "%s: %d tokens, [%d][%d] of dtype %d, format %d, scaling %d, add %d: %ld off, %ld touched outside, %ld not "
	      "as alone",
	      k->isa, n_tokens, n_rows, cols, w_dtype, (int)format, (int)scaling, add, off, touched, differ);
	free(x), free(w), free(y), free(before), free(args.scratch);
}

static void test_linear(const fg_kernels *k) {
	static const int cols[] = {1, 2, 7, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 100, 576};
	for (size_t c = 0; c < sizeof cols / sizeof *cols; c++) {
		for (int n_tokens = 1; n_tokens <= 14; n_tokens += n_tokens < 8 ? 1 : 3) {
			int n_rows = 1 + below(13), add = below(2);
			for (int d = 0; d < 3; d++) {
				for (int f = 0; f < 4; f++) {
					if (formats[f] == FG_X_BF16 && !(k->bf16_dot && dtypes[d] == FG_BF16)) continue;
					test_linear_case(k, n_tokens, n_rows, cols[c], dtypes[d], formats[f], FG_PLAIN, add);
				}
			}
			for (fg_scaling scaling = FG_ROWS; scaling <= FG_BLOCKS; scaling++) {
				test_linear_case(k, n_tokens, n_rows, cols[c], FG_FP8_E4M3, FG_X_F32, scaling, add);
				if (k->bf16_dot) test_linear_case(k, n_tokens, n_rows, cols[c], FG_FP8_E4M3, FG_X_BF16, scaling, add);
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
	const char *page = a->kv + (size_t)a->pages[key / 64] * a->page_bytes;
	double scale = a->kv_dtype == FG_FP8_E4M3 ? (double)((const float *)(page + 2 * panel))[which * 64 + key % 64] : 1;
	size_t at =
		which ? panel + (size_t)(key % 64) * (size_t)a->head_dim + (size_t)d : (size_t)d * 64 + (size_t)key % 64;
	return scale * (double)fg_read(page, a->kv_dtype, at);
}

/* Softmax attention of one row, in double precision or with every operation rounded to float32. */
static void attend_plainly(const attention_case *a, int row, int single, double *out) {
#define STEP(e) (single ? (double)(float)(e) : (e))
	static double score[KEYS];
	double max = -INFINITY, sum = 0;
	for (int j = a->low[row]; j < a->high[row]; j++) {
		score[j] = 0;
		for (int d = 0; d < a->head_dim; d++)
			score[j] = STEP(score[j] + (double)a->q[row][d] * STEP(kv_read(a, 0, j, d)));
		score[j] = STEP(score[j] / sqrt(a->head_dim));
		if (score[j] > max) max = score[j];
	}
	for (int d = 0; d < a->head_dim; d++) out[d] = 0;
	for (int j = a->low[row]; j < a->high[row]; j++) {
		double p = STEP(exp(STEP(score[j] - max)));
		sum = STEP(sum + p);
		for (int d = 0; d < a->head_dim; d++) out[d] = STEP(out[d] + p * STEP(kv_read(a, 1, j, d)));
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
	                          .v_offset = (size_t)64 * (size_t)a->head_dim * (size_t)fg_dtype_bytes(a->kv_dtype),
	                          .k_scale_offset = (size_t)2 * 64 * (size_t)a->head_dim, /* of FP8: behind both */
	                          .v_scale_offset = (size_t)2 * 64 * (size_t)a->head_dim + 64 * sizeof(float),
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
	a.page_bytes = fg_page_layer_bytes(1, head_dim, kv_dtype);
	a.kv = make(PAGES * a.page_bytes);
	for (int p = 0; p < PAGES; p++) {
		char *page = a.kv + (size_t)p * a.page_bytes;
		size_t values = (size_t)2 * 64 * (size_t)head_dim;
		for (size_t i = 0; i < values; i++) fg_write(page, kv_dtype, i, bell(1));
		for (size_t i = 0; kv_dtype == FG_FP8_E4M3 && i < 2 * 64; i++) ((float *)(page + values))[i] = uniform(0.2f, 2);
	}
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
		if (kv_dtype == FG_FP8_E4M3) ((float *)(page + 2 * panel))[j] = ((float *)(page + 2 * panel))[64 + j] = NAN;
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
	/* scales of FP8 round every score and every weight once more */
	double slack = (kv_dtype == FG_FP8_E4M3 ? 16 : 4) * 0x1p-24;
	CHECK(worst <= 2 * naive + slack && differ == 0,
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
			test_attention_case(k, group, n_tokens, head_dim, dtypes[below(4)], window, lasts[i]);
		}
	}
	for (int head_dim = 32; head_dim <= 128; head_dim *= 2) {
		for (int d = 0; d < 4; d++) test_attention_case(k, 3, 10, head_dim, dtypes[d], 0, 700);
	}
}

int main(void) {
	const fg_kernels *list[4];
	int32_t n = fg_kernels_all(list);
	for (int32_t i = 0; i < n; i++) {
		random_state = 7; /* the same inputs for each */
		test_conversions(list[i]);
		test_fp8(list[i]);
		test_linear(list[i]);
		test_elementwise(list[i]);
		test_attention(list[i]);
	}
	return report("kernels_test");
}
