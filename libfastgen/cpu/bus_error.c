/* Weights are read where their file is mapped. When the file is cut short meanwhile, the next read of what is gone
 * raises SIGBUS. The handler here tells that in words and ends the process; any other SIGBUS goes to whoever handled it
 * before. */
#define _GNU_SOURCE
#include "cpu.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Files that are watched at most: more shards than any model has. Others end as they would without the handler. */
enum { MAX_FILES = 1024 };

/* The handler reads these without a lock: a slot counts while its start is not 0. */
static struct {
	_Atomic uintptr_t start;
	size_t bytes;
	char path[256]; /* cut where it is longer */
} files[MAX_FILES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction before;
static int installed;

static void say(const char *text) {
	ssize_t n = write(STDERR_FILENO, text, strlen(text));
	(void)n; /* nobody is left to tell */
}

/* Only what is safe in a signal handler. */
static void handle(int number, siginfo_t *info, void *context) {
	uintptr_t at = (uintptr_t)info->si_addr;
	for (int i = 0; i < MAX_FILES; i++) {
		uintptr_t start = atomic_load(&files[i].start);
		if (!start || at < start || at - start >= files[i].bytes) continue;
		say("error: ");
		say(files[i].path);
		say(" has become shorter while it was served: replace a model's files by renaming new ones into their place\n");
		_exit(1);
	}
	if (before.sa_flags & SA_SIGINFO) before.sa_sigaction(number, info, context);
	else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) before.sa_handler(number);
	else signal(number, SIG_DFL); /* the read is tried again, and ends the process */
}

static void install(void) {
	struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	sigemptyset(&action.sa_mask);
	sigaction(SIGBUS, NULL, &before); /* first: the handler may be called before sigaction has returned */
	installed = !sigaction(SIGBUS, &action, NULL);
}

void cpu_watch_file(const char *path, const void *start, size_t bytes) {
	pthread_mutex_lock(&lock);
	if (!installed) install();
	for (int i = 0; i < MAX_FILES; i++) {
		if (atomic_load(&files[i].start)) continue;
		files[i].bytes = bytes;
		strncpy(files[i].path, path, sizeof files[i].path - 1);
		atomic_store(&files[i].start, (uintptr_t)start);
		break;
	}
	pthread_mutex_unlock(&lock);
}

void cpu_unwatch_file(const void *start) {
	pthread_mutex_lock(&lock);
	for (int i = 0; i < MAX_FILES; i++) {
		if (atomic_load(&files[i].start) == (uintptr_t)start) atomic_store(&files[i].start, 0);
	}
	pthread_mutex_unlock(&lock);
}
