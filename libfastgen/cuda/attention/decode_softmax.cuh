/*
 * decode_softmax.cuh - the arithmetic of decode attention within a block: each warp keeps an online softmax over 16
 * keys of every page (arXiv:1805.02867), and the block adds up its warps' results at the end of a pair.
 */
#ifndef FG_ATTENTION_DECODE_SOFTMAX_CUH
#define FG_ATTENTION_DECODE_SOFTMAX_CUH

#include "decode_pages.cuh"

namespace fg {

constexpr int ROWS = 16;       /* of an mma: the query heads of a group, and padding */
constexpr float NONE = -1e30f; /* the maximum of no scores: finite, so that NONE - NONE is 0 */

/* Loads a pair's queries as mma's operand a. Rows past the group are zeros. */
template <int D>
__device__ __forceinline__ void load_queries(uint32_t (&q)[D / 16][4], const DecodeArgs &a, const Cursor &at) {
	int lane = threadIdx.x % WARP;
	const bf16 *from = a.q + (int64_t)at.seq.first_token * a.q_stride + at.head * a.group * D;
#pragma unroll
	for (int d = 0; d < D / 16; d++)
#pragma unroll
		for (int i = 0; i < 4; i++) {
			int row = lane / 4 + (i & 1) * 8, column = d * 16 + (i >> 1) * 8 + lane % 4 * 2;
			q[d][i] = row < a.group ? *(const uint32_t *)(from + row * D + column) : 0;
		}
}

/* A warp's online softmax over its keys of a pair, for ROWS rows. Index r or i >> 1 picks one of a lane's two rows, as
 * page.cuh has them. */
template <int D> struct OnlineSoftmax {
	float o[D / 8][4];    /* output, not yet divided by the sum */
	float max[2], sum[2]; /* until merge_warps, sum is over a lane's own columns */

	__device__ __forceinline__ void clear() {
#pragma unroll
		for (int i = 0; i < D / 8; i++)
#pragma unroll
			for (int j = 0; j < 4; j++) o[i][j] = 0;
		max[0] = max[1] = NONE;
		sum[0] = sum[1] = 0;
	}

	/* Adds this warp's keys of a page. Only keys [low, high) of the page are visible. page: address of K; V follows. */
	__device__ __forceinline__ void attend(const uint32_t (&q)[D / 16][4], uint32_t page, int low, int high,
	                                       float scale) {
		const int key0 = threadIdx.x / WARP * 16;
		if (key0 >= high || key0 + 16 <= low) return;
		float s[2][4] = {};
#pragma unroll
		for (int d = 0; d < D / 16; d++) SharedPage<D>::add_scores(s[0], s[1], q[d], page, key0, d);
		float new_max[2];
		mask(s, key0, low, high, scale);
		find_max(new_max, s);
		rescale(new_max);
		weigh(s, new_max);
		SharedPage<D>::add_values(o, s[0], s[1], page + SharedPage<D>::BYTES, key0);
	}

  private:
	__device__ __forceinline__ static void mask(float (&s)[2][4], int key0, int low, int high, float scale) {
#pragma unroll
		for (int n = 0; n < 2; n++)
#pragma unroll
			for (int i = 0; i < 4; i++) {
				int key = key0 + n * 8 + threadIdx.x % 4 * 2 + (i & 1);
				s[n][i] = key >= low && key < high ? s[n][i] * scale : -INFINITY;
			}
	}

	/* Maxima over what has been added and these scores. */
	__device__ __forceinline__ void find_max(float (&new_max)[2], const float (&s)[2][4]) const {
#pragma unroll
		for (int r = 0; r < 2; r++) {
			new_max[r] = max[r];
#pragma unroll
			for (int n = 0; n < 2; n++) new_max[r] = fmaxf(new_max[r], fmaxf(s[n][2 * r], s[n][2 * r + 1]));
			new_max[r] = fmaxf(new_max[r], __shfl_xor_sync(~0u, new_max[r], 1));
			new_max[r] = fmaxf(new_max[r], __shfl_xor_sync(~0u, new_max[r], 2));
		}
	}

	/* Makes what has been added so far relative to the new maxima. After a few pages they rarely change. */
	__device__ __forceinline__ void rescale(const float (&new_max)[2]) {
		if (!__any_sync(~0u, new_max[0] > max[0] || new_max[1] > max[1])) return;
#pragma unroll
		for (int r = 0; r < 2; r++) {
			float correction = exp2_fast(max[r] - new_max[r]);
			sum[r] *= correction, max[r] = new_max[r];
#pragma unroll
			for (int i = 0; i < D / 8; i++) o[i][2 * r] *= correction, o[i][2 * r + 1] *= correction;
		}
	}

	/* Turns scores into weights. Takes the maxima as an argument, so that it does not depend on rescale's branch. */
	__device__ __forceinline__ void weigh(float (&s)[2][4], const float (&max)[2]) {
#pragma unroll
		for (int n = 0; n < 2; n++)
#pragma unroll
			for (int i = 0; i < 4; i++) {
				s[n][i] = exp2_fast(s[n][i] - max[i >> 1]);
				sum[i >> 1] += s[n][i];
			}
	}
};

/* Shared memory where warps leave their results of a pair for other warps to add. */
template <int D> struct WarpMerge {
	float o[WARPS / 2][ROWS][D];
	float max[WARPS / 2][ROWS], sum[WARPS / 2][ROWS];

	__device__ __forceinline__ void leave(const OnlineSoftmax<D> &softmax, int place) {
		int lane = threadIdx.x % WARP;
#pragma unroll
		for (int r = 0; r < 2; r++) {
			int row = lane / 4 + r * 8;
			if (lane % 4 == 0) max[place][row] = softmax.max[r], sum[place][row] = softmax.sum[r];
#pragma unroll
			for (int i = 0; i < D / 8; i++)
				*(float2 *)&o[place][row][i * 8 + lane % 4 * 2] =
					make_float2(softmax.o[i][r * 2], softmax.o[i][r * 2 + 1]);
		}
	}

	__device__ __forceinline__ void add_to(OnlineSoftmax<D> &softmax, int place) const {
		int lane = threadIdx.x % WARP;
#pragma unroll
		for (int r = 0; r < 2; r++) {
			int row = lane / 4 + r * 8;
			float other = max[place][row], both = fmaxf(softmax.max[r], other);
			float mine = exp2_fast(softmax.max[r] - both), theirs = exp2_fast(other - both);
			softmax.sum[r] = softmax.sum[r] * mine + sum[place][row] * theirs, softmax.max[r] = both;
#pragma unroll
			for (int i = 0; i < D / 8; i++) {
				float2 from = *(const float2 *)&o[place][row][i * 8 + lane % 4 * 2];
				softmax.o[i][r * 2] = softmax.o[i][r * 2] * mine + from.x * theirs;
				softmax.o[i][r * 2 + 1] = softmax.o[i][r * 2 + 1] * mine + from.y * theirs;
			}
		}
	}
};

/* Adds up the results of all warps in rounds: the upper half of the warps leave theirs, the lower half add them. The
 * total is at place 0, to be read after the caller's next barrier. All threads take part. */
template <int D> __device__ __forceinline__ void merge_warps(OnlineSoftmax<D> &softmax, WarpMerge<D> &merge) {
	int warp = threadIdx.x / WARP;
#pragma unroll
	for (int r = 0; r < 2; r++) {
		softmax.sum[r] += __shfl_xor_sync(~0u, softmax.sum[r], 1);
		softmax.sum[r] += __shfl_xor_sync(~0u, softmax.sum[r], 2);
	}
#pragma unroll
	for (int half = WARPS / 2; half > 0; half /= 2) {
		if (warp >= half && warp < 2 * half) merge.leave(softmax, warp - half);
		__syncthreads();
		if (warp < half) merge.add_to(softmax, warp);
		__syncthreads();
	}
	if (warp == 0) merge.leave(softmax, 0);
}

} // namespace fg

#endif
