/*
 * card.hpp - what card.cpp and card_runtime.cpp share.
 */
#ifndef FG_TEST_CARD_HPP
#define FG_TEST_CARD_HPP

#include "../cuda/libraries.h"
#include "card.h"

#include <cuda_runtime.h>
#include <functional>

extern card current_card;
extern thread_local int card_device; /* the calling thread's */

/* ---- card_streams.cpp ---- */

/* Whether streams keep what they are given, until card_run, in place of doing it at once. */
void card_keep(bool keep);
/* Gives a stream something to do. */
void card_enqueue(cudaStream_t stream, std::function<void()> run);
/* A stream does one thing that it has kept: choose(n) picks one of n that need not wait for others. False when there is
 * none. */
bool card_run(size_t (*choose)(size_t));

/* ---- card_trace.cpp ---- */

/* A stream has run a kernel, or has copied so many bytes (name NULL); or the graph that is being captured has it now.
 */
void card_ran(const char *name, size_t bytes, cudaStream_t stream);
/* NULL, with fg_error's text set, where there is no CUPTI (card_cupti). */
void *card_open_cupti(const fg_function *functions, int n_functions);

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
