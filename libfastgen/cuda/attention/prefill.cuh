/*
 * prefill.cuh - causal attention of prompt chunks over the paged KV cache.
 *
 * The query rows of a chunk are its tokens times the heads of one group, token by token: 128 such rows share every K
 * and V tile they read. Exact attention with an online softmax (FlashAttention, arXiv:2205.14135 and 2307.08691); on
 * sm_90 in the manner of FlashAttention-3 (arXiv:2407.08608): a producer warp feeds K and V through TMA, two consumer
 * warpgroups run wgmma, and the scores of the next keys are in the tensor cores while the softmax of these is computed.
 */
#ifndef FG_ATTENTION_PREFILL_CUH
#define FG_ATTENTION_PREFILL_CUH

#include "../device.cuh"

#include <cuda.h>

namespace fg {

constexpr int PREFILL_ROWS = 128;

/* 128 query rows of one sequence, all kv heads. In one piece, as what a tile is must be known soon. */
struct alignas(16) PrefillTile {
	int32_t slot;
	int32_t first_token; /* row of the chunk's first token in q and out */
	int32_t n_rows;      /* of the chunk: n_new * group */
	int32_t first_row;   /* of them, the tile's */
	int32_t base;        /* position of the chunk's first token */
	int32_t low, high;   /* positions of the tile's first and last row */
	int32_t last_page;   /* of the sequence: index into its page table */
};

/* The tiles of n_seqs chunks, most work first; returns how many, at most one for every PREFILL_ROWS rows and one for
 * every chunk. On the host. */
int32_t list_prefill_tiles(const AttnSeq *seqs, int32_t n_seqs, int32_t group, PrefillTile *tiles);

struct PrefillArgs {
	KvPool kv;
	CUtensorMap map;          /* of the KV pool as rows of head_dim, in boxes of PAGE rows; sm_90 only */
	const PrefillTile *tiles; /* [n_tiles], most work first */
	int32_t n_tiles;
	const bf16 *q; /* [n_tokens][q_stride], head h at h * head_dim */
	bf16 *out;     /* [n_tokens][n_heads * head_dim] */
	int32_t layer;
	int32_t group;    /* query heads a kv head */
	int32_t q_stride; /* elements */
	int32_t window;   /* 0 = full attention */
	float scale;      /* of the scores, times log2(e) */
};

/* Launches on `stream`. sm_90a, head_dim 64 or 128. Returns the launch's error. */
cudaError_t prefill_attention_sm90(const PrefillArgs &args, int multiprocessors, cudaStream_t stream);

/* The same for every other device and head_dim 32: sm_80 and later, on mma.sync. */
cudaError_t prefill_attention(const PrefillArgs &args, cudaStream_t stream);

} // namespace fg

#endif
