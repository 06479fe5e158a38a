/*
 * sample_test.c - compares the CPU sampler with the references of sample_reference.h.
 */
#include "processed_check.h"

/* Digests of the bits of sample_math.h over many inputs, and of every id that test_parameters draws. Neither may depend
 * on the compiler, its options or the machine, and the same seed must give the same text in every version. */
#define MATH_DIGEST 0xf2f11c2131c6c990u
#define STREAM_DIGEST 0xb43b8813e4c70f49u

static uint64_t mix_digest(uint64_t digest, uint32_t word) { /* FNV-1a, by words */
	return (digest ^ word) * 0x100000001b3u;
}

/* ---- Arithmetic ---- */

static double ulps(float got, double want) {
	return fabs((double)got - want) / ldexp(1, ilogb(want) - 23);
}

static void test_arithmetic(void) {
	/* Known answers from the authors' distribution (Random123, kat_vectors), for counters with two zero words. */
	uint32_t words[4];
	fg_philox(0, 0, 0, words);
	CHECK(words[0] == 0x6627e8d5 && words[1] == 0xe169c58d && words[2] == 0xbc57ac4c && words[3] == 0x9b00dbd8,
	      "philox %08x %08x %08x %08x", words[0], words[1], words[2], words[3]);

	double worst_exp = 0, worst_log = 0, worst_gumbel = 0, worst_uniform = 0;
	CHECK(fg_exp_neg(0) == 1, "exp(-0) is %a", (double)fg_exp_neg(0));
	for (float d = 1e-9f; d < 87; d *= 1.00002f) worst_exp = fmax(worst_exp, ulps(fg_exp_neg(d), exp(-(double)d)));
	for (float x = 1e-12f; x < 1e3f; x *= 1.00003f)
		if (x != 1) worst_log = fmax(worst_log, ulps(fg_log(x), log((double)x)));
	for (uint32_t i = 0; i < 2000000; i++) {
		/* Dense at both ends, spread between. */
		const uint32_t bits = i < 500000 ? i : i < 1000000 ? ~(i - 500000) : (uint32_t)next_random();
		const double v = (double)(((float)(bits - (bits >> 24)) + 0.5f) * 0x1p-32f), want = -log(-log1p(-v));
		worst_gumbel = fmax(worst_gumbel, fabs((double)fg_gumbel(bits) - want));
		worst_uniform = fmax(worst_uniform, fabs(v * 0x1p32 / ((double)bits + 0.5) - 1));
		if (fg_gumbel(bits) > FG_GUMBEL_MAX || !(fg_gumbel(bits) >= -3)) CHECK(false, "gumbel of %08x", bits);
	}
	uint64_t digest = 0xcbf29ce484222325u;
	random_state = 5;
	for (int i = 0; i < 1000000; i++) {
		const uint32_t bits = (uint32_t)next_random();
		const float d = (float)bits * 0x1p-27f;
		digest = mix_digest(digest, fg_as_bits(fg_gumbel(bits) - d));
		digest = mix_digest(digest, fg_as_bits(fg_exp_neg(d)));
		digest = mix_digest(digest, fg_as_bits(fg_log(d + 0.001f)));
		digest = mix_digest(digest, fg_weight(d));
		digest = mix_digest(digest, fg_as_bits(fg_distance(3, fg_penalize(d - 16, 1.1f, d, 0.3f, bits & 1), 0.7f)));
	}
	CHECK(worst_exp <= 1, "exp: %g ulp", worst_exp);
	CHECK(worst_log <= 1, "log: %g ulp", worst_log);
	CHECK(worst_gumbel < 2e-6, "gumbel: %g", worst_gumbel);
	CHECK(worst_uniform < 2.4e-7, "uniform: %g relative", worst_uniform);
	CHECK(fg_gumbel(0) <= FG_GUMBEL_MAX && fg_gumbel(0) > 22.87f, "greatest gumbel %g", (double)fg_gumbel(0));
	CHECK(isfinite(fg_gumbel(0xffffffff)), "least gumbel %g", (double)fg_gumbel(0xffffffff));
	CHECK(fg_weight(0) == 1 << 30 && fg_weight(FG_WEIGHT_LIMIT) == 0 && fg_weight(INFINITY) == 0 && fg_weight(NAN) == 0,
	      "weights at the ends");
	printf("  exp %.2f ulp, log %.2f ulp, gumbel %.1e; digest %016llx\n", worst_exp, worst_log, worst_gumbel,
	       (unsigned long long)digest);
	CHECK(digest == MATH_DIGEST, "the compiler has changed the arithmetic, or sample_math.h has");
}

/* ---- Random parameters, alone and together, against model and twin ---- */

static void test_parameters(void) {
	static const int32_t vocabs[] = {1, 2, 5, 31, 33, 63, 64, 65, 127, 200, 1000, 5000};
	static model m;
	static float logits[MAX_VOCAB];
	static uint32_t mask_words[MAX_VOCAB / 32 + 1];
	long called = 0, close = 0, draws = 0, ties = 0;
	double worst = 0;
	uint64_t digest = 0xcbf29ce484222325u;
	enum { OPTIONS = 10, ROUNDS = 2400, DRAWS = 12 };
	random_state = 42;
	for (int round = 0; round < ROUNDS; round++) {
		const int32_t vocab = vocabs[below(sizeof vocabs / sizeof *vocabs)];
		make_logits(logits, vocab, below(N_KINDS));
		/* Each option alone first, then random sets of them. */
		const unsigned on = round < 40 * OPTIONS ? 1u << round % OPTIONS : (unsigned)next_random();
		int32_t ids[64], history[200];
		float bias[32];
		fg_sampling s = PLAIN;
		s.seed = next_random();
		if (on & 1) s.temperature = below(6) == 0 ? 0 : uniform(0.1f, 3);
		if (on & 2) s.top_k = below(4) == 0 ? vocab + below(3) : 1 + below(below(2) && vocab > 50 ? 50 : vocab);
		if (on & 4) s.top_p = below(4) == 0 ? 1e-6f : uniform(0.01f, 1);
		if (on & 8) s.min_p = below(8) == 0 ? 1 : uniform(0, 0.5f);
		if (on & 16) s.repetition_penalty = uniform(0.5f, 2);
		if (on & 32) s.presence_penalty = uniform(-2, 2);
		if (on & 64) s.frequency_penalty = uniform(-2, 2);
		for (int i = 0; i < 64; i++) ids[i] = below(vocab);
		for (int i = 0; i < 200; i++) history[i] = below(vocab);
		for (int i = 0; i < 32; i++) bias[i] = uniform(-10, 10);
		if (on & 128) {
			s.bias_ids = ids;
			s.bias = bias;
			s.n_bias = 1 + below(32);
		}
		if (on & 256) {
			s.stop_ids = ids + 32;
			s.n_stop_ids = below(vocab > 16 ? 16 : vocab);
			s.min_context = 6;
		}
		if (on & (16 | 32 | 64)) {
			s.history = history;
			s.n_prompt = below(100);
			s.n_output = below(100);
		}
		const uint32_t *mask = NULL;
		if (on & 512) {
			for (int32_t i = 0; i <= vocab / 32; i++) mask_words[i] = (uint32_t)(next_random() | next_random());
			mask = mask_words;
		}
		for (int32_t position = 0; position < DRAWS; position++) {
			const int32_t id = sample_once(&s, logits, vocab, mask, position);
			digest = mix_digest(digest, (uint32_t)id);
			draws++;
			CHECK(id == twin_sample(&s, logits, vocab, mask, position), "round %d position %d", round, position);
			if (position % 6 == 5) {
				char where[64];
				snprintf(where, sizeof where, "round %d options %x", round, on & 1023);
				worst = fmax(worst, check_processed(&s, logits, vocab, mask, position, where));
			}
			run_model(&m, &s, logits, vocab, mask, position);
			CHECK(m.empty == (id == FG_NO_TOKEN), "round %d: %d", round, id);
			if (m.empty) continue;
			CHECK(id >= 0 && id < vocab, "round %d: %d", round, id);
			if (m.close) {
				close++;
			} else if (s.temperature == 0) {
				if (m.greedy_margin <= 0) ties++;
				else CHECK(id == m.greedy, "round %d: %d, not %d", round, id, m.greedy);
				called++;
			} else {
				const int32_t want = model_draw(&m, vocab, s.seed, position);
				CHECK(m.p[id] > 0, "round %d options %x vocab %d: %d is filtered out", round, on & 1023, vocab, id);
				CHECK(want < 0 || want == id, "round %d options %x: %d, not %d", round, on & 1023, id, want);
				ties += want < 0;
				called++;
			}
		}
	}
	CHECK(close < draws / 100, "%ld draws too close to an edge", close);
	CHECK(ties < draws / 200, "%ld draws too close to call", ties);
	CHECK(worst <= 2, "processed log probabilities are off by %g times what rounding costs", worst);
	printf("  %ld draws against the model, %ld near an edge, %ld near ties; digest %016llx\n", called, close, ties,
	       (unsigned long long)digest);
	printf("  processed log probabilities within %.2f times what rounding costs\n", worst);
	CHECK(digest == STREAM_DIGEST, "the random stream has changed: the same seed no longer gives the same text");
}

/* ---- Behaviour ---- */

static void test_greedy(void) {
	float logits[200] = {0};
	fg_sampling s = PLAIN;
	s.temperature = 0;
	CHECK(sample_once(&s, logits, 200, NULL, 0) == 0, "ties go to the lowest id");
	logits[150] = logits[77] = logits[199] = 3;
	CHECK(sample_once(&s, logits, 200, NULL, 0) == 77, "ties go to the lowest id");
	s.top_p = 0.5f;
	s.top_k = 3;
	s.min_p = 0.9f;
	for (uint64_t seed = 0; seed < 20; seed++) {
		s.seed = seed;
		CHECK(sample_once(&s, logits, 200, NULL, (int32_t)seed) == 77, "greedy ignores filters and seed");
	}
	/* Filters that leave the likeliest token alone do the same at any temperature. */
	logits[150] = logits[199] = 2.9f;
	const fg_sampling alone[] = {{.temperature = 5, .top_p = 1, .top_k = 1, .repetition_penalty = 1},
	                             {.temperature = 5, .top_p = 1e-7f, .repetition_penalty = 1},
	                             {.temperature = 5, .top_p = 1, .min_p = 1, .repetition_penalty = 1},
	                             {.temperature = 1e-45f, .top_p = 1, .repetition_penalty = 1}};
	for (int i = 0; i < 4; i++)
		for (int32_t position = 0; position < 50; position++)
			CHECK(sample_once(&alone[i], logits, 200, NULL, position) == 77, "case %d position %d", i, position);
}

/* Tokens that tie with the last one kept stay: all of them are drawn, and no others. */
static void test_ties(void) {
	float logits[100];
	for (int i = 0; i < 100; i++) logits[i] = i < 30 ? 1 : -1;
	logits[50] = 2;
	const fg_sampling cases[] = {{.temperature = 1, .top_p = 1, .top_k = 5, .repetition_penalty = 1},
	                             {.temperature = 1, .top_p = 0.3f, .repetition_penalty = 1},
	                             {.temperature = 1, .top_p = 1, .min_p = 0.3f, .repetition_penalty = 1}};
	for (int c = 0; c < 3; c++) {
		bool drawn[100] = {false};
		for (int32_t position = 0; position < 2000; position++)
			drawn[sample_once(&cases[c], logits, 100, NULL, position)] = true;
		for (int i = 0; i < 100; i++) CHECK(drawn[i] == (i < 30 || i == 50), "case %d: token %d", c, i);
	}
	/* -0 and +0 are equal too: 30 of each, above the rest. */
	for (int i = 0; i < 100; i++) logits[i] = i < 30 ? -0.0f : i < 60 ? 0.0f : -1;
	const fg_sampling zeros[] = {{.temperature = 1, .top_p = 1, .top_k = 50, .repetition_penalty = 1},
	                             {.temperature = 1, .top_p = 0.55f, .repetition_penalty = 1},
	                             {.temperature = 1, .top_p = 1, .min_p = 1, .repetition_penalty = 1}};
	for (int c = 0; c < 3; c++) {
		int negative = 0, positive = 0;
		for (int32_t position = 0; position < 2000; position++) {
			const int32_t id = sample_once(&zeros[c], logits, 100, NULL, position);
			negative += id < 30;
			positive += id >= 30 && id < 60;
		}
		CHECK(negative > 850 && negative + positive == 2000, "case %d: %d of -0, %d of +0", c, negative, positive);
	}
}

/* Rare draws: equal scores in two chunks, and a very unlikely token that wins. Both are searched for in the stream. */
static void test_rare_draws(void) {
	enum { VOCAB = 16384 };
	static float logits[VOCAB];
	fg_sampling s = PLAIN;
	uint32_t words[4];

	/* Token b is 2^-24 likelier than token a, so its chunk is visited first; their scores are equal. */
	const float d = 0x1p-24f;
	int found = 0;
	for (int32_t position = 0; position < 400000 && found < 3; position++) {
		float score[128];
		for (int i = 0; i < 128; i += 4) {
			fg_philox(s.seed, (uint32_t)position, (uint32_t)i / 4, words);
			for (int j = 0; j < 4; j++) score[i + j] = fg_gumbel(words[j]) - (i < 64 ? d : 0);
		}
		for (int a = 0; a < 64; a++)
			for (int b = 64; b < 128; b++) {
				if (score[a] != score[b]) continue;
				for (int i = 0; i < 128; i++) logits[i] = i == a ? 0 : i == b ? d : -INFINITY;
				CHECK(sample_once(&s, logits, 128, NULL, position) == a, "equal scores of %d and %d at %d", a, b,
				      position);
				found++;
			}
	}
	CHECK(found >= 3, "%d ties found", found);

	found = 0;
	for (int32_t position = 0; position < 20000 && found < 3; position++)
		for (int32_t id = 64; id < VOCAB; id += 4) {
			fg_philox(s.seed, (uint32_t)position, (uint32_t)id / 4, words);
			if (words[0] >= 256) continue; /* a Gumbel number above 16.6 */
			for (int i = 0; i < VOCAB; i++) logits[i] = -INFINITY;
			fg_philox(s.seed, (uint32_t)position, 0, words);
			logits[0] = 15 - fg_gumbel(words[0]); /* its score is 15; that of `id` is greater */
			logits[id] = 0;
			const bool first = logits[0] < 0; /* `id` is the likelier one */
			CHECK(sample_once(&s, logits, VOCAB, NULL, position) == id, "%d at %d", id, position);
			found += !first;
		}
	CHECK(found >= 3, "%d unlikely winners found", found);
}

/* What is processed of hand-made rows. */
static void test_processed(void) {
	const float logits[5] = {1, 3, 2, -INFINITY, NAN};
	const struct {
		fg_sampling s;
		float want[5];
	} cases[] = {
		{{.temperature = 2, .top_p = 1, .repetition_penalty = 1}, {-1, 0, -0.5f, -INFINITY, -INFINITY}},
		{{.temperature = 2, .top_p = 1, .top_k = 2, .repetition_penalty = 1},
		 {-INFINITY, 0, -0.5f, -INFINITY, -INFINITY}},
		{{.temperature = 1, .top_p = 1, .min_p = 0.9f, .repetition_penalty = 1},
		 {-INFINITY, 0, -INFINITY, -INFINITY, -INFINITY}},
		/* greedy: temperature 1, no filters */
		{{.temperature = 0, .top_p = 0.1f, .top_k = 1, .min_p = 1, .repetition_penalty = 1},
		 {-2, 0, -1, -INFINITY, -INFINITY}},
	};
	void *scratch = scratch_for(5);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		fg_sampling s = cases[i].s;
		fg_sampler *sampler = make(&s, 5);
		CHECK(fg_sampler_reported(sampler, logits, NULL, 0, scratch) == logits, "raw is what came");
		fg_sampler_free(sampler);
		s.logprobs_mode = FG_PROCESSED_LOGPROBS;
		sampler = make(&s, 5);
		const float *got = fg_sampler_reported(sampler, logits, NULL, 0, scratch);
		for (int j = 0; j < 5; j++)
			CHECK(got[j] == cases[i].want[j], "case %zu token %d: %g, not %g", i, j, (double)got[j],
			      (double)cases[i].want[j]);
		const uint32_t none = 0;
		got = fg_sampler_reported(sampler, logits, &none, 0, scratch);
		for (int j = 0; j < 5; j++)
			CHECK(got[j] == -INFINITY, "case %zu: a mask leaves nothing, but %g", i, (double)got[j]);
		fg_sampler_free(sampler);
	}
	/* The eight nearest of ten are too far for top_k: only one could be drawn. */
	float far[10] = {0, -31, -32, -33, -34, -35, -36, -37, -38, -39};
	fg_sampling s = {
		.temperature = 1, .top_p = 1, .top_k = 8, .repetition_penalty = 1, .logprobs_mode = FG_PROCESSED_LOGPROBS};
	fg_sampler *sampler = make(&s, 10);
	free(scratch);
	scratch = scratch_for(10);
	const float *got = fg_sampler_reported(sampler, far, NULL, 0, scratch);
	for (int j = 0; j < 10; j++) CHECK(got[j] == (j < 2 ? far[j] : -INFINITY), "token %d: %g", j, (double)got[j]);
	fg_sampler_free(sampler);
	free(scratch);
}

static void test_penalties(void) {
	/* Token 0 is in the prompt, 1 twice in the output, 2 in both, 3 in neither. */
	const int32_t history[] = {0, 2, 1, 1, 2};
	fg_sampling s = PLAIN;
	s.temperature = 0;
	s.history = history;
	s.n_prompt = 2;
	s.n_output = 3;
	const struct {
		float repetition, presence, frequency, logits[4];
		int32_t want;
	} cases[] = {
		{2, 0, 0, {3.9f, 3.9f, 3.9f, 2}, 3},         /* positive logits are divided: 1.95 < 2 */
		{2, 0, 0, {4.1f, 3.9f, 3.9f, 2}, 0},         /* 2.05 > 2 */
		{2, 0, 0, {-1, -1, -1, -1.9f}, 3},           /* negative ones multiplied: -2 < -1.9 */
		{2, 0, 0, {-0.9f, -1, -1, -1.9f}, 0},        /* -1.8 > -1.9 */
		{0.5f, 0, 0, {-1, -2, -3, -0.6f}, 0},        /* below 1 it rewards: -0.5 */
		{2, 0, 0, {0, 0, 0, -0.1f}, 0},              /* zero stays zero */
		{1, 1, 0, {-9, 2.5f, 2.4f, 1.6f}, 3},        /* presence: once, however often it occurs */
		{1, 1, 0, {1.7f, 2.5f, 2.4f, 1.6f}, 0},      /* the prompt does not count for it */
		{1, 0, 1, {-9, 2.5f, 2.4f, 1.3f}, 2},        /* frequency: every time: 0.5, 1.4, 1.3 */
		{1, -1, -1, {1, 1, 1, 2}, 1},                /* negative ones reward: 1 + 2 + 1 */
		{2, 0.25f, 0.25f, {1.9f, 4, 2.8f, 1.2f}, 1}, /* repetition first: 0.95, 2 - 0.75, 1.4 - 0.5, 1.2 */
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		s.repetition_penalty = cases[i].repetition;
		s.presence_penalty = cases[i].presence;
		s.frequency_penalty = cases[i].frequency;
		const int32_t id = sample_once(&s, cases[i].logits, 4, NULL, 5);
		CHECK(id == cases[i].want, "case %zu: %d, not %d", i, id, cases[i].want);
	}
	/* Sampled tokens count, so two tokens alternate. */
	fg_sampling t = PLAIN;
	t.temperature = 0;
	t.frequency_penalty = 1;
	fg_sampler *sampler = make(&t, 2);
	void *scratch = scratch_for(2);
	const float logits[2] = {0.5f, 0};
	for (int32_t i = 0; i < 10; i++) CHECK(fg_sampler_sample(sampler, logits, NULL, i, scratch) == i % 2, "draw %d", i);
	fg_sampler_free(sampler);
	free(scratch);
}

static void test_masks_and_min_tokens(void) {
	enum { VOCAB = 70 }; /* the last word is partly past the vocabulary */
	float logits[VOCAB];
	random_state = 3;
	make_logits(logits, VOCAB, SMOOTH);
	const int32_t stops[] = {40, 41};
	const float bias[] = {50, 50};
	fg_sampling s = PLAIN;
	uint32_t mask[3] = {0, 1u << 8 | 1u << 20, 0xffffffc0u}; /* 40, 52, and meaningless bits */
	for (int32_t position = 0; position < 200; position++) {
		const int32_t id = sample_once(&s, logits, VOCAB, mask, position);
		CHECK(id == 40 || id == 52, "%d is not allowed", id);
	}
	s.bias_ids = stops;
	s.bias = bias;
	s.n_bias = 2;
	CHECK(sample_once(&s, logits, VOCAB, mask, 0) == 40, "bias cannot bring back what the mask forbids");
	s.stop_ids = stops;
	s.n_stop_ids = 2;
	s.min_context = 10;
	for (int32_t position = 0; position < 20; position++) {
		const int32_t id = sample_once(&s, logits, VOCAB, mask, position);
		CHECK(id == (position < 10 ? 52 : 40), "position %d: %d", position, id);
	}
	const uint32_t none[3] = {0, 0, 0xffffffc0u}, stop_only[3] = {0, 1u << 8, 0};
	CHECK(sample_once(&s, logits, VOCAB, none, 20) == FG_NO_TOKEN, "an empty mask");
	CHECK(sample_once(&s, logits, VOCAB, stop_only, 3) == FG_NO_TOKEN, "mask and min_tokens leave nothing");
	CHECK(sample_once(&s, logits, VOCAB, stop_only, 10) == 40, "min_tokens is over");
	s.temperature = 0;
	CHECK(sample_once(&s, logits, VOCAB, none, 20) == FG_NO_TOKEN, "an empty mask, greedily");
}

/* A preempted sequence continues as if it had not been: its new sampler is made from its prompt and its output so far.
 */
static void test_preemption(void) {
	enum { VOCAB = 300, PROMPT = 20, TOTAL = 120 };
	static float logits[TOTAL][VOCAB];
	int32_t history[TOTAL];
	random_state = 11;
	for (int i = 0; i < TOTAL; i++) make_logits(logits[i], VOCAB, SMOOTH);
	for (int i = 0; i < PROMPT; i++) history[i] = below(VOCAB);
	fg_sampling s = {.seed = 5,
	                 .temperature = 1,
	                 .top_p = 0.95f,
	                 .top_k = 80,
	                 .repetition_penalty = 1.3f,
	                 .presence_penalty = 0.5f,
	                 .frequency_penalty = 0.7f,
	                 .history = history,
	                 .n_prompt = PROMPT};
	void *scratch = scratch_for(VOCAB);
	fg_sampler *sampler = make(&s, VOCAB);
	int32_t copied[PROMPT];
	memcpy(copied, history, sizeof copied);
	for (int i = 0; i < PROMPT; i++) history[i] = -5; /* the sampler has copied what it needs */
	for (int i = PROMPT; i < TOTAL; i++) history[i] = fg_sampler_sample(sampler, logits[i], NULL, i, scratch);
	fg_sampler_free(sampler);
	memcpy(history, copied, sizeof copied);
	for (int cut = PROMPT; cut < TOTAL; cut += 13) {
		s.n_output = cut - PROMPT;
		sampler = make(&s, VOCAB);
		for (int i = cut; i < TOTAL; i++)
			CHECK(fg_sampler_sample(sampler, logits[i], NULL, i, scratch) == history[i], "cut %d position %d", cut, i);
		fg_sampler_free(sampler);
	}
	free(scratch);
}

/* Rows are independent: interleaved samplers on one scratch draw what each draws alone. */
static void test_independence(void) {
	enum { VOCAB = 500, ROWS = 8, STEPS = 50 };
	static float logits[ROWS][VOCAB];
	int32_t alone[ROWS][STEPS];
	fg_sampler *samplers[ROWS];
	void *scratch = scratch_for(VOCAB);
	random_state = 12;
	for (int phase = 0; phase < 2; phase++) {
		for (int r = 0; r < ROWS; r++) {
			fg_sampling s = PLAIN;
			s.seed = (uint64_t)r << 32; /* both words of the seed count */
			s.top_k = r % 2 ? 0 : 40;
			s.top_p = r % 3 ? 1 : 0.9f;
			s.frequency_penalty = r % 4 ? 0 : 0.3f;
			samplers[r] = make(&s, VOCAB);
			if (phase == 0) make_logits(logits[r], VOCAB, r % N_KINDS);
		}
		if (phase == 0) {
			for (int r = 0; r < ROWS; r++)
				for (int i = 0; i < STEPS; i++)
					alone[r][i] = fg_sampler_sample(samplers[r], logits[r], NULL, i, scratch);
		} else {
			for (int i = 0; i < STEPS; i++)
				for (int r = ROWS - 1; r >= 0; r--)
					CHECK(fg_sampler_sample(samplers[r], logits[r], NULL, i, scratch) == alone[r][i], "row %d step %d",
					      r, i);
		}
		for (int r = 0; r < ROWS; r++) fg_sampler_free(samplers[r]);
	}
	free(scratch);
	/* Position and each half of the seed change the draw. */
	fg_sampling a = PLAIN, b = PLAIN;
	a.seed = 1;
	b.seed = 1 + (1ull << 32);
	int moved = 0, same = 0;
	for (int32_t i = 0; i < 200; i++) {
		moved += sample_once(&a, logits[0], VOCAB, NULL, i) != sample_once(&a, logits[0], VOCAB, NULL, i + 1);
		same += sample_once(&a, logits[0], VOCAB, NULL, i) == sample_once(&b, logits[0], VOCAB, NULL, i);
	}
	CHECK(moved > 150 && same < 50, "%d moved, %d the same", moved, same);
}

static void test_adversarial(void) {
	enum { VOCAB = 130 };
	static const float values[] = {0,        -0.0f,    1,        -1,        INFINITY, -INFINITY, NAN,
	                               FLT_MAX,  -FLT_MAX, 1e-45f,   -1e-45f,   1e30f,    -1e30f,    FLT_MIN,
	                               -FLT_MIN, 100,      -FLT_MAX, -INFINITY, NAN,      88.7f};
	enum { N_VALUES = sizeof values / sizeof *values };
	static const float temperatures[] = {0, 1e-45f, 1e-6f, 1, 100, FLT_MAX};
	static model m;
	float logits[VOCAB];
	const int32_t ids[] = {0, 5, 64, 129};
	const float bias[] = {FLT_MAX, -FLT_MAX, 3, -3};
	random_state = 13;
	for (int round = 0; round < 4000; round++) {
		const int kinds = 1 + below(4), offset = below(N_VALUES);
		for (int i = 0; i < VOCAB; i++) logits[i] = values[(offset + below(kinds)) % N_VALUES];
		fg_sampling s = PLAIN;
		s.seed = (uint64_t)round;
		s.temperature = temperatures[below(6)];
		s.top_k = below(3) ? 0 : 1 + below(2 * VOCAB);
		s.top_p = below(3) ? 1 : uniform(0.001f, 1);
		s.min_p = below(3) ? 0 : uniform(0, 1);
		s.repetition_penalty = below(3) ? 1 : below(2) ? 1e-38f : 3e38f;
		s.frequency_penalty = below(3) ? 0 : below(2) ? -FLT_MAX : FLT_MAX;
		s.history = ids;
		s.n_prompt = 1;
		s.n_output = 3;
		if (below(3) == 0) {
			s.bias_ids = ids;
			s.bias = bias;
			s.n_bias = 4;
		}
		const int32_t id = sample_once(&s, logits, VOCAB, NULL, round);
		CHECK(id == twin_sample(&s, logits, VOCAB, NULL, round), "round %d", round);
		CHECK(id >= FG_NO_TOKEN && id < VOCAB, "round %d: %d", round, id);
		if (id >= 0) CHECK(!isnan(logits[id]) && logits[id] != -INFINITY, "round %d: %d has no probability", round, id);
		bool possible = false;
		for (int i = 0; i < VOCAB; i++) possible |= logits[i] > -INFINITY;
		CHECK(possible || id == FG_NO_TOKEN, "round %d: %d of nothing", round, id);
	}
	/* A shift of all logits changes nothing. */
	for (int i = 0; i < VOCAB; i++) logits[i] = (float)(i % 11);
	fg_sampling s = PLAIN;
	for (int32_t position = 0; position < 100; position++) {
		float shifted[VOCAB];
		for (int i = 0; i < VOCAB; i++) shifted[i] = logits[i] + 4096;
		CHECK(sample_once(&s, logits, VOCAB, NULL, position) == sample_once(&s, shifted, VOCAB, NULL, position),
		      "position %d", position);
	}
	run_model(&m, &s, logits, VOCAB, NULL, 0);
	CHECK(!m.empty && m.p[10] > m.p[9], "the model itself");
}

static void test_validation(void) {
	const int32_t good = 3, bad = 10, negative = -1;
	const float one = 1, infinite = INFINITY;
	fg_sampler *sampler;
#define REFUSED(word, ...)                                                                                             \
	do {                                                                                                               \
		fg_sampling s = PLAIN;                                                                                         \
		__VA_ARGS__;                                                                                                   \
		sampler = (fg_sampler *)&s;                                                                                    \
		const fg_status status = fg_sampler_new(&s, 10, &sampler);                                                     \
		CHECK(status == FG_INVALID && !sampler, "%s: status %d", #__VA_ARGS__, status);                                \
		CHECK(strstr(fg_error(), word), "%s: %s", #__VA_ARGS__, fg_error());                                           \
	} while (0)
	REFUSED("temperature", s.temperature = -0.1f);
	REFUSED("temperature", s.temperature = NAN);
	REFUSED("temperature", s.temperature = INFINITY);
	REFUSED("top_p", s.top_p = 0);
	REFUSED("top_p", s.top_p = 1.0001f);
	REFUSED("top_p", s.top_p = NAN);
	REFUSED("min_p", s.min_p = -0.1f);
	REFUSED("min_p", s.min_p = 1.1f);
	REFUSED("min_p", s.min_p = NAN);
	REFUSED("top_k", s.top_k = -1);
	REFUSED("repetition_penalty", s.repetition_penalty = 0);
	REFUSED("repetition_penalty", s.repetition_penalty = -1);
	REFUSED("repetition_penalty", s.repetition_penalty = NAN);
	REFUSED("repetition_penalty", s.repetition_penalty = INFINITY);
	REFUSED("presence_penalty", s.presence_penalty = NAN);
	REFUSED("frequency_penalty", s.frequency_penalty = -INFINITY);
	REFUSED("min_context", s.min_context = -1);
	REFUSED("logprobs_mode is 2", s.logprobs_mode = 2);
	REFUSED("logprobs_mode is -1", s.logprobs_mode = -1);
	REFUSED("reserved is 1", s.reserved = 1);
	REFUSED("n_stop_ids", s.n_stop_ids = -1);
	REFUSED("n_stop_ids", s.n_stop_ids = FG_MAX_STOP_IDS + 1; s.stop_ids = &good);
	REFUSED("stop_ids is NULL", s.n_stop_ids = 1);
	REFUSED("stop_ids[0] is 10", s.n_stop_ids = 1; s.stop_ids = &bad);
	REFUSED("n_bias", s.n_bias = FG_MAX_LOGIT_BIAS + 1; s.bias_ids = &good; s.bias = &one);
	REFUSED("bias", s.n_bias = 1; s.bias_ids = &good);
	REFUSED("bias", s.n_bias = 1; s.bias = &one);
	REFUSED("bias_ids[0] is -1", s.n_bias = 1; s.bias_ids = &negative; s.bias = &one);
	REFUSED("bias[0]", s.n_bias = 1; s.bias_ids = &good; s.bias = &infinite);
	REFUSED("n_prompt", s.n_prompt = -1);
	REFUSED("n_output", s.n_output = -1);
	REFUSED("history is NULL", s.presence_penalty = 1; s.n_output = 1);
	REFUSED("history[0] is -1", s.presence_penalty = 1; s.n_output = 1; s.history = &negative);
	REFUSED("history[0] is 10", s.repetition_penalty = 2; s.n_prompt = 1; s.history = &bad);
#undef REFUSED
	CHECK(fg_sampler_new(NULL, 10, &sampler) == FG_INVALID, "NULL");
	CHECK(fg_sampler_new(&PLAIN, 0, &sampler) == FG_INVALID, "no vocabulary");
	fg_sampling s = PLAIN; /* without a penalty the history is not read */
	s.n_prompt = 1 << 30;
	s.n_output = 1 << 30;
	CHECK(fg_sampler_new(&s, 10, &sampler) == FG_OK, "%s", fg_error());
	fg_sampler_free(sampler);
	fg_sampler_free(NULL);
}

int main(void) {
	test_arithmetic();
	test_parameters();
	test_greedy();
	test_ties();
	test_rare_draws();
	test_processed();
	test_penalties();
	test_masks_and_min_tokens();
	test_preemption();
	test_independence();
	test_adversarial();
	test_validation();
	return report("sample_test");
}
