/*
 * card.hpp - what card.cpp and card_runtime.cpp share.
 */
#ifndef FG_TEST_CARD_HPP
#define FG_TEST_CARD_HPP

#include "card.h"

#include <cuda_runtime.h>

extern card current_card;

/* Returns the error, and keeps it for cudaGetLastError. */
cudaError_t card_error(cudaError_t error);

/* While one exists, this thread's `new` does not fail: its memory is not the library's. */
struct OwnMemory {
	static inline thread_local int depth = 0;
	OwnMemory() {
		depth++;
	}
	~OwnMemory() {
		depth--;
	}
};

#endif
