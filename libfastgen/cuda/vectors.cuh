/*
 * vectors.cuh - eight elements as float32: what a thread of an elementwise kernel loads or stores at once, 16 bytes of
 * bf16.
 */
#ifndef FG_VECTORS_CUH
#define FG_VECTORS_CUH

#include "device.cuh"

namespace fg {

constexpr int VECTOR = 8; /* elements: 16 bytes of bf16 */

struct Floats {
	float v[VECTOR];
};

__device__ __forceinline__ Floats floats(uint4 raw) {
	const uint32_t *w = (const uint32_t *)&raw;
	Floats f;
#pragma unroll
	for (int i = 0; i < 4; i++) {
		f.v[2 * i] = __uint_as_float(w[i] << 16);
		f.v[2 * i + 1] = __uint_as_float(w[i] & 0xffff0000u);
	}
	return f;
}

__device__ __forceinline__ Floats load_bf16(const bf16 *p) {
	return floats(*(const uint4 *)p);
}

__device__ __forceinline__ void store_bf16(bf16 *p, const Floats &f) {
	uint4 raw;
	uint32_t *w = (uint32_t *)&raw;
#pragma unroll
	for (int i = 0; i < 4; i++) w[i] = pack_bf16(f.v[2 * i], f.v[2 * i + 1]);
	*(uint4 *)p = raw;
}

__device__ __forceinline__ Floats load_float(const float *p) {
	Floats f;
	*(float4 *)&f.v[0] = *(const float4 *)p;
	*(float4 *)&f.v[4] = *(const float4 *)(p + 4);
	return f;
}

/* Loads 16 bytes that are read once, such as weights, and need not displace others from L1. */
__device__ __forceinline__ uint4 load_once(const void *p) {
	uint4 v;
	asm volatile("ld.global.nc.L1::no_allocate.L2::256B.v4.u32 {%0, %1, %2, %3}, [%4];\n"
	             : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
	             : "l"(p));
	return v;
}

} // namespace fg

#endif
