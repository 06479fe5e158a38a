/*
 * widen.cuh - pages of e4m3 become bf16 in shared memory, for the kernels that read a page many times: those of
 * prompts. The tokens' scales are multiplied in, which costs one more rounding to bf16, as small as that of a bf16
 * cache beside e4m3's own.
 */
#ifndef FG_ATTENTION_WIDEN_CUH
#define FG_ATTENTION_WIDEN_CUH

#include "fp8_page.cuh"

namespace fg {

/* Four e4m3 numbers times `scale`, as four of bf16. */
__device__ __forceinline__ uint2 widen(uint32_t four, float scale) {
	const uint32_t a = halves(four), b = halves(four >> 16);
	const float2 low = __half22float2(*(const __half2 *)&a), high = __half22float2(*(const __half2 *)&b);
	return make_uint2(pack_bf16(low.x * scale, low.y * scale), pack_bf16(high.x * scale, high.y * scale));
}

__device__ __forceinline__ void store_shared(uint32_t address, uint4 v) {
	asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};\n" ::"r"(address), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
	             : "memory");
}

/* Sixteen of them, of which the second eight go to `next`. Addresses of shared memory. */
__device__ __forceinline__ void widen(uint32_t from, float scale, uint32_t to, uint32_t next) {
	const uint4 raw = load_shared(from, uint4());
	const uint2 a = widen(raw.x, scale), b = widen(raw.y, scale), c = widen(raw.z, scale), d = widen(raw.w, scale);
	store_shared(to, make_uint4(a.x, a.y, b.x, b.y));
	store_shared(next, make_uint4(c.x, c.y, d.x, d.y));
}

} // namespace fg

#endif
