/*
 * page.cuh - a page of K or V in shared memory, for the kernels on mma.sync: where its elements lie, and its products
 * with 16 rows of queries or of weights.
 *
 * Fragments are laid out as PTX defines them for mma.m16n8k16. Of 16 rows and 8 columns of a result, a lane holds rows
 * lane / 4 (elements 0 and 1) and lane / 4 + 8 (2 and 3), in columns lane % 4 * 2 and the next.
 */
#ifndef FG_ATTENTION_PAGE_CUH
#define FG_ATTENTION_PAGE_CUH

#include "../device.cuh"

namespace fg {

/* bf16 [PAGE][D], swizzled. */
template <int D> struct SharedPage {
	static constexpr int HEAD_DIM = D;
	static constexpr bool SCALED = false;
	static constexpr int SCALE_BYTES = 0;
	static constexpr int ROW_BYTES = D * (int)sizeof(bf16);
	static constexpr int BYTES = PAGE * ROW_BYTES;
	static constexpr int VECTORS = ROW_BYTES / 16; /* 16-byte vectors per row */

	/* Where a vector of a row lies, in bytes. The vectors of a row are permuted by the row's number, so that the eight
	 * rows that an ldmatrix reads fall into different banks. Two rows of 64 bytes span all banks: hence the shift. */
	static __device__ __forceinline__ uint32_t offset(int row, int vector) {
		constexpr int SHIFT = VECTORS >= 8 ? 0 : 1;
		constexpr int MASK = VECTORS >= 8 ? 7 : 3;
		static_assert(VECTORS >= 4);
		return row * ROW_BYTES + ((vector ^ ((row >> SHIFT) & MASK)) << 4);
	}

	/* Adds to the scores of 16 rows what the head's dimensions [16 d, 16 d + 16) contribute. q: these dimensions of the
	 * queries. k: address of the page. low: scores of its keys [first, first + 8); high: of the next eight. */
	static __device__ __forceinline__ void add_scores(float (&low)[4], float (&high)[4], const uint32_t (&q)[4],
	                                                  uint32_t k, int first, int d) {
		int lane = threadIdx.x % WARP;
		uint32_t b[4]; /* low keys in the 8 low dimensions and in the 8 high ones, then high keys */
		load_matrices(b, k + offset(first + (lane & 7) + (lane >> 4) * 8, d * 2 + ((lane >> 3) & 1)));
		mma(low, q, b[0], b[1]);
		mma(high, q, b[2], b[3]);
	}

	/* The same for all dimensions, of 16 keys: s[0] for the first eight, s[1] for the others. */
	static __device__ __forceinline__ void add_scores(float (&s)[2][4], const uint32_t (&q)[D / 16][4], uint32_t k,
	                                                  int first) {
#pragma unroll
		for (int d = 0; d < D / 16; d++) add_scores(s[0], s[1], q[d], k, first, d);
	}

	/* The element of a head that o[i][0] and o[i][2] hold; the next one is in o[i][1] and o[i][3]. */
	static __device__ __forceinline__ int column(int i) {
		return i * 8 + threadIdx.x % 4 * 2;
	}

	/* Adds the values of the keys [first, first + 16) to the output o of 16 rows. v: address of the page. low: weights
	 * of the first eight keys; high: of the next eight. */
	static __device__ __forceinline__ void add_values(float (&o)[D / 8][4], const float (&low)[4],
	                                                  const float (&high)[4], uint32_t v, int first) {
		int lane = threadIdx.x % WARP;
		uint32_t p[4] = {pack_bf16(low[0], low[1]), pack_bf16(low[2], low[3]), pack_bf16(high[0], high[1]),
		                 pack_bf16(high[2], high[3])};
#pragma unroll
		for (int d = 0; d < D / 16; d++) {
			uint32_t b[4]; /* the 8 low dimensions of low keys and of high keys, then the 8 high ones */
			load_matrices_transposed(b, v + offset(first + (lane & 15), d * 2 + (lane >> 4)));
			mma(o[2 * d], p, b[0], b[1]);
			mma(o[2 * d + 1], p, b[2], b[3]);
		}
	}
};

} // namespace fg

#endif
