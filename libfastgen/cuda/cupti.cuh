/*
 * cupti.cuh - what a device runs, told by CUPTI's activity API: every kernel, copy and memset, with its times. The
 * library is opened when it is first needed.
 */
#ifndef FG_CUPTI_CUH
#define FG_CUPTI_CUH

#include "ops.cuh"

#include <vector>

namespace fg {

/* One device while it is watched. CUPTI knows the process alone: what several engines ask for is recorded together, and
 * each takes what its devices did. Not for two threads at once; different objects may be. */
class Watch {
  public:
	/* Records from now on, at most `limit` things. FG_UNSUPPORTED, with fg_error's text set, where there is no CUPTI or
	 * it refuses. May throw std::bad_alloc. */
	fg_status start(int32_t device, size_t limit);
	/* Ends it, and says what the device did. It must have done all that it was asked for. Valid until forget. What
	 * there is no memory for counts as dropped. */
	fg_activities stop();
	/* Ends it if it has not ended, and frees what it found. */
	void forget();

  private:
	int32_t device = -1; /* -1: not watched */
	std::vector<fg_activity> found;
};

} // namespace fg

#endif
