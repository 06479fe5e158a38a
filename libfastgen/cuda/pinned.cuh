/*
 * pinned.cuh - a large piece of pinned host memory, made beside everything else: to touch and pin some GiB takes about
 * a second, which a start need not wait for.
 */
#ifndef FG_PINNED_CUH
#define FG_PINNED_CUH

#include <cstddef>
#include <thread>

namespace fg {

class PinnedMemory {
  public:
	/* Begins to make `bytes` of it for transfers with this device; 0 = none. Once. */
	void start(size_t bytes, int device);
	/* Waits until it is there: zeroed memory, or NULL where the machine has not enough or will not pin so much. */
	char *wait();
	void close();

  private:
	void make(int device);

	std::thread maker;
	char *data = nullptr;
	size_t bytes = 0;
	bool pinned = false;
};

} // namespace fg

#endif
