/*
 * gemm_w8a16.cuh - y = x * w^T of bf16 inputs with e4m3 weights, for devices that multiply no FP8: a multiprocessor
 * reads w as it lies in memory, half the bytes of bf16, and widens it in registers. A warp multiplies 16 rows of w, or
 * 32, with up to 64 rows of x by tensor cores. For few rows of x the product is bound by reading w once.
 */
#ifndef FG_GEMM_W8A16_CUH
#define FG_GEMM_W8A16_CUH

#include "product.cuh"

namespace fg {

/* How a product is cut: how many tiles of 16 rows of w a warp has, and how many warps share them, each with a part of
 * the columns. tune.cuh chooses by timing. */
struct W8A16Shape {
	int tiles, splits;
};
constexpr W8A16Shape W8A16_SHAPES[] = {{1, 1}, {1, 2}, {1, 4}, {1, 8}, {2, 1}, {2, 2}, {2, 4}};
constexpr int W8A16_SHAPES_COUNT = sizeof W8A16_SHAPES / sizeof *W8A16_SHAPES;

/* y [n][rows], or as Output says but not F32, = x [n][cols] * w [rows][cols]^T, for WIDE_ROWS or WIDE_BLOCKS. Scales of
 * rows are applied to the sums; those of blocks to the weights, which are rounded to bf16. n >= 1, cols a multiple of
 * 16. */
cudaError_t gemm_w8a16(int shape, Scaling scaling, const Operands &in, void *y, int rows, int cols, int n,
                       Output output, cudaStream_t stream);

} // namespace fg

#endif
