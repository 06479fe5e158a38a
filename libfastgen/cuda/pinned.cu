/* See pinned.cuh. */
#include "pinned.cuh"

#include <algorithm>
#include <cuda_runtime.h>
#include <sys/mman.h>
#include <vector>

namespace fg {

namespace {

constexpr size_t PIECE = 64 << 20; /* bytes that a thread touches at a time */
constexpr size_t SMALL_PAGE = 4096;
constexpr unsigned MOST_THREADS = 8;

} // namespace

void PinnedMemory::start(size_t wanted, int device) {
	if (wanted == 0) return;
	bytes = wanted;
	maker = std::thread([this, device] { make(device); });
}

/* Huge pages, where the machine has them, are fewer to touch and to pin. */
void PinnedMemory::make(int device) {
	void *p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED) return;
	data = (char *)p;
	madvise(data, bytes, MADV_HUGEPAGE);
	std::vector<std::thread> threads;
	unsigned n = std::clamp(std::thread::hardware_concurrency() / 2, 1u, MOST_THREADS);
	for (unsigned t = 0; t < n; t++)
		threads.emplace_back([this, t, n] {
			for (size_t from = t * PIECE; from < bytes; from += n * PIECE)
				for (size_t i = from; i < std::min(from + PIECE, bytes); i += SMALL_PAGE)
					((volatile char *)data)[i] = 0;
		});
	for (std::thread &t : threads) t.join();
	pinned =
		cudaSetDevice(device) == cudaSuccess && cudaHostRegister(data, bytes, cudaHostRegisterDefault) == cudaSuccess;
	cudaGetLastError(); /* a failure is wait's to tell */
}

char *PinnedMemory::wait() {
	if (maker.joinable()) maker.join();
	return pinned ? data : nullptr;
}

void PinnedMemory::close() {
	if (maker.joinable()) maker.join();
	if (pinned) cudaHostUnregister(data);
	if (data) munmap(data, bytes);
	data = nullptr, pinned = false;
}

} // namespace fg
