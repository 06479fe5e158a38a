/*
 * mask.cuh - brings the mask of a row from host memory, which may not be there yet.
 */
#ifndef FG_SAMPLE_MASK_CUH
#define FG_SAMPLE_MASK_CUH

#include "sample.cuh"
#include "team.cuh"

namespace fg {

constexpr int MASK_POLL_NS = 1000; /* between two reads of a state, which cross the bus */

__device__ inline uint64_t global_nanoseconds() {
	uint64_t t;
	asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(t)::"memory");
	return t;
}

/* The state of a mask; its words, read afterwards, are at least as new. */
__device__ inline int32_t read_state(const int32_t *state) {
	int32_t x;
	asm volatile("ld.acquire.sys.global.b32 %0, [%1];" : "=r"(x) : "l"(state) : "memory");
	return x;
}

/* Waits until the mask is ready or broken, but not longer than all rows of the step may wait together. */
__device__ inline int32_t wait_for_mask(const Masks &masks, int32_t mask) {
	int32_t state = read_state(masks.state + mask);
	if (state == FG_MASK_READY || state == FG_MASK_BROKEN) return state;
	const uint64_t mine = global_nanoseconds() + FG_MASK_WAIT_US * 1000;
	const uint64_t first = atomicCAS((unsigned long long *)masks.deadline, 0ull, (unsigned long long)mine);
	const uint64_t deadline = first ? first : mine;
	while (state != FG_MASK_READY && state != FG_MASK_BROKEN && global_nanoseconds() < deadline) {
		__nanosleep(MASK_POLL_NS);
		state = read_state(masks.state + mask);
	}
	return state;
}

/* Where the copy of a mask for row i of the launch goes. */
__device__ inline uint32_t *mask_copy(const Masks &masks, int32_t i) {
	return masks.copies + (size_t)i * masks.stride;
}

/* Waits for a mask, and copies it to mask_copy. Every thread gets FG_NO_TOKEN if it is ready, else what the row's id
 * is. One thread decides that for the team; `decision` is in shared memory. Not inlined, so that rows without a mask
 * need no registers for it. */
__device__ __noinline__ int32_t fetch_mask(Team team, const Masks &masks, int32_t mask, int32_t i, int32_t *decision) {
	if (team.rank == 0 && threadIdx.x == 0) {
		const int32_t state = wait_for_mask(masks, mask);
		for (int block = 0; block < team.size; block++) *team.of(decision, block) = state;
	}
	team.sync(); /* orders the decider's read of the state before the team's reads of the words, too */
	if (*decision != FG_MASK_READY) return *decision == FG_MASK_BROKEN ? FG_MASK_FAILED : FG_MASK_LATE;
	const uint4 *from = (const uint4 *)(masks.words + (size_t)mask * masks.stride);
	uint4 *to = (uint4 *)mask_copy(masks, i);
	const uint32_t n = masks.stride / 4, step = (uint32_t)team.size * blockDim.x;
	for (uint32_t k = (uint32_t)team.rank * blockDim.x + threadIdx.x; k < n; k += step) to[k] = __ldcv(from + k);
	team.sync();
	return FG_NO_TOKEN;
}

} // namespace fg

#endif
