/*
 * state.cuh - the sampler's state on the device, slot by slot.
 */
#ifndef FG_SAMPLE_STATE_CUH
#define FG_SAMPLE_STATE_CUH

#include "../../fastgen.h"

#include <cuda_runtime.h>

namespace fg {

constexpr int MAX_TEAM = 8; /* blocks per row */

/* A mark is what a slot knows about one token: how often it is in the output (counting stops at MARK_COUNT, which
 * affects frequency_penalty alone), whether it is in the prompt, and whether it is in one of the slot's lists. */
enum : uint16_t {
	MARK_PROMPT = 0x8000,
	MARK_LISTED = 0x4000,
	MARK_COUNT = 0x3fff,
	MARK_SEEN = MARK_PROMPT | MARK_COUNT
};

struct SlotParams {
	uint64_t seed;
	float temperature, top_p, min_p_limit;
	int32_t top_k;
	float repetition, presence, frequency;
	int32_t min_context;
	int32_t n_stop, n_bias;
	int32_t marked;    /* 0: no token has a mark. The slot's marks are then those of an earlier sequence. */
	int32_t penalties; /* 1: sampled tokens are counted */
	int32_t processed; /* 1: log probabilities are of the processed distribution */
};

struct Slot {
	SlotParams params;
	int32_t stop_ids[FG_MAX_STOP_IDS];   /* ascending */
	int32_t bias_ids[FG_MAX_LOGIT_BIAS]; /* ascending; equal ones in the order in which they were given */
	float bias[FG_MAX_LOGIT_BIAS];
};

struct SamplerState {
	Slot *slots;     /* [max_seqs] */
	uint16_t *marks; /* [max_seqs][mark_stride] */
	int32_t vocab_size;
	int32_t mark_stride; /* vocab_size, rounded up so that a slot's marks are a multiple of 16 bytes */
	int32_t max_team;    /* the most blocks per row: 1 if the device has no clusters */
	int32_t multiprocessors;
};

/* In sample.cu. Call once before the first Sampler::run with this vocabulary: lets blocks have the shared memory that
 * its rows need, and lowers *max_team to what the device can run as a cluster. */
cudaError_t sample_kernel_prepare(int32_t vocab_size, int32_t *max_team);

} // namespace fg

#endif
