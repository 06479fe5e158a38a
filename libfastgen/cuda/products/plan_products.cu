/*
 * plan_products.cu - a plan for every product of every size that a step can have, by timing where none is remembered.
 */
#include "../context.cuh"

#include <algorithm>
#include <cmath>

namespace fg {

namespace {

/* Timed in a layer's midst: as many layers at a time as make TOKENS tokens, in so many rounds. Before the first of them
 * the device is loaded for so long that it can draw no more than its sustained power. */
constexpr int TOKENS = 8192, ROUNDS = 3;
constexpr float SETTLED_MS = 500;

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

/* Milliseconds of as many layers of n tokens as make TOKENS, but for their attention. */
float time_layers(Context *c, int32_t n, cudaEvent_t from, cudaEvent_t to) {
	fg_ctx *ctx = &c->base;
	const fg_ops &ops = fg_device_ops;
	const fg_buffers &b = ctx->buf;
	fg_pending pending = {};
	note(c, cudaEventRecord(from, c->stream), "recording an event");
	for (int i = 0; i < std::max(1, TOKENS / n); i++) {
		const fg_layer &l = ctx->weights.layers[i % ctx->config->shape.n_layers];
		ops.add_norm(ctx, b.residual, pending, l.attn_norm, n, b.x);
		ops.linear(ctx, b.x, &l.qkv, n, b.qkv);
		ops.linear_add(ctx, b.attn, &l.o, n, b.residual, &pending);
		ops.add_norm(ctx, b.residual, pending, l.mlp_norm, n, b.x);
		ops.gate_up(ctx, b.x, &l.gate_up, n, b.gate_up, b.act);
		ops.linear_add(ctx, b.act, &l.down, n, b.residual, &pending);
	}
	note(c, cudaEventRecord(to, c->stream), "recording an event");
	float ms = INFINITY;
	cudaError_t error = cudaEventSynchronize(to);
	note(c, error, "timing products");
	if (error == cudaSuccess) cudaEventElapsedTime(&ms, from, to);
	return ms;
}

/* Chooses among the rivals of each of a layer's products of n tokens. *settled: whether the device is. */
void choose_in_layer(Context *c, int32_t n, const std::vector<GemmKey> &keys, bool *settled) {
	cudaEvent_t from, to;
	cudaEventCreate(&from), cudaEventCreate(&to);
	for (const GemmKey &key : keys) {
		const std::vector<GemmPlan> rivals = c->gemm.rivals(key);
		if (rivals.size() < 2) continue;
		for (float ms = 0; !*settled && ms < SETTLED_MS;) ms += time_layers(c, n, from, to);
		*settled = true;
		std::vector<float> total(rivals.size());
		for (int round = 0; round < ROUNDS; round++)
			for (size_t i = 0; i < rivals.size(); i++) {
				c->gemm.choose(key, rivals[i]);
				total[i] += time_layers(c, n, from, to);
			}
		c->gemm.choose(key, rivals[std::min_element(total.begin(), total.end()) - total.begin()]);
	}
	cudaEventDestroy(from), cudaEventDestroy(to);
}

} // namespace

fg_status plan_products(Context *c) {
	const fg_weights &w = c->base.weights;
	const fg_buffers &b = c->base.buf;
	const fg_layer &l = w.layers[0];
	const int32_t layers = c->base.config->shape.n_layers;
	/* weights.cu lays all layers out alike */
	const size_t stride = layers > 1 ? data(w.layers[1].qkv) - data(l.qkv) : 0;
	void *sum = c->ranks.count() == 1 ? b.residual : c->delta;
	/* Those that take longest first. */
	const struct {
		const fg_matrix &w;
		Output output;
		const void *x;
		void *y, *scratch;
	} products[] = {{l.gate_up, Output::SILU_MUL, b.x, b.act, b.gate_up},
	                {l.down, c->sum_output(), b.act, sum, c->delta},
	                {l.qkv, Output::BF16, b.x, b.qkv, nullptr},
	                {l.o, c->sum_output(), b.attn, sum, c->delta}};
	fg_status status = fill_inputs(c);
	bool settled = false;
	std::vector<int32_t> sizes = Gemm::buckets(c->base.config->options.max_step_tokens);
	std::reverse(sizes.begin(), sizes.end()); /* the large ones together, so that the device settles but once */
	for (int32_t n : sizes) {
		std::vector<GemmKey> keys;
		for (const auto &p : products) {
			keys.push_back({p.w.rows, p.w.cols, n, p.output});
			if (!status)
				status = c->gemm.plan(keys.back(), {p.x, data(p.w), stride, layers, p.y, p.scratch}, c->stream);
		}
		if (!status && n >= Gemm::MANY_TOKENS) choose_in_layer(c, n, keys, &settled);
	}
	for (int32_t n : Gemm::buckets(b.logit_rows))
		if (!status)
			status = c->gemm.plan({w.lm_head.rows, w.lm_head.cols, n, Output::F32},
			                      {b.x, data(w.lm_head), 0, 1, b.logits, nullptr}, c->stream);
	if (!status && c->failure) status = fg_fail(c->failure, "%s", c->failure_text);
	if (!status) c->gemm.save();
	return status;
}

} // namespace fg
