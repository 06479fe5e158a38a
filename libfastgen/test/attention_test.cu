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
 * (2^-9 of each, averaging out), so that twice bf16's unit roundoff of the row's norm bounds both.
 */
#include "../cuda/attention/decode.cuh"
#include "../cuda/attention/prefill.cuh"
#include "../cuda/tensor_map.cuh"
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

/* Uniform in [-2, 2), as bf16: a hash of the index, so that device and host agree. */
__host__ __device__ static float value_at(uint64_t i, uint64_t seed) {
	uint64_t x = (i + seed * 0x9E3779B97F4A7C15ull) * 0xBF58476D1CE4E5B9ull;
	x ^= x >> 31, x *= 0x94D049BB133111EBull, x ^= x >> 29;
	float f = (float)((double)(x >> 40) / (1 << 24)) * 4 - 2;
	return __bfloat162float(__float2bfloat16(f));
}

__global__ static void fill(bf16 *p, uint64_t n, uint64_t seed) {
	for (uint64_t i = blockIdx.x * (uint64_t)blockDim.x + threadIdx.x; i < n; i += (uint64_t)gridDim.x * blockDim.x)
		p[i] = __float2bfloat16(value_at(i, seed));
}

struct Case {
	std::vector<int> context, n_new;
	int kv_heads, group, head_dim, window;
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
	uint64_t pool_elements;

	explicit Run(const Case &c) : c(c) {
		int n = (int)c.context.size(), pages = 0, longest = 0;
		for (int x : c.context) pages += (x + PAGE - 1) / PAGE, longest = std::max(longest, x);
		kv.pages_per_seq = (longest + PAGE - 1) / PAGE + 1, kv.n_layers = 2, kv.kv_heads = c.kv_heads,
		kv.head_dim = c.head_dim;
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
		pool_elements = (uint64_t)pages * kv.n_layers * 2 * c.kv_heads * PAGE * c.head_dim;
		stride = (c.group + 2) * c.kv_heads * c.head_dim;
		CUDA(cudaMalloc(&kv.data, pool_elements * sizeof(bf16)));
		CUDA(cudaMalloc(&q, (size_t)n_tokens * stride * sizeof(bf16)));
		CUDA(cudaMalloc(&out, (size_t)n_tokens * c.group * c.kv_heads * c.head_dim * sizeof(bf16)));
		fill<<<1024, 256>>>(kv.data, pool_elements, 1);
		fill<<<1024, 256>>>(q, (uint64_t)n_tokens * stride, 2);
		CUDA(cudaMemset(out, 0xff, (size_t)n_tokens * c.group * c.kv_heads * c.head_dim * sizeof(bf16)));
		kv.page_table = upload(table);
		d_seqs = upload(seqs);
		CUDA(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, 0));
		CUDA(shared_limits(0, &shared));
	}

	~Run() {
		cudaFree(kv.data), cudaFree(q), cudaFree(out), cudaFree((void *)kv.page_table), cudaFree(d_seqs);
	}

	float scale() const {
		return (float)(1 / std::sqrt((double)c.head_dim) * 1.4426950408889634);
	}

	double kv_value(int page, int which, int head, int token, int d) const {
		uint64_t panel = (((uint64_t)page * kv.n_layers + layer) * 2 + which) * kv.kv_heads + head;
		return value_at((panel * PAGE + token) * c.head_dim + d, 1);
	}

	/* Relative error of one (token, head) of the output. */
	double error(const std::vector<bf16> &result, int seq, int token, int head) const {
		const AttnSeq &s = seqs[seq];
		int D = c.head_dim, position = s.context - s.n_new + token, row = s.first_token + token;
		int low = c.window > 0 ? std::max(0, position - c.window + 1) : 0;
		std::vector<double> w(position + 1 - low), o(D, 0.0);
		double max = -1e300, sum = 0;
		for (int k = low; k <= position; k++) {
			int page = table[(size_t)s.slot * kv.pages_per_seq + k / PAGE];
			double dot = 0;
			for (int d = 0; d < D; d++)
				dot += (double)value_at((uint64_t)row * stride + head * D + d, 2) *
				       kv_value(page, 0, head / c.group, k % PAGE, d);
			w[k - low] = dot / std::sqrt((double)D), max = std::max(max, w[k - low]);
		}
		for (double &x : w) x = std::exp(x - max), sum += x;
		for (int k = low; k <= position; k++) {
			int page = table[(size_t)s.slot * kv.pages_per_seq + k / PAGE];
			for (int d = 0; d < D; d++) o[d] += w[k - low] / sum * kv_value(page, 1, head / c.group, k % PAGE, d);
		}
		double wrong = 0, norm = 0;
		for (int d = 0; d < D; d++) {
			double got = __bfloat162float(result[((size_t)row * c.group * c.kv_heads + head) * D + d]);
			wrong += (got - o[d]) * (got - o[d]), norm += o[d] * o[d];
		}
		return std::sqrt(wrong / norm);
	}

	void check(const char *what, int samples) {
		CUDA(cudaDeviceSynchronize());
		std::vector<bf16> result((size_t)n_tokens * c.group * c.kv_heads * c.head_dim);
		CUDA(cudaMemcpy(result.data(), out, result.size() * sizeof(bf16), cudaMemcpyDeviceToHost));
		double worst = 0;
		size_t unwritten = 0;
		for (bf16 x : result) unwritten += std::isnan(__bfloat162float(x));
		for (int i = 0; i < samples; i++) {
			int seq = i < (int)seqs.size() ? i : (int)(rng() % seqs.size());
			int token = i % 3 == 0 ? seqs[seq].n_new - 1 : (int)(rng() % seqs[seq].n_new);
			double e = error(result, seq, token, (int)(rng() % (c.group * c.kv_heads)));
			if (!(e <= worst)) worst = e;
		}
		bool ok = unwritten == 0 && worst < 2 * 0.00390625;
		ok ? passed++ : failed++;
		if (!ok)
			printf("FAILED %s: kv_heads %d group %d head_dim %d window %d, %zu sequences, first %d/%d: error %g, %zu "
			       "NaN\n",
			       what, c.kv_heads, c.group, c.head_dim, c.window, seqs.size(), c.n_new[0], c.context[0], worst,
			       unwritten);
	}
};

struct Decode {
	Run &r;
	DecodeArgs a;

	/* limits: of the card that the kernel is chosen for. */
	Decode(Run &r, const SharedLimits &limits) : r(r) {
		int n = (int)r.seqs.size(), blocks = decode_blocks(r.multiprocessors, r.c.kv_heads, r.c.head_dim);
		std::vector<DecodeShare> shares(blocks);
		list_decode_shares(r.seqs.data(), n, r.c.kv_heads, r.c.window, blocks, shares.data());
		a.kv = r.kv, a.seqs = r.d_seqs, a.shares = upload(shares), a.n_blocks = blocks;
		a.q = r.q, a.out = r.out, a.layer = r.layer, a.group = r.c.group, a.q_stride = r.stride, a.window = r.c.window,
		a.scale = r.scale(), a.stages = decode_stages(r.c.head_dim, limits);
		CUDA(cudaMalloc(&a.partial, (size_t)2 * blocks * 16 * (r.c.head_dim + 2) * sizeof(float)));
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
		if (width >= 64) CUDA(tensor_map(&a.map, r.kv.data, r.pool_elements / width, width, PAGE));
	}

	~Prefill() {
		cudaFree((void *)a.tiles);
	}

	void run(bool hopper = true) {
		CUDA(hopper ? prefill_attention_sm90(a, r.multiprocessors, 0) : prefill_attention(a, 0));
	}
};

static int between(int low, int high) {
	return low + (int)(rng() % (high - low + 1));
}

int main(int argc, char **argv) {
	if (no_device("attention")) return 0;
	const bool quick = argc > 1 && !strcmp(argv[1], "quick");
	for (int D : {32, 64, 128})
		for (int group : {1, 2, 3, 4, 5, 6, 7, 8, 16})
			for (int window : {0, 100}) {
				if (quick && group != 4) continue;
				for (int n : {1, 3, quick ? 5 : 70}) {
					Case c{{}, {}, between(1, quick ? 2 : 4), group, D, window};
					for (int i = 0; i < n; i++)
						c.context.push_back(between(1, quick ? 400 : n == 1 ? 5000 : 700)), c.n_new.push_back(1);
					Run r(c);
					const SharedLimits small = {99 << 10, 100 << 10, 1 << 10}; /* compute capability 8.6 */
					for (const SharedLimits &limits : {r.shared, small}) {
						Decode d(r, limits);
						CUDA(cudaMemset(r.out, 0xff, (size_t)r.n_tokens * group * c.kv_heads * D * sizeof(bf16)));
						for (int again = 0; again < 3; again++) d.run(); /* `arrived` must return to zero */
						r.check("decode", 80);
					}
				}
				for (int n : {1, quick ? 2 : 5}) {
					Case c{{}, {}, between(1, quick ? 2 : 4), group, D, window};
					for (int i = 0; i < n; i++) {
						int tokens = between(1, quick ? 150 : 300), before = i % 2 ? between(0, 400) : 0;
						c.context.push_back(before + tokens), c.n_new.push_back(tokens);
					}
					Run r(c);
					Prefill p(r);
					p.run(false);
					r.check("prefill", 40);
					if (D == 32) continue; /* not on wgmma */
					CUDA(cudaMemset(r.out, 0xff, (size_t)r.n_tokens * group * c.kv_heads * D * sizeof(bf16)));
					p.run();
					r.check("prefill, sm_90", 40);
				}
			}
	printf("attention: %d passed, %d failed\n", passed, failed);
	return failed > 0;
}
