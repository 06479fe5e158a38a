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

struct PageCopies {
	cudaStream_t to_host, to_device;
	cudaEvent_t steps_enqueued;
	cudaEvent_t copies_done;   /* those to the host */
	cudaEvent_t arrivals_done; /* those to the device */
	/* Whether copies to the device run beside the step `arriving_beside`: the next step waits for them. */
	bool are_arriving;
	uint64_t arriving_beside;
	/* By page: 1 + the number of the last step with which something was copied from a host page or to a device page. */
	std::vector<uint64_t> host_read, written;
};

/* When the copies that came with a step began and ended. */
struct CopyTimes {
	cudaEvent_t to_host_start, to_host_end, to_device_start, to_device_end;
	bool to_host, to_device; /* whether there were any that no result has told of */
	bool beside;             /* some of those to the device may end after their step */
};

} // namespace fg

#endif
