/*
 * product.cuh - what a product reads and makes, whichever kernel computes it.
 */
#ifndef FG_PRODUCT_CUH
#define FG_PRODUCT_CUH

#include "../device.cuh"
#include "../ops.cuh"

#include <cuda_fp8.h>

namespace fg {

typedef __nv_fp8_e4m3 fp8;

/* The result of a product. */
enum class Output : int32_t {
	BF16 = 0,
	F32 = 1,
	SILU_MUL = 2, /* bf16 silu(first half of the columns) * second half: [n][rows / 2] */
	SPLITS = 3,   /* bf16 sums over one split of k each, [splits][n][rows], which add up to the product */
};

/* The type of a product's inputs, and how they are scaled: an fg_matrix's scheme. */
enum class Scaling : int32_t {
	PLAIN = FG_PLAIN,         /* bf16 */
	ROWS = FG_ROWS,           /* e4m3, with a scale per row of w and one per row of x */
	BLOCKS = FG_BLOCKS,       /* e4m3, with a scale per 128 x 128 block of w, and one per row and 128 columns of x */
	WIDE_ROWS = FG_WIDE_ROWS, /* w as with ROWS or BLOCKS, x in bf16: times its scale, an element of w is one of bf16 */
	WIDE_BLOCKS = FG_WIDE_BLOCKS,
};

/* How w alone is scaled: PLAIN, ROWS or BLOCKS. */
constexpr Scaling scaling_of_w(Scaling s) {
	return s == Scaling::WIDE_ROWS ? Scaling::ROWS : s == Scaling::WIDE_BLOCKS ? Scaling::BLOCKS : s;
}

/* How x alone is. */
constexpr Scaling scaling_of_x(Scaling s) {
	return s == scaling_of_w(s) ? s : Scaling::PLAIN;
}

constexpr int SCALE_BLOCK = FG_SCALE_BLOCK;

/* Rows of block scales lie a multiple of 4 apart, as cuBLASLt wants them. */
__host__ __device__ constexpr int block_scale_stride(int cols) {
	return ((cols + SCALE_BLOCK - 1) / SCALE_BLOCK + 3) / 4 * 4;
}

/* What a product multiplies: x [n][cols] and w [rows][cols], on the device. */
struct Operands {
	const void *x, *w;
	/* NULL where plain. ROWS: [n] and [rows]. BLOCKS: [cols / 128][n] and [rows / 128][block_scale_stride(cols)], the
	 * quotients rounded up. */
	const float *x_scale, *w_scale;
};

} // namespace fg

#endif
