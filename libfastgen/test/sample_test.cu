/*
 * sample_test.cu - compares the CUDA sampler with the CPU's: the same tokens to the bit, the same log probabilities up
 * to rounding.
 *
 * Exit status 1 on a difference. With the argument `quick` it runs a few small cases, for compute-sanitizer. Without a
 * device it says so and passes. ops_bench.cu times the sampler.
 */
#include "../cuda/sampling/sample.cuh"
#include "array.cuh"
#include "check_cuda.cuh"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
extern "C" {
#include "sample_check.h"
}

template <class T> struct OnDevice {
	T *data = nullptr;
	size_t n;
	explicit OnDevice(size_t n) : n(n) {
		CUDA(cudaMalloc(&data, (n ? n : 1) * sizeof(T)));
	}
	~OnDevice() {
		cudaFree(data);
	}
	OnDevice(const OnDevice &) = delete;
	void set(const Array<T> &from) {
		CUDA(cudaMemcpy(data, from.get(), n * sizeof(T), cudaMemcpyHostToDevice));
	}
	Array<T> get() const {
		Array<T> to(new T[n]);
		CUDA(cudaMemcpy(to.get(), data, n * sizeof(T), cudaMemcpyDeviceToHost));
		return to;
	}
};

static bool under_tool; /* a tool that makes kernels slow */

static fg_config make_config(int32_t vocab, int32_t slots) {
	fg_config config = {};
	config.shape.vocab_size = vocab;
	config.options.max_seqs = slots;
	return config;
}

static void fill(fg::Sampler &sampler, const fg_fill *fills, int32_t n, cudaStream_t stream) {
	OnDevice<char> device(sampler.fill_bytes(fills, n));
	const Array<char> host(new char[device.n]);
	sampler.pack_fills(fills, n, host.get());
	device.set(host);
	CUDA(sampler.apply_fills(n, host.get(), device.data, stream));
	CUDA(cudaStreamSynchronize(stream));
}

/* ---- Against the CPU ---- */

enum { PEAKED = N_KINDS, NOTHING, INFINITE, ZEROS, HUGE_SPREAD, ALL_NAN, ALL_KINDS };

static void make_row(float *logits, int32_t vocab, int kind) {
	if (kind < N_KINDS) {
		make_logits(logits, vocab, kind);
		return;
	}
	for (int32_t i = 0; i < vocab; i++) {
		float x = 0;
		if (kind == PEAKED) x = bell(1.5f) - (below(50) ? 10 : 0);
		if (kind == NOTHING) x = -INFINITY;
		if (kind == INFINITE) x = below(10) ? bell(3) : below(2) ? INFINITY : -INFINITY;
		if (kind == ZEROS) x = below(2) ? 0.0f : below(2) ? -0.0f : -1.0f;
		if (kind == HUGE_SPREAD) x = uniform(-1, 1) * (below(3) ? 1e3f : 3e38f);
		if (kind == ALL_NAN) x = NAN;
		logits[i] = x;
	}
}

/* Random parameters and what their pointers point to. */
struct Params {
	fg_sampling s;
	int32_t ids[FG_MAX_STOP_IDS + FG_MAX_LOGIT_BIAS];
	float bias[FG_MAX_LOGIT_BIAS];
	std::vector<int32_t> history;

	void randomize(int32_t vocab, unsigned on) {
		s = PLAIN;
		s.seed = next_random();
		if (on & 1) s.temperature = below(3) == 0 ? 0 : below(20) == 0 ? uniform(0, 1e-3f) : uniform(0.1f, 3);
		if (on & 2) s.top_k = below(4) == 0 ? vocab + below(3) : 1 + below(below(2) && vocab > 50 ? 50 : vocab);
		if (on & 4) s.top_p = below(4) == 0 ? 1e-6f : below(4) == 0 ? 0.99999994f : uniform(0.01f, 1);
		if (on & 8) s.min_p = below(8) == 0 ? 1 : uniform(0, below(2) ? 0.5f : 0.001f);
		if (on & 16) s.repetition_penalty = uniform(0.5f, 2);
		if (on & 32) s.presence_penalty = uniform(-2, 2);
		if (on & 64) s.frequency_penalty = uniform(-2, 2);
		for (int32_t &id : ids) id = below(vocab);
		for (float &b : bias) b = uniform(-10, 10);
		if (on & 128) s.bias_ids = ids, s.bias = bias, s.n_bias = below(4) ? 1 + below(32) : FG_MAX_LOGIT_BIAS;
		if (on & 256) {
			s.stop_ids = ids + FG_MAX_LOGIT_BIAS;
			s.n_stop_ids = below(4) ? below(8) : FG_MAX_STOP_IDS;
			s.min_context = 103;
		}
		if (on & 512) s.logprobs_mode = FG_PROCESSED_LOGPROBS;
		if (on & (16 | 32 | 64)) {
			s.n_prompt = below(1000), s.n_output = below(below(2) ? 100 : 1000);
			history.resize(s.n_prompt + s.n_output);
			for (int32_t &id : history) id = below(4) ? below(vocab) : below(vocab < 8 ? vocab : 8);
			s.history = history.data();
		}
	}
};

/* Masks in pinned memory, and what the kernel needs beside them. Their states are set between launches. */
struct PinnedMasks {
	fg::Masks masks;
	uint32_t *words;
	int32_t *state;

	PinnedMasks(int32_t n, int32_t vocab) {
		const size_t stride = fg_mask_stride(vocab);
		CUDA(cudaMallocHost(&words, n * stride * sizeof *words));
		CUDA(cudaMallocHost(&state, n * sizeof *state));
		masks = {words, state, nullptr, nullptr, nullptr, (uint32_t)stride};
		CUDA(cudaMalloc(&masks.copies, n * stride * sizeof *words));
		CUDA(cudaMalloc(&masks.found, n * sizeof *masks.found));
		CUDA(cudaMalloc(&masks.deadline, sizeof *masks.deadline));
		begin_step();
	}
	~PinnedMasks() {
		cudaFreeHost(words), cudaFreeHost(state), cudaFree(masks.copies), cudaFree(masks.found),
			cudaFree(masks.deadline);
	}
	PinnedMasks(const PinnedMasks &) = delete;
	const uint32_t *of(int32_t mask) const {
		return words + (size_t)mask * masks.stride;
	}
	void begin_step() const {
		CUDA(cudaMemset(masks.deadline, 0, sizeof *masks.deadline));
	}
};

struct Counts {
	long rows, drawn, empty, processed, logprobs, tops, differ;
};

/* n rows of vocab logits. In each round every slot gets new parameters and then samples `tokens` tokens. */
static void test_rows(int32_t vocab, int32_t n, int rounds, int tokens, Counts &counts) {
	const int32_t slots = n + 3;
	const fg_config config = make_config(vocab, slots);
	fg::Sampler sampler = {};
	if (sampler.open(&config) != FG_OK) {
		printf("open: %s\n", fg_error());
		exit(1);
	}
	cudaStream_t stream;
	CUDA(cudaStreamCreate(&stream));
	const Array<float> logits(new float[(size_t)n * vocab]);
	const PinnedMasks masks(n, vocab);
	const Array<fg_row> rows(new fg_row[n]);
	OnDevice<float> d_logits((size_t)n * vocab), d_logprobs(2 * n), d_top_logprobs((size_t)n * FG_MAX_LOGPROBS);
	OnDevice<fg_row> d_rows(n);
	OnDevice<int32_t> d_last(slots), d_ids(2 * n), d_ranks(2 * n), d_top_ids((size_t)n * FG_MAX_LOGPROBS);
	void *scratch = scratch_for(vocab);
	const Array<Params> params(new Params[slots]);
	std::vector<fg_sampler *> twins(slots);
	const Array<fg_fill> fills(new fg_fill[slots]);
	const fg::SampleArgs args = {
		d_logits.data, d_rows.data, masks.masks,    d_last.data,         d_ids.data, d_logprobs.data,
		d_ranks.data,  2,           d_top_ids.data, d_top_logprobs.data, n};

	for (int round = 0; round < rounds; round++) {
		for (int32_t slot = 0; slot < slots; slot++) {
			/* Each option alone first, then random sets of them. */
			const unsigned on = round == 0 ? 1u << slot % 10 : (unsigned)next_random();
			params[slot].randomize(vocab, on);
			twins[slot] = make(&params[slot].s, vocab);
			fills[slot].slot = slot;
			CHECK(fg::sampler_new(&config, &params[slot].s, &fills[slot].sampler) == FG_OK, "%s", fg_error());
		}
		fill(sampler, fills.get(), slots, stream);
		for (int32_t slot = 0; slot < slots; slot++) fg::sampler_free(fills[slot].sampler);

		for (int token = 0; token < tokens; token++) {
			if (token % 4 == 0)
				for (int32_t i = 0; i < n; i++)
					make_row(&logits[(size_t)i * vocab], vocab, below(3) ? below(PEAKED + 1) : below(ALL_KINDS));
			d_logits.set(logits); /* processed rows are overwritten */
			for (size_t i = 0; i < (size_t)n * masks.masks.stride; i++)
				masks.words[i] = (uint32_t)(below(2) ? next_random() : next_random() & next_random());
			for (int32_t i = 0; i < n; i++)
				masks.state[i] = below(8) ? FG_MASK_READY : below(2) ? FG_MASK_BROKEN : below(2);
			masks.begin_step();
			for (int32_t i = 0; i < n; i++) {
				const bool scores = below(12) == 0, masked = below(6) == 0;
				rows[i] = {i,
				           (i * 1 + token * 2) % slots,
				           100 + token,
				           scores ? below(vocab) : -1,
				           below(2)   ? -1
				           : below(3) ? below(FG_MAX_LOGPROBS + 1)
				                      : 0,
				           masked && !scores ? below(n) : -1,
				           -1};
				if (below(30) == 0) rows[i].slot = -1, rows[i].target = -1;
			}
			d_rows.set(rows);
			CUDA(cudaMemset(d_ids.data, 0x55, d_ids.n * sizeof(int32_t)));
			CUDA(cudaMemset(d_last.data, 0x55, d_last.n * sizeof(int32_t)));
			if (token % 2) { /* recorded and replayed, as decoding steps are */
				cudaGraph_t graph;
				cudaGraphExec_t exec;
				CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
				CUDA(sampler.run(args, stream));
				CUDA(cudaStreamEndCapture(stream, &graph));
				CUDA(cudaGraphInstantiate(&exec, graph, 0));
				CUDA(cudaGraphLaunch(exec, stream));
				CUDA(cudaStreamSynchronize(stream));
				CUDA(cudaGraphExecDestroy(exec));
				CUDA(cudaGraphDestroy(graph));
			} else {
				CUDA(sampler.run(args, stream));
				CUDA(cudaStreamSynchronize(stream));
			}
			const auto ids = d_ids.get(), ranks = d_ranks.get(), last = d_last.get(), top_ids = d_top_ids.get();
			const auto logprobs = d_logprobs.get(), top_logprobs = d_top_logprobs.get(), after = d_logits.get();

			for (int32_t i = 0; i < n; i++) {
				const fg_row &r = rows[i];
				if (r.slot < 0) {
					CHECK(ids[2 * i] == 0x55555555, "padding was written to");
					continue;
				}
				const float *z = &logits[(size_t)i * vocab];
				const fg_sampling &s = params[r.slot].s;
				const int32_t got = ids[2 * i];
				const float *reported = z;
				int32_t want = r.target;
				counts.rows++;
				if (want < 0) {
					const int32_t state = r.mask < 0 ? FG_MASK_READY : masks.state[r.mask];
					const uint32_t *mask = r.mask < 0 ? nullptr : masks.of(r.mask);
					want = state == FG_MASK_BROKEN ? FG_MASK_FAILED : FG_MASK_LATE;
					if (state == FG_MASK_READY) {
						if (r.n_logprobs >= 0)
							reported = fg_sampler_reported(twins[r.slot], z, mask, r.position, scratch);
						want = fg_sampler_sample(twins[r.slot], z, mask, r.position, scratch);
					}
					CHECK(last[r.slot] == want, "last token %d, not %d", last[r.slot], want);
					counts.drawn++;
					counts.empty += want < 0;
				}
				counts.differ += got != want;
				CHECK(got == want,
				      "vocab %d, %d rows, round %d token %d row %d: %d, not %d (T %g top_k %d top_p %g min_p %g "
				      "penalties %g %g %g "
				      "bias %d stop %d mask %d)",
				      vocab, n, round, token, i, got, want, (double)s.temperature, s.top_k, (double)s.top_p,
				      (double)s.min_p, (double)s.repetition_penalty, (double)s.presence_penalty,
				      (double)s.frequency_penalty, s.n_bias, s.n_stop_ids, r.mask);
				CHECK(!memcmp(&after[(size_t)i * vocab], reported, vocab * sizeof *reported),
				      "vocab %d, round %d token %d row %d: the row afterwards, processed or untouched (T %g top_k %d "
				      "top_p "
				      "%g min_p %g)",
				      vocab, round, token, i, (double)s.temperature, s.top_k, (double)s.top_p, (double)s.min_p);
				counts.processed += reported != z;
				if (r.n_logprobs < 0) continue;
				float logprob, tops[FG_MAX_LOGPROBS];
				int32_t rank, tokens_of[FG_MAX_LOGPROBS];
				fg_logprobs(reported, vocab, want, r.n_logprobs, &logprob, &rank, tokens_of, tops, scratch);
				CHECK(ranks[2 * i] == rank, "vocab %d row %d id %d: rank %d, not %d", vocab, i, want, ranks[2 * i],
				      rank);
				counts.logprobs++;
				CHECK(same_logprob(logprobs[2 * i], logprob), "vocab %d row %d id %d: log probability %.9g, not %.9g",
				      vocab, i, want, (double)logprobs[2 * i], (double)logprob);
				for (int t = 0; t < r.n_logprobs; t++) {
					const size_t at = (size_t)i * FG_MAX_LOGPROBS + t;
					counts.tops++;
					CHECK(top_ids[at] == tokens_of[t] && same_logprob(top_logprobs[at], tops[t]),
					      "vocab %d row %d top %d: %d %g, not %d %g", vocab, i, t, top_ids[at],
					      (double)top_logprobs[at], tokens_of[t], (double)tops[t]);
				}
			}
		}
		for (fg_sampler *t : twins) fg_sampler_free(t);
	}
	free(scratch);
	sampler.close();
	CUDA(cudaStreamDestroy(stream));
}

/* ---- Masks that come while the kernel runs ---- */

static double ms_between(cudaEvent_t start, cudaEvent_t end) {
	float ms;
	CUDA(cudaEventElapsedTime(&ms, start, end));
	return (double)ms;
}

/* n rows, all but the first with a mask. Some masks come while the kernel waits, others never. A row samples the one
 * token of its mask or is late, all of its blocks alike; together the rows wait no longer than they may. */
static void test_late(int32_t vocab, int32_t n) {
	const fg_config config = make_config(vocab, n);
	fg::Sampler sampler = {};
	CHECK(sampler.open(&config) == FG_OK, "%s", fg_error());
	cudaStream_t stream;
	cudaEvent_t start, end;
	CUDA(cudaStreamCreate(&stream));
	CUDA(cudaEventCreate(&start));
	CUDA(cudaEventCreate(&end));
	const PinnedMasks masks(n, vocab);
	const Array<float> logits(new float[(size_t)n * vocab]);
	const Array<fg_row> rows(new fg_row[n]);
	const Array<fg_fill> fills(new fg_fill[n]);
	OnDevice<float> d_logits((size_t)n * vocab), d_logprobs(n), d_top_logprobs((size_t)n * FG_MAX_LOGPROBS);
	OnDevice<fg_row> d_rows(n);
	OnDevice<int32_t> d_last(n), d_ids(n), d_ranks(n), d_top_ids((size_t)n * FG_MAX_LOGPROBS);
	for (int32_t i = 0; i < n; i++) {
		make_row(&logits[(size_t)i * vocab], vocab, PEAKED);
		rows[i] = {i, i, 17, -1, 0, i - 1, -1};
		fills[i].slot = i;
		CHECK(fg::sampler_new(&config, &PLAIN, &fills[i].sampler) == FG_OK, "%s", fg_error());
	}
	d_logits.set(logits), d_rows.set(rows);
	fill(sampler, fills.get(), n, stream);
	for (int32_t i = 0; i < n; i++) fg::sampler_free(fills[i].sampler);
	const fg::SampleArgs args = {
		d_logits.data, d_rows.data, masks.masks,    d_last.data,         d_ids.data, d_logprobs.data,
		d_ranks.data,  1,           d_top_ids.data, d_top_logprobs.data, n};
	for (int round = 0; round < 6; round++) {
		const bool all = round % 2 == 0; /* every mask comes, from the first on */
		memset(masks.words, 0, (size_t)n * masks.masks.stride * sizeof(uint32_t));
		for (int32_t i = 0; i < n; i++) masks.state[i] = FG_MASK_MISSING;
		masks.begin_step();
		CUDA(cudaEventRecord(start, stream));
		CUDA(sampler.run(args, stream));
		CUDA(cudaEventRecord(end, stream));
		auto token = [&](int32_t mask) { return (mask * 37 + round) % vocab; };
		for (int32_t mask = 0; mask < n - 1; mask++) {
			if (!all && mask % 3 == 0) continue;
			masks.words[(size_t)mask * masks.masks.stride + token(mask) / 32] |= 1u << token(mask) % 32;
			__atomic_store_n(&masks.state[mask], mask % 5 ? FG_MASK_READY : FG_MASK_BROKEN, __ATOMIC_RELEASE);
		}
		CUDA(cudaStreamSynchronize(stream));
		const auto ids = d_ids.get(), last = d_last.get(), ranks = d_ranks.get();
		int32_t late = 0;
		for (int32_t i = 0; i < n; i++) {
			const int32_t mask = i - 1, want = mask < 0 ? ids[i] : mask % 5 ? token(mask) : FG_MASK_FAILED;
			const bool given = mask < 0 || all || mask % 3, was_late = ids[i] == FG_MASK_LATE;
			CHECK(was_late ? mask >= 0 : given && ids[i] == want, "vocab %d row %d: %d, not %d", vocab, i, ids[i],
			      want);
			CHECK(last[i] == ids[i] && (ranks[i] > 0) == (ids[i] >= 0), "row %d: last %d, rank %d", i, last[i],
			      ranks[i]);
			late += was_late;
		}
		const double ms = ms_between(start, end), most = (double)FG_MASK_WAIT_US / 1000;
		printf("  vocab %d, %d rows: %d late, %.3f ms\n", vocab, n, late, ms);
		if (!all && n > 1) CHECK(ms > most * 0.9, "rows waited for %.3f ms", ms);
		if (!under_tool) CHECK(ms < most + 1, "rows waited for %.3f ms", ms);
	}
	sampler.close();
	CUDA(cudaEventDestroy(start));
	CUDA(cudaEventDestroy(end));
	CUDA(cudaStreamDestroy(stream));
}

struct Size {
	int32_t vocab, n;
	int rounds, tokens;
};

static int test(bool quick) {
	static const std::vector<Size> all_cases = {
		{1, 40, 4, 6},      {5, 300, 4, 6},     {33, 150, 4, 6},    {127, 300, 4, 6},
		{128, 8, 20, 6},    {129, 64, 8, 6},    {1000, 300, 6, 6},  {4099, 100, 8, 6},
		{4099, 1, 40, 4},   {32000, 60, 4, 6},  {32768, 300, 2, 5}, {50257, 20, 4, 5},
		{128256, 12, 6, 5}, {151936, 40, 3, 4}, {151936, 1, 30, 4}, {152064, 130, 1, 3},
	};
	static const std::vector<Size> few_cases = {{33, 4, 1, 2}, {4099, 3, 1, 2}, {32000, 2, 1, 2}};
	random_state = 42;
	Counts all = {};
	for (const Size &c : quick ? few_cases : all_cases) test_rows(c.vocab, c.n, c.rounds, c.tokens, all);
	under_tool = quick;
	test_late(4099, 4), test_late(32000, 2);
	if (!quick) test_late(32768, 256), test_late(152064, 256), test_late(152064, 600);
	printf("  %ld rows, %ld drawn (%ld of which had no token, %ld processed), %ld differ; %ld log probabilities, %ld "
	       "alternatives\n",
	       all.rows, all.drawn, all.empty, all.processed, all.differ, all.logprobs, all.tops);
	return report("sample_test (CUDA)");
}

int main(int argc, char **argv) {
	if (no_device("sample_test (CUDA)")) return 0;
	return test(argc > 1 && !strcmp(argv[1], "quick"));
}
