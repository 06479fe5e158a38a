/*
 * attention.cu - the attention op: one kernel for a step's decoding sequences, another one for its prompt chunks.
 */
#include "../context.cuh"

#include <cmath>

namespace fg {

void attention(fg_ctx *ctx, const fg_batch *, int32_t layer, const void *qkv, const fg_matrix *, void *out) {
	Context *c = context(ctx);
	const StepLayout &l = c->layout;
	const int32_t D = ctx->config->shape.head_dim, which = c->layer_window[layer];
	const AttnSeq *seqs = (const AttnSeq *)(c->step + l.seqs);
	const int32_t stride = (c->heads + 2 * c->kv_heads) * D;
	const float scale = (float)(M_LOG2E / std::sqrt((double)D));
	if (c->extent.n_decode > 0) {
		const DecodeShare *shares = (const DecodeShare *)(c->step + l.shares + which * l.share_bytes);
		DecodeArgs a = {c->kv,
		                seqs,
		                shares,
		                c->decode_blocks,
		                (const bf16 *)qkv,
		                (bf16 *)out,
		                c->decode_partial,
		                c->decode_arrived,
		                c->decode_plan.stages,
		                layer,
		                c->group(),
		                stride,
		                c->windows[which],
		                scale};
		note(c, decode_attention(a, c->extent.n_decode, c->stream), "decode attention");
	}
	if (c->extent.n_prefill > 0) {
		PrefillArgs a = {c->kv,
		                 c->kv_map,
		                 (const PrefillTile *)(c->step + l.tiles),
		                 c->extent.n_tiles,
		                 (const bf16 *)qkv,
		                 (bf16 *)out,
		                 layer,
		                 c->group(),
		                 stride,
		                 c->windows[which],
		                 scale};
		bool hopper = c->arch == 90 && D != 32;
		note(c, hopper ? prefill_attention_sm90(a, c->multiprocessors, c->stream) : prefill_attention(a, c->stream),
		     "prefill attention");
	}
}

} // namespace fg
