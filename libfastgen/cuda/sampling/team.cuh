/*
 * team.cuh - the threads that work on one row: a block, or a cluster of blocks if there are too few rows to keep the
 * device busy.
 */
#ifndef FG_SAMPLE_TEAM_CUH
#define FG_SAMPLE_TEAM_CUH

#include "state.cuh"

#include <cooperative_groups.h>
#include <cstdint>

namespace fg {

constexpr int MAX_THREADS = 512; /* of a block */
constexpr int MAX_WARPS = MAX_THREADS / 32;
constexpr uint32_t ALL_LANES = 0xffffffffu;

/* Shared memory for reductions. There are two of each array, used in turn: every thread has read a reduction's results
 * before they are overwritten two reductions later. */
struct TeamShared {
	uint64_t of_warp[2][MAX_WARPS];
	uint64_t of_block[2][MAX_TEAM];
};

struct Team {
	TeamShared &shared;
	int rank, size;          /* the block's rank in the team, and the number of blocks */
	int lane, warp, n_warps; /* of the block */
	int turn;                /* index into TeamShared's arrays */

	__device__ explicit Team(TeamShared &shared)
		: shared(shared), rank(0), size(1), lane(threadIdx.x % 32), warp(threadIdx.x / 32), n_warps(blockDim.x / 32),
		  turn(0) {
#if __CUDA_ARCH__ >= 900
		rank = cooperative_groups::this_cluster().block_rank();
		size = cooperative_groups::this_cluster().num_blocks();
#endif
	}

	/* Waits for all threads of the team, and makes their writes visible. */
	__device__ void sync() const {
#if __CUDA_ARCH__ >= 900
		if (size > 1) {
			cooperative_groups::this_cluster().sync();
			return;
		}
#endif
		__syncthreads();
	}

	/* The address of another block's copy of a shared variable. */
	template <class T> __device__ T *of(T *mine, int block) const {
#if __CUDA_ARCH__ >= 900
		if (size > 1) return cooperative_groups::this_cluster().map_shared_rank(mine, block);
#endif
		return mine;
	}

	/* Reduces the x of all threads with op. Every thread gets the same bits. T is 8 bytes wide. */
	template <class T, class Op> __device__ T reduce(T x, Op op) {
		for (int offset = 16; offset > 0; offset /= 2) x = op(x, __shfl_xor_sync(ALL_LANES, x, offset));
		T *of_warp = (T *)shared.of_warp[turn], *of_block = (T *)shared.of_block[turn];
		turn ^= 1;
		if (lane == 0) of_warp[warp] = x;
		__syncthreads();
		x = of_warp[0];
		for (int i = 1; i < n_warps; i++) x = op(x, of_warp[i]);
		if (size == 1) return x;
		if ((int)threadIdx.x < size) of(of_block, threadIdx.x)[rank] = x;
		sync();
		x = of_block[0];
		for (int i = 1; i < size; i++) x = op(x, of_block[i]);
		return x;
	}

	__device__ uint64_t max(uint64_t x) {
		return reduce(x, [](uint64_t a, uint64_t b) { return a > b ? a : b; });
	}

	__device__ double sum(double x) {
		return reduce(x, [](double a, double b) { return a + b; });
	}

	/* The sum of x over the threads before this one, in order of block and thread. *total: over all threads. */
	__device__ uint64_t sum_before(uint64_t x, uint64_t *total) {
		uint64_t up_to = x;
		for (int offset = 1; offset < 32; offset *= 2) {
			uint64_t y = __shfl_up_sync(ALL_LANES, up_to, offset);
			if (lane >= offset) up_to += y;
		}
		uint64_t *of_warp = shared.of_warp[turn], *of_block = shared.of_block[turn];
		turn ^= 1;
		if (lane == 31) of_warp[warp] = up_to;
		__syncthreads();
		uint64_t before = up_to - x, sum = 0;
		for (int i = 0; i < n_warps; i++) {
			if (i == warp) before += sum;
			sum += of_warp[i];
		}
		*total = sum;
		if (size == 1) return before;
		if ((int)threadIdx.x < size) *(of(of_block, threadIdx.x) + rank) = sum;
		sync();
		sum = 0;
		for (int i = 0; i < size; i++) {
			if (i == rank) before += sum;
			sum += of_block[i];
		}
		*total = sum;
		return before;
	}
};

} // namespace fg

#endif
