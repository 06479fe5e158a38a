/*
 * matmul.c - how a linear layer is shared out over threads: by output rows, and by tokens when there are many.
 */
#include "../numeric.h"
#include "cpu.h"

enum {
	MIN_ROWS = 16,           /* per item: a cache line of outputs */
	ITEMS_PER_THREAD = 4,    /* so that a thread that loses its core for a while delays the others little */
	BLOCK_BYTES = 256 << 10, /* inputs of one item, to stay in the second-level cache */
	TOKEN_STEP = 24,         /* a multiple of every kernel's tile */
};

typedef struct {
	cpu_ctx *ctx;
	const fg_matrix *w;
	const char *x; /* [n][cols] in `format` */
	fg_x_format format;
	float *y; /* [n][rows] */
	int32_t n, add;
	int32_t item_rows, item_tokens, n_row_items;
} job;

static void run_item(void *argument, int32_t index, int32_t thread) {
	const job *j = argument;
	int32_t token = index / j->n_row_items * j->item_tokens, low = index % j->n_row_items * j->item_rows;
	int32_t high = low + j->item_rows < j->w->rows ? low + j->item_rows : j->w->rows, start = 0;
	for (int32_t i = 0; i < j->w->n_parts; start += j->w->part[i++].rows) {
		const fg_matrix_part *part = &j->w->part[i];
		int32_t from = low > start ? low - start : 0, to = high - start < part->rows ? high - start : part->rows;
		if (from >= to) continue;
		size_t cols = (size_t)j->w->cols, n_scales = (size_t)cpu_input_scales(j->w);
		size_t scale_row =
			j->w->scheme.scaling == FG_BLOCKS ? (size_t)(from / FG_SCALE_BLOCK) * n_scales : (size_t)from;
		fg_linear_args args = {
			.x = j->x + (size_t)token * cols * fg_x_bytes(j->format),
			.w = (const char *)part->data + (size_t)from * cols * (size_t)fg_dtype_bytes(part->dtype),
			.y = j->y + (size_t)token * (size_t)j->w->rows + start + from,
			.y_stride = (size_t)j->w->rows,
			.n_tokens = j->n - token < j->item_tokens ? j->n - token : j->item_tokens,
			.n_rows = to - from,
			.k = j->w->cols,
			.w_dtype = part->dtype,
			.x_format = j->format,
			.add = j->add,
			.scaling = (fg_scaling)j->w->scheme.scaling,
			.x_scale = n_scales ? cpu_input_scale(j->ctx, j->x, j->w) + (size_t)token * n_scales : NULL,
			.w_scale = part->scale ? part->scale + scale_row : NULL,
			.scratch = j->ctx->linear_scratch + (size_t)thread * 16 * (size_t)j->ctx->widest,
			.block_row = from % FG_SCALE_BLOCK,
		};
		j->ctx->kernels->linear(&args);
	}
}

static int32_t round_up(int32_t n, int32_t multiple) {
	return (n + multiple - 1) / multiple * multiple;
}

static void multiply(fg_ctx *base, const void *x, const fg_matrix *w, int32_t n, float *y, int32_t add) {
	cpu_ctx *ctx = (cpu_ctx *)base;
	job j = {.ctx = ctx, .w = w, .x = x, .format = cpu_input_format(ctx, w), .y = y, .n = n, .add = add};
	int32_t threads = fg_pool_threads(ctx->pool);
	int64_t work = (int64_t)n * w->rows * w->cols;
	int32_t fit = (int32_t)(BLOCK_BYTES / (fg_x_bytes(j.format) * (size_t)w->cols));
	j.item_tokens = fit < TOKEN_STEP ? TOKEN_STEP : fit / TOKEN_STEP * TOKEN_STEP;
	int32_t n_blocks = (n + j.item_tokens - 1) / j.item_tokens;
	j.item_tokens = round_up((n + n_blocks - 1) / n_blocks, n > TOKEN_STEP ? TOKEN_STEP : 1);
	n_blocks = (n + j.item_tokens - 1) / j.item_tokens;
	int32_t row_items = work < FG_SMALL || threads == 1 ? 1 : threads * ITEMS_PER_THREAD;
	j.item_rows = round_up((w->rows + row_items - 1) / row_items, MIN_ROWS);
	j.n_row_items = (w->rows + j.item_rows - 1) / j.item_rows;
	fg_parallel(ctx->pool, n_blocks * j.n_row_items, run_item, &j);
}

void cpu_linear(fg_ctx *ctx, const void *x, const fg_matrix *w, int32_t n, void *y) {
	multiply(ctx, x, w, n, y, 0);
}

void cpu_linear_add(fg_ctx *ctx, const void *x, const fg_matrix *w, int32_t n, void *residual, fg_pending *pending) {
	multiply(ctx, x, w, n, residual, 1);
	*pending = (fg_pending){0};
}

void cpu_logits(fg_ctx *ctx, const void *x, const fg_matrix *w, int32_t n, float *logits) {
	multiply(ctx, x, w, n, logits, 0);
}
