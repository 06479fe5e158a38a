/* See gemm_sm90.cuh. */
#include "gemm_sm90.cuh"
#include "gemm_sm90_shape.cuh"
#include "gemm_sm90_store.cuh"
#include "../launch.cuh"
#include "../ring.cuh"

#include <algorithm>
#include <cmath>
#include <utility>

namespace fg {

namespace {

/* One thread, which keeps the stages filled: slice after slice, item after item. */
template <class S> struct Producer {
	/* A place in the block's work: a slice of an item. */
	struct Cursor {
		int number; /* of the item */
		GemmItem item;
		int slice;
	};

	const GemmArgs &a;
	typename S::Shared &s;
	const int items, rank;

	__device__ __forceinline__ Producer(const GemmArgs &a, typename S::Shared &s)
		: a(a), s(s), items(S::items(a)), rank((int)cluster_rank()) {
	}

	/* The first slices of w are loaded before the kernel that makes x is over. */
	__device__ __forceinline__ void run() {
		const Cursor first = begin(first_item());
		Cursor at = first;
		for (int stage = 0; stage < S::STAGES && more(at); stage++, advance(at)) expect(at, stage), load_w(at, stage);
		await_previous();
		Cursor x = first;
		for (int stage = 0; stage < S::STAGES && more(x); stage++, advance(x)) load_x(x, stage);
		Ring<S::STAGES> ring;
		for (; more(at); advance(at), ring.next()) {
			barrier_wait(&s.empty[ring.stage], ring.phase);
			expect(at, ring.stage);
			load_w(at, ring.stage);
			load_x(at, ring.stage);
		}
	}

  private:
	__device__ __forceinline__ bool more(const Cursor &at) const {
		return at.number < items;
	}

	__device__ __forceinline__ Cursor begin(int number) const {
		GemmItem item = GemmItem::of<S>(a, number);
		while (item.from == item.to && number < items) item = GemmItem::of<S>(a, number += item_step()); /* no slices */
		return {number, item, item.from};
	}

	__device__ __forceinline__ void advance(Cursor &at) const {
		if (++at.slice == at.item.to) at = begin(at.number + item_step());
	}

	__device__ __forceinline__ void expect(const Cursor &at, int stage) const {
		const int w_bytes = !S::SPLIT && at.item.halved ? S::W_BYTES / 2 : S::W_BYTES;
		barrier_expect(&s.full[stage], S::X_BYTES + w_bytes);
	}

	__device__ __forceinline__ void load_w(const Cursor &at, int stage) const {
		if constexpr (S::SPLIT) {
#pragma unroll
			for (int i = 0; i < S::GATED; i++)
				tma_load(s.w[stage] + i * S::WIDTH * LINE, &a.w, &s.full[stage], at.slice * S::SLICE,
				         at.item.column + i * (a.rows / 2));
		} else { /* each block loads half of the rows, for both */
			constexpr uint16_t BOTH = (1 << BLOCKS) - 1;
			int boxes = at.item.halved ? 1 : 2, column = at.slice * S::SLICE;
			char *to = s.w[stage] + rank * boxes * S::W_BOX * LINE;
			int row = at.item.column + rank * (S::GATED == 2 ? a.rows / 2 : boxes * S::W_BOX);
			tma_load(to, &a.w, &s.full[stage], column, row, BOTH);
			if (!at.item.halved) tma_load(to + S::W_BOX * LINE, &a.w, &s.full[stage], column, row + S::W_BOX, BOTH);
		}
	}

	__device__ __forceinline__ void load_x(const Cursor &at, int stage) const {
		tma_load(s.x[stage], &a.x, &s.full[stage], at.slice * S::SLICE, at.item.token);
	}
};

/* One warpgroup, which multiplies its tokens of every item. */
template <class S> struct Consumer {
	const GemmArgs &a;
	typename S::Shared &s;
	const int warpgroup = threadIdx.x / GROUP_THREADS, thread = threadIdx.x % GROUP_THREADS;
	static constexpr bool FP8 = sizeof(typename S::Element) == 1;
	static constexpr int K_BYTES = 32; /* of a row, that an instruction multiplies */
	Ring<S::STAGES> ring;
	int phase = 0; /* of the barriers in s.sent */

	__device__ __forceinline__ void run() {
		const int items = S::items(a);
		for (int index = first_item(); index < items; index += item_step(), phase ^= 1) {
			const GemmItem item = GemmItem::of<S>(a, index);
			if constexpr (S::SPLIT) multiply_and_store<S::ROWS>(item);
			else if (item.halved) multiply_and_store<S::HALF_ROWS>(item);
			else multiply_and_store<S::ROWS>(item);
		}
	}

  private:
	template <int ROWS> __device__ __forceinline__ void multiply_and_store(const GemmItem &item) {
		const int token = item.token + warpgroup * WARPGROUP_TOKENS + thread / WARP * 16 + thread % WARP / 4;
		float acc[ROWS / 2] = {};
		multiply<ROWS>(acc, item.to - item.from);
		if constexpr (FP8) scale<S, ROWS>(a, item, token, acc);
		if constexpr (S::SPLIT) exchange_and_store<S>(a, *s.sent, item, token, phase, acc);
		else store<S, ROWS>(a, item, token, acc);
	}

	/* acc = the product of the warpgroup's tokens with ROWS rows of w over the next slices, one per stage. */
	template <int ROWS> __device__ __forceinline__ void multiply(float (&acc)[ROWS / 2], int slices) {
		int before = 0; /* the stage of the slice before */
		for (int i = 0; i < slices; i++) {
			barrier_wait(&s.full[ring.stage], ring.phase);
			const uint32_t x = shared_address(s.x[ring.stage]) + warpgroup * WARPGROUP_TOKENS * LINE;
			const uint32_t w = shared_address(s.w[ring.stage]);
			wgmma_fence();
#pragma unroll
			for (int k = 0; k < LINE; k += K_BYTES) {
				const uint64_t of_x = tile_descriptor(x + k), of_w = tile_descriptor(w + k);
				if constexpr (FP8) wgmma_fp8(acc, of_x, of_w, i > 0 || k > 0);
				else wgmma<0>(acc, of_x, of_w, i > 0 || k > 0);
			}
			wgmma_commit();
			if (i > 0) {
				wgmma_wait<1>();
				release(before);
			}
			before = ring.stage;
			ring.next();
		}
		wgmma_wait<0>();
		hold(acc);
		if (slices > 0) release(before);
	}

	/* Tells every block that fills this stage that it may do so again. */
	__device__ __forceinline__ void release(int stage) const {
		if constexpr (S::SPLIT) {
			if (thread == 0) barrier_arrive(&s.empty[stage]);
		} else {
			if (thread < BLOCKS) barrier_arrive(&s.empty[stage], thread);
		}
	}
};

template <class S>
__global__ void __launch_bounds__(S::THREADS, 1) __cluster_dims__(BLOCKS, 1, 1)
	gemm_kernel(const __grid_constant__ GemmArgs a) {
	using Shared = typename S::Shared;
	let_next_start();
	extern __shared__ char raw[];
	Shared &s = *(Shared *)(((uintptr_t)raw + 1023) & ~(uintptr_t)1023); /* swizzled tiles: 1024-byte aligned */
	if (threadIdx.x == 0) {
		constexpr int RELEASES = S::SPLIT ? S::WARPGROUPS : S::WARPGROUPS * BLOCKS;
		for (int i = 0; i < S::STAGES; i++) barrier_init(&s.full[i], 1), barrier_init(&s.empty[i], RELEASES);
		if constexpr (S::SPLIT) barrier_init(&s.sent->full, 1), barrier_init(&s.sent->empty, S::WARPGROUPS);
		barrier_init_fence();
	}
	__syncthreads();
	/* Nothing may be sent to a block before its barriers are initialised. */
	cluster_arrive();
	if constexpr (!S::SPLIT) cluster_wait();
	if (threadIdx.x < S::CONSUMER_THREADS) {
		if constexpr (S::WARPGROUPS > 1) registers_take<232>();
		if constexpr (S::SPLIT) cluster_wait();
		await_previous();
		Consumer<S>{a, s}.run();
	} else {
		if constexpr (S::WARPGROUPS > 1) registers_give<40>();
		if (threadIdx.x == S::CONSUMER_THREADS) Producer<S>(a, s).run();
		__syncwarp();
		if constexpr (S::SPLIT) cluster_wait();
	}
	/* A block must not end while another may still write to it. */
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

/* How many clusters run at once on this device: the clusters that fit into each of its GPCs, added up. 0 if unknown. */
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

/* Halves the items of the last round if it is at most half full. Returns the number of rounds, a halved one as 0.5. */
template <class S> double halve_last_round(GemmArgs &a) {
	int items = S::whole_items(a), last = items % room<S>();
	bool halve = !S::SPLIT && last > 0 && 2 * last <= room<S>();
	a.whole = halve ? items - last : items;
	return items / room<S>() + (halve ? 0.5 : last > 0);
}

template <class S> cudaError_t run(GemmArgs &a, const void *x, const void *w, cudaStream_t stream) {
	constexpr uint32_t ELEMENT = sizeof(typename S::Element);
	if (room<S>() == 0) return cudaErrorInvalidConfiguration;
	halve_last_round<S>(a);
	cudaError_t error = allow_shared<S>();
	if (error == cudaSuccess) error = tensor_map(&a.x, x, (uint64_t)a.n, (uint64_t)a.cols, S::TOKENS, ELEMENT);
	if (error == cudaSuccess) error = tensor_map(&a.w, w, (uint64_t)a.rows, (uint64_t)a.cols, S::W_BOX, ELEMENT);
	if (error != cudaSuccess) return error;
	int clusters = min(S::items(a), room<S>());
	return launch(gemm_kernel<S>, (unsigned)(clusters * BLOCKS), S::THREADS, shared_bytes<S>(), stream, a);
}

template <class E, int TILE, class F> void with_shape(Output output, F f) {
	constexpr Sm90Tile T = SM90_TILES[TILE];
	constexpr auto CAN = [](Output wanted) { return (T.outputs >> (int)wanted & 1) != 0; };
	if constexpr (CAN(Output::BF16))
		if (output == Output::BF16 || output == Output::SPLITS)
			f(GemmShape<E, T.tokens, T.rows, T.split, Output::BF16>());
	if constexpr (CAN(Output::F32) && sizeof(E) > 1) /* logits are made of bf16 */
		if (output == Output::F32) f(GemmShape<E, T.tokens, T.rows, T.split, Output::F32>());
	if constexpr (CAN(Output::SILU_MUL))
		if (output == Output::SILU_MUL) f(GemmShape<E, T.tokens, T.rows, T.split, Output::SILU_MUL>());
}

/* Calls f with the GemmShape of a tile, if the tile can make the output of such inputs. */
template <class F> void with_shape(int tile, Scaling scaling, Output output, F f) {
	[&]<size_t... TILE>(std::index_sequence<TILE...>) {
		if (scaling == Scaling::PLAIN)
			(void)((tile == (int)TILE && (with_shape<bf16, (int)TILE>(output, f), true)) || ...);
		else if (scaling == Scaling::ROWS)
			(void)((tile == (int)TILE && (with_shape<fp8, (int)TILE>(output, f), true)) || ...);
	}(std::make_index_sequence<SM90_TILES_COUNT>());
}

} // namespace

std::string Sm90Cut::name() const {
	const Sm90Tile &t = SM90_TILES[tile];
	return std::to_string(t.tokens) + "x" + std::to_string(t.rows) + "/" + std::to_string(splits);
}

std::vector<Sm90Cut> gemm_sm90_cuts(int rows, int n, Scaling scaling, Output output, double enough) {
	/* With their costs: rows of x and w that a block loads in all rounds. */
	std::vector<std::pair<double, Sm90Cut>> cuts;
	double best = INFINITY;
	for (int i = 0; i < SM90_TILES_COUNT; i++)
		with_shape(i, scaling, output, [&](auto shape) {
			using S = decltype(shape);
			if (S::SPLIT) { /* always worth a try */
				if (n <= S::TOKENS && n > S::TOKENS - WARPGROUP_TOKENS) cuts.push_back({0, {i, 1}});
				return;
			}
			if (n <= S::TOKENS || room<S>() == 0) return;
			int most = output == Output::SPLITS ? std::clamp(SM90_SPLIT_ROWS / n, 1, SM90_MOST_SPLITS) : 1;
			for (int splits = 1; splits <= most; splits++) {
				GemmArgs a = {};
				a.n = n, a.rows = rows, a.splits = splits;
				double cost = halve_last_round<S>(a) * (S::ROWS + S::TOKENS) / splits;
				cuts.push_back({cost, {i, splits}});
				best = std::min(best, cost);
			}
		});
	std::vector<Sm90Cut> worth;
	for (auto &[cost, cut] : cuts)
		if (cost <= enough * best) worth.push_back(cut);
	return worth;
}

cudaError_t gemm_sm90(const Sm90Cut &cut, Scaling scaling, const Operands &in, void *y, int rows, int cols, int n,
                      Output output, cudaStream_t stream) {
	cudaError_t error = cudaErrorInvalidValue;
	GemmArgs a = {};
	a.x_scale = in.x_scale, a.w_scale = in.w_scale;
	a.y = y, a.n = n, a.rows = rows, a.cols = cols, a.splits = cut.splits;
	with_shape(cut.tile, scaling, output, [&](auto shape) { error = run<decltype(shape)>(a, in.x, in.w, stream); });
	return error;
}

} // namespace fg
