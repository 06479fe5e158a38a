/*
 * steps_test.c - what one step leaves for the next: pages, windows, the last sampled token, traces; and what a step
 * says when it cannot sample.
 */
#include "../clock.h"
#include "../trace.h"
#include "model.h"

#include <unistd.h>

enum { VOCAB = SMALL_VOCAB };

static model m;
static step_builder b;
static int32_t text[300];

/* ---- a slot that is filled again ---- */

static void start(fg_engine *e, outcome *o, int32_t pages, int32_t n, int32_t flags) {
	begin_step(&b);
	fill_slot(&b, 0, GREEDY);
	map_pages(&b, 0, 0, pages, 0, 1);
	add_seq(&b, 0, text, n, n, flags);
	run_step(e, &b, o);
}

static fg_step *decode(int32_t context) {
	static const int32_t last = FG_LAST_SAMPLED;
	begin_step(&b);
	add_seq(&b, 0, &last, 1, context, FG_SAMPLE);
	return &b.step;
}

/* The last sampled token and the pages of the sequence before are forgotten, at once and for good. */
static void test_refill(void) {
	fg_engine *e = open_model(&m, test_options(), NULL);
	outcome *o = new_outcome(&m, 1);
	start(e, o, 3, 100, FG_SAMPLE);
	MUST(fg_submit(e, decode(101)));
	MUST(wait_for(e, o));
	/* in the step that fills it */
	decode(1);
	fill_slot(&b, 0, GREEDY);
	map_pages(&b, 0, 0, 1, 0, 1);
	REFUSED(FG_INVALID, "sampled nothing", fg_submit(e, &b.step));
	/* in a later step, when nothing was sampled since */
	start(e, o, 1, 10, 0);
	REFUSED(FG_INVALID, "sampled nothing", fg_submit(e, decode(11)));
	begin_step(&b);
	add_seq(&b, 0, text, 60, 70, FG_SAMPLE);
	REFUSED(FG_INVALID, "its page 1", fg_submit(e, &b.step));
	map_pages(&b, 0, 1, 1, 1, 1);
	run_step(e, &b, o);
	REFUSED(FG_INVALID, "its page 2",
	        fg_submit(e, (begin_step(&b), add_seq(&b, 0, text, 60, 130, FG_SAMPLE), &b.step)));
	MUST(fg_submit(e, decode(71)));
	MUST(wait_for(e, o));
	fg_close(e);
	free_outcome(o);
}

/* Pages may come in any order; only all of them together make a sequence whole. */
static void test_pages_in_any_order(void) {
	fg_engine *e = open_model(&m, test_options(), NULL);
	outcome *o = new_outcome(&m, 1);
	start(e, o, 1, 10, 0);
	begin_step(&b);
	map_pages(&b, 0, 2, 1, 7, 1);
	add_seq(&b, 0, text, 1, 11, 0);
	run_step(e, &b, o);
	begin_step(&b);
	add_seq(&b, 0, text, 150, 161, FG_SAMPLE);
	REFUSED(FG_INVALID, "its page 1", fg_submit(e, &b.step));
	map_pages(&b, 0, 1, 1, 9, 1);
	run_step(e, &b, o);
	fg_close(e);
	free_outcome(o);
}

/* ---- windows ---- */

/* Asks for one new token at `context` in a slot whose pages from `first` on are mapped. */
static fg_status ask(const model *of, int32_t context, int32_t first) {
	fg_options options = test_options();
	fg_engine *e = open_model(of, options, NULL);
	outcome *o = new_outcome(of, 1);
	begin_step(&b);
	fill_slot(&b, 0, GREEDY);
	map_pages(&b, 0, first, 5 - first, first, 1);
	add_seq(&b, 0, text, 1, context, FG_SAMPLE);
	fg_status status = fg_submit(e, &b.step);
	if (!status) MUST(wait_for(e, o));
	fg_close(e);
	free_outcome(o);
	return status;
}

/* With a window in every layer, pages that it has left behind are not needed; page 1 begins at position 64. */
static void test_windows(void) {
	static model all, mixed;
	make_model(&all, small_shape(), 70, FG_F32, 3);
	all.window[0] = 20; /* the longest window decides, wherever it is */
	CHECK(!ask(&all, 64 + 70, 1), "the oldest position seen is 64: %s", fg_error());
	REFUSED(FG_INVALID, "its page 0", ask(&all, 64 + 69, 1));
	all.window[0] = 70, all.window[1] = 20;
	CHECK(!ask(&all, 64 + 70, 1), "the oldest position seen is 64: %s", fg_error());
	REFUSED(FG_INVALID, "its page 0", ask(&all, 64 + 69, 1));
	make_model(&mixed, small_shape(), 70, FG_F32, 3);
	for (int full = 0; full < 2; full++) {
		mixed.window[full] = 0, mixed.window[!full] = 70;
		REFUSED(FG_INVALID, "its page 0", ask(&mixed, 200, 1));
	}
	free_model(&all), free_model(&mixed);
}

/* The last page of a context that is no whole number of pages. */
static void test_last_page(void) {
	fg_options options = test_options();
	options.max_context = 300;
	options.max_step_tokens = 300;
	options.host_kv_bytes = 3 << 20;
	fg_capacity capacity;
	fg_engine *e = open_model(&m, options, &capacity);
	outcome *o = new_outcome(&m, 1);
	start(e, o, 5, 300, FG_SAMPLE);
	CHECK(capacity.n_host_pages == (3 << 20) / (int)capacity.page_bytes, "%d host pages", capacity.n_host_pages);
	CHECK(capacity.page_bytes == 2 * 2 * 2 * 64 * 32 * 4, "a page of %d bytes", (int)capacity.page_bytes);
	REFUSED(FG_INVALID, "page 5",
	        (begin_step(&b), map_pages(&b, 0, 5, 1, 5, 1), add_seq(&b, 0, text, 1, 300, 0), fg_submit(e, &b.step)));
	fg_close(e);
	free_outcome(o);
}

/* ---- steps that are refused by their counts, and pages by their numbers ---- */

static void test_counts(void) {
	static uint32_t masks[4];
	fg_engine *e = open_model(&m, test_options(), NULL);
	outcome *o = new_outcome(&m, 1);
	start(e, o, 1, 10, FG_SAMPLE);
#define BAD(what, change) (begin_step(&b), add_seq(&b, 0, text, 1, 11, 0), change, REFUSED_STEP(what))
#define REFUSED_STEP(what) __extension__({ REFUSED(FG_INVALID, what, fg_submit(e, &b.step)); })
	BAD("masks", (b.step.n_masks = 2, b.step.masks = masks));
	BAD("masks", b.step.n_masks = -1);
	BAD("fills", b.step.n_fills = 9);
	BAD("fills", b.step.n_fills = -1);
	BAD("NULL", b.step.n_masks = 1);
	BAD("NULL", (b.step.n_fills = 1, b.step.fills = NULL));
	BAD("NULL", (b.step.n_page_updates = 1, b.step.page_updates = NULL));
	BAD("NULL", b.step.seqs = NULL);
	BAD("reserved", (fill_slot(&b, 1, GREEDY), b.fills[0].reserved = 1));
	BAD("fill 0 has slot -1", (fill_slot(&b, -1, GREEDY)));
	BAD("fill 0 has slot 8", (fill_slot(&b, 8, GREEDY)));
	BAD("page update 0 has slot 8", (map_pages(&b, 8, 0, 1, 5, 1)));
	BAD("page -1 of slot 0", (map_pages(&b, 0, -1, 1, 5, 1)));
	BAD("names page -1", (map_pages(&b, 0, 1, 1, -1, 1)));
	BAD("names mask -2", b.seqs[0].mask = -2);
	BAD("next_token -1", (b.seqs[0].flags = FG_SCORE, b.seqs[0].next_token = -1));
	/* the second of three fills is refused: the first is undone, the third was never made */
	fg_sampling bad = GREEDY;
	bad.temperature = -1;
	BAD("temperature", (fill_slot(&b, 1, GREEDY), fill_slot(&b, 2, bad), fill_slot(&b, 3, GREEDY)));
	const fg_page_copy no_page = {-1, 0, FG_TO_HOST}, no_host_page = {0, -1, FG_TO_HOST};
	BAD("page -1", (b.step.n_copies = 1, b.step.copies = &no_page));
	BAD("host page -1", (b.step.n_copies = 1, b.step.copies = &no_host_page));
	BAD("copies", b.step.n_copies = -1);
	/* alternatives without room for them */
	begin_step(&b);
	add_seq(&b, 0, text, 1, 11, FG_SAMPLE)->n_logprobs = 2;
	MUST(fg_submit(e, &b.step));
	fg_result small = {.row_capacity = 1, .ids = o->ids, .logprobs = o->logprobs, .ranks = o->ranks};
	REFUSED(FG_INVALID, "alternatives", fg_wait(e, &small));
	small.ranks = NULL;
	REFUSED(FG_INVALID, "ranks", fg_wait(e, &small));
	MUST(wait_for(e, o));
	fg_close(e);
	free_outcome(o);
}

/* One alternative, asked for by one sequence alone. */
static void test_one_alternative(void) {
	fg_engine *e = open_model(&m, test_options(), NULL);
	outcome *o = new_outcome(&m, 1);
	begin_step(&b);
	fill_slot(&b, 0, GREEDY);
	map_pages(&b, 0, 0, 1, 0, 1);
	add_seq(&b, 0, text, 10, 10, FG_SAMPLE)->n_logprobs = 1;
	run_step(e, &b, o);
	CHECK(o->top_ids[0] == o->ids[0] && o->top_logprobs[0] == o->logprobs[0], "token %d, %d", o->ids[0], o->top_ids[0]);
	fg_close(e);
	free_outcome(o);
}

/* A page goes to the host and comes back elsewhere with what it held: for a step, or beside it, for the next one. */
static void test_copies(void) {
	fg_options options = test_options();
	options.host_kv_bytes = 1 << 20;
	fg_engine *e = open_model(&m, options, NULL);
	outcome *o = new_outcome(&m, 1);
	start(e, o, 1, 10, FG_SAMPLE);
	int32_t sampled = o->ids[0];
	const fg_page_copy copies[] = {{0, 3, FG_TO_HOST}, {7, 3, FG_TO_DEVICE}};
	begin_step(&b);
	b.step.n_copies = 2, b.step.copies = copies;
	map_pages(&b, 0, 0, 1, 7, 1);
	add_seq(&b, 0, text + 9, 1, 10, FG_SAMPLE);
	run_step(e, &b, o);
	CHECK(o->ids[0] == sampled, "token %d, not %d", o->ids[0], sampled);
	CHECK(o->result.to_host_seconds > 0 && o->result.to_device_seconds > 0, "times of copies");
	const fg_page_copy beside[] = {{7, 2, FG_TO_HOST}, {5, 2, FG_TO_DEVICE_BESIDE}};
	begin_step(&b);
	b.step.n_copies = 2, b.step.copies = beside;
	add_seq(&b, 0, text + 9, 1, 10, FG_SAMPLE);
	run_step(e, &b, o);
	CHECK(o->ids[0] == sampled, "token %d, not %d", o->ids[0], sampled);
	begin_step(&b);
	map_pages(&b, 0, 0, 1, 5, 1);
	add_seq(&b, 0, text + 9, 1, 10, FG_SAMPLE);
	run_step(e, &b, o);
	CHECK(o->ids[0] == sampled, "token %d, not %d", o->ids[0], sampled);
	begin_step(&b);
	b.step.n_copies = 1, b.step.copies = copies;
	add_seq(&b, 0, text + 9, 1, 10, FG_SAMPLE);
	MUST(fg_submit(e, &b.step));
	fg_close(e); /* with a step and its copy on their way */
	free_outcome(o);
}

/* Between steps a page goes to the host; its bytes, read there and written to another host page, are the page. */
static void test_host_pages(void) {
	fg_options options = test_options();
	options.host_kv_bytes = 1 << 20;
	fg_capacity capacity;
	fg_engine *e = open_model(&m, options, &capacity);
	outcome *o = new_outcome(&m, 1);
	start(e, o, 1, 10, FG_SAMPLE);
	int32_t sampled = o->ids[0];
	const fg_page_copy out[] = {{0, 3, FG_TO_HOST}}, over[] = {{9, 3, FG_TO_HOST}}, in[] = {{7, 2, FG_TO_DEVICE}};
	void *from, *to;
	MUST(fg_host_page(e, 0, 3, &from));
	MUST(fg_host_page(e, 0, 2, &to));
	MUST(fg_copy(e, out, 1));
	memcpy(to, from, capacity.page_bytes);
	MUST(fg_copy(e, over, 1));
	MUST(fg_copy(e, in, 1));
	MUST(fg_copy(e, NULL, 0));
	begin_step(&b);
	map_pages(&b, 0, 0, 1, 7, 1);
	add_seq(&b, 0, text + 9, 1, 10, FG_SAMPLE);
	run_step(e, &b, o);
	CHECK(o->ids[0] == sampled, "token %d, not %d", o->ids[0], sampled);
	REFUSED(FG_INVALID, "rank is 1", fg_host_page(e, 1, 0, &to));
	REFUSED(FG_INVALID, "host page is -1", fg_host_page(e, 0, -1, &to));
	REFUSED(FG_INVALID, "host page is", fg_host_page(e, 0, capacity.n_host_pages, &to));
	REFUSED(FG_INVALID, "NULL", fg_host_page(e, 0, 0, NULL));
	REFUSED(FG_INVALID, "NULL", fg_copy(e, NULL, 1));
	REFUSED(FG_INVALID, "negative", fg_copy(e, out, -1));
	const fg_page_copy bad[] = {{0, 0, 3}};
	REFUSED(FG_INVALID, "direction 3", fg_copy(e, bad, 1));
	begin_step(&b);
	add_seq(&b, 0, text + 9, 1, 10, FG_SAMPLE);
	MUST(fg_submit(e, &b.step));
	REFUSED(FG_BUSY, "1 steps are in flight", fg_copy(e, out, 1));
	MUST(wait_for(e, o));
	MUST(fg_sleep(e, 1));
	REFUSED(FG_INVALID, "sleeps", fg_copy(e, out, 1));
	fg_close(e);
	free_outcome(o);
}

static void test_not_ready(void) {
	fg_options options = test_options();
	fg_capacity first, again;
	fg_load_progress p = {0};
	fg_engine *e;
	MUST(fg_open(&m.shape, &options, &e));
	MUST(fg_load(e, m.tensors, m.n_tensors));
	while (!p.finished) MUST(fg_progress(e, &p));
	begin_step(&b);
	add_seq(&b, 0, text, 1, 1, 0);
	REFUSED(FG_INVALID, "fg_ready", fg_submit(e, &b.step));
	MUST(fg_ready(e, &first));
	outcome *o = new_outcome(&m, 1);
	start(e, o, 1, 10, FG_SAMPLE);
	int32_t sampled = o->ids[0];
	/* asked again, it says the same and leaves the cache as it is */
	MUST(fg_ready(e, &again));
	CHECK(!memcmp(&first, &again, sizeof first), "another capacity");
	begin_step(&b);
	add_seq(&b, 0, text + 9, 1, 10, FG_SAMPLE);
	run_step(e, &b, o);
	CHECK(o->ids[0] == sampled, "token %d, not %d", o->ids[0], sampled);
	fg_close(e);
	free_outcome(o);
}

/* ---- sampling through a step ---- */

/* A token where none can be sampled is -1 for that row alone; what follows it means nothing and breaks nothing. */
static void test_nothing_to_sample(void) {
	static const uint32_t none[2];
	fg_engine *e = open_model(&m, test_options(), NULL);
	outcome *o = new_outcome(&m, 1);
	begin_step(&b);
	fill_slot(&b, 0, GREEDY), fill_slot(&b, 1, GREEDY);
	map_pages(&b, 0, 0, 1, 0, 1), map_pages(&b, 1, 0, 1, 1, 1);
	fg_step_seq *q = add_seq(&b, 0, text, 10, 10, FG_SAMPLE);
	q->mask = 0, q->n_logprobs = 2;
	add_seq(&b, 1, text, 10, 10, FG_SAMPLE)->n_logprobs = 0;
	b.step.n_masks = 1, b.step.masks = none;
	run_step(e, &b, o);
	CHECK(o->ids[0] == -1 && o->logprobs[0] == -INFINITY, "token %d, %g", o->ids[0], (double)o->logprobs[0]);
	CHECK(o->ids[1] >= 0 && o->logprobs[1] < 0 && o->logprobs[1] > -20, "token %d", o->ids[1]);
	CHECK(o->top_ids[0] == o->ids[1] && o->top_logprobs[0] == o->logprobs[1], "the alternatives are of the raw logits");
	static const int32_t last = FG_LAST_SAMPLED, zero = 0;
	float logits[2][VOCAB];
	for (int i = 0; i < 2; i++) { /* it stands in for a token that exists */
		begin_step(&b);
		add_seq(&b, 0, i ? &zero : &last, 1, 11, FG_SAMPLE | FG_LOGITS);
		run_step(e, &b, o);
		CHECK(o->ids[0] >= 0, "token %d", o->ids[0]);
		memcpy(logits[i], o->logits, sizeof *logits);
	}
	CHECK(!memcmp(logits[0], logits[1], sizeof *logits), "another token than 0");
	fg_close(e);
	free_outcome(o);
}

/* Stop ids are held back from positions before min_context, and from no other. */
static void test_min_context(void) {
	fg_engine *e = open_model(&m, test_options(), NULL);
	outcome *o = new_outcome(&m, 1);
	start(e, o, 1, 10, FG_SAMPLE);
	int32_t likeliest = o->ids[0];
	for (int32_t min_context = 10; min_context <= 11; min_context++) {
		fg_sampling held = GREEDY;
		held.stop_ids = &likeliest, held.n_stop_ids = 1, held.min_context = min_context;
		begin_step(&b);
		fill_slot(&b, 0, held);
		map_pages(&b, 0, 0, 1, 0, 1);
		add_seq(&b, 0, text, 10, 10, FG_SAMPLE);
		run_step(e, &b, o);
		CHECK((o->ids[0] == likeliest) == (min_context == 10), "min_context %d: token %d", min_context, o->ids[0]);
	}
	fg_close(e);
	free_outcome(o);
}

/* A mask is of the token that is sampled, whatever word of it its bit is in; scored rows do not see it. */
static void test_mask(void) {
	fg_engine *e = open_model(&m, test_options(), NULL);
	outcome *o = new_outcome(&m, 1);
	for (int32_t only = 0; only < VOCAB; only += 7) {
		uint32_t mask[4] = {0};
		int32_t other = (only + 20) % VOCAB;
		mask[only / 32] = 1u << only % 32, mask[2 + other / 32] = 1u << other % 32;
		begin_step(&b);
		fill_slot(&b, 0, GREEDY), fill_slot(&b, 1, GREEDY);
		map_pages(&b, 0, 0, 1, 0, 1), map_pages(&b, 1, 0, 1, 1, 1);
		fg_step_seq *q = add_seq(&b, 0, text, 10, 10, FG_SAMPLE | FG_SCORE);
		q->mask = 0, q->n_logprobs = 0;
		add_seq(&b, 1, text, 10, 10, FG_SAMPLE)->mask = 1;
		b.step.n_masks = 2, b.step.masks = mask;
		run_step(e, &b, o);
		CHECK(o->ids[9] == only && o->ids[10] == other, "tokens %d, %d, not %d, %d", o->ids[9], o->ids[10], only,
		      other);
		for (int i = 0; i < 9; i++)
			CHECK(o->ids[i] == text[i + 1] && o->logprobs[i] > -INFINITY, "row %d: token %d", i, o->ids[i]);
	}
	fg_close(e);
	free_outcome(o);
}

/* Rows of logits are counted by themselves: a row that asks for none takes no place among them. */
static void test_logits(void) {
	fg_engine *e = open_model(&m, test_options(), NULL);
	outcome *o = new_outcome(&m, 2);
	begin_step(&b);
	for (int slot = 0; slot < 2; slot++) fill_slot(&b, slot, GREEDY), map_pages(&b, slot, 0, 1, slot, 1);
	add_seq(&b, 0, text, 4, 4, FG_SAMPLE);
	add_seq(&b, 1, text, 10, 10, FG_SAMPLE | FG_LOGITS);
	memset(o->logits, 0, 2 * VOCAB * sizeof *o->logits);
	run_step(e, &b, o);
	int32_t best = 0;
	for (int32_t i = 1; i < VOCAB; i++)
		if (o->logits[i] > o->logits[best]) best = i;
	CHECK(best == o->ids[1], "the likeliest token is %d, and %d was sampled", best, o->ids[1]);
	CHECK(o->logits[VOCAB] == 0, "logits of a row that asks for none");
	fg_close(e);
	free_outcome(o);
}

/* ---- traces ---- */

static int count(const char *in, const char *what) {
	int n = 0;
	for (const char *at = in; (at = strstr(at, what)); at++) n++;
	return n;
}

static char *stop_trace(fg_engine *e) {
	static char trace[1 << 16];
	char path[64];
	snprintf(path, sizeof path, "/tmp/fastgen-steps-test-%d.json", (int)getpid());
	MUST(fg_trace_stop(e, path));
	FILE *file = fopen(path, "r");
	if (!file) exit(1);
	size_t n = fread(trace, 1, sizeof trace - 1, file);
	trace[n] = 0;
	fclose(file);
	unlink(path);
	return trace;
}

/* A trace holds the steps between its start and its stop, or the number it was started with: every op of them with its
 * layer, within its step, by the monotonic clock; and a flow to each step. */
static void test_traces(void) {
	fg_engine *e = open_model(&m, test_options(), NULL);
	outcome *o = new_outcome(&m, 1);
	unsigned long long before = 0;
	for (int round = 1; round <= 3; round++) {
		start(e, o, 1, 10, FG_SAMPLE); /* not in the trace */
		before++;
		const double from = (double)fg_clock_ns() / 1e3;
		MUST(fg_trace_start(e, 7, round == 2 ? 2 : 0));
		/* The second trace has taken its two steps before this one. */
		for (int i = 0; i < round + (round == 2); i++) start(e, o, 1, 10, FG_SAMPLE);
		const char *trace = stop_trace(e);
		const double to = (double)fg_clock_ns() / 1e3;
		for (int layer = 0; layer < 2; layer++) {
			char args[32];
			snprintf(args, sizeof args, "\"layer\":%d}", layer);
			/* The last one also gathers the rows that need logits. */
			const int ops = layer == 1 ? 11 : 10;
			CHECK(count(trace, args) == ops * round, "layer %d: %d ops", layer, count(trace, args));
		}
		CHECK(count(trace, "\"ph\":\"X\"") == 27 * round, "%d spans", count(trace, "\"ph\":\"X\""));
		CHECK(count(trace, "},\n{") == count(trace, "\"name\":\"") - count(trace, "\"args\":{\"name\"") - 1, "commas");
		int steps = 0, flows = 0;
		double step_start = 0, step_end = from;
		for (const char *at = trace; (at = strstr(at, "{\"name\":\"")); at++) {
			char name[32];
			double ts, dur;
			unsigned long long step, id;
			if (sscanf(at, "{\"name\":\"step\",\"ph\":\"t\",\"pid\":7,\"tid\":100,\"cat\":\"step\",\"id\":%llu", &id) ==
			    1) {
				CHECK(id == (7ull << 32) + before + (unsigned long long)flows, "a flow of step %llu", id);
				flows++;
			}
			int fields = sscanf(at, "{\"name\":\"%31[^\"]\",\"ph\":\"X\",\"pid\":7,\"tid\":100,\"ts\":%lf,\"dur\":%lf",
			                    name, &ts, &dur);
			if (fields != 3) continue;
			if (strcmp(name, "step")) {
				CHECK(ts >= step_start - 0.001 && ts + dur <= step_end + 0.001, "%s outside of its step", name);
				continue;
			}
			CHECK(ts >= step_end - 0.001 && dur > 0, "step %d begins before the one before it ends", steps);
			step_start = ts, step_end = ts + dur;
			const char *args = strstr(at, "\"args\"");
			CHECK(sscanf(args, "\"args\":{\"step\":%llu,\"sequences\":1,\"tokens\":10,", &step) == 1 &&
			          step == before + (unsigned long long)steps,
			      "%.60s", args);
			steps++;
		}
		CHECK(steps == round && flows == round, "%d steps and %d flows of %d", steps, flows, round);
		CHECK(step_end <= to + 0.001, "a step that ends after the trace");
		before += (unsigned long long)(round + (round == 2));
	}
	MUST(fg_trace_start(e, 0, 0));
	for (int i = 0; i < 400; i++) start(e, o, 1, 10, FG_SAMPLE); /* more events than a trace has room for at first */
	fg_close(e);                                                 /* with a trace running */
	free_outcome(o);
}

/* What a trace has no room for is left out, and the file says how much that is. */
static void test_full_trace(void) {
	static const fg_traced_step step = {.start = 1000, .end = 2000};
	fg_ctx ctx = {0};
	fg_trace *trace = fg_trace_new(5000);
	for (uint64_t i = 0; i < 5003; i++) fg_trace_op(trace, "sample", -1, 1000 + i, 1000 + i);
	fg_trace_step(trace, step);
	char json[1 << 10];
	FILE *file = fmemopen(json, sizeof json, "w");
	trace->steps[0].n_ops = 1; /* enough to see */
	fg_trace_write(trace, &fg_device_ops, &ctx, NULL, NULL, &(fg_trace_file){.file = file});
	fclose(file);
	CHECK(trace->n_ops == 5000 && trace->dropped == 3, "%zu ops, %zu dropped", trace->n_ops, trace->dropped);
	CHECK(count(json, "3 events dropped: the trace was full") == 1, "%s", json);
	fg_trace_free(trace);
}

int main(void) {
	make_model(&m, small_shape(), 0, FG_F32, 3);
	for (int i = 0; i < 300; i++) text[i] = (i * 7 + i / 5) % VOCAB;
	test_refill();
	test_pages_in_any_order();
	test_windows();
	test_last_page();
	test_counts();
	test_one_alternative();
	test_copies();
	test_host_pages();
	test_not_ready();
	test_nothing_to_sample();
	test_min_context();
	test_mask();
	test_logits();
	test_traces();
	test_full_trace();
	free_model(&m);
	return report("steps_test");
}
