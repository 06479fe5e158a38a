/*
 * check.h - what the C tests share: CHECK, a report, and random inputs that are the same on every machine.
 */
#ifndef FG_CHECK_H
#define FG_CHECK_H

#include <dirent.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long n_checks, n_failed;

#define CHECK(condition, ...)                                                                                          \
	do {                                                                                                               \
		__atomic_fetch_add(&n_checks, 1, __ATOMIC_RELAXED);                                                            \
		if (!(condition) && __atomic_add_fetch(&n_failed, 1, __ATOMIC_RELAXED) <= 30) {                                \
			printf("%s:%d: failed: %s: ", __FILE__, __LINE__, #condition);                                             \
			printf(__VA_ARGS__);                                                                                       \
			putchar('\n');                                                                                             \
		}                                                                                                              \
	} while (0)

static inline int report(const char *name) {
	printf("%s: %ld checks, %ld failed\n", name, n_checks, n_failed);
	return n_failed > 0;
}

static uint64_t random_state = 1;

static inline uint64_t next_random(void) { /* SplitMix64 */
	uint64_t z = random_state += 0x9E3779B97F4A7C15u;
	z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
	z = (z ^ z >> 27) * 0x94D049BB133111EBu;
	return z ^ z >> 31;
}

static inline int32_t below(int32_t n) {
	return (int32_t)(next_random() % (uint64_t)n);
}

static inline float uniform(float low, float high) {
	return low + (high - low) * (float)(next_random() >> 40) * 0x1p-24f;
}

/* Whether two log probabilities are the same up to rounding, of the sum of exponentials and of the result to float32.
 */
static inline bool same_logprob(float got, float want) {
	return got == want || fabsf(got - want) <= 5e-7f * fmaxf(1, fabsf(want));
}

/* Roughly normal, from integers only, so that every machine makes the same logits. */
static inline float bell(float deviation) {
	int32_t sum = 0;
	for (int i = 0; i < 12; i++) sum += below(1 << 16);
	return deviation * (float)(sum - 6 * (1 << 16)) * 0x1p-16f;
}

/* File descriptors that this process has open. */
static inline int open_files(void) {
	int n = 0;
	DIR *folder = opendir("/proc/self/fd");
	if (!folder) exit(1);
	while (readdir(folder)) n++;
	closedir(folder);
	return n;
}

#endif
