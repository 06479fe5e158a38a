/*
 * masks_test.c - masks that come after their step was submitted: in time, late, never, in several steps at once. Only
 * through fastgen.h, so that it runs against either library.
 */
#include "../clock.h"
#include "check.h"
#include "model.h"

#include <stdatomic.h>
#include <unistd.h>

enum { VOCAB = 1000, WORDS = (VOCAB + 31) / 32, SEQS = 8 };

static step_builder b;
static fg_engine *e;
static outcome *o;
static const int32_t text[4] = {5, 6, 7, 8}, last = FG_LAST_SAMPLED;

/* What a fill does, and what became of it. */
typedef struct {
	int32_t token; /* the only one that it allows */
	int32_t sleep_ms, status, answer;
	atomic_int begun, ended, checks, turn; /* turn: which fill it was since `turn` was 0 */
	size_t bytes;
} source;

static atomic_int turn;

static int32_t fill(void *argument, uint32_t *mask, size_t bytes) {
	source *s = argument;
	atomic_store(&s->turn, atomic_fetch_add(&turn, 1));
	atomic_fetch_add(&s->begun, 1);
	if (s->sleep_ms) usleep((useconds_t)s->sleep_ms * 1000);
	s->bytes = bytes;
	memset(mask, 0, bytes);
	mask[s->token / 32] |= 1u << s->token % 32;
	atomic_fetch_add(&s->ended, 1);
	return s->status;
}

static const uint32_t *only(int32_t token) {
	static uint32_t mask[WORDS];
	memset(mask, 0, sizeof mask);
	mask[token / 32] = 1u << token % 32;
	return mask;
}

/* A copy, from memory that changes at once. */
static void give_copy(uint64_t step, int32_t mask, int32_t token) {
	uint32_t words[WORDS];
	memcpy(words, only(token), sizeof words);
	MUST(fg_mask(e, step, mask, NULL, NULL, words));
	memset(words, 0xff, sizeof words);
}

static fg_engine *open_engine(int32_t mask_threads) {
	static const int32_t window[2], device = 0;
	static float frequencies[32];
	for (int i = 0; i < 32; i++) frequencies[i] = 1.0f / (float)(i + 1);
	fg_shape shape = {.n_layers = 2,
	                  .hidden_size = 64,
	                  .n_heads = 2,
	                  .n_kv_heads = 1,
	                  .head_dim = 64,
	                  .intermediate_size = 128,
	                  .vocab_size = VOCAB,
	                  .tied_embeddings = 1,
	                  .rms_norm_eps = 1e-5f,
	                  .rope_scale = 1,
	                  .rope_inv_freq = frequencies,
	                  .layer_window = window};
	fg_options options = {.devices = &device,
	                      .n_devices = 1,
	                      .n_threads = 2,
	                      .mask_threads = mask_threads,
	                      .max_seqs = SEQS,
	                      .max_step_tokens = 64,
	                      .max_context = 256,
	                      .compute_dtype = FG_BF16,
	                      .kv_dtype = FG_BF16,
	                      .kv_bytes = 16 << 20,
	                      .memory_utilization = 0.5};
	fg_engine *engine;
	fg_capacity capacity;
	MUST(fg_open(&shape, &options, &engine));
	MUST(fg_load_random(engine, 1));
	MUST(fg_ready(engine, &capacity));
	return engine;
}

/* Opens the engine and runs one prompt in each slot, as step 0: their next step decodes. */
static void begin(int32_t mask_threads) {
	e = open_engine(mask_threads);
	begin_step(&b);
	for (int32_t i = 0; i < SEQS; i++) {
		fill_slot(&b, i, GREEDY);
		map_pages(&b, i, 0, 1, i, 1);
		add_seq(&b, i, text, 4, 4, FG_SAMPLE);
	}
	run_step(e, &b, o);
}

/* Submits a step in which every slot decodes, slot i with mask i of n_masks and then n_late. */
static void decode(int32_t context, int32_t n_masks, const uint32_t *masks, int32_t n_late) {
	begin_step(&b);
	b.step.n_masks = n_masks, b.step.n_late_masks = n_late, b.step.masks = masks;
	for (int32_t i = 0; i < SEQS; i++) {
		fg_step_seq *q = add_seq(&b, i, &last, 1, context, FG_SAMPLE);
		if (i < n_masks + n_late) q->mask = i;
	}
	MUST(fg_submit(e, &b.step));
}

/* Fills that take no time, copies, masks that came with the step, and rows without any, in one step. The masks may come
 * before, while and after the rows are computed: a row has its token, or says that its mask was late. */
static void test_mix(void) {
	static uint32_t early[2][WORDS];
	int late = 0;
	begin(1);
	memcpy(early[0], only(11), sizeof early[0]), memcpy(early[1], only(999), sizeof early[1]);
	for (int32_t round = 0; round < 30; round++) {
		source s[2] = {{.token = 31}, {.token = 32}};
		decode(5 + round, 2, early[0], 4);
		uint64_t step = (uint64_t)round + 1;
		usleep((useconds_t)(round % 10) * 200);
		MUST(fg_mask(e, step, 3, fill, NULL, &s[1]));
		give_copy(step, 4, 0);
		MUST(fg_mask(e, step, 2, fill, NULL, &s[0]));
		give_copy(step, 5, 998);
		MUST(wait_for(e, o));
		static const int32_t want[6] = {11, 999, 31, 32, 0, 998};
		for (int i = 0; i < 6; i++) {
			int was_late = i >= 2 && o->ids[i] == FG_MASK_LATE;
			late += was_late;
			CHECK(was_late || o->ids[i] == want[i], "round %d row %d: %d, not %d", round, i, o->ids[i], want[i]);
		}
		for (int i = 6; i < SEQS; i++) CHECK(o->ids[i] >= 0, "round %d row %d: %d", round, i, o->ids[i]);
		for (int i = 0; i < 2; i++) {
			CHECK(s[i].begun == s[i].ended && s[i].begun <= 1, "%d fills begun, %d ended", s[i].begun, s[i].ended);
			CHECK(!s[i].ended || s[i].bytes == WORDS * 4, "a mask of %d bytes", (int)s[i].bytes);
		}
	}
	printf("  %d of 120 masks were late\n", late);
	CHECK(late < 100, "masks that are given in time are late");
	fg_close(e);
}

/* The mask of a step is given while the step before it still runs, as a server does. */
static void test_two_steps(void) {
	begin(2);
	source s[40][SEQS];
	int late = 0;
	for (int32_t i = 0; i < 40; i++) {
		if (i >= 2) MUST(wait_for(e, o));
		for (int32_t j = 0; i >= 2 && j < SEQS; j++) {
			late += o->ids[j] == FG_MASK_LATE;
			CHECK(o->ids[j] == s[i - 2][j].token || o->ids[j] == FG_MASK_LATE, "step %d row %d: %d", i - 2, j,
			      o->ids[j]);
		}
		decode(5 + i, 0, NULL, SEQS);
		for (int32_t j = 0; j < SEQS; j++) {
			s[i][j] = (source){.token = (i * SEQS + j) * 7 % VOCAB};
			MUST(fg_mask(e, (uint64_t)i + 1, j, fill, NULL, &s[i][j]));
		}
	}
	MUST(wait_for(e, o));
	MUST(wait_for(e, o));
	CHECK(o->result.step == 40, "step %d", (int)o->result.step);
	printf("  %d of %d masks were late\n", late, 38 * SEQS);
	CHECK(late < 38 * SEQS / 2, "masks that are given in time are late");
	fg_close(e);
}

/* A mask that is there before the step's turn comes is never late. */
static void test_given_early(void) {
	begin(1);
	for (int32_t i = 0; i < 5; i++) {
		source slow = {.token = 1, .sleep_ms = 5};
		decode(5 + i, 0, NULL, 1);
		if (i % 2) MUST(fg_mask(e, (uint64_t)i + 1, 0, fill, NULL, &slow));
		else give_copy((uint64_t)i + 1, 0, 1);
		MUST(wait_for(e, o));
		CHECK(i % 2 || o->ids[0] == 1 || o->ids[0] == FG_MASK_LATE, "token %d", o->ids[0]);
	}
	/* behind a step that is held up by its own masks */
	decode(10, 0, NULL, 1), decode(11, 0, NULL, 1);
	give_copy(7, 0, 3);
	MUST(wait_for(e, o));
	CHECK(o->ids[0] == FG_MASK_LATE, "token %d", o->ids[0]);
	MUST(wait_for(e, o));
	CHECK(o->ids[0] == 3, "token %d", o->ids[0]);
	fg_close(e);
}

/* A fill that fails, one that never comes, and log probabilities beside them. */
static void test_failed_and_missing(void) {
	begin(1);
	source bad = {.token = 3, .status = -1};
	int failed = 0;
	for (int32_t round = 0; round < 10; round++) {
		begin_step(&b);
		b.step.n_late_masks = 2;
		for (int32_t i = 0; i < 3; i++) {
			fg_step_seq *q = add_seq(&b, i, &last, 1, 5, FG_SAMPLE);
			q->mask = i < 2 ? i : -1, q->n_logprobs = 1;
		}
		MUST(fg_submit(e, &b.step));
		MUST(fg_mask(e, (uint64_t)round + 1, 0, fill, NULL, &bad));
		MUST(wait_for(e, o));
		failed += o->ids[0] == FG_MASK_FAILED;
		CHECK(o->ids[0] == FG_MASK_FAILED || o->ids[0] == FG_MASK_LATE, "token %d", o->ids[0]);
		CHECK(o->ids[1] == FG_MASK_LATE, "token %d", o->ids[1]);
		CHECK(o->ids[2] >= 0 && o->logprobs[2] > -INFINITY, "token %d", o->ids[2]);
		for (int i = 0; i < 2; i++) {
			CHECK(o->logprobs[i] == -INFINITY && o->ranks[i] == 0, "row %d: %g", i, (double)o->logprobs[i]);
			CHECK(o->top_ids[i * FG_MAX_LOGPROBS] >= 0, "alternatives are of the raw logits");
		}
	}
	CHECK(failed, "no failed fill was seen");
	/* what follows such a row runs, and the row can be computed again */
	decode(6, 0, NULL, 0);
	MUST(wait_for(e, o));
	CHECK(o->ids[0] >= 0 && o->ids[1] >= 0, "tokens %d, %d", o->ids[0], o->ids[1]);
	decode(5, 0, NULL, 0);
	MUST(wait_for(e, o));
	CHECK(o->ids[0] >= 0 && o->ids[1] >= 0, "tokens %d, %d", o->ids[0], o->ids[1]);
	fg_close(e);
}

/* A fill of 50 ms holds up neither the other rows nor the next step; fg_wait of its own step waits for it, and forgets
 * those behind it that have not begun. */
static void test_slow_fill(void) {
	begin(1);
	decode(5, 0, NULL, 0);
	MUST(wait_for(e, o));
	double usual = o->result.run_seconds;
	source slow = {.token = 3, .sleep_ms = 50}, behind = {.token = 4};
	decode(6, 0, NULL, 2), decode(7, 0, NULL, 0);
	MUST(fg_mask(e, 2, 0, fill, NULL, &slow));
	MUST(fg_mask(e, 2, 1, fill, NULL, &behind));
	while (!slow.begun) usleep(100);
	MUST(wait_for(e, o));
	CHECK(slow.ended == 1, "fg_wait returned before a fill ended");
	CHECK(behind.begun == behind.ended, "fg_wait returned before a fill ended");
	CHECK(o->ids[0] == FG_MASK_LATE && o->ids[1] == FG_MASK_LATE, "tokens %d, %d", o->ids[0], o->ids[1]);
	CHECK(o->ids[2] >= 0, "token %d", o->ids[2]);
	CHECK(o->result.run_seconds < usual + 0.04, "a step took %.1f ms, without masks %.1f", o->result.run_seconds * 1e3,
	      usual * 1e3);
	uint64_t start = fg_clock_ns();
	MUST(wait_for(e, o));
	CHECK(o->ids[0] >= 0 && fg_clock_ns() - start < 40000000, "the next step came %d us later",
	      (int)((fg_clock_ns() - start) / 1000));
	/* closing waits too */
	source closing = {.token = 3, .sleep_ms = 20}, left = {.token = 3};
	decode(8, 0, NULL, 2);
	MUST(fg_mask(e, 4, 0, fill, NULL, &closing));
	MUST(fg_mask(e, 4, 1, fill, NULL, &left));
	while (!closing.begun) usleep(100);
	fg_close(e);
	CHECK(closing.ended == 1 && left.begun == left.ended, "fg_close returned before a fill ended");
}

/* The threads that fill are several: a slow fill does not hold up another. */
static void test_threads(void) {
	begin(2);
	source slow = {.token = 3, .sleep_ms = 50}, quick = {.token = 4};
	decode(5, 0, NULL, 2);
	MUST(fg_mask(e, 1, 0, fill, NULL, &slow));
	MUST(fg_mask(e, 1, 1, fill, NULL, &quick));
	while (!slow.begun) usleep(100);
	for (int i = 0; i < 300 && !quick.ended; i++) usleep(100);
	CHECK(quick.ended == 1 && slow.ended == 0, "quick %d, slow %d", quick.ended, slow.ended);
	MUST(wait_for(e, o));
	fg_close(e);
}

/* One thread: it fills the masks of the older step first, and those of one step in the order in which they came. */
static void test_order(void) {
	begin(1);
	for (uint64_t older = 1; older <= 4; older += 3) {
		source slow = {.token = 3, .sleep_ms = 20}, s[5] = {0};
		decode(5, 0, NULL, 4), decode(6, 0, NULL, 2);
		MUST(fg_mask(e, older, 0, fill, NULL, &slow));
		while (!slow.begun) usleep(100);
		atomic_store(&turn, 0);
		MUST(fg_mask(e, older + 1, 1, fill, NULL, &s[3]));
		for (int32_t i = 0; i < 3; i++) MUST(fg_mask(e, older, 3 - i, fill, NULL, &s[i]));
		MUST(fg_mask(e, older + 1, 0, fill, NULL, &s[4]));
		for (int i = 0; i < 5000 && !(s[2].ended && s[4].ended); i++) usleep(100);
		for (int i = 0; i < 5; i++) CHECK(s[i].ended && s[i].turn == i, "fill %d was number %d", i, s[i].turn);
		MUST(wait_for(e, o));
		MUST(wait_for(e, o));
		/* the next older step has the other place */
		decode(7, 0, NULL, 0);
		MUST(wait_for(e, o));
	}
	fg_close(e);
}

#ifndef ON_GPU
static int32_t check(void *argument, int32_t token) {
	source *s = argument;
	atomic_fetch_add(&s->checks, 1);
	return token == s->token ? s->answer : 0;
}

/* What would be sampled without a mask, and is checked, is sampled without its fill; anything else is not. */
static void test_checks(void) {
	begin(0);
	/* its token is not the likeliest, whose check says no */
	fg_sampling hot = GREEDY;
	hot.temperature = 3, hot.seed = 1;
	int32_t first[SEQS], free_ids[SEQS];
	memcpy(first, o->ids, sizeof first);
	for (int round = 0; round < 2; round++) {
		source s[SEQS];
		begin_step(&b);
		fill_slot(&b, 6, hot);
		map_pages(&b, 6, 0, 1, 6, 1);
		b.step.n_late_masks = round ? SEQS : 0;
		for (int32_t i = 0; i < SEQS; i++) {
			fg_step_seq *q = add_seq(&b, i, &first[i], 1, 5, FG_SAMPLE);
			if (!round) continue;
			q->mask = i;
			if (i == 5) q->n_logprobs = 1;
			/* row 1 has another token than it would have; the check of row 2 cannot tell; row 3 has none */
			s[i] = (source){.token = i == 1 ? (free_ids[i] + 1) % VOCAB : free_ids[i], .answer = i == 2 ? 2 : 1};
		}
		MUST(fg_submit(e, &b.step));
		for (int32_t i = 0; round && i < SEQS; i++) MUST(fg_mask(e, 2, i, fill, i == 3 ? NULL : check, &s[i]));
		MUST(wait_for(e, o));
		if (!round) memcpy(free_ids, o->ids, sizeof free_ids);
		for (int i = 0; round && i < SEQS; i++) {
			const int fills = (i >= 1 && i <= 3) || i == 5 || i == 6, checks = i == 3 || i == 5 ? 0 : i == 6 ? 2 : 1;
			CHECK(o->ids[i] == s[i].token, "row %d: %d, not %d", i, o->ids[i], s[i].token);
			CHECK(s[i].begun == fills && s[i].checks == checks, "row %d: %d fills, %d checks", i, s[i].begun,
			      s[i].checks);
		}
	}
	fg_close(e);
}

/* Without mask threads the CPU library's sampler calls what was given: each fill once, however long it takes, those of
 * its own step alone. */
static void test_sampler_fills(void) {
	begin(0);
	source s[2][SEQS] = {0};
	decode(5, 0, NULL, SEQS), decode(6, 0, NULL, 2);
	for (int32_t i = 0; i < 2; i++) {
		s[1][i] = (source){.token = 50 + i, .sleep_ms = 3};
		MUST(fg_mask(e, 2, i, fill, NULL, &s[1][i]));
	}
	/* step 1 waits for its masks */
	for (int32_t i = 0; i < SEQS; i++) {
		s[0][i] = (source){.token = 70 + i};
		MUST(fg_mask(e, 1, i, fill, NULL, &s[0][i]));
	}
	MUST(wait_for(e, o));
	for (int32_t i = 0; i < SEQS; i++) {
		CHECK(o->ids[i] == 70 + i || (o->ids[i] == FG_MASK_LATE && !s[0][i].begun), "row %d: %d", i, o->ids[i]);
		CHECK(s[0][i].begun <= 1 && s[0][i].begun == s[0][i].ended, "%d begun, %d ended", s[0][i].begun, s[0][i].ended);
	}
	MUST(wait_for(e, o));
	for (int32_t i = 0; i < 2; i++) {
		CHECK(o->ids[i] == 50 + i && s[1][i].ended == 1, "row %d: %d, %d ended", i, o->ids[i], s[1][i].ended);
	}
	CHECK(o->ids[2] >= 0, "token %d", o->ids[2]);
	fg_close(e);
}

/* A source that goes along: after each token only the next number may come, until it knows a token or has gone on. */
typedef struct {
	int32_t position, token, known_at, fills, checks, takes;
	int32_t taken[16];
} walker;

static int32_t walk_fill(void *argument, uint32_t *mask, size_t bytes) {
	walker *w = argument;
	w->fills++;
	memset(mask, 0, bytes);
	mask[w->token / 32] |= 1u << w->token % 32;
	return 0;
}

static int32_t walk_check(void *argument, int32_t token) {
	walker *w = argument;
	w->checks++;
	return token == w->token;
}

static int32_t walk_known(void *argument, int32_t position) {
	walker *w = argument;
	if (position == w->known_at) return w->token++;
	return position == w->position ? FG_NO_TOKEN : FG_MASK_LATE;
}

static void walk_take(void *argument, int32_t position, int32_t token) {
	walker *w = argument;
	CHECK(position == w->position && token == w->token, "token %d at %d, not %d at %d", token, position, w->token,
	      w->position);
	w->taken[w->takes++] = position;
	w->position++, w->token++;
	if (w->position == w->known_at) w->position++;
}

/* One source for the rows of both steps in flight: each step is sampled by what the step before has made of the source,
 * though its mask was given before that step's tokens were known. */
static void test_followers(void) {
	static const fg_follower how = {walk_fill, walk_check, walk_known, walk_take};
	static const fg_follower no_check = {walk_fill, NULL, walk_known, walk_take};
	fg_capacity capacity;
	begin(0);
	MUST(fg_ready(e, &capacity));
	CHECK(capacity.follows == 1, "it does not follow");
	walker w[3];
	for (int32_t i = 0; i < 3; i++) w[i] = (walker){.position = 5, .token = 100 * (i + 1), .known_at = -1};
	w[1].known_at = 7; /* what it samples there is known */
	w[2].position = 6; /* it has gone on past the first, which no step gives now: what comes after means nothing */
	decode(5, 0, NULL, 3), decode(6, 0, NULL, 3);
	for (uint64_t step = 1; step <= 6; step++) {
		for (uint64_t next = step == 1 ? 1 : step + 1; next <= step + 1 && next <= 6; next++)
			for (int32_t i = 0; i < 3; i++) MUST(fg_follow(e, next, i, i ? &how : &no_check, &w[i]));
		MUST(wait_for(e, o));
		const int32_t at = (int32_t)step - 1;
		CHECK(o->ids[0] == 100 + at && o->ids[1] == 200 + at, "step %d: %d and %d", at, o->ids[0], o->ids[1]);
		CHECK(o->ids[2] == FG_MASK_LATE, "step %d: %d", at, o->ids[2]);
		if (step <= 4) decode(6 + (int32_t)step, 0, NULL, 3);
	}
	CHECK(w[0].takes == 6 && w[0].fills == 6 && w[0].checks == 0, "%d takes, %d fills", w[0].takes, w[0].fills);
	CHECK(w[1].takes == 5 && w[1].taken[2] == 8, "%d takes", w[1].takes);
	CHECK(w[2].takes == 0 && w[2].fills == 0, "%d takes", w[2].takes);
	fg_close(e);
	begin(1);
	MUST(fg_ready(e, &capacity));
	CHECK(capacity.follows == 0, "it follows beside mask threads");
	decode(5, 0, NULL, 1);
	REFUSED(FG_UNSUPPORTED, "fg_mask", fg_follow(e, 1, 0, &how, &w[0]));
	give_copy(1, 0, 4);
	MUST(wait_for(e, o));
	fg_close(e);
}

static const fg_follower walking = {walk_fill, walk_check, walk_known, walk_take};

/* What comes after `token` at `context`, computed until the mask is there in time. */
static int32_t follow_alone(walker *w, uint64_t *step, int32_t context, int32_t token) {
	int32_t id = FG_MASK_LATE;
	for (int i = 0; i < 1000 && id == FG_MASK_LATE; i++) {
		begin_step(&b);
		b.step.n_late_masks = 1;
		add_seq(&b, 0, &token, 1, context, FG_SAMPLE)->mask = 0;
		MUST(fg_submit(e, &b.step));
		MUST(fg_follow(e, ++*step, 0, &walking, w));
		MUST(wait_for(e, o));
		id = o->ids[0];
	}
	return id;
}

/* A mask that is not there in time, before a token that its source would know already: nothing goes along with what
 * follows, so that both can be computed again. */
static void test_late_before_follower(void) {
	walker w = {.position = 5, .token = 100, .known_at = 6};
	uint64_t step = 0;
	begin(0);
	CHECK(follow_alone(&w, &step, 5, 8) == 100 && w.position == 7, "then at %d", w.position);
	for (int round = 0; round < 20; round++) {
		decode(6, 0, NULL, 1), decode(7, 0, NULL, 1);
		step += 2; /* the first gets no mask */
		MUST(fg_follow(e, step, 0, &walking, &w));
		for (int i = 0; i < 2; i++) {
			MUST(wait_for(e, o));
			CHECK(o->ids[0] == FG_MASK_LATE && w.takes == 1, "token %d, %d takes", o->ids[0], w.takes);
		}
	}
	int32_t id = follow_alone(&w, &step, 6, 100);
	CHECK(id == 101 && w.takes == 1, "token %d, %d takes", id, w.takes);
	id = follow_alone(&w, &step, 7, 101);
	CHECK(id == 102 && w.takes == 2, "token %d, %d takes", id, w.takes);
	fg_close(e);
}
#endif

static void test_refusals(void) {
	source s = {.token = 3};
	uint32_t words[WORDS] = {0};
	begin(0);
	REFUSED(FG_INVALID, "NULL", fg_mask(NULL, 0, 0, fill, NULL, &s));
	static const fg_follower nothing = {.fill = fill};
	REFUSED(FG_INVALID, "NULL", fg_follow(e, 0, 0, NULL, &s));
	REFUSED(FG_INVALID, "NULL", fg_follow(e, 0, 0, &nothing, &s));
	REFUSED(FG_INVALID, "not in flight", fg_mask(e, 0, 0, fill, NULL, &s));
	REFUSED(FG_INVALID, "not in flight", fg_mask(e, 1, 0, fill, NULL, &s));
	decode(5, 1, words, 2);
	REFUSED(FG_INVALID, "not in flight", fg_mask(e, 2, 1, fill, NULL, &s));
	REFUSED(FG_INVALID, "NULL", fg_mask(e, 1, 1, NULL, NULL, NULL));
	REFUSED(FG_INVALID, "not a late one", fg_mask(e, 1, -1, fill, NULL, &s));
	REFUSED(FG_INVALID, "not a late one", fg_mask(e, 1, 0, fill, NULL, &s));
	REFUSED(FG_INVALID, "not a late one", fg_mask(e, 1, 3, fill, NULL, &s));
	MUST(fg_mask(e, 1, 1, fill, NULL, &s));
	REFUSED(FG_INVALID, "given before", fg_mask(e, 1, 1, fill, NULL, &s));
	give_copy(1, 2, 4);
	REFUSED(FG_INVALID, "given before", fg_mask(e, 1, 2, NULL, NULL, words));
	MUST(wait_for(e, o));
	REFUSED(FG_INVALID, "not in flight", fg_mask(e, 1, 1, fill, NULL, &s));
	begin_step(&b);
	fg_step_seq *q = add_seq(&b, 0, &last, 1, 6, FG_SAMPLE);
	b.step.n_late_masks = -1;
	REFUSED(FG_INVALID, "late masks", fg_submit(e, &b.step));
	b.step.n_late_masks = 2;
	REFUSED(FG_INVALID, "late masks", fg_submit(e, &b.step));
	b.step.n_late_masks = 1, b.step.n_masks = 1, b.step.masks = words;
	REFUSED(FG_INVALID, "late masks", fg_submit(e, &b.step));
	b.step.n_masks = 0, q->mask = 1;
	REFUSED(FG_INVALID, "names mask 1", fg_submit(e, &b.step));
	fg_close(e);
}

int main(void) {
	int32_t n_devices = 0;
	MUST(fg_devices(&n_devices));
	if (!n_devices) {
		printf("masks_test: no device\n");
		return 0;
	}
	static const model small = {.shape.vocab_size = VOCAB};
	o = new_outcome(&small, 1);
	test_mix();
	test_two_steps();
	test_given_early();
	test_failed_and_missing();
	test_slow_fill();
	test_threads();
	test_order();
#ifndef ON_GPU
	test_checks();
	test_sampler_fills();
	test_followers();
	test_late_before_follower();
#endif
	test_refusals();
	free_outcome(o);
	return report("masks_test");
}
