/*
 * isa.c - the kernels for the instruction sets of this CPU: those that it has, and the one that is used.
 */
#include "../error.h"
#include "kernels.h"

#include <stdlib.h>
#include <string.h>

extern const fg_kernels fg_kernels_scalar;
#if defined(__x86_64__)
extern const fg_kernels fg_kernels_avx2, fg_kernels_avx512, fg_kernels_avx512bf16;
#endif

static const struct {
	const char *name;
	const fg_kernels *kernels;
} built[] = {
	{"scalar", &fg_kernels_scalar},
#if defined(__x86_64__)
	{"avx2", &fg_kernels_avx2},
	{"avx512", &fg_kernels_avx512},
	{"avx512bf16", &fg_kernels_avx512bf16},
#endif
};

enum { N_BUILT = sizeof built / sizeof *built };

/* Whether this CPU (and its operating system) has instruction set i of `built`. */
static int has(int i) {
#if defined(__x86_64__)
	__builtin_cpu_init();
	int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
	int avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
	int bf16 = avx512 && __builtin_cpu_supports("avx512bf16");
	return i == 0 || (i == 1 && avx2) || (i == 2 && avx512) || (i == 3 && bf16);
#else
	return i == 0;
#endif
}

int32_t fg_kernels_all(const fg_kernels *list[4]) {
	int32_t n = 0;
	for (int i = 0; i < N_BUILT; i++) {
		if (has(i)) list[n++] = built[i].kernels;
	}
	return n;
}

const fg_kernels *fg_kernels_choose(void) {
	const char *wanted = getenv("FASTGEN_CPU_ISA");
	if (!wanted || !*wanted) {
		const fg_kernels *list[4];
		return list[fg_kernels_all(list) - 1];
	}
	for (int i = 0; i < N_BUILT; i++) {
		if (strcmp(built[i].name, wanted)) continue;
		if (has(i)) return built[i].kernels;
		fg_fail(FG_INVALID, "FASTGEN_CPU_ISA is %s, which this CPU does not have; unset it to use the best it has",
		        wanted);
		return NULL;
	}
	fg_fail(FG_INVALID, "FASTGEN_CPU_ISA is %s; it must be scalar, avx2, avx512 or avx512bf16, or unset", wanted);
	return NULL;
}
