/*
 * update_bench.c - how long it takes to load weights, to replace them, to sleep and to wake, with the shape of Mistral
 * 7B. Only through fastgen.h.
 *
 *   update_bench [FOLDER [N_DEVICES]]   FOLDER holds a file of 1 GB meanwhile, /dev/shm unless named
 */
#include "../clock.h"
#include "model.h"

#include <unistd.h>

enum { LAYERS = 32, HIDDEN = 4096, TENSORS = 3 + LAYERS * 9 };

static fg_engine *e;
static fg_tensor tensors[TENSORS];
static int32_t n_tensors;
static int32_t n_devices = 1;

static double seconds_since(uint64_t start) {
	return (double)(fg_clock_ns() - start) * 1e-9;
}

static double used_gib(void) {
	uint64_t used = 0;
	for (int32_t i = 0; i < n_devices; i++) {
		fg_device_info info;
		MUST(fg_device(i, &info));
		used += info.memory_bytes - info.free_bytes;
	}
	return (double)used / (1 << 30);
}

#define TIME(what, ...)                                                                                                \
	do {                                                                                                               \
		const uint64_t start_ = fg_clock_ns();                                                                         \
		__VA_ARGS__;                                                                                                   \
		printf("%-44s %7.3f s, then %6.2f GiB are in use\n", what, seconds_since(start_), used_gib());                 \
		fflush(stdout);                                                                                                \
	} while (0)

/* All layers are the same bytes of the file, which lie in the page cache then. */
static void list_tensors(const fg_shape *s, const char *path) {
	static const fg_role roles[] = {FG_EMBED, FG_FINAL_NORM, FG_LM_HEAD, FG_ATTN_NORM, FG_MLP_NORM, FG_Q,
	                                FG_K,     FG_V,          FG_O,       FG_GATE,      FG_UP,       FG_DOWN};
	const int32_t kv = s->n_kv_heads * s->head_dim;
	uint64_t at = 0;
	for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
		const fg_role role = roles[i];
		const int norm = role == FG_FINAL_NORM || role == FG_ATTN_NORM || role == FG_MLP_NORM;
		fg_tensor t = {.path = path,
		               .offset = at,
		               .role = (int32_t)role,
		               .dtype = FG_BF16,
		               .rows = s->hidden_size,
		               .cols = norm ? 1 : s->hidden_size};
		if (role == FG_EMBED || role == FG_LM_HEAD) t.rows = s->vocab_size;
		if (role == FG_K || role == FG_V) t.rows = kv;
		if (role == FG_GATE || role == FG_UP) t.rows = s->intermediate_size;
		if (role == FG_DOWN) t.cols = s->intermediate_size;
		t.bytes = (uint64_t)t.rows * (uint64_t)t.cols * 2;
		at += t.bytes;
		for (t.layer = 0; t.layer < (role < FG_ATTN_NORM ? 1 : LAYERS); t.layer++) tensors[n_tensors++] = t;
	}
	FILE *file = fopen(path, "w");
	static uint16_t some[1 << 20];
	for (size_t i = 0; i < sizeof some / sizeof *some; i++) some[i] = fg_to_bf16(bell(0.01f));
	for (uint64_t left = at; left; left -= left < sizeof some ? left : sizeof some) {
		if (!file || fwrite(some, left < sizeof some ? left : sizeof some, 1, file) != 1) exit(1);
	}
	fclose(file);
}

static void ready(void) {
	fg_capacity capacity;
	MUST(fg_ready(e, &capacity));
}

int main(int argc, char **argv) {
	static float frequencies[64];
	static const int32_t windows[LAYERS], devices[8] = {0, 1, 2, 3, 4, 5, 6, 7};
	static const fg_shape shape = {.n_layers = LAYERS,
	                               .hidden_size = HIDDEN,
	                               .n_heads = 32,
	                               .n_kv_heads = 8,
	                               .head_dim = 128,
	                               .intermediate_size = 14336,
	                               .vocab_size = 32768,
	                               .rms_norm_eps = 1e-5f,
	                               .rope_scale = 1,
	                               .rope_inv_freq = frequencies,
	                               .layer_window = windows};
	char path[256];
	snprintf(path, sizeof path, "%s/fastgen-update-bench-%d", argc > 1 ? argv[1] : "/dev/shm", (int)getpid());
	if (argc > 2) n_devices = atoi(argv[2]);
	for (int i = 0; i < 64; i++) frequencies[i] = 1.0f / (float)(i + 1);
	fg_options options = {.devices = devices,
	                      .n_devices = n_devices,
	                      .max_seqs = 256,
	                      .max_step_tokens = 2048,
	                      .max_context = 4096,
	                      .compute_dtype = FG_BF16,
	                      .kv_dtype = FG_BF16,
	                      .memory_utilization = 0.9};
	list_tensors(&shape, path);
	for (options.quantization = 0; options.quantization < 2; options.quantization++) {
		printf("%s weights\n", options.quantization ? "FP8" : "bfloat16");
		TIME("open", MUST(fg_open(&shape, &options, &e)));
		TIME("load", MUST(fg_load(e, tensors, n_tensors)); ready());
		for (int i = 0; i < 2; i++) TIME("load again", MUST(fg_load(e, tensors, n_tensors)); ready());
		for (int i = 0; i < 2; i++) {
			TIME("sleep, level 1", MUST(fg_sleep(e, 1)));
			TIME("wake the weights", MUST(fg_wake(e, FG_WAKE_WEIGHTS)));
			TIME("wake the KV cache", MUST(fg_wake(e, FG_WAKE_KV_CACHE)));
		}
		TIME("sleep, level 2", MUST(fg_sleep(e, 2)));
		TIME("wake all", MUST(fg_wake(e, FG_WAKE_WEIGHTS | FG_WAKE_KV_CACHE)));
		TIME("load again", MUST(fg_load(e, tensors, n_tensors)); ready());
		TIME("close", fg_close(e));
	}
	unlink(path);
	return 0;
}
