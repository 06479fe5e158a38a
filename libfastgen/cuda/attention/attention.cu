/*
 * attention.cu - the attention op: one kernel for a step's decoding sequences, another one for its prompt chunks.
 */
#include "../context.cuh"

#include <algorithm>
#include <cmath>

namespace fg {

namespace {

/* The first columns of gate_up. o's product, which comes before it, reads ahead of x by itself. With more sequences
 * attention keeps memory busy. More bytes than these are no faster (../NOTES.md). */
Ahead ahead_of(Context *c, const fg_matrix &gate_up) {
	constexpr int32_t FEW = 8;
	constexpr int64_t BYTES = 8 << 20, LINE_BYTES = 128;
	const Scaling scaling = scaling_of_w((Scaling)gate_up.scheme.scaling);
	const int64_t row = gate_up.cols * (int64_t)(scaling == Scaling::PLAIN ? sizeof(bf16) : sizeof(fp8));
	if (c->extent.n_decode > FEW || c->extent.n_prefill > 0 || row % 16) return {};
	const int64_t width = std::min(row, BYTES / gate_up.rows) / LINE_BYTES * LINE_BYTES;
	return width > 0 ? Ahead{(const char *)operands(c, nullptr, gate_up).w, gate_up.rows, (int)width, row} : Ahead{};
}

} // namespace

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
		                scale,
		                ahead_of(c, ctx->weights.layers[layer].gate_up)};
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
