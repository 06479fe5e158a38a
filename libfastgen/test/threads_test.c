/*
 * threads_test.c - checks that the pool runs every item once, whatever the loops' sizes and the gaps between them.
 */
#include "../cores.h"
#include "../cpu/threads.h"
#include "check.h"

#include <dirent.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { MAX_ITEMS = 1000 };

typedef struct {
	atomic_int ran[MAX_ITEMS];
	atomic_int bad_thread;
	int32_t n_threads, work;
} loop;

static void item(void *argument, int32_t i, int32_t thread) {
	loop *l = argument;
	if (thread < 0 || thread >= l->n_threads) atomic_store(&l->bad_thread, 1);
	for (volatile int32_t w = 0; w < l->work; w++) continue;
	atomic_fetch_add(&l->ran[i], 1);
}

enum { MAX_THREADS = 8 };

typedef struct {
	atomic_int busy[MAX_THREADS], shared;
} owners;

/* A thread's number is its own while its item runs: scratch is handed out by it. */
static void own(void *argument, int32_t i, int32_t thread) {
	owners *o = argument;
	(void)i;
	if (atomic_exchange(&o->busy[thread], 1)) atomic_store(&o->shared, 1);
	for (volatile int w = 0; w < 20000; w++) continue;
	atomic_store(&o->busy[thread], 0);
}

static void count(void *argument, int32_t i, int32_t thread) {
	(void)thread;
	if (i < 0 || i >= MAX_ITEMS) abort();
	atomic_fetch_add((atomic_long *)argument, 1);
}

/* Loops that do nothing, one right after the other and of varying size: workers are late to most of them. */
static void check_late_workers(int32_t n_threads) {
	fg_pool *pool;
	if (fg_pool_new(n_threads, &pool)) abort();
	atomic_long ran = 0;
	long expected = 0;
	for (int round = 0; round < 400000; round++) {
		int32_t n = round % 2 ? 2 : 3 + round % 7;
		fg_parallel(pool, n, count, &ran);
		expected += n;
	}
	CHECK(atomic_load(&ran) == expected, "%d threads: %ld items of %ld", n_threads, atomic_load(&ran), expected);
	fg_pool_free(pool);
}

/* How many threads of this process, the caller's aside, do not sleep. */
static int awake(void) {
	int n = 0;
	DIR *folder = opendir("/proc/self/task");
	if (!folder) abort();
	for (struct dirent *entry; (entry = readdir(folder));) {
		int id = atoi(entry->d_name);
		char path[64], state = 0;
		if (id == 0 || id == (int)getpid()) continue;
		snprintf(path, sizeof path, "/proc/self/task/%d/stat", id);
		FILE *file = fopen(path, "r");
		if (!file) continue; /* it has ended */
		n += fscanf(file, "%*d (%*[^)]) %c", &state) == 1 && state != 'S';
		fclose(file);
	}
	closedir(folder);
	return n;
}

/* Waits until all workers sleep, as they do when they are idle. It takes microseconds; the bound is only there so that
 * a failure ends. */
static bool fall_asleep(void) {
	for (int i = 0; i < 60000; i++) {
		if (awake() == 0) return true;
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	return false;
}

int main(void) {
	for (int32_t n_threads = 1; n_threads <= 5; n_threads++) {
		fg_pool *pool;
		if (fg_pool_new(n_threads, &pool)) return 1;
		CHECK(fg_pool_threads(pool) == n_threads, "%d threads", fg_pool_threads(pool));
		long wrong = 0;
		for (int round = 0; round < 3000; round++) {
			static loop l;
			int32_t n = round % 50 ? below(9) : below(MAX_ITEMS);
			memset(&l, 0, sizeof l);
			l.n_threads = n_threads;
			l.work = below(2000);
			fg_parallel(pool, n, item, &l);
			for (int32_t i = 0; i < MAX_ITEMS; i++) wrong += atomic_load(&l.ran[i]) != (i < n);
			wrong += atomic_load(&l.bad_thread);
			if (round % 100 == 0 && !fall_asleep()) wrong++; /* workers must not use the processor, and wake up again */
		}
		CHECK(wrong == 0, "%d threads: %ld items", n_threads, wrong);
		fg_pool_free(pool);
	}
	for (int32_t n_threads = 2; n_threads <= MAX_THREADS; n_threads++) {
		static owners o;
		fg_pool *pool;
		if (fg_pool_new(n_threads, &pool)) return 1;
		for (int round = 0; round < 20; round++) fg_parallel(pool, 50, own, &o);
		CHECK(!atomic_load(&o.shared), "%d threads: two items at once have one number", n_threads);
		fg_pool_free(pool);
	}
	check_late_workers(2);
	check_late_workers(4);
	fg_pool_free(NULL);
	CHECK(fg_cores() >= 1, "%d cores", fg_cores());
	/* idle threads sleep until there is a loop, also those that never had one */
	fg_pool *pool;
	if (fg_pool_new(4, &pool)) return 1;
	CHECK(fall_asleep(), "idle threads do not sleep");
	fg_pool_free(pool);
	return report("threads_test");
}
