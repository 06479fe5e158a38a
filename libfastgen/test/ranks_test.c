/*
 * ranks_test.c - several rank threads, and threads that may call the library meanwhile, on a device of this file's own
 * that computes nothing: what fastgen.h promises of threads, for the thread sanitizer to watch; and ranks that fail.
 */
#include "../clock.h"
#include "../engine.h"
#include "model.h"

#include <pthread.h>
#include <time.h>
#include <unistd.h>

enum { RANKS = 4, PAGES = 40, HOST_PAGES = 20, PIECES = 16 };

static model m;
static const int32_t devices[RANKS] = {0, 1, 2, 3};

/* ---- the device ---- */

typedef enum { NOTHING, OPEN, IMPORT, LOAD, READY, SLEEP, WAKE, STEP } call;

/* What fails, and on which rank. Set while no engine uses it. */
static call fails;
static int32_t failing_rank;

typedef struct {
	fg_ctx base;
	fg_layer layers[MAX_LAYERS];
	void *fills[8];             /* [max_seqs] */
	uint32_t words[2][8][4];    /* [FG_STEPS_IN_FLIGHT][max_seqs] */
	int32_t states[2][8], seen; /* steps that have ended */
	atomic_int host_pages;
	int watched;
	fg_activity did;
} device;

static fg_status result_of(call what, int32_t rank) {
	if (fails != what || failing_rank != rank) return FG_OK;
	return fg_fail(FG_DEVICE, "rank %d fails", rank);
}

static fg_status device_open(const fg_config *config, int32_t rank, fg_ctx **ctx) {
	device *d = calloc(1, sizeof *d);
	if (!d) exit(1);
	*ctx = &d->base;
	d->base.config = config, d->base.rank = rank, d->base.weights.layers = d->layers, d->base.buf.logit_rows = 8;
	return result_of(OPEN, rank);
}

static fg_status device_load(fg_ctx *ctx, uint64_t bytes, atomic_ullong *done, atomic_int *cancel) {
	for (uint64_t at = 0; at < bytes; at += bytes / PIECES) {
		if (atomic_load(cancel)) return fg_fail(FG_INVALID, "stopped");
		atomic_fetch_add(done, bytes - at < bytes / PIECES ? bytes - at : bytes / PIECES);
		if (at == 0) nanosleep(&(struct timespec){.tv_nsec = 20000 * (ctx->rank + 1)}, NULL);
	}
	return result_of(LOAD, ctx->rank);
}

static fg_status device_load_table(fg_ctx *ctx, const fg_tensor_table *table, atomic_ullong *done, atomic_int *cancel) {
	return device_load(ctx, table->bytes, done, cancel);
}

static fg_status device_load_random(fg_ctx *ctx, uint64_t seed, atomic_ullong *done, atomic_int *cancel) {
	(void)seed;
	return device_load(ctx, fg_random_bytes(ctx->config), done, cancel);
}

/* Later ranks have less memory. */
static fg_status device_ready(fg_ctx *ctx, fg_capacity *capacity) {
	*capacity = (fg_capacity){.n_pages = PAGES - ctx->rank, .n_host_pages = HOST_PAGES - ctx->rank, .page_bytes = 1};
	return result_of(READY, ctx->rank);
}

static void device_close(fg_ctx *ctx) {
	device *d = (device *)ctx;
	for (int i = 0; i < 8; i++) free(d->fills[i]);
	free(d);
}

static fg_status device_import(fg_ctx *ctx, const fg_tensor_table *table) {
	(void)table;
	return result_of(IMPORT, ctx->rank);
}
static fg_status device_sleep(fg_ctx *ctx, int32_t level) {
	(void)level;
	return result_of(SLEEP, ctx->rank);
}
static fg_status device_wake(fg_ctx *ctx, int32_t what) {
	(void)what;
	return result_of(WAKE, ctx->rank);
}

static fg_status device_sampler_new(const fg_config *config, const fg_sampling *sampling, void **sampler) {
	(void)config, (void)sampling;
	*sampler = malloc(1);
	return *sampler ? FG_OK : fg_fail(FG_OUT_OF_MEMORY, "no memory");
}

static void device_step_begin(fg_ctx *ctx, fg_batch *batch) {
	device *d = (device *)ctx;
	if (ctx->rank > 0) return; /* it samples, and keeps what it samples with */
	for (int32_t i = 0; i < batch->n_fills; i++) {
		void *old = d->fills[batch->fills[i].slot];
		d->fills[batch->fills[i].slot] = batch->fills[i].sampler;
		batch->fills[i].sampler = old;
	}
}
static void device_step_end(fg_ctx *ctx, fg_batch *batch) {
	(void)batch;
	((device *)ctx)->seen++;
}
static fg_status device_step_wait(fg_ctx *ctx, fg_batch *batch) {
	(void)batch;
	return result_of(STEP, ctx->rank);
}
static fg_mask_rows device_masks(fg_ctx *ctx, int32_t place) {
	device *d = (device *)ctx;
	return (fg_mask_rows){d->words[place][0], d->states[place], 4};
}
static void device_copy_pages(fg_ctx *ctx, const fg_page_copy *copies, int32_t n) {
	for (int32_t i = 0; i < n; i++) ctx->buf.residual = (void *)&devices[copies[i].page % RANKS];
}
static int32_t device_host_pages(fg_ctx *ctx) {
	return atomic_load(&((device *)ctx)->host_pages);
}
static void *device_host_page(fg_ctx *ctx, int32_t page) {
	return (char *)ctx + page;
}

/* Ops. Each step also makes a host page. */
static void embed(fg_ctx *ctx, const fg_batch *batch, void *out) {
	(void)batch, (void)out;
	device *d = (device *)ctx;
	if (atomic_load(&d->host_pages) < HOST_PAGES) atomic_fetch_add(&d->host_pages, 1);
}
static void add_norm(fg_ctx *ctx, void *residual, fg_pending p, const float *w, int32_t n, const fg_matrix *next,
                     void *x) {
	(void)ctx, (void)residual, (void)p, (void)w, (void)n, (void)next, (void)x;
}
static void linear(fg_ctx *ctx, const void *x, const fg_matrix *w, int32_t n, void *y) {
	(void)ctx, (void)x, (void)w, (void)n, (void)y;
}
static void linear_add(fg_ctx *ctx, const void *x, const fg_matrix *w, int32_t n, void *y, fg_pending *p) {
	(void)ctx, (void)x, (void)w, (void)n, (void)y, (void)p;
}
static void all_reduce(fg_ctx *ctx, void *residual, int32_t n, fg_pending *p) {
	(void)ctx, (void)residual, (void)n, (void)p;
}
static void qkv_rope(fg_ctx *ctx, const fg_batch *batch, int32_t layer, void *qkv) {
	(void)ctx, (void)batch, (void)layer, (void)qkv;
}
static void attention(fg_ctx *ctx, const fg_batch *batch, int32_t layer, const void *qkv, const fg_matrix *next,
                      void *out) {
	(void)ctx, (void)batch, (void)layer, (void)qkv, (void)next, (void)out;
}
static void gate_up(fg_ctx *ctx, const void *x, const fg_matrix *w, int32_t n, const fg_matrix *next, void *scratch,
                    void *act) {
	(void)ctx, (void)x, (void)w, (void)n, (void)next, (void)scratch, (void)act;
}
static void gather(fg_ctx *ctx, const fg_batch *batch, int32_t first, int32_t n, const void *residual, fg_pending p,
                   void *out) {
	(void)ctx, (void)batch, (void)first, (void)n, (void)residual, (void)p, (void)out;
}
static void gather_input(fg_ctx *ctx, const fg_batch *batch, int32_t first, int32_t n, const fg_matrix *w,
                         const void *x, void *out) {
	(void)ctx, (void)batch, (void)first, (void)n, (void)w, (void)x, (void)out;
}
static void logits(fg_ctx *ctx, const void *x, const fg_matrix *w, int32_t n, float *to) {
	(void)ctx, (void)x, (void)w, (void)n, (void)to;
}

/* The id of a row is how many steps its rank has seen, or what its mask says. */
static void sample(fg_ctx *ctx, const fg_batch *batch, int32_t first, int32_t n, float *from) {
	(void)from;
	for (int32_t i = first; ctx->rank == 0 && i < first + n; i++) {
		const fg_row *row = &batch->rows[i];
		const uint64_t began = fg_clock_ns();
		int32_t id = ((device *)ctx)->seen;
		while (row->mask >= 0) {
			const int32_t state = __atomic_load_n(&batch->masks.state[row->mask], __ATOMIC_ACQUIRE);
			id = state == FG_MASK_READY ? (int32_t)batch->masks.words[(size_t)row->mask * batch->masks.stride]
			                            : FG_MASK_LATE;
			if (state >= FG_MASK_READY || fg_clock_ns() - began > FG_MASK_WAIT_US * UINT64_C(1000)) break;
		}
		batch->out.ids[i] = id;
	}
}

static uint64_t mark(fg_ctx *ctx) {
	(void)ctx;
	return fg_clock_ns();
}
static uint64_t mark_ns(fg_ctx *ctx, uint64_t at) {
	(void)ctx;
	return at;
}

static int32_t unwatchable = -1; /* the rank that cannot be watched */
static fg_status watch(fg_ctx *ctx, size_t limit) {
	(void)limit;
	if (ctx->rank == unwatchable) return fg_fail(FG_UNSUPPORTED, "rank %d is unseen", ctx->rank);
	((device *)ctx)->watched = 1;
	return FG_OK;
}
static void settle(fg_ctx *ctx) {
	((device *)ctx)->did = (fg_activity){.name = "a kernel", .start = fg_clock_ns(), .end = fg_clock_ns() + 1};
}
static fg_activities watched(fg_ctx *ctx) {
	device *d = (device *)ctx;
	d->watched = 0;
	return (fg_activities){.list = &d->did, .n = 1};
}
static void forget_trace(fg_ctx *ctx) {
	((device *)ctx)->watched = 0;
}

const fg_ops fg_device_ops = {.open = device_open,
                              .load = device_load_table,
                              .load_random = device_load_random,
                              .ready = device_ready,
                              .close = device_close,
                              .import = device_import,
                              .sleep = device_sleep,
                              .wake = device_wake,
                              .sampler_new = device_sampler_new,
                              .sampler_free = free,
                              .step_begin = device_step_begin,
                              .step_end = device_step_end,
                              .step_wait = device_step_wait,
                              .masks = device_masks,
                              .copy_pages = device_copy_pages,
                              .host_pages = device_host_pages,
                              .host_page = device_host_page,
                              .embed = embed,
                              .add_norm = add_norm,
                              .linear = linear,
                              .linear_add = linear_add,
                              .all_reduce = all_reduce,
                              .qkv_rope = qkv_rope,
                              .attention = attention,
                              .gate_up = gate_up,
                              .gather = gather,
                              .gather_input = gather_input,
                              .logits = logits,
                              .sample = sample,
                              .mark = mark,
                              .mark_ns = mark_ns,
                              .watch = watch,
                              .settle = settle,
                              .watched = watched,
                              .forget_trace = forget_trace};

/* ---- an engine on it ---- */

static fg_options options_of(void) {
	fg_options options = test_options();
	options.devices = devices, options.n_devices = RANKS, options.mask_threads = 2;
	return options;
}

static fg_engine *open_ranks(void) {
	fg_options options = options_of();
	fg_capacity capacity;
	fg_engine *e;
	MUST(fg_open(&m.shape, &options, &e));
	MUST(fg_load_random(e, 1));
	MUST(fg_ready(e, &capacity));
	CHECK(capacity.n_pages == PAGES - RANKS + 1 && capacity.n_host_pages == HOST_PAGES - RANKS + 1,
	      "%d pages, %d host pages", capacity.n_pages, capacity.n_host_pages);
	return e;
}

/* Submits a step of one token in slot 0, which the first one fills. */
static void submit(fg_engine *e, step_builder *b, int first, int32_t mask) {
	static const int32_t token = 3;
	begin_step(b);
	if (first) fill_slot(b, 0, GREEDY), map_pages(b, 0, 0, 1, 0, 1);
	add_seq(b, 0, &token, 1, 1, FG_SAMPLE)->mask = mask;
	b->step.n_late_masks = mask >= 0;
	MUST(fg_submit(e, &b->step));
}

/* Runs n steps, always two in flight. *seen: steps of the engine so far. */
static void run_steps(fg_engine *e, int n, int32_t *seen) {
	step_builder *b = malloc(sizeof *b);
	outcome *o = new_outcome(&m, 1);
	if (!b) exit(1);
	submit(e, b, *seen == 0, -1);
	for (int i = 0; i < n; i++) {
		if (i + 1 < n) submit(e, b, 0, -1);
		MUST(wait_for(e, o));
		CHECK(o->result.step == (uint64_t)*seen && o->ids[0] == *seen, "step %d: id %d, not %d", (int)o->result.step,
		      o->ids[0], *seen);
		++*seen;
	}
	free(b), free_outcome(o);
}

/* ---- other threads ---- */

typedef struct {
	fg_engine *engine;
	atomic_int stop;
	long calls, torn; /* snapshots that no moment had */
} watcher;

static void *watch_progress(void *argument) {
	watcher *w = argument;
	int32_t host_pages = 0;
	while (!atomic_load(&w->stop)) {
		fg_load_progress p;
		MUST(fg_progress(w->engine, &p));
		w->torn += p.done > p.total || (p.finished && p.done != p.total) || (p.total && p.total < p.done);
		w->torn += p.n_host_pages < host_pages || p.n_host_pages > HOST_PAGES - RANKS + 1;
		host_pages = p.n_host_pages;
		w->calls++;
		/* Messages are each thread's own. */
		if (w->calls % 100) continue;
		w->torn += fg_progress(NULL, &p) != FG_INVALID || strcmp(fg_error(), "engine or progress is NULL") != 0;
	}
	return NULL;
}

/* Everything that an engine does, with fg_progress from another thread from fg_open to fg_close. */
static void test_progress(void) {
	char path[64];
	fg_options options = options_of();
	fg_capacity capacity;
	watcher w = {0};
	pthread_t thread;
	int32_t seen = 0;
	snprintf(path, sizeof path, "/tmp/fastgen-ranks-test-%d.json", (int)getpid());
	MUST(fg_open(&m.shape, &options, &w.engine));
	if (pthread_create(&thread, NULL, watch_progress, &w)) exit(1);
	for (int round = 0; round < 200; round++) {
		/* Two sizes, so that a mixture of two loads shows. */
		if (round % 2) MUST(fg_load_random(w.engine, 1));
		else MUST(fg_load(w.engine, m.tensors, m.n_tensors));
		REFUSED(FG_INVALID, "engine is NULL", fg_submit(NULL, NULL));
		MUST(fg_ready(w.engine, &capacity));
		run_steps(w.engine, 3, &seen);
		if (round % 10) continue;
		MUST(fg_trace_start(w.engine, 0, 0));
		run_steps(w.engine, 3, &seen);
		MUST(fg_trace_stop(w.engine, path));
		MUST(fg_sleep(w.engine, 1));
		MUST(fg_wake(w.engine, FG_WAKE_WEIGHTS | FG_WAKE_KV_CACHE));
	}
	atomic_store(&w.stop, 1);
	pthread_join(thread, NULL);
	CHECK(w.torn == 0 && w.calls > 0, "%ld of %ld snapshots of progress are of no moment", w.torn, w.calls);
	fg_close(w.engine);
	unlink(path);
}

/* An engine in a thread of its own; errors of both are their own. */
static void *live(void *argument) {
	const int32_t slot = 100 + *(const int32_t *)argument;
	char text[64];
	snprintf(text, sizeof text, "slot %d;", slot);
	for (int round = 0; round < 20; round++) {
		step_builder *b = malloc(sizeof *b);
		fg_engine *e = open_ranks();
		int32_t seen = 0;
		run_steps(e, 5, &seen);
		begin_step(b);
		add_seq(b, slot, &seen, 1, 1, 0);
		CHECK(fg_submit(e, &b->step) == FG_INVALID && strstr(fg_error(), text) && fg_error_slot() == slot, "%s",
		      fg_error());
		free(b);
		fg_close(e);
	}
	return NULL;
}

static void test_two_engines(void) {
	static const int32_t numbers[] = {1, 2};
	pthread_t other;
	if (pthread_create(&other, NULL, live, (void *)&numbers[1])) exit(1);
	live((void *)&numbers[0]);
	pthread_join(other, NULL);
}

/* ---- traces ---- */

static int count_in(const char *path, const char *what) {
	static char text[1 << 18];
	FILE *file = fopen(path, "r");
	if (!file) exit(1);
	text[fread(text, 1, sizeof text - 1, file)] = 0;
	fclose(file);
	int n = 0;
	for (const char *at = text; (at = strstr(at, what)); at++) n++;
	return n;
}

/* Traces begin and end while steps are in flight. They hold what was submitted meanwhile, of every rank. */
static void test_traces(void) {
	char path[64];
	step_builder *b = malloc(sizeof *b);
	outcome *o = new_outcome(&m, 1);
	if (!b) exit(1);
	snprintf(path, sizeof path, "/tmp/fastgen-ranks-test-%d.json", (int)getpid());
	fg_engine *e = open_ranks();
	submit(e, b, 1, -1);
	for (int round = 0; round < 40; round++) {
		unwatchable = round % 2 ? round / 2 % RANKS : -1;
		MUST(fg_trace_start(e, 0, 0));
		submit(e, b, 0, -1);
		MUST(wait_for(e, o));
		MUST(fg_trace_stop(e, path)); /* with one step in flight */
		CHECK(count_in(path, "rank 3: ops") == 1, "round %d: no fourth rank", round);
		if (unwatchable < 0) continue;
		CHECK(count_in(path, "{\"name\":\"step\",\"ph\":\"X\"") == RANKS, "round %d: %d steps", round,
		      count_in(path, "{\"name\":\"step\",\"ph\":\"X\""));
		CHECK(count_in(path, " is unseen") == RANKS, "round %d: not every rank says why", round);
	}
	unwatchable = -1;
	MUST(fg_trace_start(e, 0, 0));
	submit(e, b, 0, -1);
	fg_close(e); /* with two steps in flight, one of them traced */
	unlink(path);
	free(b), free_outcome(o);
}

/* ---- masks ---- */

static int32_t fill(void *source, uint32_t *mask, size_t bytes) {
	memset(mask, 0, bytes);
	*mask = *(const uint32_t *)source;
	return 0;
}

/* Masks come while the step runs, by value and by the library's threads. */
static void test_masks(void) {
	step_builder *b = malloc(sizeof *b);
	outcome *o = new_outcome(&m, 1);
	if (!b) exit(1);
	fg_engine *e = open_ranks();
	int late = 0;
	for (uint32_t i = 0; i < 200; i++) {
		static uint32_t value;
		uint32_t words[2] = {i};
		submit(e, b, i == 0, 0);
		value = i;
		MUST(i % 2 ? fg_mask(e, i, 0, fill, NULL, &value) : fg_mask(e, i, 0, NULL, NULL, words));
		MUST(wait_for(e, o));
		late += o->ids[0] == FG_MASK_LATE;
		CHECK(o->ids[0] == (int32_t)i || o->ids[0] == FG_MASK_LATE, "step %d: id %d", (int)i, o->ids[0]);
	}
	CHECK(late < 100, "%d of 200 masks were late", late);
	fg_close(e);
	free(b), free_outcome(o);
}

/* ---- what fails ---- */

/* One rank fails in one call: the call says so, with that rank's words, and the engine can be closed. */
static void test_failures(void) {
	static fg_tensor imported[MAX_TENSORS];
	static const uint8_t handle[FG_IPC_HANDLE_BYTES];
	step_builder *b = malloc(sizeof *b);
	outcome *o = new_outcome(&m, 1);
	if (!b) exit(1);
	memcpy(imported, m.tensors, sizeof imported);
	imported[0].data = NULL, imported[0].ipc_handle = handle;
	for (int32_t rank = 0; rank < RANKS; rank++) {
		char text[32];
		fg_options options = options_of();
		fg_capacity capacity;
		fg_engine *e;
		failing_rank = rank;
		snprintf(text, sizeof text, "rank %d fails", rank);
		fails = OPEN;
		REFUSED(FG_DEVICE, text, fg_open(&m.shape, &options, &e));
		CHECK(!e, "an engine");
		fails = IMPORT;
		MUST(fg_open(&m.shape, &options, &e));
		REFUSED(FG_DEVICE, text, fg_load(e, imported, m.n_tensors));
		fails = LOAD; /* nothing had changed */
		MUST(fg_load(e, m.tensors, m.n_tensors));
		REFUSED(FG_DEVICE, text, fg_ready(e, &capacity));
		REFUSED(FG_INVALID, "open another engine", fg_load(e, m.tensors, m.n_tensors));
		fg_close(e);
		fails = READY;
		MUST(fg_open(&m.shape, &options, &e));
		MUST(fg_load(e, m.tensors, m.n_tensors));
		REFUSED(FG_DEVICE, text, fg_ready(e, &capacity));
		REFUSED(FG_INVALID, "open another engine", fg_ready(e, &capacity)); /* nothing is made twice */
		REFUSED(FG_INVALID, "open another engine", fg_load_random(e, 1));
		REFUSED(FG_INVALID, "fg_ready", fg_submit(e, &b->step));
		fg_close(e);
		fails = NOTHING;
		e = open_ranks();
		fails = STEP;
		submit(e, b, 1, -1);
		REFUSED(FG_DEVICE, text, wait_for(e, o));
		fails = NOTHING;
		submit(e, b, 0, -1);
		MUST(wait_for(e, o));
		fails = WAKE;
		MUST(fg_sleep(e, 1));
		REFUSED(FG_DEVICE, text, fg_wake(e, FG_WAKE_WEIGHTS));
		REFUSED(FG_INVALID, "sleeps", fg_submit(e, &b->step));
		fails = NOTHING;
		MUST(fg_wake(e, FG_WAKE_WEIGHTS | FG_WAKE_KV_CACHE));
		fails = LOAD;
		MUST(fg_load(e, m.tensors, m.n_tensors));
		REFUSED(FG_DEVICE, text, fg_ready(e, &capacity));
		REFUSED(FG_INVALID, "incomplete", fg_submit(e, &b->step));
		fails = NOTHING;
		MUST(fg_load_random(e, 1));
		MUST(fg_ready(e, &capacity));
		submit(e, b, 0, -1);
		MUST(wait_for(e, o));
		fails = SLEEP;
		REFUSED(FG_DEVICE, text, fg_sleep(e, 1));
		REFUSED(FG_INVALID, "sleeps", fg_submit(e, &b->step));
		fails = NOTHING;
		fg_close(e);
	}
	free(b), free_outcome(o);
}

/* An engine is closed in the middle of a load, the second one too. */
static void test_closing(void) {
	for (int round = 0; round < 40; round++) {
		fg_options options = options_of();
		fg_engine *e;
		if (round % 2) e = open_ranks();
		else MUST(fg_open(&m.shape, &options, &e));
		MUST(fg_load(e, m.tensors, m.n_tensors));
		fg_close(e);
	}
}

int main(void) {
	make_model(&m, small_shape(), 0, FG_BF16, 3);
	test_progress();
	test_two_engines();
	test_traces();
	test_masks();
	test_failures();
	test_closing();
	free_model(&m);
	return report("ranks_test");
}
