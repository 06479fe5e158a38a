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
		if (on & (16 | 32 | 64)) {
			s.n_prompt = below(1000), s.n_output = below(below(2) ? 100 : 1000);
			history.resize(s.n_prompt + s.n_output);
			for (int32_t &id : history) id = below(4) ? below(vocab) : below(vocab < 8 ? vocab : 8);
			s.history = history.data();
		}
	}
};

struct Counts {
	long rows, drawn, empty, logprobs, tops, differ;
};

/* n rows of vocab logits. In each round every slot gets new parameters and then samples `tokens` tokens. */
static void test_rows(int32_t vocab, int32_t n, int rounds, int tokens, Counts &counts) {
	const int32_t slots = n + 3, words = (vocab + 31) / 32;
	const fg_config config = make_config(vocab, slots);
	fg::Sampler sampler = {};
	if (sampler.open(&config) != FG_OK) {
		printf("open: %s\n", fg_error());
		exit(1);
	}
	cudaStream_t stream;
	CUDA(cudaStreamCreate(&stream));
	const Array<float> logits(new float[(size_t)n * vocab]);
	const Array<uint32_t> masks(new uint32_t[(size_t)n * words]);
	const Array<fg_row> rows(new fg_row[n]);
	OnDevice<float> d_logits((size_t)n * vocab), d_logprobs(2 * n), d_top_logprobs((size_t)n * FG_MAX_LOGPROBS);
	OnDevice<uint32_t> d_masks((size_t)n * words);
	OnDevice<fg_row> d_rows(n);
	OnDevice<int32_t> d_last(slots), d_ids(2 * n), d_ranks(2 * n), d_top_ids((size_t)n * FG_MAX_LOGPROBS);
	void *scratch = scratch_for(vocab);
	const Array<Params> params(new Params[slots]);
	std::vector<fg_sampler *> twins(slots);
	const Array<fg_fill> fills(new fg_fill[slots]);
	const fg::SampleArgs args = {
		d_logits.data, d_rows.data, d_masks.data,   d_last.data,         d_ids.data, d_logprobs.data,
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
			if (token % 4 == 0) {
				for (int32_t i = 0; i < n; i++)
					make_row(&logits[(size_t)i * vocab], vocab, below(3) ? below(PEAKED + 1) : below(ALL_KINDS));
				d_logits.set(logits);
			}
			for (size_t i = 0; i < d_masks.n; i++)
				masks[i] = (uint32_t)(below(2) ? next_random() : next_random() & next_random());
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
			d_masks.set(masks), d_rows.set(rows);
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
			const auto logprobs = d_logprobs.get(), top_logprobs = d_top_logprobs.get();

			for (int32_t i = 0; i < n; i++) {
				const fg_row &r = rows[i];
				if (r.slot < 0) {
					CHECK(ids[2 * i] == 0x55555555, "padding was written to");
					continue;
				}
				const float *z = &logits[(size_t)i * vocab];
				const fg_sampling &s = params[r.slot].s;
				const int32_t got = ids[2 * i];
				int32_t want = r.target;
				counts.rows++;
				if (want < 0) {
					want = fg_sampler_sample(twins[r.slot], z, r.mask < 0 ? nullptr : &masks[(size_t)r.mask * words],
					                         r.position, scratch);
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
				if (r.n_logprobs < 0) continue;
				float logprob, tops[FG_MAX_LOGPROBS];
				int32_t rank, tokens_of[FG_MAX_LOGPROBS];
				fg_logprobs(z, vocab, want, r.n_logprobs, &logprob, &rank, tokens_of, tops, scratch);
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
	printf("  %ld rows, %ld drawn (%ld of which had no token), %ld differ; %ld log probabilities, %ld alternatives\n",
	       all.rows, all.drawn, all.empty, all.differ, all.logprobs, all.tops);
	return report("sample_test (CUDA)");
}

int main(int argc, char **argv) {
	if (no_device("sample_test (CUDA)")) return 0;
	return test(argc > 1 && !strcmp(argv[1], "quick"));
}
