/*
 * gemm_sm90.cuh - y = x * w^T on Hopper's own instructions: for steps that wait for the weights, and for products with
 * an epilogue that cuBLASLt has not.
 *
 * A warp brings tiles of x and w in by TMA, warpgroups of 64 tokens each multiply them (wgmma). The first tiles of w
 * are read while the kernel before this one still runs. Blocks work in clusters of two: for many tokens side by side,
 * sharing every tile of w; for few, they take half of k each, and add up in each other's shared memory. In between,
 * when there are not enough tiles for all multiprocessors, a product can be left in splits of k for its reader to add.
 */
#ifndef FG_GEMM_SM90_CUH
#define FG_GEMM_SM90_CUH

#include "gemv.cuh"

#include <string>
#include <vector>

namespace fg {

struct Sm90Tile {
	int tokens, rows; /* of x and w, that a block multiplies at once */
	bool split;       /* the two blocks of a cluster take half of k each; else they lie side by side along the tokens */
	unsigned outputs; /* it can make: bits 1 << Output */
};
constexpr unsigned SM90_PLAIN = 1u << (int)Output::BF16 | 1u << (int)Output::SPLITS,
				   SM90_GATED = 1u << (int)Output::SILU_MUL,
				   SM90_ALL = SM90_PLAIN | SM90_GATED | 1u << (int)Output::F32;
/* Rows in fine steps, so that a product comes out even among the multiprocessors. */
constexpr Sm90Tile SM90_TILES[] = {
	{64, 64, true, SM90_ALL},
	{64, 80, true, SM90_PLAIN},
	{64, 96, true, SM90_PLAIN},
	{64, 112, true, SM90_PLAIN},
	{64, 128, true, SM90_ALL},
	{128, 64, true, SM90_ALL},
	{128, 80, true, SM90_PLAIN},
	{128, 96, true, SM90_PLAIN},
	{128, 112, true, SM90_PLAIN},
	{128, 128, true, SM90_ALL},
	{128, 160, false, SM90_PLAIN},
	{128, 192, false, SM90_PLAIN | SM90_GATED},
	{128, 224, false, SM90_PLAIN | SM90_GATED},
	{128, 256, false, SM90_ALL},
};
constexpr int SM90_TILES_COUNT = sizeof SM90_TILES / sizeof *SM90_TILES;

/* How a product is cut. */
struct Sm90Cut {
	int tile;   /* index into SM90_TILES */
	int splits; /* 1, unless with SPLITS and a tile that is not split */

	/* Such as "128x256/2": tokens and rows of the tile, splits. */
	std::string name() const;
};
constexpr int SM90_MOST_SPLITS = 4;
constexpr int SM90_SPLIT_ROWS = 2048; /* rows of all splits together, at most */

/* Whether tiles of n tokens hold few rows of no token. */
constexpr bool gemm_sm90_even(int n) {
	return n <= 128 || n % 256 == 0;
}

/* The cuts that are worth a try: those that leave few multiprocessors idle and bring in little. That is at most
 * `enough` times what the best of them does. */
std::vector<Sm90Cut> gemm_sm90_cuts(int rows, int n, Output output, double enough);

/* y [n][rows], or as Output says, = x [n][cols] * w [rows][cols]^T, launched on `stream`. cols and, but with F32, the
 * width of y are multiples of 8; x, w and y are 16-byte aligned. w must be in place before the kernel that precedes
 * this one begins. Any n, for a tile that can make the output. sm_90 only. Returns the launch's error. */
cudaError_t gemm_sm90(const Sm90Cut &cut, const bf16 *x, const bf16 *w, void *y, int rows, int cols, int n,
                      Output output, cudaStream_t stream);

} // namespace fg

#endif
