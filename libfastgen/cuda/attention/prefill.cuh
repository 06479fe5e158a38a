/*
 * prefill.cuh - causal attention of prompt chunks over the paged KV cache.
 *
 * The query rows of a chunk are its tokens times the heads of one group, token by token. A tile of 128 such rows reads
 * K and V together. Exact attention with an online softmax (FlashAttention, arXiv:2205.14135 and 2307.08691); on sm_90
 * as in FlashAttention-3 (arXiv:2407.08608): one warp brings in K and V by TMA, two warpgroups multiply (wgmma), and
 * the tensor cores compute the scores of the next keys during the softmax of the current ones.
 */
#ifndef FG_ATTENTION_PREFILL_CUH
#define FG_ATTENTION_PREFILL_CUH

#include "../device.cuh"

#include <cuda.h>

namespace fg {

constexpr int PREFILL_ROWS = 128;

/* 128 query rows of one sequence, for all kv heads. Aligned, so that it takes few loads: kernels wait for it. */
struct alignas(16) PrefillTile {
	int32_t slot;
	int32_t first_token; /* row of the chunk's first token in q and out */
	int32_t n_rows;      /* query rows of the chunk: n_new * group */
	int32_t first_row;   /* the tile's first, of those */
	int32_t base;        /* position of the chunk's first token */
	int32_t low, high;   /* positions of the tile's first and last row */
	int32_t last_page;   /* of the sequence: index into its page table */
};

/* Lists the tiles of n_seqs chunks, those with the most keys first. Returns how many: at most one per PREFILL_ROWS rows
 * and one per chunk. On the host. */
int32_t list_prefill_tiles(const AttnSeq *seqs, int32_t n_seqs, int32_t group, PrefillTile *tiles);

struct PrefillArgs {
	KvPool kv;
	CUtensorMap map;          /* of the KV pool as rows of head_dim, in boxes of PAGE rows; sm_90 only */
	const PrefillTile *tiles; /* [n_tiles], as list_prefill_tiles made them */
	int32_t n_tiles;
	const bf16 *q; /* [n_tokens][q_stride], head h at h * head_dim */
	bf16 *out;     /* [n_tokens][n_heads * head_dim] */
	int32_t layer;
	int32_t group;    /* query heads per kv head */
	int32_t q_stride; /* elements */
	int32_t window;   /* 0 = full attention */
	float scale;      /* of the scores, times log2(e) */
};

/* Launches on `stream`. sm_90a, head_dim 64 or 128. Returns the launch's error. */
cudaError_t prefill_attention_sm90(const PrefillArgs &args, int multiprocessors, cudaStream_t stream);

/* The same on mma.sync, for all other devices and head_dim 32: sm_80 and later. */
cudaError_t prefill_attention(const PrefillArgs &args, cudaStream_t stream);

} // namespace fg

#endif
