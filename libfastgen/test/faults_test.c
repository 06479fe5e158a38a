/*
 * faults_test.c - the system refuses memory, a thread, a lock or a file, at each place in turn where the library asks
 * for one: the call says so, has changed nothing, and succeeds when it is made again; steps compute the same, and
 * nothing leaks (under the address sanitizer). Linked with the functions below in place of the system's.
 */
#include "model.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the system ---- */

static atomic_int left;           /* requests until one is refused; 0 = none is */
static const char *_Atomic asked; /* what was refused last; NULL: nothing since left was set */

static int refused(const char *what) {
	int n = atomic_load(&left);
	while (n > 0 && !atomic_compare_exchange_weak(&left, &n, n - 1)) continue;
	if (n != 1) return 0;
	atomic_store(&asked, what);
	errno = ENOMEM;
	return 1;
}

#define STAND_IN(type, name, parameters, arguments, refusal)                                                           \
	type __real_##name parameters;                                                                                     \
	type __wrap_##name parameters;                                                                                     \
	type __wrap_##name parameters {                                                                                    \
		return refused(#name) ? refusal : __real_##name arguments;                                                     \
	}

STAND_IN(void *, malloc, (size_t n), (n), NULL)
STAND_IN(void *, calloc, (size_t n, size_t size), (n, size), NULL)
STAND_IN(void *, realloc, (void *p, size_t n), (p, n), NULL)
STAND_IN(void *, aligned_alloc, (size_t align, size_t n), (align, n), NULL)
STAND_IN(char *, strdup, (const char *s), (s), NULL)
STAND_IN(void *, mmap, (void *at, size_t n, int protection, int flags, int fd, off_t offset),
         (at, n, protection, flags, fd, offset), MAP_FAILED)
STAND_IN(int, madvise, (void *at, size_t n, int advice), (at, n, advice), -1)
STAND_IN(int, stat, (const char *restrict path, struct stat *restrict s), (path, s), -1)
STAND_IN(int, fstat, (int fd, struct stat *s), (fd, s), -1)
STAND_IN(FILE *, fopen, (const char *restrict path, const char *restrict mode), (path, mode), NULL)
STAND_IN(int, fclose, (FILE * file), (file), (__real_fclose(file), EOF))
STAND_IN(int, pthread_create,
         (pthread_t *restrict t, const pthread_attr_t *restrict a, void *(*run)(void *), void *restrict argument),
         (t, a, run, argument), EAGAIN)
STAND_IN(int, pthread_mutex_init, (pthread_mutex_t * m, const pthread_mutexattr_t *a), (m, a), EAGAIN)
STAND_IN(int, pthread_cond_init, (pthread_cond_t *restrict c, const pthread_condattr_t *restrict a), (c, a), EAGAIN)

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...) {
	return refused("open") ? -1 : __real_open(path, flags);
}

/* ---- a life ---- */

static model m;
static fg_tensor in_file[MAX_TENSORS];
static char file[64], trace[80];
static step_builder b;
static outcome *o;
static int n_failed_calls;
static float expected[2][SMALL_VOCAB]; /* logits, after the first load and after the second */
static int knows;                      /* what is expected */
static uint64_t next_step;

/* Whether the call succeeded. Where it did not, something must have been refused, and the message says what. */
static int good(fg_status status, const char *what) {
	if (!status) return 1;
	n_failed_calls++;
	const char *refusal = atomic_load(&asked);
	CHECK(refusal && (status == FG_OUT_OF_MEMORY || status == FG_IO) && *fg_error(), "%s: status %d after %s: %s", what,
	      (int)status, refusal ? refusal : "nothing", fg_error());
	return 0;
}

/* Makes the call, and once more if it failed. */
#define TWICE(call)                                                                                                    \
	do {                                                                                                               \
		if (!good(call, #call)) MUST(call);                                                                            \
	} while (0)

/* An engine that is ready; one that did not become ready is closed, and another opened. */
static fg_engine *begin(void) {
	fg_options options = test_options();
	options.kv_bytes = 2 << 20, options.host_kv_bytes = 1 << 20, options.max_step_tokens = 64;
	options.n_threads = 3, options.mask_threads = 2; /* so that some can be had before one is refused */
	fg_capacity capacity;
	for (int attempt = 0; attempt < 2; attempt++) {
		fg_engine *e = (fg_engine *)&m;
		if (!good(fg_open(&m.shape, &options, &e), "fg_open")) {
			CHECK(!e, "an engine that did not open");
			continue;
		}
		next_step = 0;
		TWICE(fg_load(e, in_file, m.n_tensors));
		if (good(fg_ready(e, &capacity), "fg_ready")) return e;
		fg_close(e);
	}
	printf("no engine: %s\n", fg_error());
	exit(1);
}

static int32_t fill(void *source, uint32_t *mask, size_t bytes) {
	(void)source;
	memset(mask, 0xff, bytes);
	return 0;
}

/* A prompt with all that a step may bring, whose logits must be those of `which` load. */
static void run_prompt(fg_engine *e, int which) {
	static const int32_t tokens[6] = {1, 2, 3, 4, 5, 6}, ids[2] = {7, 8};
	static const float bias[2] = {1, -1};
	static const uint32_t mask[2] = {~0u, ~0u};
	static const fg_page_copy copies[2] = {{0, 1, FG_TO_HOST}, {2, 1, FG_TO_DEVICE}};
	fg_sampling sampling = GREEDY;
	sampling.repetition_penalty = 1.1f, sampling.history = tokens, sampling.n_prompt = 6;
	sampling.stop_ids = ids, sampling.bias_ids = ids, sampling.bias = bias, sampling.n_stop_ids = sampling.n_bias = 2;
	begin_step(&b);
	for (int slot = 0; slot < 2; slot++) {
		fill_slot(&b, slot, sampling);
		map_pages(&b, slot, 0, 1, slot, 1);
		fg_step_seq *q = add_seq(&b, slot, tokens, 6, 6, FG_SAMPLE | FG_LOGITS);
		q->n_logprobs = 2, q->mask = slot;
	}
	b.step.masks = mask, b.step.n_masks = b.step.n_late_masks = 1;
	b.step.copies = copies, b.step.n_copies = 2;
	TWICE(fg_submit(e, &b.step));
	MUST(fg_mask(e, next_step++, 1, fill, NULL, NULL));
	MUST(wait_for(e, o));
	if (!knows) memcpy(expected[which], o->logits, sizeof *expected);
	CHECK(!memcmp(o->logits, expected[which], sizeof *expected), "other logits after load %d, where %s was refused",
	      which, atomic_load(&asked) ? atomic_load(&asked) : "nothing");
}

/* The n-th request is refused. Returns whether there were as many. */
static int live(int n) {
	fg_capacity capacity;
	fg_device_info info;
	atomic_store(&asked, NULL);
	atomic_store(&left, n);
	MUST(fg_device(0, &info)); /* what it cannot read it leaves out */
	fg_engine *e = begin();
	run_prompt(e, 0);
	const fg_page_copy copy = {0, 0, FG_TO_HOST};
	TWICE(fg_copy(e, &copy, 1));
	TWICE(fg_trace_start(e, 0, 0));
	run_prompt(e, 0);
	if (!good(fg_trace_stop(e, trace), "fg_trace_stop")) {
		/* Where the file could not be opened, the trace goes on. */
		fg_status again = fg_trace_stop(e, trace);
		CHECK(!again || (again == FG_INVALID && strstr(fg_error(), "no trace")), "%s", fg_error());
	}
	TWICE(fg_sleep(e, 2));
	TWICE(fg_wake(e, FG_WAKE_WEIGHTS | FG_WAKE_KV_CACHE));
	TWICE(fg_load_random(e, 5));
	if (!good(fg_ready(e, &capacity), "fg_ready")) {
		REFUSED(FG_INVALID, "incomplete", fg_submit(e, &b.step));
		MUST(fg_load_random(e, 5));
		MUST(fg_ready(e, &capacity));
	}
	run_prompt(e, 1);
	fg_close(e);
	return atomic_exchange(&left, 0) == 0 && atomic_load(&asked);
}

int main(void) {
	make_model(&m, small_shape(), 0, FG_F32, 3);
	snprintf(file, sizeof file, "/tmp/fastgen-faults-test-%d", (int)getpid());
	snprintf(trace, sizeof trace, "%s.json", file);
	write_tensors(&m, file, in_file);
	o = new_outcome(&m, 2);
	live(0);
	knows = 1;
	const int files = open_files();
	int n = 1;
	while (live(n)) n++;
	CHECK(n > 100 && n_failed_calls > 80, "%d requests, of which %d were missed", n - 1, n_failed_calls);
	CHECK(open_files() == files, "%d files are open, not %d", open_files(), files);
	unlink(file), unlink(trace);
	free_outcome(o), free_model(&m);
	return report("faults_test");
}
