/* See gemv_fp8.cuh. */
#include "gemv_fp8.cuh"
#include "../launch.cuh"
#include "../vectors.cuh"

namespace fg {

namespace {

constexpr int WARPS = 8;
constexpr int THREADS = WARPS * WARP;
constexpr int SIDE = 8;            /* rows of w of which a lane reads one: mma's 16 are two sides */
constexpr int SLICE = SCALE_BLOCK; /* columns of x and w that a warp reads at once */
constexpr int LANE_BYTES = 16;     /* of a row, that a lane reads in one access; four lanes read a piece of it */
constexpr int PIECE = 4 * LANE_BYTES, PIECES = SLICE / PIECE;
constexpr int DEPTH = 3; /* slices in flight */

/* c[16x8] += a[16x32] * b[32x8] in e4m3 with float32 accumulation. */
__device__ __forceinline__ void mma_fp8(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0,
                                        uint32_t b1) {
#if __CUDA_ARCH__ >= 890
	asm volatile("mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
	             "{%0,%1,%2,%3};\n"
	             : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
	             : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
#else
	__trap();
#endif
}

/* A warp computes the products of rows `row` of w: of the gate and of up if GATED, else eight and the next eight.
 * SPLITS warps compute the same, and take turns at the slices.
 *
 * The order of the columns does not matter to a sum, so what a lane reads of a row in one access serves as its operands
 * of two instructions as it is, for w and for x alike. */
template <Scaling SCALING, int SPLITS, bool GATED> struct Product {
	const Operands &in;
	const int rows, cols, n;
	const int split = threadIdx.x / WARP % SPLITS, side = threadIdx.x % WARP / 4, quarter = threadIdx.x % 4;
	const int width = GATED ? rows / 2 : rows;             /* columns of y */
	const int first = group() * (GATED ? SIDE : 2 * SIDE); /* column of y */
	const int row[2] = {min(first + side, width - 1),      /* instead of rows past the end the last one is read */
	                    GATED ? width + min(first + side, width - 1) : min(first + SIDE + side, width - 1)};
	uint4 next[DEPTH][2][PIECES], next_x[DEPTH][PIECES];
	float sum[4] = {}; /* [row of w][token]: of tokens 2 * quarter and the next */

	__device__ __forceinline__ void begin() {
#pragma unroll
		for (int d = 0; d < DEPTH; d++) load(d, next[d]);
	}

	__device__ __forceinline__ void run() {
#pragma unroll
		for (int d = 0; d < DEPTH; d++) load_x(d, next_x[d]);
		const int slices = (cols + SLICE * SPLITS - 1) / (SLICE * SPLITS); /* of each warp */
		for (int i = 0; i < slices; i += DEPTH) {
#pragma unroll
			for (int d = 0; d < DEPTH; d++) {
				multiply(i + d, next[d], next_x[d]);
				load(i + d + DEPTH, next[d]);
				load_x(i + d + DEPTH, next_x[d]);
			}
		}
		if constexpr (SCALING == Scaling::ROWS) scale(sum, [&](int r) { return in.w_scale[row[r]]; }, in.x_scale);
	}

	/* Adds up the sums of the warps that share rows. Returns true to the first of them, which gets the total. All
	 * threads take part. */
	__device__ __forceinline__ bool add_splits() {
		if constexpr (SPLITS == 1) return true;
		__shared__ float4 sums[WARPS][WARP];
		const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
		sums[warp][lane] = make_float4(sum[0], sum[1], sum[2], sum[3]);
		__syncthreads();
		if (split != 0) return false;
#pragma unroll
		for (int s = 1; s < SPLITS; s++) {
			const float4 other = sums[warp + s][lane];
			sum[0] += other.x, sum[1] += other.y, sum[2] += other.z, sum[3] += other.w;
		}
		return true;
	}

	/* y [n][width] */
	__device__ __forceinline__ void store(bf16 *y) const {
#pragma unroll
		for (int i = 0; i < 2; i++) {
			const int token = 2 * quarter + i, column = first + side;
			if (token >= n) continue;
			bf16 *to = y + (int64_t)token * width + column;
			const float value = GATED ? silu(sum[i]) * sum[2 + i] : sum[i];
			if (column < width) to[0] = __float2bfloat16(value);
			if (!GATED && column + SIDE < width) to[SIDE] = __float2bfloat16(sum[2 + i]);
		}
	}

  private:
	static __device__ __forceinline__ int group() {
		return (blockIdx.x * WARPS + threadIdx.x / WARP) / SPLITS;
	}

	/* A lane's first column of the warp's slice i. */
	__device__ __forceinline__ int column(int i) const {
		return (i * SPLITS + split) * SLICE + quarter * LANE_BYTES;
	}

	__device__ __forceinline__ void load(int i, uint4 (&to)[2][PIECES]) const {
		const int c = column(i);
#pragma unroll
		for (int r = 0; r < 2; r++)
#pragma unroll
			for (int p = 0; p < PIECES; p++)
				to[r][p] = c + p * PIECE < cols ? load_once((const fp8 *)in.w + (int64_t)row[r] * cols + c + p * PIECE)
				                                : make_uint4(0, 0, 0, 0);
	}

	__device__ __forceinline__ void load_x(int i, uint4 (&to)[PIECES]) const {
		const int c = column(i);
#pragma unroll
		for (int p = 0; p < PIECES; p++) {
			to[p] = make_uint4(0, 0, 0, 0);
			if (side < n && c + p * PIECE < cols)
				to[p] = *(const uint4 *)((const fp8 *)in.x + (int64_t)side * cols + c + p * PIECE);
		}
	}

	__device__ __forceinline__ void multiply(int i, const uint4 (&w)[2][PIECES], const uint4 (&x)[PIECES]) {
		const int block = i * SPLITS + split;
		if (block * SLICE >= cols) return;
		float acc[4] = {};
		float (&to)[4] = SCALING == Scaling::ROWS ? sum : acc;
#pragma unroll
		for (int p = 0; p < PIECES; p++) {
			mma_fp8(to, w[0][p].x, w[1][p].x, w[0][p].y, w[1][p].y, x[p].x, x[p].y);
			mma_fp8(to, w[0][p].z, w[1][p].z, w[0][p].w, w[1][p].w, x[p].z, x[p].w);
		}
		if constexpr (SCALING == Scaling::BLOCKS) {
			const int stride = block_scale_stride(cols);
			scale(
				acc, [&](int r) { return in.w_scale[row[r] / SCALE_BLOCK * stride + block]; }, in.x_scale + block * n);
#pragma unroll
			for (int j = 0; j < 4; j++) sum[j] += acc[j];
		}
	}

	/* v *= the scales of their rows of w and of their tokens. of_token: [n]. */
	template <class F> __device__ __forceinline__ void scale(float (&v)[4], F of_row, const float *of_token) const {
#pragma unroll
		for (int i = 0; i < 2; i++) {
			const float x = of_token[min(2 * quarter + i, n - 1)];
			v[i] *= x * of_row(0), v[2 + i] *= x * of_row(1);
		}
	}
};

template <Scaling SCALING, int SPLITS, bool GATED>
__global__ void __launch_bounds__(THREADS, 2)
	gemv_fp8_kernel(const __grid_constant__ Operands in, bf16 *y, int rows, int cols, int n) {
	Product<SCALING, SPLITS, GATED> product = {in, rows, cols, n};
	product.begin();
	await_previous();
	product.run();
	if (product.add_splits()) product.store(y);
}

template <Scaling SCALING, int SPLITS>
cudaError_t run(const Operands &in, void *y, int rows, int cols, int n, Output output, cudaStream_t stream) {
	const bool gated = output == Output::SILU_MUL;
	const int per_block = WARPS / SPLITS * 2 * SIDE; /* rows of w */
	auto kernel = gated ? gemv_fp8_kernel<SCALING, SPLITS, true> : gemv_fp8_kernel<SCALING, SPLITS, false>;
	/* Not on a multiprocessor that is still set up for a kernel with much shared memory, and so has little L1: loads
	 * would wait for room in it (../NOTES.md). */
	constexpr int SHARED_PERCENT = 16;
	cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, SHARED_PERCENT);
	if (error != cudaSuccess) return error;
	return launch(kernel, (unsigned)((rows + per_block - 1) / per_block), THREADS, 0, stream, in, (bf16 *)y, rows, cols,
	              n);
}

template <Scaling SCALING>
cudaError_t run(int shape, const Operands &in, void *y, int rows, int cols, int n, Output output, cudaStream_t stream) {
	switch (shape) {
	case 0: return run<SCALING, GEMV_FP8_SHAPES[0]>(in, y, rows, cols, n, output, stream);
	case 1: return run<SCALING, GEMV_FP8_SHAPES[1]>(in, y, rows, cols, n, output, stream);
	case 2: return run<SCALING, GEMV_FP8_SHAPES[2]>(in, y, rows, cols, n, output, stream);
	case 3: return run<SCALING, GEMV_FP8_SHAPES[3]>(in, y, rows, cols, n, output, stream);
	default: return cudaErrorInvalidValue;
	}
}

} // namespace

cudaError_t gemv_fp8(int shape, Scaling scaling, const Operands &in, void *y, int rows, int cols, int n, Output output,
                     cudaStream_t stream) {
	if (n < 1 || n > GEMV_FP8_MOST || output == Output::F32) return cudaErrorInvalidValue;
	return scaling == Scaling::ROWS ? run<Scaling::ROWS>(shape, in, y, rows, cols, n, output, stream)
	                                : run<Scaling::BLOCKS>(shape, in, y, rows, cols, n, output, stream);
}

} // namespace fg
