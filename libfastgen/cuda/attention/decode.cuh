/*
 * decode.cuh - attention of one new token per sequence over its paged KV cache.
 *
 * Bound by memory: every byte of K and V is read once for all query heads of its group, which are packed as the 16 rows
 * of one tensor-core tile. The pages of all pairs (sequence, kv head) are laid end to end and cut into equal shares,
 * one per block, so that every block reads the same amount, whatever the sequences' lengths (flash-decoding,
 * https://crfm.stanford.edu/2023/10/12/flashdecoding.html, cut as in Stream-K, arXiv:2301.03598). If a pair falls into
 * several shares, the block that finishes last merges their results.
 */
#ifndef FG_ATTENTION_DECODE_CUH
#define FG_ATTENTION_DECODE_CUH

#include "../device.cuh"
#include "../launch.cuh"

namespace fg {

/* Where a block's share of the pages begins. Made once per step and window by list_decode_shares; all layers with that
 * window read it. */
struct DecodeShare {
	AttnSeq seq;    /* the sequence in which the share begins, n_new == 1 */
	int32_t index;  /* of seq, in DecodeArgs.seqs */
	int32_t within; /* pages of seq before the share, over all kv heads */
	int32_t units;  /* pages of all shares together; the same in each */
	int32_t reserved;
};

/* Weights to bring to the L2 cache, for a product that follows: `rows` pieces of `width` bytes, a multiple of 16, that
 * begin `pitch` bytes apart. Attention of few sequences leaves memory idle. Devices before sm_90 read none ahead. */
struct Ahead {
	const char *data = nullptr;
	int rows = 0, width = 0;
	int64_t pitch = 0;
};

/* Elements of a row of DecodeArgs::partial: whole vectors of four. */
__host__ __device__ constexpr int partial_row(int head_dim) {
	return head_dim + 4;
}

struct DecodeArgs {
	KvPool kv;
	const AttnSeq *seqs;       /* [n_seqs] */
	const DecodeShare *shares; /* [n_blocks], as list_decode_shares made them */
	int32_t n_blocks;
	const bf16 *q;    /* [n_tokens][q_stride], head h at h * head_dim */
	bf16 *out;        /* [n_tokens][n_heads * head_dim] */
	float *partial;   /* [2 * n_blocks][group][partial_row(head_dim)]: unnormalised output, then maximum and sum */
	int32_t *arrived; /* [n_seqs][kv_heads]: zero before and after */
	int32_t stages;   /* as decode_plan says */
	int32_t layer;
	int32_t group;    /* query heads per kv head, 1 .. 16 */
	int32_t q_stride; /* elements */
	int32_t window;   /* 0 = full attention */
	float scale;      /* of the scores, times log2(e) */
	Ahead ahead;
};

/* How the kernel uses a device. */
struct DecodePlan {
	int stages; /* pages that a block has in shared memory at once; 0 if one block finds no room, or for a head_dim that
	               is none of decode_attention's */
	int blocks; /* of a multiprocessor, that run at once */
};

/* As many blocks as should run on a multiprocessor, or as there is shared memory for; of the numbers of stages that the
 * kernel is made for, the largest for which there is room. */
DecodePlan decode_plan(int head_dim, bool fp8, const SharedLimits &limits);

/* How many shares list_decode_shares should cut: one per block. */
int decode_blocks(const DecodePlan &plan, int multiprocessors, int kv_heads, int head_dim);

/* Attention of n_seqs sequences, launched on `stream`. seqs, shares, the page table and all pages except those that
 * hold a sequence's newest token must be in place before the preceding kernel begins: they are read while it runs.
 * Returns the launch's error. head_dim 32, 64 or 128; sm_80 and later. */
cudaError_t decode_attention(const DecodeArgs &args, int n_seqs, cudaStream_t stream);

/* The first page that a query at position context - 1 can see: index into the sequence's page table. */
__host__ __device__ inline int32_t first_page(int32_t context, int32_t window) {
	return window > 0 && context > window ? (context - window) / PAGE : 0;
}

/* Pages that such a query reads. */
__host__ __device__ inline int32_t pages_read(int32_t context, int32_t window) {
	return (context + PAGE - 1) / PAGE - first_page(context, window);
}

/* Cuts the pages that n_seqs sequences read, for each of kv_heads, into n_blocks equal shares. If there are fewer pages
 * than blocks, the last shares are empty. Sequences of context 0 have no pages. On the host. */
void list_decode_shares(const AttnSeq *seqs, int32_t n_seqs, int32_t kv_heads, int32_t window, int32_t n_blocks,
                        DecodeShare *shares);

} // namespace fg

#endif
