/*
 * pinned.cuh - a large piece of pinned host memory, made in the background: touching and pinning many GiB takes
 * seconds, and neither the start nor the first requests need to wait for it.
 */
#ifndef FG_PINNED_CUH
#define FG_PINNED_CUH

#include <cstddef>
#include <thread>

namespace fg {

class PinnedMemory {
  public:
	/* Starts making `bytes` of it, for transfers with this device of `unit` bytes each or a multiple; 0 = none. False
	 * if not that much memory is available. Once. */
	bool start(size_t bytes, size_t unit, int device);
	/* Waits until it is there. Zeroed; NULL if the machine does not pin that much. */
	char *wait();
	void close();

  private:
	void make(int device);

	std::thread maker;
	char *data = nullptr;
	size_t bytes = 0;
	size_t piece = 0;  /* bytes pinned by one call */
	size_t pinned = 0; /* bytes pinned so far */
};

} // namespace fg

#endif
