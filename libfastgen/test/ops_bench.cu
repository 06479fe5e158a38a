/*
 * ops_bench.cu - measures what this device can do, and how near each op comes to it: a table on stderr, JSON lines on
 * stdout.
 *
 * First it measures the ceilings: memory bandwidth, cuBLASLt's best for the products of a 7B model once the clock has
 * settled under load, and the link to the host. Then it measures every op with the shapes of that model, and compares
 * it with the ceiling that limits it: bytes (every input read once, every output written once) or floating-point
 * operations. Ops that are limited by memory use more buffers than the L2 cache holds.
 *
 *   ops_bench             everything
 *   ops_bench attention   the ceilings and attention
 *   ops_bench sampling    the ceilings of memory and sampling
 *   ops_bench fp8         the ceilings of memory, and products of FP8 weights in each way that devices have (gemm.cuh)
 *
 * Needs a GPU with 16 GB; without a device it says so and passes.
 */
#include "../cuda/context.cuh"
#include "../cuda/elementwise.cuh"
#include "../sample_math.h"
#include "array.cuh"
#include "ops_bench.cuh"

#include <cstring>
#include <random>
#include <string>
#include <vector>

/* ---- Ops, in a context ---- */

constexpr int HEADS = 32, KV_HEADS = 8, HEAD_DIM = 128, QKV = (HEADS + 2 * KV_HEADS) * HEAD_DIM;
constexpr int MAX_SEQS = 512;
constexpr int LAYERS = 4; /* so that each product's weights are more than the L2 cache holds */

/* A context with random weights, whose attention is that of a 7B model. */
struct Model {
	fg_config config = {};
	float inv_freq[HEAD_DIM / 2];
	int32_t windows[LAYERS] = {}, device = 0;
	fg_ctx *ctx = nullptr;
	fg::Context *c;
	const fg_ops &ops = fg_device_ops;

	Model(int layers, int hidden, int intermediate, int vocab, int step_tokens, int context, int pages,
	      int kv_dtype = FG_BF16, int quantization = FG_QUANTIZE_NONE) {
		for (int i = 0; i < HEAD_DIM / 2; i++) inv_freq[i] = powf(1e6f, -2.0f * i / HEAD_DIM);
		fg_shape &s = config.shape;
		s.n_layers = layers, s.hidden_size = hidden, s.n_heads = HEADS, s.n_kv_heads = KV_HEADS, s.head_dim = HEAD_DIM;
		s.intermediate_size = intermediate, s.vocab_size = vocab, s.rms_norm_eps = 1e-5f, s.rope_scale = 1;
		s.rope_inv_freq = inv_freq, s.layer_window = windows;
		fg_options &o = config.options;
		o.devices = &device, o.n_devices = 1, o.max_seqs = MAX_SEQS, o.max_step_tokens = step_tokens;
		o.max_context = context, o.compute_dtype = FG_BF16, o.kv_dtype = kv_dtype;
		o.quantization = quantization;
		o.kv_bytes = (uint64_t)pages * layers * fg_page_layer_bytes(KV_HEADS, HEAD_DIM, kv_dtype);
		config.pages_per_seq = (context + FG_PAGE_TOKENS - 1) / FG_PAGE_TOKENS;
		atomic_ullong done{0};
		atomic_int cancel{0};
		fg_capacity capacity;
		FG(ops.open(&config, 0, &ctx));
		FG(ops.load_random(ctx, 1, &done, &cancel));
		FG(ops.ready(ctx, &capacity));
		c = fg::context(ctx);
		stream = c->stream;
	}

	~Model() {
		ops.close(ctx);
	}

	/* Ends the program if an op has failed, as its context remembers. */
	void check(const char *op) const {
		if (c->failure) die(op, c->failure_text);
	}
};

/* A product of n tokens, with the weights of another layer in each call. i: index into PRODUCTS. */
static void run_product(Model &m, size_t i, int n, int call) {
	const fg_buffers &b = m.ctx->buf;
	const fg_weights &w = m.ctx->weights;
	const fg_layer &l = w.layers[call % LAYERS];
	fg_pending pending;
	switch (i) {
	case QKV_PRODUCT: return m.ops.linear(m.ctx, b.x, &l.qkv, n, b.qkv);
	case O_PRODUCT: return m.ops.linear_add(m.ctx, b.attn, &l.o, n, b.residual, &pending);
	case GATE_UP_PRODUCT: return m.ops.gate_up(m.ctx, b.x, &l.gate_up, n, &w.layers[0].down, b.gate_up, b.act);
	case DOWN_PRODUCT: return m.ops.linear_add(m.ctx, b.act, &l.down, n, b.residual, &pending);
	default: return m.ops.logits(m.ctx, b.x, &w.lm_head, n, b.logits);
	}
}

/* Their inputs are what tuning has left. */
static void bench_fp8(fg::Fp8Way way, const char *name) {
	fg::best_fp8_way = way;
	Model m(LAYERS, 4096, 14336, 32768, 4096, 4096, 64, FG_BF16, FG_QUANTIZE_FP8);
	for (size_t i = 0; i < LM_HEAD_PRODUCT; i++)
		for (int n : {1, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096}) {
			const Product &p = PRODUCTS[i];
			const std::string op = std::string(p.name) + ", FP8 " + name;
			const double t = seconds([&](int call) { run_product(m, i, n, call); }, n >= LARGE[0]);
			m.check(op.c_str());
			if (n > 64) result(op.c_str(), {{"tokens", n}}, t, product_flops(p, n) / t / 1e12, TFLOPS, 0);
			else result(op.c_str(), {{"tokens", n}}, t, (double)p.rows * p.cols / t / 1e9, GBS, read_ceiling);
		}
}

static void bench_products(Model &m) {
	const fg_buffers &b = m.ctx->buf;
	const size_t T = (size_t)m.config.options.max_step_tokens, H = (size_t)m.config.shape.hidden_size;
	fill(b.x, T * H), fill(b.attn, T * H), fill(b.act, T * (size_t)m.config.shape.intermediate_size);
	for (size_t i = 0; i < std::size(PRODUCTS); i++) {
		const Product &p = PRODUCTS[i];
		for (int n : {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096}) {
			if (n > p.most) continue;
			size_t k = 0; /* below 512 tokens no ceiling was measured: that of 512 is higher */
			while (LARGE[k] < n) k++;
			const bool gated = i == GATE_UP_PRODUCT;       /* with SiLU·mul: half as much is written */
			const double each = p.f32 ? 4 : gated ? 1 : 2; /* bytes written per row of w and token */
			const double bytes = 2.0 * p.rows * p.cols + 2.0 * n * p.cols + each * n * p.rows;
			const double flops = product_flops(p, n), ceiling = product_ceiling[i][k];
			const bool memory = bytes / read_ceiling / 1e9 > flops / ceiling / 1e12;
			const double t = seconds([&](int call) { run_product(m, i, n, call); }, !memory);
			m.check(p.name);
			if (memory) result(p.name, {{"tokens", n}}, t, bytes / t / 1e9, GBS, read_ceiling);
			else result(p.name, {{"tokens", n}}, t, flops / t / 1e12, TFLOPS, ceiling);
		}
	}
}

/* Times an op whose inputs and outputs lie in a piece of the arena, a different piece in each call. */
template <class F> static void bench_elementwise(Model &m, const char *op, int n, int token_bytes, F f) {
	const size_t bytes = (size_t)n * token_bytes, pieces = ARENA / bytes;
	const double t = seconds([&](int call) { f(arena + call % pieces * bytes); });
	m.check(op);
	result(op, {{"tokens", n}}, t, bytes / t / 1e9, GBS, copy_ceiling);
}

static void bench_elementwise(Model &m) {
	fg::Context *c = m.c;
	fg_ctx *ctx = m.ctx;
	const fg_batch none = {};
	const fg::KvPool pool = c->kv;
	const size_t H = (size_t)m.config.shape.hidden_size, I = (size_t)m.config.shape.intermediate_size;
	for (int n : {64, 256, 2048}) {
		/* What the ops read of a step: tokens and rows in random order; each sequence has a page. */
		std::vector<int32_t> order(n), positions(n), slots(n), table((size_t)MAX_SEQS * m.config.pages_per_seq);
		const Array<fg_row> rows(new fg_row[n]);
		for (int i = 0; i < n; i++) order[i] = i, positions[i] = i % FG_PAGE_TOKENS, slots[i] = i / FG_PAGE_TOKENS;
		std::shuffle(order.begin(), order.end(), std::mt19937(1));
		for (int i = 0; i < n; i++) rows[i] = {order[i], 0, 0, -1, -1, -1, -1};
		for (int i = 0; i < MAX_SEQS; i++) table[(size_t)i * m.config.pages_per_seq] = i;
		auto copy = [](void *to, const void *from, size_t bytes) {
			CUDA(cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice));
		};
		copy(c->step + c->layout.tokens, order.data(), order.size() * sizeof(int32_t));
		copy(c->step + c->layout.positions, positions.data(), positions.size() * sizeof(int32_t));
		copy(c->step + c->layout.slots, slots.data(), slots.size() * sizeof(int32_t));
		copy(c->step + c->layout.rows, rows.get(), n * sizeof(fg_row));
		copy(c->page_table, table.data(), table.size() * sizeof(int32_t));
		CUDA(cudaDeviceSynchronize()); /* the context's stream does not wait for such copies */
		c->extent = {n, 0, 0, 0};

		bench_elementwise(m, "add_norm", n, (int)(8 * H), [&](char *p) {
			m.ops.add_norm(ctx, p, {p + n * 2 * H, 1, 0}, ctx->weights.layers[0].attn_norm, n, &ctx->weights.lm_head,
			               p + n * 4 * H);
		});
		bench_elementwise(m, "qkv_rope", n, 4 * QKV, [&](char *p) {
			c->kv.data = p + (size_t)n * 2 * QKV, c->kv.n_layers = 1;
			m.ops.qkv_rope(ctx, &none, 0, p);
		});
		bench_elementwise(m, "silu_mul", n, (int)(6 * I), [&](char *p) {
			CUDA(fg::silu_mul((const bf16 *)p, (bf16 *)(p + n * 4 * I), n, (int)I, stream));
		});
		bench_elementwise(m, "gather", n, (int)(6 * H),
		                  [&](char *p) { m.ops.gather(ctx, &none, 0, n, p, {p + n * 2 * H, 1, 0}, p + n * 4 * H); });
		bench_elementwise(m, "embed", n, (int)(4 * H), [&](char *p) {
			ctx->weights.embed.part[0].data = p;
			m.ops.embed(ctx, &none, p + n * 2 * H);
		});
	}
	c->kv = pool;
}

/* Prepares a step of n sequences of `context` tokens, n_new of them new, on pages in random order. Returns the number
 * of pages. */
static int begin_step(Model &m, int n, int context, int n_new) {
	const int pages_each = (context + FG_PAGE_TOKENS - 1) / FG_PAGE_TOKENS, pages = n * pages_each, tokens = n * n_new;
	std::vector<int32_t> order(pages), first(n), zeros(tokens), positions(tokens), seq_of(tokens);
	const Array<fg_step_seq> seqs(new fg_step_seq[n]);
	const Array<fg_page_update> updates(new fg_page_update[pages]);
	for (int i = 0; i < pages; i++) order[i] = i;
	std::shuffle(order.begin(), order.end(), std::mt19937(1));
	for (int i = 0; i < pages; i++) updates[i] = {i / pages_each, i % pages_each, order[i]};
	for (int i = 0; i < n; i++) seqs[i] = {i, n_new, context, 0, 0, -1, -1}, first[i] = i * n_new;
	for (int i = 0; i < tokens; i++) seq_of[i] = i / n_new, positions[i] = context - n_new + i % n_new;
	fg_batch batch = {};
	batch.n_seqs = n, batch.n_tokens = tokens, batch.n_page_updates = pages;
	batch.seqs = seqs.get(), batch.first_token = first.data(), batch.tokens = zeros.data();
	batch.positions = positions.data(), batch.seq_of = seq_of.data(), batch.page_updates = updates.get();
	m.ops.step_begin(m.ctx, &batch);
	CUDA(cudaStreamSynchronize(stream));
	m.check("step_begin");
	return pages;
}

/* Numbers between 0.5 and 2 as e4m3, and positive ones where they are read as scales. */
__global__ static void fp8_kernel(char *p, size_t n) {
	for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x)
		p[i] = (char)(0x30 | (i * 0x9E3779B97F4A7C15ull) >> 60);
}

static void fill_fp8(char *p, size_t n) {
	fp8_kernel<<<1024, 256>>>(p, n);
	CUDA(cudaGetLastError());
	CUDA(cudaDeviceSynchronize());
}

static void bench_attention(int kv_dtype) {
	constexpr int PAGES = MAX_SEQS * 1024 / FG_PAGE_TOKENS, STEP = 16384, CONTEXT = 32768;
	/* Small, apart from attention. The choices for such products are not worth keeping. */
	unsetenv("XDG_CACHE_HOME"), unsetenv("HOME");
	Model m(1, 256, 256, 1024, STEP, CONTEXT, PAGES, kv_dtype);
	const bool fp8 = kv_dtype == FG_FP8_E4M3;
	const char *const decode = fp8 ? "decode attention, FP8 pages" : "decode attention";
	const char *const prefill = fp8 ? "prefill attention, FP8 pages" : "prefill attention";
	fg::Context *c = m.c;
	char *const pool = c->kv.data;
	const size_t page = c->page_bytes;
	fp8 ? fill_fp8(pool, PAGES * page) : fill(pool, PAGES * page / sizeof(bf16));
	fill(m.ctx->buf.qkv, (size_t)STEP * QKV);
	const fg_batch none = {};
	auto attend = [&] {
		m.ops.attention(m.ctx, &none, 0, m.ctx->buf.qkv, &m.ctx->weights.layers[0].o, m.ctx->buf.attn);
	};
	for (auto [n, context] :
	     {std::pair{1, 1024}, {16, 1024}, {64, 1024}, {256, 1024}, {512, 1024}, {64, 8192}, {1, 32768}}) {
		const int pages = begin_step(m, n, context, 1), sets = PAGES / pages;
		const double bytes = (double)page * n * context / (double)FG_PAGE_TOKENS;
		const double t = seconds([&](int call) { c->kv.data = pool + call % sets * pages * page, attend(); });
		m.check(decode);
		result(decode, {{"batch", n}, {"context", context}}, t, bytes / t / 1e9, GBS, read_ceiling);
	}
	c->kv.data = pool;
	for (auto [n, length] : {std::pair{8, 1024}, {2, 1024}, {1, 1024}, {2, 4096}, {1, 16384}}) {
		begin_step(m, n, length, length);
		const double flops = 4.0 * n * length * (length + 1.0) / 2 * HEADS * HEAD_DIM;
		const double t = seconds([&](int) { attend(); }, true);
		m.check(prefill);
		result(prefill, {{"batch", n}, {"length", length}}, t, flops / t / 1e12, TFLOPS, gemm_ceiling);
	}
}

/* ---- Sampling ---- */

__global__ static void logits_kernel(float *logits, size_t n) {
	for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x) {
		uint32_t random[4];
		fg_philox(7, 1, (uint32_t)i, random);
		float u = ((float)(random[0] >> 8) + 0.5f) * 0x1p-24f, v = (float)(random[1] >> 8) * 0x1p-24f;
		logits[i] = sqrtf(-2 * logf(u)) * cospif(2 * v);
	}
}

static void bench_sampling() {
	constexpr size_t BYTES = ARENA / 4;
	CUDA(cudaStreamCreate(&stream));
	fg_sampling greedy = {}, warm, top_p, top_k, penalty, processed;
	greedy.top_p = 1, greedy.repetition_penalty = 1;
	warm = greedy, warm.temperature = 0.8f;
	top_p = top_k = penalty = warm;
	top_p.top_p = 0.95f, top_k.top_k = 50, penalty.repetition_penalty = 1.1f;
	processed = top_p, processed.logprobs_mode = FG_PROCESSED_LOGPROBS;
	const struct {
		const char *name;
		fg_sampling sampling;
		int32_t n_logprobs;
		bool masked; /* each row has a mask, which is ready */
	} modes[] = {{"sampling, greedy", greedy, -1, false},
	             {"sampling, greedy, 20 logprobs", greedy, 20, false},
	             {"sampling, temperature 0.8", warm, -1, false},
	             {"sampling, top_p 0.95", top_p, -1, false},
	             {"sampling, top_k 50", top_k, -1, false},
	             {"sampling, repetition penalty", penalty, -1, false},
	             {"sampling, greedy, masks", greedy, -1, true},
	             {"sampling, temperature 0.8, masks", warm, -1, true},
	             {"sampling, top_p 0.95, raw logprobs", top_p, 0, false},
	             {"sampling, top_p 0.95, processed logprobs", processed, 0, false}};
	int32_t *last, *ids, *ranks, *top_ids;
	float *logprobs, *top_logprobs;
	fg_row *rows;
	CUDA(cudaMalloc(&last, MAX_SEQS * sizeof *last));
	CUDA(cudaMalloc(&ids, MAX_SEQS * sizeof *ids));
	CUDA(cudaMalloc(&ranks, MAX_SEQS * sizeof *ranks));
	CUDA(cudaMalloc(&logprobs, MAX_SEQS * sizeof *logprobs));
	CUDA(cudaMalloc(&top_ids, MAX_SEQS * FG_MAX_LOGPROBS * sizeof *top_ids));
	CUDA(cudaMalloc(&top_logprobs, MAX_SEQS * FG_MAX_LOGPROBS * sizeof *top_logprobs));
	CUDA(cudaMalloc(&rows, MAX_SEQS * sizeof *rows));
	fg::Masks masks = {};
	CUDA(cudaMallocHost(&masks.words, MAX_SEQS * fg_mask_stride(152064) * sizeof(uint32_t)));
	CUDA(cudaMallocHost(&masks.state, MAX_SEQS * sizeof(int32_t)));
	CUDA(cudaMalloc(&masks.copies, MAX_SEQS * fg_mask_stride(152064) * sizeof(uint32_t)));
	CUDA(cudaMalloc(&masks.found, MAX_SEQS * sizeof *masks.found));
	CUDA(cudaMalloc(&masks.deadline, sizeof *masks.deadline));
	memset((void *)masks.words, 0xff, MAX_SEQS * fg_mask_stride(152064) * sizeof(uint32_t));
	std::fill_n((int32_t *)masks.state, MAX_SEQS, (int32_t)FG_MASK_READY);
	for (int vocab : {32768, 152064}) {
		masks.stride = (uint32_t)fg_mask_stride(vocab);
		fg_config config = {};
		config.shape.vocab_size = vocab, config.options.max_seqs = MAX_SEQS;
		fg::Sampler sampler = {};
		FG(sampler.open(&config));
		for (const auto &mode : modes) {
			/* Processed rows are written over, and then have fewer likely tokens. */
			logits_kernel<<<1024, 256>>>((float *)arena, BYTES / sizeof(float));
			CUDA(cudaDeviceSynchronize());
			/* Every slot gets the mode's parameters and a seed of its own. */
			const Array<fg_fill> fills(new fg_fill[MAX_SEQS]);
			const Array<fg_row> list(new fg_row[MAX_SEQS]);
			for (int32_t i = 0; i < MAX_SEQS; i++) {
				fg_sampling s = mode.sampling;
				s.seed = (uint64_t)i;
				fills[i].slot = i;
				FG(fg::sampler_new(&config, &s, &fills[i].sampler));
				list[i] = {i, i, 17, -1, mode.n_logprobs, mode.masked ? i : -1, -1};
			}
			const size_t bytes = sampler.fill_bytes(fills.get(), MAX_SEQS);
			const Array<char> host(new char[bytes]);
			char *packed;
			sampler.pack_fills(fills.get(), MAX_SEQS, host.get());
			CUDA(cudaMalloc(&packed, bytes));
			CUDA(cudaMemcpy(packed, host.get(), bytes, cudaMemcpyHostToDevice));
			CUDA(cudaMemcpy(rows, list.get(), MAX_SEQS * sizeof *rows, cudaMemcpyHostToDevice));
			CUDA(sampler.apply_fills(MAX_SEQS, host.get(), packed, stream));
			CUDA(cudaStreamSynchronize(stream));
			CUDA(cudaFree(packed));
			for (int32_t i = 0; i < MAX_SEQS; i++) fg::sampler_free(fills[i].sampler);

			for (int n : {64, 256, 512}) {
				const size_t piece = (size_t)n * vocab * sizeof(float), pieces = BYTES / piece;
				const double t = seconds([&](int call) {
					float *logits = (float *)(arena + call % pieces * piece);
					CUDA(sampler.run({logits, rows, masks, last, ids, logprobs, ranks, 1, top_ids, top_logprobs, n},
					                 stream));
				});
				result(mode.name, {{"rows", n}, {"vocab", vocab}}, t, piece / t / 1e9, GBS, read_ceiling);
			}
		}
		sampler.close();
	}
}

int main(int argc, char **argv) {
	const bool all = argc < 2 || strcmp(argv[1], "attention") != 0;
	cudaDeviceProp device;
	if (cudaGetDeviceProperties(&device, 0) != cudaSuccess) {
		fprintf(stderr, "ops_bench: skipped: no device\n");
		return 0;
	}
	multiprocessors = device.multiProcessorCount;
	CUDA(cudaMalloc(&arena, ARENA));
	fill(arena, ARENA / sizeof(bf16));
	CUDA(cudaStreamCreate(&stream));
	fprintf(stderr, "%s\n", device.name);
	result("ceiling memory", {}, 0, (double)device.totalGlobalMem / 1e9, "GB", 0);
	memory_ceilings();
	if (argc > 1 && strcmp(argv[1], "sampling") == 0) {
		bench_sampling();
		return 0;
	}
	if (argc > 1 && strcmp(argv[1], "fp8") == 0) {
		bench_fp8(fg::Fp8Way::SCALED, "scaled");
		bench_fp8(fg::Fp8Way::UNSCALED, "unscaled");
		bench_fp8(fg::Fp8Way::WIDENED, "widened");
		return 0;
	}
	fill(arena,
	     ARENA / sizeof(bf16)); /* what came over the link is a single number, which takes a product less power */
	product_ceilings();
	if (device.major == 9) fp8_ceilings();
	if (argc > 1 && strcmp(argv[1], "ceilings") == 0) return 0;
	fill(arena + ARENA / 2, ARENA / 2 / sizeof(bf16)); /* the products have written to it */
	if (all) {
		Model m(LAYERS, 4096, 14336, 32768, 4096, 4096, 1024);
		bench_products(m);
		bench_elementwise(m);
	}
	bench_attention(FG_BF16), bench_attention(FG_FP8_E4M3);
	if (all) bench_sampling();
	return 0;
}
