/*
 * engine_trace.c - fg_trace_start and fg_trace_stop. trace.c keeps what is recorded, trace_write.c writes it.
 */
#include "engine_state.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void drop_trace(fg_engine *e) {
	for (int32_t r = 0; r < e->n_started; r++) {
		rank_state *rank = &e->ranks[r];
		fg_trace_free(rank->trace);
		rank->trace = NULL;
		rank->watched = 0;
		if (e->ops->forget_trace) e->ops->forget_trace(rank->ctx);
	}
}

/* Has all devices tell what they run, or none: ranks must run a step alike. */
static void watch(fg_engine *e, size_t limit) {
	fg_status status = FG_OK;
	*e->unwatched = 0;
	for (int32_t r = 0; r < e->n_started && !status && e->ops->watch; r++) {
		status = e->ops->watch(e->ranks[r].ctx, limit);
		e->ranks[r].watched = !status;
	}
	if (!status) return;
	snprintf(e->unwatched, sizeof e->unwatched, "%s", fg_error());
	for (int32_t r = 0; r < e->n_started; r++) {
		if (e->ranks[r].watched) e->ops->watched(e->ranks[r].ctx);
		e->ops->forget_trace(e->ranks[r].ctx);
		e->ranks[r].watched = 0;
	}
}

FG_API fg_status fg_trace_start(fg_engine *e, int32_t process, int32_t n_steps) {
	if (!e) return fg_fail(FG_INVALID, "engine is NULL");
	if (n_steps < 0) return fg_fail(FG_INVALID, "n_steps is %d; it must be 0 (no end) or more", n_steps);
	if (e->tracing) return fg_fail(FG_INVALID, "a trace is running; stop it first");
	const size_t limit = FG_TRACE_EVENTS / (size_t)e->n_started;
	for (int32_t r = 0; r < e->n_started; r++) {
		e->ranks[r].trace = fg_trace_new(limit);
		if (e->ranks[r].trace) continue;
		drop_trace(e);
		return fg_fail(FG_OUT_OF_MEMORY, "no memory for a trace");
	}
	watch(e, limit);
	e->trace_process = process;
	e->trace_left = n_steps ? n_steps : -1;
	e->tracing = 1;
	return FG_OK;
}

FG_API fg_status fg_trace_stop(fg_engine *e, const char *path) {
	if (!e || !path) return fg_fail(FG_INVALID, "engine or path is NULL");
	if (!e->tracing) return fg_fail(FG_INVALID, "no trace is running; start one first");
	FILE *file = fopen(path, "w");
	if (!file) return fg_fail(FG_IO, "cannot write %s: %s", path, strerror(errno));
	fg_queue_drain(&e->queue);
	for (int32_t r = 0; r < e->n_started && e->ops->settle; r++) e->ops->settle(e->ranks[r].ctx);
	fg_trace_file to = {.file = file, .process = e->trace_process};
	fputs("{\"traceEvents\":[\n", file);
	for (int32_t r = 0; r < e->n_started; r++) {
		const rank_state *rank = &e->ranks[r];
		fg_activities device = {0};
		if (rank->watched) device = e->ops->watched(rank->ctx);
		fg_trace_write(rank->trace, e->ops, rank->ctx, rank->watched ? &device : NULL,
		               *e->unwatched ? e->unwatched : NULL, &to);
	}
	fputs("\n]}\n", file);
	drop_trace(e);
	e->tracing = 0;
	int bad = ferror(file);
	if (fclose(file) || bad) return fg_fail(FG_IO, "cannot write %s: %s", path, strerror(errno));
	return FG_OK;
}
