/*
 * files.c - the checkpoint's files, mapped while they are needed.
 */
#define _GNU_SOURCE
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#endif

fg_status cpu_files_open(cpu_files *files, cpu_ctx *ctx, const fg_tensor_table *table) {
	*files = (cpu_files){.ctx = ctx, .table = table};
	files->files = cpu_alloc(&ctx->weight_memory, (size_t)table->n_files * sizeof *files->files, "the list of files");
	if (!files->files) return FG_OUT_OF_MEMORY;
	for (int32_t i = 0; i < table->n_files; i++) files->files[i].fd = -1;
	return FG_OK;
}

void cpu_files_close(cpu_files *files) {
	for (int32_t i = 0; files->files && i < files->table->n_files; i++) {
		if (files->files[i].fd >= 0) close(files->files[i].fd);
	}
}

static fg_status map_file(cpu_files *files, const fg_file *file) {
	cpu_open_file *f = &files->files[file - files->table->files];
	if (f->map) return FG_OK;
	struct stat st;
	f->fd = open(file->path, O_RDONLY | O_CLOEXEC);
	if (f->fd < 0 || fstat(f->fd, &st)) return fg_fail(FG_IO, "cannot read %s: %s", file->path, strerror(errno));
	if ((uint64_t)st.st_size < file->bytes) {
		return fg_fail(FG_IO,
		               "%s has become shorter while it was being loaded; leave it alone while its weights are used",
		               file->path);
	}
	void *map = mmap(NULL, file->bytes, PROT_READ, MAP_SHARED, f->fd, 0);
	if (map == MAP_FAILED) return fg_fail(FG_IO, "cannot map %s: %s", file->path, strerror(errno));
#ifdef MADV_HUGEPAGE
	/* What is not in memory yet then arrives in large pages, if the file system has them: fewer TLB misses. */
	madvise(map, file->bytes, MADV_HUGEPAGE);
#endif
	f->map = map;
	fg_status status = cpu_keep_mapping(&files->ctx->weight_memory, map, file->bytes);
	if (!status) cpu_watch_file(file->path, map, file->bytes);
	return status;
}

fg_status cpu_files_populate(const cpu_files *files, const fg_file *file, uint64_t offset, uint64_t bytes) {
	const cpu_open_file *f = &files->files[file - files->table->files];
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), start = offset & ~(page - 1);
	if (!madvise(f->map + start, offset + bytes - start, MADV_POPULATE_READ)) return FG_OK;
	if (errno != EINVAL) return fg_fail(FG_IO, "cannot read %s: %s", file->path, strerror(errno));
	char buffer[1 << 16]; /* an older kernel: read the bytes into the page cache */
	while (bytes) {
		ssize_t n = pread(f->fd, buffer, bytes < sizeof buffer ? bytes : sizeof buffer, (off_t)offset);
		if (n < 0 && errno == EINTR) continue;
		if (n <= 0) return fg_fail(FG_IO, "cannot read %s: %s", file->path, n ? strerror(errno) : "it ends too early");
		offset += (uint64_t)n;
		bytes -= (uint64_t)n;
	}
	return FG_OK;
}

fg_status cpu_files_find(cpu_files *files, const fg_tensor *t, const fg_file *file, const char **data) {
	if (!file) {
		*data = t->data;
		return FG_OK;
	}
	fg_status status = map_file(files, file);
	if (!status) *data = files->files[file - files->table->files].map + t->offset;
	return status;
}
