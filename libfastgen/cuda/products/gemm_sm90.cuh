/*
 * gemm_sm90.cuh - y = x * w^T on Hopper's own instructions, in bf16 or FP8: for steps that wait for the weights, and
 * for products with an epilogue that cuBLASLt lacks.
 *
 * One warp brings in tiles of x and w by TMA; warpgroups multiply them (wgmma), 64 tokens each. The first tiles of w
 * are read while the preceding kernel still runs. Blocks work in clusters of two. For many tokens, they lie side by
 * side and share every tile of w. For few, each takes half of k, and they add up in each other's shared memory. In
 * between, where there are not enough tiles for all multiprocessors, a product can be left in splits over k, for its
 * reader to add.
 */
#ifndef FG_GEMM_SM90_CUH
#define FG_GEMM_SM90_CUH

#include "product.cuh"

#include <string>
#include <vector>

namespace fg {

struct Sm90Tile {
	int tokens, rows; /* of x and of w, that a block multiplies at once */
	bool split;       /* each of a cluster's two blocks takes half of k; else they lie side by side along the tokens */
	unsigned outputs; /* that it can make: bits 1 << Output */
};
constexpr unsigned SM90_PLAIN = 1u << (int)Output::BF16 | 1u << (int)Output::SPLITS,
				   SM90_GATED = 1u << (int)Output::SILU_MUL,
				   SM90_ALL = SM90_PLAIN | SM90_GATED | 1u << (int)Output::F32;
/* Rows in fine steps, so that the tiles of a product can be shared evenly by the multiprocessors. */
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
	int splits; /* more than 1 only with Output::SPLITS and a tile that is not split itself */

	/* Such as "128x256/2": the tile's tokens x its rows / splits. */
	std::string name() const;
};
constexpr int SM90_MOST_SPLITS = 4;
constexpr int SM90_SPLIT_ROWS = 2048; /* the most rows of all splits together */

/* Whether the tiles of n tokens have few rows without a token. */
constexpr bool gemm_sm90_even(int n) {
	return n <= 128 || n % 256 == 0;
}

/* The cuts that are worth a trial: those whose rounds of tiles bring in at most `enough` times as many bytes as those
 * of the best cut. */
std::vector<Sm90Cut> gemm_sm90_cuts(int rows, int n, Scaling scaling, Output output, double enough);

/* y [n][rows], or as Output says, = x [n][cols] * w [rows][cols]^T, launched on `stream`. Not for BLOCKS, and F32 only
 * if plain. Rows of x and w are multiples of 16 bytes; except with F32, the width of y is a multiple of 8; x, w, y and
 * w's scales are aligned to 16 bytes. The tile must be able to make the output. w must be in place before the preceding
 * kernel begins. sm_90 only. Returns the launch's error. */
cudaError_t gemm_sm90(const Sm90Cut &cut, Scaling scaling, const Operands &in, void *y, int rows, int cols, int n,
                      Output output, cudaStream_t stream);

} // namespace fg

#endif
