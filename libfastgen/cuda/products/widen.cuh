/*
 * widen.cuh - what stands in for what a device, or its cuBLASLt, cannot do with FP8: weights widened to bf16 on the way
 * into a product, and sums that are scaled after it.
 */
#ifndef FG_WIDEN_CUH
#define FG_WIDEN_CUH

#include "product.cuh"

namespace fg {

/* Four values of e4m3, the first in the lowest byte, times their scale, rounded to bf16: two pairs. No instruction of
 * sm_80 converts e4m3, but moved to their places in a float32, its bits are the value times 2^-120, exactly. */
__device__ __forceinline__ uint2 widen_four(uint32_t four, float scale) {
	float v[4];
#pragma unroll
	for (int i = 0; i < 4; i++) {
		const uint32_t byte = four >> 8 * i;
		v[i] = __uint_as_float((byte & 0x80) << 24 | (byte & 0x7f) << 20) * 0x1p120f * scale;
	}
	return make_uint2(pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]));
}

/* to [rows][cols] = w [rows][cols] in bf16, scaled as scaling_of_w says. Launched on `stream`; returns the launch's
 * error. cols: a multiple of 16. */
cudaError_t widen(const Operands &in, Scaling scaling, int32_t rows, int32_t cols, bf16 *to, cudaStream_t stream);

/* y [n][rows] *= the scales of its rows of x and of w, as with ROWS. rows: a multiple of 8. */
cudaError_t scale_rows(const Operands &in, int32_t n, int32_t rows, bf16 *y, cudaStream_t stream);

} // namespace fg

#endif
