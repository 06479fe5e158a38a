/*
 * ops_test.cuh - the foundations of ops_test.cu: a context of each library with the same weights, buffers that are
 * written and read on both sides, and random steps.
 *
 * CUDA's results are compared with the CPU's. Here the CPU computes in float32 throughout and rounds nothing to bf16,
 * so that a difference is CUDA's own error. Its bounds are in compare.cuh.
 */
#ifndef FG_OPS_TEST_CUH
#define FG_OPS_TEST_CUH

#include "../cuda/context.cuh"
#include "../cuda/products/tune.cuh"
#include "array.cuh"
#include "compare.cuh"

extern "C" {
#include "../engine.h"
#include "../forward.h"
#define _Alignas alignas /* kernels.h is C */
#include "../cpu/cpu.h"
#undef _Alignas
extern const fg_ops fg_cpu_ops; /* the CPU's fg_device_ops, renamed by objcopy (cuda/rules.mk) */
}

#include <algorithm>
#include <cstring>
#include <vector>

/* ---- both sides ---- */

/* The same matrix on both sides: float32 on the CPU, `dtype` on the device. */
struct Buffer {
	float *cpu;
	void *cuda;
	int32_t dtype;

	void put(const Values &v) const {
		std::copy(v.begin(), v.end(), cpu);
		put_cuda(v);
	}
	void put_cuda(const Values &v) const {
		std::vector<uint16_t> narrow(v.size());
		if (dtype == FG_BF16)
			for (size_t i = 0; i < v.size(); i++) narrow[i] = fg_to_bf16(v[i]);
		const void *from = dtype == FG_BF16 ? (const void *)narrow.data() : v.data();
		CUDA(cudaMemcpy(cuda, from, v.size() * fg_dtype_bytes(dtype), cudaMemcpyHostToDevice));
		CUDA(cudaDeviceSynchronize()); /* the context's stream does not wait for the default one */
	}
	void poison(size_t n) const {
		memset(cpu, 0xff, n * sizeof *cpu);
		CUDA(cudaMemset(cuda, 0xff, n * fg_dtype_bytes(dtype)));
		CUDA(cudaDeviceSynchronize());
	}
	Values from_cpu(size_t n) const {
		return Values(cpu, cpu + n);
	}
	Values from_cuda(size_t n) const {
		Values v(n);
		std::vector<uint16_t> narrow(n);
		void *to = dtype == FG_BF16 ? (void *)narrow.data() : v.data();
		CUDA(cudaMemcpy(to, cuda, n * fg_dtype_bytes(dtype), cudaMemcpyDeviceToHost));
		if (dtype == FG_BF16)
			for (size_t i = 0; i < n; i++) v[i] = fg_from_bf16(narrow[i]);
		return v;
	}
};

/* A context of each library, with the same weights, at the same step. */
struct Twins {
	fg_config config;
	fg_ctx *cpu = nullptr, *cuda = nullptr;
	fg_batch *cpu_batch = nullptr, *cuda_batch = nullptr;
	int32_t n_pages, logit_rows;
	size_t page_values;         /* of one KV page */
	std::vector<int32_t> modes; /* by slot: fg_logprobs_mode */
	Buffer residual, x, qkv, attn, gate_up, act, rows, logits;

	Twins(const fg_shape &shape, const fg_options &options, uint64_t seed) {
		MUST(fg_config_init(&config, &shape, &options));
		atomic_ullong done{0};
		atomic_int cancel{0};
		MUST(fg_cpu_ops.open(&config, 0, &cpu));
		MUST(fg_device_ops.open(&config, 0, &cuda));
		MUST(fg_cpu_ops.load_random(cpu, seed, &done, &cancel));
		MUST(fg_device_ops.load_random(cuda, seed, &done, &cancel));
		((cpu_ctx *)cpu)->x_format = FG_X_F32; /* before ready, which sizes the buffers for it */
		set_vectors();
		fg_capacity on_cpu, on_cuda;
		MUST(fg_cpu_ops.ready(cpu, &on_cpu));
		MUST(fg_device_ops.ready(cuda, &on_cuda));
		expect(on_cpu.n_pages == on_cuda.n_pages && on_cpu.n_host_pages == on_cuda.n_host_pages, "capacity");
		n_pages = on_cpu.n_pages;
		page_values = on_cpu.page_bytes / sizeof(uint16_t);
		logit_rows = std::min(cpu->buf.logit_rows, cuda->buf.logit_rows);
		const fg_buffers &a = cpu->buf, &b = cuda->buf;
		residual = {(float *)a.residual, b.residual, FG_BF16}, rows = {(float *)a.rows, b.rows, FG_BF16};
		logits = {(float *)a.logits, b.logits, FG_F32};
		x = {(float *)a.x, b.x, FG_BF16}, attn = {(float *)a.attn, b.attn, FG_BF16};
		act = {(float *)a.act, b.act, FG_BF16}, qkv = {(float *)a.qkv, b.qkv, FG_BF16};
		gate_up = {(float *)a.gate_up, b.gate_up, FG_BF16};
	}

	~Twins() {
		fg_cpu_ops.close(cpu);
		fg_device_ops.close(cuda);
		fg_config_free(&config);
	}
	Twins(const Twins &) = delete;

	const fg_shape &shape() const {
		return config.shape;
	}

	/* Random weights have norms of 1, which would hide a norm that is not applied, or that of another layer. */
	void set_vector(const float *on_cpu, const float *on_cuda, int32_t n, float low, float high) {
		if (!on_cpu && !on_cuda) return;
		expect(on_cpu && on_cuda, "a vector that only one library has");
		for (int32_t i = 0; i < n; i++) ((float *)on_cpu)[i] = uniform(low, high);
		CUDA(cudaMemcpy((void *)on_cuda, on_cpu, (size_t)n * sizeof(float), cudaMemcpyHostToDevice));
	}

	void set_vectors() {
		const fg_shape &s = shape();
		set_vector(cpu->weights.final_norm, cuda->weights.final_norm, s.hidden_size, 0.5f, 1.5f);
		for (int32_t i = 0; i < s.n_layers; i++) {
			const fg_layer &a = cpu->weights.layers[i], &b = cuda->weights.layers[i];
			set_vector(a.attn_norm, b.attn_norm, s.hidden_size, 0.5f, 1.5f);
			set_vector(a.mlp_norm, b.mlp_norm, s.hidden_size, 0.5f, 1.5f);
			set_vector(a.qkv_bias, b.qkv_bias, (s.n_heads + 2 * s.n_kv_heads) * s.head_dim, -1, 1);
			set_vector(a.q_norm, b.q_norm, s.head_dim, 0.5f, 1.5f);
			set_vector(a.k_norm, b.k_norm, s.head_dim, 0.5f, 1.5f);
		}
		CUDA(cudaDeviceSynchronize());
	}

	/* Calls f for either side, and waits for both. */
	template <class F> void both(F f) {
		f(fg_cpu_ops, cpu, cpu_batch);
		f(fg_device_ops, cuda, cuda_batch);
		CUDA(cudaDeviceSynchronize());
	}

	void begin(const fg_step &step) {
		modes.resize(config.options.max_seqs);
		for (int32_t i = 0; i < step.n_fills; i++) modes[step.fills[i].slot] = step.fills[i].sampling.logprobs_mode;
		fg_status status = FG_OK;
		cpu_batch = fg_batch_new(&fg_cpu_ops, &config, &step, fg_cpu_ops.masks(cpu, 0), &status);
		MUST(status);
		cuda_batch = fg_batch_new(&fg_device_ops, &config, &step, fg_device_ops.masks(cuda, 1), &status);
		MUST(status);
		both([](const fg_ops &ops, fg_ctx *c, fg_batch *b) { ops.step_begin(c, b); });
	}

	/* The results are in the batches until `forget`. */
	void end() {
		both([](const fg_ops &ops, fg_ctx *c, fg_batch *b) {
			ops.step_end(c, b);
			MUST(ops.step_wait(c, b));
		});
	}

	void forget() {
		fg_batch_free(&fg_cpu_ops, cpu_batch);
		fg_batch_free(&fg_device_ops, cuda_batch);
		cpu_batch = cuda_batch = nullptr;
	}

	/* ---- the KV pools, as bits in CUDA's layout: [page][layer][K|V][kv_head][64][head_dim] ---- */

	uint16_t *cpu_pool() const {
		return (uint16_t *)((cpu_ctx *)cpu)->kv;
	}

	/* Where the CPU has element i: its K is [head_dim][64]. */
	size_t cpu_index(size_t i) const {
		size_t D = (size_t)shape().head_dim, token = i / D % FG_PAGE_TOKENS, panel = i / (D * FG_PAGE_TOKENS);
		bool is_v = panel / (size_t)shape().n_kv_heads % 2;
		return is_v ? i : panel * D * FG_PAGE_TOKENS + i % D * FG_PAGE_TOKENS + token;
	}

	/* Where (page, layer, K|V, head, token) begins in CUDA's layout. */
	size_t pool_index(int32_t page, int32_t layer, int32_t v, int32_t head, int32_t token) const {
		const fg_shape &s = shape();
		size_t panel = (((size_t)page * s.n_layers + layer) * 2 + v) * s.n_kv_heads + head;
		return (panel * FG_PAGE_TOKENS + token) * s.head_dim;
	}

	void put_pool(const std::vector<uint16_t> &bits) const {
		for (size_t i = 0; i < bits.size(); i++) cpu_pool()[cpu_index(i)] = bits[i];
		CUDA(cudaMemcpy(fg::context(cuda)->kv.data, bits.data(), bits.size() * sizeof bits[0], cudaMemcpyHostToDevice));
		CUDA(cudaDeviceSynchronize());
	}

	std::vector<uint16_t> pool_of_cpu() const {
		std::vector<uint16_t> bits((size_t)n_pages * page_values);
		for (size_t i = 0; i < bits.size(); i++) bits[i] = cpu_pool()[cpu_index(i)];
		return bits;
	}

	std::vector<uint16_t> pool_of_cuda() const {
		std::vector<uint16_t> bits((size_t)n_pages * page_values);
		CUDA(cudaMemcpy(bits.data(), fg::context(cuda)->kv.data, bits.size() * sizeof bits[0], cudaMemcpyDeviceToHost));
		return bits;
	}
};

/* ---- steps ---- */

enum Kind { ONE, DECODES, PROMPT, CHUNKS, MIXED, KINDS };
static const char *const KIND_NAMES[] = {"one sequence", "decodes", "a prompt", "chunks", "mixed"};

/* A random step, and what its pointers point to. */
struct RandomStep {
	fg_step step = {};
	Array<fg_step_seq> seqs;
	Array<fg_slot_fill> fills;
	Array<fg_page_update> updates;
	std::vector<int32_t> tokens, pages; /* pages: a random order of them all */
	std::vector<uint32_t> masks;

	RandomStep(const Twins &t, Kind kind) {
		const fg_options &o = t.config.options;
		const int32_t vocab = t.shape().vocab_size, words = (vocab + 31) / 32;
		seqs.reset(new fg_step_seq[o.max_seqs]);
		fills.reset(new fg_slot_fill[o.max_seqs]);
		updates.reset(new fg_page_update[t.n_pages]);
		std::vector<int32_t> slots = shuffled(o.max_seqs);
		pages = shuffled(t.n_pages);
		int32_t most = kind == ONE || kind == PROMPT ? 1 : kind == CHUNKS ? 5 : o.max_seqs;
		while (step.n_seqs < std::min(most, o.max_seqs)) {
			int32_t room = o.max_step_tokens - step.n_tokens, pages_left = t.n_pages - step.n_page_updates;
			int32_t longest = std::min(o.max_context, pages_left * FG_PAGE_TOKENS), n_new = 1, before = 0;
			room = std::min(room, longest);
			if (room < 1) break;
			if (kind == PROMPT) n_new = room;
			if (kind == CHUNKS || (kind == MIXED && below(3) == 0)) n_new = 1 + below(room);
			if (kind != PROMPT && below(4)) before = below(std::min(longest - n_new, kind == ONE ? longest : 200) + 1);
			add(slots[step.n_seqs], n_new, n_new + before, vocab);
		}
		step.tokens = tokens.data(), step.seqs = seqs.get();
		step.fills = fills.get(), step.page_updates = updates.get();
		masks.resize((size_t)step.n_masks * words);
		for (uint32_t &m : masks) m = (uint32_t)next_random();
		step.masks = masks.data();
	}

	static std::vector<int32_t> shuffled(int32_t n) {
		std::vector<int32_t> v(n);
		for (int32_t i = 0; i < n; i++) v[i] = i;
		for (int32_t i = n - 1; i > 0; i--) std::swap(v[i], v[below(i + 1)]);
		return v;
	}

	void add(int32_t slot, int32_t n_new, int32_t context, int32_t vocab) {
		fg_step_seq &q = seqs[step.n_seqs++];
		q = {slot, n_new, context, below(8) ? FG_SAMPLE : 0, below(vocab), below(3) ? below(6) : -1, -1};
		if (below(2) && n_new > 1) q.flags |= FG_SCORE;
		if (below(3) == 0) q.flags |= FG_LOGITS;
		if (q.flags & FG_SAMPLE && below(4) == 0) q.mask = step.n_masks++;
		for (int32_t i = 0; i < n_new; i++) tokens.push_back(below(vocab));
		step.n_tokens += n_new;
		for (int32_t i = 0; i * FG_PAGE_TOKENS < context; i++, step.n_page_updates++)
			updates[step.n_page_updates] = {slot, i, pages[step.n_page_updates]};
		fg_sampling s = {};
		s.seed = next_random(), s.temperature = below(3) ? uniform(0.3f, 2) : 0;
		s.logprobs_mode = below(3) ? FG_RAW_LOGPROBS : FG_PROCESSED_LOGPROBS;
		s.top_p = below(2) ? 1 : uniform(0.1f, 1), s.top_k = below(2) ? 0 : 1 + below(vocab);
		s.repetition_penalty = 1;
		fills[step.n_fills++] = {slot, 0, s};
	}

	/* The page that holds a position of sequence i. */
	int32_t page_of(int32_t i, int32_t position) const {
		int32_t before = 0;
		for (int32_t j = 0; j < i; j++) before += (seqs[j].context + FG_PAGE_TOKENS - 1) / FG_PAGE_TOKENS;
		return pages[before + position / FG_PAGE_TOKENS];
	}
};

/* Fills the pools with keys and values for every position of the step's sequences, and elsewhere with numbers that
 * would ruin a result that they leak into. Returns the largest norm of a key. */
static double fill_pool(const Twins &t, const RandomStep &s) {
	const fg_shape &shape = t.shape();
	std::vector<uint16_t> bits((size_t)t.n_pages * t.page_values);
	for (size_t i = 0; i < bits.size(); i++) bits[i] = fg_to_bf16(i % 2 ? 1000 : -1000);
	double longest = 0;
	for (int32_t i = 0; i < s.step.n_seqs; i++)
		for (int32_t position = 0; position < s.seqs[i].context; position++)
			for (int32_t j = 0; j < shape.n_layers * 2 * shape.n_kv_heads; j++) {
				int32_t layer = j / (2 * shape.n_kv_heads), v = j / shape.n_kv_heads % 2;
				size_t at =
					t.pool_index(s.page_of(i, position), layer, v, j % shape.n_kv_heads, position % FG_PAGE_TOKENS);
				double squares = 0;
				for (int32_t d = 0; d < shape.head_dim; d++) {
					float x = normal();
					bits[at + d] = fg_to_bf16(x), squares += (double)x * x;
				}
				if (!v) longest = std::max(longest, std::sqrt(squares));
			}
	t.put_pool(bits);
	return longest;
}

#endif
