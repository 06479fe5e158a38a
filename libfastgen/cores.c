/* See cores.h. */
#define _GNU_SOURCE
#include "cores.h"

#include <sched.h>
#include <unistd.h>

int32_t fg_cores(void) {
#ifdef __linux__
	cpu_set_t set;
	if (!sched_getaffinity(0, sizeof set, &set)) return CPU_COUNT(&set);
#endif
	long n = sysconf(_SC_NPROCESSORS_ONLN);
	return n < 1 ? 1 : (int32_t)n;
}
