/*
 * kernels.h - the inner loops, compiled once per instruction set from the same sources (linear.c, attention.c,
 * elementwise.c) and chosen at run time.
 *
 * On one instruction set every function is bitwise invariant: what it computes for a token depends neither on how many
 * other tokens or rows the call has, nor on the token's place among them.
 */
#ifndef FG_KERNELS_H
#define FG_KERNELS_H

#include "../ops.h"

/* How activations that linear reads are stored: float32, exact or rounded to compute_dtype; or bf16, where the CPU has
 * bf16 dot products. */
typedef enum { FG_X_F32, FG_X_ROUND_F16, FG_X_ROUND_BF16, FG_X_BF16 } fg_x_format;

static inline size_t fg_x_bytes(fg_x_format format) {
	return format == FG_X_BF16 ? 2 : 4;
}

typedef struct {
	const void *x; /* [n_tokens][k] in x_format */
	const void *w; /* [n_rows][k] of w_dtype */
	float *y;      /* [n_tokens][y_stride], written in [0, n_rows) of each token */
	size_t y_stride;
	int32_t n_tokens, n_rows, k;
	int32_t w_dtype;
	fg_x_format x_format; /* FG_X_BF16 only where w_dtype is FG_BF16 or FG_FP8_E4M3 and kernels.bf16_dot is set */
	int32_t add;          /* y += instead of y = */
	/* of FG_FP8_E4M3 weights */
	fg_scaling scaling;
	const float *x_scale; /* FG_ROWS: [n_tokens]; FG_BLOCKS: [n_tokens][ceil(k / 128)] */
	const float *w_scale; /* FG_ROWS: [n_rows]; FG_BLOCKS: [block rows][ceil(k / 128)], from the first block row on */
	void *scratch;        /* of the thread: 16 * k bytes */
	int32_t block_row;    /* FG_BLOCKS: row 0 of w is this row of the first block row, 0 <= block_row < 128 */
} fg_linear_args;

enum {
	FG_ATTENTION_ROWS = 32, /* most query rows of one call */
	FG_SPAN_TOKENS = 512,   /* keys are summed up in spans of this many, at absolute positions, then the spans' sums */
	FG_MAX_HEAD_DIM = 128,
};

/* Softmax in progress: sum of exp(score - max) * v over the keys seen, not yet divided by `sum`. */
typedef struct {
	_Alignas(64) float acc[FG_ATTENTION_ROWS][FG_MAX_HEAD_DIM];
	float max[FG_ATTENTION_ROWS];
	float sum[FG_ATTENTION_ROWS]; /* 0 = no keys seen */
} fg_softmax;

/* Scratch of one thread. */
typedef struct {
	fg_softmax run;   /* the current span */
	fg_softmax total; /* the spans before it */
	_Alignas(64) float q[FG_ATTENTION_ROWS][FG_MAX_HEAD_DIM];
	_Alignas(64) float scores[FG_ATTENTION_ROWS][FG_PAGE_TOKENS];
} fg_attention_scratch;

/* Rows that attend through one KV head: scratch->q[row] sees the keys [low[row], high[row]). */
typedef struct {
	const char *kv; /* the page pool */
	size_t page_bytes;
	size_t k_offset;       /* in a page: K of this layer and head, [head_dim][64] */
	size_t v_offset;       /* in a page: V of this layer and head, [64][head_dim] */
	size_t k_scale_offset; /* in a page: of FP8 keys, float [64]; likewise of values */
	size_t v_scale_offset;
	const int32_t *pages; /* the sequence's page table */
	const int32_t *low, *high;
	float scale; /* of the scores */
	int32_t n_rows, head_dim, kv_dtype;
} fg_attention_args;

typedef struct {
	const char *isa;
	int32_t bf16_dot;
	void (*linear)(const fg_linear_args *args);
	/* scratch->run = attention over the keys of span `span` (positions [span * 512, span * 512 + 512)) alone */
	void (*attend)(const fg_attention_args *args, int32_t span, fg_attention_scratch *scratch);
	/* total = total merged with run, row by row */
	void (*merge)(fg_softmax *total, const fg_softmax *run, int32_t n_rows, int32_t head_dim);
	/* out[row] = total / its sum; out is the first of head_dim values in `format` */
	void (*finish)(const fg_softmax *total, int32_t row, int32_t head_dim, fg_x_format format, void *out);
	/* x[n] = in[n] / rms(in) * weight[n] */
	void (*rms_norm)(const float *in, const float *weight, int32_t n, float eps, fg_x_format format, void *x);
	/* x[n] = silu(gate[n]) * up[n] */
	void (*silu_mul)(const float *gate, const float *up, int32_t n, fg_x_format format, void *x);
	/* One head: v[head_dim] in place; cos, sin: [head_dim / 2] */
	void (*rope)(float *v, const float *cos, const float *sin, int32_t head_dim);
	/* out[n] = in[n], converted to dtype */
	void (*store)(const float *in, int32_t n, int32_t dtype, void *out);
	/* out[n] = in[n], converted from dtype */
	void (*load)(const void *in, int32_t n, int32_t dtype, float *out);
	/* The greatest magnitude that is not NaN, 0 when there is none. */
	float (*amax)(const float *in, int32_t n);
	/* out[n] = in[n] / scale rounded to FP8, stored as dtype: FG_FP8_E4M3, or FG_BF16 or FG_F32, which hold the same
	 * values. scale: finite or infinite, > 0. */
	void (*quantize)(const float *in, int32_t n, float scale, int32_t dtype, void *out);
} fg_kernels;

/* The best for this CPU, or what FASTGEN_CPU_ISA names (scalar, avx2, avx512, avx512bf16). NULL, with fg_error's text
 * set, when it names one that the CPU lacks. */
const fg_kernels *fg_kernels_choose(void);

/* The instruction sets that are built in and that this CPU has, worst first, in list. Returns how many. */
int32_t fg_kernels_all(const fg_kernels *list[4]);

#endif
