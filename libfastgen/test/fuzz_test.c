/*
 * fuzz_test.c - shapes, options, tables and steps at random, most of them good but for one field, with arrays of
 * exactly the size that fastgen.h asks for: nothing outside of them is touched (under the address sanitizer), what is
 * refused has changed nothing, and a good step is taken at any time.
 *
 *   fuzz_test [SECONDS [SEED]]    goes on for so long, and says with which seed it ended
 */
#include "../clock.h"
#include "model.h"

#include <unistd.h>

enum { SLOTS = 4, VOCAB = SMALL_VOCAB, CONTEXT = 200, STEP_TOKENS = 96, STEPS = 60 };

static const int64_t edges[] = {
	INT32_MIN, -(1 << 20), -2,  -1,   0,     1,       2,       3,     31,        63,      64,
	65,        127,        128, 4096, 65535, 1 << 16, 1 << 20, VOCAB, VOCAB - 1, 1 << 24, INT32_MAX - 1,
	INT32_MAX};
static const float odd[] = {0, -0.0f, 1, -1, 1e-30f, 1e30f, INFINITY, -INFINITY, NAN, 0.5f, 2, 1.0000001f};

static int64_t edge(void) {
	return edges[below(sizeof edges / sizeof *edges)];
}
static float odd_number(void) {
	return odd[below(sizeof odd / sizeof *odd)];
}
static int one_in(int32_t n) {
	return below(n) == 0;
}

/* An array of exactly n elements, freed by free_arrays. */
static void *arrays[1024];
static int n_arrays;
static void *exactly(int64_t n, size_t size) {
	void *p = malloc((size_t)n * size);
	if (!p || n_arrays == sizeof arrays / sizeof *arrays) exit(1);
	memset(p, 0, (size_t)n * size);
	return arrays[n_arrays++] = p;
}
static void free_arrays(void) {
	while (n_arrays > 0) free(arrays[--n_arrays]);
}

/* A refusal says why; nothing that is asked of the library here is a fault of the device. */
static void check_refusal(fg_status status, const char *what) {
	if (status) CHECK(status != FG_DEVICE && *fg_error(), "%s: status %d: %s", what, (int)status, fg_error());
}

/* ---- an engine ---- */

static model m;
static fg_options options;
static fg_engine *e;
static fg_capacity capacity;

static void spoil_shape(fg_shape *s) {
	int32_t *const fields[] = {&s->n_layers, &s->hidden_size,       &s->n_heads,    &s->n_kv_heads,
	                           &s->head_dim, &s->intermediate_size, &s->vocab_size, &s->qkv_bias,
	                           &s->qk_norm,  &s->tied_embeddings};
	if (one_in(4)) *(one_in(2) ? &s->rms_norm_eps : &s->rope_scale) = odd_number();
	else *fields[below(sizeof fields / sizeof *fields)] = (int32_t)edge();
	/* Their arrays would have to be as long. */
	if (s->n_layers > MAX_LAYERS) s->layer_window = NULL;
	if (s->head_dim > 128) s->rope_inv_freq = NULL;
}

static void spoil_options(fg_options *o) {
	int32_t *const fields[] = {&o->n_devices,     &o->max_seqs, &o->max_step_tokens, &o->max_context,
	                           &o->compute_dtype, &o->kv_dtype, &o->quantization};
	uint64_t *const bytes[] = {&o->kv_bytes, &o->host_kv_bytes};
	if (one_in(4)) *bytes[below(2)] = (uint64_t)edge() << below(33);
	else if (one_in(8)) o->n_threads = -below(100), o->mask_threads = 1025 + below(1000);
	else *fields[below(sizeof fields / sizeof *fields)] = (int32_t)edge();
	if (o->n_devices > 1) o->devices = NULL;
}

/* Whether an engine may be made of these without taking minutes, or the machine's memory. */
static int is_small(const fg_shape *s, const fg_options *o) {
	const double layer = 4.0 * s->hidden_size * s->n_heads * s->head_dim + 3.0 * s->hidden_size * s->intermediate_size;
	return layer * s->n_layers + 2.0 * s->hidden_size * s->vocab_size < 4e6 && o->max_seqs <= 256 &&
	       o->max_step_tokens <= 4096 && o->kv_bytes < 1 << 28 && o->host_kv_bytes < 1 << 28;
}

/* Shapes and options that are good, then spoilt ones. */
static void fuzz_open(void) {
	static const int32_t head_dims[] = {32, 64, 128};
	const uint64_t seed = random_state;
	fg_shape shape = small_shape();
	shape.n_layers = 1 + below(3), shape.head_dim = head_dims[below(3)];
	shape.n_kv_heads = 1 + below(2), shape.n_heads = shape.n_kv_heads * (1 + below(3));
	shape.hidden_size = 1 + below(100), shape.intermediate_size = 1 + below(100);
	shape.qkv_bias = below(2), shape.qk_norm = below(2), shape.tied_embeddings = below(2);
	make_model(&m, shape, one_in(2) ? 0 : one_in(2) ? 70 : -70, one_in(2) ? FG_F32 : FG_BF16, seed);
	random_state = seed + 1;
	if (one_in(2)) {
		for (int32_t i = 0; i < m.n_tensors; i++)
			if (is_linear(&m.tensors[i]) && !one_in(4)) quantize_tensor(&m.tensors[i], (granularity)below(3));
	}
	options = test_options();
	options.n_threads = 1 + below(2), options.mask_threads = below(3);
	options.max_seqs = SLOTS, options.max_step_tokens = STEP_TOKENS, options.max_context = CONTEXT;
	options.compute_dtype = below(3), options.kv_dtype = below(4), options.quantization = below(3);
	options.kv_bytes = 8 << 20, options.host_kv_bytes = (uint64_t)below(2) << 20;
	for (int i = below(8); i > 0; i--) {
		fg_shape s = m.shape;
		fg_options o = options;
		fg_engine *spoilt = NULL;
		float *frequencies = exactly(s.head_dim / 2, sizeof *frequencies);
		int32_t *windows = exactly(s.n_layers, sizeof *windows);
		const int32_t n_layers = s.n_layers, head_dim = s.head_dim;
		s.rope_inv_freq = frequencies, s.layer_window = windows;
		if (one_in(2)) spoil_shape(&s);
		else spoil_options(&o);
		if (s.n_layers > n_layers) s.n_layers = n_layers;
		if (s.head_dim > head_dim) s.head_dim = head_dim;
		const fg_status status = fg_open(&s, &o, &spoilt);
		check_refusal(status, "fg_open");
		CHECK(!status == !!spoilt, "status %d with%s engine", (int)status, spoilt ? "" : "out");
		if (!status && is_small(&s, &o)) {
			fg_capacity ignored;
			MUST(fg_load_random(spoilt, 1));
			check_refusal(fg_ready(spoilt, &ignored), "fg_ready");
		}
		fg_close(spoilt);
		free_arrays();
	}
	MUST(fg_open(&m.shape, &options, &e));
}

/* Changes something of one tensor, and returns which tensor. */
static int32_t spoil_table(fg_tensor *t) {
	const int32_t i = below(m.n_tensors);
	int32_t *const fields[] = {&t[i].role, &t[i].layer,      &t[i].dtype,      &t[i].rows,
	                           &t[i].cols, &t[i].scale_rows, &t[i].scale_cols, &t[i].reserved};
	switch (below(6)) {
	case 0: t[i].bytes = (uint64_t)edge(); break;
	case 1: t[i].input_scale = odd_number(); break;
	case 2: t[i].input_bound = odd_number(); break;
	case 3: t[i].data = NULL; break;
	default: *fields[below(sizeof fields / sizeof *fields)] = (int32_t)edge();
	}
	return i;
}

static int loads;

static void fuzz_load(void) {
	static fg_tensor t[MAX_TENSORS];
	for (int i = below(6); i > 0; i--) {
		memcpy(t, m.tensors, sizeof t);
		spoil_table(t);
		const fg_status status = fg_load(e, t, m.n_tensors);
		check_refusal(status, "fg_load");
		if (status) continue;
		MUST(fg_ready(e, &capacity)); /* what was changed means nothing, or is another good table */
		loads++;
	}
	/* Only weights of the same format may follow those that were loaded: the model's own always, if it came first. */
	const fg_status status = fg_load(e, m.tensors, m.n_tensors);
	check_refusal(status, "fg_load");
	CHECK(!status || strstr(fg_error(), "scaled otherwise"), "the model: %s", fg_error());
	if (!status) MUST(fg_ready(e, &capacity));
}

/* ---- steps ---- */

/* What a slot has, so that a good step can be made. context 0: it must be filled. */
static struct {
	int32_t context, pages;
	int sampled;
} slots[SLOTS];

static fg_slot_fill fills[SLOTS + 1];
static fg_step_seq seqs[SLOTS + 1];
static fg_page_update updates[64];
static fg_page_copy copies[8];

static fg_sampling good_sampling(void) {
	fg_sampling s = {
		.seed = next_random(), .temperature = one_in(3) ? 0 : uniform(0.1f, 2), .top_p = 1, .repetition_penalty = 1};
	if (one_in(2)) s.top_p = uniform(0.01f, 1);
	if (one_in(2)) s.min_p = uniform(0, 1);
	if (one_in(2)) s.top_k = below(VOCAB + 10);
	if (one_in(3)) s.presence_penalty = uniform(-2, 2), s.n_prompt = below(50), s.n_output = below(50);
	s.n_stop_ids = below(4), s.n_bias = below(4), s.min_context = below(CONTEXT);
	s.logprobs_mode = below(2);
	int32_t *stop = exactly(s.n_stop_ids, sizeof *stop), *ids = exactly(s.n_bias, sizeof *ids),
			*history = exactly(s.n_prompt + s.n_output, sizeof *history);
	float *bias = exactly(s.n_bias, sizeof *bias);
	for (int32_t i = 0; i < s.n_stop_ids; i++) stop[i] = below(VOCAB);
	for (int32_t i = 0; i < s.n_bias; i++) ids[i] = below(VOCAB), bias[i] = uniform(-100, 100);
	for (int32_t i = 0; i < s.n_prompt + s.n_output; i++) history[i] = below(VOCAB);
	s.stop_ids = stop, s.bias_ids = ids, s.bias = bias, s.history = history;
	return s;
}

/* A step that the library must take. */
static fg_step good_step(void) {
	fg_step s = {.seqs = seqs, .fills = fills, .page_updates = updates, .copies = copies};
	int32_t *tokens = exactly(STEP_TOKENS, sizeof *tokens), room = STEP_TOKENS;
	for (int32_t slot = 0; slot < SLOTS; slot++) {
		if (one_in(4) && !(slot == SLOTS - 1 && s.n_seqs == 0)) continue;
		int32_t context = slots[slot].context, pages = slots[slot].pages;
		if (context == 0 || context == CONTEXT || one_in(20)) {
			fills[s.n_fills++] = (fg_slot_fill){.slot = slot, .sampling = good_sampling()};
			context = pages = 0, slots[slot].sampled = 0;
		}
		int32_t most = CONTEXT - context < room - SLOTS ? CONTEXT - context : room - SLOTS;
		fg_step_seq *q = &seqs[s.n_seqs];
		*q = (fg_step_seq){.slot = slot, .n_new = most < 1 || one_in(2) ? 1 : 1 + below(most), .mask = -1};
		q->context = context + q->n_new, q->flags = below(8), q->n_logprobs = below(FG_MAX_LOGPROBS + 2) - 1;
		q->next_token = below(VOCAB);
		for (int32_t i = 0; i < q->n_new; i++) tokens[s.n_tokens++] = below(VOCAB);
		if (q->n_new == 1 && slots[slot].sampled && one_in(2)) tokens[s.n_tokens - 1] = FG_LAST_SAMPLED;
		/* Each slot has pages of its own. */
		for (; pages * FG_PAGE_TOKENS < q->context; pages++)
			updates[s.n_page_updates++] = (fg_page_update){slot, pages, slot * 4 + pages};
		slots[slot].context = q->context, slots[slot].pages = pages;
		slots[slot].sampled |= q->flags & FG_SAMPLE;
		room -= q->n_new;
		s.n_seqs++;
	}
	s.n_masks = below(s.n_seqs + 1), s.n_late_masks = below(s.n_seqs - s.n_masks + 1);
	uint32_t *masks = exactly((int64_t)s.n_masks * ((VOCAB + 31) / 32), sizeof *masks);
	for (int32_t i = 0; i < s.n_masks * ((VOCAB + 31) / 32); i++) masks[i] = one_in(8) ? 0 : (uint32_t)next_random();
	for (int32_t i = 0; i < s.n_masks + s.n_late_masks; i++) seqs[i].mask = i;
	/* To the host only: what a page of a sequence holds stays what it was. */
	for (int32_t n = capacity.n_host_pages ? below(4) : 0; n > 0; n--)
		copies[s.n_copies++] = (fg_page_copy){below(capacity.n_pages), below(capacity.n_host_pages), FG_TO_HOST};
	s.tokens = tokens, s.masks = masks;
	return s;
}

/* Spoils one thing of a step: in copies of its arrays that are as long as it says, as far as that makes sense. */
static fg_step spoilt_step(const fg_step *good) {
	static fg_slot_fill bad_fills[SLOTS + 1];
	static fg_step_seq bad_seqs[SLOTS + 1];
	static fg_page_update bad_updates[64];
	static fg_page_copy bad_copies[8];
	fg_step s = *good;
	memcpy(bad_fills, fills, sizeof fills), memcpy(bad_seqs, seqs, sizeof seqs);
	memcpy(bad_updates, updates, sizeof updates), memcpy(bad_copies, copies, sizeof copies);
	s.fills = bad_fills, s.seqs = bad_seqs, s.page_updates = bad_updates, s.copies = bad_copies;
	const int32_t value = (int32_t)edge();
	fg_sampling *p = &bad_fills[below(s.n_fills + 1)].sampling;
	fg_step_seq *q = &bad_seqs[below(s.n_seqs)];
	int32_t *const of_seq[] = {&q->slot, &q->n_new, &q->context, &q->flags, &q->next_token, &q->n_logprobs, &q->mask};
	int32_t *const of_sampling[] = {&p->top_k, &p->min_context, &p->logprobs_mode, &p->reserved};
	float *const numbers[] = {&p->temperature,      &p->top_p, &p->min_p, &p->repetition_penalty, &p->presence_penalty,
	                          &p->frequency_penalty};
	fg_page_update *u = &bad_updates[below(s.n_page_updates + 1)];
	fg_page_copy *c = &bad_copies[below(s.n_copies + 1)];
	int32_t *tokens = exactly(s.n_tokens, sizeof *tokens);
	memcpy(tokens, good->tokens, (size_t)s.n_tokens * sizeof *tokens);
	switch (below(9)) {
	case 0: *of_seq[below(7)] = value; break;
	case 1: *of_sampling[below(4)] = value; break;
	case 2: *numbers[below(6)] = odd_number(); break;
	case 3: *(one_in(3) ? &u->slot : one_in(2) ? &u->index : &u->page) = value; break;
	case 4: *(one_in(3) ? &c->page : one_in(2) ? &c->host_page : &c->direction) = value; break;
	case 5: tokens[below(s.n_tokens)] = value; break;
	case 6: { /* counts: fewer than there are, or none that is possible */
		int32_t *const counts[] = {&s.n_seqs,  &s.n_tokens,     &s.n_page_updates, &s.n_fills,
		                           &s.n_masks, &s.n_late_masks, &s.n_copies};
		int32_t *n = counts[below(7)];
		*n = value < *n ? value : one_in(2) ? INT32_MAX : *n;
		if (n == &s.n_page_updates && *n == INT32_MAX) *n = -1; /* any number may be right */
		if (n == &s.n_copies && *n == INT32_MAX) *n = -1;
		break;
	}
	case 7: bad_fills[below(s.n_fills + 1)].slot = value; break;
	default: bad_fills[below(s.n_fills + 1)].reserved = value; break;
	}
	s.tokens = tokens;
	return s;
}

/* ---- results ---- */

static struct {
	uint64_t number;
	int32_t rows, logits_rows;
} in_flight[FG_STEPS_IN_FLIGHT];
static int n_in_flight;
static uint64_t next_step;

static void submitted(const fg_step *s) {
	int32_t rows = 0, logits_rows = 0;
	for (int32_t i = 0; i < s->n_seqs; i++) {
		const fg_step_seq *q = &s->seqs[i];
		const int32_t n = q->flags & FG_SCORE ? q->n_new : (q->flags & FG_SAMPLE) != 0;
		rows += n, logits_rows += q->flags & FG_LOGITS ? n : 0;
	}
	in_flight[n_in_flight].number = next_step++;
	in_flight[n_in_flight].rows = rows, in_flight[n_in_flight++].logits_rows = logits_rows;
}

static int32_t fill(void *source, uint32_t *mask, size_t bytes) {
	memset(mask, *(const uint8_t *)source, bytes);
	return *(const uint8_t *)source == 7;
}
static int32_t check(void *source, int32_t token) {
	return *(const uint8_t *)source == 0xff && token >= 0;
}

static int32_t known(void *source, int32_t position) {
	return *(const uint8_t *)source == 0x55 ? position % VOCAB : *(const uint8_t *)source ? FG_NO_TOKEN : FG_MASK_LATE;
}
static void take(void *source, int32_t position, int32_t token) {
	(void)source;
	CHECK(position > 0 && position <= CONTEXT && token >= 0 && token < VOCAB, "token %d at %d", token, position);
}

/* Gives some of the late masks of a step, and some that are not. */
static void give_masks(const fg_step *s) {
	static const uint8_t bytes[] = {0, 7, 0xff, 0x55};
	for (int32_t i = 0; i < s->n_late_masks; i++) {
		uint32_t *words = exactly((VOCAB + 31) / 32, sizeof *words);
		void *source = (void *)&bytes[below(4)];
		if (one_in(8)) continue;
		const fg_follower follower = {fill, one_in(2) ? check : NULL, one_in(9) ? NULL : known, take};
		if (one_in(3)) {
			const fg_status status = fg_follow(e, next_step - 1, s->n_masks + i, &follower, source);
			const int can = follower.known && capacity.follows;
			CHECK((status == FG_OK) == can && (can || *fg_error()), "a follower: status %d", (int)status);
		} else if (one_in(2)) MUST(fg_mask(e, next_step - 1, s->n_masks + i, NULL, NULL, words));
		else MUST(fg_mask(e, next_step - 1, s->n_masks + i, fill, one_in(2) ? check : NULL, source));
	}
	const int32_t mask = (int32_t)edge();
	if (mask < s->n_masks || mask >= s->n_masks + s->n_late_masks)
		CHECK(fg_mask(e, next_step - 1, mask, fill, NULL, (void *)bytes) == FG_INVALID, "mask %d", mask);
	CHECK(fg_mask(e, next_step + (uint64_t)below(3), 0, fill, NULL, (void *)bytes) == FG_INVALID, "no such step");
}

/* fg_wait with room for exactly what the step returns. */
static void wait_exactly(void) {
	const int32_t rows = in_flight[0].rows;
	fg_result r = {.row_capacity = rows, .logits_capacity = (int64_t)in_flight[0].logits_rows * VOCAB};
	r.ids = exactly(rows, sizeof *r.ids), r.logprobs = exactly(rows, sizeof *r.logprobs);
	r.ranks = exactly(rows, sizeof *r.ranks), r.top_ids = exactly((int64_t)rows * FG_MAX_LOGPROBS, sizeof *r.top_ids);
	r.top_logprobs = exactly((int64_t)rows * FG_MAX_LOGPROBS, sizeof *r.top_logprobs);
	r.logits = exactly(r.logits_capacity, sizeof *r.logits);
	if (rows > 0 && one_in(8)) {
		fg_result small = r;
		small.row_capacity = rows - 1;
		CHECK(fg_wait(e, &small) == FG_INVALID, "a result without room for all rows");
	}
	MUST(fg_wait(e, &r));
	CHECK(r.step == in_flight[0].number && r.n_rows == rows, "step %d: %d rows, not %d", (int)r.step, r.n_rows, rows);
	for (int32_t i = 0; i < r.n_rows; i++)
		CHECK(r.ids[i] >= FG_MASK_FAILED && r.ids[i] < VOCAB, "row %d: id %d", i, r.ids[i]);
	in_flight[0] = in_flight[1];
	n_in_flight--;
}

/* ---- all of it ---- */

static long steps, refused, strange;

/* With no step in flight: what else an engine does. */
static void something_else(void) {
	static char path[64];
	if (!*path) snprintf(path, sizeof path, "/tmp/fastgen-fuzz-test-%d.json", (int)getpid());
	void *bytes;
	const int32_t page = (int32_t)edge(), host_page = (int32_t)edge();
	const fg_page_copy copy = {page, host_page, below(5) - 1};
	switch (below(7)) {
	case 0:
		/* It may write to any page: sequences begin anew. */
		check_refusal(fg_copy(e, &copy, 1), "fg_copy");
		memset(slots, 0, sizeof slots);
		break;
	case 1:
		if (fg_host_page(e, below(3) - 1, host_page, &bytes)) check_refusal(FG_INVALID, "fg_host_page");
		else memset(bytes, 0, capacity.page_bytes);
		break;
	case 2:
		check_refusal(fg_sleep(e, below(4)), "fg_sleep");
		check_refusal(fg_wake(e, below(6) - 1), "fg_wake");
		MUST(fg_wake(e, FG_WAKE_WEIGHTS | FG_WAKE_KV_CACHE));
		MUST(fg_load(e, m.tensors, m.n_tensors));
		MUST(fg_ready(e, &capacity));
		memset(slots, 0, sizeof slots);
		break;
	case 3: fuzz_load(); break;
	case 4: CHECK(fg_trace_start(e, 0, below(5) - 1) != FG_DEVICE, "%s", fg_error()); break;
	default: check_refusal(fg_trace_stop(e, path), "fg_trace_stop"); unlink(path);
	}
}

static void fuzz(uint64_t seed) {
	random_state = seed;
	memset(slots, 0, sizeof slots);
	next_step = 0, n_in_flight = 0;
	fuzz_open();
	MUST(fg_load(e, m.tensors, m.n_tensors));
	MUST(fg_ready(e, &capacity));
	for (int i = 0; i < STEPS; i++) {
		if (n_in_flight == 0 && one_in(6)) something_else();
		const fg_step good = good_step();
		const fg_step bad = one_in(2) ? spoilt_step(&good) : good;
		const fg_status status = fg_submit(e, &bad);
		check_refusal(status, "fg_submit");
		if (status) {
			CHECK(bad.seqs != seqs, "a good step was refused: %s", fg_error());
			refused++;
			MUST(fg_submit(e, &good));
		}
		const fg_step *taken = status ? &good : &bad;
		steps++;
		submitted(taken);
		/* What the slots hold now is not known: their sequences begin anew. */
		if (!status && bad.seqs != seqs) strange++, memset(slots, 0, sizeof slots);
		give_masks(taken);
		if (n_in_flight == FG_STEPS_IN_FLIGHT || one_in(2)) wait_exactly();
		free_arrays();
	}
	fg_close(e);
	free_model(&m);
}

int main(int argc, char **argv) {
	const double seconds = argc > 1 ? atof(argv[1]) : 0;
	uint64_t seed = argc > 2 ? (uint64_t)atoll(argv[2]) : 1;
	const uint64_t start = fg_clock_ns(), first = seed;
	while (seed < first + 30 || (double)(fg_clock_ns() - start) < seconds * 1e9) fuzz(1000 * seed++);
	CHECK(refused > steps / 6 && refused < steps, "%ld of %ld steps refused", refused, steps);
	if (argc > 1)
		printf("  seeds to %d: %ld steps, %ld refused, %ld changed and taken, %d such tables\n", (int)seed, steps,
		       refused, strange, loads);
	return report("fuzz_test");
}
