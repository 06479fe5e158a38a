/*
 * memory.c - the memory of a CPU context: made piece by piece, emptied while it sleeps, freed all together.
 */
#define _GNU_SOURCE
#include "cpu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

fg_status cpu_keep_mapping(cpu_memory *memory, void *data, size_t bytes) {
	fg_mapping *list = realloc(memory->mappings, (size_t)(memory->n + 1) * sizeof *list);
	if (!list) {
		munmap(data, bytes);
		return fg_fail(FG_OUT_OF_MEMORY, "no memory for the list of mappings");
	}
	memory->mappings = list;
	list[memory->n++] = (fg_mapping){data, bytes};
	return FG_OK;
}

void cpu_free_memory(cpu_memory *memory) {
	for (int32_t i = 0; i < memory->n; i++) {
		cpu_unwatch_file(memory->mappings[i].data);
		munmap(memory->mappings[i].data, memory->mappings[i].bytes);
	}
	free(memory->mappings);
	*memory = (cpu_memory){0};
}

void cpu_empty(void *data, size_t bytes) {
	if (bytes) madvise(data, bytes, MADV_DONTNEED);
}

void *cpu_alloc(cpu_memory *memory, size_t bytes, const char *what) {
	if (!bytes) bytes = 1;
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED) {
		fg_fail(FG_OUT_OF_MEMORY, "no memory for %s: %.1f MiB refused: %s", what, (double)bytes / (1 << 20),
		        strerror(errno));
		return NULL;
	}
#ifdef MADV_HUGEPAGE
	if (bytes >= 8 << 20) madvise(p, bytes, MADV_HUGEPAGE); /* fewer TLB misses; it may be refused */
#endif
	return cpu_keep_mapping(memory, p, bytes) ? NULL : p;
}
