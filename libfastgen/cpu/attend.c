/*
 * attend.c - attention, shared out over threads: its inputs, the write into the cache, and the items of its loops.
 */
#include "../numeric.h"
#include "cpu.h"

#include <string.h>

enum { ROPE_TOKENS = 16 }; /* at most, of one item: half a cache line of a row of K */

typedef struct {
	cpu_ctx *ctx;
	const fg_batch *batch;
	int32_t layer;
	float *qkv; /* [T][row] */
	char *out;
	const fg_matrix *next;                         /* that reads `out` */
	int32_t row, heads, kv_heads, group, head_dim; /* row: width of qkv */
	int32_t item_heads, items_per_group; /* a group of more heads than FG_ATTENTION_ROWS takes several items */
	int32_t items_per_block;             /* of query tokens: those of all groups */
	int32_t block_tokens;                /* query tokens of one item */
	int32_t rope_tokens;                 /* of one item of qkv_rope */
	int32_t n_spans;                     /* of the longest sequence, when each span is an item of its own; else 0 */
} job;

static job make_job(cpu_ctx *ctx, const fg_batch *batch, int32_t layer, const void *qkv, void *out) {
	const fg_shape *s = &ctx->base.config->shape;
	job j = {.ctx = ctx, .batch = batch, .layer = layer, .qkv = (float *)qkv, .out = out};
	j.heads = s->n_heads;
	j.kv_heads = s->n_kv_heads;
	j.group = s->n_heads / s->n_kv_heads;
	j.head_dim = s->head_dim;
	j.row = (s->n_heads + 2 * s->n_kv_heads) * s->head_dim;
	j.items_per_group = (j.group + FG_ATTENTION_ROWS - 1) / FG_ATTENTION_ROWS;
	j.items_per_block = j.kv_heads * j.items_per_group;
	j.item_heads = (j.group + j.items_per_group - 1) / j.items_per_group;
	j.block_tokens = FG_ATTENTION_ROWS / j.item_heads;
	return j;
}

/* Where K (which = 0) or V (1) of a layer's KV head begins in a page, in bytes. */
static size_t page_offset(const job *j, int which, int32_t kv_head) {
	int32_t dtype = j->ctx->base.config->options.kv_dtype;
	size_t panel = (size_t)FG_PAGE_TOKENS * (size_t)j->head_dim * (size_t)fg_dtype_bytes(dtype);
	size_t layer = (size_t)j->layer * fg_page_layer_bytes(j->kv_heads, j->head_dim, dtype);
	return layer + ((size_t)which * (size_t)j->kv_heads + (size_t)kv_head) * panel;
}

/* Where the 64 scales of FP8 keys (which = 0) or values (1) begin in a page, in bytes: behind all keys and values. */
static size_t scale_offset(const job *j, int which, int32_t kv_head) {
	size_t at = (size_t)which * (size_t)j->kv_heads + (size_t)kv_head;
	return page_offset(j, 2, 0) + at * FG_PAGE_TOKENS * sizeof(float);
}

static const int32_t *page_table(const job *j, int32_t slot) {
	return j->ctx->page_table + (size_t)slot * (size_t)j->ctx->base.config->pages_per_seq;
}

/* ---- bias, norm, RoPE, and the write into the cache ---- */

/* Writes a head of one token as the cache has it: to FP8 with a scale of its own. */
static void write_head(const job *j, const float *head, void *to, char *page, int which, int32_t kv_head, size_t at) {
	const fg_kernels *kernels = j->ctx->kernels;
	int32_t dtype = j->ctx->base.config->options.kv_dtype;
	if (dtype != FG_FP8_E4M3) {
		kernels->store(head, j->head_dim, dtype, to);
		return;
	}
	float *scale = (float *)(page + scale_offset(j, which, kv_head)) + at;
	*scale = fg_fp8_scale(kernels->amax(head, j->head_dim));
	kernels->quantize(head, j->head_dim, *scale, FG_FP8_E4M3, to);
}

/* Writes k and v of n tokens of one sequence that lie in one page. A row of K in the page runs along the tokens. */
static void write_kv(const job *j, int32_t first, int32_t n) {
	int32_t dtype = j->ctx->base.config->options.kv_dtype, position = j->batch->positions[first];
	int32_t slot = j->batch->seqs[j->batch->seq_of[first]].slot;
	size_t size = (size_t)fg_dtype_bytes(dtype), head_dim = (size_t)j->head_dim, at = (size_t)position % FG_PAGE_TOKENS;
	char *page = j->ctx->kv + (size_t)page_table(j, slot)[position / FG_PAGE_TOKENS] * j->ctx->page_bytes;
	for (int32_t h = 0; h < j->kv_heads; h++) {
		char columns[ROPE_TOKENS][FG_MAX_HEAD_DIM * sizeof(float)];
		char *k_to = page + page_offset(j, 0, h) + at * size,
			 *v_to = page + page_offset(j, 1, h) + at * head_dim * size;
		const float *k = j->qkv + (size_t)first * (size_t)j->row + (size_t)(j->heads + h) * head_dim;
		for (int32_t t = 0; t < n; t++, k += j->row) {
			const float *v = k + (size_t)j->kv_heads * head_dim;
			write_head(j, k, columns[t], page, 0, h, at + (size_t)t);
			write_head(j, v, v_to + (size_t)t * head_dim * size, page, 1, h, at + (size_t)t);
		}
		for (size_t d = 0; d < head_dim; d++, k_to += FG_PAGE_TOKENS * size) {
			if (size == 1) {
				for (int32_t t = 0; t < n; t++) k_to[t] = columns[t][d];
			} else if (size == 2) {
				for (int32_t t = 0; t < n; t++) memcpy(k_to + (size_t)t * 2, columns[t] + d * 2, 2);
			} else {
				for (int32_t t = 0; t < n; t++) memcpy(k_to + (size_t)t * 4, columns[t] + d * 4, 4);
			}
		}
	}
}

static void rotate(const job *j, int32_t token) {
	const cpu_ctx *ctx = j->ctx;
	const fg_layer *layer = &ctx->base.weights.layers[j->layer];
	float *row = j->qkv + (size_t)token * (size_t)j->row, eps = ctx->base.config->shape.rms_norm_eps;
	const float *cos = ctx->rope_cos + (size_t)token * (size_t)j->head_dim / 2;
	const float *sin = ctx->rope_sin + (size_t)token * (size_t)j->head_dim / 2;
	if (layer->qkv_bias) {
		for (int32_t i = 0; i < j->row; i++) row[i] += layer->qkv_bias[i];
	}
	for (int32_t h = 0; h < j->heads + j->kv_heads; h++) {
		float *v = row + (size_t)h * (size_t)j->head_dim;
		const float *norm = h < j->heads ? layer->q_norm : layer->k_norm;
		if (norm) ctx->kernels->rms_norm(v, norm, j->head_dim, eps, FG_X_F32, v);
		ctx->kernels->rope(v, cos, sin, j->head_dim);
	}
}

/* Some tokens of the step, of any sequences. */
static void rope_item(void *argument, int32_t item, int32_t thread) {
	(void)thread;
	const job *j = argument;
	const fg_batch *b = j->batch;
	int32_t end = (item + 1) * j->rope_tokens < b->n_tokens ? (item + 1) * j->rope_tokens : b->n_tokens;
	for (int32_t first = item * j->rope_tokens, t = first; t < end; first = t) {
		do {
			rotate(j, t++);
		} while (t < end && b->seq_of[t] == b->seq_of[first] && b->positions[t] % FG_PAGE_TOKENS);
		write_kv(j, first, t - first);
	}
}

void cpu_qkv_rope(fg_ctx *base, const fg_batch *batch, int32_t layer, void *qkv) {
	job j = make_job((cpu_ctx *)base, batch, layer, qkv, NULL);
	int32_t share = batch->n_tokens / fg_pool_threads(j.ctx->pool);
	j.rope_tokens = share < 4 ? 4 : share > ROPE_TOKENS ? ROPE_TOKENS : share;
	fg_parallel(j.ctx->pool, (batch->n_tokens + j.rope_tokens - 1) / j.rope_tokens, rope_item, &j);
}

/* ---- attention ---- */

/* One item: some query tokens of a sequence, and the heads of a group or some of them. */
typedef struct {
	int32_t seq, first, n_tokens; /* tokens: of the step */
	int32_t kv_head, head, n_heads;
	int32_t low[FG_ATTENTION_ROWS], high[FG_ATTENTION_ROWS];
	int32_t first_span, last_span;
	fg_attention_args args;
} item;

static item make_item(const job *j, int32_t index) {
	const cpu_ctx *ctx = j->ctx;
	const fg_config *config = ctx->base.config;
	cpu_block block = ctx->blocks[index / j->items_per_block];
	item it = {.seq = block.seq, .first = block.first, .n_tokens = block.n_tokens};
	it.kv_head = index % j->items_per_block / j->items_per_group;
	int32_t in_group = index % j->items_per_group * j->item_heads;
	it.head = it.kv_head * j->group + in_group;
	it.n_heads = j->group - in_group < j->item_heads ? j->group - in_group : j->item_heads;
	int32_t window = config->shape.layer_window[j->layer];
	for (int32_t t = 0; t < it.n_tokens; t++) {
		int32_t position = j->batch->positions[it.first + t];
		for (int32_t h = 0; h < it.n_heads; h++) {
			int32_t row = t * it.n_heads + h;
			it.low[row] = window && position >= window ? position - window + 1 : 0;
			it.high[row] = position + 1;
		}
	}
	int32_t n_rows = it.n_tokens * it.n_heads;
	it.first_span = it.low[0] / FG_SPAN_TOKENS; /* positions ascend with the rows */
	it.last_span = (it.high[n_rows - 1] - 1) / FG_SPAN_TOKENS;
	int fp8 = config->options.kv_dtype == FG_FP8_E4M3;
	it.args = (fg_attention_args){
		.kv = ctx->kv,
		.page_bytes = ctx->page_bytes,
		.k_offset = page_offset(j, 0, it.kv_head),
		.v_offset = page_offset(j, 1, it.kv_head),
		.k_scale_offset = fp8 ? scale_offset(j, 0, it.kv_head) : 0,
		.v_scale_offset = fp8 ? scale_offset(j, 1, it.kv_head) : 0,
		.pages = page_table(j, j->batch->seqs[it.seq].slot),
		.scale = ctx->attention_scale,
		.n_rows = n_rows,
		.head_dim = j->head_dim,
		.kv_dtype = config->options.kv_dtype,
	};
	return it;
}

static void load_queries(const job *j, const item *it, fg_attention_scratch *s) {
	for (int32_t t = 0, row = 0; t < it->n_tokens; t++) {
		const float *q = j->qkv + (size_t)(it->first + t) * (size_t)j->row + (size_t)it->head * (size_t)j->head_dim;
		for (int32_t h = 0; h < it->n_heads; h++, q += j->head_dim) {
			memcpy(s->q[row++], q, (size_t)j->head_dim * sizeof *q);
		}
	}
}

static void store_result(const job *j, const item *it, const fg_softmax *total) {
	for (int32_t t = 0, row = 0; t < it->n_tokens; t++) {
		cpu_input to = cpu_input_begin(j->ctx, j->next, it->first + t, j->out);
		size_t head_bytes = (size_t)j->head_dim * fg_x_bytes(to.format);
		for (int32_t h = it->head; h < it->head + it->n_heads; h++) {
			j->ctx->kernels->finish(total, row++, j->head_dim, to.format, to.row + (size_t)h * head_bytes);
		}
	}
}

static void clear(fg_softmax *s, int32_t n_rows) {
	memset(s->sum, 0, (size_t)n_rows * sizeof *s->sum);
}

static void whole_item(void *argument, int32_t index, int32_t thread) {
	const job *j = argument;
	/* The last blocks of a prompt see the most keys: start with them. */
	item it = make_item(j, j->ctx->n_blocks * j->items_per_block - 1 - index);
	fg_attention_scratch *s = &j->ctx->attention_scratch[thread];
	it.args.low = it.low;
	it.args.high = it.high;
	load_queries(j, &it, s);
	if (it.first_span == it.last_span) { /* merging one run into nothing would copy it */
		j->ctx->kernels->attend(&it.args, it.first_span, s);
		store_result(j, &it, &s->run);
		return;
	}
	clear(&s->total, it.args.n_rows);
	for (int32_t span = it.first_span; span <= it.last_span; span++) {
		j->ctx->kernels->attend(&it.args, span, s);
		j->ctx->kernels->merge(&s->total, &s->run, it.args.n_rows, j->head_dim);
	}
	store_result(j, &it, &s->total);
}

/* The same, with every span an item of its own: for few and long sequences. */
static void span_item(void *argument, int32_t index, int32_t thread) {
	const job *j = argument;
	int32_t span = index % j->n_spans;
	item it = make_item(j, index / j->n_spans);
	if (span < it.first_span || span > it.last_span) return;
	fg_attention_scratch *s = &j->ctx->attention_scratch[thread];
	it.args.low = it.low;
	it.args.high = it.high;
	load_queries(j, &it, s);
	j->ctx->kernels->attend(&it.args, span, s);
	fg_softmax *partial = &j->ctx->partials[index];
	clear(partial, it.args.n_rows);
	j->ctx->kernels->merge(partial, &s->run, it.args.n_rows, j->head_dim);
}

static void merge_item(void *argument, int32_t whole, int32_t thread) {
	const job *j = argument;
	item it = make_item(j, whole);
	fg_softmax *total = &j->ctx->attention_scratch[thread].total;
	clear(total, it.args.n_rows);
	for (int32_t span = it.first_span; span <= it.last_span; span++) {
		j->ctx->kernels->merge(total, &j->ctx->partials[whole * j->n_spans + span], it.args.n_rows, j->head_dim);
	}
	store_result(j, &it, total);
}

void cpu_list_blocks(cpu_ctx *ctx, const fg_batch *batch) {
	job j = make_job(ctx, batch, 0, NULL, NULL);
	ctx->n_blocks = 0;
	ctx->longest = 0;
	for (int32_t i = 0; i < batch->n_seqs; i++) {
		const fg_step_seq *q = &batch->seqs[i];
		if (q->context > ctx->longest) ctx->longest = q->context;
		for (int32_t at = 0; at < q->n_new; at += j.block_tokens) {
			int32_t n = q->n_new - at < j.block_tokens ? q->n_new - at : j.block_tokens;
			ctx->blocks[ctx->n_blocks++] = (cpu_block){i, batch->first_token[i] + at, n};
		}
	}
}

/* Once all heads of a token are there. */
static void end_token(void *argument, int32_t t, int32_t thread) {
	(void)thread;
	const job *j = argument;
	cpu_input_end(j->ctx, j->next, t, j->out);
}

void cpu_attention(fg_ctx *base, const fg_batch *batch, int32_t layer, const void *qkv, const fg_matrix *next,
                   void *out) {
	cpu_ctx *ctx = (cpu_ctx *)base;
	job j = make_job(ctx, batch, layer, qkv, out);
	j.next = next;
	int32_t items = ctx->n_blocks * j.items_per_block, threads = fg_pool_threads(ctx->pool);
	int32_t n_spans = (ctx->longest + FG_SPAN_TOKENS - 1) / FG_SPAN_TOKENS;
	if (threads > 1 && n_spans > 1 && items < 4 * threads && (int64_t)items * n_spans <= CPU_PARTIALS) {
		j.n_spans = n_spans;
		fg_parallel(ctx->pool, items * n_spans, span_item, &j);
		for (int32_t i = 0; i < items; i++) merge_item(&j, i, 0);
	} else if ((int64_t)items * j.block_tokens * ctx->longest * j.head_dim < FG_SMALL) {
		for (int32_t i = 0; i < items; i++) whole_item(&j, i, 0);
	} else {
		fg_parallel(ctx->pool, items, whole_item, &j);
	}
	if (next->scheme.scaling != FG_PLAIN) fg_parallel(ctx->pool, batch->n_tokens, end_token, &j);
}
