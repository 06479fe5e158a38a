/*
 * Measures how fast this machine reads memory: bandwidth GIB THREADS REPEATS. Each thread reads its own part of a
 * buffer that is much larger than the caches, on huge pages if there are any. It reads one run of addresses, then
 * eight runs at once: CPUs differ in which of the two suits their prefetchers. Prints the bytes per second of the best
 * repeat.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

enum { MAX_THREADS = 256, STREAMS = 8 };

typedef uint64_t line __attribute__((vector_size(64)));

typedef struct {
	line *data;   /* [count] */
	size_t count; /* a multiple of STREAMS */
	int streams;  /* 1 or STREAMS */
	line sum;
} part;

static void *fill(void *arg) {
	part *p = arg;
	for (size_t i = 0; i < p->count; i++) p->data[i] = (line){i, i + 1};
	return NULL;
}

static void *read_all(void *arg) {
	part *p = arg;
	line sums[STREAMS] = {0};
	size_t run = p->count / STREAMS;
	if (p->streams == 1) {
		for (size_t i = 0; i < p->count; i += STREAMS) {
#pragma GCC unroll 8
			for (int s = 0; s < STREAMS; s++) sums[s] += p->data[i + s];
		}
	} else {
		for (size_t i = 0; i < run; i++) {
#pragma GCC unroll 8
			for (int s = 0; s < STREAMS; s++) sums[s] += p->data[s * run + i];
		}
	}
	p->sum = sums[0];
	for (int s = 1; s < STREAMS; s++) p->sum += sums[s];
	return NULL;
}

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

static int on_all(void *(*work)(void *), part *parts, int threads) {
	pthread_t ids[MAX_THREADS];
	for (int i = 0; i < threads; i++) {
		if (pthread_create(&ids[i], NULL, work, &parts[i])) return 0;
	}
	for (int i = 0; i < threads; i++) pthread_join(ids[i], NULL);
	return 1;
}

int main(int argc, char **argv) {
	double gib = argc == 4 ? atof(argv[1]) : 0;
	int threads = argc == 4 ? atoi(argv[2]) : 0, repeats = argc == 4 ? atoi(argv[3]) : 0;
	if (gib <= 0 || threads < 1 || threads > MAX_THREADS || repeats < 1) {
		fprintf(stderr, "usage: bandwidth GIB THREADS REPEATS\n");
		return 2;
	}
	size_t count = (size_t)(gib * (1u << 30) / sizeof(line) / threads) / STREAMS * STREAMS;
	size_t huge = 2u << 20, bytes = (count * sizeof(line) + huge - 1) / huge * huge;
	part parts[MAX_THREADS];
	for (int i = 0; i < threads; i++) {
		parts[i] = (part){.data = aligned_alloc(huge, bytes), .count = count};
		if (!parts[i].data) {
			fprintf(stderr, "bandwidth: cannot allocate %g GiB of memory\n", gib);
			return 1;
		}
		madvise(parts[i].data, bytes, MADV_HUGEPAGE);
	}
	if (!on_all(fill, parts, threads)) return 1;
	double best = 0;
	uint64_t sum = 0;
	for (int i = 0; i < 2 * repeats; i++) {
		for (int t = 0; t < threads; t++) parts[t].streams = i % 2 ? STREAMS : 1;
		double start = now();
		if (!on_all(read_all, parts, threads)) return 1;
		double rate = (double)count * sizeof(line) * threads / (now() - start);
		if (rate > best) best = rate;
		for (int t = 0; t < threads; t++) sum += parts[t].sum[0];
	}
	/* Printing the sum keeps the compiler from removing the reads. */
	printf("%.0f %016llx\n", best, (unsigned long long)sum);
	return 0;
}
