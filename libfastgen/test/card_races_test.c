/*
 * card_races_test.c - threads of the CUDA library, on cards that exist on paper (card.h), for the thread sanitizer to
 * watch: ranks, readers of files, threads that fill masks and pin host memory, two engines at once, and fg_progress
 * from a thread of its own.
 *
 *   card_races_test FILE...    what the compiler said of each object (*.ptxas)
 */
#include "card.h"
#include "model.h"
#include "trace_file.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

static const card h100 = {"H100", 90, 227, 228, 132};

enum { ENGINES = 2, MOST_RANKS = 2, STEPS = 20 };

static model m;
static fg_tensor in_file[MAX_TENSORS];
static const int32_t devices[4] = {0, 1, 2, 3};

/* An engine, the thread that calls it, and one that asks how far it is. */
typedef struct {
	fg_engine *e;
	int number, n_ranks;
	pthread_t caller, asker;
	atomic_int stop;
	int32_t host_pages; /* that the asker saw last */
	long torn;
	uint64_t next_step;
	int copies; /* that steps came with */
	step_builder b;
	outcome *o;
	char path[64];
} user;

static void *ask(void *argument) {
	user *u = argument;
	while (!atomic_load(&u->stop)) {
		fg_load_progress p;
		MUST(fg_progress(u->e, &p));
		u->torn += p.done > p.total || (p.finished && p.done != p.total) || p.n_host_pages < u->host_pages;
		u->host_pages = p.n_host_pages;
		sched_yield();
	}
	return NULL;
}

static int32_t fill(void *source, uint32_t *mask, size_t bytes) {
	(void)source;
	memset(mask, 0xff, bytes);
	return 0;
}

static void submit(user *u, int first) {
	static const int32_t token = 3;
	static const uint32_t words[2] = {~0u, ~0u};
	static const fg_page_copy copies[2] = {{3, 0, FG_TO_HOST}, {4, 0, FG_TO_DEVICE_BESIDE}};
	fg_load_progress p;
	begin_step(&u->b);
	for (int slot = 0; slot < 2; slot++) {
		if (first) fill_slot(&u->b, slot, GREEDY), map_pages(&u->b, slot, 0, 1, slot, 1);
		add_seq(&u->b, slot, &token, 1, 1, FG_SAMPLE)->mask = slot;
	}
	u->b.step.n_late_masks = 2;
	MUST(fg_progress(u->e, &p));
	if (p.n_host_pages > 0) u->copies += u->b.step.n_copies = 2, u->b.step.copies = copies;
	MUST(fg_submit(u->e, &u->b.step));
	MUST(fg_mask(u->e, u->next_step, 0, fill, NULL, NULL));
	MUST(fg_mask(u->e, u->next_step++, 1, NULL, NULL, (void *)words));
}

/* Two steps in flight at a time. */
static void run_steps(user *u) {
	submit(u, 1);
	for (int i = 1; i < STEPS; i++) {
		submit(u, 0);
		MUST(wait_for(u->e, u->o));
	}
	MUST(wait_for(u->e, u->o));
}

static void *live(void *argument) {
	user *u = argument;
	fg_capacity capacity;
	run_steps(u);
	for (int round = 0; round < 40; round++) {
		MUST(fg_trace_start(u->e, u->number, 0));
		submit(u, 0);
		submit(u, 0);
		MUST(wait_for(u->e, u->o));
		MUST(fg_trace_stop(u->e, u->path)); /* with a step in flight */
		MUST(wait_for(u->e, u->o));
		/* Whatever the other engine's trace does meanwhile, this one holds its steps. */
		CHECK(count_lines(u->path, "\"name\":\"step\",\"ph\":\"X\"") == 2 * u->n_ranks, "engine %d, round %d: %d steps",
		      u->number, round, count_lines(u->path, "\"name\":\"step\",\"ph\":\"X\""));
	}
	for (int32_t level = 1; level <= 2; level++) {
		MUST(fg_sleep(u->e, level));
		MUST(fg_wake(u->e, FG_WAKE_WEIGHTS | FG_WAKE_KV_CACHE));
	}
	MUST(fg_load(u->e, in_file, m.n_tensors));
	MUST(fg_ready(u->e, &capacity));
	fg_load_progress p = {0};
	while (p.n_host_pages == 0) MUST(fg_progress(u->e, &p)); /* so that some steps come with copies */
	run_steps(u);
	return NULL;
}

static void run_engines(int n_ranks) {
	static user users[ENGINES];
	for (int i = 0; i < ENGINES; i++) {
		user *u = &users[i];
		fg_options options = test_options();
		fg_capacity capacity;
		memset(u, 0, sizeof *u);
		u->number = i, u->n_ranks = n_ranks, u->o = new_outcome(&m, 2);
		snprintf(u->path, sizeof u->path, "/tmp/fastgen-card-races-%d-%d", (int)getpid(), i);
		options.devices = devices + i * MOST_RANKS, options.n_devices = n_ranks, options.compute_dtype = FG_BF16;
		options.kv_dtype = FG_BF16, options.host_kv_bytes = 64 << 20, options.max_seqs = 2;
		options.max_step_tokens = 16; /* fewer products to tune */
		MUST(fg_open(&m.shape, &options, &u->e));
		if (pthread_create(&u->asker, NULL, ask, u)) exit(1);
		MUST(fg_load(u->e, in_file, m.n_tensors));
		MUST(fg_ready(u->e, &capacity));
	}
	for (int i = 0; i < ENGINES; i++)
		if (pthread_create(&users[i].caller, NULL, live, &users[i])) exit(1);
	for (int i = 0; i < ENGINES; i++) {
		user *u = &users[i];
		pthread_join(u->caller, NULL);
		atomic_store(&u->stop, 1);
		pthread_join(u->asker, NULL);
		CHECK(u->torn == 0 && u->copies > 0, "%ld torn, %d copies", u->torn, u->copies);
		submit(u, 0);
		fg_close(u->e);
		free_outcome(u->o);
		unlink(u->path);
	}
}

int main(int argc, char **argv) {
	char file[64];
	for (int i = 1; i < argc; i++) card_read_compiler(argv[i]);
	setenv("XDG_CACHE_HOME", "", 1), unsetenv("HOME"); /* no choices from an earlier run */
	make_model(&m, small_shape(), 0, FG_BF16, 3);
	snprintf(file, sizeof file, "/tmp/fastgen-card-races-%d", (int)getpid());
	write_tensors(&m, file, in_file);
	card_insert(&h100);
	card_cupti = 1;
	for (int n_ranks = 1; n_ranks <= MOST_RANKS; n_ranks++) run_engines(n_ranks);
	unlink(file);
	free_model(&m);
	return report("card_races_test");
}
