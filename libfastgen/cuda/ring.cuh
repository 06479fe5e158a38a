/*
 * ring.cuh - a place in a pipeline's ring of stages, whose barriers (hopper.cuh) complete once per round.
 */
#ifndef FG_RING_CUH
#define FG_RING_CUH

namespace fg {

template <int STAGES> struct Ring {
	int stage = 0;
	int phase = 0; /* parity of the round, for barrier_wait */

	/* Moves on by one stage. */
	__device__ __forceinline__ void next() {
		if (++stage == STAGES) stage = 0, phase ^= 1;
	}
};

} // namespace fg

#endif
