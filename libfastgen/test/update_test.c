/*
 * update_test.c - weights that are replaced, and engines that sleep and wake: the answers are those of the weights that
 * were given last, or none. Only through fastgen.h, so that it runs against either library; on all devices too.
 */
#include "check.h"
#include "model.h"

#include <unistd.h>

enum { VOCAB = SMALL_VOCAB, DECODES = 4, TOP = DECODES * FG_MAX_LOGPROBS };

static const int32_t devices[2] = {0, 1};
static int32_t n_devices = 1; /* of the engines that follow */
static step_builder b;
static outcome *o;

/* What an engine answers to a prompt. Decoding steps without logits are those that a GPU replays as graphs. */
typedef struct {
	float logits[VOCAB];
	int32_t ids[DECODES], top_ids[TOP];
	float top_logprobs[TOP];
} answer;

static void ask(fg_engine *e, answer *a) {
	static const int32_t text[5] = {1, 2, 3, 4, 5}, last = FG_LAST_SAMPLED;
	memset(a, 0, sizeof *a);
	begin_step(&b);
	fill_slot(&b, 0, GREEDY);
	map_pages(&b, 0, 0, 1, 0, 1);
	add_seq(&b, 0, text, 5, 5, FG_SAMPLE | FG_LOGITS);
	run_step(e, &b, o);
	memcpy(a->logits, o->logits, sizeof a->logits);
	for (int32_t i = 0; i < DECODES; i++) {
		begin_step(&b);
		add_seq(&b, 0, &last, 1, 6 + i, FG_SAMPLE)->n_logprobs = FG_MAX_LOGPROBS;
		run_step(e, &b, o);
		a->ids[i] = o->ids[0];
		memcpy(a->top_ids + i * FG_MAX_LOGPROBS, o->top_ids, FG_MAX_LOGPROBS * sizeof *o->top_ids);
		memcpy(a->top_logprobs + i * FG_MAX_LOGPROBS, o->top_logprobs, FG_MAX_LOGPROBS * sizeof *o->top_logprobs);
	}
}

static float largest_difference(const answer *a, const answer *c) {
	float largest = 0;
	for (int i = 0; i < VOCAB; i++) largest = fmaxf(largest, fabsf(a->logits[i] - c->logits[i]));
	return largest;
}

#define SAME(a, b)                                                                                                     \
	CHECK(!memcmp(&(a), &(b), sizeof(answer)), "other answers: %g", (double)largest_difference(&(a), &(b)))

static fg_options options(int32_t quantization) {
	fg_options options = test_options();
	options.devices = devices, options.n_devices = n_devices;
	options.max_step_tokens = 64;
	options.compute_dtype = options.kv_dtype = FG_BF16;
	options.quantization = quantization;
	options.kv_bytes = options.host_kv_bytes = 16 << 20;
	options.memory_utilization = 0.5;
	return options;
}

static void update(fg_engine *e, const model *to) {
	fg_capacity capacity;
	MUST(fg_load(e, to->tensors, to->n_tensors));
	MUST(fg_ready(e, &capacity));
}

/* With everything that a layer can have. */
static void make_small(model *m, int32_t dtype, uint64_t seed) {
	fg_shape shape = small_shape();
	shape.hidden_size = 256, shape.n_heads = 8, shape.n_kv_heads = 4,
	shape.intermediate_size = 384; /* several blocks */
	shape.qkv_bias = shape.qk_norm = 1;
	make_model(m, shape, 0, dtype, seed);
}

/* ---- new weights ---- */

static const struct kind {
	const char *name;
	int32_t quantization, dtype;
	int fp8; /* 1 + the granularity of an FP8 checkpoint; 0 = it is not FP8 */
} kinds[] = {{"bfloat16", 0, FG_BF16, 0},
             {"float32", 0, FG_F32, 0},
             {"float16", 0, FG_F16, 0},
             {"quantised while loading", 1, FG_BF16, 0},
             {"float32, quantised while loading", 1, FG_F32, 0},
             {"FP8 by row", 0, FG_BF16, 1 + PER_ROW},
             {"FP8 by tensor", 0, FG_BF16, 1 + PER_TENSOR},
             {"FP8 by block", 0, FG_BF16, 1 + PER_BLOCK}};

/* An engine answers with new weights as one that never had others, and with the first ones again as before. */
static void test_update(const struct kind *kind) {
	static model first, second;
	answer before, now, fresh, again;
	fg_capacity capacity, later;
	fg_load_progress p;
	make_small(&first, kind->dtype, 3), make_small(&second, kind->dtype, 4);
	if (kind->fp8) quantize_model(&first, kind->fp8 - 1), quantize_model(&second, kind->fp8 - 1);
	fg_engine *e = open_model(&first, options(kind->quantization), &capacity);
	ask(e, &before);
	MUST(fg_load(e, second.tensors, second.n_tensors));
	begin_step(&b);
	add_seq(&b, 0, (const int32_t[]){1}, 1, 6, FG_SAMPLE);
	const fg_status status = fg_submit(e, &b.step);
	CHECK(status == FG_BUSY || (status == FG_INVALID && strstr(fg_error(), "fg_ready")), "a step while it loads: %d",
	      (int)status);
	MUST(fg_ready(e, &later));
	CHECK(!memcmp(&capacity, &later, sizeof capacity), "%s: another capacity", kind->name);
	MUST(fg_progress(e, &p));
	CHECK(p.finished && p.done == p.total && p.total > 0, "progress %d of %d", (int)p.done, (int)p.total);
	ask(e, &now);
	CHECK(largest_difference(&before, &now) > 1, "%s: the answers are those of the old weights", kind->name);
	update(e, &first);
	ask(e, &again);
	SAME(before, again);
	fg_close(e);
	e = open_model(&second, options(kind->quantization), NULL);
	ask(e, &fresh);
	/* Another engine may have chosen other kernels for its products. */
	const float most = capacity.n_threads ? 0 : 0.3f;
	CHECK(largest_difference(&now, &fresh) <= most, "%s: a new engine differs by %g", kind->name,
	      (double)largest_difference(&now, &fresh));
	fg_close(e);
	free_model(&first), free_model(&second);
}

/* From random weights to a checkpoint and back, as a server does that starts before the weights are there. */
static void test_random(void) {
	for (int32_t quantization = 0; quantization < 2; quantization++) {
		static model m;
		answer before, loaded, now;
		fg_capacity capacity;
		fg_engine *e;
		fg_options with = options(quantization);
		make_small(&m, FG_BF16, 3);
		MUST(fg_open(&m.shape, &with, &e));
		MUST(fg_load_random(e, 7));
		MUST(fg_ready(e, &capacity));
		ask(e, &before);
		update(e, &m);
		ask(e, &loaded);
		CHECK(largest_difference(&before, &loaded) > 1, "the answers are those of random weights");
		MUST(fg_load_random(e, 7));
		MUST(fg_ready(e, &capacity));
		ask(e, &now);
		SAME(before, now);
		fg_close(e);
		free_model(&m);
	}
}

/* A file may be deleted as soon as it has been loaded, and others take its place. */
static void test_files(void) {
	static model first, second;
	static fg_tensor t[MAX_TENSORS];
	answer want, got, old;
	fg_capacity capacity;
	char path[64];
	snprintf(path, sizeof path, "/tmp/fastgen-update-test-%d", (int)getpid());
	make_small(&first, FG_BF16, 3), make_small(&second, FG_BF16, 4);
	fg_engine *e = open_model(&second, options(0), NULL);
	ask(e, &want);
	for (int round = 0; round < 4; round++) {
		const model *m = round % 2 ? &second : &first;
		write_tensors(m, path, t);
		MUST(fg_load(e, t, m->n_tensors));
		MUST(fg_ready(e, &capacity));
		unlink(path);
		ask(e, round % 2 ? &got : &old);
	}
	SAME(want, got);
	CHECK(largest_difference(&old, &got) > 1, "the answers are those of the other file");
	fg_close(e);
	free_model(&first), free_model(&second);
}

/* ---- what is refused ---- */

static void test_misfits(void) {
	static model first, other, blocks;
	static fg_tensor t[MAX_TENSORS];
	static const float bound_scale[256] = {[0 ... 255] = 0.01f};
	answer before, after;
	fg_load_progress p;
	make_small(&first, FG_BF16, 3), make_small(&other, FG_BF16, 4), make_small(&blocks, FG_BF16, 4);
	quantize_model(&other, PER_ROW), quantize_model(&blocks, PER_BLOCK);
	fg_engine *e = open_model(&first, options(0), NULL);
	ask(e, &before);
	memcpy(t, first.tensors, sizeof t);
	REFUSED(FG_INVALID, "missing", fg_load(e, t, first.n_tensors - 1));
	t[0].rows++;
	REFUSED(FG_INVALID, "embed is", fg_load(e, t, first.n_tensors));
	t[0].rows--, t[0].path = "/no/such/file";
	REFUSED(FG_INVALID, "2 of path, data and ipc_handle", fg_load(e, t, first.n_tensors));
	t[0].data = NULL;
	REFUSED(FG_IO, "/no/such/file", fg_load(e, t, first.n_tensors));
	REFUSED(FG_INVALID, "q of layer 0 is scaled otherwise", fg_load(e, other.tensors, other.n_tensors));
	REFUSED(FG_INVALID, "q of layer 0 is scaled otherwise", fg_load(e, blocks.tensors, blocks.n_tensors));
	MUST(fg_progress(e, &p));
	CHECK(p.finished && p.done == p.total, "a refused load has begun");
	ask(e, &after); /* without fg_ready: nothing has changed */
	SAME(before, after);
	fg_close(e);
	e = open_model(&other, options(0), NULL);
	REFUSED(FG_INVALID, "scaled otherwise", fg_load(e, blocks.tensors, blocks.n_tensors));
	REFUSED(FG_INVALID, "scaled otherwise", fg_load_random(e, 1));
	memcpy(t, other.tensors, sizeof t);
	for (int32_t i = 0; i < other.n_tensors; i++) {
		if (t[i].role == FG_DOWN && t[i].layer == 1) t[i].input_bound = 2, t[i].scale = bound_scale;
	}
	REFUSED(FG_INVALID, "down of layer 1 is scaled otherwise", fg_load(e, t, other.n_tensors));
	fg_close(e);
	free_model(&first), free_model(&other), free_model(&blocks);
}

/* Neither new weights nor sleep while a step is in flight, or before the engine is ready. */
static void test_busy(void) {
	static model m;
	fg_capacity capacity;
	fg_engine *e;
	fg_options with = options(0);
	make_small(&m, FG_BF16, 3);
	REFUSED(FG_INVALID, "engine", fg_sleep(NULL, 1));
	REFUSED(FG_INVALID, "engine", fg_wake(NULL, FG_WAKE_WEIGHTS));
	MUST(fg_open(&m.shape, &with, &e));
	REFUSED(FG_INVALID, "not ready", fg_sleep(e, 1));
	REFUSED(FG_INVALID, "not ready", fg_wake(e, FG_WAKE_WEIGHTS));
	MUST(fg_load(e, m.tensors, m.n_tensors));
	fg_status status = fg_load(e, m.tensors, m.n_tensors);
	CHECK((status == FG_BUSY || status == FG_INVALID) && strstr(fg_error(), "fg_ready"), "%s", fg_error());
	MUST(fg_ready(e, &capacity));
	REFUSED(FG_INVALID, "level is 0", fg_sleep(e, 0));
	REFUSED(FG_INVALID, "level is 3", fg_sleep(e, 3));
	REFUSED(FG_INVALID, "what is 0", fg_wake(e, 0));
	REFUSED(FG_INVALID, "what is 4", fg_wake(e, 4));
	begin_step(&b);
	fill_slot(&b, 0, GREEDY);
	map_pages(&b, 0, 0, 1, 0, 1);
	add_seq(&b, 0, (const int32_t[]){1, 2}, 2, 2, FG_SAMPLE);
	MUST(fg_submit(e, &b.step));
	REFUSED(FG_BUSY, "1 steps are in flight", fg_load(e, m.tensors, m.n_tensors));
	REFUSED(FG_BUSY, "1 steps are in flight", fg_load_random(e, 1));
	REFUSED(FG_BUSY, "1 steps are in flight", fg_sleep(e, 1));
	REFUSED(FG_BUSY, "1 steps are in flight", fg_wake(e, FG_WAKE_WEIGHTS));
	MUST(wait_for(e, o));
	CHECK(o->ids[0] >= 0, "token %d", o->ids[0]);
	fg_close(e);
	free_model(&m);
}

/* A model whose matrices are large enough to be seen among what a process uses, and to take a while to load. */
static void make_large(model *m, uint64_t seed) {
	fg_shape shape = small_shape();
	shape.hidden_size = 1024, shape.intermediate_size = 4096, shape.n_layers = 2;
	make_model(m, shape, 0, FG_BF16, seed);
}

/* Loads a table whose last tensor is in a file that is gone when its turn comes. Returns fg_ready's status. */
static fg_status load_without_file(fg_engine *e, const model *m, fg_tensor *t, const char *path) {
	fg_status status = FG_OK;
	fg_capacity capacity;
	for (int i = 0; i < 20 && !status; i++) { /* if this thread was too slow to delete it, once more */
		write_tensors(m, path, t);
		memcpy(t, m->tensors, (size_t)(m->n_tensors - 1) * sizeof *t);
		MUST(fg_load(e, t, m->n_tensors));
		unlink(path);
		status = fg_ready(e, &capacity);
	}
	CHECK(status == FG_IO && strstr(fg_error(), path), "status %d: %s", (int)status, fg_error());
	return status;
}

static void submit_incomplete(fg_engine *e) {
	begin_step(&b);
	fill_slot(&b, 0, GREEDY);
	map_pages(&b, 0, 0, 1, 0, 1);
	add_seq(&b, 0, (const int32_t[]){1, 2}, 2, 2, FG_SAMPLE);
	REFUSED(FG_INVALID, "weights are incomplete: load a whole set", fg_submit(e, &b.step));
}

/* A load breaks off when most tensors are there. No step is accepted then, until a whole set has been loaded. */
static void test_broken_off(void) {
	static model first, second;
	static fg_tensor t[MAX_TENSORS];
	answer before, after;
	fg_capacity capacity;
	char path[64];
	snprintf(path, sizeof path, "/tmp/fastgen-update-test-%d", (int)getpid());
	make_large(&first, 3), make_large(&second, 4);
	fg_engine *e = open_model(&first, options(0), NULL);
	ask(e, &before);
	const fg_status status = load_without_file(e, &second, t, path);
	CHECK(fg_ready(e, &capacity) == status, "the second fg_ready says something else: %s", fg_error());
	submit_incomplete(e);
	REFUSED(FG_INVALID, "missing", fg_load(e, first.tensors, first.n_tensors - 1));
	submit_incomplete(e);
	update(e, &first);
	ask(e, &after);
	SAME(before, after);
	fg_close(e);
	/* An engine that never was ready is not loaded again. */
	const fg_options with = options(0);
	MUST(fg_open(&first.shape, &with, &e));
	load_without_file(e, &second, t, path);
	REFUSED(FG_INVALID, "open another engine", fg_load(e, first.tensors, first.n_tensors));
	fg_close(e);
	free_model(&first), free_model(&second);
}

static void test_handles(void) {
	static model m;
	static fg_tensor t[MAX_TENSORS];
	static const uint8_t handle[FG_IPC_HANDLE_BYTES] = {1, 2, 3};
	answer before, after;
	fg_capacity capacity;
	make_small(&m, FG_BF16, 3);
	fg_engine *e = open_model(&m, options(0), &capacity);
	ask(e, &before);
	memcpy(t, m.tensors, sizeof t);
	t[3].ipc_handle = handle;
	REFUSED(FG_INVALID, "2 of path, data and ipc_handle", fg_load(e, t, m.n_tensors));
	t[3].data = NULL;
	if (capacity.n_threads) REFUSED(FG_UNSUPPORTED, "/dev/shm", fg_load(e, t, m.n_tensors));
	else REFUSED(FG_INVALID, "cannot be opened", fg_load(e, t, m.n_tensors));
	ask(e, &after);
	SAME(before, after);
	fg_close(e);
	free_model(&m);
}

/* ---- sleep ---- */

/* Bytes that the engine's devices use: of a GPU by its driver, of the CPU as this process has them in memory. */
static long used_bytes(const fg_capacity *capacity) {
	if (capacity->n_threads) {
		long all = 0, resident = 0;
		FILE *file = fopen("/proc/self/statm", "r");
		if (!file || fscanf(file, "%ld %ld", &all, &resident) != 2) exit(1);
		fclose(file);
		return resident * sysconf(_SC_PAGESIZE);
	}
	long used = 0;
	for (int32_t i = 0; i < n_devices; i++) {
		fg_device_info info;
		MUST(fg_device(i, &info));
		used += (long)(info.memory_bytes - info.free_bytes);
	}
	return used;
}

/* Writes to every page of the KV cache, on the device and on the host. */
static void touch_pages(fg_engine *e, const fg_capacity *capacity) {
	fg_page_copy *copies = calloc((size_t)capacity->n_pages, 2 * sizeof *copies);
	fg_load_progress p = {0};
	if (!copies) exit(1);
	for (int i = 0; i < 10000 && p.n_host_pages < capacity->n_host_pages; i++) { /* they are made in the background */
		MUST(fg_progress(e, &p));
		usleep(1000);
	}
	begin_step(&b);
	for (int32_t i = 0; i < capacity->n_pages && i < p.n_host_pages; i++) {
		copies[b.step.n_copies++] = (fg_page_copy){.page = i, .host_page = i, .direction = FG_TO_HOST};
		copies[b.step.n_copies++] = (fg_page_copy){.page = i, .host_page = i, .direction = FG_TO_DEVICE};
	}
	b.step.copies = copies;
	fill_slot(&b, 1, GREEDY);
	map_pages(&b, 1, 0, 1, 1, 1);
	add_seq(&b, 1, (const int32_t[]){1, 2}, 2, 2, FG_SAMPLE);
	run_step(e, &b, o);
	free(copies);
}

static void submit_asleep(fg_engine *e) {
	begin_step(&b);
	fill_slot(&b, 0, GREEDY);
	map_pages(&b, 0, 0, 1, 0, 1);
	add_seq(&b, 0, (const int32_t[]){1, 2}, 2, 2, FG_SAMPLE);
	REFUSED(FG_INVALID, "sleeps", fg_submit(e, &b.step));
}

static void test_sleep(int32_t quantization) {
	static model m, other;
	answer before, after, changed, fresh;
	fg_capacity capacity;
	make_large(&m, 3), make_large(&other, 4);
	fg_engine *e = open_model(&m, options(quantization), &capacity);
	ask(e, &before);
	touch_pages(e, &capacity);
	const long weights = (long)capacity.weight_bytes * n_devices,
			   pages = (long)capacity.n_pages * (long)capacity.page_bytes * n_devices,
			   host_pages = capacity.n_threads ? (long)capacity.n_host_pages * (long)capacity.page_bytes : 0,
			   slack = 6 << 20;
	CHECK(weights > 4 * slack && pages > 2 * slack, "%ld and %ld MiB cannot be measured", weights >> 20, pages >> 20);
	long awake = used_bytes(&capacity), asleep;
	for (int round = 0; round < 3; round++) {
		MUST(fg_sleep(e, 1));
		asleep = used_bytes(&capacity);
		/* On the CPU weights stay where they are. A GPU's host pages are not the device's memory. */
		const long want = capacity.n_threads ? pages + host_pages : weights + pages;
		CHECK(awake - asleep > want - slack * n_devices, "level 1 gives back %ld of %ld KiB", (awake - asleep) >> 10,
		      want >> 10);
		submit_asleep(e);
		MUST(fg_wake(e, FG_WAKE_WEIGHTS));
		submit_asleep(e);
		if (round == 1) { /* only the KV cache still sleeps */
			MUST(fg_sleep(e, 1));
			submit_asleep(e);
			MUST(fg_wake(e, FG_WAKE_WEIGHTS));
		}
		MUST(fg_wake(e, FG_WAKE_KV_CACHE | FG_WAKE_WEIGHTS));
		MUST(fg_wake(e, FG_WAKE_KV_CACHE | FG_WAKE_WEIGHTS)); /* what is awake stays awake */
		ask(e, &after);
		SAME(before, after);
		touch_pages(e, &capacity);
	}
	MUST(fg_sleep(e, 1));
	MUST(fg_sleep(e, 2)); /* drops what level 1 has kept */
	MUST(fg_sleep(e, 1)); /* too late */
	asleep = used_bytes(&capacity);
	CHECK(awake - asleep > weights + pages - slack * n_devices, "level 2 gives back %ld of %ld KiB",
	      (awake - asleep) >> 10, (weights + pages) >> 10);
	REFUSED(FG_INVALID, "the weights sleep", fg_load(e, m.tensors, m.n_tensors));
	REFUSED(FG_INVALID, "the weights sleep", fg_load_random(e, 1));
	MUST(fg_wake(e, FG_WAKE_WEIGHTS));
	update(e, &other); /* while the KV cache sleeps */
	submit_asleep(e);
	MUST(fg_wake(e, FG_WAKE_KV_CACHE));
	ask(e, &changed);
	CHECK(largest_difference(&before, &changed) > 1, "the answers are those of the old weights");
	MUST(fg_sleep(e, 2));
	MUST(fg_wake(e, FG_WAKE_KV_CACHE | FG_WAKE_WEIGHTS));
	MUST(fg_ready(e, &capacity)); /* says what fits, and loads nothing */
	submit_incomplete(e);
	update(e, &m);
	ask(e, &fresh);
	SAME(before, fresh);
	const long one_set = used_bytes(&capacity);
	for (int i = 0; i < 4; i++) update(e, i % 2 ? &m : &other);
	CHECK(used_bytes(&capacity) - one_set < weights / 2, "%ld KiB more after four updates",
	      (used_bytes(&capacity) - one_set) >> 10);
	MUST(fg_sleep(e, 1)); /* and is closed asleep */
	fg_close(e);
	free_model(&m), free_model(&other);
}

int main(void) {
	int32_t found = 0;
	fg_device_info info;
	MUST(fg_devices(&found));
	if (!found) {
		printf("update_test: no device\n");
		return 0;
	}
	static const model small = {.shape.vocab_size = VOCAB};
	o = new_outcome(&small, 1);
	for (n_devices = 1; n_devices <= 2 && n_devices <= found; n_devices++) {
		MUST(fg_device(0, &info));
		printf("  %d of %s\n", n_devices, info.name);
		for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) test_update(&kinds[i]);
		test_random();
		test_files();
		test_misfits();
		test_busy();
		test_broken_off();
		test_handles();
		for (int32_t quantization = 0; quantization < 2; quantization++) test_sleep(quantization);
	}
	free_outcome(o);
	return report("update_test");
}
