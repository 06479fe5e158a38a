/*
 * device_memory.cuh - a large piece of device memory that can be given back to the system and come back at the same
 * addresses, which CUDA graphs and tensor maps hold.
 */
#ifndef FG_DEVICE_MEMORY_CUH
#define FG_DEVICE_MEMORY_CUH

extern "C" {
#include "../error.h"
}

#include <cstddef>
#include <cuda_runtime.h>

namespace fg {

/* Of one device, which is the current one in all calls. */
class DeviceMemory {
  public:
	/* Makes it: zeroed memory, on `stream`. `what` it is for: text that outlives it, for messages. Where the driver has
	 * no virtual memory management it is memory all the same, which cannot be released. */
	fg_status open(size_t bytes, int device, const char *what, cudaStream_t stream);
	/* Whether release may be called. */
	bool can_release() const {
		return reserved > 0;
	}
	/* Gives the memory back to the system, once nothing uses it; the addresses stay reserved. Does nothing where it has
	 * been released. */
	fg_status release();
	/* Brings it back at the same addresses, zeroed on `stream`. FG_OUT_OF_MEMORY if the device has too little: then it
	 * is still released. Does nothing where it is there. */
	fg_status restore(cudaStream_t stream);
	void close();

	/* NULL before open. */
	char *begin() const {
		return data;
	}
	size_t size() const {
		return bytes;
	}
	bool is_there() const {
		return there;
	}

  private:
	fg_status fail(size_t wanted) const;

	char *data = nullptr;
	size_t bytes = 0;
	size_t reserved = 0; /* bytes of addresses; 0: plain memory */
	int device = 0;
	const char *what = "";
	bool there = false;
};

} // namespace fg

#endif
