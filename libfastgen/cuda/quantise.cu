/* See quantise.cuh. */
#include "quantise.cuh"
#include "launch.cuh"

namespace fg {

namespace {

constexpr int THREADS = 512;
constexpr int MOST_VECTORS = QUANTISE_MOST / (THREADS * VECTOR);

/* One block per row, which stays in registers between the maximum and the scaling. */
template <int VECTORS, bool GATED>
__global__ void __launch_bounds__(THREADS)
	quantise_kernel(const bf16 *from, const __grid_constant__ LinearInput to, int width) {
	await_previous();
	const bf16 *row = from + (int64_t)blockIdx.x * width * (GATED ? 2 : 1);
	uint4 raw[VECTORS], up[VECTORS];
	Floats v[VECTORS];
#pragma unroll
	for (int k = 0; k < VECTORS; k++) {
		const int i = (threadIdx.x + k * THREADS) * VECTOR;
		raw[k] = up[k] = make_uint4(0, 0, 0, 0);
		if (i < width) raw[k] = *(const uint4 *)(row + i);
		if (GATED && i < width) up[k] = *(const uint4 *)(row + width + i);
	}
#pragma unroll
	for (int k = 0; k < VECTORS; k++) {
		v[k] = floats(raw[k]);
		if constexpr (GATED) {
			const Floats u = floats(up[k]);
#pragma unroll
			for (int j = 0; j < VECTOR; j++) v[k].v[j] = __bfloat162float(__float2bfloat16(silu(v[k].v[j]) * u.v[j]));
		}
	}
	store_quantised<THREADS, VECTORS>(v, blockIdx.x, width, to);
}

template <bool GATED, int VECTORS = 1>
cudaError_t run(const bf16 *from, const LinearInput &to, int32_t n, int32_t width, cudaStream_t stream) {
	if constexpr (VECTORS > MOST_VECTORS) return cudaErrorInvalidValue;
	else if (width > VECTORS * THREADS * VECTOR) return run<GATED, 2 * VECTORS>(from, to, n, width, stream);
	else return launch(quantise_kernel<VECTORS, GATED>, (unsigned)n, THREADS, 0, stream, from, to, width);
}

} // namespace

cudaError_t quantise(const bf16 *from, const LinearInput &to, int32_t n, int32_t width, cudaStream_t stream) {
	return run<false>(from, to, n, width, stream);
}

cudaError_t quantise_silu_mul(const bf16 *gate_up, const LinearInput &to, int32_t n, int32_t width,
                              cudaStream_t stream) {
	return run<true>(gate_up, to, n, width, stream);
}

} // namespace fg
