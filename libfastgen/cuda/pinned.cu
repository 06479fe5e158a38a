/* See pinned.cuh. */
#include "pinned.cuh"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cuda_runtime.h>
#include <exception>
#include <sys/mman.h>

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
	void *p = mmap(nullptr, wanted, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED) return false;
	data = (char *)p, bytes = wanted, piece = (PINNED + unit - 1) / unit * unit;
	try {
		maker = std::thread([this, device] { make(device); });
	} catch (const std::exception &) {
		/* Without a thread none of it becomes usable. */
	}
	return true;
}

/* Writes to every page, by several threads where these can be had. */
void PinnedMemory::touch() {
	auto touch_some = [this](unsigned t, unsigned n) {
		for (size_t from = t * TOUCHED; from < bytes; from += n * TOUCHED)
			for (size_t i = from; i < std::min(from + TOUCHED, bytes); i += SMALL_PAGE) ((volatile char *)data)[i] = 0;
	};
	unsigned n = std::clamp(std::thread::hardware_concurrency() / 2, 1u, MOST_THREADS);
	std::thread threads[MOST_THREADS];
	for (unsigned t = 1; t < n; t++) {
		try {
			threads[t] = std::thread(touch_some, t, n);
		} catch (const std::exception &) {
			touch_some(t, n);
		}
	}
	touch_some(0, n);
	for (std::thread &t : threads)
		if (t.joinable()) t.join();
}

/* With huge pages, where the machine has them, there are fewer pages to touch and to pin. */
void PinnedMemory::make(int device) {
	madvise(data, bytes, MADV_HUGEPAGE);
	touch();
	bool works = cudaSetDevice(device) == cudaSuccess;
	for (size_t at = 0; works && at < bytes; at += std::min(piece, bytes - at)) {
		size_t n = std::min(piece, bytes - at);
		if (cudaHostRegister(data + at, n, cudaHostRegisterDefault) != cudaSuccess) break;
		pinned = at + n;
	}
	cudaGetLastError(); /* usable() tells how far it came */
}

void PinnedMemory::settle() {
	if (maker.joinable()) maker.join();
}

void PinnedMemory::close() {
	settle();
	for (size_t i = 0; i < pinned; i += piece) cudaHostUnregister(data + i);
	if (data) munmap(data, bytes);
	data = nullptr, pinned = 0;
}

} // namespace fg
