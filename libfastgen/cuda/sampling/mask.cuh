/*
 * mask.cuh - brings the masks of rows from host memory, where they may not be yet.
 */
#ifndef FG_SAMPLE_MASK_CUH
#define FG_SAMPLE_MASK_CUH

#include "sample.cuh"

namespace fg {

namespace {

constexpr int MASK_THREADS = 256;
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

/* One block per row: waits for the row's mask, says in Masks::found whether it came, and copies it to mask_copy. In the
 * sampling kernel itself this would cost registers that its rows without a mask need. */
__global__ void __launch_bounds__(MASK_THREADS) mask_kernel(const fg_row *rows, Masks masks) {
	__shared__ int32_t found;
	const int32_t i = blockIdx.x, mask = rows[i].mask;
	if (mask < 0) return;
	if (threadIdx.x == 0) {
		const int32_t state = wait_for_mask(masks, mask);
		found = state == FG_MASK_READY ? FG_NO_TOKEN : state == FG_MASK_BROKEN ? FG_MASK_FAILED : FG_MASK_LATE;
		masks.found[i] = found;
	}
	__syncthreads(); /* orders the read of the state before the reads of the words, too */
	if (found != FG_NO_TOKEN) return;
	const uint4 *from = (const uint4 *)(masks.words + (size_t)mask * masks.stride);
	uint4 *to = (uint4 *)mask_copy(masks, i);
	for (uint32_t k = threadIdx.x; k < masks.stride / 4; k += MASK_THREADS) to[k] = __ldcv(from + k);
}

} // namespace

} // namespace fg

#endif
