/*
 * gemm_sm90_shape.cuh - how gemm_sm90's kernels cut a product: tiles of a cluster's blocks, and the items of its work
 * list.
 *
 * Columns of x and w are processed in slices, one per stage of the pipeline's ring.
 */
#ifndef FG_GEMM_SM90_SHAPE_CUH
#define FG_GEMM_SM90_SHAPE_CUH

#include "product.cuh"
#include "../hopper.cuh"
#include "../tensor_map.cuh"

namespace fg {

constexpr int WARPGROUP_TOKENS = 64;     /* rows of x that a warpgroup multiplies: wgmma's m */
constexpr int LINE = BOX_BYTES;          /* bytes of a slice's row, swizzled */
constexpr int BLOCKS = 2;                /* of a cluster */
constexpr int SHARED_BYTES = 221 * 1024; /* for stages and Sent, of the 227 KB that a block can have */

struct GemmArgs {
	CUtensorMap x, w;               /* x [n][cols], w [rows][cols], in boxes of a slice's columns */
	const float *x_scale, *w_scale; /* [n], [rows], with fp8 */
	void *y;                        /* [splits][n][rows], or [n][rows / 2] with SILU_MUL */
	int32_t n, rows, cols;
	int32_t splits; /* that the product is left in, for its reader to add */
	int32_t whole;  /* items before those that are halved */
};

/* Element: bf16 or fp8. A block multiplies TOKENS rows of x with ROWS rows of w at once. With SILU_MUL half of the rows
 * of w are the gate's, half are up's.
 *
 * SPLIT: the two blocks of a cluster have the same tile, and half of its slices each. Otherwise they have two tiles
 * side by side along the tokens and share the rows of w; then the last items may be halved along the rows, to HALF_ROWS
 * each: if every half finds a cluster, the last round takes half as long. */
template <class Element_, int TOKENS_, int ROWS_, bool SPLIT_, Output OUT_> struct GemmShape {
	using Element = Element_;
	static constexpr int SLICE = LINE / (int)sizeof(Element); /* columns of x and w */
	static constexpr int TOKENS = TOKENS_, ROWS = ROWS_, HALF_ROWS = ROWS / 2;
	static constexpr bool SPLIT = SPLIT_;
	static constexpr Output OUT = OUT_;
	static constexpr int GATED = OUT == Output::SILU_MUL ? 2 : 1; /* rows of w per column of y */
	static constexpr int WIDTH = ROWS / GATED;                    /* columns of y */

	static constexpr int CLUSTER_TOKENS = SPLIT ? TOKENS : TOKENS * BLOCKS; /* rows of x that a cluster multiplies */
	static constexpr int WARPGROUPS = TOKENS / WARPGROUP_TOKENS;            /* that multiply */
	static constexpr int CONSUMER_THREADS = WARPGROUPS * GROUP_THREADS;
	static constexpr int THREADS = CONSUMER_THREADS + GROUP_THREADS; /* and the warpgroup of the thread that loads */

	/* With SPLIT, what a block receives from the other of its cluster: the accumulators of EACH columns of y (of gate
	 * and of up), in eights of columns as they lie in the threads. */
	static constexpr int EACH = WIDTH / BLOCKS, EIGHTS = EACH * GATED / 8;
	struct Sent {
		float4 sums[EIGHTS][CONSUMER_THREADS];
		uint64_t full, empty;
	};

	/* Rows of w that one TMA copy loads. SPLIT: all of a tile's, or the gate's, or up's. Otherwise each block loads
	 * half of the rows for both blocks, in two copies, or in one if the item is halved. */
	static constexpr int W_BOX = SPLIT ? WIDTH : HALF_ROWS / BLOCKS;
	static constexpr int X_BYTES = TOKENS * LINE, W_BYTES = ROWS * LINE;
	static constexpr int STAGES =
		(SHARED_BYTES - (SPLIT ? (int)sizeof(Sent) : 0)) / (X_BYTES + W_BYTES + 2 * (int)sizeof(uint64_t));
	struct Shared {
		char x[STAGES][X_BYTES]; /* [token][SLICE], swizzled */
		char w[STAGES][W_BYTES]; /* [row][SLICE], swizzled */
		uint64_t full[STAGES], empty[STAGES];
		Sent sent[SPLIT];
	};
	static_assert(W_BOX % 8 == 0 && (!SPLIT || EACH % 8 == 0));

	static __host__ __device__ __forceinline__ int token_tiles(const GemmArgs &a) {
		return (a.n + CLUSTER_TOKENS - 1) / CLUSTER_TOKENS;
	}
	/* Items before any is halved. */
	static __host__ __device__ __forceinline__ int whole_items(const GemmArgs &a) {
		return token_tiles(a) * ((a.rows / GATED + WIDTH - 1) / WIDTH) * a.splits;
	}
	static __host__ __device__ __forceinline__ int items(const GemmArgs &a) {
		return 2 * whole_items(a) - a.whole;
	}
};

/* What a block does for an item of its cluster: a tile, or half of one, and some slices. Computed once per item:
 * whatever the thread that loads does between two stages delays them. */
struct GemmItem {
	int token, column; /* the first of this block's tokens, and of y's columns */
	int split;         /* of those that the product is left in */
	int from, to;      /* slices */
	bool halved;

	/* Items with the same rows of w follow each other. */
	template <class S> static __device__ __forceinline__ GemmItem of(const GemmArgs &a, int index) {
		const int slices = (a.cols + S::SLICE - 1) / S::SLICE, rank = (int)cluster_rank();
		GemmItem item = {};
		item.halved = index >= a.whole;
		const int half = item.halved ? (index - a.whole) % 2 : 0;
		if (item.halved) index = a.whole + (index - a.whole) / 2;
		/* Divisions are slow: only those that are needed. */
		unsigned token_tiles = (unsigned)S::token_tiles(a), row_tile = (unsigned)index;
		if (token_tiles > 1) row_tile /= token_tiles;
		item.token = (index - (int)(row_tile * token_tiles)) * S::CLUSTER_TOKENS + (S::SPLIT ? 0 : rank * S::TOKENS);
		item.to = slices;
		if (S::SPLIT) {
			item.from = slices * rank / BLOCKS, item.to = slices * (rank + 1) / BLOCKS;
		} else if (a.splits > 1) {
			item.split = (int)(row_tile % (unsigned)a.splits), row_tile /= (unsigned)a.splits;
			item.from = slices * item.split / a.splits, item.to = slices * (item.split + 1) / a.splits;
		}
		item.column = (int)row_tile * S::WIDTH + half * S::WIDTH / 2;
		return item;
	}
};

/* A cluster's first item, and how far it is to the next. */
__device__ __forceinline__ int first_item() {
	return (int)blockIdx.x / BLOCKS;
}

__device__ __forceinline__ int item_step() {
	return (int)gridDim.x / BLOCKS;
}

} // namespace fg

#endif
