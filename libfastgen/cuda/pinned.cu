/* See pinned.cuh. */
#include "pinned.cuh"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cuda_runtime.h>
#include <exception>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace fg {

namespace {

/* Bytes that are touched, by several threads, before they are pinned. */
constexpr size_t TOUCHED = 512 << 20;
/* Bytes that are pinned by one call, some milliseconds: during it, the driver blocks all other calls. */
constexpr size_t PINNED = 32 << 20;
constexpr size_t SMALL_PAGE = 4096, HUGE_PAGE = 2 << 20;
constexpr unsigned MOST_THREADS = 4;
/* How nice these threads are: whoever serves requests goes first. */
constexpr int NICE = 10;

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

/* Of this thread alone, on Linux. */
void be_nice() {
	setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICE);
}

} // namespace

bool PinnedMemory::start(size_t wanted, size_t unit, int device) {
	if (wanted == 0) return true;
	if (wanted > available()) return false;
	void *p = mmap(nullptr, wanted, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED) return false;
	hurried = false;
	data = (char *)p, bytes = wanted, piece = (PINNED + unit - 1) / unit * unit;
	try {
		maker = std::thread([this, device] { make(device); });
	} catch (const std::exception &) {
		/* Without a thread none of it becomes usable. */
	}
	return true;
}

/* Writes to every page of bytes [from, to), by several threads where these can be had. */
void PinnedMemory::touch(size_t from, size_t to) {
	const unsigned n = std::clamp(std::thread::hardware_concurrency() / 4, 1u, MOST_THREADS);
	auto touch_some = [this, from, to, n](unsigned t) {
		be_nice();
		for (size_t at = from + t * HUGE_PAGE; at < to; at += n * HUGE_PAGE)
			for (size_t i = at; i < std::min(at + HUGE_PAGE, to); i += SMALL_PAGE) ((volatile char *)data)[i] = 0;
	};
	std::thread threads[MOST_THREADS];
	for (unsigned t = 1; t < n; t++) {
		try {
			threads[t] = std::thread(touch_some, t);
		} catch (const std::exception &) {
			touch_some(t);
		}
	}
	touch_some(0);
	for (std::thread &t : threads)
		if (t.joinable()) t.join();
}

/* With huge pages, where the machine has them, there are fewer pages to touch and to pin. After each call that pins,
 * the driver is left to others for as long as the call took, unless somebody waits for the memory. */
void PinnedMemory::make(int device) {
	using clock = std::chrono::steady_clock;
	be_nice();
	madvise(data, bytes, MADV_HUGEPAGE);
	bool works = cudaSetDevice(device) == cudaSuccess;
	for (size_t at = 0, touched = 0; works && at < bytes; at += piece) {
		const size_t n = std::min(piece, bytes - at);
		if (at + n > touched) {
			const size_t end = std::min(bytes, touched + std::max(n, TOUCHED / piece * piece));
			touch(touched, end);
			touched = end;
		}
		const clock::time_point start = clock::now();
		works = cudaHostRegister(data + at, n, cudaHostRegisterDefault) == cudaSuccess;
		if (works) pinned = at + n;
		if (!hurried) std::this_thread::sleep_for(clock::now() - start);
	}
	cudaGetLastError(); /* usable() tells how far it came */
}

void PinnedMemory::settle() {
	hurried = true;
	if (maker.joinable()) maker.join();
}

void PinnedMemory::close() {
	settle();
	for (size_t i = 0; i < pinned; i += piece) cudaHostUnregister(data + i);
	if (data) munmap(data, bytes);
	data = nullptr, pinned = 0;
}

} // namespace fg
