/* See pinned.cuh. */
#include "pinned.cuh"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cuda_runtime.h>
#include <sys/mman.h>
#include <vector>

namespace fg {

namespace {

constexpr size_t TOUCHED = 64 << 20; /* bytes that a thread touches in one go */
/* Bytes that are pinned by one call: during it, the driver blocks all other calls. */
constexpr size_t PINNED = 512 << 20;
constexpr size_t SMALL_PAGE = 4096;
constexpr unsigned MOST_THREADS = 8;

/* Bytes that are available without swapping, by the kernel's own estimate; SIZE_MAX where it gives none. */
size_t available() {
	FILE *f = fopen("/proc/meminfo", "r");
	size_t kib = SIZE_MAX >> 10;
	char line[128];
	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "MemAvailable: %zu", &kib) == 1) break;
	if (f) fclose(f);
	return kib << 10;
}

} // namespace

bool PinnedMemory::start(size_t wanted, size_t unit, int device) {
	if (wanted == 0) return true;
	if (wanted > available()) return false;
	bytes = wanted, piece = (PINNED + unit - 1) / unit * unit;
	maker = std::thread([this, device] { make(device); });
	return true;
}

/* With huge pages, where the machine has them, there are fewer pages to touch and to pin. */
void PinnedMemory::make(int device) {
	void *p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED) return;
	data = (char *)p;
	madvise(data, bytes, MADV_HUGEPAGE);
	std::vector<std::thread> threads;
	unsigned n = std::clamp(std::thread::hardware_concurrency() / 2, 1u, MOST_THREADS);
	for (unsigned t = 0; t < n; t++)
		threads.emplace_back([this, t, n] {
			for (size_t from = t * TOUCHED; from < bytes; from += n * TOUCHED)
				for (size_t i = from; i < std::min(from + TOUCHED, bytes); i += SMALL_PAGE)
					((volatile char *)data)[i] = 0;
		});
	for (std::thread &t : threads) t.join();
	bool works = cudaSetDevice(device) == cudaSuccess;
	for (; works && pinned < bytes; pinned += std::min(piece, bytes - pinned))
		if (cudaHostRegister(data + pinned, std::min(piece, bytes - pinned), cudaHostRegisterDefault) != cudaSuccess)
			break;
	cudaGetLastError(); /* wait reports a failure */
}

char *PinnedMemory::wait() {
	if (maker.joinable()) maker.join();
	return pinned == bytes ? data : nullptr;
}

void PinnedMemory::close() {
	if (maker.joinable()) maker.join();
	for (size_t i = 0; i < pinned; i += piece) cudaHostUnregister(data + i);
	if (data) munmap(data, bytes);
	data = nullptr, pinned = 0;
}

} // namespace fg
