/*
 * widen.cuh - what stands in for what a device, or its cuBLASLt, cannot do with FP8: weights widened to bf16 on the way
 * into a product, and sums that are scaled after it.
 */
#ifndef FG_WIDEN_CUH
#define FG_WIDEN_CUH

#include "product.cuh"

namespace fg {

/* Four values of e4m3, the first in the lowest byte, as two pairs of bf16, exactly. No instruction of sm_80 converts
 * e4m3, but moved to their places in bf16, its bits are the value times 2^-120. */
__device__ __forceinline__ uint2 widen_four(uint32_t four) {
	uint2 pairs = make_uint2(__byte_perm(four, 0, 0x1404), __byte_perm(four, 0, 0x3424)); /* in upper halves */
	auto value = [](uint32_t pair) {
		const uint32_t small = (pair & 0x80008000) | (pair >> 4 & 0x07f007f0), factor = 0x7b807b80; /* 2^120 */
		const __nv_bfloat162 wide = __hmul2(*(const __nv_bfloat162 *)&small, *(const __nv_bfloat162 *)&factor);
		return *(const uint32_t *)&wide;
	};
	return make_uint2(value(pairs.x), value(pairs.y));
}

/* A pair of bf16 times a scale, rounded. */
__device__ __forceinline__ void scale_pair(uint32_t &pair, float scale) {
	pair = pack_bf16(__uint_as_float(pair << 16) * scale, __uint_as_float(pair & 0xffff0000) * scale);
}

/* to [rows][cols] = w [rows][cols] in bf16, scaled as scaling_of_w says. Launched on `stream`; returns the launch's
 * error. cols: a multiple of 16. */
cudaError_t widen(const Operands &in, Scaling scaling, int32_t rows, int32_t cols, bf16 *to, cudaStream_t stream);

/* y [n][rows] *= the scales of its rows of x and of w, as with ROWS. rows: a multiple of 8. */
cudaError_t scale_rows(const Operands &in, int32_t n, int32_t rows, bf16 *y, cudaStream_t stream);

} // namespace fg

#endif
