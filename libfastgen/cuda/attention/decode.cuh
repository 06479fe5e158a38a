/*
 * decode.cuh - attention of one new token a sequence over its paged KV cache.
 *
 * Bound by memory: every K and V byte is read once, for all query heads of its group together, packed as the 16 rows of
 * one tensor-core tile (grouped-query packing). The work of all (sequence, kv head) pairs is laid end to end in pages
 * and cut into equal shares, one a block, so that every block reads the same amount whatever the lengths are
 * (flash-decoding, https://crfm.stanford.edu/2023/10/12/flashdecoding.html, cut as in Stream-K, arXiv:2301.03598). A
 * pair that falls into several shares is merged by the block that finishes last.
 */
#ifndef FG_ATTENTION_DECODE_CUH
#define FG_ATTENTION_DECODE_CUH

#include "../device.cuh"

namespace fg {

/* One block's share of a step's decode work: where it begins. Made once a step by list_decode_shares and read by every
 * layer with that window. */
struct DecodeShare {
	AttnSeq seq;    /* in which it begins, n_new == 1 */
	int32_t index;  /* of that sequence */
	int32_t within; /* pages, over its kv heads, before the share */
	int32_t units;  /* of all shares together; the same in each */
	int32_t reserved;
};

struct DecodeArgs {
	KvPool kv;
	const AttnSeq *seqs;       /* [n_seqs] */
	const DecodeShare *shares; /* [n_blocks], as list_decode_shares made them */
	int32_t n_blocks;
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

/* Blocks that list_decode_shares should cut for. */
int decode_blocks(int multiprocessors, int kv_heads, int head_dim);

/* Attention of n_seqs sequences, launched on `stream`. seqs, shares, the page table and every page but the one that
 * holds a sequence's newest token must be in place before the kernel that precedes this one begins: they are read while
 * it runs. Returns the launch's error. head_dim 32, 64 or 128; sm_80 and later. */
cudaError_t decode_attention(const DecodeArgs &args, int n_seqs, cudaStream_t stream);

/* First page a query at position context - 1 can see. */
__host__ __device__ inline int32_t first_page(int32_t context, int32_t window) {
	return window > 0 && context > window ? (context - window) / PAGE : 0;
}

/* Pages that such a query reads. */
__host__ __device__ inline int32_t pages_read(int32_t context, int32_t window) {
	return (context + PAGE - 1) / PAGE - first_page(context, window);
}

/* Cuts the pages that n_seqs sequences read, over kv_heads, into n_blocks equal shares; those past the first `units`
 * are empty. Sequences of context 0 have none. On the host. */
void list_decode_shares(const AttnSeq *seqs, int32_t n_seqs, int32_t kv_heads, int32_t window, int32_t n_blocks,
                        DecodeShare *shares);

} // namespace fg

#endif
