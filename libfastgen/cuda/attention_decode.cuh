/*
 * attention_decode.cuh - attention of one new token a sequence over its paged KV cache.
 *
 * Bound by memory: every K and V byte is read once, for all query heads of its group together, packed as the 16 rows of
 * one tensor-core tile (grouped-query packing). The work of all (sequence, kv head) pairs is laid end to end in pages
 * and cut into equal shares, one a block, so that every block reads the same amount whatever the lengths are
 * (flash-decoding, https://crfm.stanford.edu/2023/10/12/flashdecoding.html, cut as in Stream-K, arXiv:2301.03598). A
 * pair that falls into several shares is merged by the block that finishes last.
 */
#ifndef FG_ATTENTION_DECODE_CUH
#define FG_ATTENTION_DECODE_CUH

#include "device.cuh"

namespace fg {

/* The cut of one step's decode work, made once a step by plan_decode and read by every layer with that window. */
struct DecodePlan {
	const AttnSeq *seqs;       /* [n_seqs], n_new == 1 */
	const int32_t *unit_start; /* [n_seqs + 1]: pages of the sequences before this one, times kv_heads */
	const int32_t *block_seq;  /* [n_blocks]: the sequence in which a block's share begins */
	int32_t n_blocks;
};

struct DecodeArgs {
	KvPool kv;
	DecodePlan plan;
	const bf16 *q;    /* [n_tokens][q_stride], head h at h * head_dim */
	bf16 *out;        /* [n_tokens][n_heads * head_dim] */
	float *partial;   /* [2 * n_blocks][group][head_dim + 2]: unnormalised output, then maximum and sum */
	int32_t *arrived; /* [n_seqs * kv_heads]: zero before and after */
	int32_t layer;
	int32_t group;    /* query heads a kv head, 1 .. 16 */
	int32_t q_stride; /* elements */
	int32_t window;   /* 0 = full attention */
	float scale;      /* of the scores, times log2(e) */
};

/* Blocks that plan_decode should cut for, on the current device. */
int decode_blocks(int multiprocessors);

/* Attention of n_seqs sequences, launched on `stream`; those past the real ones, in a padded batch, have no units.
 * Returns the launch's error. head_dim 32, 64 or 128; sm_80 and later. */
cudaError_t decode_attention(const DecodeArgs &args, int n_seqs, cudaStream_t stream);

/* First page a query at position context - 1 can see. */
__host__ __device__ inline int32_t first_page(int32_t context, int32_t window) {
	return window > 0 && context > window ? (context - window) / PAGE : 0;
}

/* Pages that such a query reads. */
__host__ __device__ inline int32_t pages_read(int32_t context, int32_t window) {
	return (context + PAGE - 1) / PAGE - first_page(context, window);
}

} // namespace fg

#endif
