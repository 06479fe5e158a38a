/* See quantise.cuh. */
#include "quantise.cuh"
#include "launch.cuh"

namespace fg {

namespace {

constexpr int THREADS = 512;
constexpr int MOST_VECTORS = QUANTISE_MOST / (THREADS * VECTOR);

/* What a kernel reads: rows [width], or the gate and up [2 * width]; sums that are to be scaled, if SUMS. */
enum class From { ROW, GATE_UP, GATE_UP_SUMS };

__device__ __forceinline__ void scale(Floats &f, float of_token, const float *of_rows) {
	const Floats s = load_float(of_rows);
#pragma unroll
	for (int i = 0; i < VECTOR; i++) f.v[i] *= of_token * s.v[i];
}

/* One block per row, which stays in registers between the maximum and the scaling. */
template <int VECTORS, From FROM>
__global__ void __launch_bounds__(THREADS) quantise_kernel(const bf16 *from, const float *x_scale, const float *w_scale,
                                                           const __grid_constant__ LinearInput to, int width) {
	constexpr bool GATED = FROM != From::ROW, SUMS = FROM == From::GATE_UP_SUMS;
	await_previous();
	const bf16 *row = from + (int64_t)blockIdx.x * width * (GATED ? 2 : 1);
	uint4 raw[VECTORS], up[VECTORS];
	Floats v[VECTORS];
#pragma unroll
	for (int k = 0; k < VECTORS; k++) {
		const int i = (threadIdx.x + k * THREADS) * VECTOR;
		raw[k] = up[k] = make_uint4(0, 0, 0, 0);
		if (i >= width) continue;
		/* The scales of rows of w should stay in L1: every block reads them. */
		const uint4 *gate = (const uint4 *)(row + i), *of_up = (const uint4 *)(row + width + i);
		raw[k] = SUMS ? __ldcs(gate) : *gate;
		if (GATED) up[k] = SUMS ? __ldcs(of_up) : *of_up;
	}
	const float of_token = SUMS ? x_scale[blockIdx.x] : 1;
#pragma unroll
	for (int k = 0; k < VECTORS; k++) {
		v[k] = floats(raw[k]);
		if constexpr (GATED) {
			const int i = (threadIdx.x + k * THREADS) * VECTOR;
			Floats u = floats(up[k]);
			if (SUMS && i < width) scale(v[k], of_token, w_scale + i), scale(u, of_token, w_scale + width + i);
#pragma unroll
			for (int j = 0; j < VECTOR; j++) v[k].v[j] = __bfloat162float(__float2bfloat16(silu(v[k].v[j]) * u.v[j]));
		}
	}
	store_quantised<THREADS, VECTORS>(v, blockIdx.x, width, to);
}

template <From FROM, int VECTORS = 1>
cudaError_t run(const bf16 *from, const Operands &sums, const LinearInput &to, int32_t n, int32_t width,
                cudaStream_t stream) {
	if constexpr (VECTORS > MOST_VECTORS) return cudaErrorInvalidValue;
	else if (width > VECTORS * THREADS * VECTOR) return run<FROM, 2 * VECTORS>(from, sums, to, n, width, stream);
	else
		return launch(quantise_kernel<VECTORS, FROM>, (unsigned)n, THREADS, 0, stream, from, sums.x_scale, sums.w_scale,
		              to, width);
}

} // namespace

cudaError_t quantise(const bf16 *from, const LinearInput &to, int32_t n, int32_t width, cudaStream_t stream) {
	return run<From::ROW>(from, {}, to, n, width, stream);
}

cudaError_t quantise_silu_mul(const bf16 *gate_up, const Operands *sums, const LinearInput &to, int32_t n,
                              int32_t width, cudaStream_t stream) {
	return sums ? run<From::GATE_UP_SUMS>(gate_up, *sums, to, n, width, stream)
	            : run<From::GATE_UP>(gate_up, {}, to, n, width, stream);
}

} // namespace fg
