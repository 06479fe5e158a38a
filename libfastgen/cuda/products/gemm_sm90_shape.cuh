/*
 * gemm_sm90_shape.cuh - how gemm_sm90's kernels cut a product: tiles of a cluster, and a block's share of each.
 */
#ifndef FG_GEMM_SM90_SHAPE_CUH
#define FG_GEMM_SM90_SHAPE_CUH

#include "gemv.cuh"
#include "../hopper.cuh"
#include "../tensor_map.cuh"

namespace fg {

constexpr int GROUP_TOKENS = 64;            /* of x, a warpgroup's: wgmma's m */
constexpr int K = BOX_COLUMNS;              /* columns of a stage */
constexpr int LINE = K * (int)sizeof(bf16); /* bytes of a swizzled row */
constexpr int BLOCKS = 2;                   /* of a cluster */
constexpr int SHARED_BYTES = 221 * 1024; /* of shared memory for stages and what a block is sent; 227 KB is the most */

struct GemmArgs {
	CUtensorMap x, w;
	void *y;
	int32_t n, rows, cols;
	int32_t parts; /* over k, that the product is left in */
	int32_t whole; /* tiles before those that are halved */
};

/* Rows of w in a tile, and what becomes of them. With SILU_MUL the first half of them is the gate's, the other up's.
 *
 * Tiles that are not split may be halved along the rows, by HALF_ROWS each: the last few, if halves of them still find
 * a cluster each, take half as long. */
template <int TOKENS_, int ROWS_, bool SPLIT_, Output OUT_> struct Shape {
	static constexpr int TOKENS = TOKENS_, ROWS = ROWS_, HALF_ROWS = ROWS / 2;
	static constexpr bool SPLIT = SPLIT_;
	static constexpr Output OUT = OUT_;
	static constexpr int GATED = OUT == Output::SILU_MUL ? 2 : 1; /* rows of w for a column of y */
	static constexpr int WIDTH = ROWS / GATED;                    /* columns of y */

	static constexpr int CLUSTER_TOKENS = SPLIT ? TOKENS : TOKENS * BLOCKS; /* that a cluster multiplies at once */
	static constexpr int GROUPS = TOKENS / GROUP_TOKENS;
	static constexpr int CONSUMERS = GROUPS * GROUP_THREADS;
	static constexpr int THREADS = CONSUMERS + GROUP_THREADS; /* and the warpgroup of the thread that loads */

	/* What a block gets from the other of a tile that is split: `EACH` columns of y, of gate and up, as the
	 * accumulators of eight columns lie in the threads. */
	static constexpr int EACH = WIDTH / BLOCKS, EIGHTS = EACH * GATED / 8;
	struct Sent {
		float4 part[EIGHTS][CONSUMERS];
		uint64_t full, empty;
	};

	/* Rows that a load brings in: of a tile that is split the gate's or up's; else half of those that either block
	 * brings in for both. */
	static constexpr int W_BOX = SPLIT ? WIDTH : HALF_ROWS / BLOCKS;
	static constexpr int X_BYTES = TOKENS * LINE, W_BYTES = ROWS * LINE;
	static constexpr int STAGES =
		(SHARED_BYTES - (SPLIT ? (int)sizeof(Sent) : 0)) / (X_BYTES + W_BYTES + 2 * (int)sizeof(uint64_t));
	struct Shared {
		char x[STAGES][X_BYTES]; /* [token][K], swizzled */
		char w[STAGES][W_BYTES]; /* [row][K] */
		uint64_t full[STAGES], empty[STAGES];
		Sent sent[SPLIT];
	};
	static_assert(W_BOX % 8 == 0 && (!SPLIT || EACH % 8 == 0));

	static __host__ __device__ __forceinline__ int token_tiles(const GemmArgs &a) {
		return (a.n + CLUSTER_TOKENS - 1) / CLUSTER_TOKENS;
	}
	/* Before any is halved. */
	static __host__ __device__ __forceinline__ int whole_tiles(const GemmArgs &a) {
		return token_tiles(a) * ((a.rows / GATED + WIDTH - 1) / WIDTH) * a.parts;
	}
	static __host__ __device__ __forceinline__ int tiles(const GemmArgs &a) {
		return 2 * whole_tiles(a) - a.whole;
	}
};

/* What a block does of a cluster's tile: some tokens, rows of w and, where k is split or the product left in parts,
 * stages of k. Worked out once a tile: what the thread that loads does between two stages delays them. */
struct Work {
	int token, column, part; /* the first of y's columns, and of tokens the block's own */
	int from, to;            /* stages of k */
	bool halved;

	/* Tiles come with those of the same rows of w side by side. */
	template <class S> static __device__ __forceinline__ Work of(const GemmArgs &a, int tile) {
		const int stages = (a.cols + K - 1) / K, rank = (int)cluster_rank();
		Work w = {};
		w.halved = tile >= a.whole;
		const int half = w.halved ? (tile - a.whole) % 2 : 0;
		if (w.halved) tile = a.whole + (tile - a.whole) / 2;
		/* Divisions take long: no more than there must be. */
		unsigned token_tiles = (unsigned)S::token_tiles(a), row_tile = (unsigned)tile;
		if (token_tiles > 1) row_tile /= token_tiles;
		w.token = (tile - (int)(row_tile * token_tiles)) * S::CLUSTER_TOKENS + (S::SPLIT ? 0 : rank * S::TOKENS);
		w.to = stages;
		if (S::SPLIT) {
			w.from = stages * rank / BLOCKS, w.to = stages * (rank + 1) / BLOCKS;
		} else if (a.parts > 1) {
			w.part = (int)(row_tile % (unsigned)a.parts), row_tile /= (unsigned)a.parts;
			w.from = stages * w.part / a.parts, w.to = stages * (w.part + 1) / a.parts;
		}
		w.column = (int)row_tile * S::WIDTH + half * S::WIDTH / 2;
		return w;
	}
};

/* A cluster's first tile, and how many on its next one is. */
__device__ __forceinline__ int first_tile() {
	return (int)blockIdx.x / BLOCKS;
}

__device__ __forceinline__ int tile_step() {
	return (int)gridDim.x / BLOCKS;
}

} // namespace fg

#endif
