/*
 * marks.cuh - points in a stream's time, for traces of any length: events are used again once their time is known.
 */
#ifndef FG_MARKS_CUH
#define FG_MARKS_CUH

#include <cstdint>
#include <cuda_runtime.h>
#include <deque>
#include <vector>

namespace fg {

/* On one thread at a time. */
class Marks {
  public:
	/* Records a mark after what has been enqueued in the stream, and sets *mark to its number. The first one waits for
	 * the stream, to know when it was. May throw std::bad_alloc. */
	cudaError_t record(cudaStream_t stream, uint64_t *mark);
	/* The mark's time by fg_clock_ns, a few microseconds late; the mark is waited for. 0 for a mark that was never
	 * recorded. */
	uint64_t ns(uint64_t mark);
	/* Forgets all marks and frees their events. */
	void clear();

  private:
	void settle_first();

	double first_ns = 0;            /* when the first mark was */
	std::vector<double> times;      /* of the marks that are over, in nanoseconds */
	std::deque<cudaEvent_t> events; /* of the last of them and of those that follow it */
	std::vector<cudaEvent_t> spare;
};

} // namespace fg

#endif
