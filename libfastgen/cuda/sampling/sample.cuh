/*
 * sample.cuh - sampling and log probabilities on the device: the twin of ../../cpu/sample.c, as ../../sample_math.h
 * defines them.
 *
 * The state of every slot (parameters, stop ids, biases, penalty counts) lives on the device. A slot is filled in the
 * stream, between steps. All kernels may be captured in a graph: the slot's state decides what they do for a row.
 */
#ifndef FG_SAMPLE_CUH
#define FG_SAMPLE_CUH

#include "../ops.cuh"

#include <cuda_runtime.h>

namespace fg {

struct SamplerState; /* device arrays; sample.cu */

/* Where fg_row.mask points: an index into all of them. They lie in host memory, where the host may still write them
 * while a kernel waits for them. They are copied to the device before rows are sampled. */
struct Masks {
	const uint32_t *words; /* host [][stride] */
	const int32_t *state;  /* host []: fg_mask_state */
	uint32_t *copies;      /* device [most rows of a launch][stride] */
	int32_t *found;        /* device [most rows of a launch]: FG_NO_TOKEN where the mask is there, else the row's id */
	uint64_t *deadline;    /* device: until when the step's rows wait, by globaltimer; 0 = none has waited yet */
	uint32_t stride;       /* words, as fg_mask_stride says */
};

struct SampleArgs {
	float *logits;      /* [n][vocab_size]; rows of slots with FG_PROCESSED_LOGPROBS may become processed logits */
	const fg_row *rows; /* [n]; those with slot -1 are padding and skipped */
	Masks masks;
	int32_t *last_token; /* out [max_seqs]: by slot, the sampled id, or what fg_result says instead */
	int32_t *ids;        /* out, row i at ids[i * stride]: the sampled id, the target, or the same */
	float *logprobs;     /* out, row i at logprobs[i * stride]: of that id; not written where n_logprobs is -1 */
	int32_t *ranks;      /* out, row i at ranks[i * stride]: its rank, as fg_result says; written where logprobs is */
	int32_t stride;
	int32_t *top_ids;    /* out [n][FG_MAX_LOGPROBS] */
	float *top_logprobs; /* out [n][FG_MAX_LOGPROBS] */
	int32_t n;
};

/* One per context, used by its rank thread. */
struct Sampler {
	SamplerState *state;

	/* Allocates the state of max_seqs slots. FG_OUT_OF_MEMORY, or FG_DEVICE if the vocabulary is
	 * too large. */
	fg_status open(const fg_config *config);
	void close();

	/* Slots are filled in three steps: fill_bytes says how many bytes the fills take, pack_fills writes them to host
	 * memory, and once the caller has them copied to the device, apply_fills applies them in the stream. `host` and
	 * `device` hold the same bytes; `host` must not change until the step is over. */
	size_t fill_bytes(const fg_fill *fills, int32_t n_fills) const;
	void pack_fills(const fg_fill *fills, int32_t n_fills, char *host) const;
	cudaError_t apply_fills(int32_t n_fills, const char *host, const char *device, cudaStream_t stream);

	/* Launches on `stream`. Returns the launch's error. */
	cudaError_t run(const SampleArgs &args, cudaStream_t stream) const;
};

/* As in ops.h: checks the parameters and copies them to a host object, which pack_fills reads. */
fg_status sampler_new(const fg_config *config, const fg_sampling *sampling, void **sampler);
void sampler_free(void *sampler);

} // namespace fg

#endif
