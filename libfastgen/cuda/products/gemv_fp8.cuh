/*
 * gemv_fp8.cuh - y = x * w^T in e4m3 for one to eight rows of x: bound by reading w once. A warp multiplies 16 rows of
 * w, or a split of their columns if several warps share them, with all rows of x by tensor cores: they take up to eight
 * at once, and converting w for other units would take longer than reading it. The first reads come before the kernel
 * that makes x is over.
 */
#ifndef FG_GEMV_FP8_CUH
#define FG_GEMV_FP8_CUH

#include "product.cuh"

namespace fg {

constexpr int GEMV_FP8_MOST = 8; /* rows of x */

/* How a product is cut: how many warps share 16 rows of w. tune.cuh chooses by timing. */
constexpr int GEMV_FP8_SHAPES[] = {1, 2, 4, 8};
constexpr int GEMV_FP8_SHAPES_COUNT = sizeof GEMV_FP8_SHAPES / sizeof *GEMV_FP8_SHAPES;

/* y [n][rows], or as Output says but not F32, = x [n][cols] * w [rows][cols]^T, for ROWS or BLOCKS. 1 <= n <=
 * GEMV_FP8_MOST, cols a multiple of 16. sm_89 and later. */
cudaError_t gemv_fp8(int shape, Scaling scaling, const Operands &in, void *y, int rows, int cols, int n, Output output,
                     cudaStream_t stream);

} // namespace fg

#endif
