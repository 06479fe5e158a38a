/*
 * files.h - the checkpoint's files while weights are loaded.
 */
#ifndef FG_CPU_FILES_H
#define FG_CPU_FILES_H

#include "cpu.h"

typedef struct {
	int fd;
	char *map; /* the whole file, which stays as long as the weights; NULL until it is needed */
} cpu_open_file;

typedef struct {
	cpu_ctx *ctx;
	const fg_tensor_table *table;
	cpu_open_file *files; /* [table->n_files] */
} cpu_files;

fg_status cpu_files_open(cpu_files *files, cpu_ctx *ctx, const fg_tensor_table *table);
/* Closes the descriptors; what is mapped stays. Also after cpu_files_open has failed. */
void cpu_files_close(cpu_files *files);

/* Finds a tensor's bytes: `file` is mapped, or NULL for a tensor in memory. */
fg_status cpu_files_find(cpu_files *files, const fg_tensor *t, const fg_file *file, const char **data);

/* Brings bytes of a mapped file into memory, so that no step waits for the disk and an unreadable file is an error here
 * instead of a signal later. */
fg_status cpu_files_populate(const cpu_files *files, const fg_file *file, uint64_t offset, uint64_t bytes);

#endif
