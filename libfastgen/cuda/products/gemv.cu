/* See gemv.cuh. */
#include "gemv.cuh"
#include "../launch.cuh"
#include "../vectors.cuh"

namespace fg {

namespace {

constexpr int WARPS = 8;
constexpr int THREADS = WARPS * WARP;
constexpr int SLICE = WARP * VECTOR; /* columns of x and w that a warp reads at once */
constexpr int LOADS = 8;             /* of w, 16 bytes each, that a lane has in flight */

/* A warp computes WIDTH columns of y from ROWS rows of w: one row per column, or one of the gate and one of up (GATED =
 * 2, else 1). SPLITS warps compute the same columns, and take turns at the slices. */
template <int ROWS_, int SPLITS_, int GATED_> struct WarpShape {
	static constexpr int ROWS = ROWS_, SPLITS = SPLITS_, GATED = GATED_;
	static constexpr int WIDTH = ROWS / GATED;
	static constexpr int DEPTH = LOADS / ROWS; /* slices of each row in flight */
};

/* A warp's slices of w, which are loaded ahead of their use. */
template <class S> struct Weights {
	const bf16 *from[S::ROWS];
	const int cols, split;
	uint4 next[S::DEPTH][S::ROWS];

	/* row: the first row of w, or of the gate. Instead of rows past the end the last one is read; store drops them. */
	__device__ __forceinline__ Weights(const bf16 *w, int row, int rows, int cols)
		: cols(cols), split(threadIdx.x / WARP % S::SPLITS) {
		const int width = rows / S::GATED;
#pragma unroll
		for (int r = 0; r < S::ROWS; r++)
			from[r] = w + (int64_t)(min(row + r % S::WIDTH, width - 1) + r / S::WIDTH * width) * cols;
#pragma unroll
		for (int d = 0; d < S::DEPTH; d++) load(d, next[d]);
	}

	/* A lane's first column of the warp's slice i. */
	__device__ __forceinline__ int column(int i) const {
		return (i * S::SPLITS + split) * SLICE + threadIdx.x % WARP * VECTOR;
	}

	/* Takes slice i and starts loading another in its place. d: i % DEPTH, known to the compiler. */
	__device__ __forceinline__ void take(int i, int d, uint4 (&now)[S::ROWS]) {
#pragma unroll
		for (int r = 0; r < S::ROWS; r++) now[r] = next[d][r];
		load(i + S::DEPTH, next[d]);
	}

  private:
	__device__ __forceinline__ void load(int i, uint4 (&to)[S::ROWS]) const {
		int c = column(i);
#pragma unroll
		for (int r = 0; r < S::ROWS; r++) to[r] = c < cols ? load_once(from[r] + c) : make_uint4(0, 0, 0, 0);
	}
};

/* sum[n][r] += x[n] * w[r] over a lane's columns of a slice. x [N][cols], from the first of these columns on. */
template <int N, int ROWS>
__device__ __forceinline__ void multiply(float (&sum)[N][ROWS], const bf16 *x, int cols, const uint4 (&w)[ROWS]) {
	Floats a[N];
#pragma unroll
	for (int n = 0; n < N; n++) a[n] = load_bf16(x + (int64_t)n * cols);
#pragma unroll
	for (int r = 0; r < ROWS; r++) {
		const Floats b = floats(w[r]);
#pragma unroll
		for (int n = 0; n < N; n++)
#pragma unroll
			for (int i = 0; i < VECTOR; i++) sum[n][r] = fmaf(a[n].v[i], b.v[i], sum[n][r]);
	}
}

/* Adds up the sums of a warp's lanes. */
template <int N, int ROWS> __device__ __forceinline__ void add_lanes(float (&sum)[N][ROWS]) {
#pragma unroll
	for (int n = 0; n < N; n++)
#pragma unroll
		for (int r = 0; r < ROWS; r++)
#pragma unroll
			for (int i = WARP / 2; i > 0; i /= 2) sum[n][r] += __shfl_xor_sync(~0u, sum[n][r], i);
}

/* Adds up the sums of the warps that share columns of y. Returns true to the first of these warps, which gets the
 * total. All threads take part. */
template <int SPLITS, int N, int ROWS> __device__ __forceinline__ bool add_splits(float (&sum)[N][ROWS]) {
	__shared__ float sums[WARPS][N][ROWS];
	const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
	if (lane == 0)
#pragma unroll
		for (int n = 0; n < N; n++)
#pragma unroll
			for (int r = 0; r < ROWS; r++) sums[warp][n][r] = sum[n][r];
	__syncthreads();
	if (warp % SPLITS != 0) return false;
#pragma unroll
	for (int n = 0; n < N; n++)
#pragma unroll
		for (int r = 0; r < ROWS; r++) {
			sum[n][r] = 0;
#pragma unroll
			for (int s = 0; s < SPLITS; s++) sum[n][r] += sums[warp + s][n][r];
		}
	return true;
}

/* Stores columns [column, column + WIDTH) of y [N][width], as float32 or bf16. One lane. */
template <class S, int N>
__device__ __forceinline__ void store(const float (&sum)[N][S::ROWS], void *y, int column, int width, bool f32) {
#pragma unroll
	for (int n = 0; n < N; n++)
#pragma unroll
		for (int r = 0; r < S::WIDTH; r++) {
			if (column + r >= width) continue;
			int64_t at = (int64_t)n * width + column + r;
			float value = S::GATED == 2 ? silu(sum[n][r]) * sum[n][r + S::WIDTH * (S::GATED - 1)] : sum[n][r];
			if (f32) ((float *)y)[at] = value;
			else ((bf16 *)y)[at] = __float2bfloat16(value);
		}
}

/* x [N][cols], w [rows][cols], y [N][rows / GATED]. */
template <int N, int ROWS, int SPLITS, int GATED>
__global__ void __launch_bounds__(THREADS)
	gemv_kernel(const bf16 *x, const bf16 *w, void *y, int rows, int cols, bool f32) {
	using S = WarpShape<ROWS, SPLITS, GATED>;
	const int column = (blockIdx.x * (WARPS / SPLITS) + threadIdx.x / WARP / SPLITS) * S::WIDTH;
	Weights<S> weights(w, column, rows, cols);
	await_previous();

	float sum[N][ROWS] = {};
	const int slices = (cols + SLICE * SPLITS - 1) / (SLICE * SPLITS); /* of each warp */
	for (int i = 0; i < slices; i += S::DEPTH) {
#pragma unroll
		for (int d = 0; d < S::DEPTH; d++) {
			uint4 now[ROWS];
			weights.take(i + d, d, now);
			const int c = weights.column(i + d);
			if (c < cols) multiply<N, ROWS>(sum, x + c, cols, now);
		}
	}
	add_lanes<N, ROWS>(sum);
	if constexpr (SPLITS > 1)
		if (!add_splits<SPLITS, N, ROWS>(sum)) return;
	if (threadIdx.x % WARP == 0) store<S, N>(sum, y, column, rows / GATED, f32);
}

template <int N>
cudaError_t run(int shape, const bf16 *x, const bf16 *w, void *y, int rows, int cols, Output output,
                cudaStream_t stream) {
	auto go = [&](auto plain, auto gated) {
		bool is_gated = output == Output::SILU_MUL;
		int width = is_gated ? rows / 2 : rows, per_block = WARPS / GEMV_SHAPES[shape].split * GEMV_SHAPES[shape].rows;
		return launch(is_gated ? gated : plain, (width + per_block - 1) / per_block, THREADS, 0, stream, x, w, y, rows,
		              cols, output == Output::F32);
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
