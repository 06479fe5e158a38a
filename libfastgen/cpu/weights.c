/*
 * weights.c - loads the weights: matrices stay where their files are mapped, or are converted into copies where the CPU
 * cannot compute with them in place; norms and biases become float32.
 */
#include "../engine.h"
#include "../numeric.h"
#include "../random.h"
#include "files.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PROGRESS_BYTES = 16 << 20 }; /* between two updates of the progress */

typedef struct {
	cpu_ctx *ctx;
	const fg_tensor_table *table; /* NULL: random weights */
	cpu_files files;
	uint64_t seed;
	atomic_ullong *done;
	atomic_int *cancel;
} loader;

static fg_status cancelled(void) {
	return fg_fail(FG_INVALID, "loading was stopped because the engine is being closed");
}

/* ---- reading ---- */

typedef struct {
	const fg_kernels *kernels;
	const char *from;
	char *to;
	size_t n; /* elements */
	int32_t from_dtype, to_dtype;
} conversion;

enum { CONVERT = 4096 }; /* elements of one item */

static void convert_item(void *argument, int32_t item, int32_t thread) {
	(void)thread;
	conversion *c = argument;
	float buffer[CONVERT];
	size_t at = (size_t)item * CONVERT, n = c->n - at < CONVERT ? c->n - at : CONVERT;
	c->kernels->load(c->from + at * (size_t)fg_dtype_bytes(c->from_dtype), (int32_t)n, c->from_dtype, buffer);
	c->kernels->store(buffer, (int32_t)n, c->to_dtype, c->to + at * (size_t)fg_dtype_bytes(c->to_dtype));
}

/* Reads a tensor: in place when `to` is NULL, else converting it (not FP8 to or from another dtype) into `to`. */
static fg_status read_tensor(loader *l, const fg_tensor *t, const fg_file *file, const char *data, char *to,
                             int32_t to_dtype) {
	size_t size = (size_t)fg_dtype_bytes(t->dtype), to_size = (size_t)fg_dtype_bytes(to_dtype);
	for (uint64_t at = 0; at < t->bytes; at += PROGRESS_BYTES) {
		if (atomic_load(l->cancel)) return cancelled();
		uint64_t n = t->bytes - at < PROGRESS_BYTES ? t->bytes - at : PROGRESS_BYTES;
		fg_status status = file ? cpu_files_populate(&l->files, file, t->offset + at, n) : FG_OK;
		if (status) return status;
		if (to) {
			conversion c = {.kernels = l->ctx->kernels,
			                .from = data + at,
			                .to = to + at / size * to_size,
			                .n = n / size,
			                .from_dtype = t->dtype,
			                .to_dtype = to_dtype};
			fg_parallel(l->ctx->pool, (int32_t)((c.n + CONVERT - 1) / CONVERT), convert_item, &c);
		}
		atomic_fetch_add(l->done, n);
	}
	return FG_OK;
}

/* ---- making ---- */

typedef struct {
	char *to;
	size_t n;
	uint64_t stream;
	float range;
	int32_t dtype;
	atomic_ullong *done;
	atomic_int *cancel;
} making;

static void make_item(void *argument, int32_t item, int32_t thread) {
	(void)thread;
	making *m = argument;
	if (atomic_load(m->cancel)) return; /* a tensor may be large */
	size_t begin = (size_t)item * CONVERT, end = begin + CONVERT < m->n ? begin + CONVERT : m->n;
	for (size_t i = begin; i < end; i++) {
		fg_write(m->to, m->dtype, i, fg_random_uniform(m->stream, i) * m->range);
	}
	atomic_fetch_add(m->done, (end - begin) * (size_t)fg_dtype_bytes(m->dtype));
}

static fg_status make_tensor(loader *l, fg_role role, int32_t layer, size_t rows, size_t cols, int32_t dtype,
                             char *to) {
	making m = {.to = to,
	            .n = rows * cols,
	            .stream = fg_random_stream(l->seed, role, layer),
	            .range = fg_random_range((int32_t)cols),
	            .dtype = dtype,
	            .done = l->done,
	            .cancel = l->cancel};
	fg_parallel(l->ctx->pool, (int32_t)((m.n + CONVERT - 1) / CONVERT), make_item, &m);
	return atomic_load(l->cancel) ? cancelled() : FG_OK;
}

/* ---- weights ---- */

/* Where a part's values come from. */
typedef struct {
	fg_role role;
	int32_t layer, rows, cols;
	const fg_tensor *tensor; /* NULL: random */
	const fg_file *file;     /* NULL: in memory */
	const char *data;
} source;

/* Loads a vector into to[rows], as float32. */
static fg_status load_vector(loader *l, fg_role role, int32_t layer, float *to) {
	int32_t rows, cols;
	fg_role_dims(&l->ctx->base.config->shape, role, &rows, &cols);
	if (l->table) {
		const fg_file *file;
		const fg_tensor *t = fg_table_find(l->table, layer, role, &file);
		const char *data = NULL;
		fg_status status = cpu_files_find(&l->files, t, file, &data);
		return status ? status : read_tensor(l, t, file, data, (char *)to, FG_F32);
	}
	if (role == FG_Q_BIAS || role == FG_K_BIAS || role == FG_V_BIAS) {
		return make_tensor(l, role, layer, (size_t)rows, 1, FG_F32, (char *)to);
	}
	for (int32_t i = 0; i < rows; i++) to[i] = 1;
	atomic_fetch_add(l->done, (size_t)rows * sizeof(float));
	return FG_OK;
}

static fg_status load_vectors(loader *l, int32_t layer, int n, const fg_role *roles, const float **out) {
	int32_t rows, cols, total = 0;
	const fg_shape *shape = &l->ctx->base.config->shape;
	for (int i = 0; i < n; i++) {
		fg_role_dims(shape, roles[i], &rows, &cols);
		total += rows;
	}
	*out = NULL;
	if (!total) return FG_OK; /* the family has none */
	float *to = cpu_alloc(&l->ctx->weight_memory, (size_t)total * sizeof *to, "a vector of weights");
	if (!to) return FG_OUT_OF_MEMORY;
	*out = to;
	for (int i = 0; i < n; i++) {
		fg_status status = load_vector(l, roles[i], layer, to);
		if (status) return status;
		fg_role_dims(shape, roles[i], &rows, &cols);
		to += rows;
	}
	return FG_OK;
}

/* Reads the tensor (or makes random values) into `to`, or in place where to is NULL. */
static fg_status fill_part(loader *l, const source *s, char *to, int32_t dtype) {
	if (s->tensor) return read_tensor(l, s->tensor, s->file, s->data, to, dtype);
	return make_tensor(l, s->role, s->layer, (size_t)s->rows, (size_t)s->cols, dtype, to);
}

/* The scales of a part of an FP8 matrix, in memory of their own. */
static float *alloc_scales(loader *l, const source *s, int32_t scaling) {
	size_t n = (size_t)s->rows;
	if (scaling == FG_BLOCKS) n = (size_t)cpu_scale_blocks(s->rows) * (size_t)cpu_scale_blocks(s->cols);
	float *scale = cpu_alloc(&l->ctx->weight_memory, n * sizeof *scale, "scales");
	const fg_tensor *t = s->tensor;
	for (size_t i = 0; scale && t && t->scale && i < n; i++) {
		scale[i] = t->scale[t->scale_rows * t->scale_cols == 1 ? 0 : i];
	}
	return scale;
}

/* Quantises a part that is not FP8 in the checkpoint, or is random. */
static fg_status quantize_part(loader *l, const source *s, fg_matrix_part *part, char *to, float *scale) {
	int32_t dtype = s->tensor ? s->tensor->dtype : l->ctx->base.config->options.compute_dtype;
	size_t bytes = (size_t)s->rows * (size_t)s->cols * (size_t)fg_dtype_bytes(dtype);
	char *values = s->tensor ? NULL : malloc(bytes);
	if (!s->tensor && !values) return fg_fail(FG_OUT_OF_MEMORY, "no memory for random weights");
	fg_status status = fill_part(l, s, values, dtype);
	if (!status) cpu_quantize_rows(l->ctx, values ? values : s->data, dtype, s->rows, s->cols, to, scale);
	free(values);
	part->dtype = FG_FP8_E4M3;
	return status;
}

/* The dtype that a part is kept in, unless it is to be quantised. bf16 arithmetic would round float32 weights anyway;
 * FP8 in a plain matrix becomes compute_dtype; all others are widened as they are read. */
static int32_t kept_dtype(const loader *l, const source *s, int32_t scaling) {
	int32_t compute = l->ctx->base.config->options.compute_dtype;
	if (!s->tensor) return compute;
	int32_t stored = s->tensor->dtype;
	if (stored == FG_FP8_E4M3) return scaling == FG_PLAIN ? compute : stored;
	return compute == FG_BF16 && stored == FG_F32 ? FG_BF16 : stored;
}

static fg_status load_part(loader *l, fg_role role, int32_t layer, int32_t scaling, fg_matrix_part *part) {
	source s = {.role = role, .layer = layer};
	fg_role_dims(&l->ctx->base.config->shape, role, &s.rows, &s.cols);
	if (l->table) {
		s.tensor = fg_table_find(l->table, layer, role, &s.file);
		fg_status status = cpu_files_find(&l->files, s.tensor, s.file, &s.data);
		if (status) return status;
	}
	int32_t stored = s.tensor ? s.tensor->dtype : -1;
	int quantize = scaling != FG_PLAIN && stored != FG_FP8_E4M3, widen = scaling == FG_PLAIN && stored == FG_FP8_E4M3;
	part->rows = s.rows;
	part->dtype = kept_dtype(l, &s, scaling);
	if (scaling != FG_PLAIN && !(part->scale = alloc_scales(l, &s, scaling))) return FG_OUT_OF_MEMORY;
	int aligned = (uintptr_t)s.data % (uintptr_t)fg_dtype_bytes(part->dtype) == 0;
	if (s.file && part->dtype == stored && aligned && !quantize) {
		part->data = s.data;
		return fill_part(l, &s, NULL, 0);
	}
	int32_t dtype = quantize ? FG_FP8_E4M3 : part->dtype;
	char *to =
		cpu_alloc(&l->ctx->weight_memory, (size_t)s.rows * (size_t)s.cols * (size_t)fg_dtype_bytes(dtype), "weights");
	if (!to) return FG_OUT_OF_MEMORY;
	part->data = to;
	if (quantize) return quantize_part(l, &s, part, to, (float *)part->scale);
	if (!widen) return fill_part(l, &s, to, part->dtype);
	fg_status status = fill_part(l, &s, NULL, 0);
	if (!status) cpu_widen(l->ctx, s.tensor, s.data, to, part->dtype);
	return status;
}

static fg_status load_matrix(loader *l, int32_t layer, int n, const fg_role *roles, fg_matrix *matrix) {
	memset(matrix, 0, sizeof *matrix);
	matrix->n_parts = n;
	matrix->scheme = fg_table_scheme(l->table, l->ctx->base.config, layer, n, roles);
	for (int i = 0; i < n; i++) {
		int32_t rows;
		fg_status status = load_part(l, roles[i], layer, matrix->scheme.scaling, &matrix->part[i]);
		if (status) return status;
		fg_role_dims(&l->ctx->base.config->shape, roles[i], &rows, &matrix->cols);
		matrix->rows += rows;
	}
	return FG_OK;
}

#define ROLES(...)                                                                                                     \
	(int)(sizeof((fg_role[]){__VA_ARGS__}) / sizeof(fg_role)), (const fg_role[]) {                                     \
		__VA_ARGS__                                                                                                    \
	}

static fg_status load_layer(loader *l, int32_t i, fg_layer *layer) {
	fg_status status = load_vectors(l, i, ROLES(FG_ATTN_NORM), &layer->attn_norm);
	if (!status) status = load_vectors(l, i, ROLES(FG_MLP_NORM), &layer->mlp_norm);
	if (!status) status = load_vectors(l, i, ROLES(FG_Q_BIAS, FG_K_BIAS, FG_V_BIAS), &layer->qkv_bias);
	if (!status) status = load_vectors(l, i, ROLES(FG_Q_NORM), &layer->q_norm);
	if (!status) status = load_vectors(l, i, ROLES(FG_K_NORM), &layer->k_norm);
	if (!status) status = load_matrix(l, i, ROLES(FG_Q, FG_K, FG_V), &layer->qkv);
	if (!status) status = load_matrix(l, i, ROLES(FG_O), &layer->o);
	if (!status) status = load_matrix(l, i, ROLES(FG_GATE, FG_UP), &layer->gate_up);
	if (!status) status = load_matrix(l, i, ROLES(FG_DOWN), &layer->down);
	return status;
}

/* Whether its inputs may be bf16; those of FP8 matrices do not matter (cpu_input_format). */
static int takes_bf16(const fg_matrix *m) {
	if (m->scheme.scaling != FG_PLAIN) return 1;
	for (int32_t i = 0; i < m->n_parts; i++) {
		if (m->part[i].dtype != FG_BF16) return 0;
	}
	return 1;
}

/* Activations are kept as bf16 if every product has bf16 weights and the CPU has instructions for it. */
static fg_x_format choose_format(const cpu_ctx *ctx) {
	const fg_weights *w = &ctx->base.weights;
	int32_t compute = ctx->base.config->options.compute_dtype;
	if (compute == FG_F32) return FG_X_F32;
	if (compute == FG_F16) return FG_X_ROUND_F16;
	int bf16 = ctx->kernels->bf16_dot && takes_bf16(&w->lm_head);
	for (int32_t i = 0; i < ctx->base.config->shape.n_layers; i++) {
		const fg_layer *l = &w->layers[i];
		bf16 = bf16 && takes_bf16(&l->qkv) && takes_bf16(&l->o) && takes_bf16(&l->gate_up) && takes_bf16(&l->down);
	}
	return bf16 ? FG_X_BF16 : FG_X_ROUND_BF16;
}

void cpu_drop_weights(cpu_ctx *ctx) {
	cpu_free_memory(&ctx->weight_memory);
	memset(&ctx->base.weights, 0, sizeof ctx->base.weights);
}

static fg_status load_all(loader *l) {
	cpu_ctx *ctx = l->ctx;
	fg_weights *w = &ctx->base.weights;
	const fg_shape *shape = &ctx->base.config->shape;
	w->layers = cpu_alloc(&ctx->weight_memory, (size_t)shape->n_layers * sizeof *w->layers, "the list of layers");
	if (!w->layers) return FG_OUT_OF_MEMORY;
	fg_status status = load_matrix(l, 0, ROLES(FG_EMBED), &w->embed);
	for (int32_t i = 0; i < shape->n_layers && !status; i++) status = load_layer(l, i, &w->layers[i]);
	if (!status) status = load_vectors(l, 0, ROLES(FG_FINAL_NORM), &w->final_norm);
	if (!status && !shape->tied_embeddings) status = load_matrix(l, 0, ROLES(FG_LM_HEAD), &w->lm_head);
	if (shape->tied_embeddings) w->lm_head = w->embed;
	if (!status) ctx->x_format = choose_format(ctx);
	return status;
}

fg_status cpu_load(fg_ctx *base, const fg_tensor_table *table, atomic_ullong *done, atomic_int *cancel) {
	cpu_ctx *ctx = (cpu_ctx *)base;
	loader l = {.ctx = ctx, .table = table, .done = done, .cancel = cancel};
	cpu_drop_weights(ctx); /* first, so that two sets never take memory at once */
	fg_status status = cpu_files_open(&l.files, ctx, table);
	if (!status) status = load_all(&l);
	cpu_files_close(&l.files);
	return status;
}

fg_status cpu_load_random(fg_ctx *base, uint64_t seed, atomic_ullong *done, atomic_int *cancel) {
	loader l = {.ctx = (cpu_ctx *)base, .seed = seed, .done = done, .cancel = cancel};
	cpu_drop_weights(l.ctx);
	return load_all(&l);
}
