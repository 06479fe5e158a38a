/*
 * ops.c - the op table of the CPU. Every op is done when it returns.
 */
#include "../clock.h"
#include "../cores.h"
#include "../masks.h"
#include "../numeric.h"
#include "cpu.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- life ---- */

static fg_status cpu_open(const fg_config *config, int32_t rank, fg_ctx **out) {
	const fg_options *o = &config->options;
	if (o->n_devices != 1 || o->devices[0] != 0) {
		return fg_fail(FG_UNSUPPORTED, "the CPU is one device, number 0; ask for that");
	}
	if (!o->kv_bytes)
		return fg_fail(FG_INVALID, "kv_bytes is 0; the CPU library must be told the size of its KV cache");
	const fg_kernels *kernels = fg_kernels_choose();
	if (!kernels) return FG_INVALID;
	cpu_ctx *ctx = calloc(1, sizeof *ctx);
	if (!ctx) return fg_fail(FG_OUT_OF_MEMORY, "no memory for an op context");
	*out = &ctx->base;
	ctx->base.config = config;
	ctx->base.rank = rank;
	ctx->kernels = kernels;
	ctx->attention_scale = 1.0f / sqrtf((float)config->shape.head_dim);
	return fg_pool_new(o->n_threads ? o->n_threads : fg_cores(), &ctx->pool);
}

static void cpu_close(fg_ctx *base) {
	cpu_ctx *ctx = (cpu_ctx *)base;
	fg_pool_free(ctx->pool);
	for (int32_t i = 0; ctx->samplers && i < base->config->options.max_seqs; i++) fg_sampler_free(ctx->samplers[i]);
	cpu_free_memory(&ctx->memory);
	cpu_free_memory(&ctx->weight_memory);
	free(ctx);
}

static fg_status make_cache(cpu_ctx *ctx, const char *what, uint64_t bytes, char **pool, int32_t *n_pages) {
	uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE), n = bytes / ctx->page_bytes;
	if (bytes > memory) {
		return fg_fail(FG_OUT_OF_MEMORY, "%s is %.1f GiB but the machine has %.1f GiB of memory; ask for less", what,
		               (double)bytes / (1 << 30), (double)memory / (1 << 30));
	}
	*n_pages = (int32_t)(n > INT32_MAX ? INT32_MAX : n);
	*pool = cpu_alloc(&ctx->memory, (size_t)*n_pages * ctx->page_bytes, what);
	return *pool ? FG_OK : FG_OUT_OF_MEMORY;
}

static fg_status make_state(cpu_ctx *ctx) {
	const fg_options *o = &ctx->base.config->options;
	const fg_shape *s = &ctx->base.config->shape;
	size_t seqs = (size_t)o->max_seqs, threads = (size_t)fg_pool_threads(ctx->pool),
		   tokens = (size_t)o->max_step_tokens;
	size_t rope = tokens * (size_t)s->head_dim / 2 * sizeof(float);
	ctx->sample_scratch_bytes = (fg_sample_scratch_bytes(s->vocab_size) + 63) & ~(size_t)63;
	ctx->widest = s->n_heads * s->head_dim;
	if (s->hidden_size > ctx->widest) ctx->widest = s->hidden_size;
	if (s->intermediate_size > ctx->widest) ctx->widest = s->intermediate_size;
	ctx->linear_scratch = cpu_alloc(&ctx->memory, threads * 16 * (size_t)ctx->widest, "scratch");
	ctx->page_table =
		cpu_alloc(&ctx->memory, seqs * (size_t)ctx->base.config->pages_per_seq * sizeof(int32_t), "page tables");
	ctx->last_token = cpu_alloc(&ctx->memory, seqs * sizeof(int32_t), "slots");
	ctx->samplers = cpu_alloc(&ctx->memory, seqs * sizeof *ctx->samplers, "slots");
	size_t masks = FG_STEPS_IN_FLIGHT * seqs;
	ctx->mask_words = cpu_alloc(&ctx->memory, masks * fg_mask_stride(s->vocab_size) * sizeof(uint32_t), "masks");
	ctx->mask_state = cpu_alloc(&ctx->memory, masks * sizeof(int32_t), "masks");
	ctx->blocks = cpu_alloc(&ctx->memory, tokens * sizeof *ctx->blocks, "scratch");
	ctx->rope_cos = cpu_alloc(&ctx->memory, rope, "scratch");
	ctx->rope_sin = cpu_alloc(&ctx->memory, rope, "scratch");
	ctx->sample_scratch = cpu_alloc(&ctx->memory, threads * ctx->sample_scratch_bytes, "scratch");
	ctx->attention_scratch = cpu_alloc(&ctx->memory, threads * sizeof *ctx->attention_scratch, "scratch");
	ctx->partials = cpu_alloc(&ctx->memory, CPU_PARTIALS * sizeof *ctx->partials, "scratch");
	return ctx->linear_scratch && ctx->page_table && ctx->last_token && ctx->samplers && ctx->mask_words &&
	               ctx->mask_state && ctx->blocks && ctx->rope_cos && ctx->rope_sin && ctx->sample_scratch &&
	               ctx->attention_scratch && ctx->partials
			   ? FG_OK
			   : FG_OUT_OF_MEMORY;
}

static fg_status make_buffers(cpu_ctx *ctx) {
	const fg_shape *s = &ctx->base.config->shape;
	fg_buffers *b = &ctx->base.buf;
	int32_t tokens = ctx->base.config->options.max_step_tokens;
	size_t n = (size_t)tokens, hidden = (size_t)s->hidden_size, inter = (size_t)s->intermediate_size;
	size_t q = (size_t)(s->n_heads * s->head_dim), kv = (size_t)(s->n_kv_heads * s->head_dim);
	b->logit_rows = n < CPU_LOGIT_ROWS ? (int32_t)n : CPU_LOGIT_ROWS;
	b->residual = cpu_alloc(&ctx->memory, n * hidden * sizeof(float), "activations");
	b->x = cpu_alloc(&ctx->memory, cpu_input_bytes(tokens, s->hidden_size), "activations");
	b->qkv = cpu_alloc(&ctx->memory, n * (q + 2 * kv) * sizeof(float), "activations");
	b->attn = cpu_alloc(&ctx->memory, cpu_input_bytes(tokens, s->n_heads * s->head_dim), "activations");
	b->gate_up = cpu_alloc(&ctx->memory, n * 2 * inter * sizeof(float), "activations");
	b->act = cpu_alloc(&ctx->memory, cpu_input_bytes(tokens, s->intermediate_size), "activations");
	b->rows = cpu_alloc(&ctx->memory, (size_t)b->logit_rows * hidden * sizeof(float), "activations");
	b->logits = cpu_alloc(&ctx->memory, (size_t)b->logit_rows * (size_t)s->vocab_size * sizeof(float), "logits");
	ctx->wide = cpu_alloc(&ctx->memory, n * (size_t)ctx->widest * sizeof(float), "activations");
	ctx->sample_order = cpu_alloc(&ctx->memory, (size_t)b->logit_rows * sizeof(int32_t), "scratch");
	return ctx->sample_order && ctx->wide && b->residual && b->x && b->qkv && b->attn && b->gate_up && b->act &&
	               b->rows && b->logits
			   ? FG_OK
			   : FG_OUT_OF_MEMORY;
}

static uint64_t matrix_bytes(const fg_matrix *m) {
	uint64_t bytes = 0;
	for (int32_t i = 0; i < m->n_parts; i++) {
		bytes += (uint64_t)m->part[i].rows * (uint64_t)m->cols * (uint64_t)fg_dtype_bytes(m->part[i].dtype);
		if (m->scheme.scaling == FG_ROWS) bytes += (uint64_t)m->part[i].rows * sizeof(float);
		if (m->scheme.scaling == FG_BLOCKS) {
			bytes += (uint64_t)cpu_scale_blocks(m->part[i].rows) * (uint64_t)cpu_scale_blocks(m->cols) * sizeof(float);
		}
	}
	return bytes;
}

static uint64_t weight_bytes(const cpu_ctx *ctx) {
	const fg_weights *w = &ctx->base.weights;
	const fg_shape *s = &ctx->base.config->shape;
	uint64_t bytes = matrix_bytes(&w->embed) + (s->tied_embeddings ? 0 : matrix_bytes(&w->lm_head));
	for (int32_t i = 0; i < s->n_layers; i++) {
		const fg_layer *l = &w->layers[i];
		bytes += matrix_bytes(&l->qkv) + matrix_bytes(&l->o) + matrix_bytes(&l->gate_up) + matrix_bytes(&l->down);
	}
	return bytes;
}

static fg_status cpu_ready(fg_ctx *base, fg_capacity *capacity) {
	cpu_ctx *ctx = (cpu_ctx *)base;
	const fg_shape *s = &base->config->shape;
	const fg_options *o = &base->config->options;
	ctx->page_bytes = (size_t)s->n_layers * fg_page_layer_bytes(s->n_kv_heads, s->head_dim, o->kv_dtype);
	if (o->kv_bytes < ctx->page_bytes) {
		return fg_fail(FG_INVALID, "kv_bytes is %llu but one page takes %zu; give the KV cache at least that",
		               (unsigned long long)o->kv_bytes, ctx->page_bytes);
	}
	fg_status status = make_cache(ctx, "kv_bytes", o->kv_bytes, &ctx->kv, &ctx->n_pages);
	if (!status) status = make_cache(ctx, "host_kv_bytes", o->host_kv_bytes, &ctx->host_kv, &ctx->n_host_pages);
	if (!status) status = make_state(ctx);
	if (!status) status = make_buffers(ctx);
	if (status) return status;
	*capacity = (fg_capacity){
		.n_pages = ctx->n_pages,
		.n_host_pages = ctx->n_host_pages,
		.page_bytes = ctx->page_bytes,
		.weight_bytes = weight_bytes(ctx),
		.n_threads = fg_pool_threads(ctx->pool),
	};
	return FG_OK;
}

/* Weights are in the host's memory anyway: level 1 keeps them where they are, and waking them takes nothing. */
static fg_status cpu_sleep(fg_ctx *base, int32_t level) {
	cpu_ctx *ctx = (cpu_ctx *)base;
	if (level == 2) cpu_drop_weights(ctx);
	cpu_empty(ctx->kv, (size_t)ctx->n_pages * ctx->page_bytes);
	cpu_empty(ctx->host_kv, (size_t)ctx->n_host_pages * ctx->page_bytes);
	return FG_OK;
}

static fg_status cpu_wake(fg_ctx *base, int32_t what) {
	(void)base, (void)what;
	return FG_OK;
}

static fg_status cpu_sampler_new(const fg_config *config, const fg_sampling *sampling, void **sampler) {
	return fg_sampler_new(sampling, config->shape.vocab_size, (fg_sampler **)sampler);
}

static void cpu_sampler_free(void *sampler) {
	fg_sampler_free(sampler);
}

/* ---- around a step ---- */

/* cos and sin of position * inv_freq, all in float32 as transformers computes them. */
static void rope_table(cpu_ctx *ctx, const fg_batch *batch, int32_t t) {
	const fg_shape *s = &ctx->base.config->shape;
	int32_t half = s->head_dim / 2;
	for (int32_t i = 0; i < half; i++) {
		float angle = (float)batch->positions[t] * s->rope_inv_freq[i];
		ctx->rope_cos[(size_t)t * (size_t)half + (size_t)i] = cosf(angle) * s->rope_scale;
		ctx->rope_sin[(size_t)t * (size_t)half + (size_t)i] = sinf(angle) * s->rope_scale;
	}
}

/* An op that works on one token (or row) at a time. */
typedef struct token_job token_job;
struct token_job {
	cpu_ctx *ctx;
	const fg_batch *batch;
	const void *in;
	const float *weight;
	const fg_matrix *next; /* that reads the output */
	void *out;
	void (*run)(token_job *job, int32_t t, int32_t thread);
	int32_t first;        /* row of the step, for an op on rows */
	const int32_t *order; /* which rows from `first` on, for sampling */
	int32_t n, grain;     /* tokens in all, and per item */
};

static void run_tokens(void *argument, int32_t item, int32_t thread) {
	token_job *j = argument;
	int32_t end = (item + 1) * j->grain < j->n ? (item + 1) * j->grain : j->n;
	for (int32_t t = item * j->grain; t < end; t++) j->run(j, t, thread);
}

/* `width`: roughly the work of one token, in values. */
static void for_tokens(token_job *job, int32_t n, int32_t width) {
	job->n = n;
	job->grain = FG_SMALL / width + 1;
	fg_parallel(job->ctx->pool, (n + job->grain - 1) / job->grain, run_tokens, job);
}

static void rope_table_token(token_job *j, int32_t t, int32_t thread) {
	(void)thread;
	rope_table(j->ctx, j->batch, t);
}

static void cpu_step_begin(fg_ctx *base, fg_batch *batch) {
	cpu_ctx *ctx = (cpu_ctx *)base;
	ctx->step_start = fg_clock_ns();
	ctx->mask_deadline = 0;
	for (int32_t i = 0; i < batch->n_fills; i++) {
		fg_fill *fill = &batch->fills[i];
		fg_sampler *old = ctx->samplers[fill->slot];
		ctx->samplers[fill->slot] = fill->sampler;
		fill->sampler = old; /* freed with the batch */
	}
	for (int32_t i = 0; i < batch->n_page_updates; i++) {
		const fg_page_update *u = &batch->page_updates[i];
		ctx->page_table[(size_t)u->slot * (size_t)base->config->pages_per_seq + (size_t)u->index] = u->page;
	}
	cpu_list_blocks(ctx, batch);
	token_job job = {.ctx = ctx, .batch = batch, .run = rope_table_token};
	for_tokens(&job, batch->n_tokens, base->config->shape.head_dim * 16);
}

static void cpu_step_end(fg_ctx *base, fg_batch *batch) {
	cpu_ctx *ctx = (cpu_ctx *)base;
	uint64_t now = fg_clock_ns();
	batch->out.run_seconds = (double)(now - ctx->step_start) * 1e-9;
	batch->out.idle_seconds = ctx->last_end ? (double)(ctx->step_start - ctx->last_end) * 1e-9 : 0;
	ctx->last_end = now;
	batch->out.to_host_seconds = (double)ctx->to_host_ns * 1e-9;
	batch->out.to_device_seconds = (double)ctx->to_device_ns * 1e-9;
	ctx->to_host_ns = ctx->to_device_ns = 0;
}

static fg_status cpu_step_wait(fg_ctx *base, fg_batch *batch) {
	(void)base, (void)batch;
	return FG_OK;
}

static void cpu_copy_pages(fg_ctx *base, const fg_page_copy *copies, int32_t n_copies) {
	cpu_ctx *ctx = (cpu_ctx *)base;
	for (int32_t i = 0; i < n_copies; i++) {
		char *page = ctx->kv + (size_t)copies[i].page * ctx->page_bytes;
		char *host = ctx->host_kv + (size_t)copies[i].host_page * ctx->page_bytes;
		const int to_host = copies[i].direction == FG_TO_HOST;
		uint64_t start = fg_clock_ns();
		if (to_host) memcpy(host, page, ctx->page_bytes);
		else memcpy(page, host, ctx->page_bytes);
		*(to_host ? &ctx->to_host_ns : &ctx->to_device_ns) += fg_clock_ns() - start;
	}
}

static void *cpu_host_page(fg_ctx *base, int32_t host_page) {
	cpu_ctx *ctx = (cpu_ctx *)base;
	return ctx->host_kv + (size_t)host_page * ctx->page_bytes;
}

/* ---- ops ---- */

static void embed_token(token_job *j, int32_t t, int32_t thread) {
	(void)thread;
	const fg_matrix_part *part = &j->ctx->base.weights.embed.part[0];
	int32_t hidden = j->ctx->base.config->shape.hidden_size, token = j->batch->tokens[t];
	if (token == FG_LAST_SAMPLED) {
		token = j->ctx->last_token[j->batch->seqs[j->batch->seq_of[t]].slot];
		if (token < 0) token = 0; /* nothing could be sampled, as the row has said: any token does */
	}
	const char *row = (const char *)part->data + (size_t)token * (size_t)hidden * (size_t)fg_dtype_bytes(part->dtype);
	j->ctx->kernels->load(row, hidden, part->dtype, (float *)j->out + (size_t)t * (size_t)hidden);
}

static void cpu_embed(fg_ctx *base, const fg_batch *batch, void *residual) {
	token_job job = {.ctx = (cpu_ctx *)base, .batch = batch, .out = residual, .run = embed_token};
	for_tokens(&job, batch->n_tokens, base->config->shape.hidden_size);
}

static void norm_token(token_job *j, int32_t t, int32_t thread) {
	(void)thread;
	const fg_shape *s = &j->ctx->base.config->shape;
	size_t at = (size_t)t * (size_t)s->hidden_size;
	cpu_input to = cpu_input_begin(j->ctx, j->next, t, j->out);
	j->ctx->kernels->rms_norm((const float *)j->in + at, j->weight, s->hidden_size, s->rms_norm_eps, to.format, to.row);
	cpu_input_end(j->ctx, j->next, t, j->out);
}

static void cpu_add_norm(fg_ctx *base, void *residual, fg_pending pending, const float *weight, int32_t n,
                         const fg_matrix *next, void *x) {
	(void)pending; /* nothing: linear_add adds at once */
	token_job job = {
		.ctx = (cpu_ctx *)base, .in = residual, .weight = weight, .next = next, .out = x, .run = norm_token};
	for_tokens(&job, n, base->config->shape.hidden_size);
}

static void silu_token(token_job *j, int32_t t, int32_t thread) {
	(void)thread;
	size_t inter = (size_t)j->ctx->base.config->shape.intermediate_size;
	const float *gate = (const float *)j->in + (size_t)t * 2 * inter;
	cpu_input to = cpu_input_begin(j->ctx, j->next, t, j->out);
	j->ctx->kernels->silu_mul(gate, gate + inter, (int32_t)inter, to.format, to.row);
	cpu_input_end(j->ctx, j->next, t, j->out);
}

static void cpu_gate_up(fg_ctx *base, const void *x, const fg_matrix *w, int32_t n, const fg_matrix *next,
                        void *scratch, void *act) {
	cpu_linear(base, x, w, n, scratch);
	token_job job = {.ctx = (cpu_ctx *)base, .in = scratch, .next = next, .out = act, .run = silu_token};
	for_tokens(&job, n, base->config->shape.intermediate_size * 4);
}

static void cpu_all_reduce(fg_ctx *base, void *residual, int32_t n, fg_pending *pending) {
	(void)base, (void)residual, (void)n, (void)pending; /* one rank */
}

static void cpu_gather(fg_ctx *base, const fg_batch *batch, int32_t first, int32_t n, const void *residual,
                       fg_pending pending, void *out) {
	(void)pending; /* nothing: linear_add adds at once */
	size_t bytes = (size_t)base->config->shape.hidden_size * sizeof(float);
	for (int32_t i = 0; i < n; i++)
		memcpy((char *)out + (size_t)i * bytes, (const char *)residual + (size_t)batch->rows[first + i].token * bytes,
		       bytes);
}

static void cpu_gather_input(fg_ctx *base, const fg_batch *batch, int32_t first, int32_t n, const fg_matrix *w,
                             const void *x, void *out) {
	const cpu_ctx *ctx = (cpu_ctx *)base;
	const size_t bytes = (size_t)w->cols * fg_x_bytes(cpu_input_format(ctx, w)), n_scales = (size_t)cpu_input_scales(w);
	const float *from = cpu_input_scale(ctx, x, w);
	float *to = cpu_input_scale(ctx, out, w);
	for (int32_t i = 0; i < n; i++) {
		const size_t token = (size_t)batch->rows[first + i].token;
		memcpy((char *)out + (size_t)i * bytes, (const char *)x + token * bytes, bytes);
		memcpy(to + (size_t)i * n_scales, from + token * n_scales, n_scales * sizeof(float));
	}
}

static fg_mask_rows cpu_masks(fg_ctx *base, int32_t place) {
	const cpu_ctx *ctx = (const cpu_ctx *)base;
	size_t first = (size_t)place * (size_t)base->config->options.max_seqs,
		   stride = fg_mask_stride(base->config->shape.vocab_size);
	return (fg_mask_rows){ctx->mask_words + first * stride, ctx->mask_state + first, stride};
}

static fg_mask_state mask_state(const fg_batch *batch, const fg_row *row) {
	if (row->mask < 0) return FG_MASK_READY;
	return (fg_mask_state)__atomic_load_n(&batch->masks.state[row->mask], __ATOMIC_ACQUIRE);
}

/* The id that the row's mask would leave, where that is known without it; else FG_NO_TOKEN. */
static int32_t sample_unmasked(fg_sampler *sampler, const fg_batch *batch, const fg_row *row, const float *logits,
                               void *scratch) {
	int32_t greatest, id = fg_sampler_foresee(sampler, logits, row->position, &greatest, scratch);
	if (id < 0 || !fg_masks_check(batch->mask_fills, batch->place, row->mask, id)) return FG_NO_TOKEN;
	if (id != greatest && !fg_masks_check(batch->mask_fills, batch->place, row->mask, greatest)) return FG_NO_TOKEN;
	fg_sampler_count(sampler, id);
	return id;
}

/* The id that the row's mask leaves, which is there or was late. *reported: the row that the log probabilities are of.
 */
static int32_t sample_masked(cpu_ctx *ctx, const fg_batch *batch, const fg_row *row, const float *logits, int reports,
                             const float **reported, void *scratch) {
	fg_sampler *sampler = ctx->samplers[row->slot];
	switch (mask_state(batch, row)) {
	case FG_MASK_READY: break;
	case FG_MASK_BROKEN: return FG_MASK_FAILED;
	default: return FG_MASK_LATE;
	}
	const uint32_t *mask = row->mask < 0 ? NULL : batch->masks.words + (size_t)row->mask * batch->masks.stride;
	if (reports) *reported = fg_sampler_reported(sampler, logits, mask, row->position, scratch);
	return fg_sampler_sample(sampler, logits, mask, row->position, scratch);
}

/* *reported: `logits` as long as nothing else is known. */
static int32_t sample_id(cpu_ctx *ctx, const fg_batch *batch, const fg_row *row, const float *logits,
                         const float **reported, void *scratch) {
	const int reports = row->n_logprobs >= 0 || row->logits_row >= 0;
	fg_masks *fills = batch->mask_fills;
	if (!fills || mask_state(batch, row) != FG_MASK_FILLING) {
		return sample_masked(ctx, batch, row, logits, reports, reported, scratch);
	}
	/* The token before could not be sampled. What follows means nothing, and its source must not go along with it. */
	if (batch->tokens[row->token] == FG_LAST_SAMPLED && ctx->last_token[row->slot] < 0) return FG_MASK_LATE;
	fg_sampler *sampler = ctx->samplers[row->slot];
	const int32_t known = fg_masks_known(fills, batch->place, row->mask, row->position);
	if (known >= 0) fg_sampler_count(sampler, known);
	if (known != FG_NO_TOKEN) return known;
	/* What is reported may be of the processed logits, which are the mask's. */
	int32_t id = reports ? FG_NO_TOKEN : sample_unmasked(sampler, batch, row, logits, scratch);
	if (id < 0) {
		fg_masks_fill(fills, batch->place, row->mask);
		id = sample_masked(ctx, batch, row, logits, reports, reported, scratch);
	}
	if (id >= 0) fg_masks_take(fills, batch->place, row->mask, row->position, id);
	return id;
}

static void sample_row(token_job *j, int32_t item, int32_t thread) {
	cpu_ctx *ctx = j->ctx;
	fg_batch *batch = (fg_batch *)j->batch;
	int32_t vocab = ctx->base.config->shape.vocab_size, i = j->order[item], r = j->first + i;
	const fg_row *row = &batch->rows[r];
	const float *logits = (const float *)j->in + (size_t)i * (size_t)vocab, *reported = logits;
	void *scratch = ctx->sample_scratch + (size_t)thread * ctx->sample_scratch_bytes;
	int32_t id = row->target;
	if (id < 0) {
		id = sample_id(ctx, batch, row, logits, &reported, scratch);
		ctx->last_token[row->slot] = id;
	}
	batch->out.ids[r] = id;
	if (row->n_logprobs >= 0) {
		size_t at = (size_t)r * FG_MAX_LOGPROBS;
		fg_logprobs(reported, vocab, id, row->n_logprobs, &batch->out.logprobs[r], &batch->out.ranks[r],
		            row->n_logprobs ? batch->out.top_ids + at : NULL,
		            row->n_logprobs ? batch->out.top_logprobs + at : NULL, scratch);
	}
	if (row->logits_row >= 0) {
		memcpy(batch->out.logits + (size_t)row->logits_row * (size_t)vocab, reported, (size_t)vocab * sizeof *reported);
	}
}

/* Puts the rows in order[from, n) first whose masks are there, or are to be filled here. Returns where the others
 * begin. */
static int32_t ready_first(const fg_batch *batch, int32_t first, int32_t *order, int32_t from, int32_t n) {
	for (int32_t k = from; k < n; k++) {
		int32_t i = order[k];
		fg_mask_state state = mask_state(batch, &batch->rows[first + i]);
		const int mine = state == FG_MASK_FILLING && batch->mask_fills;
		if (state != FG_MASK_READY && state != FG_MASK_BROKEN && !mine) continue;
		order[k] = order[from];
		order[from++] = i;
	}
	return from;
}

static int any_filling(const fg_batch *batch, int32_t first, const int32_t *order, int32_t from, int32_t end) {
	for (int32_t k = from; k < end; k++)
		if (mask_state(batch, &batch->rows[first + order[k]]) == FG_MASK_FILLING) return 1;
	return 0;
}

/* Sleeps for a moment, since the threads that fill masks may need this core. Returns 0 once the step has waited for as
 * long as it may. */
static int wait_for_masks(cpu_ctx *ctx) {
	const struct timespec moment = {.tv_nsec = 50000};
	uint64_t now = fg_clock_ns();
	if (!ctx->mask_deadline) ctx->mask_deadline = now + FG_MASK_WAIT_US * UINT64_C(1000);
	if (now >= ctx->mask_deadline) return 0;
	nanosleep(&moment, NULL);
	return 1;
}

static void cpu_sample(fg_ctx *base, const fg_batch *batch, int32_t first, int32_t n, float *logits) {
	cpu_ctx *ctx = (cpu_ctx *)base;
	token_job job = {.ctx = ctx, .batch = batch, .in = logits, .first = first, .run = sample_row};
	for (int32_t i = 0; i < n; i++) ctx->sample_order[i] = i;
	for (int32_t from = 0, end; from < n; from = end) {
		end = ready_first(batch, first, ctx->sample_order, from, n);
		if (end == from && wait_for_masks(ctx)) continue;
		if (end == from) end = n; /* too late */
		job.order = ctx->sample_order + from;
		/* A fill takes so long that a row with one is worth a thread. */
		const int fills = any_filling(batch, first, ctx->sample_order, from, end);
		for_tokens(&job, end - from, fills ? FG_SMALL + 1 : base->config->shape.vocab_size);
	}
}

static uint64_t cpu_mark(fg_ctx *base) {
	(void)base;
	return fg_clock_ns();
}

static uint64_t cpu_mark_ns(fg_ctx *base, uint64_t mark) {
	(void)base;
	return mark;
}

const fg_ops fg_device_ops = {
	.open = cpu_open,
	.load = cpu_load,
	.load_random = cpu_load_random,
	.ready = cpu_ready,
	.close = cpu_close,
	.sampler_fills = 1,
	.sleep = cpu_sleep,
	.wake = cpu_wake,
	.sampler_new = cpu_sampler_new,
	.sampler_free = cpu_sampler_free,
	.step_begin = cpu_step_begin,
	.step_end = cpu_step_end,
	.step_wait = cpu_step_wait,
	.masks = cpu_masks,
	.copy_pages = cpu_copy_pages,
	.host_page = cpu_host_page,
	.embed = cpu_embed,
	.add_norm = cpu_add_norm,
	.linear = cpu_linear,
	.linear_add = cpu_linear_add,
	.qkv_rope = cpu_qkv_rope,
	.attention = cpu_attention,
	.gate_up = cpu_gate_up,
	.all_reduce = cpu_all_reduce,
	.gather = cpu_gather,
	.gather_input = cpu_gather_input,
	.logits = cpu_logits,
	.sample = cpu_sample,
	.mark = cpu_mark,
	.mark_ns = cpu_mark_ns,
};
