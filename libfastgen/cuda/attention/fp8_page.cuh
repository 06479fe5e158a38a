/*
 * fp8_page.cuh - a page of K or V as e4m3 in shared memory, and its products with 16 rows of queries or of weights.
 *
 * The tensor cores get float16, to which e4m3 converts exactly and in one instruction per two elements (two shifts and
 * masks before compute capability 8.9). Queries and weights are brought into float16's range by powers of two. The
 * tokens' scales stay outside of the products: K's multiplies a score, V's a weight.
 *
 * What is summed over may come in any order, as long as both operands have the same. So a lane reads a key's elements
 * in pieces of 16 bytes, and load_queries reads the queries to match.
 */
#ifndef FG_ATTENTION_FP8_PAGE_CUH
#define FG_ATTENTION_FP8_PAGE_CUH

#include "page.cuh"

#include <cuda_fp16.h>
#include <type_traits>

namespace fg {

/* Two e4m3 numbers as float16: the low byte in the low half. */
__device__ __forceinline__ uint32_t halves(uint32_t pair) {
#if __CUDA_ARCH__ >= 890
	uint32_t r;
	asm("cvt.rn.f16x2.e4m3x2 %0, %1;\n" : "=r"(r) : "h"((uint16_t)pair));
	return r;
#else
	/* The same bits, one place lower, are the number times 2^-8. */
	uint32_t spread = __byte_perm(pair, 0, 0x1404), bits = (spread & 0x80008000u) | ((spread & 0x7f007f00u) >> 1), r;
	asm("mul.rn.f16x2 %0, %1, %2;\n" : "=r"(r) : "r"(bits), "r"(0x5c005c00u)); /* times 256 */
	return r;
#endif
}

/* Two floats, rounded to float16 and packed: `low` in the low half. */
__device__ __forceinline__ uint32_t pack_half(float low, float high) {
	uint32_t r;
	asm("cvt.rn.f16x2.f32 %0, %1, %2;\n" : "=r"(r) : "f"(high), "f"(low));
	return r;
}

/* c[16x8] += a[16x16] * b[16x8] in float16 with float32 accumulation. */
__device__ __forceinline__ void mma_half(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
	asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
	             "{%0,%1,%2,%3};\n"
	             : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
	             : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ __forceinline__ uint4 load_shared(uint32_t address, uint4) {
	uint4 v;
	asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];\n"
	             : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
	             : "r"(address));
	return v;
}

__device__ __forceinline__ uint2 load_shared(uint32_t address, uint2) {
	uint2 v;
	asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];\n" : "=r"(v.x), "=r"(v.y) : "r"(address));
	return v;
}

/* e4m3 [PAGE][D], swizzled. */
template <int D> struct Fp8Page {
	static constexpr int HEAD_DIM = D;
	static constexpr bool SCALED = true;
	static constexpr int ROW_BYTES = D;
	static constexpr int BYTES = PAGE * ROW_BYTES;
	static constexpr int VECTORS = ROW_BYTES / 16; /* 16-byte vectors per row */
	static constexpr int SCALE_BYTES = 2 * PAGE * (int)sizeof(float);

	/* Where a vector of a row lies, in bytes. The vectors of a row are permuted by the row's number, so that the eight
	 * rows that an ldmatrix reads fall into different banks, and so do the two rows that eight lanes read of K. */
	static __device__ __forceinline__ uint32_t offset(int row, int vector) {
		static_assert(VECTORS == 8 || VECTORS == 4 || VECTORS == 2);
		const int by = VECTORS == 8   ? (row & 1) << 2 | (row & 2) | (row >> 2 & 1)
		               : VECTORS == 4 ? row >> 1 & 3
		                              : row >> 2 & 1;
		return row * ROW_BYTES + ((vector ^ by) << 4);
	}

	/* What a lane of a quad reads of a key at once, and how many: its words are the steps of the product. */
	using Piece = std::conditional_t<D == 32, uint2, uint4>;
	static constexpr int WORDS = sizeof(Piece) / sizeof(uint32_t);

	/* The first of the four elements of a head that this lane multiplies in a step. */
	static __device__ __forceinline__ int element(int step) {
		const int in_quad = threadIdx.x % 4;
		return (step / WORDS * 4 + in_quad) * (int)sizeof(Piece) + step % WORDS * 4;
	}

	/* Adds to the scores of 16 rows, for the keys [first, first + 16) of the page at address k. s[0]: of the first
	 * eight keys; s[1]: of the others. */
	static __device__ __forceinline__ void add_scores(float (&s)[2][4], const uint32_t (&q)[D / 16][4], uint32_t k,
	                                                  int first) {
		const int row = first + threadIdx.x % WARP / 4;
		float odd[2][4] = {}; /* of every other step: a sum waits for the one before it */
#pragma unroll
		for (int step = 0; step < D / 16; step += WORDS)
#pragma unroll
			for (int n = 0; n < 2; n++) {
				const int at = element(step), vector = at / 16;
				const Piece piece = load_shared(k + offset(row + n * 8, vector) + at % 16, Piece());
				const uint32_t *words = (const uint32_t *)&piece;
#pragma unroll
				for (int i = 0; i < WORDS; i++)
					mma_half(i % 2 ? odd[n] : s[n], q[step + i], halves(words[i]), halves(words[i] >> 16));
			}
#pragma unroll
		for (int n = 0; n < 2; n++)
#pragma unroll
			for (int i = 0; i < 4; i++) s[n][i] += odd[n][i];
	}

	/* Adds the values of the keys [first, first + 16) of the page at address v to the output o of 16 rows. low: weights
	 * of the first eight keys; high: of the others. o has a lane's elements where column() says. */
	static __device__ __forceinline__ void add_values(float (&o)[D / 8][4], const float (&low)[4],
	                                                  const float (&high)[4], uint32_t v, int first) {
		const int lane = threadIdx.x % WARP;
		const uint32_t p[4] = {pack_half(low[0], low[1]), pack_half(low[2], low[3]), pack_half(high[0], high[1]),
		                       pack_half(high[2], high[3])};
#pragma unroll
		for (int d = 0; d < D / 32; d++) {
			uint32_t b[4]; /* two neighbours of two keys each: of low and of high keys, then of the next 16 elements */
			load_matrices_transposed(b, v + offset(first + (lane & 15), d * 2 + (lane >> 4)));
#pragma unroll
			for (int i = 0; i < 4; i++) b[i] = __byte_perm(b[i], 0, 0x3120); /* both keys of one, then of the other */
#pragma unroll
			for (int i = 0; i < 4; i += 2) {
				mma_half(o[4 * d + i], p, halves(b[i]), halves(b[i + 1]));
				mma_half(o[4 * d + i + 1], p, halves(b[i] >> 16), halves(b[i + 1] >> 16));
			}
		}
	}

	/* Of 16 elements, the tensor core's even columns are in o[2 i] and the odd ones in o[2 i + 1]. Puts neighbours
	 * beside each other. */
	static __device__ __forceinline__ void order(float (&o)[D / 8][4]) {
#pragma unroll
		for (int i = 0; i < D / 8; i += 2)
#pragma unroll
			for (int r = 0; r < 4; r += 2) {
				const float even = o[i][r + 1];
				o[i][r + 1] = o[i + 1][r], o[i + 1][r] = even;
			}
	}

	/* The element of a head that o[i][0] and o[i][2] hold; the next one is in o[i][1] and o[i][3]. After order(). */
	static __device__ __forceinline__ int column(int i) {
		return i / 2 * 16 + threadIdx.x % 4 * 4 + i % 2 * 2;
	}
};

/* Calls f with the page's type; returns `otherwise` if there is no such page. */
template <class T, class F> T with_page(int head_dim, bool fp8, T otherwise, F f) {
	switch (head_dim) {
	case 32: return fp8 ? f(Fp8Page<32>()) : f(SharedPage<32>());
	case 64: return fp8 ? f(Fp8Page<64>()) : f(SharedPage<64>());
	case 128: return fp8 ? f(Fp8Page<128>()) : f(SharedPage<128>());
	default: return otherwise;
	}
}

} // namespace fg

#endif
