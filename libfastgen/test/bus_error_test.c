/*
 * bus_error_test.c - checks that a mapped file that is cut short ends the process in words, and that other faults go to
 * whoever handled them before.
 */
#define _GNU_SOURCE
#include "../cpu/cpu.h"
#include "check.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BYTES = 1 << 20 };

static sigjmp_buf faulted;

static void jump(int number) {
	(void)number;
	siglongjmp(faulted, 1);
}

static void jump_with_info(int number, siginfo_t *info, void *context) {
	(void)info, (void)context;
	jump(number);
}

/* Who handled SIGBUS before. */
typedef enum { BY_NUMBER, WITH_INFO, NOBODY } handler;

static void handle_by(handler before) {
	struct sigaction action = {0};
	if (before == BY_NUMBER) action.sa_handler = jump;
	if (before == NOBODY) action.sa_handler = SIG_DFL;
	if (before == WITH_INFO) action.sa_sigaction = jump_with_info, action.sa_flags = SA_SIGINFO;
	sigaction(SIGBUS, &action, NULL);
}

/* A new file of BYTES, mapped. */
static volatile char *map_file(const char *path, int *fd) {
	*fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (*fd < 0 || ftruncate(*fd, BYTES)) abort();
	void *map = mmap(NULL, BYTES, PROT_READ, MAP_SHARED, *fd, 0);
	if (map == MAP_FAILED) abort();
	return map;
}

/* Two files are watched in a child, which stops to watch file `unwatched` (-1 = none) and reads what is gone of file
 * `broken`. Returns the child's status, and what it wrote to stderr. */
static int read_missing(handler before, int unwatched, int broken, char *text, size_t size) {
	static const char *names[] = {"the/one.safetensors", "the/two.safetensors"};
	char paths[2][64];
	for (int i = 0; i < 2; i++) snprintf(paths[i], sizeof paths[i], "/tmp/fastgen-bus-error-%d-%d", (int)getpid(), i);
	int ends[2];
	if (pipe(ends)) abort();
	pid_t child = fork();
	if (child < 0) abort();
	if (!child) {
		handle_by(before);
		dup2(ends[1], STDERR_FILENO);
		int fds[2];
		volatile char *maps[2];
		for (int i = 0; i < 2; i++) {
			maps[i] = map_file(paths[i], &fds[i]);
			cpu_watch_file(names[i], (const void *)maps[i], BYTES);
		}
		if (unwatched >= 0) cpu_unwatch_file((const void *)maps[unwatched]);
		if (ftruncate(fds[broken], 0)) _exit(3);
		if (sigsetjmp(faulted, 1)) _exit(2);
		_exit(maps[broken][BYTES - 1]);
	}
	close(ends[1]);
	size_t n = 0;
	for (ssize_t got; n + 1 < size && (got = read(ends[0], text + n, size - 1 - n)) > 0;) n += (size_t)got;
	text[n] = 0;
	close(ends[0]);
	int status;
	waitpid(child, &status, 0);
	for (int i = 0; i < 2; i++) unlink(paths[i]);
	return status;
}

static void test_watched(int unwatched, int broken, const char *expected) {
	char text[1024];
	int status = read_missing(BY_NUMBER, unwatched, broken, text, sizeof text);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 1, "status %x", status);
	CHECK(strstr(text, expected), "it says '%s'", text);
}

static void test_others(void) {
	char text[1024];
	for (int before = BY_NUMBER; before <= WITH_INFO; before++) {
		int status = read_missing((handler)before, 0, 0, text, sizeof text);
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 2, "the handler before is called; status %x", status);
		CHECK(!text[0], "it says '%s'", text);
	}
	int status = read_missing(NOBODY, 0, 0, text, sizeof text);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS, "without a handler the process ends; status %x", status);
}

int main(void) {
	test_watched(-1, 0, "error: the/one.safetensors has become shorter");
	test_watched(-1, 1, "error: the/two.safetensors has become shorter");
	/* That one file is closed does not end the watch over the other. */
	test_watched(1, 0, "error: the/one.safetensors has become shorter");
	test_watched(0, 1, "error: the/two.safetensors has become shorter");
	test_others();
	return report("bus_error_test");
}
