/*
 * attention_test.cu - compares the attention kernels with a double-precision reference, over random pages, lengths and
 * shapes.
 *
 *   attention_test         everything; exit status 1 on a failure
 *   attention_test quick   a few small cases, for compute-sanitizer
 *
 * Without a device it says so and passes. ops_bench.cu times the same kernels.
 *
 * The tolerance is what bf16 costs: the output is rounded to bf16 (2^-9 of a value) and so are the softmax weights
 * (2^-9 of each, averaging out), so that twice bf16's unit roundoff of the row's norm bounds both. Where pages of e4m3
 * are widened to bf16, it is twice what that rounding and bf16's cost together.
 */
#include "../cuda/attention/decode.cuh"
#include "../cuda/attention/fp8_write.cuh"
#include "../cuda/attention/prefill.cuh"
#include "../cuda/tensor_map.cuh"
extern "C" {
#include "../numeric.h"
}
#include "check_cuda.cuh"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

using namespace fg;

static int passed, failed;
static std::mt19937_64 rng(1);

template <class T> static T *upload(const std::vector<T> &v) {
	T *d;
	CUDA(cudaMalloc(&d, std::max<size_t>(v.size(), 1) * sizeof(T)));
	CUDA(cudaMemcpy(d, v.data(), v.size() * sizeof(T), cudaMemcpyHostToDevice));
	return d;
}

/* 24 bits that look random, a hash of the index, so that device and host agree. */
__host__ __device__ static uint32_t random_at(uint64_t i, uint64_t seed) {
	uint64_t x = (i + seed * 0x9E3779B97F4A7C15ull) * 0xBF58476D1CE4E5B9ull;
	x ^= x >> 31, x *= 0x94D049BB133111EBull, x ^= x >> 29;
	return (uint32_t)(x >> 40);
}

/* Uniform in [-2, 2), as bf16. */
__host__ __device__ static float value_at(uint64_t i, uint64_t seed) {
	float f = (float)((double)random_at(i, seed) / (1 << 24)) * 4 - 2;
	return __bfloat162float(__float2bfloat16(f));
}

/* Any e4m3 number: every code but NaN's. */
__host__ __device__ static uint8_t code_at(uint64_t i) {
	uint8_t code = (uint8_t)random_at(i, 3);
	return (code & 0x7f) == 0x7f ? code ^ 1 : code;
}

/* A token's scale. K's make scores of a usual size; V's are of very different sizes. */
__host__ __device__ static float scale_at(uint64_t i, bool of_v) {
	uint32_t r = random_at(i, 4);
	float fraction = 1 + (float)(r & 0xffff) / 65536;
	return of_v ? ldexpf(fraction, (int)(r >> 16) % 16 - 12) : fraction / 128;
}

__global__ static void fill(bf16 *p, uint64_t n, uint64_t seed) {
	for (uint64_t i = blockIdx.x * (uint64_t)blockDim.x + threadIdx.x; i < n; i += (uint64_t)gridDim.x * blockDim.x)
		p[i] = __float2bfloat16(value_at(i, seed));
}

/* Codes in every byte, then the scales, over them. */
__global__ static void fill_fp8(KvPool kv, int pages) {
	const uint64_t first = blockIdx.x * (uint64_t)blockDim.x + threadIdx.x, step = (uint64_t)gridDim.x * blockDim.x;
	const uint64_t scales = (uint64_t)pages * kv.n_layers * 2 * kv.kv_heads * PAGE,
				   bytes = (uint64_t)pages * kv.n_layers * kv.layer_rows * kv.head_dim;
	for (uint64_t i = first; i < bytes; i += step)
		if (i / kv.head_dim % kv.layer_rows < 2u * kv.kv_heads * PAGE) kv.data[i] = (char)code_at(i);
	for (uint64_t i = first; i < scales; i += step) {
		const int panel = (int)(i / PAGE % (2 * kv.kv_heads)), of_v = panel / kv.kv_heads;
		const uint64_t layer = i / PAGE / (2 * kv.kv_heads);
		kv.scales((int)(layer / kv.n_layers), (int)(layer % kv.n_layers), of_v, panel % kv.kv_heads)[i % PAGE] =
			scale_at(i, of_v);
	}
}

struct Case {
	std::vector<int> context, n_new;
	int kv_heads, group, head_dim, window;
	bool fp8;
	int stride; /* of the queries, elements; 0 = as close as they can be */
};

struct Run {
	Case c;
	KvPool kv;
	int layer = 1, n_tokens = 0, stride, multiprocessors;
	SharedLimits shared;
	std::vector<AttnSeq> seqs;
	std::vector<int32_t> table;
	bf16 *q, *out;
	AttnSeq *d_seqs;
	int pages = 0;

	explicit Run(const Case &c) : c(c) {
		int n = (int)c.context.size(), longest = 0;
		for (int x : c.context) pages += (x + PAGE - 1) / PAGE, longest = std::max(longest, x);
		kv.pages_per_seq = (longest + PAGE - 1) / PAGE + 1, kv.n_layers = 2, kv.kv_heads = c.kv_heads,
		kv.head_dim = c.head_dim, kv.fp8 = c.fp8, kv.layer_rows = KvPool::rows_of_layer(c.kv_heads, c.head_dim, c.fp8);
		std::vector<int32_t> order(pages);
		for (int i = 0; i < pages; i++) order[i] = i;
		std::shuffle(order.begin(), order.end(), rng);
		table.assign((size_t)n * kv.pages_per_seq, 0);
		int next = 0;
		for (int i = 0; i < n; i++) {
			int slot = n - 1 - i;
			for (int p = 0; p < (c.context[i] + PAGE - 1) / PAGE; p++)
				table[(size_t)slot * kv.pages_per_seq + p] = order[next++];
			seqs.push_back({slot, c.context[i], c.n_new[i], n_tokens});
			n_tokens += c.n_new[i];
		}
		stride = c.stride ? c.stride : (c.group + 2) * c.kv_heads * c.head_dim;
		CUDA(cudaMalloc(&kv.data, pool_elements() * (c.fp8 ? 1 : sizeof(bf16))));
		CUDA(cudaMalloc(&q, (size_t)n_tokens * stride * sizeof(bf16)));
		CUDA(cudaMalloc(&out, (size_t)n_tokens * c.group * c.kv_heads * c.head_dim * sizeof(bf16)));
		if (c.fp8) fill_fp8<<<1024, 256>>>(kv, pages);
		else fill<<<1024, 256>>>((bf16 *)kv.data, pool_elements(), 1);
		fill<<<1024, 256>>>(q, (uint64_t)n_tokens * stride, 2);
		forget();
		kv.page_table = upload(table);
		d_seqs = upload(seqs);
		CUDA(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, 0));
		CUDA(shared_limits(0, &shared));
	}

	~Run() {
		cudaFree(kv.data), cudaFree(q), cudaFree(out), cudaFree((void *)kv.page_table), cudaFree(d_seqs);
	}

	uint64_t pool_elements() const {
		return (uint64_t)pages * kv.n_layers * kv.layer_rows * c.head_dim;
	}

	float scale() const {
		return (float)(1 / std::sqrt((double)c.head_dim) * 1.4426950408889634);
	}

	/* Sets values [head_dim] to a token's K (0) or V (1). rounded: to bf16, as where pages of e4m3 are widened. */
	void kv_values(int page, int which, int head, int token, bool rounded, std::vector<double> *values) const {
		const uint64_t of_layer = (uint64_t)page * kv.n_layers + layer;
		const uint64_t row = (uint64_t)(which * kv.kv_heads + head) * PAGE + token;
		const uint64_t at = (of_layer * kv.layer_rows + row) * c.head_dim;
		const float scale = c.fp8 ? scale_at(of_layer * 2 * kv.kv_heads * PAGE + row, which) : 1;
		for (int d = 0; d < c.head_dim; d++) {
			const float x = c.fp8 ? fg_from_e4m3(code_at(at + d)) : value_at(at + d, 1);
			(*values)[d] = rounded ? fg_round(x * scale, FG_BF16) : (double)x * scale;
		}
	}

	/* The output of one (token, head): [head_dim]. */
	std::vector<double> reference(int seq, int token, int head, bool rounded) const {
		const AttnSeq &s = seqs[seq];
		int D = c.head_dim, position = s.context - s.n_new + token, row = s.first_token + token;
		int low = c.window > 0 ? std::max(0, position - c.window + 1) : 0;
		std::vector<double> w(position + 1 - low), o(D, 0.0), q(D), x(D);
		for (int d = 0; d < D; d++) q[d] = value_at((uint64_t)row * stride + head * D + d, 2);
		double max = -1e300, sum = 0;
		auto load = [&](int k, int which) {
			const int page = table[(size_t)s.slot * kv.pages_per_seq + k / PAGE];
			kv_values(page, which, head / c.group, k % PAGE, rounded, &x);
		};
		for (int k = low; k <= position; k++) {
			load(k, 0);
			double dot = 0;
			for (int d = 0; d < D; d++) dot += q[d] * x[d];
			w[k - low] = dot / std::sqrt((double)D), max = std::max(max, w[k - low]);
		}
		for (double &weight : w) weight = std::exp(weight - max), sum += weight;
		for (int k = low; k <= position; k++) {
			load(k, 1);
			for (int d = 0; d < D; d++) o[d] += w[k - low] / sum * x[d];
		}
		return o;
	}

	/* The error of one (token, head) of the output, as a part of what is tolerated. */
	double error(const std::vector<bf16> &result, int seq, int token, int head, bool widened) const {
		const std::vector<double> want = reference(seq, token, head, false);
		std::vector<double> got, naive = want;
		const size_t at = (size_t)(seqs[seq].first_token + token) * c.group * c.kv_heads + head;
		for (int d = 0; d < c.head_dim; d++) got.push_back(__bfloat162float(result[at * c.head_dim + d]));
		if (widened && c.fp8) naive = reference(seq, token, head, true);
		return distance(got, want) / (2 * std::hypot(0.00390625, distance(naive, want)));
	}

	/* Of two vectors, relative to the second one's norm. */
	static double distance(const std::vector<double> &a, const std::vector<double> &b) {
		double wrong = 0, norm = 0;
		for (size_t d = 0; d < a.size(); d++) wrong += (a[d] - b[d]) * (a[d] - b[d]), norm += b[d] * b[d];
		return std::sqrt(wrong / norm);
	}

	/* Fills the output with NaN. */
	void forget() {
		CUDA(cudaMemset(out, 0xff, (size_t)n_tokens * c.group * c.kv_heads * c.head_dim * sizeof(bf16)));
	}

	/* widened: whether the kernel widens pages of e4m3 to bf16. */
	void check(const char *what, int samples, bool widened) {
		CUDA(cudaDeviceSynchronize());
		std::vector<bf16> result((size_t)n_tokens * c.group * c.kv_heads * c.head_dim);
		CUDA(cudaMemcpy(result.data(), out, result.size() * sizeof(bf16), cudaMemcpyDeviceToHost));
		double worst = 0;
		size_t unwritten = 0;
		for (bf16 x : result) unwritten += std::isnan(__bfloat162float(x));
		for (int i = 0; i < samples; i++) {
			int seq = i < (int)seqs.size() ? i : (int)(rng() % seqs.size());
			int token = i % 3 == 0 ? seqs[seq].n_new - 1 : (int)(rng() % seqs[seq].n_new);
			double e = error(result, seq, token, (int)(rng() % (c.group * c.kv_heads)), widened);
			if (!(e <= worst)) worst = e;
		}
		bool ok = unwritten == 0 && worst < 1;
		ok ? passed++ : failed++;
		if (!ok)
			printf("FAILED %s: %s, kv_heads %d group %d head_dim %d window %d, %zu sequences, first %d/%d: error %g of "
			       "what is tolerated, "
			       "%zu NaN\n",
			       what, c.fp8 ? "fp8" : "bf16", c.kv_heads, c.group, c.head_dim, c.window, seqs.size(), c.n_new[0],
			       c.context[0], worst, unwritten);
	}
};

struct Decode {
	Run &r;
	DecodeArgs a;

	/* limits: of the card that the kernel is chosen for. */
	Decode(Run &r, const SharedLimits &limits) : r(r) {
		const DecodePlan plan = decode_plan(r.c.head_dim, r.c.fp8, limits);
		int n = (int)r.seqs.size(), blocks = decode_blocks(plan, r.multiprocessors, r.c.kv_heads, r.c.head_dim);
		std::vector<DecodeShare> shares(blocks);
		list_decode_shares(r.seqs.data(), n, r.c.kv_heads, r.c.window, blocks, shares.data());
		a.kv = r.kv, a.seqs = r.d_seqs, a.shares = upload(shares), a.n_blocks = blocks;
		a.q = r.q, a.out = r.out, a.layer = r.layer, a.group = r.c.group, a.q_stride = r.stride, a.window = r.c.window,
		a.scale = r.scale(), a.stages = plan.stages;
		a.ahead = {r.kv.data, 5, 128, 256};
		CUDA(cudaMalloc(&a.partial, (size_t)2 * blocks * 16 * partial_row(r.c.head_dim) * sizeof(float)));
		a.arrived = upload(std::vector<int32_t>((size_t)n * r.c.kv_heads, 0));
	}

	~Decode() {
		cudaFree((void *)a.shares), cudaFree(a.partial), cudaFree(a.arrived);
	}

	void run() {
		CUDA(decode_attention(a, (int)r.seqs.size(), 0));
	}
};

struct Prefill {
	Run &r;
	PrefillArgs a;

	explicit Prefill(Run &r) : r(r) {
		size_t most = r.seqs.size();
		for (const AttnSeq &s : r.seqs) most += (size_t)(s.n_new * r.c.group / PREFILL_ROWS);
		std::vector<PrefillTile> tiles(most);
		tiles.resize((size_t)list_prefill_tiles(r.seqs.data(), (int32_t)r.seqs.size(), r.c.group, tiles.data()));
		a.kv = r.kv, a.tiles = upload(tiles), a.n_tiles = (int)tiles.size();
		a.q = r.q, a.out = r.out, a.layer = r.layer, a.group = r.c.group, a.q_stride = r.stride, a.window = r.c.window,
		a.scale = r.scale();
		const uint64_t width = (uint64_t)r.c.head_dim;
		if (width >= 64 && !r.c.fp8)
			CUDA(tensor_map(&a.map, (const bf16 *)r.kv.data, r.pool_elements() / width, width, PAGE));
	}

	~Prefill() {
		cudaFree((void *)a.tiles);
	}

	void run(bool hopper = true) {
		CUDA(hopper ? prefill_attention_sm90(a, r.multiprocessors, 0) : prefill_attention(a, 0));
	}
};

/* Token t of head h in layer 1 of page 2: elements as qkv_rope's lanes hold them. A warp per head and token. */
template <int D> __global__ static void write_kernel(KvPool kv, const float *values) {
	constexpr int N = D == 128 ? 2 : 1;
	const int head = blockIdx.x, token = blockIdx.y, first = threadIdx.x * N;
	const float *from = values + (head * PAGE + token) * D + first;
	float low[N] = {}, high[N] = {};
	for (int i = 0; i < N && first < D / 2; i++) low[i] = from[i], high[i] = from[D / 2 + i];
	write_fp8<D>(kv, 2, 1, token & 1, head, token, first, low, high);
}

/* What is written must be numeric.h's, to the bit: all sizes of numbers, zeros alone, and one that is all there is. */
template <int D> static void test_write() {
	constexpr int HEADS = 3, PAGES = 3;
	KvPool kv = {};
	kv.n_layers = 2, kv.kv_heads = HEADS, kv.head_dim = D, kv.fp8 = 1;
	kv.layer_rows = KvPool::rows_of_layer(HEADS, D, true);
	const size_t bytes = (size_t)PAGES * kv.n_layers * kv.layer_rows * D,
				 layer = (2 * 2 + 1) * (size_t)kv.layer_rows * D;
	std::vector<float> values((size_t)HEADS * PAGE * D);
	for (size_t i = 0; i < values.size(); i++) {
		const int token = (int)(i / D % PAGE);
		const float size = ldexpf(1, token - 32), x = value_at(i, 5) * ldexpf(1, -(int)(random_at(i, 6) % 16));
		values[i] = token == 7 ? 0 : token == 9 && i % D ? 0 : x * size;
	}
	const float *d_values = upload(values);
	CUDA(cudaMalloc(&kv.data, bytes));
	CUDA(cudaMemset(kv.data, 0xa5, bytes));
	write_kernel<D><<<dim3(HEADS, PAGE), WARP>>>(kv, d_values);
	std::vector<uint8_t> got(bytes);
	CUDA(cudaMemcpy(got.data(), kv.data, bytes, cudaMemcpyDeviceToHost));
	std::vector<uint8_t> want(bytes, 0xa5);
	for (int head = 0; head < HEADS; head++)
		for (int token = 0; token < PAGE; token++) {
			const float *from = &values[(size_t)(head * PAGE + token) * D];
			const int row = ((token & 1) * HEADS + head) * PAGE + token;
			float most = 0;
			for (int d = 0; d < D; d++) most = std::max(most, std::fabs(from[d]));
			const float scale = fg_fp8_scale(most);
			for (int d = 0; d < D; d++) want[layer + (size_t)row * D + d] = fg_to_e4m3(from[d] * (1 / scale));
			memcpy(&want[layer + (size_t)2 * HEADS * PAGE * D + row * sizeof scale], &scale, sizeof scale);
		}
	got == want ? passed++ : failed++;
	if (got != want) printf("FAILED write: head_dim %d\n", D);
	cudaFree(kv.data), cudaFree((void *)d_values);
}

static int between(int low, int high) {
	return low + (int)(rng() % (high - low + 1));
}

static void test_decode(const Case &c) {
	Run r(c);
	const SharedLimits small = {99 << 10, 100 << 10, 1 << 10}; /* compute capability 8.6 */
	for (const SharedLimits &limits : {r.shared, small}) {
		Decode d(r, limits);
		r.forget();
		for (int again = 0; again < 3; again++) d.run(); /* `arrived` must return to zero */
		r.check("decode", 30, false);
	}
}

static void test_prefill(const Case &c) {
	Run r(c);
	Prefill p(r);
	p.run(false);
	r.check("prefill", 20, true);
	if (c.head_dim == 32) return; /* not on wgmma */
	r.forget();
	p.run();
	r.check("prefill, sm_90", 20, true);
}

/* Cases of one kind, with sequences of random lengths. */
static void test_kind(int D, int group, int window, bool fp8, bool quick) {
	for (int n : {1, 3, quick ? 5 : 70}) {
		Case c{{}, {}, between(1, quick ? 2 : 4), group, D, window, fp8, 0};
		for (int i = 0; i < n; i++)
			c.context.push_back(between(1, quick ? 400 : n == 1 ? 5000 : 700)), c.n_new.push_back(1);
		test_decode(c);
	}
	for (int n : {1, quick ? 2 : 5}) {
		Case c{{}, {}, between(1, quick ? 2 : 4), group, D, window, fp8, 0};
		for (int i = 0; i < n; i++) {
			int tokens = between(1, quick ? 150 : 300), before = i % 2 ? between(0, 400) : 0;
			c.context.push_back(before + tokens), c.n_new.push_back(tokens);
		}
		test_prefill(c);
	}
}

int main(int argc, char **argv) {
	if (no_device("attention")) return 0;
	const bool quick = argc > 1 && !strcmp(argv[1], "quick");
	for (bool fp8 : {false, true})
		for (int D : {32, 64, 128})
			for (int group : {1, 2, 3, 4, 5, 6, 7, 8, 16})
				for (int window : {0, 100})
					if (quick ? group == 4 || group == 16 : !fp8 || group % 4 != 2)
						test_kind(D, group, window, fp8, quick);
	test_write<32>(), test_write<64>(), test_write<128>();
	/* A chunk whose queries are more than 2^31 elements. */
	if (!quick) test_prefill({{40000}, {40000}, 1, 1, 128, 100, false, 65536});
	printf("attention: %d passed, %d failed\n", passed, failed);
	return failed > 0;
}
