/*
 * pinned.cuh - a large piece of pinned host memory, made in the background: touching and pinning many GiB takes
 * seconds, and neither the start nor the first requests need to wait for it. It is made in small pieces, with pauses,
 * by threads that give way to others.
 */
#ifndef FG_PINNED_CUH
#define FG_PINNED_CUH

#include <atomic>
#include <cstddef>
#include <thread>

namespace fg {

class PinnedMemory {
  public:
	/* Starts making `bytes` of it, for transfers with this device of `unit` bytes each or a multiple; 0 = none. False
	 * if not that much memory is available. Once, or again after close. */
	bool start(size_t bytes, size_t unit, int device);
	/* How many bytes from the start of it can be used by now, in whole units. It never falls, and stays below what was
	 * asked for if the machine does not pin that much. Any thread. */
	size_t usable() const {
		return pinned;
	}
	/* Bytes, from the start on, that were pinned by one call: no copy may cross from one such piece to the next. */
	size_t piece_size() const {
		return piece;
	}
	/* Waits until no more of it will become usable, and makes it without pauses. */
	void settle();
	/* Where it begins. Zeroed. Only the first usable() bytes may be used. NULL before start and after close. */
	char *begin() const {
		return data;
	}
	void close();

  private:
	void touch(size_t from, size_t to);
	void make(int device);

	std::thread maker;
	char *data = nullptr;
	size_t bytes = 0;
	size_t piece = 0;              /* bytes pinned by one call */
	std::atomic<size_t> pinned{0}; /* bytes pinned so far */
	std::atomic<bool> hurried{false};
};

} // namespace fg

#endif
