/*
 * decode_softmax.cuh - the arithmetic of decode attention within a block: each warp keeps an online softmax over 16
 * keys of every page (arXiv:1805.02867), and the block adds up its warps' results at the end of a pair.
 */
#ifndef FG_ATTENTION_DECODE_SOFTMAX_CUH
#define FG_ATTENTION_DECODE_SOFTMAX_CUH

#include "decode_pages.cuh"

namespace fg {

constexpr int ROWS = 16;            /* of an mma: the query heads of a group, and padding */
constexpr int HALF_ROWS = ROWS / 2; /* a lane has one row of either half; small groups need the first half alone */
constexpr float NONE = -1e30f;      /* the maximum of no scores: finite, so that NONE - NONE is 0 */

/* A power of two that is at most x, or at least x. x: positive and far from float32's ends. */
__device__ __forceinline__ float power_below(float x) {
	return __uint_as_float(__float_as_uint(x) & 0x7f800000u);
}
__device__ __forceinline__ float power_above(float x) {
	return __uint_as_float((__float_as_uint(x) + 0x7fffffu) & 0x7f800000u);
}

/* A pair's queries as mma's operand a. Rows past the group are zeros. Index r picks one of a lane's two rows, as
 * page.cuh has them. */
template <class Page, int HALVES> struct Queries {
	static constexpr int D = Page::HEAD_DIM;
	uint32_t a[D / 16][4];
	float scale[2]; /* of the rows' scores, times log2(e) */

	/* Starts loading them. prepare comes before their use. */
	__device__ __forceinline__ void load(const DecodeArgs &args, const Cursor &at) {
		const int lane = threadIdx.x % WARP;
		const bf16 *from = args.q + (int64_t)at.seq.first_token * args.q_stride + at.head * args.group * D;
#pragma unroll
		for (int r = 0; r < 2; r++) {
			const int row = lane / 4 + r * HALF_ROWS;
			const bool used = r < HALVES && row < args.group;
			if constexpr (Page::SCALED) { /* what a lane reads for two steps lies in one piece */
#pragma unroll
				for (int d = 0; d < D / 16; d += 2) {
					uint4 v = make_uint4(0, 0, 0, 0);
					if (used) v = *(const uint4 *)(from + row * D + Page::element(d));
					a[d][r] = v.x, a[d][2 + r] = v.y, a[d + 1][r] = v.z, a[d + 1][2 + r] = v.w;
				}
			} else {
#pragma unroll
				for (int d = 0; d < D / 16; d++)
#pragma unroll
					for (int i = 0; i < 2; i++) {
						const int column = d * 16 + i * 8 + lane % 4 * 2;
						a[d][2 * i + r] = used ? *(const uint32_t *)(from + row * D + column) : 0;
					}
			}
		}
	}

	__device__ __forceinline__ void prepare(const DecodeArgs &args) {
		scale[0] = scale[1] = args.scale;
		if constexpr (Page::SCALED) to_half();
	}

  private:
	static __device__ __forceinline__ uint32_t max_bf16(uint32_t x, uint32_t y) {
		asm("max.bf16x2 %0, %0, %1;\n" : "+r"(x) : "r"(y));
		return x;
	}

	/* Makes float16 of bf16, each row times a power of two: no number is too large for float16, and what is too small
	 * for it is too small to matter beside the row's largest. */
	__device__ __forceinline__ void to_half() {
#pragma unroll
		for (int r = 0; r < HALVES; r++) {
			uint32_t both = 0; /* maxima of the even elements and of the odd ones */
#pragma unroll
			for (int d = 0; d < D / 16; d++)
#pragma unroll
				for (int i = r; i < 4; i += 2) both = max_bf16(both, a[d][i] & 0x7fff7fffu);
			float most = fmaxf(0x1p-100f, fmaxf(low(both), high(both)));
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
template <class Page, int HALVES> struct OnlineSoftmax {
	static constexpr int D = Page::HEAD_DIM, LIVE = 2 * HALVES; /* of four elements, those in rows with queries */
	using Scores = float[2][4];                                 /* of eight keys, and of the next eight */

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
	__device__ __forceinline__ void attend(const Queries<Page, HALVES> &q, uint32_t page, int low, int high) {
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
				for (int i = 0; i < LIVE; i++) s[n][i] *= of_values[n][i & 1] * unit;
		}
		Page::add_values(o, s[0], s[1], page + Page::BYTES, key0);
	}

	/* Completes the sums and the output. Call once, after the last page. */
	__device__ __forceinline__ void finish() {
		const float inverse = 1 / unit;
#pragma unroll
		for (int r = 0; r < HALVES; r++) {
			sum[r] += __shfl_xor_sync(~0u, sum[r], 1);
			sum[r] += __shfl_xor_sync(~0u, sum[r], 2);
			if constexpr (Page::SCALED) {
#pragma unroll
				for (int i = 0; i < D / 8; i++) o[i][r * 2] *= inverse, o[i][r * 2 + 1] *= inverse;
			}
		}
		if constexpr (Page::SCALED) Page::order(o);
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
			for (int i = 0; i < LIVE; i++) s[n][i] *= __uint_as_float(k_of[i & 1]);
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
				s[n][i] = i < LIVE && key >= low && key < high ? s[n][i] * scale[i >> 1] : -INFINITY;
			}
	}

	/* Maxima over what has been added and these scores. */
	__device__ __forceinline__ void find_max(float (&new_max)[2], const float (&s)[2][4]) const {
#pragma unroll
		for (int r = 0; r < 2; r++) {
			new_max[r] = max[r];
			if (r >= HALVES) continue;
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
		for (int r = 0; r < HALVES; r++) {
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
				s[n][i] = i < LIVE ? exp2_fast(s[n][i] - max[i >> 1]) : 0;
				sum[i >> 1] += s[n][i];
			}
	}
};

/* Four columns of a row of a result that is not yet divided by the sum. */
struct RowPart {
	float4 o;
	float max, sum;
};

/* Shared memory where warps leave their results of a pair: two places for all rows of a tile, or four for half of
 * them. */
template <int D, int HALVES> struct WarpMerge {
	static constexpr int PLACES = WARPS / HALVES, PLACE_ROWS = HALVES * HALF_ROWS;
	static constexpr int PITCH = D + 4; /* so that the rows that lanes store at once begin in different banks */
	float o[PLACES * PLACE_ROWS][PITCH];
	float max[PLACES * PLACE_ROWS], sum[PLACES * PLACE_ROWS];

	template <class Page> __device__ __forceinline__ void leave(const OnlineSoftmax<Page, HALVES> &softmax, int place) {
		const int lane = threadIdx.x % WARP;
#pragma unroll
		for (int r = 0; r < HALVES; r++) {
			const int at = place * PLACE_ROWS + lane / 4 + r * HALF_ROWS;
			if (lane % 4 == 0) max[at] = softmax.max[r], sum[at] = softmax.sum[r];
#pragma unroll
			for (int i = 0; i < D / 8; i++)
				*(float2 *)&o[at][Page::column(i)] = make_float2(softmax.o[i][r * 2], softmax.o[i][r * 2 + 1]);
		}
	}

	template <class Page>
	__device__ __forceinline__ void add_to(OnlineSoftmax<Page, HALVES> &softmax, int place) const {
		const int lane = threadIdx.x % WARP;
#pragma unroll
		for (int r = 0; r < HALVES; r++) {
			const int at = place * PLACE_ROWS + lane / 4 + r * HALF_ROWS;
			float other = max[at], both = fmaxf(softmax.max[r], other);
			float mine = exp2_fast(softmax.max[r] - both), theirs = exp2_fast(other - both);
			softmax.sum[r] = softmax.sum[r] * mine + sum[at] * theirs, softmax.max[r] = both;
#pragma unroll
			for (int i = 0; i < D / 8; i++) {
				float2 from = *(const float2 *)&o[at][Page::column(i)];
				softmax.o[i][r * 2] = softmax.o[i][r * 2] * mine + from.x * theirs;
				softmax.o[i][r * 2 + 1] = softmax.o[i][r * 2 + 1] * mine + from.y * theirs;
			}
		}
	}

	/* What all places hold of a row, from `column` on. */
	__device__ __forceinline__ RowPart total(int row, int column) const {
		RowPart t = {make_float4(0, 0, 0, 0), NONE, 0};
#pragma unroll
		for (int p = 0; p < PLACES; p++) t.max = fmaxf(t.max, max[p * PLACE_ROWS + row]);
#pragma unroll
		for (int p = 0; p < PLACES; p++) {
			const int at = p * PLACE_ROWS + row;
			const float weight = exp2_fast(max[at] - t.max);
			const float4 from = *(const float4 *)&o[at][column];
			t.sum += sum[at] * weight;
			t.o.x += from.x * weight, t.o.y += from.y * weight;
			t.o.z += from.z * weight, t.o.w += from.w * weight;
		}
		return t;
	}
};

/* Brings the results of all warps to their places, to be read after the caller's next barrier. All threads take part.
 */
template <class Page, int HALVES>
__device__ __forceinline__ void merge_warps(OnlineSoftmax<Page, HALVES> &softmax,
                                            WarpMerge<Page::HEAD_DIM, HALVES> &merge) {
	constexpr int PLACES = WarpMerge<Page::HEAD_DIM, HALVES>::PLACES;
	const int warp = threadIdx.x / WARP;
	softmax.finish();
	if constexpr (PLACES < WARPS) { /* a warp with a place adds what another has left there */
		static_assert(2 * PLACES == WARPS);
		if (warp >= PLACES) merge.leave(softmax, warp - PLACES);
		__syncthreads();
		if (warp >= PLACES) return;
		merge.add_to(softmax, warp);
		__syncwarp();
	}
	merge.leave(softmax, warp);
}

} // namespace fg

#endif
