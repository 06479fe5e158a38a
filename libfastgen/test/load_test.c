/*
 * load_test.c - hostile tensor tables and files are refused before anything is read from them; good ones arrive whole,
 * whatever their dtype, size and place; and loading leaves nothing behind.
 */
#include "model.h"
#include "../ops.h"

#include <unistd.h>

enum { VOCAB = SMALL_VOCAB };

static model m;
static step_builder b;

/* The logits [vocab_size] after a short prompt. */
static void run_prompt(void *engine, const model *of, float *logits) {
	static const int32_t tokens[5] = {1, 2, 3, 4, 5};
	outcome *o = new_outcome(of, 1);
	begin_step(&b);
	fill_slot(&b, 0, GREEDY);
	map_pages(&b, 0, 0, 1, 0, 1);
	add_seq(&b, 0, tokens, 5, 5, FG_SAMPLE | FG_LOGITS);
	run_step(engine, &b, o);
	memcpy(logits, o->logits, (size_t)of->shape.vocab_size * sizeof *logits);
	free_outcome(o);
}

/* ---- hostile tables ---- */

/* Values at the edges of what a field can hold, and around what the shape makes of it. */
static const int64_t edges[] = {INT64_MIN, INT32_MIN, -(1 << 24), -1, 0,       1,         2,          15,       16,
                                17,        63,        64,         65, 1 << 24, INT32_MAX, UINT32_MAX, INT64_MAX};

enum { N_EDGES = sizeof edges / sizeof *edges, N_FIELDS = 12 };

/* Changes one field of a tensor. Returns whether that made a difference. */
static int spoil(fg_tensor *t, int field, int64_t value) {
	fg_tensor before = *t;
	switch (field) {
	case 0: t->role = (int32_t)value; break;
	case 1: t->layer = (int32_t)value; break;
	case 2: t->dtype = (int32_t)value; break;
	case 3: t->rows = (int32_t)value; break;
	case 4: t->cols = (int32_t)value; break;
	case 5: t->bytes = (uint64_t)value; break;
	case 6: t->offset = (uint64_t)value; break;
	case 7: t->reserved = (int32_t)value; break;
	case 8: t->scale_rows = (int32_t)value; break;
	case 9: t->scale_cols = (int32_t)value; break;
	case 10: t->input_scale = (float)value; break;
	case 11: t->input_bound = (float)value; break;
	}
	return memcmp(&before, t, sizeof before) != 0;
}

/* Every field of every tensor, set to every edge: the call returns, and what it accepts can be loaded and run. */
static void test_hostile_tables(void) {
	static fg_tensor t[MAX_TENSORS];
	char path[64];
	snprintf(path, sizeof path, "/tmp/fastgen-load-test-%d", (int)getpid());
	FILE *file = fopen(path, "w");
	if (!file || fwrite(m.tensors[0].data, m.tensors[0].bytes, 1, file) != 1) exit(1);
	fclose(file);
	fg_options options = test_options();
	fg_capacity capacity;
	fg_engine *e;
	long accepted = 0, tried = 0;
	MUST(fg_open(&m.shape, &options, &e));
	for (int in_file = 0; in_file < 2; in_file++) {
		for (int32_t i = 0; i < m.n_tensors; i++) {
			for (int field = 0; field < N_FIELDS; field++) {
				for (int edge = 0; edge < N_EDGES; edge++) {
					memcpy(t, m.tensors, sizeof m.tensors);
					if (in_file) t[i].path = path, t[i].data = NULL;
					if (!spoil(&t[i], field, edges[edge])) continue;
					tried++;
					fg_status status = fg_load(e, t, m.n_tensors);
					if (status) {
						CHECK(*fg_error() && status <= FG_UNSUPPORTED, "tensor %d, field %d: status %d", i, field,
						      (int)status);
						continue;
					}
					/* A place that counts for files alone, or a smaller tensor that lies in the file there. */
					accepted++;
					CHECK(field == 6, "tensor %d, field %d, %lld: accepted", i, field, (long long)edges[edge]);
					MUST(fg_ready(e, &capacity));
					fg_close(e);
					MUST(fg_open(&m.shape, &options, &e));
				}
			}
		}
	}
	CHECK(tried > 4000 && accepted > 0, "%ld tables, %ld accepted", tried, accepted);
	/* all sizes times all dtypes that overflow 64 bits together */
	memcpy(t, m.tensors, sizeof m.tensors);
	t[0].rows = t[0].cols = INT32_MAX, t[0].bytes = (uint64_t)INT32_MAX * INT32_MAX * 4;
	CHECK(fg_load(e, t, m.n_tensors) == FG_INVALID, "a tensor of 2^64 bytes");
	CHECK(fg_load(e, m.tensors, -1) == FG_INVALID && fg_load(e, m.tensors, INT32_MIN) == FG_INVALID, "counts");
	CHECK(fg_load(NULL, m.tensors, m.n_tensors) == FG_INVALID, "no engine");
	fg_close(e);
	unlink(path);
}

/* Random tables: tensors in any order, some of them twice, some gone, some changed. */
static void test_random_tables(void) {
	static fg_tensor t[2 * MAX_TENSORS];
	fg_options options = test_options();
	fg_capacity capacity;
	fg_engine *e;
	MUST(fg_open(&m.shape, &options, &e));
	random_state = 77;
	long refused = 0;
	for (int round = 0; round < 3000; round++) {
		int32_t n = m.n_tensors;
		memcpy(t, m.tensors, sizeof m.tensors);
		for (int i = 0; i < n; i++) { /* any order is a good one */
			int32_t other = below(n);
			fg_tensor kept = t[i];
			t[i] = t[other], t[other] = kept;
		}
		int changed = 0;
		for (int change = below(4); change > 0; change--) {
			int32_t at = below(n);
			if (below(3) == 0) t[at] = t[--n], changed = 1;
			else if (below(2)) t[n++] = t[at], changed = 1;
			else if (at < n) {
				int field = below(N_FIELDS);
				if (field == 6) continue; /* means nothing without a file */
				changed |= spoil(&t[at], field, edges[below(N_EDGES)]);
			}
		}
		fg_status status = fg_load(e, t, n);
		refused += status != FG_OK;
		if (!changed) CHECK(!status, "round %d: %s", round, fg_error());
		if (status) continue;
		MUST(fg_ready(e, &capacity));
		fg_close(e);
		MUST(fg_open(&m.shape, &options, &e));
	}
	CHECK(refused > 1000, "%ld refused", refused);
	fg_close(e);
}

/* ---- what is loaded ---- */

/* float32 weights for a bf16 engine, in memory and out of a file, are those weights rounded: also the part of a tensor
 * past the first piece of 16 MiB. */
static void test_large_conversion(void) {
	static model large, rounded;
	fg_shape shape = small_shape();
	shape.n_layers = 1, shape.hidden_size = 1024, shape.vocab_size = 8500; /* 33 MiB: a third piece begins */
	make_model(&large, shape, 0, FG_F32, 5);
	make_model(&rounded, shape, 0, FG_BF16, 5);
	for (int32_t i = 0; i < large.n_tensors; i++) {
		const fg_tensor *from = &large.tensors[i], *to = &rounded.tensors[i];
		for (size_t k = 0; k < (size_t)from->rows * (size_t)from->cols; k++) {
			float exact = fg_read(from->data, FG_F32, k);
			/* norms stay as they are */
			if (from->cols == 1) ((float *)from->data)[k] = exact = fg_round(exact, FG_BF16);
			fg_write((void *)to->data, FG_BF16, k, exact);
		}
	}
	fg_options options = test_options();
	options.compute_dtype = FG_BF16;
	size_t bytes = (size_t)shape.vocab_size * sizeof(float);
	float *want = malloc(bytes), *got = malloc(bytes);
	fg_capacity plain, converted;
	fg_engine *e = open_model(&rounded, options, &plain);
	run_prompt(e, &rounded, want);
	fg_close(e);
	e = open_model(&large, options, &converted);
	run_prompt(e, &large, got);
	fg_close(e);
	CHECK(!memcmp(want, got, bytes), "float32 weights are not their bf16 roundings");
	CHECK(plain.weight_bytes == converted.weight_bytes, "%d bytes of weights, not %d", (int)converted.weight_bytes,
	      (int)plain.weight_bytes);
	free(want), free(got);
	free_model(&large), free_model(&rounded);
}

/* The same seed gives the same weights, another seed others; and the size told is theirs. */
static void test_random_weights(void) {
	fg_options options = test_options();
	float logits[3][VOCAB];
	for (int tied = 0; tied < 2; tied++) {
		model other = m;
		other.shape.tied_embeddings = tied;
		for (int i = 0; i < 3; i++) {
			fg_capacity capacity;
			fg_load_progress p;
			fg_engine *e;
			MUST(fg_open(&other.shape, &options, &e));
			MUST(fg_load_random(e, i == 2 ? 8 : 7));
			MUST(fg_ready(e, &capacity));
			MUST(fg_progress(e, &p));
			run_prompt(e, &other, logits[i]);
			/* embed and lm_head; q, k, v, o; gate, up, down */
			uint64_t layer = 64 * (128 + 64 + 64) + 128 * 64 + 3 * 64 * 96, want = (2 - tied) * VOCAB * 64 + 2 * layer;
			CHECK(capacity.weight_bytes == want * 4, "%d bytes of weights", (int)capacity.weight_bytes);
			uint64_t norms = 5 * 64;
			CHECK(p.total == (want + norms) * 4 && p.done == p.total, "progress %d of %d", (int)p.done, (int)p.total);
			fg_close(e);
		}
		CHECK(!memcmp(logits[0], logits[1], sizeof *logits), "one seed, two models");
		CHECK(memcmp(logits[0], logits[2], sizeof *logits), "two seeds, one model");
	}
}

/* Random weights stop within a tensor. Here whatever has been made is itself the order to stop: `done` and `cancel` are
 * one number. So at most one item of each thread is made, of a tensor of thousands. */
static void test_stopping_random_weights(void) {
	union {
		atomic_ullong done;
		atomic_int cancel;
	} both = {0};
	fg_config config = {.shape = small_shape(), .options = test_options(), .pages_per_seq = 1};
	config.shape.vocab_size = 500000;
	fg_ctx *ctx;
	MUST(fg_device_ops.open(&config, 0, &ctx));
	CHECK(fg_device_ops.load_random(ctx, 1, &both.done, &both.cancel) == FG_INVALID && strstr(fg_error(), "stopped"),
	      "not stopped: %s", fg_error());
	uint64_t embedding = 500000ull * 64 * sizeof(float), done = atomic_load(&both.done);
	CHECK(done > 0 && done < embedding / 100, "%d of %d bytes", (int)done, (int)embedding);
	fg_device_ops.close(ctx);
}

/* What the caller passed may be gone once the call has returned. */
static void test_copies(void) {
	fg_options options = test_options();
	fg_shape shape = m.shape;
	float want[VOCAB], got[VOCAB];
	fg_engine *e = open_model(&m, options, NULL);
	run_prompt(e, &m, want);
	fg_close(e);
	int32_t *device = calloc(1, sizeof *device), *windows = calloc(MAX_LAYERS, sizeof *windows);
	float *frequencies = malloc(sizeof m.inv_freq);
	fg_tensor *tensors = malloc(sizeof m.tensors);
	memcpy(frequencies, m.inv_freq, sizeof m.inv_freq);
	memcpy(tensors, m.tensors, sizeof m.tensors);
	options.devices = device, shape.layer_window = windows, shape.rope_inv_freq = frequencies;
	fg_capacity capacity;
	MUST(fg_open(&shape, &options, &e));
	free(device), free(windows), free(frequencies);
	MUST(fg_load(e, tensors, m.n_tensors));
	free(tensors);
	MUST(fg_ready(e, &capacity));
	run_prompt(e, &m, got);
	CHECK(!memcmp(want, got, sizeof want), "other logits");
	fg_close(e);
}

/* FG_QUANTIZE_FP8_LARGE counts a matrix as it is multiplied: gate and up are one. */
static void test_large_matrices(void) {
	static const struct {
		int32_t n;
		fg_role roles[3];
	} matrices[] = {{3, {FG_Q, FG_K, FG_V}}, {1, {FG_O}}, {2, {FG_GATE, FG_UP}}, {1, {FG_DOWN}}};
	/* 2^20 elements in q|k|v, half of that in o; in gate|up and down as the intermediate size has it. */
	fg_config config = {.shape = {.n_layers = 1, .hidden_size = 1024, .n_heads = 8, .n_kv_heads = 4, .head_dim = 64}};
	static const struct {
		int32_t intermediate, quantization, want[4];
	} cases[] = {{512, FG_QUANTIZE_FP8_LARGE, {FG_ROWS, FG_PLAIN, FG_ROWS, FG_PLAIN}},
	             {504, FG_QUANTIZE_FP8_LARGE, {FG_ROWS, FG_PLAIN, FG_PLAIN, FG_PLAIN}},
	             {1024, FG_QUANTIZE_FP8_LARGE, {FG_ROWS, FG_PLAIN, FG_ROWS, FG_ROWS}},
	             {512, FG_QUANTIZE_FP8, {FG_ROWS, FG_ROWS, FG_ROWS, FG_ROWS}},
	             {1024, FG_QUANTIZE_NONE, {FG_PLAIN, FG_PLAIN, FG_PLAIN, FG_PLAIN}}};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		config.shape.intermediate_size = cases[i].intermediate;
		config.options.quantization = cases[i].quantization;
		for (int k = 0; k < 4; k++) {
			int32_t got = fg_table_scheme(NULL, &config, 0, matrices[k].n, matrices[k].roles).scaling;
			CHECK(got == cases[i].want[k], "intermediate %d, quantization %d, matrix %d: scaling %d",
			      cases[i].intermediate, cases[i].quantization, k, got);
		}
	}
}

/* What no machine can do is refused before it is tried. */
static void test_impossible(void) {
	fg_options options = test_options();
	fg_shape shape = m.shape;
	fg_capacity capacity;
	fg_engine *e;
	shape.rms_norm_eps = INFINITY;
	CHECK(fg_open(&shape, &options, &e) == FG_INVALID && strstr(fg_error(), "rms_norm_eps"), "%s", fg_error());
	options.kv_bytes = 2 * (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	MUST(fg_open(&m.shape, &options, &e));
	MUST(fg_load_random(e, 1));
	CHECK(fg_ready(e, &capacity) == FG_OUT_OF_MEMORY && strstr(fg_error(), "ask for less"), "%s", fg_error());
	fg_close(e);
}

/* ---- what is left ---- */

static long mapped_bytes(void) {
	long pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");
	if (!file || fscanf(file, "%ld", &pages) != 1) exit(1);
	fclose(file);
	return pages * sysconf(_SC_PAGESIZE);
}

/* Engines come and go: no file stays open, no thread and no memory stays. */
static void test_nothing_stays(void) {
	char path[64];
	static fg_tensor t[MAX_TENSORS];
	snprintf(path, sizeof path, "/tmp/fastgen-load-test-%d", (int)getpid());
	write_tensors(&m, path, t);
	fg_options options = test_options();
	fg_capacity capacity;
	int files = 0;
	long bytes = 0;
	for (int round = 0; round < 12; round++) {
		fg_engine *e;
		float logits[VOCAB];
		MUST(fg_open(&m.shape, &options, &e));
		MUST(fg_load(e, t, m.n_tensors));
		MUST(fg_ready(e, &capacity));
		if (round == 3) CHECK(open_files() == files, "%d files are open, not %d", open_files(), files);
		run_prompt(e, &m, logits);
		fg_close(e);
		if (round < 3) files = open_files(), bytes = mapped_bytes(); /* the first rounds fill the allocator's caches */
	}
	CHECK(open_files() == files, "%d files are open, not %d", open_files(), files);
	/* Every engine maps 64 MiB for its KV cache alone. */
	long more = mapped_bytes() - bytes;
	CHECK(more < 64 << 20, "%ld MiB stay mapped", more >> 20);
	unlink(path);
}

int main(void) {
	make_model(&m, small_shape(), 0, FG_F32, 3);
	test_hostile_tables();
	test_random_tables();
	test_large_conversion();
	test_random_weights();
	test_stopping_random_weights();
	test_copies();
	test_large_matrices();
	test_impossible();
	test_nothing_stays();
	free_model(&m);
	return report("load_test");
}
