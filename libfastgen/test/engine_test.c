/*
 * engine_test.c - what the engine accepts, what it refuses with which message, and what it returns.
 */
#include "model.h"

#include <pthread.h>
#include <time.h>
#include <unistd.h>

enum { VOCAB = SMALL_VOCAB };

static model m;
static step_builder b;

/* ---- fg_open ---- */

static void test_open(void) {
	fg_options good = test_options(), o;
	fg_shape s;
	fg_engine *e;
	int32_t count = 0;
	fg_device_info info;
	CHECK(fg_abi_version() == FG_ABI_VERSION && fg_error(), "abi");
	CHECK(!fg_devices(&count) && count == 1, "%d devices", count);
	CHECK(!fg_device(0, &info) && *info.name && info.memory_bytes >= info.free_bytes, "device %s", info.name);
	REFUSED(FG_INVALID, "device", fg_device(1, &info));
	REFUSED(FG_INVALID, "count", fg_devices(NULL));
#define BAD_SHAPE(status, text, change) (s = m.shape, s.change, REFUSED_OPEN(status, text, &s, &good))
#define BAD_OPTIONS(status, text, change) (o = good, o.change, REFUSED_OPEN(status, text, &m.shape, &o))
#define REFUSED_OPEN(status, text, shape, options)                                                                     \
	__extension__({                                                                                                    \
		e = (fg_engine *)&m;                                                                                           \
		REFUSED(status, text, fg_open(shape, options, &e));                                                            \
		CHECK(!e, "the engine is not NULL");                                                                           \
	})
	BAD_SHAPE(FG_INVALID, "n_layers", n_layers = 0);
	BAD_SHAPE(FG_INVALID, "hidden_size", hidden_size = -5);
	BAD_SHAPE(FG_INVALID, "multiple", n_kv_heads = 3);
	BAD_SHAPE(FG_UNSUPPORTED, "head_dim", head_dim = 80);
	BAD_SHAPE(FG_INVALID, "vocab_size", vocab_size = 1 << 30);
	BAD_SHAPE(FG_INVALID, "qk_norm", qk_norm = 2);
	BAD_SHAPE(FG_INVALID, "rms_norm_eps", rms_norm_eps = NAN);
	BAD_SHAPE(FG_INVALID, "rope_scale", rope_scale = INFINITY);
	BAD_SHAPE(FG_INVALID, "rope_inv_freq", rope_inv_freq = NULL);
	BAD_SHAPE(FG_INVALID, "layer_window", layer_window = NULL);
	const int32_t windows[] = {0, -1}, two[] = {0, 0}, other[] = {1};
	const float frequencies[16] = {[3] = NAN};
	BAD_SHAPE(FG_INVALID, "layer_window[1]", layer_window = windows);
	BAD_SHAPE(FG_INVALID, "rope_inv_freq[3]", rope_inv_freq = frequencies);
	BAD_OPTIONS(FG_INVALID, "max_seqs", max_seqs = 0);
	BAD_OPTIONS(FG_INVALID, "max_step_tokens", max_step_tokens = 7);
	BAD_OPTIONS(FG_INVALID, "max_context", max_context = 0);
	BAD_OPTIONS(FG_INVALID, "compute_dtype", compute_dtype = 9);
	BAD_OPTIONS(FG_INVALID, "quantization", quantization = 3);
	BAD_OPTIONS(FG_INVALID, "n_threads", n_threads = -1);
	BAD_OPTIONS(FG_INVALID, "devices", devices = NULL);
	BAD_OPTIONS(FG_INVALID, "kv_bytes", kv_bytes = 0);
	BAD_OPTIONS(FG_INVALID, "compute_dtype", compute_dtype = FG_FP8_E4M3);
	BAD_OPTIONS(FG_UNSUPPORTED, "device", devices = other);
	o = good, o.devices = two, o.n_devices = 2;
	REFUSED_OPEN(FG_UNSUPPORTED, "device", &m.shape, &o);
	REFUSED_OPEN(FG_INVALID, "NULL", NULL, &good);
	REFUSED_OPEN(FG_INVALID, "NULL", &m.shape, NULL);
	REFUSED(FG_INVALID, "engine", fg_open(&m.shape, &good, NULL));
	setenv("FASTGEN_CPU_ISA", "sse9", 1);
	REFUSED_OPEN(FG_INVALID, "FASTGEN_CPU_ISA is sse9", &m.shape, &good);
	unsetenv("FASTGEN_CPU_ISA");
	fg_close(NULL);
}

/* ---- loading ---- */

static void test_bad_tables(void) {
	static fg_tensor t[MAX_TENSORS + 1];
	fg_options options = test_options();
	fg_capacity capacity;
	fg_step step = {0};
	fg_engine *e;
	MUST(fg_open(&m.shape, &options, &e));
	REFUSED(FG_INVALID, "fg_load", fg_ready(e, &capacity));
	REFUSED(FG_INVALID, "fg_load", fg_submit(e, &step));
	REFUSED(FG_INVALID, "empty", fg_load(e, NULL, 0));
	/* a table may be refused many times: nothing has started */
#define BAD_TABLE(status, text, index, change)                                                                         \
	do {                                                                                                               \
		memcpy(t, m.tensors, sizeof m.tensors);                                                                        \
		t[index].change;                                                                                               \
		REFUSED(status, text, fg_load(e, t, m.n_tensors));                                                             \
	} while (0)
	BAD_TABLE(FG_INVALID, "role", 0, role = 17);
	BAD_TABLE(FG_INVALID, "layer", 3, layer = 2);
	BAD_TABLE(FG_INVALID, "layer", 0, layer = 1);
	BAD_TABLE(FG_INVALID, "twice", 3, role = FG_MLP_NORM);
	BAD_TABLE(FG_INVALID, "[50][64]", 0, rows = 51);
	BAD_TABLE(FG_INVALID, "v of layer 0", 6, cols = 65);
	BAD_TABLE(FG_UNSUPPORTED, "dtype", 4, dtype = 4);
	BAD_TABLE(FG_INVALID, "bytes", 4, bytes--);
	BAD_TABLE(FG_INVALID, "0 of path, data and ipc_handle", 4, data = NULL);
	BAD_TABLE(FG_INVALID, "reserved", 4, reserved = 3);
	static const float scale[64] = {[0 ... 63] = 0.5f}, negative = -1, not_a_number = NAN;
#define FP8(...)                                                                                                       \
	dtype = FG_FP8_E4M3, t[4].bytes /= 4, t[4].scale = scale, t[4].scale_rows = 1, t[4].scale_cols = 1, __VA_ARGS__
	BAD_TABLE(FG_INVALID, "no scale", 4, FP8(t[4].scale = NULL));
	BAD_TABLE(FG_INVALID, "scales [2][1]", 4, FP8(t[4].scale_rows = 2));
	BAD_TABLE(FG_INVALID, "scales [1][2]", 4, FP8(t[4].scale_cols = 2));
	BAD_TABLE(FG_INVALID, "scale 0 is -1", 4, FP8(t[4].scale = &negative));
	BAD_TABLE(FG_INVALID, "scale 0 is nan", 4, FP8(t[4].scale = &not_a_number));
	BAD_TABLE(FG_INVALID, "input_scale", 4, FP8(t[4].input_scale = -1));
	BAD_TABLE(FG_INVALID, "input_bound", 4, FP8(t[4].input_bound = NAN));
	BAD_TABLE(FG_INVALID, "only FP8", 4, scale = scale);
#define FP8_NORM(...) dtype = FG_FP8_E4M3, t[3].bytes /= 4, t[3].scale = scale, t[3].scale_rows = __VA_ARGS__
	BAD_TABLE(FG_UNSUPPORTED, "only matrices", 3, FP8_NORM(1));
	BAD_TABLE(FG_INVALID, "no such tensor", 4, role = FG_Q_BIAS);
	BAD_TABLE(FG_INVALID, "2 of path, data and ipc_handle", 4, path = "/no/such/file");
#define IN_FILE(file) data = NULL, t[4].path = file
	BAD_TABLE(FG_IO, "/no/such/file", 4, IN_FILE("/no/such/file"));
	BAD_TABLE(FG_IO, "not a regular file", 4, IN_FILE("/"));
	memcpy(t, m.tensors, sizeof m.tensors);
	REFUSED(FG_INVALID, "down of layer 1 [64][96] is missing", fg_load(e, t, m.n_tensors - 1));
	t[m.n_tensors] = t[2];
	REFUSED(FG_INVALID, "lm_head is in the table twice", fg_load(e, t, m.n_tensors + 1));
	MUST(fg_load(e, m.tensors, m.n_tensors));
	fg_status again = fg_load(e, m.tensors, m.n_tensors); /* while it loads, or before fg_ready */
	CHECK((again == FG_BUSY || again == FG_INVALID) && strstr(fg_error(), "fg_ready"), "status %d: %s", (int)again,
	      fg_error());
	MUST(fg_ready(e, &capacity));
	CHECK(capacity.n_pages == (64 << 20) / (int)capacity.page_bytes && capacity.n_threads == 2 &&
	          capacity.n_host_pages == 0,
	      "%d pages of %d bytes", capacity.n_pages, (int)capacity.page_bytes);
	fg_close(e);
	options.kv_bytes = 100;
	MUST(fg_open(&m.shape, &options, &e));
	MUST(fg_load_random(e, 1));
	REFUSED(FG_INVALID, "one page takes", fg_ready(e, &capacity));
	fg_close(e);
	options.kv_bytes = 1ull << 60;
	MUST(fg_open(&m.shape, &options, &e));
	MUST(fg_load_random(e, 1));
	REFUSED(FG_OUT_OF_MEMORY, "kv_bytes", fg_ready(e, &capacity));
	fg_close(e);
	/* closing in the middle of a load stops it */
	MUST(fg_open(&m.shape,
	             &(fg_options){.devices = options.devices,
	                           .n_devices = 1,
	                           .max_seqs = 1,
	                           .max_step_tokens = 1,
	                           .max_context = 1,
	                           .kv_bytes = 1 << 20},
	             &e));
	MUST(fg_load_random(e, 1));
	fg_close(e);
}

/* The same weights from files: at an odd offset, across two files, and truncated. */
static void test_files(const float *want) {
	char path[2][64];
	static fg_tensor t[MAX_TENSORS];
	fg_options options = test_options();
	fg_load_progress progress;
	fg_capacity capacity;
	FILE *file[2];
	uint64_t at[2] = {1, 8}; /* one is odd: such tensors cannot be used in place */
	fg_engine *e;
	for (int i = 0; i < 2; i++) {
		snprintf(path[i], sizeof path[i], "/tmp/fastgen-engine-test-%d-%d", (int)getpid(), i);
		file[i] = fopen(path[i], "w");
		if (!file[i] || fwrite("01234567", at[i], 1, file[i]) != 1) exit(1);
	}
	uint64_t total = 0;
	for (int32_t i = 0; i < m.n_tensors; i++) {
		t[i] = m.tensors[i];
		t[i].path = path[i & 1];
		t[i].data = NULL;
		t[i].offset = at[i & 1];
		if (fwrite(m.tensors[i].data, t[i].bytes, 1, file[i & 1]) != 1) exit(1);
		at[i & 1] += t[i].bytes;
		total += t[i].bytes;
	}
	fclose(file[0]), fclose(file[1]);
	MUST(fg_open(&m.shape, &options, &e));
	MUST(fg_load(e, t, m.n_tensors));
	MUST(fg_ready(e, &capacity));
	MUST(fg_progress(e, &progress));
	CHECK(progress.finished && progress.done == total && progress.total == total, "progress %d of %d",
	      (int)progress.done, (int)progress.total);
	static const int32_t tokens[5] = {1, 2, 3, 4, 5};
	outcome *o = new_outcome(&m, 1);
	begin_step(&b);
	fill_slot(&b, 0, GREEDY);
	map_pages(&b, 0, 0, 1, 0, 1);
	add_seq(&b, 0, tokens, 5, 5, FG_SAMPLE | FG_LOGITS);
	run_step(e, &b, o);
	CHECK(!memcmp(o->logits, want, VOCAB * sizeof *want), "logits of weights from files");
	fg_close(e);
	free_outcome(o);
	if (truncate(path[1], (off_t)at[1] - 1)) exit(1);
	MUST(fg_open(&m.shape, &options, &e));
	REFUSED(FG_IO, "truncated", fg_load(e, t, m.n_tensors));
	t[0].offset = UINT64_MAX - 3;
	REFUSED(FG_IO, "truncated", fg_load(e, t, m.n_tensors));
	fg_close(e);
	unlink(path[0]), unlink(path[1]);
}

/* ---- refused steps ---- */

static void good_step(void) {
	static const int32_t tokens[] = {1, 2, 3, 4, 5};
	begin_step(&b);
	add_seq(&b, 0, tokens, 1, 71, FG_SAMPLE); /* slot 0 has 70 tokens in pages 0 and 1, slot 1 has 5 in page 2 */
	add_seq(&b, 1, tokens, 5, 10, FG_SAMPLE);
}

static void test_refused(void) {
	fg_options options = test_options();
	options.max_step_tokens = 200;
	options.max_context = 300;
	options.host_kv_bytes = 1 << 20;
	fg_capacity capacity;
	fg_engine *e = open_model(&m, options, &capacity);
	outcome *o = new_outcome(&m, 4);
	int32_t tokens[200];
	float want[2 * VOCAB];
	for (int i = 0; i < 200; i++) tokens[i] = i % VOCAB;
	begin_step(&b);
	fill_slot(&b, 0, GREEDY), fill_slot(&b, 1, GREEDY);
	map_pages(&b, 0, 0, 2, 0, 1), map_pages(&b, 1, 0, 1, 2, 1);
	add_seq(&b, 0, tokens, 70, 70, 0), add_seq(&b, 1, tokens, 5, 5, 0);
	run_step(e, &b, o);
	CHECK(o->result.step == 0 && o->result.n_rows == 0, "step %d", (int)o->result.step);
	REFUSED(FG_INVALID, "no step is in flight", wait_for(e, o));

	/* what the good step returns: run it in twin slots, to compare slots 0 and 1 with after all the refusals */
	begin_step(&b);
	fill_slot(&b, 6, GREEDY), fill_slot(&b, 7, GREEDY);
	map_pages(&b, 6, 0, 2, 6, 1), map_pages(&b, 7, 0, 1, 9, 1);
	add_seq(&b, 6, tokens, 70, 70, 0), add_seq(&b, 7, tokens, 5, 5, 0);
	run_step(e, &b, o);
	good_step();
	b.seqs[0].slot = 6, b.seqs[1].slot = 7;
	b.seqs[0].flags = b.seqs[1].flags = FG_SAMPLE | FG_LOGITS;
	run_step(e, &b, o);
	memcpy(want, o->logits, sizeof want);

#define BAD_STEP(text, change)                                                                                         \
	do {                                                                                                               \
		good_step();                                                                                                   \
		change;                                                                                                        \
		REFUSED(FG_INVALID, text, fg_submit(e, &b.step));                                                              \
	} while (0)
	REFUSED(FG_INVALID, "NULL", fg_submit(e, NULL));
	REFUSED(FG_INVALID, "NULL", fg_submit(NULL, &b.step));
	BAD_STEP("sequences", b.step.n_seqs = 0);
	BAD_STEP("sequences", b.step.n_seqs = 9);
	BAD_STEP("n_tokens", b.step.n_tokens = 5);
	BAD_STEP("n_tokens", b.step.n_tokens = 7);
	BAD_STEP("max_step_tokens", b.step.n_tokens = 201);
	BAD_STEP("copies", b.step.n_copies = -1);
	BAD_STEP("NULL", b.step.n_copies = 1);
	BAD_STEP("NULL", b.step.tokens = NULL);
	BAD_STEP("page updates", b.step.n_page_updates = -1);
	BAD_STEP("slots go", b.seqs[0].slot = 8);
	BAD_STEP("slots go", b.seqs[0].slot = -1);
	BAD_STEP("twice", b.seqs[1].slot = 0);
	BAD_STEP("never filled", b.seqs[0].slot = 2);
	BAD_STEP("context", b.seqs[0].context = 301);
	BAD_STEP("context", b.seqs[0].context = 0);
	BAD_STEP("its page 1", b.seqs[1].context = 65);
	BAD_STEP("its page 2", b.seqs[0].context = 129);
	BAD_STEP("new tokens", b.seqs[1].context = 4);
	BAD_STEP("new tokens", b.seqs[0].n_new = 0);
	BAD_STEP("flags", b.seqs[0].flags = 8);
	BAD_STEP("log probabilities", b.seqs[0].n_logprobs = 21);
	BAD_STEP("log probabilities", b.seqs[0].n_logprobs = -2);
	BAD_STEP("next_token", (b.seqs[0].flags = FG_SCORE, b.seqs[0].next_token = VOCAB));
	BAD_STEP("mask", b.seqs[0].mask = 0);
	BAD_STEP("token 50", b.tokens[3] = VOCAB);
	BAD_STEP("token -2", b.tokens[0] = -2);
	BAD_STEP("n_new = 1", b.tokens[3] = FG_LAST_SAMPLED);
	BAD_STEP("sampled nothing", b.tokens[0] = FG_LAST_SAMPLED);
	BAD_STEP("page 5000", (map_pages(&b, 0, 2, 1, 5000, 1)));
	BAD_STEP("page 5 of slot 0", (map_pages(&b, 0, 5, 1, 5, 1)));
	BAD_STEP("never filled", (map_pages(&b, 3, 0, 1, 5, 1)));
	BAD_STEP("updated twice", (map_pages(&b, 0, 2, 1, 5, 1), map_pages(&b, 0, 2, 1, 6, 1)));
	BAD_STEP("its page 0", fill_slot(&b, 0, GREEDY)); /* filled again: its pages belong to another sequence */
	BAD_STEP("filled twice", (fill_slot(&b, 2, GREEDY), fill_slot(&b, 2, GREEDY)));
	BAD_STEP("temperature", (fill_slot(&b, 2, GREEDY), fill_slot(&b, 3, GREEDY), b.fills[1].sampling.temperature = -1));
	/* pages, and a fill, of steps that were refused for another reason must be forgotten */
	BAD_STEP("token 50", (map_pages(&b, 1, 1, 1, 5, 1), fill_slot(&b, 2, GREEDY), b.tokens[3] = VOCAB));
	BAD_STEP("its page 1", b.seqs[1].context = 65);
	BAD_STEP("never filled", b.seqs[0].slot = 2);

	fg_page_copy copy;
#define BAD_COPY(text, change)                                                                                         \
	BAD_STEP(text, (copy = (fg_page_copy){0, 0, FG_TO_HOST}, copy.change, b.step.copies = &copy, b.step.n_copies = 1))
	BAD_COPY("names page", page = capacity.n_pages);
	BAD_COPY("names page", page = -1);
	BAD_COPY("host page", host_page = capacity.n_host_pages);
	BAD_COPY("direction", direction = 3);

	/* where one slot is at fault, it is named */
#define BAD_SLOT(slot, text, change)                                                                                   \
	do {                                                                                                               \
		BAD_STEP(text, change);                                                                                        \
		CHECK(fg_error_slot() == (slot), "slot %d", fg_error_slot());                                                  \
	} while (0)
	BAD_SLOT(2, "top_p", (fill_slot(&b, 3, GREEDY), fill_slot(&b, 2, GREEDY), b.fills[1].sampling.top_p = 0));
	BAD_SLOT(1, "token 50", b.tokens[3] = VOCAB);
	BAD_SLOT(0, "flags", b.seqs[0].flags = 8);
	BAD_SLOT(-1, "n_tokens", b.step.n_tokens = 5);

	good_step();
	b.seqs[0].flags = b.seqs[1].flags = FG_SAMPLE | FG_LOGITS;
	MUST(fg_submit(e, &b.step));
	/* a result that does not fit is refused, and the step can still be waited for */
	fg_result small = {.row_capacity = 1, .ids = o->ids, .logprobs = o->logprobs, .ranks = o->ranks};
	REFUSED(FG_INVALID, "room for 1", fg_wait(e, &small));
	small.row_capacity = 2;
	REFUSED(FG_INVALID, "logits", fg_wait(e, &small));
	REFUSED(FG_INVALID, "NULL", fg_wait(e, NULL));
	MUST(wait_for(e, o));
	CHECK(!memcmp(o->logits, want, sizeof want), "refused steps have left a trace");
	fg_close(e);
	free_outcome(o);
}

/* ---- what a step returns ---- */

static void test_results(void) {
	fg_options options = test_options();
	fg_engine *e = open_model(&m, options, NULL);
	outcome *o = new_outcome(&m, 30);
	int32_t tokens[10] = {4, 8, 15, 16, 23, 42, 9, 9, 9, 1};
	uint32_t mask[2] = {1u << 7, 0}; /* token 7 alone */
	begin_step(&b);
	fill_slot(&b, 0, GREEDY), fill_slot(&b, 1, GREEDY), fill_slot(&b, 2, GREEDY);
	map_pages(&b, 0, 0, 1, 0, 1), map_pages(&b, 1, 0, 1, 1, 1), map_pages(&b, 2, 0, 1, 2, 1);
	add_seq(&b, 0, tokens, 10, 10, FG_SCORE | FG_SAMPLE | FG_LOGITS)->n_logprobs = 3;
	add_seq(&b, 1, tokens, 4, 4, 0);
	fg_step_seq *masked = add_seq(&b, 2, tokens, 10, 10, FG_SAMPLE | FG_LOGITS);
	masked->mask = 0, masked->n_logprobs = 0;
	b.step.n_masks = 1, b.step.masks = mask;
	run_step(e, &b, o);
	CHECK(o->result.n_rows == 11, "%d rows", o->result.n_rows);
	for (int r = 0; r < 11; r++) {
		const float *logits = o->logits + r * VOCAB;
		double sum = 0;
		int best = 0, above = 0, id = r < 9 ? tokens[r + 1] : o->ids[r];
		for (int i = 0; i < VOCAB; i++) {
			sum += exp((double)logits[i]);
			if (logits[i] > logits[best]) best = i;
			above += logits[i] > logits[id];
		}
		CHECK(o->ranks[r] == 1 + above, "row %d: rank %d, not %d", r, o->ranks[r], 1 + above);
		CHECK(o->ids[r] == (r < 9 ? tokens[r + 1] : r == 9 ? best : 7), "row %d: id %d", r, o->ids[r]);
		double want = (double)logits[id] - log(sum);
		CHECK(fabs((double)o->logprobs[r] - want) < 1e-5, "row %d: logprob %g, not %g", r, (double)o->logprobs[r],
		      want);
		if (r < 10) {
			const int32_t *top = o->top_ids + r * FG_MAX_LOGPROBS;
			CHECK(top[0] == best && logits[top[0]] >= logits[top[1]] && logits[top[1]] >= logits[top[2]], "row %d: top",
			      r);
		}
	}
	CHECK(!memcmp(o->logits + 9 * VOCAB, o->logits + 10 * VOCAB, VOCAB * sizeof(float)),
	      "the same prompt, other logits");
	CHECK(o->result.run_seconds > 0 && o->result.idle_seconds >= 0, "times");
	/* a chunk that continues in the next step is scored up to next_token */
	begin_step(&b);
	fill_slot(&b, 1, GREEDY);
	map_pages(&b, 1, 0, 1, 1, 1);
	fg_step_seq *q = add_seq(&b, 1, tokens, 4, 4, FG_SCORE);
	q->next_token = tokens[4], q->n_logprobs = 0;
	float before[10];
	memcpy(before, o->logprobs, sizeof before);
	run_step(e, &b, o);
	CHECK(o->result.n_rows == 4 && !memcmp(before, o->logprobs, 4 * sizeof *before) && o->ids[3] == tokens[4],
	      "scored chunk");
	fg_close(e);
	free_outcome(o);
}

/* A slot with processed log probabilities: the sampled row is of what it was drawn from, the scored rows stay raw. */
static void test_processed_results(void) {
	fg_options options = test_options();
	fg_engine *e = open_model(&m, options, NULL);
	outcome *o = new_outcome(&m, 30);
	int32_t tokens[10] = {4, 8, 15, 16, 23, 42, 9, 9, 9, 1};
	const fg_sampling raw = {.seed = 5, .temperature = 0.5f, .top_p = 1, .top_k = 4, .repetition_penalty = 1};
	fg_sampling processed = raw;
	processed.logprobs_mode = FG_PROCESSED_LOGPROBS;
	begin_step(&b);
	for (int slot = 0; slot < 2; slot++) {
		fill_slot(&b, slot, slot ? processed : raw);
		map_pages(&b, slot, 0, 1, slot, 1);
		add_seq(&b, slot, tokens, 10, 10, FG_SCORE | FG_SAMPLE | FG_LOGITS)->n_logprobs = 6;
	}
	run_step(e, &b, o);
	const float *before = o->logits + 9 * VOCAB, *after = o->logits + 19 * VOCAB;
	CHECK(!memcmp(o->logits, o->logits + 10 * VOCAB, 9 * VOCAB * sizeof *before), "logits of scored rows");
	CHECK(!memcmp(o->logprobs, o->logprobs + 10, 9 * sizeof *o->logprobs), "log probabilities of scored rows");
	CHECK(o->ids[9] == o->ids[19], "the mode changes the draw");
	/* The four greatest, at twice their distance. */
	int kept = 0;
	double sum = 0;
	for (int i = 0; i < VOCAB; i++) {
		int above = 0;
		for (int j = 0; j < VOCAB; j++) above += before[j] > before[i];
		if (above >= 4) CHECK(after[i] == -INFINITY, "token %d: %g", i, (double)after[i]);
		else kept++, sum += exp(2 * (double)before[i]);
	}
	CHECK(kept == 4, "%d tokens kept", kept);
	const int32_t *top = o->top_ids + 19 * FG_MAX_LOGPROBS;
	for (int k = 0; k < 6; k++) {
		const double want = k < 4 ? 2 * (double)before[top[k]] - log(sum) : -INFINITY;
		const float got = o->top_logprobs[19 * FG_MAX_LOGPROBS + k];
		CHECK(k < 4 ? fabs((double)got - want) < 1e-5 : got == -INFINITY, "alternative %d: %g, not %g", k, (double)got,
		      want);
		if (top[k] == o->ids[19]) CHECK(o->logprobs[19] == got && o->ranks[19] == k + 1, "the sampled token's");
	}
	fg_close(e);
	free_outcome(o);
}

/* Two steps in flight, the second with tokens that the first samples; sequences come and go. */
static void test_in_flight(void) {
	enum { STEPS = 30 };
	fg_options options = test_options();
	int32_t alone[STEPS], prompt[6] = {3, 1, 4, 1, 5, 9}, last = FG_LAST_SAMPLED;
	outcome *o = new_outcome(&m, 1);
	fg_sampling sampling = {
		.seed = 12, .temperature = 1, .top_p = 0.9f, .repetition_penalty = 1.2f, .history = prompt, .n_prompt = 6};
	for (int pass = 0; pass < 2; pass++) {
		fg_engine *e = open_model(&m, options, NULL);
		begin_step(&b);
		fill_slot(&b, 4, sampling);
		map_pages(&b, 4, 0, 1, 0, 1);
		add_seq(&b, 4, prompt, 6, 6, FG_SAMPLE);
		MUST(fg_submit(e, &b.step));
		memset(&b, 0xff, sizeof b); /* fg_submit has copied what it needs */
		int wrong = 0;
		int32_t token = 0;
		for (int i = 0; i < STEPS; i++) {
			if (pass == 0) { /* one step at a time, with tokens from the host */
				MUST(wait_for(e, o));
				CHECK(o->result.step == (uint64_t)i, "step %d", (int)o->result.step);
				alone[i] = token = o->ids[0];
			}
			begin_step(&b);
			add_seq(&b, 4, pass ? &last : &token, 1, 7 + i, FG_SAMPLE);
			MUST(fg_submit(e, &b.step));
			if (pass == 1) {
				REFUSED(FG_BUSY, "fg_wait", fg_submit(e, &b.step));
				MUST(wait_for(e, o));
				wrong += o->ids[0] != alone[i];
			}
		}
		CHECK(wrong == 0, "%d tokens differ with two steps in flight", wrong);
		fg_close(e); /* with a step in flight */
	}
	free_outcome(o);
}

/* FG_BUSY while loading; fg_progress from another thread meanwhile. */
static void test_loading(void) {
	fg_shape shape = small_shape();
	shape.hidden_size = 1024, shape.intermediate_size = 4096, shape.vocab_size = 8192;
	shape.rms_norm_eps = 1e-5f, shape.rope_scale = 1, shape.rope_inv_freq = m.inv_freq, shape.layer_window = m.window;
	fg_options options = test_options();
	options.compute_dtype = FG_BF16;
	fg_load_progress p;
	fg_capacity capacity;
	fg_engine *e;
	MUST(fg_open(&shape, &options, &e));
	MUST(fg_progress(e, &p));
	CHECK(!p.finished && p.total == 0, "progress before loading");
	MUST(fg_load_random(e, 3));
	begin_step(&b);
	fg_status status = fg_submit(e, &b.step);
	MUST(fg_progress(e, &p));
	CHECK(status == FG_BUSY || p.finished, "status %d", (int)status);
	uint64_t seen = 0;
	while (!p.finished) {
		MUST(fg_progress(e, &p));
		CHECK(p.done >= seen && p.done <= p.total && p.total > 0, "progress %d after %d", (int)p.done, (int)seen);
		seen = p.done;
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	MUST(fg_ready(e, &capacity));
	MUST(fg_progress(e, &p));
	CHECK(p.done == p.total, "loaded %d of %d", (int)p.done, (int)p.total);
	fg_close(e);
}

static void test_trace(void) {
	fg_engine *e = open_model(&m, test_options(), NULL);
	outcome *o = new_outcome(&m, 1);
	int32_t tokens[3] = {1, 2, 3};
	char path[64], text[1 << 14];
	snprintf(path, sizeof path, "/tmp/fastgen-engine-test-%d.json", (int)getpid());
	REFUSED(FG_INVALID, "no trace", fg_trace_stop(e, path));
	REFUSED(FG_INVALID, "n_steps is -1", fg_trace_start(e, 0, -1));
	MUST(fg_trace_start(e, 0, 0));
	REFUSED(FG_INVALID, "running", fg_trace_start(e, 0, 0));
	begin_step(&b);
	fill_slot(&b, 0, GREEDY);
	map_pages(&b, 0, 0, 1, 0, 1);
	add_seq(&b, 0, tokens, 3, 3, FG_SAMPLE);
	run_step(e, &b, o);
	REFUSED(FG_IO, "cannot write", fg_trace_stop(e, "/no/such/folder/trace.json"));
	MUST(fg_trace_stop(e, path));
	FILE *file = fopen(path, "r");
	size_t n = file ? fread(text, 1, sizeof text - 1, file) : 0;
	text[n] = 0;
	CHECK(strstr(text, "\"name\":\"attention\"") && strstr(text, "\"layer\":1") && strstr(text, "\"name\":\"step\"") &&
	          !strncmp(text, "{\"traceEvents\":[", 16) && n > 3 && !strcmp(text + n - 3, "]}\n"),
	      "trace of %zu bytes", n);
	if (file) fclose(file);
	unlink(path);
	fg_close(e);
	free_outcome(o);
}

int main(void) {
	make_model(&m, small_shape(), 0, FG_F32, 3);
	test_open();
	test_bad_tables();
	fg_engine *e = open_model(&m, test_options(), NULL);
	outcome *o = new_outcome(&m, 1);
	static const int32_t tokens[5] = {1, 2, 3, 4, 5};
	begin_step(&b);
	fill_slot(&b, 0, GREEDY);
	map_pages(&b, 0, 0, 1, 0, 1);
	add_seq(&b, 0, tokens, 5, 5, FG_SAMPLE | FG_LOGITS);
	run_step(e, &b, o);
	fg_close(e);
	test_files(o->logits);
	free_outcome(o);
	test_refused();
	test_results();
	test_processed_results();
	test_in_flight();
	test_loading();
	test_trace();
	free_model(&m);
	return report("engine_test");
}
