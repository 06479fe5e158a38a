/* See forward.h. */
#include "forward.h"

/* Calls one op, recording it when a trace is on. */
#define RUN(op, ...)                                                                                                   \
	do {                                                                                                               \
		uint64_t start_ = trace ? ops->mark(ctx) : 0;                                                                  \
		ops->op(ctx, __VA_ARGS__);                                                                                     \
		if (trace) fg_trace_op(trace, #op, layer, start_, ops->mark(ctx));                                             \
	} while (0)

/* The first half of a layer, up to the keys and values of its tokens. */
static void keys_and_values(const fg_ops *ops, fg_ctx *ctx, const fg_batch *batch, int32_t layer, fg_pending *pending,
                            fg_trace *trace) {
	const fg_buffers *b = &ctx->buf;
	const fg_layer *l = &ctx->weights.layers[layer];

	RUN(add_norm, b->residual, *pending, l->attn_norm, batch->n_tokens, &l->qkv, b->x);
	*pending = (fg_pending){0};
	RUN(linear, b->x, &l->qkv, batch->n_tokens, b->qkv);
	RUN(qkv_rope, batch, layer, b->qkv);
}

/* The rest, of n rows: attn [n][heads * D], an input of o, and what follows are added to residual [n][H]. */
static void add_attention_and_mlp(const fg_ops *ops, fg_ctx *ctx, int32_t layer, const void *attn, int32_t n,
                                  void *residual, fg_pending *pending, fg_trace *trace) {
	const fg_buffers *b = &ctx->buf;
	const fg_layer *l = &ctx->weights.layers[layer];

	RUN(linear_add, attn, &l->o, n, residual, pending);
	RUN(all_reduce, residual, n, pending);
	RUN(add_norm, residual, *pending, l->mlp_norm, n, &l->gate_up, b->x);
	RUN(gate_up, b->x, &l->gate_up, n, &l->down, b->gate_up, b->act);
	RUN(linear_add, b->act, &l->down, n, residual, pending);
	RUN(all_reduce, residual, n, pending);
}

void fg_forward_layer(const fg_ops *ops, fg_ctx *ctx, const fg_batch *batch, int32_t layer, fg_pending *pending,
                      fg_trace *trace) {
	const fg_buffers *b = &ctx->buf;

	keys_and_values(ops, ctx, batch, layer, pending, trace);
	RUN(attention, batch, layer, b->qkv, &ctx->weights.layers[layer].o, b->attn);
	add_attention_and_mlp(ops, ctx, layer, b->attn, batch->n_tokens, b->residual, pending, trace);
}

void fg_forward(const fg_ops *ops, fg_ctx *ctx, const fg_batch *batch, fg_trace *trace) {
	const fg_buffers *b = &ctx->buf;
	const fg_weights *w = &ctx->weights;
	const int32_t last = ctx->config->shape.n_layers - 1;
	const fg_matrix *o = &w->layers[last].o;
	/* Of the last layer, nobody reads more than the keys and values of tokens that need no logits: most of a prompt's.
	 */
	const int few = 2 * batch->n_rows <= batch->n_tokens;
	fg_pending pending = {0};
	int32_t layer = -1; /* of no layer, says a trace */

	RUN(embed, batch, b->residual);
	for (int32_t i = 0; i < (few ? last : last + 1); i++) fg_forward_layer(ops, ctx, batch, i, &pending, trace);
	if (few) keys_and_values(ops, ctx, batch, last, &pending, trace);
	if (batch->n_rows == 0) return;
	if (few) {
		layer = last;
		RUN(attention, batch, layer, b->qkv, o, b->attn);
	}

	/* Logits only where a token is sampled or scored, a bounded number of rows at a time. */
	for (int32_t first = 0; first < batch->n_rows; first += b->logit_rows) {
		int32_t m = batch->n_rows - first < b->logit_rows ? batch->n_rows - first : b->logit_rows;
		fg_pending of_rows = {0};
		layer = -1;
		RUN(gather, batch, first, m, b->residual, pending, b->rows);
		if (few) {
			layer = last;
			RUN(gather_input, batch, first, m, o, b->attn, b->qkv);
			add_attention_and_mlp(ops, ctx, last, b->qkv, m, b->rows, &of_rows, trace);
			layer = -1;
		}
		RUN(add_norm, b->rows, of_rows, w->final_norm, m, &w->lm_head, b->x);
		RUN(logits, b->x, &w->lm_head, m, b->logits);
		RUN(sample, batch, first, m, b->logits);
	}
}
