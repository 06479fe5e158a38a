/*
 * sample_distribution_test.c - compares draws of the CPU sampler with exact probabilities, by chi-square tests. The
 * seeds are fixed, and chance exceeds a threshold once in a million times.
 */
#include "sample_check.h"
#include "sample_reference.h"

/* The chi-square value that chance exceeds with probability 1e-6 (Wilson and Hilferty, 1931). */
static double chi_square_limit(int freedom) {
	const double a = 2.0 / (9.0 * freedom);
	return freedom * pow(1 - a + 4.753 * sqrt(a), 3);
}

/* Pools categories that are expected fewer than 5 times. */
static void check_chi_square(const char *name, const long *counts, const double *p, int n, long total) {
	double chi = 0, pooled = 0;
	long pooled_count = 0;
	int categories = 0;
	for (int i = 0; i < n; i++) {
		const double expected = p[i] * (double)total;
		CHECK(p[i] > 0 || counts[i] == 0, "%s: %d drawn but impossible", name, i);
		if (expected < 5) {
			pooled += expected;
			pooled_count += counts[i];
		} else {
			chi += pow((double)counts[i] - expected, 2) / expected;
			categories++;
		}
	}
	if (pooled >= 5) {
		chi += pow((double)pooled_count - pooled, 2) / pooled;
		categories++;
	}
	CHECK(categories > 1 && chi < chi_square_limit(categories - 1), "%s: chi-square %g of %d categories, limit %g",
	      name, chi, categories, categories > 1 ? chi_square_limit(categories - 1) : 0.0);
}

#ifdef __SANITIZE_ADDRESS__
enum { DRAWS = 20000, LARGE_DRAWS = 2000 }; /* distributions are the plain run's business; this one looks at memory */
#else
enum { DRAWS = 100000, LARGE_DRAWS = 20000 };
#endif

static void test_parameters(void) {
	enum { VOCAB = 150 };
	static model m;
	static const struct {
		const char *name;
		fg_sampling s;
	} cases[] = {
		{"plain", {.temperature = 1, .top_p = 1, .repetition_penalty = 1}},
		{"cold", {.temperature = 0.5f, .top_p = 1, .repetition_penalty = 1}},
		{"hot", {.temperature = 3, .top_p = 1, .repetition_penalty = 1}},
		{"top_k", {.temperature = 1, .top_p = 1, .top_k = 10, .repetition_penalty = 1}},
		{"top_p", {.temperature = 1, .top_p = 0.8f, .repetition_penalty = 1}},
		{"min_p", {.temperature = 1, .top_p = 1, .min_p = 0.1f, .repetition_penalty = 1}},
		{"all", {.temperature = 1.3f, .top_p = 0.9f, .min_p = 0.01f, .top_k = 60, .repetition_penalty = 1.2f}},
	};
	float logits[VOCAB];
	int32_t history[] = {1, 5, 9, 70, 140};
	random_state = 7;
	make_logits(logits, VOCAB, SMOOTH);
	void *scratch = scratch_for(VOCAB);
	for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
		fg_sampling s = cases[c].s;
		s.seed = 1234;
		s.history = history;
		s.n_prompt = 5;
		long by_position[VOCAB] = {0}, by_seed[VOCAB] = {0};
		run_model(&m, &s, logits, VOCAB, NULL, 0);
		CHECK(!m.close, "%s: the case is at an edge", cases[c].name);
		/* Penalties count the draws: a new sampler each time keeps the distribution the same. */
		fg_sampler *sampler = make(&s, VOCAB);
		for (int32_t i = 0; i < DRAWS; i++) {
			if (s.repetition_penalty != 1) {
				fg_sampler_free(sampler);
				sampler = make(&s, VOCAB);
			}
			by_position[fg_sampler_sample(sampler, logits, NULL, i, scratch)]++;
		}
		fg_sampler_free(sampler);
		for (int32_t i = 0; i < DRAWS; i++) { /* neighbouring seeds at one position, as the choices of an `n` have */
			s.seed = (uint64_t)i;
			sampler = make(&s, VOCAB);
			by_seed[fg_sampler_sample(sampler, logits, NULL, 17, scratch)]++;
			fg_sampler_free(sampler);
		}
		check_chi_square(cases[c].name, by_position, m.p, VOCAB, DRAWS);
		check_chi_square(cases[c].name, by_seed, m.p, VOCAB, DRAWS);
	}
	free(scratch);
}

/* Successive draws, and those of neighbouring seeds, do not depend on each other: 8 x 8 pairs of equal tokens. */
static void test_pairs(void) {
	const float even[8] = {0};
	double p[64];
	for (int i = 0; i < 64; i++) p[i] = 1.0 / 64;
	long positions[64] = {0}, seeds[64] = {0};
	void *scratch = scratch_for(8);
	fg_sampling s = PLAIN;
	for (int32_t i = 0; i < DRAWS; i++) {
		s.seed = 99;
		fg_sampler *sampler = make(&s, 8);
		const int32_t a = fg_sampler_sample(sampler, even, NULL, 2 * i, scratch);
		const int32_t b = fg_sampler_sample(sampler, even, NULL, 2 * i + 1, scratch);
		positions[a * 8 + b]++;
		fg_sampler_free(sampler);
		s.seed = 2 * (uint64_t)i;
		const int32_t d = sample_once(&s, even, 8, NULL, 3);
		s.seed++;
		seeds[d * 8 + sample_once(&s, even, 8, NULL, 3)]++;
	}
	check_chi_square("pairs of positions", positions, p, 64, DRAWS);
	check_chi_square("pairs of seeds", seeds, p, 64, DRAWS);
	free(scratch);
}

/* A large flat vocabulary: every place and every lane is drawn equally often. */
static void test_flat(void) {
	enum { LARGE = 16384 };
	static float flat[LARGE];
	long places[64] = {0}, lanes[64] = {0};
	double p[64];
	for (int i = 0; i < 64; i++) p[i] = 1.0 / 64;
	void *scratch = scratch_for(LARGE);
	fg_sampler *sampler = make(&PLAIN, LARGE);
	for (int32_t i = 0; i < LARGE_DRAWS; i++) {
		const int32_t id = fg_sampler_sample(sampler, flat, NULL, i, scratch);
		places[id / (LARGE / 64)]++;
		lanes[id % 64]++;
	}
	check_chi_square("places", places, p, 64, LARGE_DRAWS);
	check_chi_square("lanes", lanes, p, 64, LARGE_DRAWS);
	fg_sampler_free(sampler);
	free(scratch);
}

int main(void) {
	test_parameters();
	test_pairs();
	test_flat();
	return report("sample_distribution_test");
}
