/*
 * perf.c - speed of the CPU library on random weights, beside the machine's memory bandwidth. Not a test: it fails
 * only on errors. Usage: perf [small] [threads] [trace.json]. PERF_FP8=1 quantises the weights and the KV cache.
 */
#include "../fastgen.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void check(fg_status status) {
	if (!status) return;
	fprintf(stderr, "error %d: %s\n", (int)status, fg_error());
	exit(1);
}

/* The clock. With PERF_CPU=1 it is the CPU time of this process, which other processes disturb less; for one thread. */
static double now(void) {
	struct timespec t;
	const char *cpu = getenv("PERF_CPU");
	clock_gettime(cpu && *cpu == '1' ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- memory bandwidth: each thread sums up its piece of a buffer that is far larger than the caches ---- */

enum { BUFFER = 512 << 20 };

typedef struct {
	const char *data;
	size_t bytes;
	uint64_t sum;
} reader;

static void *read_part(void *argument) {
	reader *r = argument;
	typedef uint64_t vector __attribute__((vector_size(64), aligned(64)));
	const vector *v = (const vector *)(const void *)r->data;
	vector a = {0}, b = {0}, c = {0}, d = {0};
	for (size_t i = 0; i < r->bytes / 64; i += 4) {
		a += v[i];
		b += v[i + 1];
		c += v[i + 2];
		d += v[i + 3];
	}
	a += b + c + d;
	for (int i = 0; i < 8; i++) r->sum += a[i];
	return NULL;
}

static double bandwidth(int n_threads) {
	char *data = aligned_alloc(1 << 21, BUFFER);
	if (!data) exit(1);
	memset(data, 1, BUFFER);
	double best = 0;
	for (int round = 0; round < 8; round++) {
		pthread_t thread[256];
		reader part[256];
		double start = now();
		for (int i = 0; i < n_threads; i++) {
			part[i] = (reader){.data = data + (size_t)i * (BUFFER / (size_t)n_threads / 256 * 256),
			                   .bytes = BUFFER / (size_t)n_threads / 256 * 256};
			pthread_create(&thread[i], NULL, read_part, &part[i]);
		}
		for (int i = 0; i < n_threads; i++) pthread_join(thread[i], NULL);
		double rate = (double)BUFFER * 1e-9 / (now() - start);
		if (rate > best && part[0].sum) best = rate;
	}
	free(data);
	return best; /* GB/s */
}

/* ---- the engine ---- */

enum { MAX_SEQS = 16, STEP_TOKENS = 1024, CONTEXT = 2048 };

static fg_engine *open_engine(int small, int threads, fg_capacity *capacity) {
	static float inv_freq[32];
	static int32_t window[64];
	static const int32_t device = 0;
	for (int i = 0; i < 32; i++) inv_freq[i] = powf(100000, -(float)i / 32);
	fg_shape shape = {.n_layers = 30,
	                  .hidden_size = 576,
	                  .n_heads = 9,
	                  .n_kv_heads = 3,
	                  .head_dim = 64,
	                  .intermediate_size = 1536,
	                  .vocab_size = 49152,
	                  .tied_embeddings = 1,
	                  .rms_norm_eps = 1e-5f,
	                  .rope_scale = 1,
	                  .rope_inv_freq = inv_freq,
	                  .layer_window = window};
	if (small) {
		shape.n_layers = 6, shape.hidden_size = 256, shape.n_heads = 4, shape.n_kv_heads = 2;
		shape.intermediate_size = 512, shape.vocab_size = 4096;
	}
	fg_options options = {.devices = &device,
	                      .n_devices = 1,
	                      .n_threads = threads,
	                      .max_seqs = MAX_SEQS,
	                      .max_step_tokens = STEP_TOKENS,
	                      .max_context = CONTEXT,
	                      .compute_dtype = FG_BF16,
	                      .kv_dtype = FG_BF16,
	                      .kv_bytes = 1 << 30};
	const char *fp8 = getenv("PERF_FP8");
	if (fp8 && *fp8 == '1') options.quantization = FG_QUANTIZE_FP8, options.kv_dtype = FG_FP8_E4M3;
	fg_engine *engine;
	check(fg_open(&shape, &options, &engine));
	check(fg_load_random(engine, 1));
	check(fg_ready(engine, capacity));
	return engine;
}

static int32_t ids[STEP_TOKENS];
static float logprobs[STEP_TOKENS];
static int32_t ranks[STEP_TOKENS];

static void wait_step(fg_engine *engine) {
	fg_result result = {.ids = ids, .logprobs = logprobs, .ranks = ranks, .row_capacity = STEP_TOKENS};
	check(fg_wait(engine, &result));
}

/* Fills a slot, gives it all its pages, and runs a prompt of n tokens. Seconds. */
static double prefill(fg_engine *engine, int32_t slot, int32_t n) {
	fg_page_update pages[CONTEXT / FG_PAGE_TOKENS];
	int32_t tokens[STEP_TOKENS];
	for (int32_t i = 0; i < CONTEXT / FG_PAGE_TOKENS; i++) {
		pages[i] = (fg_page_update){slot, i, slot * (CONTEXT / FG_PAGE_TOKENS) + i};
	}
	for (int32_t i = 0; i < n; i++) tokens[i] = (i * 37 + slot) % 4096;
	fg_slot_fill fill = {.slot = slot, .sampling = {.top_p = 1, .repetition_penalty = 1}};
	fg_step_seq seq = {.slot = slot, .n_new = n, .context = n, .flags = FG_SAMPLE, .n_logprobs = -1, .mask = -1};
	fg_step step = {.n_seqs = 1,
	                .n_tokens = n,
	                .n_page_updates = CONTEXT / FG_PAGE_TOKENS,
	                .n_fills = 1,
	                .seqs = &seq,
	                .tokens = tokens,
	                .page_updates = pages,
	                .fills = &fill};
	double start = now();
	check(fg_submit(engine, &step));
	wait_step(engine);
	return now() - start;
}

static void submit_decode(fg_engine *engine, int32_t n_seqs, int32_t context) {
	fg_step_seq seqs[MAX_SEQS];
	int32_t tokens[MAX_SEQS];
	for (int32_t i = 0; i < n_seqs; i++) {
		seqs[i] =
			(fg_step_seq){.slot = i, .n_new = 1, .context = context, .flags = FG_SAMPLE, .n_logprobs = -1, .mask = -1};
		tokens[i] = FG_LAST_SAMPLED;
	}
	fg_step step = {.n_seqs = n_seqs, .n_tokens = n_seqs, .seqs = seqs, .tokens = tokens};
	check(fg_submit(engine, &step));
}

/* Tokens per second and sequence, with two steps in flight. */
static double decode(fg_engine *engine, int32_t n_seqs, int32_t context, int32_t steps) {
	submit_decode(engine, n_seqs, ++context);
	double start = now();
	for (int32_t i = 0; i < steps; i++) {
		submit_decode(engine, n_seqs, ++context);
		wait_step(engine);
	}
	double seconds = now() - start;
	wait_step(engine);
	return steps / seconds;
}

int main(int argc, char **argv) {
	int small = argc > 1 && !strcmp(argv[1], "small"), threads = argc > 1 + small ? atoi(argv[1 + small]) : 0;
	const char *trace = argc > 2 + small ? argv[2 + small] : NULL;
	fg_device_info info;
	fg_capacity capacity;
	check(fg_device(0, &info));
	fg_engine *engine = open_engine(small, threads, &capacity);
	double gb = bandwidth(capacity.n_threads), best[3] = {0};
	printf("%s, %d threads, reads %.1f GB/s\n", info.name, capacity.n_threads, gb);
	if (trace) check(fg_trace_start(engine, 0, 0));
	for (int round = 0; round < 3; round++) {
		for (int32_t s = 0; s < MAX_SEQS; s++) prefill(engine, s, 32);
		double rate = 512 / prefill(engine, 0, 512);
		if (rate > best[0]) best[0] = rate;
		rate = decode(engine, 1, 512, small ? 500 : 48);
		if (rate > best[1]) best[1] = rate;
		prefill(engine, 0, 32);
		rate = decode(engine, 16, 32, small ? 100 : 16) * 16;
		if (rate > best[2]) best[2] = rate;
	}
	if (trace) check(fg_trace_stop(engine, trace));
	printf("prefill 512: %.0f tokens/s\n", best[0]);
	printf("decode, 1 sequence at 512: %.1f tokens/s, %.1f GB/s of weights = %.0f %% of the bandwidth\n", best[1],
	       best[1] * (double)capacity.weight_bytes * 1e-9, best[1] * (double)capacity.weight_bytes * 1e-7 / gb);
	printf("decode, 16 sequences: %.1f tokens/s\n", best[2]);
	fg_close(engine);
	return 0;
}
