/*
 * fp8_write.cuh - writes a token's key or value to a page of e4m3.
 */
#ifndef FG_ATTENTION_FP8_WRITE_CUH
#define FG_ATTENTION_FP8_WRITE_CUH

#include "../device.cuh"

#include <cuda_fp8.h>

namespace fg {

/* Writes a head's D elements and their scale, amax / 448, as ../../numeric.h defines both. The warp's lanes hold N
 * elements each from `first` on (low) and from D / 2 + first on (high), those with first < D / 2. token: in the page.
 */
template <int D, int N>
__device__ __forceinline__ void write_fp8(const KvPool &kv, int page, int layer, int which, int head, int token,
                                          int first, const float (&low)[N], const float (&high)[N]) {
	const bool active = first < D / 2;
	float most = 0;
#pragma unroll
	for (int i = 0; i < N; i++)
		if (active) most = fmaxf(most, fmaxf(fabsf(low[i]), fabsf(high[i])));
#pragma unroll
	for (int i = WARP / 2; i > 0; i /= 2) most = fmaxf(most, __shfl_xor_sync(~0u, most, i));
	const float scale = most > 1e-30f ? most / 448.0f : 1.0f, inverse = 1 / scale;
	if (threadIdx.x % WARP == 0) kv.scales(page, layer, which, head)[token] = scale;
	if (!active) return;
	__nv_fp8_e4m3 *to = (__nv_fp8_e4m3 *)kv.data + (kv.row(page, layer, which, head) + token) * D + first;
#pragma unroll
	for (int i = 0; i < N; i++)
		to[i] = __nv_fp8_e4m3(low[i] * inverse), to[D / 2 + i] = __nv_fp8_e4m3(high[i] * inverse);
}

} // namespace fg

#endif
