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

/* A new file of BYTES, mapped. */
static volatile char *map_file(const char *path, int *fd) {
	*fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (*fd < 0 || ftruncate(*fd, BYTES)) abort();
	void *map = mmap(NULL, BYTES, PROT_READ, MAP_SHARED, *fd, 0);
	if (map == MAP_FAILED) abort();
	return map;
}

/* Reads what is gone of a file in a child, which watches it or has stopped to. Returns the child's status, and what it
 * wrote to stderr. */
static int read_missing(bool watched, char *text, size_t size) {
	char path[64];
	snprintf(path, sizeof path, "/tmp/fastgen-bus-error-%d", (int)getpid());
	int fd, ends[2];
	if (pipe(ends)) abort();
	pid_t child = fork();
	if (child < 0) abort();
	if (!child) {
		signal(SIGBUS, jump);
		dup2(ends[1], STDERR_FILENO);
		volatile char *map = map_file(path, &fd);
		cpu_watch_file("the/model.safetensors", (const void *)map, BYTES);
		if (!watched) cpu_unwatch_file((const void *)map);
		if (ftruncate(fd, 0)) _exit(3);
		if (sigsetjmp(faulted, 1)) _exit(2);
		_exit(map[BYTES - 1]);
	}
	close(ends[1]);
	size_t n = 0;
	for (ssize_t got; n + 1 < size && (got = read(ends[0], text + n, size - 1 - n)) > 0;) n += (size_t)got;
	text[n] = 0;
	close(ends[0]);
	int status;
	waitpid(child, &status, 0);
	unlink(path);
	return status;
}

int main(void) {
	char text[1024];
	int status = read_missing(true, text, sizeof text);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 1, "status %x", status);
	CHECK(strstr(text, "error: the/model.safetensors has become shorter"), "it says '%s'", text);

	status = read_missing(false, text, sizeof text);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 2, "the handler before is called; status %x", status);
	CHECK(!text[0], "it says '%s'", text);
	return report("bus_error_test");
}
