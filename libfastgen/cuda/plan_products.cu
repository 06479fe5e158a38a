/*
 * plan_products.cu - a plan for every product of every size that a step can have, by timing where none is remembered.
 */
#include "context.cuh"

#include <algorithm>
#include <cmath>

namespace fg {

namespace {

/* Timed in a layer's midst: so many layers at a time, in so many rounds. */
constexpr int LAYERS = 4, ROUNDS = 2;

const char *data(const fg_matrix &m) {
	return (const char *)m.part[0].data;
}

/* What products are timed on must look like activations: zeros cost them no power. */
fg_status fill_inputs(Context *c) {
	const fg_buffers &b = c->base.buf;
	const fg_shape &s = c->base.config->shape;
	const uint64_t T = (uint64_t)Gemm::bucket(c->base.config->options.max_step_tokens);
	const uint64_t H = (uint64_t)s.hidden_size;
	struct {
		void *to;
		uint64_t width;
	} inputs[] = {
		{b.residual, H}, {b.x, H}, {b.attn, (uint64_t)c->heads * s.head_dim}, {b.act, (uint64_t)c->intermediate}};
	uint64_t random_stream = 0;
	for (auto &in : inputs) {
		cudaError_t error = fill_random((bf16 *)in.to, T * in.width, random_stream++, 1, c->stream);
		if (error != cudaSuccess) return cuda_fail(error, "filling activations");
	}
	return FG_OK;
}

/* Milliseconds of LAYERS layers of n tokens, but for their attention. */
float time_layers(Context *c, int32_t n, cudaEvent_t from, cudaEvent_t to) {
	fg_ctx *ctx = &c->base;
	const fg_ops &ops = fg_device_ops;
	const fg_buffers &b = ctx->buf;
	note(c, cudaEventRecord(from, c->stream), "recording an event");
	for (int i = 0; i < LAYERS; i++) {
		const fg_layer &l = ctx->weights.layers[i % ctx->config->shape.n_layers];
		ops.add_norm(ctx, b.residual, l.attn_norm, n, b.x);
		ops.linear(ctx, b.x, &l.qkv, n, b.qkv);
		ops.linear_add(ctx, b.attn, &l.o, n, b.residual);
		ops.add_norm(ctx, b.residual, l.mlp_norm, n, b.x);
		ops.gate_up(ctx, b.x, &l.gate_up, n, b.gate_up, b.act);
		ops.linear_add(ctx, b.act, &l.down, n, b.residual);
	}
	note(c, cudaEventRecord(to, c->stream), "recording an event");
	float ms = INFINITY;
	cudaError_t error = cudaEventSynchronize(to);
	note(c, error, "timing products");
	if (error == cudaSuccess) cudaEventElapsedTime(&ms, from, to);
	return ms;
}

/* Chooses among the rivals of each product of n tokens, those that take longest first. */
void choose_in_layer(Context *c, int32_t n) {
	const fg_layer &l = c->base.weights.layers[0];
	const GemmKey keys[] = {{l.gate_up.rows, l.gate_up.cols, n, Output::SILU_MUL},
	                        {l.down.rows, l.down.cols, n, Output::PARTS},
	                        {l.qkv.rows, l.qkv.cols, n, Output::BF16},
	                        {l.o.rows, l.o.cols, n, Output::PARTS}};
	cudaEvent_t from, to;
	cudaEventCreate(&from), cudaEventCreate(&to);
	for (const GemmKey &key : keys) {
		const std::vector<GemmPlan> rivals = c->gemm.rivals(key);
		if (rivals.size() < 2) continue;
		std::vector<float> total(rivals.size());
		for (int round = 0; round < ROUNDS; round++)
			for (size_t i = 0; i < rivals.size(); i++) {
				c->gemm.choose(key, rivals[i]);
				total[i] += time_layers(c, n, from, to);
			}
		c->gemm.choose(key, rivals[std::min_element(total.begin(), total.end()) - total.begin()]);
	}
	cudaEventDestroy(from), cudaEventDestroy(to);
	c->pending = false;
}

} // namespace

fg_status plan_products(Context *c) {
	const fg_weights &w = c->base.weights;
	const fg_buffers &b = c->base.buf;
	const fg_layer &l = w.layers[0];
	const int32_t layers = c->base.config->shape.n_layers;
	/* weights.cu lays all layers out alike */
	const size_t stride = layers > 1 ? data(w.layers[1].qkv) - data(l.qkv) : 0;
	fg_status status = fill_inputs(c);
	auto plan = [&](const fg_matrix &m, int32_t n, Output output, const void *x, void *y, int32_t n_w) {
		if (status) return;
		status = c->gemm.plan({m.rows, m.cols, n, output}, {x, data(m), stride, n_w, y, b.gate_up}, c->stream);
	};
	for (int32_t n : Gemm::buckets(c->base.config->options.max_step_tokens)) {
		plan(l.qkv, n, Output::BF16, b.x, b.qkv, layers);
		plan(l.o, n, Output::PARTS, b.attn, c->delta, layers);
		plan(l.gate_up, n, Output::SILU_MUL, b.x, b.act, layers);
		plan(l.down, n, Output::PARTS, b.act, c->delta, layers);
		if (!status && n >= Gemm::MANY_TOKENS) choose_in_layer(c, n);
	}
	for (int32_t n : Gemm::buckets(b.logit_rows)) plan(w.lm_head, n, Output::F32, b.x, b.logits, 1);
	if (!status && c->failure) status = fg_fail(c->failure, "%s", c->failure_text);
	if (!status) c->gemm.save();
	return status;
}

} // namespace fg
