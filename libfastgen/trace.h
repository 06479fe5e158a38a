/*
 * trace.h - records the steps of one rank and their ops, and writes them, with what the device did by itself, in
 * Chrome's trace event format (Perfetto, chrome://tracing).
 */
#ifndef FG_TRACE_H
#define FG_TRACE_H

#include "ops.h"

#include <stdio.h>

/* The rows (tid) of rank r: its steps and ops; what its thread enqueues; from the third on, the device's streams. */
enum { FG_TRACE_ROWS = 100 };
static inline int32_t fg_trace_row(int32_t rank) {
	return FG_TRACE_ROWS * (rank + 1);
}

/* Times are marks (ops.h). */
typedef struct {
	const char *name; /* a literal */
	uint64_t start, end;
	int32_t layer; /* -1 outside the layers */
} fg_traced_op;

typedef struct {
	uint64_t number; /* as fg_result.step */
	uint64_t start, end;
	int32_t n_seqs, n_tokens;
	/* Where the device replayed a recorded pass: its ops, whose marks count what it runs from 0 on; and when the host
	 * asked for it. Else NULL. */
	const struct fg_trace *replayed;
	uint64_t replay_start, replay_end;
	size_t first_op, n_ops; /* filled in by fg_trace_step: the ops recorded since the step before */
} fg_traced_step;

typedef struct fg_trace {
	fg_traced_op *ops;
	fg_traced_step *steps;
	size_t n_ops, op_room, n_steps, step_room;
	size_t limit;   /* ops, and steps */
	size_t dropped; /* beyond the limit, or for lack of memory */
} fg_trace;

/* NULL when out of memory. */
fg_trace *fg_trace_new(size_t limit);
void fg_trace_free(fg_trace *trace);

void fg_trace_op(fg_trace *trace, const char *name, int32_t layer, uint64_t start, uint64_t end);
/* Call it after the step's ops. */
void fg_trace_step(fg_trace *trace, fg_traced_step step);

/* ---- trace_write.c ---- */

typedef struct {
	FILE *file;
	int32_t process; /* pid of the rows */
	int32_t written; /* whether an event has been */
} fg_trace_file;

/* Writes the rank's events as JSON objects, one a line, with commas between them; times are those of fg_clock_ns, in
 * microseconds. `device`: what the device did, with which the ops are timed (its list is sorted here), or NULL: ops are
 * timed by their marks. `why`: why it is NULL although the library could, or NULL. Each step is in a flow of the
 * category "step", whose id is process * 2^32 + the step's number. */
void fg_trace_write(const fg_trace *trace, const fg_ops *ops, fg_ctx *ctx, fg_activities *device, const char *why,
                    fg_trace_file *to);

#endif
