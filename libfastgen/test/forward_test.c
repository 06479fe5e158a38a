/*
 * forward_test.c - compares whole models of every kind with a plain reference; and checks that a sequence's logits have
 * the same bits in any batch, with any chunks of its prompt, on any number of threads, in any pages.
 */
#include "model.h"

enum { TOKENS = 150, VOCAB = 97 };

static const char *isas[4]; /* that this CPU has */
static int n_isas;

static void find_isas(void) {
	static const char *const known[] = {"scalar", "avx2", "avx512", "avx512bf16"};
	for (int i = 0; i < 4; i++) {
		fg_device_info info;
		setenv("FASTGEN_CPU_ISA", known[i], 1);
		if (fg_device(0, &info)) printf("skipped: %s\n", fg_error());
		else isas[n_isas++] = known[i];
	}
}

static int32_t prompt[TOKENS];

/* The logits of every position, with the prompt in one step. */
static void score(const model *m, fg_options options, int32_t n, float *logits) {
	static step_builder b;
	outcome *o = new_outcome(m, n);
	fg_engine *engine = open_model(m, options, NULL);
	begin_step(&b);
	fill_slot(&b, 0, GREEDY);
	map_pages(&b, 0, 0, 3, 0, 1);
	add_seq(&b, 0, prompt, n, n, FG_SCORE | FG_LOGITS)->next_token = 1;
	run_step(engine, &b, o);
	memcpy(logits, o->logits, (size_t)n * VOCAB * sizeof *logits);
	fg_close(engine);
	free_outcome(o);
}

/* Compares the logits of m with the reference's in double precision. */
static void compare(const char *name, const model *m, int32_t compute, int32_t kv, int rounding) {
	static float logits[TOKENS * VOCAB];
	for (int i = 0; i < TOKENS; i++) prompt[i] = below(VOCAB);
	fg_options options = test_options();
	options.compute_dtype = compute;
	options.kv_dtype = kv;
	double *exact = doubles(TOKENS * VOCAB), *plain = doubles(TOKENS * VOCAB), naive = 0;
	ref_forward(&(reference){.m = m, .rounding = 0}, prompt, TOKENS, exact);
	ref_forward(&(reference){.m = m, .rounding = rounding, .compute_dtype = compute, .kv_dtype = kv}, prompt, TOKENS,
	            plain);
	for (int i = 0; i < TOKENS * VOCAB; i++) naive = fmax(naive, fabs(plain[i] - exact[i]));
	for (int isa = 0; isa < n_isas; isa++) {
		double worst = 0;
		setenv("FASTGEN_CPU_ISA", isas[isa], 1);
		score(m, options, TOKENS, logits);
		for (int i = 0; i < TOKENS * VOCAB; i++) {
			double error = fabs((double)logits[i] - exact[i]);
			worst = isnan(error) ? INFINITY : fmax(worst, error);
		}
		/* at most twice what rounding costs a plain implementation of the same precision on this input */
		CHECK(worst <= 2 * naive, "%s, %s: error %.3g, a plain implementation has %.3g", name, isas[isa], worst, naive);
	}
	free(exact), free(plain);
}

static void test_shape(const char *name, fg_shape shape, int32_t window, int32_t dtype, int32_t compute, int32_t kv) {
	static model m;
	shape.vocab_size = VOCAB;
	make_model(&m, shape, window, dtype, 11);
	compare(name, &m, compute, kv, compute != FG_F32 || kv != FG_F32 ? 2 : 1);
	free_model(&m);
}

static void test_shapes(void) {
	char name[64];
	for (int32_t group = 1; group <= 8; group++) {
		fg_shape shape = {.n_layers = 2,
		                  .hidden_size = 80 + 8 * (group % 3),
		                  .n_kv_heads = group > 4 ? 1 : 2,
		                  .head_dim = 32 << group % 3,
		                  .intermediate_size = 112,
		                  .tied_embeddings = group & 1,
		                  .qkv_bias = group >> 1 & 1,
		                  .qk_norm = group >> 2 & 1};
		shape.n_heads = group * shape.n_kv_heads;
		snprintf(name, sizeof name, "group %d", group);
		test_shape(name, shape, group == 3 ? 20 : group == 6 ? -70 : 0, group % 3, FG_F32, FG_F32);
	}
	static const int32_t dtypes[] = {FG_F32, FG_F16, FG_BF16};
	for (int compute = 0; compute < 3; compute++) {
		for (int w = 0; w < 3; w++) {
			fg_shape shape = {.n_layers = 2,
			                  .hidden_size = 96,
			                  .n_heads = 3,
			                  .n_kv_heads = 1,
			                  .head_dim = 32,
			                  .intermediate_size = 160,
			                  .qkv_bias = 1,
			                  .rope_scale = 1.2f};
			snprintf(name, sizeof name, "compute %d, weights %d, cache %d", compute, w, (compute + w) % 3);
			test_shape(name, shape, 0, dtypes[w], dtypes[compute], dtypes[(compute + w) % 3]);
		}
	}
	fg_shape wide = {
		.n_layers = 1, .hidden_size = 64, .n_heads = 40, .n_kv_heads = 1, .head_dim = 32, .intermediate_size = 64};
	test_shape("40 heads on one KV head", wide, 0, FG_F32, FG_F32, FG_F32);
}

/* ---- FP8 ---- */

/* Inner dimensions of one block and a bit, and rows that end within a block. */
static const fg_shape fp8_shape = {.n_layers = 2,
                                   .hidden_size = 160,
                                   .n_heads = 6,
                                   .n_kv_heads = 2,
                                   .head_dim = 32,
                                   .intermediate_size = 304,
                                   .vocab_size = VOCAB,
                                   .qkv_bias = 1};

static void test_fp8(void) {
	static model m;
	char name[64];
	for (granularity by = PER_TENSOR; by <= PER_BLOCK; by++) {
		for (int inputs = 0; inputs < (by == PER_BLOCK ? 1 : 3); inputs++) { /* dynamic, static, bounded */
			make_model(&m, fp8_shape, 0, FG_BF16, 17);
			quantize_model(&m, by);
			for (int32_t i = 0; i < m.n_tensors; i++) {
				if (!is_linear(&m.tensors[i])) continue;
				if (inputs == 1) m.tensors[i].input_scale = 0.01f;
				if (inputs == 2) m.tensors[i].input_bound = 1.5f;
			}
			snprintf(name, sizeof name, "FP8, scales %d, inputs %d", by, inputs);
			compare(name, &m, inputs ? FG_BF16 : FG_F32, inputs == 1 ? FG_FP8_E4M3 : FG_F32, 2);
			free_model(&m);
		}
	}
	for (int group = 1; group <= 4; group++) {
		fg_shape shape = fp8_shape;
		shape.n_heads = 2 * group, shape.head_dim = 32 << group % 3, shape.qk_norm = group & 1;
		snprintf(name, sizeof name, "FP8 cache, group %d", group);
		test_shape(name, shape, group == 2 ? 70 : 0, FG_BF16, FG_BF16, FG_FP8_E4M3);
	}
}

/* Two models that must be the same to the bit. */
static void same(const char *what, const model *a, fg_options a_options, const model *b, fg_options b_options) {
	static float logits[2][TOKENS * VOCAB];
	for (int isa = 0; isa < n_isas; isa++) {
		setenv("FASTGEN_CPU_ISA", isas[isa], 1);
		score(a, a_options, TOKENS, logits[0]);
		score(b, b_options, TOKENS, logits[1]);
		CHECK(!memcmp(logits[0], logits[1], sizeof *logits), "%s, %s: other logits", what, isas[isa]);
	}
}

/* Replaces an FP8 tensor by what it stands for, in float32. */
static void widen(fg_tensor *t) {
	size_t n = (size_t)t->rows * (size_t)t->cols;
	float *values = malloc(n * sizeof *values);
	if (!values) exit(1);
	for (size_t i = 0; i < n; i++) values[i] = fg_read(t->data, t->dtype, i) * t->scale[scale_index(t, i)];
	free((void *)t->data), free((void *)t->scale);
	t->data = values, t->scale = NULL, t->scale_rows = t->scale_cols = 0;
	t->bytes = n * sizeof *values, t->dtype = FG_F32;
}

static void test_fp8_loading(void) {
	static model m, other;
	fg_options options = test_options(), online = options;
	online.quantization = FG_QUANTIZE_FP8;
	for (int dtype = 0; dtype < 3; dtype++) { /* while it loads, or before */
		make_model(&m, fp8_shape, 0, dtype, 23), make_model(&other, fp8_shape, 0, dtype, 23);
		quantize_model(&other, PER_ROW);
		same("quantised while it loads", &m, online, &other, options);
		same("nothing left to quantise", &other, online, &other, options);
		free_model(&m), free_model(&other);
	}
	/* a matrix whose parts differ is plain: k is not FP8 in the first layer, o is in blocks in the second */
	make_model(&m, fp8_shape, 0, FG_F32, 29), make_model(&other, fp8_shape, 0, FG_F32, 29);
	for (int32_t i = 0; i < m.n_tensors; i++) {
		for (model *each = &m; each; each = each == &m ? &other : NULL) {
			fg_tensor *t = &each->tensors[i];
			if (t->role == FG_Q && t->layer == 0) quantize_tensor(t, PER_ROW);
			if (t->role == FG_GATE && t->layer == 1) quantize_tensor(t, PER_TENSOR);
			if (t->role == FG_UP && t->layer == 1) quantize_tensor(t, PER_BLOCK);
			if (t->role == FG_EMBED || t->role == FG_LM_HEAD) quantize_tensor(t, PER_ROW);
			if (each == &other && t->dtype == FG_FP8_E4M3) widen(t);
		}
	}
	same("mixed parts, embed and lm_head", &m, options, &other, options);
	free_model(&m), free_model(&other);
	/* parts with static scales of their own take the largest */
	make_model(&m, fp8_shape, 0, FG_F32, 31), make_model(&other, fp8_shape, 0, FG_F32, 31);
	quantize_model(&m, PER_TENSOR), quantize_model(&other, PER_TENSOR);
	for (int32_t i = 0; i < m.n_tensors; i++) {
		if (!is_linear(&m.tensors[i])) continue;
		m.tensors[i].input_scale = m.tensors[i].role == FG_K || m.tensors[i].role == FG_UP ? 0.02f : 0.01f;
		int32_t role = m.tensors[i].role;
		other.tensors[i].input_scale = role == FG_O || role == FG_DOWN ? 0.01f : 0.02f;
	}
	same("static scales", &m, options, &other, options);
	free_model(&m), free_model(&other);
}

/* ---- invariance ---- */

enum { LONG = 700, KEEP = 20 }; /* tokens; the last KEEP positions' logits are compared */

static int32_t text[LONG];

/* One way to run the same sequence. */
typedef struct {
	const char *name;
	int32_t n_threads, chunk, first_page, page_stride, decoded;
	int others; /* sequences beside it in every step */
	int swap;   /* half way, its pages go to the host and come back elsewhere */
} way;

static void run_way(const model *m, fg_options options, const way *w, float *logits) {
	static step_builder b;
	outcome *o = new_outcome(m, 8 * KEEP + 8);
	options.n_threads = w->n_threads;
	options.host_kv_bytes = 16 << 20;
	fg_engine *engine = open_model(m, options, NULL);
	int32_t n_prompt = LONG - w->decoded, n_pages = (LONG + 63) / 64, other_tokens[8] = {0}, first = w->first_page;
	size_t kept = 0;
	fg_page_copy copies[64];
	for (int32_t at = 0, step = 0; at < LONG; step++) {
		int32_t n = at < n_prompt ? (n_prompt - at < w->chunk ? n_prompt - at : w->chunk) : 1;
		begin_step(&b);
		if (step == 0) {
			fill_slot(&b, 3, GREEDY);
			map_pages(&b, 3, 0, n_pages, first, w->page_stride);
		}
		for (int32_t s = 0; s < w->others; s++) { /* slots 0 to 2, one to five tokens per step */
			int32_t other[5] = {s, step % VOCAB, 7, 8, 9}, count = 1 + (s + step) % 5;
			if (other_tokens[s] + count > 128) continue;
			if (step == 0) fill_slot(&b, s, GREEDY), map_pages(&b, s, 0, 2, 120 + 2 * s, 1);
			other_tokens[s] += count;
			add_seq(&b, s, other, count, other_tokens[s], FG_SAMPLE);
		}
		if (w->swap && step == 2) {
			for (int32_t i = 0; i < n_pages; i++) {
				copies[i] = (fg_page_copy){first + i * w->page_stride, n_pages - i, FG_TO_HOST};
				copies[n_pages + i] = (fg_page_copy){60 + i, n_pages - i, FG_TO_DEVICE};
			}
			b.step.copies = copies;
			b.step.n_copies = 2 * n_pages;
			map_pages(&b, 3, 0, n_pages, 60, 1);
		}
		/* only the logits of the last positions, so that both prefill and decode make some */
		int32_t flags = at + n > LONG - KEEP ? FG_SCORE | FG_LOGITS : 0;
		if (flags && at < LONG - KEEP) n = LONG - KEEP - at, flags = 0;
		add_seq(&b, 3, text + at, n, at + n, flags)->next_token = 0;
		run_step(engine, &b, o);
		if (flags) {
			memcpy(logits + kept, o->logits, (size_t)n * VOCAB * sizeof *logits);
			kept += (size_t)n * VOCAB;
		}
		at += n;
	}
	CHECK(kept == (size_t)KEEP * VOCAB, "%s: %zu logits", w->name, kept);
	fg_close(engine);
	free_outcome(o);
}

/* The last position's logits, where the step needs no others of this sequence. */
static void run_last(const model *m, fg_options options, float *logits) {
	static step_builder b;
	outcome *o = new_outcome(m, 2);
	const int32_t other[3] = {1, 2, 3};
	fg_engine *engine = open_model(m, options, NULL);
	begin_step(&b);
	fill_slot(&b, 0, GREEDY), fill_slot(&b, 1, GREEDY);
	map_pages(&b, 0, 0, 1, 100, 1), map_pages(&b, 1, 0, (LONG + 63) / 64, 0, 1);
	add_seq(&b, 0, other, 3, 3, FG_SAMPLE | FG_LOGITS);
	add_seq(&b, 1, text, LONG, LONG, FG_SAMPLE | FG_LOGITS);
	run_step(engine, &b, o);
	memcpy(logits, o->logits + VOCAB, VOCAB * sizeof *logits);
	fg_close(engine);
	free_outcome(o);
}

static void test_invariance(fg_shape shape, int32_t window, int32_t compute, int32_t kv, int32_t quantization) {
	static model m;
	static float want[KEEP * VOCAB], got[KEEP * VOCAB];
	static const way ways[] = {
		{.name = "one step", .n_threads = 1, .chunk = LONG, .page_stride = 1},
		{.name = "two threads", .n_threads = 2, .chunk = LONG, .page_stride = 1},
		{.name = "five threads", .n_threads = 5, .chunk = LONG, .page_stride = 1},
		{.name = "chunks of 64", .n_threads = 2, .chunk = 64, .page_stride = 1},
		{.name = "chunks of 37", .n_threads = 2, .chunk = 37, .page_stride = 1},
		{.name = "chunks of 1", .n_threads = 2, .chunk = 1, .page_stride = 1},
		{.name = "decoded", .n_threads = 2, .chunk = LONG, .decoded = 40, .page_stride = 1},
		{.name = "decoded, three threads", .n_threads = 3, .chunk = 100, .decoded = 200, .page_stride = 1},
		{.name = "scattered pages", .n_threads = 2, .chunk = 200, .first_page = 1, .page_stride = 5},
		{.name = "in company", .n_threads = 2, .chunk = 50, .others = 3, .decoded = 30, .page_stride = 1},
		{.name = "swapped out and in", .n_threads = 2, .chunk = 150, .swap = 1, .decoded = 60, .page_stride = 2},
	};
	shape.vocab_size = VOCAB;
	make_model(&m, shape, window, FG_BF16, 5);
	for (int i = 0; i < LONG; i++) text[i] = below(VOCAB);
	fg_options options = test_options();
	options.compute_dtype = compute;
	options.kv_dtype = kv;
	options.quantization = quantization;
	options.kv_bytes =
		128 * (uint64_t)shape.n_layers * 2 * (uint64_t)shape.n_kv_heads * 64 * (uint64_t)shape.head_dim * 4;
	for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
		memset(got, 0, sizeof got);
		run_way(&m, options, &ways[i], i ? got : want);
		CHECK(i == 0 || !memcmp(want, got, sizeof want),
		      "%s: window %d, compute %d, cache %d, quantization %d: the logits differ", ways[i].name, window, compute,
		      kv, quantization);
	}
	run_last(&m, options, got);
	CHECK(!memcmp(want + (KEEP - 1) * VOCAB, got, VOCAB * sizeof *got),
	      "the last row alone: window %d, compute %d, cache %d, quantization %d: the logits differ", window, compute,
	      kv, quantization);
	free_model(&m);
}

int main(void) {
	fg_shape shape = {.n_layers = 2,
	                  .hidden_size = 96,
	                  .n_heads = 6,
	                  .n_kv_heads = 2,
	                  .head_dim = 32,
	                  .intermediate_size = 144,
	                  .tied_embeddings = 1,
	                  .qkv_bias = 1};
	find_isas();
	test_shapes();
	test_fp8();
	test_fp8_loading();
	for (int i = 0; i < n_isas; i++) {
		setenv("FASTGEN_CPU_ISA", isas[i], 1);
		test_invariance(shape, 0, FG_BF16, FG_BF16, FG_QUANTIZE_NONE);
		test_invariance(shape, 100, FG_F32, FG_F16, FG_QUANTIZE_NONE);
		test_invariance(shape, 0, FG_BF16, FG_FP8_E4M3, FG_QUANTIZE_FP8);
	}
	return report("forward_test");
}
