#include "forward.h"

/* Calls one op, recording it when a trace is on. */
#define RUN(op, ...)                                                                                                   \
	do {                                                                                                               \
		uint64_t start_ = trace ? ops->mark(ctx) : 0;                                                                  \
		ops->op(ctx, __VA_ARGS__);                                                                                     \
		if (trace) fg_trace_op(trace, #op, layer, start_, ops->mark(ctx));                                             \
	} while (0)

void fg_forward_layer(const fg_ops *ops, fg_ctx *ctx, const fg_batch *batch, int32_t layer, fg_pending *pending,
                      fg_trace *trace) {
	const fg_buffers *b = &ctx->buf;
	const fg_layer *l = &ctx->weights.layers[layer];
	int32_t n = batch->n_tokens;

	RUN(add_norm, b->residual, *pending, l->attn_norm, n, &l->qkv, b->x);
	RUN(linear, b->x, &l->qkv, n, b->qkv);
	RUN(qkv_rope, batch, layer, b->qkv);
	RUN(attention, batch, layer, b->qkv, &l->o, b->attn);
	RUN(linear_add, b->attn, &l->o, n, b->residual, pending);
	RUN(all_reduce, b->residual, n, pending);
	RUN(add_norm, b->residual, *pending, l->mlp_norm, n, &l->gate_up, b->x);
	RUN(gate_up, b->x, &l->gate_up, n, &l->down, b->gate_up, b->act);
	RUN(linear_add, b->act, &l->down, n, b->residual, pending);
	RUN(all_reduce, b->residual, n, pending);
}

void fg_forward(const fg_ops *ops, fg_ctx *ctx, const fg_batch *batch, fg_trace *trace) {
	const fg_buffers *b = &ctx->buf;
	const fg_weights *w = &ctx->weights;
	const fg_pending nothing = {0};
	fg_pending pending = nothing;
	const int32_t layer = -1; /* of no layer, says a trace */

	RUN(embed, batch, b->residual);
	for (int32_t i = 0; i < ctx->config->shape.n_layers; i++) fg_forward_layer(ops, ctx, batch, i, &pending, trace);

	/* Logits only where a token is sampled or scored, a bounded number of rows at a time. */
	for (int32_t first = 0; first < batch->n_rows; first += b->logit_rows) {
		int32_t m = batch->n_rows - first < b->logit_rows ? batch->n_rows - first : b->logit_rows;
		RUN(gather, batch, first, m, b->residual, pending, b->rows);
		RUN(add_norm, b->rows, nothing, w->final_norm, m, &w->lm_head, b->x);
		RUN(logits, b->x, &w->lm_head, m, b->logits);
		RUN(sample, batch, first, m, b->logits);
	}
}
