/*
 * slots.cu - fills the sampler's slots: checks and packs parameters on the host, and applies them on the device in the
 * stream.
 */
#include "sample.cuh"
#include "state.cuh"

extern "C" {
#include "../../sampling.h"
}
#include "../../sample_math.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <numeric>
#include <vector>

namespace fg {

namespace {

/* What sampler_new makes: a copy of a fill's parameters. */
struct HostSampler {
	SlotParams params;
	std::vector<int32_t> stop_ids, bias_ids, history; /* history: empty without penalties */
	std::vector<float> bias;
	int32_t n_prompt;
};

/* One packed fill. Its stop_ids, bias_ids, bias and history follow each other at `data`. */
struct Fill {
	SlotParams params;
	uint64_t data; /* bytes from the first Fill */
	int32_t slot, n_prompt, n_history, reserved;
};

size_t data_bytes(const HostSampler &h) {
	size_t words = h.stop_ids.size() + h.bias_ids.size() + h.bias.size() + h.history.size();
	return (words * sizeof(int32_t) + 7) & ~(size_t)7;
}

/* Adds n to a token's count, or marks the token as being in the prompt. */
__device__ void mark_token(uint16_t *mark, uint32_t n, bool in_prompt) {
	uint16_t old = *(volatile uint16_t *)mark, seen, now;
	do {
		seen = old;
		if (in_prompt) now = seen | MARK_PROMPT;
		else now = (seen & ~MARK_COUNT) | (uint16_t)min((uint32_t)(seen & MARK_COUNT) + n, (uint32_t)MARK_COUNT);
		if (now == seen) return;
		old = atomicCAS((unsigned short *)mark, seen, now);
	} while (old != seen);
}

/* One block per fill. */
__global__ void __launch_bounds__(1024) fill_kernel(const char *packed, SamplerState state) {
	const Fill f = ((const Fill *)packed)[blockIdx.x];
	Slot *slot = state.slots + f.slot;
	const int32_t n_stop = f.params.n_stop, n_bias = f.params.n_bias;
	const int32_t *stop_ids = (const int32_t *)(packed + f.data), *bias_ids = stop_ids + n_stop;
	const float *bias = (const float *)(bias_ids + n_bias);
	const int32_t *history = (const int32_t *)(bias + n_bias);
	if (threadIdx.x == 0) slot->params = f.params;
	if (!f.params.marked) return;

	uint16_t *marks = state.marks + (size_t)f.slot * state.mark_stride;
	for (int32_t i = threadIdx.x; i < state.mark_stride / 8; i += blockDim.x)
		((uint4 *)marks)[i] = make_uint4(0, 0, 0, 0);
	__syncthreads();
	for (int32_t i = threadIdx.x; i < n_stop; i += blockDim.x) marks[slot->stop_ids[i] = stop_ids[i]] = MARK_LISTED;
	for (int32_t i = threadIdx.x; i < n_bias; i += blockDim.x) {
		marks[slot->bias_ids[i] = bias_ids[i]] = MARK_LISTED;
		slot->bias[i] = bias[i];
	}
	__syncthreads();
	for (int32_t i = threadIdx.x; i < f.n_history; i += blockDim.x) {
		const int32_t id = history[i];
		/* Equal tokens among the active lanes are added together. */
		const bool in_prompt = i < f.n_prompt;
		const unsigned same = __match_any_sync(__activemask(), id * 2ll + in_prompt);
		if (__ffs(same) - 1 == (int)(threadIdx.x % 32)) mark_token(marks + id, __popc(same), in_prompt);
	}
}

} // namespace

fg_status sampler_new(const fg_config *config, const fg_sampling *sampling, void **sampler) {
	*sampler = nullptr;
	fg_status status = fg_sampling_check(sampling, config->shape.vocab_size);
	if (status != FG_OK) return status;
	const fg_sampling &s = *sampling;
	HostSampler *h = nullptr;
	try {
		h = new HostSampler();
		const bool penalties = fg_sampling_penalizes(sampling);
		h->params = {s.seed,
		             s.temperature,
		             s.top_p,
		             fg_min_p_limit(s.min_p),
		             s.top_k,
		             s.repetition_penalty,
		             s.presence_penalty,
		             s.frequency_penalty,
		             s.min_context,
		             s.n_stop_ids,
		             s.n_bias,
		             penalties || s.n_stop_ids > 0 || s.n_bias > 0,
		             penalties,
		             s.logprobs_mode == FG_PROCESSED_LOGPROBS};
		h->stop_ids.assign(s.stop_ids, s.stop_ids + s.n_stop_ids);
		std::sort(h->stop_ids.begin(), h->stop_ids.end());
		std::vector<int32_t> order(s.n_bias);
		std::iota(order.begin(), order.end(), 0);
		std::stable_sort(order.begin(), order.end(),
		                 [&](int32_t a, int32_t b) { return s.bias_ids[a] < s.bias_ids[b]; });
		for (int32_t i : order) h->bias_ids.push_back(s.bias_ids[i]), h->bias.push_back(s.bias[i]);
		if (penalties) h->history.assign(s.history, s.history + s.n_prompt + s.n_output);
		h->n_prompt = s.n_prompt;
	} catch (const std::bad_alloc &) {
		delete h;
		return fg_fail(FG_OUT_OF_MEMORY, "out of host memory for the sampling parameters of a slot");
	}
	*sampler = h;
	return FG_OK;
}

void sampler_free(void *sampler) {
	delete (HostSampler *)sampler;
}

fg_status Sampler::open(const fg_config *config) {
	const size_t n = (size_t)config->options.max_seqs;
	state = new (std::nothrow) SamplerState();
	if (!state) return fg_fail(FG_OUT_OF_MEMORY, "out of host memory for the sampler");
	state->vocab_size = config->shape.vocab_size;
	state->mark_stride = (state->vocab_size + 7) / 8 * 8;
	int device = 0, major = 0;
	cudaError_t error = cudaGetDevice(&device);
	if (!error) error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
	if (!error) error = cudaDeviceGetAttribute(&state->multiprocessors, cudaDevAttrMultiProcessorCount, device);
	state->max_team = major >= 9 ? MAX_TEAM : 1;
	if (!error) error = sample_kernel_prepare(state->vocab_size, &state->max_team);
	cudaGetLastError(); /* a failure must not show up in a later check */
	if (error)
		return fg_fail(FG_DEVICE, "the sampler cannot run with a vocabulary of %d: %s", state->vocab_size,
		               cudaGetErrorString(error));
	const size_t mark_bytes = n * (size_t)state->mark_stride * sizeof(uint16_t);
	error = cudaMalloc(&state->slots, n * sizeof(Slot));
	if (!error) error = cudaMalloc(&state->marks, mark_bytes);
	if (!error) error = cudaMemset(state->slots, 0, n * sizeof(Slot));
	if (!error) error = cudaDeviceSynchronize(); /* the context's stream does not wait for the memset */
	cudaGetLastError();
	if (error)
		return fg_fail(FG_OUT_OF_MEMORY,
		               "no device memory for the sampling state of %zu slots (%zu MB): lower max_seqs (%s)", n,
		               (mark_bytes + n * sizeof(Slot)) >> 20, cudaGetErrorString(error));
	return FG_OK;
}

void Sampler::close() {
	if (!state) return;
	cudaFree(state->slots);
	cudaFree(state->marks);
	delete state;
	state = nullptr;
}

size_t Sampler::fill_bytes(const fg_fill *fills, int32_t n_fills) const {
	size_t bytes = (size_t)n_fills * sizeof(Fill);
	for (int32_t i = 0; i < n_fills; i++) bytes += data_bytes(*(const HostSampler *)fills[i].sampler);
	return bytes;
}

void Sampler::pack_fills(const fg_fill *fills, int32_t n_fills, char *host) const {
	size_t at = (size_t)n_fills * sizeof(Fill);
	for (int32_t i = 0; i < n_fills; i++) {
		const HostSampler &h = *(const HostSampler *)fills[i].sampler;
		((Fill *)host)[i] = {h.params, at, fills[i].slot, h.n_prompt, (int32_t)h.history.size(), 0};
		char *data = host + at;
		auto put = [&](const auto &list) {
			const size_t bytes = list.size() * sizeof list[0];
			if (bytes) memcpy(data, list.data(), bytes);
			data += bytes;
		};
		put(h.stop_ids), put(h.bias_ids), put(h.bias), put(h.history);
		at += data_bytes(h);
	}
}

cudaError_t Sampler::apply_fills(int32_t n_fills, const char *, const char *device, cudaStream_t stream) {
	if (n_fills == 0) return cudaSuccess;
	fill_kernel<<<n_fills, 1024, 0, stream>>>(device, *state);
	return cudaGetLastError();
}

} // namespace fg
