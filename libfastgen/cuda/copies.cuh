/*
 * copies.cuh - KV pages on their way between device and host. They go on two streams of their own, one for each
 * direction, beside each other and beside the steps.
 */
#ifndef FG_COPIES_CUH
#define FG_COPIES_CUH

#include <cstddef>
#include <cstdint>
#include <cuda_runtime.h>
#include <vector>

namespace fg {

/* Copies in one direction. They are numbered in the order they run, from 1 on; 0 = none. */
struct CopyStream {
	static constexpr uint64_t RECENT = 512;
	cudaStream_t stream;
	uint64_t given;           /* copies so far */
	uint64_t awaited;         /* the last copy that the other direction waits for */
	cudaEvent_t over[RECENT]; /* copy n is over: over[n % RECENT], of the copies given last */
};

struct PageCopies {
	CopyStream to_host, to_device;
	cudaEvent_t steps_enqueued;
	/* The last copy to the device that runs beside the step `arriving_beside`: the next step waits for it. */
	uint64_t arriving, arriving_beside;
	/* [n_host_pages]: the last copy to the host that wrote a host page, and the last to the device that read it. */
	std::vector<uint64_t> host_written, host_read;
	/* [n_pages]: the last copy to the device that wrote a page, and the last to the host that read it. */
	std::vector<uint64_t> written, read;
};

/* When the copies that came with a step began and ended. */
struct CopyTimes {
	cudaEvent_t to_host_start, to_host_end, to_device_start, to_device_end;
	bool to_host, to_device; /* whether there were any that no result has told of */
	bool beside;             /* some of those to the device may end after their step */
};

} // namespace fg

#endif
