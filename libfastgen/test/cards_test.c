/*
 * cards_test.c - the CUDA library on every card of a table, without a GPU (card.h): whether each kernel fits, and what
 * the library does when a call fails.
 *
 *   cards_test FILE...         what the compiler said of each object (*.ptxas)
 *   cards_test all FILE...     likewise; a card that the library has no code for is a failure
 */
#include "card.h"
#include "../engine.h"
#include "model.h"
#include "trace_file.h"

#include <unistd.h>

/* Cards of a generation that only differ in size are one. */
static const card cards[] = {
	{"A100", 80, 163, 164, 108},  {"A10G", 86, 99, 100, 80},       {"AGX Orin", 87, 163, 164, 16},
	{"L40S", 89, 99, 100, 142},   {"H100", 90, 227, 228, 132},     {"B200", 100, 227, 228, 148},
	{"B300", 103, 227, 228, 160}, {"RTX 5090", 120, 99, 100, 170}, {"GB10", 121, 99, 100, 48},
};
enum { CARDS = sizeof cards / sizeof *cards };
static const card *last; /* one that the library has code for */

static const int32_t devices[8] = {0, 1, 2, 3, 4, 5, 6, 7};
static float inv_freq[64];
static int32_t windows[MAX_LAYERS];
static int32_t tokens[300];
static step_builder b;
static outcome *o;

static fg_shape shape_of(int32_t head_dim, int32_t hidden, int32_t vocab) {
	return (fg_shape){.n_layers = 2,
	                  .hidden_size = hidden,
	                  .n_heads = 16,
	                  .n_kv_heads = 8,
	                  .head_dim = head_dim,
	                  .intermediate_size = 512,
	                  .vocab_size = vocab,
	                  .rms_norm_eps = 1e-5f,
	                  .rope_scale = 1,
	                  .rope_inv_freq = inv_freq,
	                  .layer_window = windows};
}

/* With inputs of o and down as wide as they get. */
static fg_shape wide_shape(int32_t n_heads, int32_t intermediate) {
	fg_shape shape = shape_of(128, 64, 50);
	shape.n_heads = n_heads, shape.n_kv_heads = n_heads / 12, shape.intermediate_size = intermediate;
	return shape;
}

static int32_t kv_dtype = FG_BF16, quantization = 0; /* of the engines that follow */

static fg_options options_of(int32_t n_devices) {
	fg_options options = test_options();
	options.devices = devices, options.n_devices = n_devices;
	options.compute_dtype = FG_BF16, options.kv_dtype = kv_dtype;
	options.quantization = quantization;
	options.memory_utilization = 0.9;
	return options;
}

/* An engine with random weights, up to fg_ready's status. Close it. */
static fg_status start(fg_shape shape, int32_t n_devices, fg_engine **e) {
	fg_options options = options_of(n_devices);
	fg_capacity capacity;
	fg_status status = fg_open(&shape, &options, e);
	if (!status) status = fg_load_random(*e, 1);
	return status ? status : fg_ready(*e, &capacity);
}

/* A step of one sequence in slot 0, filled anew with `sampling` unless NULL. */
static fg_status step(fg_engine *e, const fg_sampling *sampling, int32_t n, int32_t context, int32_t flags) {
	begin_step(&b);
	if (sampling) {
		fill_slot(&b, 0, *sampling);
		map_pages(&b, 0, 0, 5, 0, 1);
	}
	add_seq(&b, 0, tokens, n, context, flags)->n_logprobs = 3;
	MUST(fg_submit(e, &b.step));
	return wait_for(e, o);
}

/* A prompt, then a token. */
static void run_steps(fg_engine *e) {
	const fg_sampling sampling = {.temperature = 1, .top_p = 0.9f, .top_k = 3, .repetition_penalty = 1};
	MUST(step(e, &sampling, 260, 260, FG_SAMPLE));
	MUST(step(e, NULL, 1, 261, FG_SAMPLE));
}

#define FAILS(status, text, call)                                                                                      \
	do {                                                                                                               \
		fg_status got_ = (call);                                                                                       \
		CHECK(got_ == (status) && strstr(fg_error(), text), "status %d: %s", (int)got_,                                \
		      got_ ? fg_error() : "accepted");                                                                         \
	} while (0)

/* ---- every kernel on every card ---- */

static void run_engine(fg_shape shape, int32_t n_devices) {
	fg_engine *e = NULL;
	fg_status status = start(shape, n_devices, &e);
	CHECK(!status, "%s", fg_error());
	if (!status) run_steps(e);
	fg_close(e);
}

/* Weights from memory in FP8, with scales by row, then by block. */
static void run_blocks(void) {
	static const granularity by[] = {PER_ROW, PER_BLOCK};
	for (int i = 0; i < 2; i++) {
		static model m;
		fg_options options = options_of(1);
		fg_capacity capacity;
		fg_engine *e;
		make_model(&m, shape_of(64, 1024, 50), 0, FG_BF16, 3);
		quantize_model(&m, by[i]);
		fg_status status = fg_open(&m.shape, &options, &e);
		if (!status) status = fg_load(e, m.tensors, m.n_tensors);
		if (!status) status = fg_ready(e, &capacity);
		CHECK(!status, "%s", fg_error());
		if (!status) run_steps(e);
		fg_close(e);
		free_model(&m);
	}
}

/* Kernels to which a small engine may not come: of many logits, of wide layers, and the ops that read what a product
 * has left, in one matrix or in several, as timing decides. */
static void run_rare(void) {
	fg_config config = {.shape = shape_of(64, 64, 50), .options = options_of(1), .pages_per_seq = 16};
	fg_batch batch = {.n_tokens = 1};
	fg_capacity capacity;
	fg_ctx *ctx;
	atomic_ullong done = 0;
	atomic_int cancel = 0;
	config.options.max_seqs = 256, config.shape.intermediate_size = 14336;
	MUST(fg_device_ops.open(&config, 0, &ctx));
	MUST(fg_device_ops.load_random(ctx, 1, &done, &cancel));
	MUST(fg_device_ops.ready(ctx, &capacity));
	for (int32_t scaling = FG_PLAIN; scaling <= FG_BLOCKS; scaling++) {
		fg_matrix o = ctx->weights.layers[0].o;
		o.scheme.scaling = scaling;
		fg_device_ops.gather_input(ctx, &batch, 0, 1, &o, ctx->buf.attn, ctx->buf.qkv);
	}
	for (int count = 0; count <= 4; count++) {
		const fg_pending pending = {ctx->buf.x, count, 64};
		for (int32_t scaling = FG_PLAIN; scaling <= FG_BLOCKS; scaling++) {
			fg_matrix next = ctx->weights.layers[0].qkv;
			next.scheme.scaling = scaling;
			for (config.shape.hidden_size = 64; config.shape.hidden_size <= 16384; config.shape.hidden_size *= 2)
				fg_device_ops.add_norm(ctx, ctx->buf.residual, pending, ctx->weights.final_norm, 1, &next, ctx->buf.x);
			config.shape.hidden_size = 64;
		}
		fg_device_ops.gather(ctx, &batch, 0, 1, ctx->buf.residual, pending, ctx->buf.rows);
	}
	fg_device_ops.close(ctx);
}

/* How a matrix of an FP8 model is scaled. by: of its checkpoint. */
static int32_t scaling_on_card(granularity by) {
	static model m;
	fg_config config = {.options = options_of(1), .pages_per_seq = 16};
	fg_tensor_table table;
	fg_ctx *ctx;
	atomic_ullong done = 0;
	atomic_int cancel = 0;
	make_model(&m, shape_of(64, 1024, 50), 0, FG_BF16, 3);
	quantize_model(&m, by);
	config.shape = m.shape;
	MUST(fg_device_ops.open(&config, 0, &ctx));
	MUST(fg_table_init(&table, &config, m.tensors, m.n_tensors));
	MUST(fg_device_ops.load(ctx, &table, &done, &cancel));
	const int32_t scaling = ctx->weights.layers[0].o.scheme.scaling;
	fg_device_ops.close(ctx);
	fg_table_free(&table);
	free_model(&m);
	return scaling;
}

/* From 8.9 on, tensor cores take FP8; scales by row and by block are Hopper's. Elsewhere weights stay FP8 all the same.
 */
static void test_fp8(const card *c) {
	const int32_t by_row = scaling_on_card(PER_ROW), by_block = scaling_on_card(PER_BLOCK);
	CHECK(by_row == (c->arch >= 89 ? FG_ROWS : FG_WIDE_ROWS), "%s: scales by row become %d", c->name, by_row);
	CHECK(by_block == (c->arch == 90 ? FG_BLOCKS : FG_WIDE_BLOCKS), "%s: scales by block become %d", c->name, by_block);
}

static void test_card(const card *c, int all) {
	fg_engine *e = NULL;
	card_insert(c);
	if (!card_has_code()) {
		CHECK(!all, "no code for %s", c->name);
		FAILS(FG_UNSUPPORTED, "no code for", start(shape_of(64, 64, 50), 1, &e));
		fg_close(e);
		return;
	}
	last = c;
	static const int32_t head_dims[] = {32, 64, 128}, hidden[] = {64, 4096, 8192, 16384};
	for (int fp8 = 0; fp8 < 2; fp8++) {
		kv_dtype = fp8 ? FG_FP8_E4M3 : FG_BF16;
		for (int i = 0; i < 3; i++) {
			fg_shape shape = shape_of(head_dims[i], 64, 50);
			run_engine(shape, 1);
			shape.n_kv_heads = 1; /* a large group of heads has kernels of its own */
			run_engine(shape, 1);
		}
	}
	kv_dtype = FG_BF16;
	for (quantization = 0; quantization < 2; quantization++) {
		for (int i = 0; i < 4; i++) run_engine(shape_of(64, hidden[i], 50), 1);
		for (int i = 0; i < 4; i++) run_engine(wide_shape(48 << i, 8192 << i), 1);
	}
	quantization = 0;
	test_fp8(c);
	run_blocks();
	for (int32_t ranks = 2; ranks <= 8; ranks *= 2) run_engine(shape_of(64, 64, 50), ranks);
	run_engine(shape_of(64, 64, 262144), 1);
	run_rare();
	CHECK(card_refusals == 0, "%d refusals, the last of them: %s", card_refusals, card_refusal);
}

/* ---- what fails ---- */

static void test_start_failures(void) {
	static const char *const kernels[] = {"embed_kernel",  "add_norm_kernel", "qkv_rope_kernel", "decode_kernel",
	                                      "gather_kernel", "sample_kernel",   "mask_kernel",     "prefill_kernel"};
	fg_engine *e;
	for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++) {
		card_fail.launch = kernels[i];
		FAILS(FG_DEVICE, "cudaErrorLaunchOutOfResources", start(shape_of(128, 64, 50), 1, &e));
		card_fail.launch = NULL;
		fg_close(e);
	}
	card_fail.code = 1;
	FAILS(FG_UNSUPPORTED, "no code for", start(shape_of(128, 64, 50), 1, &e));
	card_fail.code = 0;
	fg_close(e);
}

/* A step that finds no memory fails alone. */
static void test_no_memory(void) {
	static const int32_t history[200];
	const fg_sampling plain = GREEDY;
	fg_sampling large = {.top_p = 1, .repetition_penalty = 2, .history = history, .n_prompt = 200};
	fg_engine *e;
	MUST(start(shape_of(64, 64, 50), 1, &e));
	MUST(step(e, &plain, 1, 1, FG_SAMPLE));
	card_fail.memory = 1;
	FAILS(FG_OUT_OF_MEMORY, "no memory", step(e, &large, 1, 1, FG_SAMPLE));
	card_fail.memory = 0;
	CHECK(!step(e, &plain, 1, 1, FG_SAMPLE), "the step after it: %s", fg_error());
	CHECK(!step(e, &large, 1, 1, FG_SAMPLE), "the step again: %s", fg_error());
	fg_close(e);
}

/* Starts an engine with weights in memory, of which the n-th `new` of the CUDA library fails, on any of its ranks: none
 * waits for one that has given up. Returns whether there were as many. */
static int start_without(const model *m, int32_t ranks, int n) {
	fg_options options = options_of(ranks);
	fg_capacity capacity;
	fg_engine *e;
	options.max_seqs = options.max_step_tokens = 1; /* few products to tune */
	options.host_kv_bytes = 1 << 20;
	card_fail.n_news = n;
	fg_status status = fg_open(&m->shape, &options, &e);
	if (!status) status = fg_load(e, m->tensors, m->n_tensors);
	if (!status) status = fg_ready(e, &capacity);
	const int came = card_fail.n_news == 0;
	card_fail.n_news = 0;
	CHECK(!status || (status == FG_OUT_OF_MEMORY && came), "%d ranks: status %d at %d: %s", ranks, (int)status, n,
	      fg_error());
	fg_close(e);
	return came;
}

static void test_exceptions(void) {
	static model m;
	make_model(&m, small_shape(), 0, FG_F32, 3);
	for (int32_t ranks = 1; ranks <= 2; ranks++) {
		int n = 1;
		while (start_without(&m, ranks, n)) n++;
		CHECK(n > 50, "only %d uses of new", n);
	}
	fg_options options = options_of(1);
	fg_capacity capacity;
	fg_engine *e;
	MUST(fg_open(&m.shape, &options, &e));
	card_fail.threads = 1;
	MUST(fg_load(e, m.tensors, m.n_tensors));
	CHECK(!fg_ready(e, &capacity), "without threads: %s", fg_error());
	card_fail.threads = 0;
	fg_close(e);
	free_model(&m);
}

/* ---- weights that come and go ---- */

static atomic_ullong loaded;
static atomic_int cancel;

static fg_status load_tensors(fg_ctx *ctx, const fg_tensor *t, int32_t n) {
	fg_tensor_table table;
	fg_status status = fg_table_init(&table, ctx->config, t, n);
	if (!status && fg_table_imports(&table)) status = fg_device_ops.import(ctx, &table);
	if (!status) status = fg_device_ops.load(ctx, &table, &loaded, &cancel);
	fg_table_free(&table);
	return status;
}

static const fg_tensor *find(const model *m, fg_role role, int32_t layer) {
	for (int32_t i = 0; i < m->n_tensors; i++) {
		if (m->tensors[i].role == (int32_t)role && m->tensors[i].layer == layer) return &m->tensors[i];
	}
	exit(1);
}

/* Whether the matrix is the tensors of these roles, one below the other. */
static int holds(const fg_matrix *matrix, const model *m, int32_t layer, int n, const fg_role *roles) {
	const char *at = matrix->part[0].data;
	for (int i = 0; i < n; i++) {
		const fg_tensor *t = find(m, roles[i], layer);
		if (memcmp(at, t->data, t->bytes)) return 0;
		at += t->bytes;
	}
	return 1;
}

static void check_weights(const fg_ctx *ctx, const model *m, const char *when) {
	const fg_weights *w = &ctx->weights;
	int same = holds(&w->embed, m, 0, 1, (const fg_role[]){FG_EMBED}) &&
	           holds(&w->lm_head, m, 0, 1, (const fg_role[]){FG_LM_HEAD});
	for (int32_t i = 0; i < m->shape.n_layers; i++) {
		const fg_layer *l = &w->layers[i];
		same = same && holds(&l->qkv, m, i, 3, (const fg_role[]){FG_Q, FG_K, FG_V}) &&
		       holds(&l->o, m, i, 1, (const fg_role[]){FG_O}) &&
		       holds(&l->gate_up, m, i, 2, (const fg_role[]){FG_GATE, FG_UP}) &&
		       holds(&l->down, m, i, 1, (const fg_role[]){FG_DOWN});
		const fg_tensor *norm = find(m, FG_MLP_NORM, i);
		for (int32_t k = 0; k < norm->rows; k++)
			same = same && l->mlp_norm[k] == fg_read(norm->data, norm->dtype, (size_t)k);
	}
	CHECK(same, "%s: other weights", when);
}

/* An op context on one card, up to ready, with the weights of m. */
static fg_ctx *open_context(fg_config *config, const model *m) {
	fg_capacity capacity;
	fg_ctx *ctx;
	*config = (fg_config){.shape = m->shape, .options = options_of(1), .pages_per_seq = 16};
	MUST(fg_device_ops.open(config, 0, &ctx));
	MUST(load_tensors(ctx, m->tensors, m->n_tensors));
	MUST(fg_device_ops.ready(ctx, &capacity));
	return ctx;
}

static void test_replaced_weights(const model *first, const model *second) {
	fg_config config;
	fg_ctx *ctx = open_context(&config, first);
	check_weights(ctx, first, "loaded");
	const fg_layer before = ctx->weights.layers[1];
	const long mapped = card_mapped;
	MUST(load_tensors(ctx, second->tensors, second->n_tensors));
	check_weights(ctx, second, "replaced");
	CHECK(!memcmp(&before, &ctx->weights.layers[1], sizeof before), "the weights have moved");
	CHECK(card_mapped == mapped, "%ld bytes more", card_mapped - mapped);
	fg_device_ops.close(ctx);
	CHECK(card_mapped == 0, "%ld bytes stay", card_mapped);
}

static void test_sleep(const model *first, const model *second) {
	fg_config config;
	fg_ctx *ctx = open_context(&config, first);
	const fg_layer before = ctx->weights.layers[1];
	const long mapped = card_mapped;
	for (int round = 0; round < 2; round++) {
		MUST(fg_device_ops.sleep(ctx, 1));
		CHECK(card_mapped == 0, "%ld bytes are there", card_mapped);
		card_fail.memory = 1;
		FAILS(FG_OUT_OF_MEMORY, "no room for the weights", fg_device_ops.wake(ctx, FG_WAKE_WEIGHTS | FG_WAKE_KV_CACHE));
		FAILS(FG_OUT_OF_MEMORY, "no room for the KV cache", fg_device_ops.wake(ctx, FG_WAKE_KV_CACHE));
		card_fail.memory = 0;
		CHECK(card_mapped == 0, "%ld bytes are there", card_mapped);
		MUST(fg_device_ops.wake(ctx, FG_WAKE_WEIGHTS));
		check_weights(ctx, first, "awake");
		MUST(fg_device_ops.wake(ctx, FG_WAKE_KV_CACHE));
		CHECK(card_mapped == mapped, "%ld of %ld bytes are there", card_mapped, mapped);
	}
	MUST(fg_device_ops.sleep(ctx, 2));
	MUST(fg_device_ops.wake(ctx, FG_WAKE_WEIGHTS | FG_WAKE_KV_CACHE));
	MUST(load_tensors(ctx, second->tensors, second->n_tensors));
	check_weights(ctx, second, "dropped and loaded");
	CHECK(!memcmp(&before, &ctx->weights.layers[1], sizeof before), "the weights have moved");
	fg_device_ops.close(ctx);
	CHECK(card_mapped == 0, "%ld bytes stay", card_mapped);
}

/* All ranks wake, or none; and steps run afterwards. */
static void test_sleeping_ranks(void) {
	for (int32_t ranks = 1; ranks <= 4; ranks *= 2) {
		fg_engine *e;
		MUST(start(shape_of(64, 64, 50), ranks, &e));
		run_steps(e);
		const long mapped = card_mapped;
		for (int32_t level = 1; level <= 2; level++) {
			MUST(fg_sleep(e, level));
			CHECK(card_mapped == 0, "%d ranks: %ld bytes are there", ranks, card_mapped);
			card_fail.memory = 1;
			FAILS(FG_OUT_OF_MEMORY, "end other programs", fg_wake(e, FG_WAKE_WEIGHTS | FG_WAKE_KV_CACHE));
			card_fail.memory = 0;
			MUST(fg_wake(e, FG_WAKE_WEIGHTS | FG_WAKE_KV_CACHE));
			CHECK(card_mapped == mapped, "%ld of %ld bytes are there", card_mapped, mapped);
		}
		fg_capacity capacity;
		MUST(fg_load_random(e, 2));
		MUST(fg_ready(e, &capacity));
		run_steps(e);
		fg_close(e);
	}
	/* A driver without virtual memory: everything works but sleep. */
	fg_engine *e;
	card_fail.virtual_memory = 1;
	MUST(start(shape_of(64, 64, 50), 1, &e));
	FAILS(FG_UNSUPPORTED, "cannot give memory back", fg_sleep(e, 1));
	MUST(fg_wake(e, FG_WAKE_WEIGHTS | FG_WAKE_KV_CACHE));
	run_steps(e);
	fg_close(e);
	card_fail.virtual_memory = 0;
}

/* Makes a handle of memory, as the stand-in for the driver reads it. */
static void make_handle(uint8_t *handle, const void *data, size_t bytes) {
	memset(handle, 0, FG_IPC_HANDLE_BYTES);
	memcpy(handle, &data, sizeof data), memcpy(handle + sizeof data, &bytes, sizeof bytes);
}

static void test_imports(const model *first, const model *second) {
	static fg_tensor t[MAX_TENSORS];
	static uint8_t handles[MAX_TENSORS][FG_IPC_HANDLE_BYTES];
	fg_config config;
	fg_ctx *ctx = open_context(&config, first);
	memcpy(t, second->tensors, sizeof t);
	for (int32_t i = 0; i < second->n_tensors; i++) {
		make_handle(handles[i], (const char *)t[i].data - 2, t[i].bytes + 2);
		t[i].data = NULL, t[i].ipc_handle = handles[i], t[i].offset = 2;
	}
	t[3].offset = 3;
	FAILS(FG_INVALID, "which has only", load_tensors(ctx, t, second->n_tensors));
	t[3].offset = 2;
	static const uint8_t nothing[FG_IPC_HANDLE_BYTES];
	t[4].ipc_handle = nothing;
	FAILS(FG_INVALID, "cannot be opened", load_tensors(ctx, t, second->n_tensors));
	t[4].ipc_handle = handles[4];
	check_weights(ctx, first, "refused");
	CHECK(card_imports == 0, "%d are open", card_imports);
	MUST(load_tensors(ctx, t, second->n_tensors));
	check_weights(ctx, second, "imported");
	CHECK(card_imports == 0, "%d are open", card_imports);
	fg_device_ops.close(ctx);
}

/* ---- traces ---- */

/* An op takes the card two records, or 5 us, however long the trace has been running; and nothing stays. */
static void test_trace(void) {
	char path[64];
	snprintf(path, sizeof path, "/tmp/fastgen-cards-test-%d", (int)getpid());
	fg_engine *e;
	MUST(start(shape_of(64, 64, 50), 1, &e));
	run_steps(e);
	const int before = card_events;
	MUST(fg_trace_start(e, 0, 0));
	for (int i = 0; i < 300; i++) {
		if (i == 150) card_clock_ms += 1e6; /* a quiet time of 1,000 s */
		MUST(step(e, NULL, 1, 262, FG_SAMPLE));
	}
	const int most = card_events;
	MUST(fg_trace_stop(e, path));
	CHECK(fabs(longest_event(path) - 5) < 0.01, "an op of %g us", longest_event(path));
	CHECK(count_lines(path, "not replayed as graphs: there is no CUPTI on paper") == 1, "no word about CUPTI");
	CHECK(most - before < 2000, "%d events for 300 steps", most - before);
	CHECK(card_events == before, "%d events before, %d after", before, card_events);
	unlink(path);
	fg_close(e);
}

/* Where CUPTI tells what the card ran, graphs are replayed, and every op is as long as its kernels: in the pass that
 * was recorded, and in one that was not. */
static void test_watched_trace(void) {
	const fg_sampling sampling = {.temperature = 1, .top_p = 0.9f, .top_k = 3, .repetition_penalty = 1};
	char path[64];
	snprintf(path, sizeof path, "/tmp/fastgen-cards-test-%d", (int)getpid());
	card_cupti = 1;
	fg_engine *e, *other;
	MUST(start(shape_of(64, 64, 50), 1, &e));
	run_steps(e);
	const int events = card_events;
	for (int round = 0; round < 2; round++) {
		MUST(fg_trace_start(e, 5, 4));
		MUST(step(e, &sampling, 260, 260, FG_SAMPLE));
		/* The last one is not in the trace. */
		for (int i = 0; i < 4; i++) MUST(step(e, NULL, 1, 261 + i, FG_SAMPLE));
		MUST(fg_trace_stop(e, path));
		CHECK(card_events == events, "%d events before, %d after", events, card_events);
		int n;
		const span *spans = read_spans(path, &n);
		CHECK(count_lines(path, "\"graph\":true") == 3 && count_lines(path, "\"graph\":false") == 1,
		      "not three graphs");
		CHECK(count_spans(spans, n, 100, "step") == 4 && count_spans(spans, n, 101, "enqueue") == 4, "not four steps");
		CHECK(count_spans(spans, n, 100, "attention") == 4 * 2, "%d attentions",
		      count_spans(spans, n, 100, "attention"));
		CHECK(count_spans(spans, n, 100, "sample") == 4 && count_spans(spans, n, 100, "embed") == 4, "not four passes");
		CHECK(count_spans(spans, n, 102, "fg::copy_words_kernel") >= 2 * 4, "a step comes and goes");
		CHECK(count_lines(path, "\"ph\":\"i\"") == 0, "a remark");
		double step_start = 0, step_end = 0, op_end = 0, kernel_end = 0;
		int ops = 0, kernels = 0;
		for (int i = 0; i < n; i++) {
			const span *s = &spans[i];
			if (s->row == 102) {
				CHECK(s->start >= kernel_end - 0.0011 && !strchr(s->name, '('), "%s at %g", s->name, s->start);
				kernel_end = s->end, kernels++;
			}
			if (s->row != 100) continue;
			if (!strcmp(s->name, "step")) step_start = op_end = s->start, step_end = s->end;
			CHECK(s->start >= step_start - 0.0011 && s->end <= step_end + 0.0011, "%s is not in its step", s->name);
			if (!strcmp(s->name, "step")) continue;
			CHECK(s->start >= op_end - 0.0011 && s->end - s->start > 0.9, "%s of %g us", s->name, s->end - s->start);
			op_end = s->end, ops++;
		}
		CHECK(ops > 4 * 13 && kernels >= ops, "%d ops and %d kernels", ops, kernels);
	}
	/* Another engine on the card has its ops timed by events meanwhile. */
	MUST(start(shape_of(64, 64, 50), 1, &other));
	run_steps(other);
	MUST(fg_trace_start(e, 5, 0));
	MUST(fg_trace_start(other, 5, 0));
	MUST(step(other, NULL, 1, 262, FG_SAMPLE));
	MUST(fg_trace_stop(other, path));
	CHECK(count_lines(path, "another engine's trace is recording device 0") == 1, "no word about the other engine");
	fg_close(other);
	/* With kernels that CUPTI has lost nobody knows which op is which. */
	card_untold = 1;
	MUST(step(e, NULL, 1, 265, FG_SAMPLE));
	MUST(fg_trace_stop(e, path));
	card_untold = 0;
	int n;
	const span *spans = read_spans(path, &n);
	CHECK(count_spans(spans, n, 100, "step") == 1 && count_spans(spans, n, 100, "attention") == 0, "%d steps, %d ops",
	      count_spans(spans, n, 100, "step"), count_spans(spans, n, 100, "attention"));
	CHECK(count_lines(path, "ran more or fewer kernels") == 1, "no word about lost kernels");
	MUST(fg_trace_start(e, 5, 0));
	fg_close(e); /* with a trace running */
	unlink(path);
	card_cupti = 0;
}

int main(int argc, char **argv) {
	const int all = argc > 1 && !strcmp(argv[1], "all");
	for (int i = 1 + all; i < argc; i++) card_read_compiler(argv[i]);
	setenv("XDG_CACHE_HOME", "", 1), unsetenv("HOME"); /* no choices from an earlier run */
	static model small;
	make_model(&small, small_shape(), 0, FG_F32, 3);
	o = new_outcome(&small, 1);
	for (int i = 0; i < CARDS; i++) test_card(&cards[i], all);
	CHECK(last, "no code for any card");
	if (last) {
		const char *kernel = card_never_launched();
		CHECK(!all || !kernel, "never launched, of %d kernels: %s", card_kernels(), kernel);
		card_insert(last);
		test_start_failures();
		test_no_memory();
		test_exceptions();
		static model first, second;
		make_model(&first, small_shape(), 0, FG_BF16, 3), make_model(&second, small_shape(), 0, FG_BF16, 4);
		test_replaced_weights(&first, &second);
		test_sleep(&first, &second);
		test_imports(&first, &second);
		free_model(&first), free_model(&second);
		test_sleeping_ranks();
		test_trace();
		test_watched_trace();
	}
	free_outcome(o), free_model(&small);
	return report("cards_test");
}
