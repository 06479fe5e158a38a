/*
 * state.cuh - what the sampler keeps on the device for each slot.
 */
#ifndef FG_SAMPLE_STATE_CUH
#define FG_SAMPLE_STATE_CUH

#include "../../fastgen.h"

#include <cuda_runtime.h>

namespace fg {

constexpr int MAX_TEAM = 8; /* blocks that may share a row */

/* A mark is what a slot knows of one token: how often it is in the output (it stops counting at MARK_COUNT, which only
 * frequency_penalty could notice), whether it is in the prompt, and whether it is in one of the slot's lists. */
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
	int32_t marked;    /* 0: no token has a mark, and the slot's marks are those of another sequence */
	int32_t penalties; /* sampled tokens are counted */
};

struct Slot {
	SlotParams params;
	int32_t stop_ids[FG_MAX_STOP_IDS];   /* ascending */
	int32_t bias_ids[FG_MAX_LOGIT_BIAS]; /* ascending, equal ones in the order they were given */
	float bias[FG_MAX_LOGIT_BIAS];
};

struct SamplerState {
	Slot *slots;     /* [max_seqs] */
	uint16_t *marks; /* [max_seqs][mark_stride] */
	int32_t vocab_size;
	int32_t mark_stride; /* vocab_size rounded up to whole 16 bytes */
	int32_t max_team;    /* blocks that may share a row: 1 where the device has no clusters */
	int32_t multiprocessors;
};

/* sample.cu: to be called once, before the first run with this vocabulary. */
cudaError_t sample_kernel_prepare(int32_t vocab_size);

} // namespace fg

#endif
