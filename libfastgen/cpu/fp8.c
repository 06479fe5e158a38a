/*
 * fp8.c - FP8 on its way in: inputs of FP8 matrices, and weights that are quantised or widened while they load.
 */
#include "../numeric.h"
#include "cpu.h"

/* ---- inputs ---- */

fg_x_format cpu_input_format(const cpu_ctx *ctx, const fg_matrix *w) {
	if (w->scheme.scaling == FG_PLAIN) return ctx->x_format;
	return ctx->kernels->bf16_dot ? FG_X_BF16 : FG_X_F32; /* either holds FP8 values exactly */
}

int32_t cpu_scale_blocks(int32_t n) {
	return n / FG_SCALE_BLOCK + (n % FG_SCALE_BLOCK != 0);
}

int32_t cpu_input_scales(const fg_matrix *w) {
	return w->scheme.scaling == FG_BLOCKS ? cpu_scale_blocks(w->cols) : w->scheme.scaling == FG_ROWS;
}

size_t cpu_input_bytes(int32_t n, int32_t cols) {
	return (size_t)n * ((size_t)cols + (size_t)cpu_scale_blocks(cols)) * sizeof(float);
}

float *cpu_input_scale(const cpu_ctx *ctx, const void *x, const fg_matrix *w) {
	size_t values = (size_t)ctx->base.config->options.max_step_tokens * (size_t)w->cols;
	return (float *)((char *)x + values * fg_x_bytes(cpu_input_format(ctx, w)));
}

cpu_input cpu_input_begin(const cpu_ctx *ctx, const fg_matrix *w, int32_t t, void *x) {
	size_t at = (size_t)t * (size_t)w->cols;
	if (w->scheme.scaling != FG_PLAIN) return (cpu_input){(char *)(ctx->wide + at), FG_X_F32};
	return (cpu_input){(char *)x + at * fg_x_bytes(ctx->x_format), ctx->x_format};
}

void cpu_input_end(const cpu_ctx *ctx, const fg_matrix *w, int32_t t, void *x) {
	if (w->scheme.scaling == FG_PLAIN) return;
	const float *in = ctx->wide + (size_t)t * (size_t)w->cols;
	const fg_kernels *kernels = ctx->kernels;
	const fg_x_format format = cpu_input_format(ctx, w);
	const int32_t n_scales = cpu_input_scales(w), group = w->scheme.scaling == FG_BLOCKS ? FG_SCALE_BLOCK : w->cols;
	float *scales = cpu_input_scale(ctx, x, w) + (size_t)t * (size_t)n_scales;
	char *to = (char *)x + (size_t)t * (size_t)w->cols * fg_x_bytes(format);
	for (int32_t i = 0; i < n_scales; i++) {
		int32_t at = i * group, n = w->cols - at < group ? w->cols - at : group;
		float bound = w->scheme.input_bound, amax = kernels->amax(in + at, n);
		if (bound > 0 && amax > bound) amax = bound;
		scales[i] = w->scheme.input_scale > 0 ? w->scheme.input_scale : fg_fp8_scale(amax);
		kernels->quantize(in + at, n, scales[i], format == FG_X_BF16 ? FG_BF16 : FG_F32,
		                  to + (size_t)at * fg_x_bytes(format));
	}
}

/* ---- weights ---- */

enum { CHUNK = 1024 }; /* values of a row at a time */

typedef struct {
	const fg_kernels *kernels;
	const char *from;
	char *to;
	const fg_tensor *tensor; /* whose scales `widen` multiplies by */
	float *scale;            /* [rows] */
	int32_t cols, from_dtype, to_dtype;
} conversion;

static void quantize_row(void *argument, int32_t row, int32_t thread) {
	(void)thread;
	const conversion *c = argument;
	size_t size = (size_t)fg_dtype_bytes(c->from_dtype), start = (size_t)row * (size_t)c->cols;
	float values[CHUNK], amax = 0;
	for (int quantize = 0; quantize < 2; quantize++) {
		for (int32_t at = 0; at < c->cols; at += CHUNK) {
			int32_t n = c->cols - at < CHUNK ? c->cols - at : CHUNK;
			c->kernels->load(c->from + (start + (size_t)at) * size, n, c->from_dtype, values);
			float most = quantize ? 0 : c->kernels->amax(values, n);
			if (most > amax) amax = most;
			if (quantize) c->kernels->quantize(values, n, c->scale[row], FG_FP8_E4M3, c->to + start + (size_t)at);
		}
		c->scale[row] = fg_fp8_scale(amax);
	}
}

void cpu_quantize_rows(const cpu_ctx *ctx, const void *from, int32_t dtype, int32_t rows, int32_t cols, void *to,
                       float *scale) {
	conversion c = {.kernels = ctx->kernels, .from = from, .to = to, .scale = scale, .cols = cols, .from_dtype = dtype};
	fg_parallel(ctx->pool, rows, quantize_row, &c);
}

static void widen_row(void *argument, int32_t row, int32_t thread) {
	(void)thread;
	const conversion *c = argument;
	const fg_tensor *t = c->tensor;
	const int32_t block_rows = cpu_scale_blocks(t->rows);
	int32_t scale_row = t->scale_rows == t->rows ? row : t->scale_rows == block_rows ? row / FG_SCALE_BLOCK : 0;
	const float *scale = t->scale + (size_t)scale_row * (size_t)t->scale_cols;
	const char *from = c->from + (size_t)row * (size_t)t->cols;
	char *to = c->to + (size_t)row * (size_t)t->cols * (size_t)fg_dtype_bytes(c->to_dtype);
	float values[FG_SCALE_BLOCK];
	for (int32_t at = 0; at < t->cols; at += FG_SCALE_BLOCK) {
		int32_t n = t->cols - at < FG_SCALE_BLOCK ? t->cols - at : FG_SCALE_BLOCK;
		c->kernels->load(from + at, n, FG_FP8_E4M3, values);
		for (int32_t i = 0; i < n; i++) values[i] *= scale[t->scale_cols > 1 ? at / FG_SCALE_BLOCK : 0];
		c->kernels->store(values, n, c->to_dtype, to + (size_t)at * (size_t)fg_dtype_bytes(c->to_dtype));
	}
}

void cpu_widen(const cpu_ctx *ctx, const fg_tensor *t, const void *from, void *to, int32_t dtype) {
	conversion c = {.kernels = ctx->kernels, .from = from, .to = to, .tensor = t, .to_dtype = dtype};
	fg_parallel(ctx->pool, t->rows, widen_row, &c);
}
