/*
 * peers_test.cu - tests sums and tokens over ranks (peers.cuh), many in a row without waiting, with ranks that are late
 * now and then. The ranks are streams of one device, and so can read each other's memory; that they meet is tested.
 *
 *   peers_test         exit status 1 on a difference
 *   peers_test quick   two ranks, for compute-sanitizer, under which few streams run at once
 *
 * Without a device it says so and passes.
 */
#include "../cuda/ranks/peers.cuh"
#include "check_cuda.cuh"

#include <algorithm>
#include <cstring>
#include <vector>

constexpr int ROUNDS = 300, TOKENS = 100, THREADS = 256;

/* Whole numbers whose sums bf16 holds exactly. */
__host__ __device__ inline int number(int rank, int round, size_t i) {
	return (rank + 1) * (int)((i + (size_t)round * 7) % 5);
}

/* Takes its time, a different one each round. */
__global__ void fill_kernel(bf16 *addend, bf16 *residual, size_t n, int rank, int round) {
	for (unsigned late = ((unsigned)round * 2654435761u + (unsigned)rank * 40503u) >> 22 & 15; late > 0; late--)
		__nanosleep(1000);
	for (size_t i = blockIdx.x * (size_t)THREADS + threadIdx.x; i < n; i += (size_t)gridDim.x * THREADS) {
		addend[i] = __float2bfloat16((float)number(rank, round, i));
		residual[i] = __float2bfloat16((float)(i % 3));
	}
}

/* As sampling would: between two meetings. */
__global__ void sample_kernel(int32_t *tokens, int round) {
	tokens[threadIdx.x] = round * TOKENS + (int)threadIdx.x;
}

__global__ void check_kernel(const bf16 *residual, const int32_t *tokens, size_t n, int ranks, int round,
                             unsigned *wrong) {
	for (size_t i = blockIdx.x * (size_t)THREADS + threadIdx.x; i < n; i += (size_t)gridDim.x * THREADS) {
		int sum = (int)(i % 3);
		for (int r = 0; r < ranks; r++) sum += number(r, round, i);
		if (__bfloat162float(residual[i]) != (float)sum) atomicAdd(wrong, 1);
	}
	if (blockIdx.x == 0 && threadIdx.x < TOKENS && tokens[threadIdx.x] != round * TOKENS + (int)threadIdx.x)
		atomicAdd(wrong, 1);
}

template <class T> T *zeroed(size_t n) {
	T *p;
	CUDA(cudaMalloc(&p, n * sizeof(T)));
	CUDA(cudaMemset(p, 0, n * sizeof(T)));
	return p;
}

/* Differences in ROUNDS sums of n numbers. */
unsigned run(int ranks, size_t n) {
	std::vector<cudaStream_t> streams(ranks);
	std::vector<bf16 *> residual(ranks);
	fg::Peers peers = {};
	peers.count = ranks;
	for (int r = 0; r < ranks; r++) {
		CUDA(cudaStreamCreateWithFlags(&streams[r], cudaStreamNonBlocking));
		residual[r] = zeroed<bf16>(n);
		peers.memory[r] = {
			{zeroed<bf16>(n), zeroed<bf16>(n)}, zeroed<int32_t>(TOKENS), zeroed<uint32_t>(fg::PEER_FLAGS)};
	}
	unsigned *wrong = zeroed<unsigned>(1), found = 0;
	CUDA(cudaDeviceSynchronize());
	const unsigned blocks = (unsigned)std::min<size_t>((n + THREADS - 1) / THREADS, 16);
	for (int round = 0; round < ROUNDS; round++)
		for (int r = 0; r < ranks; r++) {
			const fg::SharedMemory &own = peers.memory[r];
			peers.rank = r;
			fill_kernel<<<blocks, THREADS, 0, streams[r]>>>(own.addend[round % 2], residual[r], n, r, round);
			CUDA(fg::add_peers(peers, round % 2, residual[r], n, streams[r]));
			if (r == 0) sample_kernel<<<1, TOKENS, 0, streams[r]>>>(own.tokens, round);
			CUDA(fg::follow_first_peer(peers, TOKENS, streams[r]));
			check_kernel<<<blocks, THREADS, 0, streams[r]>>>(residual[r], own.tokens, n, ranks, round, wrong);
			CUDA(cudaGetLastError());
		}
	CUDA(cudaDeviceSynchronize());
	CUDA(cudaMemcpy(&found, wrong, sizeof found, cudaMemcpyDeviceToHost));
	for (int r = 0; r < ranks; r++) {
		cudaStreamDestroy(streams[r]);
		const fg::SharedMemory &own = peers.memory[r];
		cudaFree(own.addend[0]), cudaFree(own.addend[1]), cudaFree(own.tokens), cudaFree(own.flags),
			cudaFree(residual[r]);
	}
	cudaFree(wrong);
	return found;
}

int main(int argc, char **argv) {
	const bool quick = argc > 1 && !strcmp(argv[1], "quick");
	if (no_device("peers")) return 0;
	int failed = 0, checks = 0;
	/* One rank first: the first launch of a kernel may wait for kernels that run, and these must not wait for it. */
	for (int ranks : {1, 2, 3, 4, 8})
		for (size_t n : {8, 4096, 5000, 64 * 1024}) {
			if (quick && (ranks > 2 || n > 5000)) continue;
			unsigned wrong = run(ranks, n);
			checks++, failed += wrong > 0;
			if (wrong) printf("FAILED: %d ranks, %zu numbers: %u differ\n", ranks, n, wrong);
		}
	printf("peers: %d checks, %d failed\n", checks, failed);
	return failed > 0;
}
