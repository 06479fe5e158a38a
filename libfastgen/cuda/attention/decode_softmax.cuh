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

/* A power of two that is at most x, or at least x. x: positive and far from float32's ends. */
__device__ __forceinline__ float power_below(float x) {
	return __uint_as_float(__float_as_uint(x) & 0x7f800000u);
}
__device__ __forceinline__ float power_above(float x) {
	return __uint_as_float((__float_as_uint(x) + 0x7fffffu) & 0x7f800000u);
}

/* A pair's queries as mma's operand a. Rows past the group are zeros. Index r picks one of a lane's two rows, as
 * page.cuh has them. */
template <class Page> struct Queries {
	static constexpr int D = Page::HEAD_DIM;
	uint32_t a[D / 16][4];
	float scale[2]; /* of the rows' scores, times log2(e) */

	/* Starts loading them. prepare comes before their use. */
	__device__ __forceinline__ void load(const DecodeArgs &args, const Cursor &at) {
		const int lane = threadIdx.x % WARP;
		const bf16 *from = args.q + (int64_t)at.seq.first_token * args.q_stride + at.head * args.group * D;
#pragma unroll
		for (int d = 0; d < D / 16; d++)
#pragma unroll
			for (int i = 0; i < 4; i++) {
				int row = lane / 4 + (i & 1) * 8, column;
				if constexpr (Page::SCALED) column = Page::element(d) + (i >> 1) * 2;
				else column = d * 16 + (i >> 1) * 8 + lane % 4 * 2;
				a[d][i] = row < args.group ? *(const uint32_t *)(from + row * D + column) : 0;
			}
	}

	__device__ __forceinline__ void prepare(const DecodeArgs &args) {
		scale[0] = scale[1] = args.scale;
		if constexpr (Page::SCALED) to_half();
	}

  private:
	/* Makes float16 of bf16, each row times a power of two: no number is too large for float16, and what is too small
	 * for it is too small to matter beside the row's largest. */
	__device__ __forceinline__ void to_half() {
#pragma unroll
		for (int r = 0; r < 2; r++) {
			float most = 0x1p-100f;
#pragma unroll
			for (int d = 0; d < D / 16; d++)
#pragma unroll
				for (int i = r; i < 4; i += 2) most = fmaxf(most, fmaxf(fabsf(low(a[d][i])), fabsf(high(a[d][i]))));
			most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
			most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
			const float unit = power_below(most) * 0x1p-10f, inverse = 1 / unit;
			scale[r] *= unit;
#pragma unroll
			for (int d = 0; d < D / 16; d++)
#pragma unroll
				for (int i = r; i < 4; i += 2) a[d][i] = pack_half(low(a[d][i]) * inverse, high(a[d][i]) * inverse);
		}
	}
	static __device__ __forceinline__ float low(uint32_t pair) {
		return __uint_as_float(pair << 16);
	}
	static __device__ __forceinline__ float high(uint32_t pair) {
		return __uint_as_float(pair & 0xffff0000u);
	}
};

/* A warp's online softmax over its keys of a pair, for ROWS rows. Index r or i >> 1 picks one of a lane's two rows, as
 * page.cuh has them. */
template <class Page> struct OnlineSoftmax {
	static constexpr int D = Page::HEAD_DIM;
	using Scores = float[2][4]; /* of eight keys, and of the next eight */

	float o[D / 8][4];    /* output, not yet divided by the sum */
	float max[2], sum[2]; /* until finish, sum is over a lane's own columns */
	/* What o is multiplied by: a power of two, so that weights times V's scales, of which the largest becomes 2^15, are
	 * in float16's range. 1 where pages have no scales. */
	float unit;

	__device__ __forceinline__ void clear() {
#pragma unroll
		for (int i = 0; i < D / 8; i++)
#pragma unroll
			for (int j = 0; j < 4; j++) o[i][j] = 0;
		max[0] = max[1] = NONE;
		sum[0] = sum[1] = 0;
		unit = Page::SCALED ? 0x1p100f : 1;
	}

	/* Adds this warp's keys of a page. Only keys [low, high) of the page are visible. page: address of K; V and their
	 * scales follow. */
	__device__ __forceinline__ void attend(const Queries<Page> &q, uint32_t page, int low, int high) {
		const int key0 = threadIdx.x / WARP * 16;
		if (key0 >= high || key0 + 16 <= low) return;
		Scores s = {}, of_values;
		Page::add_scores(s, q.a, page, key0);
		float new_max[2], new_unit = unit;
		if constexpr (Page::SCALED) scale_by_token(s, of_values, new_unit, page + 2 * Page::BYTES, key0, low, high);
		mask(s, key0, low, high, q.scale);
		find_max(new_max, s);
		rescale(new_max, new_unit);
		weigh(s, new_max);
		if constexpr (Page::SCALED) {
#pragma unroll
			for (int n = 0; n < 2; n++)
#pragma unroll
				for (int i = 0; i < 4; i++) s[n][i] *= of_values[n][i & 1] * unit;
		}
		Page::add_values(o, s[0], s[1], page + Page::BYTES, key0);
	}

	/* Completes the sums and the output. Call once, after the last page. */
	__device__ __forceinline__ void finish() {
#pragma unroll
		for (int r = 0; r < 2; r++) {
			sum[r] += __shfl_xor_sync(~0u, sum[r], 1);
			sum[r] += __shfl_xor_sync(~0u, sum[r], 2);
		}
		if constexpr (Page::SCALED) {
			const float inverse = 1 / unit;
#pragma unroll
			for (int i = 0; i < D / 8; i++)
#pragma unroll
				for (int j = 0; j < 4; j++) o[i][j] *= inverse;
			Page::order(o);
		}
	}

  private:
	/* Multiplies the scores by their keys' scales. of_values: V's scales, 0 for keys that are not visible. new_unit:
	 * the unit that they need. scales: address of the page's. */
	__device__ __forceinline__ static void scale_by_token(Scores &s, Scores &of_values, float &new_unit,
	                                                      uint32_t scales, int key0, int low, int high) {
		float most = 0;
#pragma unroll
		for (int n = 0; n < 2; n++) {
			const int key = key0 + n * 8 + threadIdx.x % 4 * 2;
			const uint2 k = load_shared(scales + key * (int)sizeof(float), uint2());
			const uint2 v = load_shared(scales + (PAGE + key) * (int)sizeof(float), uint2());
			const uint32_t k_of[2] = {k.x, k.y}, v_of[2] = {v.x, v.y};
#pragma unroll
			for (int i = 0; i < 4; i++) s[n][i] *= __uint_as_float(k_of[i & 1]);
#pragma unroll
			for (int i = 0; i < 2; i++) {
				of_values[n][i] = key + i >= low && key + i < high ? __uint_as_float(v_of[i]) : 0;
				most = fmaxf(most, of_values[n][i]);
			}
		}
		most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
		most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
		new_unit = fminf(new_unit, 0x1p15f / power_above(most));
	}

	__device__ __forceinline__ static void mask(Scores &s, int key0, int low, int high, const float (&scale)[2]) {
#pragma unroll
		for (int n = 0; n < 2; n++)
#pragma unroll
			for (int i = 0; i < 4; i++) {
				int key = key0 + n * 8 + threadIdx.x % 4 * 2 + (i & 1);
				s[n][i] = key >= low && key < high ? s[n][i] * scale[i >> 1] : -INFINITY;
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

	/* Makes what has been added so far relative to the new maxima and unit. After a few pages they rarely change. */
	__device__ __forceinline__ void rescale(const float (&new_max)[2], float new_unit) {
		if (!__any_sync(~0u, new_max[0] > max[0] || new_max[1] > max[1] || new_unit < unit)) return;
#pragma unroll
		for (int r = 0; r < 2; r++) {
			float correction = exp2_fast(max[r] - new_max[r]);
			sum[r] *= correction, max[r] = new_max[r];
			if constexpr (Page::SCALED) correction *= new_unit / unit;
#pragma unroll
			for (int i = 0; i < D / 8; i++) o[i][2 * r] *= correction, o[i][2 * r + 1] *= correction;
		}
		unit = new_unit;
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

	template <class Page> __device__ __forceinline__ void leave(const OnlineSoftmax<Page> &softmax, int place) {
		int lane = threadIdx.x % WARP;
#pragma unroll
		for (int r = 0; r < 2; r++) {
			int row = lane / 4 + r * 8;
			if (lane % 4 == 0) max[place][row] = softmax.max[r], sum[place][row] = softmax.sum[r];
#pragma unroll
			for (int i = 0; i < D / 8; i++)
				*(float2 *)&o[place][row][Page::column(i)] = make_float2(softmax.o[i][r * 2], softmax.o[i][r * 2 + 1]);
		}
	}

	template <class Page> __device__ __forceinline__ void add_to(OnlineSoftmax<Page> &softmax, int place) const {
		int lane = threadIdx.x % WARP;
#pragma unroll
		for (int r = 0; r < 2; r++) {
			int row = lane / 4 + r * 8;
			float other = max[place][row], both = fmaxf(softmax.max[r], other);
			float mine = exp2_fast(softmax.max[r] - both), theirs = exp2_fast(other - both);
			softmax.sum[r] = softmax.sum[r] * mine + sum[place][row] * theirs, softmax.max[r] = both;
#pragma unroll
			for (int i = 0; i < D / 8; i++) {
				float2 from = *(const float2 *)&o[place][row][Page::column(i)];
				softmax.o[i][r * 2] = softmax.o[i][r * 2] * mine + from.x * theirs;
				softmax.o[i][r * 2 + 1] = softmax.o[i][r * 2 + 1] * mine + from.y * theirs;
			}
		}
	}
};

/* Adds up the results of all warps in rounds: the upper half of the warps leave theirs, the lower half add them. The
 * total is at place 0, to be read after the caller's next barrier. All threads take part. */
template <class Page>
__device__ __forceinline__ void merge_warps(OnlineSoftmax<Page> &softmax, WarpMerge<Page::HEAD_DIM> &merge) {
	int warp = threadIdx.x / WARP;
	softmax.finish();
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
