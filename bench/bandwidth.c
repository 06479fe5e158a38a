/*
 * Measures how fast this machine reads memory: bandwidth GIB THREADS REPEATS. Each thread reads its own part of a buffer
 * much larger than the caches, as one run of addresses and as eight at once (which suits the prefetchers differs from CPU
 * to CPU). Prints the best repeat's bytes per second.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef struct {
	uint64_t *data; /* [count], 64-byte aligned */
	size_t count;   /* a multiple of 64 */
	int streams;    /* 1 or 8 */
	uint64_t sum;
} part;

static void *fill(void *arg)
{
	part *p = arg;
	for (size_t i = 0; i < p->count; i++) p->data[i] = i * 0x9e3779b97f4a7c15u;
	return NULL;
}

static void *read_all(void *arg)
{
	part *p = arg;
	uint64_t lanes[64] = {0};
	if (p->streams == 1) {
		for (size_t i = 0; i < p->count; i += 64)
			for (int j = 0; j < 64; j++) lanes[j] ^= p->data[i + j];
	} else {
		size_t run = p->count / 8;
		for (size_t i = 0; i < run; i += 8)
			for (int s = 0; s < 8; s++)
				for (int j = 0; j < 8; j++) lanes[s * 8 + j] ^= p->data[s * run + i + j];
	}
	p->sum = 0;
	for (int j = 0; j < 64; j++) p->sum ^= lanes[j];
	return NULL;
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

static int on_all(void *(*work)(void *), part *parts, int threads)
{
	pthread_t ids[256];
	for (int i = 0; i < threads; i++)
		if (pthread_create(&ids[i], NULL, work, &parts[i])) return 0;
	for (int i = 0; i < threads; i++) pthread_join(ids[i], NULL);
	return 1;
}

int main(int argc, char **argv)
{
	double gib = argc > 3 ? atof(argv[1]) : 0;
	int threads = argc > 3 ? atoi(argv[2]) : 0, repeats = argc > 3 ? atoi(argv[3]) : 0;
	if (gib <= 0 || threads < 1 || threads > 256 || repeats < 1) {
		fprintf(stderr, "usage: bandwidth GIB THREADS REPEATS\n");
		return 2;
	}
	size_t count = (size_t)(gib * (1u << 30) / 8 / threads) / 64 * 64;
	part parts[256];
	for (int i = 0; i < threads; i++) {
		parts[i] = (part){.data = aligned_alloc(64, count * 8), .count = count};
		if (!parts[i].data) {
			fprintf(stderr, "bandwidth: no %g GiB of memory\n", gib);
			return 1;
		}
	}
	if (!on_all(fill, parts, threads)) return 1;
	double best = 0;
	uint64_t sum = 0;
	for (int i = 0; i < 2 * repeats; i++) {
		for (int t = 0; t < threads; t++) parts[t].streams = i % 2 ? 8 : 1;
		double start = now();
		if (!on_all(read_all, parts, threads)) return 1;
		double rate = (double)count * 8 * threads / (now() - start);
		if (rate > best) best = rate;
		for (int t = 0; t < threads; t++) sum += parts[t].sum;
	}
	/* The sum is printed so that the reads cannot be left out. */
	printf("%.0f %016llx\n", best, (unsigned long long)sum);
	return 0;
}
