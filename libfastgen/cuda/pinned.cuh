/*
 * pinned.cuh - a large piece of pinned host memory, made beside everything else: to touch and pin many GiB takes
 * seconds, which neither a start nor the first requests need to wait for.
 */
#ifndef FG_PINNED_CUH
#define FG_PINNED_CUH

#include <cstddef>
#include <thread>

namespace fg {

class PinnedMemory {
  public:
	/* Begins to make `bytes` of it for transfers with this device, of `unit` bytes each or a multiple; 0 = none. False
	 * where so much is not free. Once. */
	bool start(size_t bytes, size_t unit, int device);
	/* Waits until it is there: zeroed memory, or NULL where the machine will not pin so much. */
	char *wait();
	void close();

  private:
	void make(int device);

	std::thread maker;
	char *data = nullptr;
	size_t bytes = 0;
	size_t piece = 0;  /* bytes pinned by one call */
	size_t pinned = 0; /* of the bytes */
};

} // namespace fg

#endif
