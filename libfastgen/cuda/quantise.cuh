/*
 * quantise.cuh - inputs of products in e4m3: what an op that makes them must know, and how it quantises a row, as
 * ../numeric.h says.
 */
#ifndef FG_QUANTISE_CUH
#define FG_QUANTISE_CUH

#include "../numeric.h"
#include "products/product.cuh"
#include "vectors.cuh"

namespace fg {

constexpr float FP8_MOST = FG_E4M3_MAX;

/* Where an op puts an input of a product [n][width], and how the matrix that reads it wants it scaled. */
struct LinearInput {
	void *data;                       /* bf16 if plain, else e4m3 */
	float *scale = nullptr;           /* as Operands::x_scale */
	Scaling scaling = Scaling::PLAIN; /* as the next three: of the matrix's fg_scheme */
	float fixed = 0, bound = 0;       /* input_scale, input_bound */
	int stride = 0;                   /* BLOCKS: elements between the scales of two blocks of a row */
};

/* The scale of values whose greatest magnitude is amax. */
__device__ __forceinline__ float input_scale(float amax, const LinearInput &to) {
	if (to.fixed > 0) return to.fixed;
	if (to.bound > 0) amax = fminf(amax, to.bound);
	return amax > 1e-30f ? amax / FP8_MOST : 1;
}

/* Eight values times the inverse of their scale, in e4m3. */
__device__ __forceinline__ uint2 pack_fp8(const Floats &f, float inverse) {
	uint32_t pairs[VECTOR / 2];
#pragma unroll
	for (int i = 0; i < VECTOR / 2; i++) {
		const float2 pair = make_float2(f.v[2 * i] * inverse, f.v[2 * i + 1] * inverse);
		pairs[i] = __nv_cvt_float2_to_fp8x2(pair, __NV_SATFINITE, __NV_E4M3);
	}
	return make_uint2(pairs[0] | pairs[1] << 16, pairs[2] | pairs[3] << 16);
}

__device__ __forceinline__ float amax(const Floats &f, float most) {
#pragma unroll
	for (int i = 0; i < VECTOR; i++) most = fmaxf(most, fabsf(f.v[i]));
	return most;
}

/* Returns the greatest x of the block's to every thread. */
template <int THREADS> __device__ __forceinline__ float block_max(float x) {
	__shared__ float of_warp[THREADS / WARP];
#pragma unroll
	for (int i = WARP / 2; i > 0; i /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, i));
	if (threadIdx.x % WARP == 0) of_warp[threadIdx.x / WARP] = x;
	__syncthreads();
	x = of_warp[0];
#pragma unroll
	for (int i = 1; i < THREADS / WARP; i++) x = fmaxf(x, of_warp[i]);
	return x;
}

/* Stores row `row` as e4m3, with its scales. v: of each thread of a block, the eight values from column (threadIdx.x +
 * k * THREADS) * VECTOR on; zeros past the row's end. All threads take part. */
template <int THREADS, int VECTORS>
__device__ __forceinline__ void store_quantised(const Floats (&v)[VECTORS], int row, int width, const LinearInput &to) {
	fp8 *data = (fp8 *)to.data + (int64_t)row * width;
	float scale = 0, inverse = 0;
	if (to.scaling == Scaling::ROWS) {
		float most = 0;
#pragma unroll
		for (int k = 0; k < VECTORS; k++) most = amax(v[k], most);
		scale = input_scale(to.fixed > 0 ? 0 : block_max<THREADS>(most), to), inverse = 1 / scale;
		if (threadIdx.x == 0) to.scale[row] = scale;
	}
#pragma unroll
	for (int k = 0; k < VECTORS; k++) {
		const int i = (threadIdx.x + k * THREADS) * VECTOR;
		if (to.scaling == Scaling::BLOCKS) {
			constexpr int LANES = SCALE_BLOCK / VECTOR; /* that hold a block's columns */
			float most = amax(v[k], 0);
#pragma unroll
			for (int lane = LANES / 2; lane > 0; lane /= 2) most = fmaxf(most, __shfl_xor_sync(~0u, most, lane));
			scale = input_scale(most, to), inverse = 1 / scale;
			if (i < width && i % SCALE_BLOCK == 0) to.scale[i / SCALE_BLOCK * to.stride + row] = scale;
		}
		if (i < width) *(uint2 *)(data + i) = pack_fp8(v[k], inverse);
	}
}

/* from [n][width] as the input of a product, which is not plain. Launched on `stream`; returns the launch's error.
 * width: a multiple of 8, at most QUANTISE_MOST. */
constexpr int QUANTISE_MOST = 65536;
cudaError_t quantise(const bf16 *from, const LinearInput &to, int32_t n, int32_t width, cudaStream_t stream);

/* The same of silu(gate) * up, rounded to bf16; gate and up are the halves of gate_up's rows [n][2 * width]. `sums`:
 * NULL, or what gate_up is a product of, whose scales by ROWS are yet to be applied to it. */
cudaError_t quantise_silu_mul(const bf16 *gate_up, const Operands *sums, const LinearInput &to, int32_t n,
                              int32_t width, cudaStream_t stream);

} // namespace fg

#endif
