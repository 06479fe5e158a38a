/* See gemm_w8a16.cuh. */
#include "gemm_w8a16.cuh"
#include "widen.cuh"
#include "../launch.cuh"
#include "../vectors.cuh"

namespace fg {

namespace {

constexpr int WARPS = 8;
constexpr int THREADS = WARPS * WARP;
constexpr int SIDE = 8;                           /* rows of w of which a lane reads one: mma's 16 are two sides */
constexpr int LANE_COLUMNS = 16;                  /* of a row of w, 16 bytes, that a lane reads in one access */
constexpr int SLICE = WARP / SIDE * LANE_COLUMNS; /* columns of x and w that a warp reads at once */
constexpr int TOKENS = 8;                         /* rows of x that mma multiplies */

struct Args {
	Operands in;
	bf16 *y;
	int rows, cols, n;
	int splits, token_tiles;
	int scale_stride; /* between the scales of two blocks of rows; 0: each row has a scale */
	bool gated;
};

/* A warp computes the products of TILES tiles of w's rows with EIGHTS * TOKENS rows of x. A tile's sides are eight rows
 * and the next eight, or eight of the gate and the same of up. Warps that share rows take turns at the slices.
 *
 * The order of the columns does not matter to a sum, so the 16 that a lane reads of a row in one access serve as its
 * operands of four instructions, for w and for x alike. */
template <int TILES, int EIGHTS> struct Product {
	static constexpr int DEPTH = TILES == 1 ? 4 : 2; /* slices in flight */

	const Args &a;
	const int side = threadIdx.x % WARP / 4, quarter = threadIdx.x % 4;
	const int split = threadIdx.x / WARP % a.splits;
	const int width = a.gated ? a.rows / 2 : a.rows; /* columns of y */
	const int step = a.gated ? SIDE : 2 * SIDE;      /* of y's columns, from tile to tile */
	const int first = (((int)blockIdx.x / a.token_tiles * WARPS + (int)threadIdx.x / WARP) / a.splits) * TILES * step;
	const int first_token = (int)blockIdx.x % a.token_tiles * EIGHTS * TOKENS;
	uint4 next[DEPTH][TILES][2];
	float next_scale[DEPTH][TILES][2]; /* of their blocks */
	float sum[TILES][EIGHTS][4] = {};  /* [row of w][token]: of tokens 2 * quarter and the next, of each side */

	__device__ __forceinline__ void begin() {
#pragma unroll
		for (int d = 0; d < DEPTH; d++) load(d, d);
	}

	__device__ __forceinline__ void run() {
		const int slices = (a.cols + SLICE * a.splits - 1) / (SLICE * a.splits); /* of each warp */
		for (int i = 0; i < slices; i += DEPTH) {
#pragma unroll
			for (int d = 0; d < DEPTH; d++) {
				multiply(i + d, d);
				load(i + d + DEPTH, d);
			}
		}
	}

	/* Adds up the sums of the warps that share rows. Returns true to the first of them, which gets the total. All
	 * threads take part. */
	__device__ __forceinline__ bool add_splits() {
		__shared__ float4 sums[WARPS][WARP];
		if (a.splits == 1) return true;
		const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
#pragma unroll
		for (int t = 0; t < TILES; t++)
#pragma unroll
			for (int e = 0; e < EIGHTS; e++) {
				float (&mine)[4] = sum[t][e];
				__syncthreads(); /* the sums before have been read */
				sums[warp][lane] = make_float4(mine[0], mine[1], mine[2], mine[3]);
				__syncthreads();
				for (int s = 1; split == 0 && s < a.splits; s++) {
					const float4 other = sums[warp + s][lane];
					mine[0] += other.x, mine[1] += other.y, mine[2] += other.z, mine[3] += other.w;
				}
			}
		return split == 0;
	}

	__device__ __forceinline__ void store() const {
#pragma unroll
		for (int t = 0; t < TILES; t++) {
			float of_row[2] = {1, 1};
			if (!by_block())
				for (int of = 0; of < 2; of++) of_row[of] = a.in.w_scale[row(t, of)];
#pragma unroll
			for (int e = 0; e < EIGHTS; e++)
#pragma unroll
				for (int i = 0; i < 2; i++) {
					const int token = first_token + e * TOKENS + 2 * quarter + i, column = first + t * step + side;
					if (token >= a.n) continue;
					const float low = sum[t][e][i] * of_row[0], high = sum[t][e][2 + i] * of_row[1];
					bf16 *to = a.y + (int64_t)token * width + column;
					if (column < width) to[0] = __float2bfloat16(a.gated ? silu(low) * high : low);
					if (!a.gated && column + SIDE < width) to[SIDE] = __float2bfloat16(high);
				}
		}
	}

  private:
	__device__ __forceinline__ bool by_block() const {
		return a.scale_stride > 0;
	}

	/* A lane's first column of the warp's slice i. */
	__device__ __forceinline__ int column(int i) const {
		return (i * a.splits + split) * SLICE + quarter * LANE_COLUMNS;
	}

	/* The lane's row of w of a tile's side. Instead of rows past the end the last one is read. */
	__device__ __forceinline__ int row(int tile, int of) const {
		const int r = first + tile * step + side;
		return a.gated ? of * width + min(r, width - 1) : min(r + of * SIDE, width - 1);
	}

	__device__ __forceinline__ void load(int i, int d) {
		const int c = column(i);
#pragma unroll
		for (int t = 0; t < TILES; t++)
#pragma unroll
			for (int of = 0; of < 2; of++) {
				const int r = row(t, of);
				next[d][t][of] = make_uint4(0, 0, 0, 0), next_scale[d][t][of] = 0;
				if (c >= a.cols) continue;
				next[d][t][of] = load_once((const fp8 *)a.in.w + (int64_t)r * a.cols + c);
				if (by_block()) next_scale[d][t][of] = a.in.w_scale[r / SCALE_BLOCK * a.scale_stride + c / SCALE_BLOCK];
			}
	}

	__device__ __forceinline__ void multiply(int i, int d) {
		const int c = column(i);
		uint4 x[EIGHTS][2];
#pragma unroll
		for (int e = 0; e < EIGHTS; e++) {
			const int token = first_token + e * TOKENS + side;
			x[e][0] = x[e][1] = make_uint4(0, 0, 0, 0);
			if (token >= a.n || c >= a.cols) continue;
			const uint4 *from = (const uint4 *)((const bf16 *)a.in.x + (int64_t)token * a.cols + c);
			x[e][0] = from[0], x[e][1] = from[1];
		}
#pragma unroll
		for (int t = 0; t < TILES; t++)
#pragma unroll
			for (int k = 0; k < LANE_COLUMNS / 4; k++) {
				uint32_t w[4]; /* as mma wants them: a pair of both sides, then the next pair */
				for (int of = 0; of < 2; of++) {
					uint2 pairs = widen_four(((const uint32_t *)&next[d][t][of])[k]);
					if (by_block())
						scale_pair(pairs.x, next_scale[d][t][of]), scale_pair(pairs.y, next_scale[d][t][of]);
					w[of] = pairs.x, w[2 + of] = pairs.y;
				}
#pragma unroll
				for (int e = 0; e < EIGHTS; e++) {
					const uint32_t *of_x = (const uint32_t *)x[e];
					mma(sum[t][e], w, of_x[2 * k], of_x[2 * k + 1]);
				}
			}
	}
};

template <int TILES, int EIGHTS>
__global__ void __launch_bounds__(THREADS, TILES *EIGHTS < 8 ? 2 : 1)
	gemm_w8a16_kernel(const __grid_constant__ Args a) {
	Product<TILES, EIGHTS> product = {a};
	product.begin();
	await_previous();
	product.run();
	if (product.add_splits()) product.store();
}

template <int TILES, int EIGHTS> cudaError_t run(Args &a, cudaStream_t stream) {
	const int width = a.gated ? a.rows / 2 : a.rows, of_tile = a.gated ? SIDE : 2 * SIDE;
	const int of_block = WARPS / a.splits * TILES * of_tile; /* columns of y */
	a.token_tiles = (a.n + EIGHTS * TOKENS - 1) / (EIGHTS * TOKENS);
	return launch(gemm_w8a16_kernel<TILES, EIGHTS>, (unsigned)((width + of_block - 1) / of_block * a.token_tiles),
	              THREADS, 0, stream, a);
}

template <int TILES> cudaError_t run(Args &a, cudaStream_t stream) {
	if (a.n <= TOKENS) return run<TILES, 1>(a, stream);
	if (a.n <= 2 * TOKENS) return run<TILES, 2>(a, stream);
	if (a.n <= 4 * TOKENS) return run<TILES, 4>(a, stream);
	return run<TILES, 8>(a, stream);
}

} // namespace

cudaError_t gemm_w8a16(int shape, Scaling scaling, const Operands &in, void *y, int rows, int cols, int n,
                       Output output, cudaStream_t stream) {
	if (n < 1 || output == Output::F32 || scaling_of_w(scaling) == scaling) return cudaErrorInvalidValue;
	const W8A16Shape &s = W8A16_SHAPES[shape];
	Args a = {in, (bf16 *)y, rows, cols, n, s.splits, 0, 0, output == Output::SILU_MUL};
	if (scaling == Scaling::WIDE_BLOCKS) a.scale_stride = block_scale_stride(cols);
	return s.tiles == 1 ? run<1>(a, stream) : run<2>(a, stream);
}

} // namespace fg
