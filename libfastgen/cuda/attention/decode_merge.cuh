/*
 * decode_merge.cuh - what a block does with its result of a pair: if it has read all pages of the pair, that is the
 * output; else the result is a part, and the block that finishes last adds up the parts.
 */
#ifndef FG_ATTENTION_DECODE_MERGE_CUH
#define FG_ATTENTION_DECODE_MERGE_CUH

#include "decode_softmax.cuh"

#include <cuda/atomic>

namespace fg {

/* The most blocks that one pair may be spread over: as many as Weights has room for. */
__host__ __device__ constexpr int most_blocks(int head_dim) {
	return head_dim == 32 ? 64 : 96;
}

/* Which part of a pair this block has read. A block leaves at most two parts: one of a pair that another block began,
 * and one of a pair that other blocks continue. */
struct PairPart {
	int pair_first, pair_last; /* the pair's pages, counted as in Share */
	bool begins, ends;         /* whether the block has read the first of them, and the last */

	/* The block has read the pages [first, last] of the pair; `at` is at the last one. */
	__device__ __forceinline__ PairPart(const DecodeArgs &a, const Cursor &at, int first, int last) {
		int seq_first = first_page(at.seq.context, a.window);
		pair_first = last - (at.page - seq_first), pair_last = pair_first + (at.end - seq_first) - 1;
		begins = pair_first == first, ends = at.at_last_page();
	}

	__device__ __forceinline__ bool whole() const {
		return begins && ends;
	}
};

/* Where block b leaves a part: [group][partial_row(D)], see DecodeArgs::partial. begins: whether the part begins its
 * pair. */
template <int D> __device__ __forceinline__ float *partial_of(const DecodeArgs &a, int b, bool begins) {
	return a.partial + (int64_t)(2 * b + begins) * a.group * partial_row(D);
}

__device__ __forceinline__ void store_four(bf16 *to, const float4 &v, float factor) {
	*(uint2 *)to = make_uint2(pack_bf16(v.x * factor, v.y * factor), pack_bf16(v.z * factor, v.w * factor));
}

/* Writes the block's result: to the output [group][D] of a whole pair, else as a part. All threads take part. */
template <int D, int HALVES>
__device__ __forceinline__ void write(const DecodeArgs &a, const WarpMerge<D, HALVES> &merge, const PairPart &part,
                                      bf16 *out) {
	float *partial = partial_of<D>(a, blockIdx.x, part.begins);
	for (int i = threadIdx.x; i < a.group * (D / 4); i += THREADS) {
		const int row = i / (D / 4), column = i % (D / 4) * 4;
		const RowPart total = merge.total(row, column);
		if (part.whole()) {
			store_four(out + row * D + column, total.o, 1 / total.sum);
		} else {
			float *to = partial + row * partial_row(D);
			*(float4 *)(to + column) = total.o;
			if (column == 0) *(float2 *)(to + D) = make_float2(total.max, total.sum);
		}
	}
}

/* Counts this block as done with its part of a pair. Returns true to the last of `n` blocks, which sees all their
 * parts. All threads take part. */
__device__ __forceinline__ bool arrive(int32_t *arrived, int n) {
	__shared__ int last;
	cuda::atomic_ref<int32_t, cuda::thread_scope_device> count(*arrived);
	/* With the barriers, the first thread releases and acquires for all threads. */
	__syncthreads();
	if (threadIdx.x == 0) last = count.fetch_add(1, cuda::memory_order_acq_rel) == n - 1;
	__syncthreads();
	return last;
}

/* What each part counts for in a pair's output. Takes the place of the WarpMerge, whose content has been written. */
template <int D> struct Weights {
	float part[most_blocks(D)][ROWS]; /* exp2(the part's maximum - the pair's) / the pair's sum */
};
static_assert(sizeof(Weights<32>) <= sizeof(WarpMerge<32, 1>) && sizeof(Weights<64>) <= sizeof(WarpMerge<64, 1>) &&
              sizeof(Weights<128>) <= sizeof(WarpMerge<128, 1>));

/* Adds up the parts of a pair that blocks [b0, b0 + n) have left, and writes its output [group][D]. All threads take
 * part. Small batches wait for this merge, so it reads memory in few rounds of independent loads. */
template <int D> struct BlockMerge {
	static constexpr int AT_ONCE = 8; /* parts, of which a thread reads four columns */
	const DecodeArgs &a;
	Weights<D> &weights;
	int b0, n;

	__device__ __forceinline__ void run(bf16 *out) const {
		const int all = a.group * (D / 4);
		int i = threadIdx.x;
		float4 x[AT_ONCE];
		load(x, i, 0); /* on their way while the weights are made */
		for (int row = threadIdx.x / WARP; row < a.group; row += WARPS) weigh(row);
		__syncthreads();
		for (; i < all; i += THREADS) {
			const int row = i / (D / 4), column = i % (D / 4) * 4;
			float4 o = make_float4(0, 0, 0, 0);
			for (int from = 0; from < n; from += AT_ONCE) {
				if (from > 0) load(x, i, from);
				add(o, x, row, from);
			}
			store_four(out + row * D + column, o, 1);
			load(x, i + THREADS, 0);
		}
	}

  private:
	/* A row of a part. The first part begins the pair. */
	__device__ __forceinline__ const float *part(int i, int row) const {
		return partial_of<D>(a, b0 + i, i == 0) + row * partial_row(D);
	}

	/* Sets the weights of a row. One warp. */
	__device__ __forceinline__ void weigh(int row) const {
		constexpr int EACH = most_blocks(D) / WARP; /* parts per lane */
		int lane = threadIdx.x % WARP;
		float2 of[EACH]; /* maximum and sum */
		float max = NONE, sum = 0;
#pragma unroll
		for (int k = 0; k < EACH; k++) {
			int i = lane + k * WARP;
			of[k] = i < n ? __ldcg((const float2 *)(part(i, row) + D)) : make_float2(NONE, 0);
		}
#pragma unroll
		for (int k = 0; k < EACH; k++) max = fmaxf(max, of[k].x);
#pragma unroll
		for (int i = WARP / 2; i > 0; i /= 2) max = fmaxf(max, __shfl_xor_sync(~0u, max, i));
#pragma unroll
		for (int k = 0; k < EACH; k++) of[k].x = exp2_fast(of[k].x - max), sum += of[k].y * of[k].x;
#pragma unroll
		for (int i = WARP / 2; i > 0; i /= 2) sum += __shfl_xor_sync(~0u, sum, i);
		const float inverse = 1 / sum;
#pragma unroll
		for (int k = 0; k < EACH; k++) weights.part[lane + k * WARP][row] = of[k].x * inverse;
	}

	/* Starts loading the four columns of item i of the parts from `from` on, of those that there are. */
	__device__ __forceinline__ void load(float4 (&x)[AT_ONCE], int i, int from) const {
		if (i >= a.group * (D / 4)) return;
		const int64_t step = (int64_t)2 * a.group * partial_row(D);
		const int within = i / (D / 4) * partial_row(D) + i % (D / 4) * 4;
		const float *first = part(0, 0) + within, *at = partial_of<D>(a, b0 + from, false) + within;
#pragma unroll
		for (int k = 0; k < AT_ONCE; k++) {
			if (from + k < n) x[k] = __ldcg((const float4 *)(from + k == 0 ? first : at));
			at += step;
		}
	}

	/* Adds the weighted columns of the parts from `from` on. */
	__device__ __forceinline__ void add(float4 &o, const float4 (&x)[AT_ONCE], int row, int from) const {
#pragma unroll
		for (int k = 0; k < AT_ONCE; k++) {
			if (from + k >= n) break;
			const float weight = weights.part[from + k][row];
			o.x = fmaf(x[k].x, weight, o.x), o.y = fmaf(x[k].y, weight, o.y);
			o.z = fmaf(x[k].z, weight, o.z), o.w = fmaf(x[k].w, weight, o.w);
		}
	}
};

/* Stores the block's result of a pair, which `merge` holds at place 0; the last block of a pair that is spread over
 * several also merges their parts. All threads take part. */
template <int D, int HALVES>
__device__ __forceinline__ void store(const DecodeArgs &a, const Share &share, const Cursor &at, const PairPart &part,
                                      WarpMerge<D, HALVES> &merge) {
	int64_t pair = (int64_t)at.seq.first_token * a.kv.kv_heads + at.head;
	bf16 *out = a.out + pair * a.group * D;
	write(a, merge, part, out);
	if (part.whole()) return;
	int b0 = share.block_of(part.pair_first), n = share.block_of(part.pair_last) - b0 + 1;
	int32_t *arrived = a.arrived + at.index * a.kv.kv_heads + at.head;
	if (!arrive(arrived, n)) return;
	BlockMerge<D>{a, *(Weights<D> *)&merge, b0, n}.run(out);
	if (threadIdx.x == 0)
		cuda::atomic_ref<int32_t, cuda::thread_scope_device>(*arrived).store(0, cuda::memory_order_relaxed);
}

} // namespace fg

#endif
