/*
 * ops.cu - the CUDA library's op table; a context's life; matrix products; tracing marks. See ../ops.h for what each op
 * does.
 */
#include "context.cuh"
#include "products/tune.cuh"
#include "tensor_map.cuh"

extern "C" {
#include "../clock.h"
}

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace fg {

void note(Context *ctx, cudaError_t error, const char *what) {
	if (error != cudaSuccess && !ctx->failure) note(ctx, cuda_fail(error, what));
}

void note(Context *ctx, fg_status status) {
	if (status == FG_OK || ctx->failure) return;
	ctx->failure = status;
	snprintf(ctx->failure_text, sizeof ctx->failure_text, "%s", fg_error());
}

fg_status failure_of(const Context *ctx) {
	return ctx->failure ? fg_fail(ctx->failure, "%s", ctx->failure_text) : FG_OK;
}

fg_status cuda_fail(cudaError_t error, const char *what) {
	cudaGetLastError();
	if (error == cudaErrorMemoryAllocation)
		return fg_fail(
			FG_OUT_OF_MEMORY,
			"no memory for %s; lower max_num_seqs, max_num_batched_tokens, max_model_len or gpu_memory_utilization",
			what);
	return fg_fail(FG_DEVICE, "CUDA failed (%s: %s) in %s", cudaGetErrorName(error), cudaGetErrorString(error), what);
}

void *device_alloc(Context *ctx, size_t bytes, const char *what) {
	void *p = nullptr;
	cudaError_t error = cudaMalloc(&p, std::max<size_t>(bytes, 1));
	if (error == cudaSuccess) {
		ctx->owned.push_back(p);
		error = cudaMemsetAsync(p, 0, std::max<size_t>(bytes, 1), ctx->stream);
	}
	if (error == cudaSuccess) return p;
	cuda_fail(error, what);
	return nullptr;
}

namespace {

constexpr size_t GRAPH_RESERVE = 256 << 20; /* bytes left for graphs and for the driver */
constexpr size_t LOGITS_BYTES = 256 << 20;  /* the most bytes of logits made at once */

fg_status check_config(const fg_config *config) {
	const fg_options &o = config->options;
	const fg_shape &s = config->shape;
	if (s.n_kv_heads % o.n_devices || s.intermediate_size % (8 * o.n_devices))
		return fg_fail(FG_UNSUPPORTED,
		               "%d KV heads and %d intermediate features (in eights) cannot be split over %d devices; choose a "
		               "tensor_parallel_size that divides both",
		               s.n_kv_heads, s.intermediate_size, o.n_devices);
	if (o.compute_dtype != FG_BF16)
		return fg_fail(FG_UNSUPPORTED, "the CUDA library computes in bfloat16; ask for that dtype");
	if (o.kv_dtype != FG_BF16 && o.kv_dtype != FG_FP8_E4M3)
		return fg_fail(FG_UNSUPPORTED, "the CUDA library's KV cache is bfloat16 or FP8; ask for one of these");
	if (s.n_heads / s.n_kv_heads > 16)
		return fg_fail(FG_UNSUPPORTED, "%d query heads share a KV head; the CUDA library supports at most 16",
		               s.n_heads / s.n_kv_heads);
	if (s.hidden_size % 8 || s.intermediate_size % 8 || s.hidden_size > 16384)
		return fg_fail(FG_UNSUPPORTED,
		               "hidden_size (%d, at most 16384) and intermediate_size (%d) must be multiples of 8",
		               s.hidden_size, s.intermediate_size);
	return FG_OK;
}

fg_status open_device(Context *c) {
	const fg_config *config = c->base.config;
	c->device = config->options.devices[c->base.rank];
	int n_devices = 0;
	if (cudaGetDeviceCount(&n_devices) == cudaSuccess && c->device >= n_devices)
		return fg_fail(FG_INVALID, "device %d was asked for, but there are %d; lower tensor_parallel_size", c->device,
		               n_devices);
	cudaDeviceProp p;
	cudaError_t error = cudaSetDevice(c->device);
	if (error == cudaSuccess) error = cudaGetDeviceProperties(&p, c->device);
	if (error != cudaSuccess) return cuda_fail(error, "opening the device");
	c->arch = p.major * 10 + p.minor, c->multiprocessors = p.multiProcessorCount;
	if (c->arch < 80)
		return fg_fail(FG_UNSUPPORTED, "%s has compute capability %d.%d; 8.0 or newer is needed", p.name, p.major,
		               p.minor);
	snprintf(c->name, sizeof c->name, "%.*s", (int)sizeof c->name - 1, p.name);
	error = find_code();
	if (error != cudaSuccess)
		return fg_fail(FG_UNSUPPORTED,
		               "this build has no code for %s (compute capability %d.%d), and its driver makes none: %s. Build "
		               "on the machine that has the device, or with CUDA_ARCHS=%d, or update its driver",
		               p.name, p.major, p.minor, cudaGetErrorString(error), c->arch);
	error = shared_limits(c->device, &c->shared);
	if (error != cudaSuccess) return cuda_fail(error, "opening the device");
	error = cudaStreamCreateWithFlags(&c->stream, cudaStreamNonBlocking);
	if (error != cudaSuccess) return cuda_fail(error, "creating a stream");
	const fg_shape &s = config->shape;
	const int32_t ranks = config->options.n_devices;
	c->heads = s.n_heads / ranks, c->kv_heads = s.n_kv_heads / ranks, c->intermediate = s.intermediate_size / ranks;
	c->page_bytes = (size_t)s.n_layers * fg_page_layer_bytes(c->kv_heads, s.head_dim, config->options.kv_dtype);
	c->n_host_pages = (int32_t)(config->options.host_kv_bytes / c->page_bytes);
	/* During the loading of weights: while memory is pinned, other calls to the driver wait, those of requests too. */
	if (!c->host_memory.start((size_t)c->n_host_pages * c->page_bytes, c->page_bytes, c->device))
		return fg_fail(FG_OUT_OF_MEMORY, "%.1f GiB of host memory for KV pages are not available; lower swap_space",
		               (double)config->options.host_kv_bytes / (1 << 30));
	return c->gemm.open();
}

fg_status open(const fg_config *config, int32_t rank, fg_ctx **out) {
	fg_status status = check_config(config);
	if (status) return status;
	Context *c = nullptr;
	status = guarded([&] { return c = new Context(), FG_OK; });
	if (status) return Ranks().open(config, rank, status); /* the others wait for this rank */
	*out = &c->base;
	c->base.config = config, c->base.rank = rank;
	return c->ranks.open(config, rank, guarded([&] { return open_device(c); }));
}

void close(fg_ctx *ctx) {
	Context *c = context(ctx);
	if (c->stream) cudaStreamSynchronize(c->stream);
	step_close(c); /* graphs first: they may use the communicator */
	c->ranks.close();
	c->sampler.close();
	c->gemm.close();
	for (void *p : c->owned) cudaFree(p);
	c->imports.close();
	c->weight_memory.close();
	c->kv_memory.close();
	c->kept_weights.close();
	c->host_memory.close();
	c->watch.forget();
	c->marks.clear();
	if (c->stream) cudaStreamDestroy(c->stream);
	free(ctx->weights.layers);
	delete c;
}

/* ---- ready ---- */

fg_status make_buffers(Context *c) {
	const fg_shape &s = c->base.config->shape;
	const fg_options &o = c->base.config->options;
	fg_buffers &b = c->base.buf;
	size_t T = c->most_tokens(), D = (size_t)s.head_dim, H = (size_t)s.hidden_size, I = (size_t)c->intermediate,
		   split_rows = (size_t)Gemm::split_rows(o.max_step_tokens);
	size_t rows = std::max<size_t>(
		std::min<size_t>(LOGITS_BYTES / ((size_t)s.vocab_size * sizeof(float)), (size_t)o.max_seqs), 1);
	b.logit_rows = (int32_t)rows;
	rows = (size_t)Gemm::bucket((int32_t)rows);
	b.residual = device_alloc(c, T * H * sizeof(bf16), "activations");
	b.x = device_alloc(c, std::max(T, rows) * H * sizeof(bf16), "activations");
	b.qkv = device_alloc(c, T * (c->heads + 2 * c->kv_heads) * D * sizeof(bf16), "activations");
	b.attn = device_alloc(c, T * c->heads * D * sizeof(bf16), "activations");
	/* Also of attention, before it is quantised. */
	b.gate_up = device_alloc(c, T * std::max(2 * I, c->heads * D) * sizeof(bf16), "activations");
	b.act = device_alloc(c, T * I * sizeof(bf16), "activations");
	b.rows = device_alloc(c, rows * H * sizeof(bf16), "activations");
	b.logits = (float *)device_alloc(c, rows * (size_t)s.vocab_size * sizeof(float), "logits");
	c->delta = (bf16 *)device_alloc(c, split_rows * H * sizeof(bf16), "activations");
	bool all = b.residual && b.x && b.qkv && b.attn && b.gate_up && b.act && b.rows && b.logits && c->delta;
	return all ? FG_OK : FG_OUT_OF_MEMORY;
}

/* Makes room for the widest matrix of those that cuBLASLt reads in bf16. */
fg_status make_widened(Context *c) {
	size_t most = 0;
	for (int32_t i = 0; i < c->base.config->shape.n_layers; i++) {
		const fg_layer &l = c->base.weights.layers[i];
		for (const fg_matrix *m : {&l.qkv, &l.o, &l.gate_up, &l.down})
			if (m->scheme.scaling == FG_WIDE_ROWS || m->scheme.scaling == FG_WIDE_BLOCKS)
				most = std::max(most, (size_t)m->rows * (size_t)m->cols);
	}
	if (most == 0) return FG_OK;
	bf16 *memory = (bf16 *)device_alloc(c, most * sizeof(bf16), "widened weights");
	c->gemm.set_widened(memory);
	return memory ? FG_OK : FG_OUT_OF_MEMORY;
}

/* Shares the memory that other ranks read. */
fg_status share_memory(Context *c) {
	if (c->ranks.count() == 1) return FG_OK;
	SharedMemory own = {};
	own.addend[0] = c->delta, own.tokens = c->last_token;
	own.addend[1] = (bf16 *)device_alloc(c, c->most_tokens() * (size_t)c->base.config->shape.hidden_size * sizeof(bf16),
	                                     "activations");
	own.flags = (uint32_t *)device_alloc(c, PEER_FLAGS * sizeof(uint32_t), "flags between the devices");
	if (!own.addend[1] || !own.flags) return FG_OUT_OF_MEMORY;
	c->ranks.share(own);
	return FG_OK;
}

fg_status make_state(Context *c) {
	const fg_config *config = c->base.config;
	const fg_shape &s = config->shape;
	size_t S = c->most_seqs();
	for (int32_t i = 0; i < s.n_layers; i++) {
		auto found = std::find(c->windows.begin(), c->windows.end(), s.layer_window[i]);
		c->layer_window.push_back((int32_t)(found - c->windows.begin()));
		if (found == c->windows.end()) c->windows.push_back(s.layer_window[i]);
	}
	c->decode_plan = decode_plan(s.head_dim, config->options.kv_dtype == FG_FP8_E4M3, c->shared);
	c->decode_blocks = decode_blocks(c->decode_plan, c->multiprocessors, c->kv_heads, s.head_dim);
	if (c->decode_plan.stages == 0)
		return fg_fail(FG_UNSUPPORTED, "%s has too little shared memory for attention with head_dim %d", c->name,
		               s.head_dim);
	size_t partial = (size_t)2 * c->decode_blocks * c->group() * partial_row(s.head_dim) * sizeof(float);
	c->decode_partial = (float *)device_alloc(c, partial, "attention's partial results");
	c->decode_arrived = (int32_t *)device_alloc(c, S * c->kv_heads * sizeof(int32_t), "attention's counters");
	c->page_table = (int32_t *)device_alloc(c, S * config->pages_per_seq * sizeof(int32_t), "page tables");
	c->last_token = (int32_t *)device_alloc(c, S * sizeof(int32_t), "slots");
	c->rope = (float *)device_alloc(c, s.head_dim / 2 * sizeof(float), "RoPE's frequencies");
	if (!c->decode_partial || !c->decode_arrived || !c->page_table || !c->last_token || !c->rope)
		return FG_OUT_OF_MEMORY;
	fg_status status = share_memory(c);
	if (status) return status;
	cudaError_t error =
		cudaMemcpyAsync(c->rope, s.rope_inv_freq, s.head_dim / 2 * sizeof(float), cudaMemcpyHostToDevice, c->stream);
	if (error != cudaSuccess) return cuda_fail(error, "copying RoPE's frequencies");
	status = c->sampler.open(config);
	return status ? status : step_open(c);
}

fg_status make_cache(Context *c) {
	const fg_shape &s = c->base.config->shape;
	const fg_options &o = c->base.config->options;
	size_t free = 0, total = 0, bytes = o.kv_bytes;
	cudaError_t error = cudaStreamSynchronize(c->stream);
	if (error == cudaSuccess) error = cudaMemGetInfo(&free, &total);
	if (error != cudaSuccess) return cuda_fail(error, "asking for free memory");
	if (bytes == 0) {
		double may_use = (double)total * o.memory_utilization - (double)(total - free) - (double)GRAPH_RESERVE;
		bytes = may_use > 0 ? (size_t)may_use : 0;
	}
	if (bytes < c->page_bytes)
		return fg_fail(FG_OUT_OF_MEMORY,
		               "no room for a KV cache: weights and activations leave %.2f GiB of %.1f GiB at "
		               "gpu_memory_utilization %.2f. Raise it, or lower "
		               "max_num_batched_tokens or max_num_seqs, or end other programs that use the GPU",
		               (double)bytes / (1 << 30), (double)total / (1 << 30), o.memory_utilization);
	c->n_pages = (int32_t)std::min<size_t>(bytes / c->page_bytes, INT32_MAX / 4096);
	bytes = (size_t)c->n_pages * c->page_bytes;
	const bool fp8 = o.kv_dtype == FG_FP8_E4M3;
	fg_status status = c->kv_memory.open(bytes, c->device, "the KV cache", c->stream);
	if (status) return status;
	c->kv = {c->kv_memory.begin(),
	         c->page_table,
	         c->base.config->pages_per_seq,
	         s.n_layers,
	         c->kv_heads,
	         s.head_dim,
	         fp8,
	         KvPool::rows_of_layer(c->kv_heads, s.head_dim, fp8)};
	if (c->arch != 90 || s.head_dim == 32 || fp8) return FG_OK;
	error = tensor_map(&c->kv_map, (const bf16 *)c->kv.data, bytes / (s.head_dim * sizeof(bf16)), (uint64_t)s.head_dim,
	                   PAGE);
	return error == cudaSuccess ? FG_OK : cuda_fail(error, "describing the KV cache to the copy engine");
}

fg_status ready(fg_ctx *ctx, fg_capacity *capacity) {
	Context *c = context(ctx);
	fg_status status = guarded([&] {
		fg_status made = make_buffers(c);
		if (!made) made = make_widened(c);
		if (!made) made = make_state(c);
		if (!made) made = tune_products(c);
		return made ? made : make_cache(c);
	});
	if (c->ranks.count() > 1)
		c->host_memory.settle(); /* pinning blocks calls of the driver, and with them other ranks */
	status = c->ranks.connect(status, c->stream);
	if (!status) status = capture_graphs(c);
	if (status) return status;
	cudaError_t error = cudaStreamSynchronize(c->stream);
	if (error != cudaSuccess) return cuda_fail(error, "getting ready");
	memset(capacity, 0, sizeof *capacity);
	capacity->n_pages = c->n_pages, capacity->n_host_pages = c->n_host_pages;
	capacity->page_bytes = c->page_bytes, capacity->weight_bytes = c->weight_bytes;
	capacity->graphs = (int32_t)c->graphs.size();
	return FG_OK;
}

/* ---- matrix products ---- */

void multiply(fg_ctx *ctx, const void *x, const fg_matrix *w, int32_t n, Output output, const LinearInput &y,
              void *scratch = nullptr, fg_pending *pending = nullptr) {
	Context *c = context(ctx);
	const GemmKey key = {w->rows, w->cols, n, output, (Scaling)w->scheme.scaling};
	note(c, c->gemm.run(key, operands(c, x, *w), y, scratch, pending, c->stream), "a matrix product");
}

void linear(fg_ctx *ctx, const void *x, const fg_matrix *w, int32_t n, void *y) {
	multiply(ctx, x, w, n, Output::BF16, {y});
}

void linear_add(fg_ctx *ctx, const void *x, const fg_matrix *w, int32_t n, void *residual, fg_pending *pending) {
	Context *c = context(ctx);
	if (c->ranks.count() == 1) return multiply(ctx, x, w, n, Output::SPLITS, {residual}, c->delta, pending);
	bf16 *addend = c->ranks.next_addend();
	multiply(ctx, x, w, n, Output::BF16, {addend});
	*pending = {addend, 1, 0};
}

void all_reduce(fg_ctx *ctx, void *residual, int32_t n, fg_pending *pending) {
	Context *c = context(ctx);
	if (c->ranks.count() == 1) return;
	bool added = false;
	note(c, c->ranks.sum((bf16 *)residual, (size_t)n * (size_t)ctx->config->shape.hidden_size, &added, c->stream));
	if (added) *pending = {};
}

void gate_up(fg_ctx *ctx, const void *x, const fg_matrix *w, int32_t n, const fg_matrix *next, void *scratch,
             void *act) {
	multiply(ctx, x, w, n, Output::SILU_MUL, linear_input(context(ctx), act, *next, n), scratch);
}

/* A token's scale is known only once all of its heads are: the attention kernels leave bf16 in gate_up's scratch. */
void attend(fg_ctx *ctx, const fg_batch *batch, int32_t layer, const void *qkv, const fg_matrix *next, void *out) {
	Context *c = context(ctx);
	const int32_t n = c->extent.n_tokens;
	const LinearInput to = linear_input(c, out, *next, n);
	if (to.scaling == Scaling::PLAIN) return attention(ctx, batch, layer, qkv, next, out);
	attention(ctx, batch, layer, qkv, next, ctx->buf.gate_up);
	note(c, quantise((const bf16 *)ctx->buf.gate_up, to, n, next->cols, c->stream), "quantising attention's output");
}

void logits(fg_ctx *ctx, const void *x, const fg_matrix *w, int32_t n, float *logits) {
	if (ctx->rank == 0) multiply(ctx, x, w, n, Output::F32, {logits});
}

/* ---- tracing ---- */

/* Parts of the pass that is being recorded. */
uint64_t count_nodes(cudaStream_t stream) {
	cudaStreamCaptureStatus status;
	unsigned long long id = 0;
	cudaGraph_t graph = nullptr;
	size_t n = 0;
	cudaError_t error = cudaStreamGetCaptureInfo(stream, &status, &id, &graph);
	if (error == cudaSuccess && graph) cudaGraphGetNodes(graph, nullptr, &n);
	return n;
}

uint64_t mark(fg_ctx *ctx) {
	Context *c = context(ctx);
	if (c->mark_kind == MarkKind::HOST) return fg_clock_ns();
	if (c->mark_kind == MarkKind::NODES) return count_nodes(c->stream);
	uint64_t mark = 0;
	note(c, guarded([&] {
			 cudaError_t error = c->marks.record(c->stream, &mark);
			 return error == cudaSuccess ? FG_OK : cuda_fail(error, "recording an event");
		 }));
	return mark;
}

uint64_t mark_ns(fg_ctx *ctx, uint64_t mark) {
	uint64_t ns = 0;
	guarded([&] { return ns = context(ctx)->marks.ns(mark), FG_OK; });
	return ns;
}

fg_status watch(fg_ctx *ctx, size_t limit) {
	Context *c = context(ctx);
	fg_status status = c->watch.start(c->device, limit);
	if (!status) c->mark_kind = MarkKind::HOST;
	return status;
}

void settle(fg_ctx *ctx) {
	Context *c = context(ctx);
	cudaSetDevice(c->device);
	cudaStreamSynchronize(c->stream);
	copies_idle(c);
}

fg_activities watched(fg_ctx *ctx) {
	return context(ctx)->watch.stop();
}

void forget_trace(fg_ctx *ctx) {
	Context *c = context(ctx);
	cudaSetDevice(c->device);
	c->watch.forget();
	c->mark_kind = MarkKind::EVENT;
	c->marks.clear();
}

} // namespace

void sample(fg_ctx *ctx, const fg_batch *batch, int32_t first, int32_t n, float *logits) {
	Context *c = context(ctx);
	size_t top = (size_t)first * FG_MAX_LOGPROBS;
	Sampled *out = (Sampled *)(c->out + c->results.sampled) + first;
	SampleArgs a = {logits,
	                (const fg_row *)(c->step + c->layout.rows) + first,
	                {c->mask_words, c->mask_state, c->mask_copies, c->mask_found,
	                 (uint64_t *)(c->step + c->layout.mask_deadline),
	                 (uint32_t)fg_mask_stride(ctx->config->shape.vocab_size)},
	                c->last_token,
	                &out->id,
	                &out->logprob,
	                &out->rank,
	                sizeof(Sampled) / sizeof(int32_t),
	                (int32_t *)(c->out + c->results.top_ids) + top,
	                (float *)(c->out + c->results.top_logprobs) + top,
	                n};
	if (ctx->rank == 0) note(c, c->sampler.run(a, c->stream), "sampling");
	if (c->ranks.count() > 1) note(c, c->ranks.follow_first(ctx->config->options.max_seqs, c->stream));
	if (!batch->out.logits || ctx->rank > 0) return;
	size_t vocab = (size_t)ctx->config->shape.vocab_size;
	for (int32_t i = 0; i < n; i++) {
		int32_t row = batch->rows[first + i].logits_row;
		if (row < 0) continue;
		note(c,
		     cudaMemcpyAsync(batch->out.logits + (size_t)row * vocab, logits + (size_t)i * vocab, vocab * sizeof(float),
		                     cudaMemcpyDeviceToHost, c->stream),
		     "copying logits");
	}
}

} // namespace fg

extern "C" {

FG_API fg_status fg_devices(int32_t *count) {
	if (!count) return fg_fail(FG_INVALID, "count is NULL");
	int n = 0;
	/* A machine with no driver, or one that is too old, has no usable devices. */
	if (cudaGetDeviceCount(&n) != cudaSuccess) n = 0;
	cudaGetLastError();
	*count = n;
	return FG_OK;
}

FG_API fg_status fg_device(int32_t device, fg_device_info *info) {
	if (!info) return fg_fail(FG_INVALID, "info is NULL");
	cudaDeviceProp p;
	size_t free = 0, total = 0;
	cudaError_t error = cudaSetDevice(device);
	if (error == cudaSuccess) error = cudaGetDeviceProperties(&p, device);
	if (error == cudaSuccess) error = cudaMemGetInfo(&free, &total);
	if (error != cudaSuccess) return fg::cuda_fail(error, "asking about the device");
	memset(info, 0, sizeof *info);
	snprintf(info->name, sizeof info->name, "%.*s", (int)sizeof info->name - 1, p.name);
	info->memory_bytes = total, info->free_bytes = free;
	return FG_OK;
}

const fg_ops fg_device_ops = {
	.open = fg::guard<fg::open>,
	.load = fg::guard<fg::load>,
	.load_random = fg::guard<fg::load_random>,
	.ready = fg::guard<fg::ready>,
	.close = fg::close,
	.sampler_fills = 0,
	.import = fg::guard<fg::import_memory>,
	.sleep = fg::guard<fg::sleep>,
	.wake = fg::guard<fg::wake>,
	.sampler_new = fg::sampler_new,
	.sampler_free = fg::sampler_free,
	.step_begin = fg::step_begin,
	.replay = fg::replay,
	.step_end = fg::step_end,
	.step_wait = fg::guard<fg::step_wait>,
	.masks = fg::masks,
	.copy_pages = fg::copy_pages,
	.host_pages = fg::host_pages,
	.host_page = fg::host_page,
	.copies_wait = fg::guard<fg::copies_wait>,
	.embed = fg::embed,
	.add_norm = fg::add_norm,
	.linear = fg::linear,
	.linear_add = fg::linear_add,
	.all_reduce = fg::all_reduce,
	.qkv_rope = fg::qkv_rope,
	.attention = fg::attend,
	.gate_up = fg::gate_up,
	.gather = fg::gather,
	.gather_input = fg::gather_input,
	.logits = fg::logits,
	.sample = fg::sample,
	.mark = fg::mark,
	.mark_ns = fg::mark_ns,
	.watch = fg::guard<fg::watch>,
	.settle = fg::settle,
	.watched = fg::watched,
	.replayed = fg::replayed,
	.forget_trace = fg::forget_trace,
};
}
