/* See gemv.cuh. */
#include "gemv.cuh"
#include "../launch.cuh"
#include "../vectors.cuh"

namespace fg {

namespace {

constexpr int WARPS = 8;
constexpr int THREADS = WARPS * WARP;
constexpr int STRIDE = WARP * VECTOR; /* elements that a warp reads at once */
constexpr int LOADS = 8;              /* 16-byte loads of w that a lane has in flight */

/* Weights are read once: they need not displace x from L1. */
__device__ __forceinline__ uint4 load_weights(const bf16 *p) {
	uint4 v;
	asm volatile("ld.global.nc.L1::no_allocate.L2::256B.v4.u32 {%0, %1, %2, %3}, [%4];\n"
	             : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
	             : "l"(p));
	return v;
}

/* A warp makes columns [column, column + ROWS / HALVES) of y; with two halves, of the gate and as many of up. */
template <int N, int ROWS, int SPLIT, int HALVES>
__global__ void __launch_bounds__(THREADS)
	gemv_kernel(const bf16 *x, const bf16 *w, void *y, int rows, int cols, bool f32) {
	constexpr int DEPTH = LOADS / ROWS; /* columns of loads in flight */
	constexpr int WIDTH = ROWS / HALVES;
	int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
	int row = (blockIdx.x * (WARPS / SPLIT) + warp / SPLIT) * WIDTH, part = warp % SPLIT, width = rows / HALVES;
	const bf16 *from[ROWS];
#pragma unroll
	for (int r = 0; r < ROWS; r++) /* past the end: read and dropped */
		from[r] = w + (int64_t)(min(row + r % WIDTH, width - 1) + r / WIDTH * width) * cols;

	auto column = [&](int step) { return (step * SPLIT + part) * STRIDE + lane * VECTOR; };
	int steps = (cols + STRIDE * SPLIT - 1) / (STRIDE * SPLIT);
	uint4 next[DEPTH][ROWS];
	auto load = [&](int step, uint4(&to)[ROWS]) {
		int c = column(step);
#pragma unroll
		for (int r = 0; r < ROWS; r++) to[r] = c < cols ? load_weights(from[r] + c) : make_uint4(0, 0, 0, 0);
	};
#pragma unroll
	for (int d = 0; d < DEPTH; d++) load(d, next[d]);
	await_previous();

	float sum[N][ROWS] = {};
	for (int step = 0; step < steps; step += DEPTH) {
#pragma unroll
		for (int d = 0; d < DEPTH; d++) {
			uint4 now[ROWS];
#pragma unroll
			for (int r = 0; r < ROWS; r++) now[r] = next[d][r];
			load(step + d + DEPTH, next[d]);
			int c = column(step + d);
			if (c >= cols) continue;
			Floats a[N];
#pragma unroll
			for (int n = 0; n < N; n++) a[n] = load_bf16(x + (int64_t)n * cols + c);
#pragma unroll
			for (int r = 0; r < ROWS; r++) {
				const Floats b = floats(now[r]);
#pragma unroll
				for (int n = 0; n < N; n++)
#pragma unroll
					for (int i = 0; i < VECTOR; i++) sum[n][r] = fmaf(a[n].v[i], b.v[i], sum[n][r]);
			}
		}
	}
#pragma unroll
	for (int n = 0; n < N; n++)
#pragma unroll
		for (int r = 0; r < ROWS; r++)
#pragma unroll
			for (int i = WARP / 2; i > 0; i /= 2) sum[n][r] += __shfl_xor_sync(~0u, sum[n][r], i);

	if constexpr (SPLIT > 1) {
		__shared__ float parts[WARPS][N][ROWS];
		if (lane == 0)
#pragma unroll
			for (int n = 0; n < N; n++)
#pragma unroll
				for (int r = 0; r < ROWS; r++) parts[warp][n][r] = sum[n][r];
		__syncthreads();
		if (part != 0) return;
#pragma unroll
		for (int n = 0; n < N; n++)
#pragma unroll
			for (int r = 0; r < ROWS; r++) {
				sum[n][r] = 0;
#pragma unroll
				for (int s = 0; s < SPLIT; s++) sum[n][r] += parts[warp + s][n][r];
			}
	}
	if (lane != 0) return;
#pragma unroll
	for (int n = 0; n < N; n++)
#pragma unroll
		for (int r = 0; r < WIDTH; r++) {
			if (row + r >= width) continue;
			int64_t at = (int64_t)n * width + row + r;
			float value = HALVES == 2 ? silu(sum[n][r]) * sum[n][r + WIDTH * (HALVES - 1)] : sum[n][r];
			if (f32) ((float *)y)[at] = value;
			else ((bf16 *)y)[at] = __float2bfloat16(value);
		}
}

template <int N>
cudaError_t run(int shape, const bf16 *x, const bf16 *w, void *y, int rows, int cols, Output output,
                cudaStream_t stream) {
	auto go = [&](auto plain, auto gated) {
		bool halves = output == Output::SILU_MUL;
		int width = halves ? rows / 2 : rows, a_block = WARPS / GEMV_SHAPES[shape].split * GEMV_SHAPES[shape].rows;
		return launch(halves ? gated : plain, (width + a_block - 1) / a_block, THREADS, 0, stream, x, w, y, rows, cols,
		              output == Output::F32);
	};
	switch (shape) {
	case 0: return go(gemv_kernel<N, 1, 1, 1>, gemv_kernel<N, 2, 1, 2>);
	case 1: return go(gemv_kernel<N, 2, 1, 1>, gemv_kernel<N, 4, 1, 2>);
	case 2: return go(gemv_kernel<N, 4, 1, 1>, gemv_kernel<N, 8, 1, 2>);
	case 3: return go(gemv_kernel<N, 1, 4, 1>, gemv_kernel<N, 2, 4, 2>);
	case 4: return go(gemv_kernel<N, 2, 4, 1>, gemv_kernel<N, 4, 4, 2>);
	case 5: return go(gemv_kernel<N, 4, 4, 1>, gemv_kernel<N, 8, 4, 2>);
	default: return cudaErrorInvalidValue;
	}
}

} // namespace

cudaError_t gemv(int shape, const bf16 *x, const bf16 *w, void *y, int rows, int cols, int n, Output output,
                 cudaStream_t stream) {
	switch (n) {
	case 1: return run<1>(shape, x, w, y, rows, cols, output, stream);
	case 2: return run<2>(shape, x, w, y, rows, cols, output, stream);
	case 3: return run<3>(shape, x, w, y, rows, cols, output, stream);
	case 4: return run<4>(shape, x, w, y, rows, cols, output, stream);
	default: return cudaErrorInvalidValue;
	}
}

} // namespace fg
