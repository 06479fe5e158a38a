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

/* Appends one event: `name` must be a literal; layer -1 = of none; start and end are marks (ops.h). What no longer fits
 * in memory is dropped, and the file says how many events were. */
void fg_trace_op(fg_trace *trace, const char *name, int32_t layer, uint64_t start, uint64_t end);

/* Writes the events as JSON objects, each after a comma but the very first; `first` says whether one was written
 * before. */
void fg_trace_write(const fg_trace *trace, const fg_ops *ops, fg_ctx *ctx, FILE *file, int *first);

#endif
