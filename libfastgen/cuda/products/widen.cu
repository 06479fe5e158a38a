/* See widen.cuh. */
#include "widen.cuh"
#include "../launch.cuh"
#include "../vectors.cuh"

namespace fg {

namespace {

constexpr int THREADS = 256;
constexpr int BYTES = 16; /* of w, that a thread widens */

/* scale_stride: as gemm_w8a16's, between the scales of two blocks of rows; 0: each row has one. */
__global__ void __launch_bounds__(THREADS)
	widen_kernel(const fp8 *w, const float *scales, bf16 *to, int cols, int64_t n_pieces, int scale_stride) {
	await_previous();
	const int64_t piece = (int64_t)blockIdx.x * THREADS + threadIdx.x;
	if (piece >= n_pieces) return;
	const int per_row = cols / BYTES, row = (int)(piece / per_row), col = (int)(piece % per_row) * BYTES;
	const float scale = scales[scale_stride ? row / SCALE_BLOCK * scale_stride + col / SCALE_BLOCK : row];
	const uint4 raw = load_once(w + piece * BYTES);
	auto eight = [&](uint32_t low, uint32_t high) {
		const uint2 a = widen_four(low), b = widen_four(high);
		Floats v = floats(make_uint4(a.x, a.y, b.x, b.y));
#pragma unroll
		for (int i = 0; i < VECTOR; i++) v.v[i] *= scale;
		return v;
	};
	store_bf16(to + piece * BYTES, eight(raw.x, raw.y));
	store_bf16(to + piece * BYTES + VECTOR, eight(raw.z, raw.w));
}

__global__ void __launch_bounds__(THREADS)
	scale_rows_kernel(bf16 *y, const float *x_scale, const float *w_scale, int rows, int per_row) {
	await_previous();
	const int token = (int)blockIdx.x / per_row;
	const int row = ((int)blockIdx.x % per_row * THREADS + (int)threadIdx.x) * VECTOR;
	if (row >= rows) return;
	bf16 *at = y + (int64_t)token * rows + row;
	Floats v = load_bf16(at);
	const Floats of_row = load_float(w_scale + row);
	const float of_token = x_scale[token];
#pragma unroll
	for (int i = 0; i < VECTOR; i++) v.v[i] *= of_token * of_row.v[i];
	store_bf16(at, v);
}

} // namespace

cudaError_t widen(const Operands &in, Scaling scaling, int32_t rows, int32_t cols, bf16 *to, cudaStream_t stream) {
	const int64_t n_pieces = (int64_t)rows * cols / BYTES;
	const int stride = scaling_of_w(scaling) == Scaling::BLOCKS ? block_scale_stride(cols) : 0;
	return launch(widen_kernel, (unsigned)((n_pieces + THREADS - 1) / THREADS), THREADS, 0, stream, (const fp8 *)in.w,
	              in.w_scale, to, cols, n_pieces, stride);
}

cudaError_t scale_rows(const Operands &in, int32_t n, int32_t rows, bf16 *y, cudaStream_t stream) {
	const int per_row = (rows / VECTOR + THREADS - 1) / THREADS;
	return launch(scale_rows_kernel, (unsigned)(n * per_row), THREADS, 0, stream, y, in.x_scale, in.w_scale, rows,
	              per_row);
}

} // namespace fg
