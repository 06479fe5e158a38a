/* See gemm_sm90.cuh. */
#include "gemm_sm90.cuh"
#include "gemm_sm90_shape.cuh"
#include "gemm_sm90_store.cuh"
#include "../launch.cuh"

#include <algorithm>
#include <cmath>
#include <utility>

namespace fg {

namespace {

/* The next of the stages, round after round. */
template <class S> struct Ring {
	int stage = 0, parity = 0;
	__device__ __forceinline__ void next() {
		if (++stage == S::STAGES) stage = 0, parity ^= 1;
	}
};

/* One thread: keeps the stages filled. */
template <class S> __device__ void produce(const GemmArgs &a, typename S::Shared &s) {
	const int tiles = S::tiles(a), rank = (int)cluster_rank();
	/* A place in the block's work. */
	struct At {
		int tile;
		Work work;
		int k;
	};
	auto begin = [&](int tile) {
		Work work = Work::of<S>(a, tile);
		while (work.from == work.to && tile < tiles) work = Work::of<S>(a, tile += tile_step()); /* no k for this one */
		return At{tile, work, work.from};
	};
	auto advance = [&](At &at) {
		if (++at.k == at.work.to) at = begin(at.tile + tile_step());
	};
	auto expect = [&](const At &at, int stage) {
		barrier_expect(&s.full[stage], S::X_BYTES + (!S::SPLIT && at.work.halved ? S::W_BYTES / 2 : S::W_BYTES));
	};
	auto load_w = [&](const At &at, int stage) {
		if constexpr (S::SPLIT) {
#pragma unroll
			for (int i = 0; i < S::GATED; i++)
				tma_load(s.w[stage] + i * S::WIDTH * LINE, &a.w, &s.full[stage], at.k * K,
				         at.work.column + i * (a.rows / 2));
		} else { /* either block brings in a half of it, for both */
			constexpr uint16_t BOTH = (1 << BLOCKS) - 1;
			int boxes = at.work.halved ? 1 : 2;
			char *to = s.w[stage] + rank * boxes * S::W_BOX * LINE;
			int row = at.work.column + rank * (S::GATED == 2 ? a.rows / 2 : boxes * S::W_BOX);
			tma_load(to, &a.w, &s.full[stage], at.k * K, row, BOTH);
			if (!at.work.halved) tma_load(to + S::W_BOX * LINE, &a.w, &s.full[stage], at.k * K, row + S::W_BOX, BOTH);
		}
	};
	auto load_x = [&](const At &at, int stage) { tma_load(s.x[stage], &a.x, &s.full[stage], at.k * K, at.work.token); };

	/* The first weights are there before the kernel that makes x is over. */
	const At first = begin(first_tile());
	At at = first;
	for (int stage = 0; stage < S::STAGES && at.tile < tiles; stage++, advance(at))
		expect(at, stage), load_w(at, stage);
	await_previous();
	At x = first;
	for (int stage = 0; stage < S::STAGES && x.tile < tiles; stage++, advance(x)) load_x(x, stage);
	Ring<S> ring;
	for (; at.tile < tiles; advance(at), ring.next()) {
		barrier_wait(&s.empty[ring.stage], ring.parity);
		expect(at, ring.stage);
		load_w(at, ring.stage);
		load_x(at, ring.stage);
	}
}

/* The product of a warpgroup's tokens with ROWS rows of w, over so many stages of k. */
template <class S, int ROWS>
__device__ __forceinline__ void multiply(float (&acc)[ROWS / 2], typename S::Shared &s, int stages, Ring<S> &ring) {
	int group = threadIdx.x / GROUP_THREADS, thread = threadIdx.x % GROUP_THREADS, before = 0;
	auto release = [&](int stage) {
		if constexpr (S::SPLIT) {
			if (thread == 0) barrier_arrive(&s.empty[stage]);
		} else {
			if (thread < BLOCKS) barrier_arrive(&s.empty[stage], thread);
		}
	};
	for (int k = 0; k < stages; k++) {
		barrier_wait(&s.full[ring.stage], ring.parity);
		uint32_t x = shared_address(s.x[ring.stage]) + group * GROUP_TOKENS * LINE, w = shared_address(s.w[ring.stage]);
		wgmma_fence();
#pragma unroll
		for (int i = 0; i < K / 16; i++)
			wgmma<0>(acc, tile_descriptor(x + i * 32), tile_descriptor(w + i * 32), k > 0 || i > 0);
		wgmma_commit();
		if (k > 0) {
			wgmma_wait<1>();
			release(before);
		}
		before = ring.stage;
		ring.next();
	}
	wgmma_wait<0>();
	hold(acc);
	if (stages > 0) release(before);
}

template <class S> __device__ void consume(const GemmArgs &a, typename S::Shared &s) {
	int thread = threadIdx.x % GROUP_THREADS, group = threadIdx.x / GROUP_THREADS;
	Ring<S> ring;
	int parity = 0;
	const int tiles = S::tiles(a);
	for (int tile = first_tile(); tile < tiles; tile += tile_step(), parity ^= 1) {
		Work work = Work::of<S>(a, tile);
		int token = work.token + group * GROUP_TOKENS + thread / WARP * 16 + thread % WARP / 4;
		if constexpr (S::SPLIT) {
			float acc[S::ROWS / 2] = {};
			multiply<S, S::ROWS>(acc, s, work.to - work.from, ring);
			write_split<S>(a, *s.sent, work, token, parity, acc);
		} else if (work.halved) {
			float acc[S::HALF_ROWS / 2] = {};
			multiply<S, S::HALF_ROWS>(acc, s, work.to - work.from, ring);
			write_whole<S, S::HALF_ROWS>(a, work, token, acc);
		} else {
			float acc[S::ROWS / 2] = {};
			multiply<S, S::ROWS>(acc, s, work.to - work.from, ring);
			write_whole<S, S::ROWS>(a, work, token, acc);
		}
	}
}

template <class S>
__global__ void __launch_bounds__(S::THREADS, 1) __cluster_dims__(BLOCKS, 1, 1)
	gemm_kernel(const __grid_constant__ GemmArgs a) {
	using Shared = typename S::Shared;
	let_next_start();
	extern __shared__ char raw[];
	Shared &s = *(Shared *)(((uintptr_t)raw + 1023) & ~(uintptr_t)1023); /* swizzled tiles: 1024-byte aligned */
	if (threadIdx.x == 0) {
		constexpr int RELEASES = S::SPLIT ? S::GROUPS : S::GROUPS * BLOCKS;
		for (int i = 0; i < S::STAGES; i++) barrier_init(&s.full[i], 1), barrier_init(&s.empty[i], RELEASES);
		if constexpr (S::SPLIT) barrier_init(&s.sent->full, 1), barrier_init(&s.sent->empty, S::GROUPS);
		barrier_init_fence();
	}
	__syncthreads();
	/* Nothing is sent to a block before its barriers are there. */
	cluster_arrive();
	if constexpr (!S::SPLIT) cluster_wait();
	if (threadIdx.x < S::CONSUMERS) {
		if constexpr (S::GROUPS > 1) registers_take<232>();
		if constexpr (S::SPLIT) cluster_wait();
		await_previous();
		consume<S>(a, s);
	} else {
		if constexpr (S::GROUPS > 1) registers_give<40>();
		if (threadIdx.x == S::CONSUMERS) produce<S>(a, s);
		__syncwarp();
		if constexpr (S::SPLIT) cluster_wait();
	}
	/* Nor does a block end while another may still write to it. */
	cluster_arrive();
	cluster_wait();
}

template <class S> constexpr int shared_bytes() {
	constexpr int BYTES = (int)sizeof(typename S::Shared) + 1024;
	static_assert(BYTES <= 227 * 1024);
	return BYTES;
}

template <class S> cudaError_t allow_shared() {
	return cudaFuncSetAttribute(gemm_kernel<S>, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes<S>());
}

/* How many clusters a device has room for: as many as its groups of multiprocessors hold. 0: it cannot say. */
template <class S> int room() {
	static const int clusters = [] {
		cudaLaunchAttribute cluster = {};
		cluster.id = cudaLaunchAttributeClusterDimension;
		cluster.val.clusterDim = {BLOCKS, 1, 1};
		cudaLaunchConfig_t config = {};
		config.gridDim = BLOCKS, config.blockDim = S::THREADS, config.dynamicSmemBytes = shared_bytes<S>();
		config.attrs = &cluster, config.numAttrs = 1;
		int most = 0;
		bool known = allow_shared<S>() == cudaSuccess &&
		             cudaOccupancyMaxActiveClusters(&most, gemm_kernel<S>, &config) == cudaSuccess;
		return known ? most : 0;
	}();
	return clusters;
}

/* Halves the tiles of the last round, if that is at most half full. Returns the rounds, in whole tiles. */
template <class S> double plan(GemmArgs &a) {
	int tiles = S::whole_tiles(a), last = tiles % room<S>();
	bool halve = !S::SPLIT && last > 0 && 2 * last <= room<S>();
	a.whole = halve ? tiles - last : tiles;
	return tiles / room<S>() + (halve ? 0.5 : last > 0);
}

template <class S> cudaError_t run(GemmArgs &a, const bf16 *x, const bf16 *w, cudaStream_t stream) {
	if (room<S>() == 0) return cudaErrorInvalidConfiguration;
	plan<S>(a);
	cudaError_t error = allow_shared<S>();
	if (error == cudaSuccess) error = tensor_map(&a.x, x, (uint64_t)a.n, (uint64_t)a.cols, S::TOKENS);
	if (error == cudaSuccess) error = tensor_map(&a.w, w, (uint64_t)a.rows, (uint64_t)a.cols, S::W_BOX);
	if (error != cudaSuccess) return error;
	int clusters = min(S::tiles(a), room<S>());
	return launch(gemm_kernel<S>, (unsigned)(clusters * BLOCKS), S::THREADS, shared_bytes<S>(), stream, a);
}

template <int TILE, class F> void with_shape(Output output, F f) {
	constexpr Sm90Tile T = SM90_TILES[TILE];
	constexpr auto CAN = [](Output wanted) { return (T.outputs >> (int)wanted & 1) != 0; };
	if constexpr (CAN(Output::BF16))
		if (output == Output::BF16 || output == Output::SPLITS) f(Shape<T.tokens, T.rows, T.split, Output::BF16>());
	if constexpr (CAN(Output::F32))
		if (output == Output::F32) f(Shape<T.tokens, T.rows, T.split, Output::F32>());
	if constexpr (CAN(Output::SILU_MUL))
		if (output == Output::SILU_MUL) f(Shape<T.tokens, T.rows, T.split, Output::SILU_MUL>());
}

/* Calls f with the Shape of a tile, if it can make the output. */
template <class F> void with_shape(int tile, Output output, F f) {
	[&]<size_t... TILE>(std::index_sequence<TILE...>) {
		(void)((tile == (int)TILE && (with_shape<(int)TILE>(output, f), true)) || ...);
	}(std::make_index_sequence<SM90_TILES_COUNT>());
}

} // namespace

std::string Sm90Cut::name() const {
	const Sm90Tile &t = SM90_TILES[tile];
	return std::to_string(t.tokens) + "x" + std::to_string(t.rows) + "/" + std::to_string(splits);
}

std::vector<Sm90Cut> gemm_sm90_cuts(int rows, int n, Output output, double enough) {
	std::vector<std::pair<double, Sm90Cut>> cuts; /* and their costs: rows of x and w that all rounds bring in */
	double best = INFINITY;
	for (int i = 0; i < SM90_TILES_COUNT; i++)
		with_shape(i, output, [&](auto shape) {
			using S = decltype(shape);
			if (S::SPLIT) { /* finely cut already: each is worth it */
				if (n <= S::TOKENS && n > S::TOKENS - GROUP_TOKENS) cuts.push_back({0, {i, 1}});
				return;
			}
			if (n <= S::TOKENS || room<S>() == 0) return;
			int most = output == Output::SPLITS ? std::clamp(SM90_SPLIT_ROWS / n, 1, SM90_MOST_SPLITS) : 1;
			for (int parts = 1; parts <= most; parts++) {
				GemmArgs a = {};
				a.n = n, a.rows = rows, a.parts = parts;
				double cost = plan<S>(a) * (S::ROWS + S::TOKENS) / parts;
				cuts.push_back({cost, {i, parts}});
				best = std::min(best, cost);
			}
		});
	std::vector<Sm90Cut> worth;
	for (auto &[cost, cut] : cuts)
		if (cost <= enough * best) worth.push_back(cut);
	return worth;
}

cudaError_t gemm_sm90(const Sm90Cut &cut, const bf16 *x, const bf16 *w, void *y, int rows, int cols, int n,
                      Output output, cudaStream_t stream) {
	cudaError_t error = cudaErrorInvalidValue;
	GemmArgs a = {};
	a.y = y, a.n = n, a.rows = rows, a.cols = cols, a.parts = cut.splits;
	with_shape(cut.tile, output, [&](auto shape) { error = run<decltype(shape)>(a, x, w, stream); });
	return error;
}

} // namespace fg
