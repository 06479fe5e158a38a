/*
 * trace.h - records the ops of one rank and writes them in Chrome's trace event format (chrome://tracing, Perfetto).
 */
#ifndef FG_TRACE_H
#define FG_TRACE_H

#include "ops.h"

#include <stdio.h>

typedef struct fg_trace fg_trace;

/* NULL when out of memory. */
fg_trace *fg_trace_new(void);
void fg_trace_free(fg_trace *trace);

/* Appends one event: `name` must be a literal; layer is -1 outside the layers; start and end are marks (ops.h). Events
 * that no longer fit in memory are dropped, and the file says how many. */
void fg_trace_op(fg_trace *trace, const char *name, int32_t layer, uint64_t start, uint64_t end);

/* Writes the events as JSON objects, separated by commas. *first: whether no event has been written to the file yet. */
void fg_trace_write(const fg_trace *trace, const fg_ops *ops, fg_ctx *ctx, FILE *file, int *first);

#endif
