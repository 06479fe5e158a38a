/*
 * gemv.cuh - y = x * w^T for one to four rows of x: bound by reading w once. A warp reads a few rows of w, or a split
 * of each if several warps share them; a lane reads 16 bytes at a time. The first reads come before the kernel that
 * makes x is over.
 */
#ifndef FG_GEMV_CUH
#define FG_GEMV_CUH

#include "product.cuh"

namespace fg {

constexpr int GEMV_MOST = 4; /* rows of x */

/* How a product is cut: the rows of w per warp, and how many warps share them. tune.cuh chooses by timing. */
struct GemvShape {
	int rows, split;
};
constexpr GemvShape GEMV_SHAPES[] = {{1, 1}, {2, 1}, {4, 1}, {1, 4}, {2, 4}, {4, 4}};
constexpr int GEMV_SHAPES_COUNT = sizeof GEMV_SHAPES / sizeof *GEMV_SHAPES;

/* y [n][rows] = x [n][cols] * w [rows][cols]^T. 1 <= n <= GEMV_MOST, cols a multiple of 8. */
cudaError_t gemv(int shape, const bf16 *x, const bf16 *w, void *y, int rows, int cols, int n, Output output,
                 cudaStream_t stream);

} // namespace fg

#endif
