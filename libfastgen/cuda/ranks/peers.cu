/* See peers.cuh. */
#include "../launch.cuh"
#include "peers.cuh"
#include "../vectors.cuh"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace fg {

namespace {

constexpr int THREADS = 256;
/* Enough to keep the link busy. All blocks must be on the device at once, because they wait for other devices. */
constexpr size_t MOST_BLOCKS = 256;
/* A rank that does not come for so long is taken for dead: an error is better than waiting for ever. */
constexpr uint64_t PATIENCE_NS = 60ull * 1000 * 1000 * 1000;

__device__ __forceinline__ void tell(uint32_t *flag, uint32_t value) {
	asm volatile("st.release.sys.global.u32 [%0], %1;\n" ::"l"(flag), "r"(value) : "memory");
}

__device__ __forceinline__ uint32_t look(const uint32_t *flag) {
	uint32_t value;
	asm volatile("ld.acquire.sys.global.u32 %0, [%1];\n" : "=r"(value) : "l"(flag) : "memory");
	return value;
}

__device__ __forceinline__ uint64_t nanoseconds() {
	uint64_t t;
	asm volatile("mov.u64 %0, %globaltimer;\n" : "=l"(t));
	return t;
}

/* Waits until this kernel has begun on all ranks. Meetings are counted in memory, because the arguments of a kernel in
 * a graph never change. */
__device__ __forceinline__ void meet(const Peers &peers) {
	uint32_t *own = peers.memory[peers.rank].flags, *times = own + MOST_PEERS, *blocks = times + 1;
	if (threadIdx.x < peers.count) {
		const uint32_t now = look(times) + 1;
		if (blockIdx.x == 0) tell(peers.memory[threadIdx.x].flags + peers.rank, now);
		const uint64_t began = nanoseconds();
		while ((int32_t)(look(own + threadIdx.x) - now) < 0)
			if (nanoseconds() - began > PATIENCE_NS) __trap();
	}
	__syncthreads();
	/* Counts this meeting, once all blocks have read the count. */
	if (threadIdx.x == 0 && atomicInc(blocks, gridDim.x - 1) == gridDim.x - 1) *times += 1;
}

template <int MOST>
__global__ void __launch_bounds__(THREADS)
	add_kernel(const __grid_constant__ Peers peers, int turn, bf16 *residual, size_t n) {
	await_previous();
	meet(peers);
	for (size_t i = ((size_t)blockIdx.x * THREADS + threadIdx.x) * VECTOR; i < n;
	     i += (size_t)gridDim.x * THREADS * VECTOR) {
		uint4 term[MOST];
#pragma unroll
		for (int r = 0; r < MOST; r++)
			if (r < peers.count) term[r] = *(const uint4 *)(peers.memory[r].addend[turn] + i);
		Floats sum = load_bf16(residual + i);
#pragma unroll
		for (int r = 0; r < MOST; r++) {
			if (r >= peers.count) continue;
			const Floats f = floats(term[r]);
#pragma unroll
			for (int j = 0; j < VECTOR; j++) sum.v[j] += f.v[j];
		}
		store_bf16(residual + i, sum);
	}
}

__global__ void __launch_bounds__(THREADS) follow_kernel(const __grid_constant__ Peers peers, int n) {
	await_previous();
	meet(peers);
	if (peers.rank == 0) return;
	for (int i = threadIdx.x; i < n; i += THREADS) peers.memory[peers.rank].tokens[i] = peers.memory[0].tokens[i];
}

} // namespace

bool can_be_peers(const int32_t *devices, int32_t count) {
	const char *disabled = getenv("NCCL_P2P_DISABLE");
	if (count > MOST_PEERS || (disabled && strcmp(disabled, "1") == 0)) return false;
	for (int32_t a = 0; a < count; a++)
		for (int32_t b = 0; b < count; b++) {
			int can = 0;
			if (a == b) continue;
			if (cudaDeviceCanAccessPeer(&can, devices[a], devices[b]) != cudaSuccess) can = 0, cudaGetLastError();
			if (!can) return false;
		}
	return true;
}

cudaError_t add_peers(const Peers &peers, int turn, bf16 *residual, size_t n, cudaStream_t stream) {
	const size_t blocks = (n + THREADS * VECTOR - 1) / (THREADS * VECTOR);
	auto kernel = peers.count <= 2 ? add_kernel<2> : peers.count <= 4 ? add_kernel<4> : add_kernel<MOST_PEERS>;
	return launch(kernel, (unsigned)std::min(blocks, MOST_BLOCKS), THREADS, 0, stream, peers, turn, residual, n);
}

cudaError_t follow_first_peer(const Peers &peers, int32_t n, cudaStream_t stream) {
	return launch(follow_kernel, 1, THREADS, 0, stream, peers, n);
}

} // namespace fg
