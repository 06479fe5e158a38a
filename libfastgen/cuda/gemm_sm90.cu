/* See gemm_sm90.cuh. */
#include "gemm_sm90.cuh"
#include "hopper.cuh"
#include "launch.cuh"
#include "tensor_map.cuh"

#include <utility>

namespace fg {

namespace {

constexpr int GROUP_THREADS = 128;          /* a warpgroup */
constexpr int GROUP_TOKENS = 64;            /* of x, a warpgroup's: wgmma's m */
constexpr int K = BOX_COLUMNS;              /* columns of a stage */
constexpr int LINE = K * (int)sizeof(bf16); /* bytes of a swizzled row */
/* Of shared memory that a block uses: less than there is, so that one of the kernel before it fits beside it. */
constexpr int SHARED_BYTES = 218 * 1024;
constexpr int BLOCKS = 2; /* of a cluster */
constexpr int VECTOR = 8; /* columns of y that a thread stores at once */

struct Args {
	CUtensorMap x, w;
	void *y;
	int32_t n, rows, cols;
};

/* Rows of w in a tile, and what becomes of them. With SILU_MUL the first half of them is the gate's, the other up's. */
template <int TOKENS_, int ROWS_, bool SPLIT_, Output OUT_> struct Shape {
	static constexpr int TOKENS = TOKENS_, ROWS = ROWS_;
	static constexpr bool SPLIT = SPLIT_;
	static constexpr Output OUT = OUT_;
	static constexpr int HALVES = OUT == Output::SILU_MUL ? 2 : 1;
	static constexpr int WIDTH = ROWS / HALVES; /* columns of y */

	static constexpr int CLUSTER_TOKENS = SPLIT ? TOKENS : TOKENS * BLOCKS; /* that a cluster multiplies at once */
	static constexpr int GROUPS = TOKENS / GROUP_TOKENS;
	static constexpr int CONSUMERS = GROUPS * GROUP_THREADS;
	static constexpr int THREADS = CONSUMERS + GROUP_THREADS; /* and the warpgroup of the thread that loads */

	/* What a block gets from the other of a tile that is split: `EACH` columns of y, of either half, as the
	 * accumulators of eight columns lie in the threads. */
	static constexpr int EACH = WIDTH / BLOCKS, EIGHTS = EACH * HALVES / 8;
	struct Parts {
		float4 part[EIGHTS][CONSUMERS];
		uint64_t full, empty;
	};

	static constexpr int X_BYTES = TOKENS * LINE, W_BYTES = ROWS * LINE;
	static constexpr int STAGES =
		(SHARED_BYTES - (SPLIT ? (int)sizeof(Parts) : 0)) / (X_BYTES + W_BYTES + 2 * (int)sizeof(uint64_t));
	struct Shared {
		char x[STAGES][X_BYTES]; /* [token][K], swizzled */
		char w[STAGES][W_BYTES]; /* [row][K] */
		uint64_t full[STAGES], empty[STAGES];
		Parts parts[SPLIT];
	};
	static_assert(EACH % 8 == 0);

	static __host__ __device__ __forceinline__ int token_tiles(const Args &a) {
		return (a.n + CLUSTER_TOKENS - 1) / CLUSTER_TOKENS;
	}
	static __host__ __device__ __forceinline__ int tiles(const Args &a) {
		return token_tiles(a) * ((a.rows / HALVES + WIDTH - 1) / WIDTH);
	}
};

/* The tiles of a cluster, and this block's part of them. */
struct Work {
	int tiles, token_tiles; /* of the cluster's tokens */
	int from, to;           /* stages of k */
	int rank;               /* of the block in its cluster */
	int token;              /* of the cluster's first, that the block begins at */

	template <class S> static __device__ __forceinline__ Work of(const Args &a) {
		Work w;
		int stages = (a.cols + K - 1) / K;
		w.rank = (int)cluster_rank();
		w.token_tiles = S::token_tiles(a), w.tiles = S::tiles(a);
		w.from = S::SPLIT ? stages * w.rank / BLOCKS : 0;
		w.to = S::SPLIT ? stages * (w.rank + 1) / BLOCKS : stages;
		w.token = S::SPLIT ? 0 : w.rank * S::TOKENS;
		return w;
	}

	/* Tiles come with those of the same rows of w side by side. */
	template <class S> __device__ __forceinline__ int first_token(int tile) const {
		return tile % token_tiles * S::CLUSTER_TOKENS + token;
	}
	template <class S> __device__ __forceinline__ int first_column(int tile) const {
		return tile / token_tiles * S::WIDTH;
	}
};

__device__ __forceinline__ int first_tile() {
	return (int)blockIdx.x / BLOCKS;
}

__device__ __forceinline__ int tile_step() {
	return (int)gridDim.x / BLOCKS;
}

/* The next of the stages, round after round. */
template <class S> struct Ring {
	int stage = 0, parity = 0;
	__device__ __forceinline__ void next() {
		if (++stage == S::STAGES) stage = 0, parity ^= 1;
	}
};

/* One thread: keeps the stages filled. */
template <class S> __device__ void produce(const Args &a, typename S::Shared &s, const Work &work) {
	auto load_w = [&](int tile, int k, int stage) {
		int row = work.first_column<S>(tile);
		if constexpr (S::SPLIT) {
#pragma unroll
			for (int half = 0; half < S::HALVES; half++)
				tma_load(s.w[stage] + half * S::WIDTH * LINE, &a.w, &s.full[stage], k * K, row + half * (a.rows / 2));
		} else { /* either block brings in a half of it, for both */
			constexpr int ROWS = S::ROWS / BLOCKS;
			tma_load(s.w[stage] + work.rank * ROWS * LINE, &a.w, &s.full[stage], k * K,
			         row + work.rank * (S::HALVES == 2 ? a.rows / 2 : ROWS), (uint16_t)((1 << BLOCKS) - 1));
		}
	};
	auto load_x = [&](int tile, int k, int stage) {
		tma_load(s.x[stage], &a.x, &s.full[stage], k * K, work.first_token<S>(tile));
	};

	/* The first weights are there before the kernel that makes x is over. */
	struct At {
		int tile, k;
	};
	auto each = [&](At at, int most, auto f) {
		for (int i = 0; i < most && at.tile < work.tiles; at.tile += tile_step()) {
			for (; i < most && at.k < work.to; i++, at.k++) f(i, at.tile, at.k);
			if (at.k < work.to) break;
			at.k = work.from;
		}
		return at;
	};
	At first = {first_tile(), work.from};
	At rest = each(first, S::STAGES, [&](int stage, int tile, int k) {
		barrier_expect(&s.full[stage], S::X_BYTES + S::W_BYTES);
		load_w(tile, k, stage);
	});
	await_previous();
	each(first, S::STAGES, [&](int stage, int tile, int k) { load_x(tile, k, stage); });
	Ring<S> ring;
	ring.parity = 1;
	each(rest, INT32_MAX, [&](int, int tile, int k) {
		barrier_wait(&s.empty[ring.stage], ring.parity ^ 1);
		barrier_expect(&s.full[ring.stage], S::X_BYTES + S::W_BYTES);
		load_w(tile, k, ring.stage);
		load_x(tile, k, ring.stage);
		ring.next();
	});
}

/* The product of a warpgroup's tokens with a tile's rows, over the block's part of k. */
template <class S>
__device__ __forceinline__ void multiply(float (&acc)[S::ROWS / 2], typename S::Shared &s, const Work &work,
                                         Ring<S> &ring) {
	int group = threadIdx.x / GROUP_THREADS, thread = threadIdx.x % GROUP_THREADS, before = 0;
	auto release = [&](int stage) {
		if constexpr (S::SPLIT) {
			if (thread == 0) barrier_arrive(&s.empty[stage]);
		} else {
			if (thread < BLOCKS) barrier_arrive(&s.empty[stage], thread);
		}
	};
	for (int k = work.from; k < work.to; k++) {
		barrier_wait(&s.full[ring.stage], ring.parity);
		uint32_t x = shared_address(s.x[ring.stage]) + group * GROUP_TOKENS * LINE, w = shared_address(s.w[ring.stage]);
		wgmma_fence();
#pragma unroll
		for (int i = 0; i < K / 16; i++)
			wgmma<0>(acc, tile_descriptor(x + i * 32), tile_descriptor(w + i * 32), k > work.from || i > 0);
		wgmma_commit();
		if (k > work.from) {
			wgmma_wait<1>();
			release(before);
		}
		before = ring.stage;
		ring.next();
	}
	wgmma_wait<0>();
	hold(acc);
	if (work.from < work.to) release(before);
}

/* Stores eight columns of y, of which the row has them all or, with F32, some. */
template <class S>
__device__ __forceinline__ void store(const Args &a, int token, int column, const float (&v)[VECTOR]) {
	int width = a.rows / S::HALVES;
	if (token >= a.n || column >= width) return;
	int64_t at = (int64_t)token * width + column;
	if constexpr (S::OUT != Output::F32) {
		*(uint4 *)((bf16 *)a.y + at) = {pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]),
		                                pack_bf16(v[6], v[7])};
	} else if (width % 4 == 0) {
		float4 *to = (float4 *)((float *)a.y + at);
		to[0] = make_float4(v[0], v[1], v[2], v[3]);
		if (column + 4 < width) to[1] = make_float4(v[4], v[5], v[6], v[7]);
	} else {
#pragma unroll
		for (int i = 0; i < VECTOR; i++)
			if (column + i < width) ((float *)a.y)[at + i] = v[i];
	}
}

/* Stores two columns, of which the row has one at least. */
template <class S> __device__ __forceinline__ void store_two(const Args &a, int token, int column, float x, float y) {
	int width = a.rows / S::HALVES;
	if (token >= a.n || column >= width) return;
	int64_t at = (int64_t)token * width + column;
	if constexpr (S::OUT != Output::F32) {
		*(uint32_t *)((bf16 *)a.y + at) = pack_bf16(x, y);
	} else if (width % 2 == 0) {
		*(float2 *)((float *)a.y + at) = make_float2(x, y);
	} else {
		((float *)a.y)[at] = x;
		if (column + 1 < width) ((float *)a.y)[at + 1] = y;
	}
}

/* Two columns of y, from a lane's accumulators of an eight of columns: of its first row (0) or of the eighth after. */
template <class S> __device__ __forceinline__ float2 two_columns(const float (&acc)[S::ROWS / 2], int eight, int r) {
	const float *x = &acc[eight * 4 + r * 2];
	if constexpr (S::OUT != Output::SILU_MUL) return make_float2(x[0], x[1]);
	const float *up = x + S::WIDTH / 2;
	return make_float2(silu(x[0]) * up[0], silu(x[1]) * up[1]);
}

/* Stores a tile that is whole. A lane of a quad holds two of every eight columns: four such eights are passed around
 * the quad so that each lane has one of them. */
template <class S>
__device__ __forceinline__ void write_whole(const Args &a, int token, int column, const float (&acc)[S::ROWS / 2]) {
	constexpr int EIGHTS = 4;
	int lane = threadIdx.x % 4;
	auto pick = [](const float2(&x)[EIGHTS], int i) {
		float2 low = i & 1 ? x[1] : x[0], high = i & 1 ? x[3] : x[2];
		return i & 2 ? high : low;
	};
#pragma unroll
	for (int first = 0; first < S::WIDTH / 8; first += EIGHTS)
#pragma unroll
		for (int r = 0; r < 2; r++) {
			if (first + EIGHTS > S::WIDTH / 8) { /* fewer are left */
#pragma unroll
				for (int b = first; b < S::WIDTH / 8; b++) {
					float2 two = two_columns<S>(acc, b, r);
					store_two<S>(a, token + r * 8, column + b * 8 + lane * 2, two.x, two.y);
				}
				continue;
			}
			float2 mine[EIGHTS], whole[EIGHTS];
#pragma unroll
			for (int b = 0; b < EIGHTS; b++) mine[b] = two_columns<S>(acc, first + b, r);
#pragma unroll
			for (int i = 0; i < EIGHTS; i++) {
				float2 given = pick(mine, lane ^ i);
				whole[i] = make_float2(__shfl_xor_sync(~0u, given.x, i), __shfl_xor_sync(~0u, given.y, i));
			}
			float v[VECTOR];
#pragma unroll
			for (int i = 0; i < 4; i++) {
				float2 two = pick(whole, lane ^ i);
				v[2 * i] = two.x, v[2 * i + 1] = two.y;
			}
			store<S>(a, token + r * 8, column + (first + lane) * VECTOR, v);
		}
}

/* Adds up a tile that is split: either block sends the other half of the columns, and stores the sum of the half that
 * it keeps and what it gets. */
template <class S>
__device__ __forceinline__ void write_split(const Args &a, typename S::Parts &parts, int token, int column, int rank,
                                            int parity, const float (&acc)[S::ROWS / 2]) {
	constexpr int SIDE = S::EACH / 8; /* eights of one half of w's rows and one block's columns */
	/* The accumulators of an eight of the columns that block `of` stores. */
	auto eight = [&](int i, int of) {
		int half = i / SIDE, first = (half * S::WIDTH / 8 + i % SIDE) * 4, second = first + S::EACH / 2;
		return of ? make_float4(acc[second], acc[second + 1], acc[second + 2], acc[second + 3])
		          : make_float4(acc[first], acc[first + 1], acc[first + 2], acc[first + 3]);
	};
	barrier_wait(&parts.empty, parity ^ 1); /* the other has read what it got before */
	if (threadIdx.x == 0) barrier_expect(&parts.full, (int)sizeof parts.part);
	uint32_t there = cluster_address(&parts.part[0][threadIdx.x], rank ^ 1);
	uint32_t full = cluster_address(&parts.full, rank ^ 1);
#pragma unroll
	for (int i = 0; i < S::EIGHTS; i++) store_async(there + i * (int)sizeof parts.part[0], eight(i, rank ^ 1), full);
	barrier_wait_cluster(&parts.full, parity);
	float4 sum[S::EIGHTS];
#pragma unroll
	for (int i = 0; i < S::EIGHTS; i++) {
		float4 mine = eight(i, rank), its = parts.part[i][threadIdx.x];
		sum[i] = make_float4(mine.x + its.x, mine.y + its.y, mine.z + its.z, mine.w + its.w);
	}
	named_barrier(1 + threadIdx.x / GROUP_THREADS, GROUP_THREADS);
	if (threadIdx.x % GROUP_THREADS == 0) barrier_arrive(&parts.empty, rank ^ 1);
#pragma unroll
	for (int i = 0; i < SIDE; i++) {
		float4 v = sum[i];
		if constexpr (S::OUT == Output::SILU_MUL) {
			float4 up = sum[SIDE + i];
			v = make_float4(silu(v.x) * up.x, silu(v.y) * up.y, silu(v.z) * up.z, silu(v.w) * up.w);
		}
		int at = column + rank * S::EACH + i * 8 + threadIdx.x % 4 * 2;
		store_two<S>(a, token, at, v.x, v.y);
		store_two<S>(a, token + 8, at, v.z, v.w);
	}
}

template <class S> __device__ void consume(const Args &a, typename S::Shared &s, const Work &work) {
	int thread = threadIdx.x % GROUP_THREADS, group = threadIdx.x / GROUP_THREADS;
	Ring<S> ring;
	int parity = 0;
	for (int tile = first_tile(); tile < work.tiles; tile += tile_step(), parity ^= 1) {
		float acc[S::ROWS / 2] = {};
		multiply<S>(acc, s, work, ring);
		int token = work.first_token<S>(tile) + group * GROUP_TOKENS + thread / WARP * 16 + thread % WARP / 4;
		int column = work.first_column<S>(tile);
		if constexpr (S::SPLIT) write_split<S>(a, *s.parts, token, column, work.rank, parity, acc);
		else write_whole<S>(a, token, column, acc);
	}
}

template <class S>
__global__ void __launch_bounds__(S::THREADS, 1) __cluster_dims__(BLOCKS, 1, 1)
	gemm_kernel(const __grid_constant__ Args a) {
	using Shared = typename S::Shared;
	let_next_start();
	extern __shared__ char raw[];
	Shared &s = *(Shared *)(((uintptr_t)raw + 1023) & ~(uintptr_t)1023); /* swizzled tiles: 1024-byte aligned */
	if (threadIdx.x == 0) {
		constexpr int RELEASES = S::SPLIT ? S::GROUPS : S::GROUPS * BLOCKS;
		for (int i = 0; i < S::STAGES; i++) barrier_init(&s.full[i], 1), barrier_init(&s.empty[i], RELEASES);
		if constexpr (S::SPLIT) barrier_init(&s.parts->full, 1), barrier_init(&s.parts->empty, S::GROUPS);
		barrier_init_fence();
	}
	__syncthreads();
	/* Nothing is sent to a block before its barriers are there. */
	cluster_arrive();
	if constexpr (!S::SPLIT) cluster_wait();
	Work work = Work::of<S>(a);
	if (threadIdx.x < S::CONSUMERS) {
		if constexpr (S::GROUPS > 1) registers_take<232>();
		if constexpr (S::SPLIT) cluster_wait();
		await_previous();
		consume<S>(a, s, work);
	} else {
		if constexpr (S::GROUPS > 1) registers_give<40>();
		if (threadIdx.x == S::CONSUMERS) produce<S>(a, s, work);
		__syncwarp();
		if constexpr (S::SPLIT) cluster_wait();
	}
	/* Nor does a block end while another may still write to it. */
	cluster_arrive();
	cluster_wait();
}

template <class S> cudaError_t run(const Args &args, cudaStream_t stream) {
	constexpr int BYTES = (int)sizeof(typename S::Shared) + 1024;
	static_assert(BYTES <= 227 * 1024);
	cudaError_t error = cudaFuncSetAttribute(gemm_kernel<S>, cudaFuncAttributeMaxDynamicSharedMemorySize, BYTES);
	if (error != cudaSuccess) return error;
	/* How many clusters a device has room for: as many as its groups of multiprocessors hold. */
	static const int clusters = [] {
		cudaLaunchAttribute cluster = {};
		cluster.id = cudaLaunchAttributeClusterDimension;
		cluster.val.clusterDim = {BLOCKS, 1, 1};
		cudaLaunchConfig_t config = {};
		config.gridDim = BLOCKS, config.blockDim = S::THREADS, config.dynamicSmemBytes = BYTES;
		config.attrs = &cluster, config.numAttrs = 1;
		int most = 0;
		return cudaOccupancyMaxActiveClusters(&most, gemm_kernel<S>, &config) == cudaSuccess ? most : 0;
	}();
	if (clusters == 0) return cudaErrorInvalidConfiguration;
	return launch(gemm_kernel<S>, (unsigned)(min(S::tiles(args), clusters) * BLOCKS), S::THREADS, BYTES, stream, args);
}

template <int TILE> cudaError_t run(Args &args, const bf16 *w, Output output, cudaStream_t stream) {
	constexpr Sm90Tile T = SM90_TILES[TILE];
	auto go = [&](auto shape) {
		using S = decltype(shape);
		constexpr int BOX = S::SPLIT ? S::WIDTH : S::ROWS / BLOCKS;
		cudaError_t error = tensor_map(&args.w, w, (uint64_t)args.rows, (uint64_t)args.cols, BOX);
		return error == cudaSuccess ? run<S>(args, stream) : error;
	};
	auto can = [](Output wanted) { return (T.outputs >> (int)wanted & 1) != 0; };
	if constexpr (can(Output::BF16))
		if (output == Output::BF16) return go(Shape<T.tokens, T.rows, T.split, Output::BF16>());
	if constexpr (can(Output::F32))
		if (output == Output::F32) return go(Shape<T.tokens, T.rows, T.split, Output::F32>());
	if constexpr (can(Output::SILU_MUL))
		if (output == Output::SILU_MUL) return go(Shape<T.tokens, T.rows, T.split, Output::SILU_MUL>());
	return cudaErrorInvalidValue;
}

template <size_t... TILE>
cudaError_t run(std::index_sequence<TILE...>, int tile, Args &args, const bf16 *w, Output output, cudaStream_t stream) {
	cudaError_t error = cudaErrorInvalidValue;
	(void)((tile == (int)TILE && (error = run<(int)TILE>(args, w, output, stream), true)) || ...);
	return error;
}

} // namespace

bool gemm_sm90_fits(int tile, int n, Output output) {
	const Sm90Tile &t = SM90_TILES[tile];
	if (!(t.outputs >> (int)output & 1)) return false;
	return t.split ? n <= t.tokens && n > t.tokens - GROUP_TOKENS : n > t.tokens;
}

cudaError_t gemm_sm90(int tile, const bf16 *x, const bf16 *w, void *y, int rows, int cols, int n, Output output,
                      cudaStream_t stream) {
	if (tile < 0 || tile >= SM90_TILES_COUNT) return cudaErrorInvalidValue;
	Args a;
	cudaError_t error = tensor_map(&a.x, x, (uint64_t)n, (uint64_t)cols, (uint32_t)SM90_TILES[tile].tokens);
	if (error != cudaSuccess) return error;
	a.y = y, a.n = n, a.rows = rows, a.cols = cols;
	return run(std::make_index_sequence<SM90_TILES_COUNT>(), tile, a, w, output, stream);
}

} // namespace fg
