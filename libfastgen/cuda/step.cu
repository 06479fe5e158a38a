/*
 * step.cu - what surrounds the ops of a step: its description goes to the device in one piece, and its results come
 * back. A step in which all sequences decode is replayed as a CUDA graph.
 *
 * Both go through a kernel that reads or writes pinned memory. As copies they would stand behind all KV pages on their
 * way to or from the host, whose copy engines they share, and the step with them.
 */
#include "context.cuh"

extern "C" {
#include "../forward.h"
}

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace fg {

namespace {

constexpr size_t ALIGN = 256;

size_t aligned(size_t bytes) {
	return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

StepLayout make_layout(const Context *c) {
	const size_t T = c->most_tokens(), S = c->most_seqs();
	StepLayout l = {};
	auto take = [&](size_t bytes) {
		size_t at = l.bytes;
		l.bytes += aligned(bytes);
		return at;
	};
	l.max_tiles = (int32_t)(T * c->group() / PREFILL_ROWS + S);
	l.share_bytes = aligned(c->decode_blocks * sizeof(DecodeShare));
	l.tokens = take(T * sizeof(int32_t));
	l.positions = take(T * sizeof(int32_t));
	l.slots = take(T * sizeof(int32_t));
	l.seqs = take(S * sizeof(AttnSeq));
	l.shares = take(l.share_bytes * c->windows.size());
	l.rows = take(T * sizeof(fg_row));
	l.mask_deadline = take(sizeof(uint64_t));
	l.tiles = take(l.max_tiles * sizeof(PrefillTile));
	return l;
}

ResultLayout make_results(const Context *c) {
	const size_t T = c->most_tokens(), top = T * FG_MAX_LOGPROBS;
	ResultLayout r = {};
	r.top_ids = aligned(T * sizeof(Sampled));
	r.top_logprobs = r.top_ids + top * sizeof(int32_t);
	r.bytes = r.top_logprobs + top * sizeof(float);
	return r;
}

/* Whether a recorded pass can stand for this step: every sequence decodes and samples one row, in order. */
bool replayable(const fg_batch *b) {
	if (b->n_tokens != b->n_seqs || b->n_rows != b->n_seqs || b->out.logits) return false;
	for (int32_t i = 0; i < b->n_rows; i++)
		if (b->rows[i].token != i || b->rows[i].target >= 0) return false;
	return true;
}

const Graph *choose_graph(const Context *c, const fg_batch *b) {
	if (!replayable(b)) return nullptr;
	for (const Graph &g : c->graphs)
		if (g.n_seqs >= b->n_seqs) return &g;
	return nullptr;
}

__global__ void copy_words_kernel(uint32_t *to, const uint32_t *from, size_t words) {
	const size_t step = (size_t)gridDim.x * blockDim.x;
	for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < words; i += step) to[i] = __ldcv(from + i);
}

/* Copies between the device and pinned memory, in the order of the steps. Both buffers hold whole words. */
void copy_words(Context *c, void *to, const void *from, size_t bytes, const char *what) {
	constexpr size_t THREADS = 256;
	const size_t words = (bytes + sizeof(uint32_t) - 1) / sizeof(uint32_t);
	if (words == 0) return;
	const size_t blocks = std::min((words + THREADS - 1) / THREADS, (size_t)c->multiprocessors);
	copy_words_kernel<<<(unsigned)blocks, THREADS, 0, c->stream>>>((uint32_t *)to, (const uint32_t *)from, words);
	note(c, cudaGetLastError(), what);
}

__global__ void page_update_kernel(int32_t *table, int32_t pages_per_seq, const fg_page_update *updates, int32_t n) {
	int32_t i = blockIdx.x * blockDim.x + threadIdx.x;
	if (i < n) table[(int64_t)updates[i].slot * pages_per_seq + updates[i].index] = updates[i].page;
}

fg_status grow_tail(Context *c, StepBuffers &b, size_t bytes) {
	cudaError_t error = cudaSuccess;
	if (b.tail_bytes < bytes) {
		cudaFreeHost(b.tail);
		b.tail = nullptr, b.tail_bytes = 0;
		error = cudaMallocHost(&b.tail, 2 * bytes);
		if (error == cudaSuccess) b.tail_bytes = 2 * bytes;
	}
	if (c->tail_bytes < bytes && error == cudaSuccess) {
		cudaFree(c->tail);
		c->tail = nullptr, c->tail_bytes = 0;
		error = cudaMalloc(&c->tail, 2 * bytes);
		if (error == cudaSuccess) c->tail_bytes = 2 * bytes;
	}
	return error == cudaSuccess ? FG_OK : cuda_fail(error, "memory for page updates and sampling parameters");
}

/* Makes room for `bytes` in the tail buffers, which only grow. First it waits for the steps that read them, and for all
 * ranks: allocating waits for the devices, and must not meet a sum for which another rank is waiting. */
bool reserve_tail(Context *c, StepBuffers &b, size_t bytes) {
	if (b.tail_bytes >= bytes && c->tail_bytes >= bytes) return true;
	cudaError_t error = cudaStreamSynchronize(c->stream);
	fg_status status = c->ranks.meet(error == cudaSuccess ? FG_OK : cuda_fail(error, "a step"));
	if (!status) status = grow_tail(c, b, bytes);
	status = c->ranks.meet(status);
	if (status) b.tail_bytes = c->tail_bytes = 0; /* on every rank: all must meet at the same steps */
	note(c, status);
	return status == FG_OK;
}

/* Copies page updates and fills to the device, and applies them. */
void apply_changes(Context *c, StepBuffers &b, fg_batch *batch) {
	size_t updates = 0, fills = aligned(batch->n_page_updates * sizeof(fg_page_update));
	size_t total = fills + aligned(c->sampler.fill_bytes(batch->fills, batch->n_fills));
	if (total == 0 || !reserve_tail(c, b, total)) return;
	memcpy(b.tail + updates, batch->page_updates, batch->n_page_updates * sizeof(fg_page_update));
	c->sampler.pack_fills(batch->fills, batch->n_fills, b.tail + fills);
	copy_words(c, c->tail, b.tail, total, "copying page updates and sampling parameters");
	if (batch->n_page_updates > 0) {
		page_update_kernel<<<(batch->n_page_updates + 255) / 256, 256, 0, c->stream>>>(
			c->page_table, c->base.config->pages_per_seq, (const fg_page_update *)(c->tail + updates),
			batch->n_page_updates);
		note(c, cudaGetLastError(), "page updates");
	}
	if (batch->n_fills > 0)
		note(c, c->sampler.apply_fills(batch->n_fills, b.tail + fills, c->tail + fills, c->stream),
		     "sampling parameters");
}

/* Describes the step in b.host. padded: sequences of the graph that replays it, or 0; those past the step's own do
 * nothing. */
void describe(Context *c, StepBuffers &b, const fg_batch *batch, int32_t padded) {
	const StepLayout &l = c->layout;
	int32_t *tokens = (int32_t *)(b.host + l.tokens), *positions = (int32_t *)(b.host + l.positions),
			*slots = (int32_t *)(b.host + l.slots);
	fg_row *rows = (fg_row *)(b.host + l.rows);
	AttnSeq *seqs = (AttnSeq *)(b.host + l.seqs);
	memcpy(tokens, batch->tokens, batch->n_tokens * sizeof *tokens);
	memcpy(positions, batch->positions, batch->n_tokens * sizeof *positions);
	memcpy(rows, batch->rows, batch->n_rows * sizeof *rows);
	/* The kernel counts masks from the first of all. */
	const int32_t first_mask = c->mask_state ? (int32_t)(batch->masks.state - c->mask_state) : 0;
	for (int32_t r = 0; r < batch->n_rows; r++)
		if (rows[r].mask >= 0) rows[r].mask += first_mask;
	*(uint64_t *)(b.host + l.mask_deadline) = 0;
	for (int32_t t = 0; t < batch->n_tokens; t++) slots[t] = batch->seqs[batch->seq_of[t]].slot;

	c->extent = {batch->n_tokens, 0, 0, 0};
	for (int decode = 1; decode >= 0; decode--)
		for (int32_t i = 0, n = 0; i < batch->n_seqs; i++) {
			const fg_step_seq &s = batch->seqs[i];
			if ((s.n_new == 1) != decode) continue;
			seqs[c->extent.n_decode + (decode ? 0 : n++)] = {s.slot, s.context, s.n_new, batch->first_token[i]};
			decode ? c->extent.n_decode++ : c->extent.n_prefill++;
		}
	/* The graph's padding: decoding sequences, each with a token and a row. */
	for (int32_t i = batch->n_seqs; i < padded; i++) {
		tokens[i] = positions[i] = 0, slots[i] = -1;
		rows[i] = {i, -1, 0, -1, -1, -1, -1};
		seqs[i] = {0, 0, 0, i};
	}
	if (padded) c->extent.n_tokens = c->extent.n_decode = padded;

	for (size_t w = 0; w < c->windows.size(); w++)
		list_decode_shares(seqs, c->extent.n_decode, c->kv_heads, c->windows[w], c->decode_blocks,
		                   (DecodeShare *)(b.host + l.shares + w * l.share_bytes));
	c->extent.n_tiles = list_prefill_tiles(seqs + c->extent.n_decode, c->extent.n_prefill, c->group(),
	                                       (PrefillTile *)(b.host + l.tiles));
}

fg_status make_masks(Context *c) {
	const size_t n = FG_STEPS_IN_FLIGHT * (size_t)c->base.config->options.max_seqs;
	const size_t bytes = fg_mask_stride(c->base.config->shape.vocab_size) * sizeof(uint32_t);
	if (c->base.rank > 0) return FG_OK;
	cudaError_t error = cudaHostAlloc(&c->mask_words, n * bytes, cudaHostAllocMapped);
	if (error == cudaSuccess) error = cudaHostAlloc(&c->mask_state, n * sizeof(int32_t), cudaHostAllocMapped);
	if (error != cudaSuccess) return cuda_fail(error, "pinned memory for masks");
	memset(c->mask_state, 0, n * sizeof(int32_t));
	c->mask_copies = (uint32_t *)device_alloc(c, (size_t)c->base.buf.logit_rows * bytes, "masks");
	c->mask_found = (int32_t *)device_alloc(c, (size_t)c->base.buf.logit_rows * sizeof(int32_t), "masks");
	return c->mask_copies && c->mask_found ? FG_OK : FG_OUT_OF_MEMORY;
}

} // namespace

cudaError_t find_code() {
	cudaFuncAttributes ignored;
	return cudaFuncGetAttributes(&ignored, page_update_kernel);
}

fg_status step_open(Context *c) {
	c->layout = make_layout(c);
	c->step = (char *)device_alloc(c, c->layout.bytes, "the description of a step");
	c->results = make_results(c);
	c->out = (char *)device_alloc(c, c->results.bytes, "the results of a step");
	if (!c->step || !c->out) return FG_OUT_OF_MEMORY;
	for (StepBuffers &b : c->ring) {
		cudaError_t error = cudaMallocHost(&b.host, c->layout.bytes);
		if (error == cudaSuccess) error = cudaMallocHost(&b.out, c->results.bytes);
		if (error == cudaSuccess) error = cudaEventCreate(&b.start);
		if (error == cudaSuccess) error = cudaEventCreate(&b.end);
		if (error != cudaSuccess) return cuda_fail(error, "pinned memory for steps");
	}
	fg_status status = make_masks(c);
	if (status) return status;
	cudaError_t error = copies_open(c);
	return error == cudaSuccess ? FG_OK : cuda_fail(error, "creating a stream");
}

void step_close(Context *c) {
	for (Graph &g : c->graphs) cudaGraphExecDestroy(g.exec), fg_trace_free(g.ops);
	for (StepBuffers &b : c->ring) {
		cudaFreeHost(b.host), cudaFreeHost(b.tail), cudaFreeHost(b.out);
		if (b.start) cudaEventDestroy(b.start);
		if (b.end) cudaEventDestroy(b.end);
	}
	cudaFree(c->tail);
	cudaFreeHost(c->mask_words), cudaFreeHost(c->mask_state);
	copies_close(c);
}

namespace {

/* Records what `ops` enqueue for a step of this extent. Free *exec with cudaGraphExecDestroy; NULL: nobody wants it. */
template <class Ops> fg_status capture(Context *c, const StepExtent &extent, cudaGraphExec_t *exec, Ops ops) {
	cudaGraph_t graph = nullptr;
	c->extent = extent;
	cudaError_t error = cudaStreamBeginCapture(c->stream, cudaStreamCaptureModeThreadLocal);
	if (error == cudaSuccess) {
		ops();
		error = cudaStreamEndCapture(c->stream, &graph);
	}
	if (error == cudaSuccess && !c->failure && exec) error = cudaGraphInstantiate(exec, graph, 0);
	if (graph) cudaGraphDestroy(graph);
	note(c, error, "recording a step"); /* unless an op has failed, whose error says more */
	if (!c->failure) return FG_OK;
	return fg_fail(c->failure, "steps cannot run on %s (compute capability %d.%d): %s", c->name, c->arch / 10,
	               c->arch % 10, c->failure_text);
}

} // namespace

fg_status capture_graphs(Context *c) {
	fg_batch batch = {};
	for (int32_t n : Gemm::buckets(c->base.config->options.max_seqs)) {
		batch.n_seqs = batch.n_tokens = batch.n_rows = n;
		c->graphs.push_back({n, nullptr, nullptr});
		fg_status status = capture(c, {n, n, 0, 0}, &c->graphs.back().exec,
		                           [&] { fg_forward(&fg_device_ops, &c->base, &batch, nullptr); });
		if (status) return status;
	}
	const fg_buffers &b = c->base.buf;
	return capture(c, {1, 0, 1, 1}, nullptr, [&] {
		const fg_matrix *next = &c->base.weights.layers[0].o;
		fg_device_ops.attention(&c->base, &batch, 0, b.qkv, next, b.attn);
	});
}

/* The pass is recorded once more, with marks that count, and thrown away. The sums of ranks take turns: there is an
 * even number of them. */
const fg_trace *replayed(fg_ctx *ctx) {
	Context *c = context(ctx);
	Graph &g = c->graphs[(size_t)(c->graph - c->graphs.data())];
	if (g.ops || c->failure) return g.ops;
	g.ops = fg_trace_new(FG_TRACE_EVENTS);
	if (!g.ops) return nullptr;
	fg_batch batch = {};
	batch.n_seqs = batch.n_tokens = batch.n_rows = g.n_seqs;
	const MarkKind kind = c->mark_kind;
	c->mark_kind = MarkKind::NODES;
	const fg_status status =
		capture(c, {g.n_seqs, g.n_seqs, 0, 0}, nullptr, [&] { fg_forward(&fg_device_ops, &c->base, &batch, g.ops); });
	c->mark_kind = kind;
	if (!status) return g.ops;
	/* The step itself has not failed. */
	c->failure = FG_OK;
	fg_trace_free(g.ops);
	return g.ops = nullptr;
}

void step_begin(fg_ctx *ctx, fg_batch *batch) {
	Context *c = context(ctx);
	StepBuffers &b = c->ring[c->n_steps % RING];
	b.batch = batch;
	await_arrivals(c);
	c->graph = choose_graph(c, batch);
	describe(c, b, batch, c->graph ? c->graph->n_seqs : 0);
	note(c, cudaEventRecord(b.start, c->stream), "recording an event");
	apply_changes(c, b, batch);
	/* The tiles come last, so that only as many are copied as there are. */
	size_t bytes = c->layout.tiles + c->extent.n_tiles * sizeof(PrefillTile);
	copy_words(c, c->step, b.host, bytes, "copying a step's description");
}

int replay(fg_ctx *ctx, const fg_batch *) {
	Context *c = context(ctx);
	if (!c->graph) return 0;
	note(c, cudaGraphLaunch(c->graph->exec, c->stream), "replaying a graph");
	return 1;
}

void step_end(fg_ctx *ctx, fg_batch *batch) {
	Context *c = context(ctx);
	StepBuffers &b = c->ring[c->n_steps++ % RING];
	const size_t top = (size_t)batch->n_rows * FG_MAX_LOGPROBS;
	auto fetch = [&](size_t at, size_t bytes) { copy_words(c, b.out + at, c->out + at, bytes, "copying results"); };
	fetch(c->results.sampled, batch->n_rows * sizeof(Sampled));
	if (batch->out.top_ids) {
		fetch(c->results.top_ids, top * sizeof(int32_t));
		fetch(c->results.top_logprobs, top * sizeof(float));
	}
	note(c, cudaEventRecord(b.end, c->stream), "recording an event");
	b.failure = c->failure;
	memcpy(b.failure_text, c->failure_text, sizeof b.failure_text);
	c->failure = FG_OK;
}

fg_status step_wait(fg_ctx *ctx, fg_batch *batch) {
	Context *c = context(ctx);
	int i = 0;
	while (i < RING && c->ring[i].batch != batch) i++;
	if (i == RING) return fg_fail(FG_INVALID, "the step was never begun");
	StepBuffers &b = c->ring[i];
	cudaSetDevice(c->device);
	cudaError_t error = cudaEventSynchronize(b.end);
	b.batch = nullptr;
	if (b.failure) return fg_fail(b.failure, "%s", b.failure_text);
	if (error != cudaSuccess) return cuda_fail(error, "a step");
	const Sampled *sampled = (const Sampled *)(b.out + c->results.sampled);
	for (int32_t r = 0; r < batch->n_rows; r++)
		batch->out.ids[r] = sampled[r].id, batch->out.logprobs[r] = sampled[r].logprob,
		batch->out.ranks[r] = sampled[r].rank;
	if (batch->out.top_ids) {
		const size_t top = (size_t)batch->n_rows * FG_MAX_LOGPROBS;
		memcpy(batch->out.top_ids, b.out + c->results.top_ids, top * sizeof(int32_t));
		memcpy(batch->out.top_logprobs, b.out + c->results.top_logprobs, top * sizeof(float));
	}
	float run = 0, idle = 0;
	cudaEventElapsedTime(&run, b.start, b.end);
	if (c->waited_steps++ > 0) cudaEventElapsedTime(&idle, c->ring[(i + RING - 1) % RING].end, b.start);
	tell_copy_times(b.copies, c->ring[(i + RING - 1) % RING].copies, &batch->out);
	batch->out.run_seconds = run * 1e-3, batch->out.idle_seconds = idle * 1e-3;
	return FG_OK;
}

fg_mask_rows masks(fg_ctx *ctx, int32_t place) {
	const Context *c = context(ctx);
	const size_t first = (size_t)place * (size_t)ctx->config->options.max_seqs,
				 stride = fg_mask_stride(ctx->config->shape.vocab_size);
	return {c->mask_words + first * stride, c->mask_state + first, stride};
}

} // namespace fg
