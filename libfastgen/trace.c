#include "trace.h"

#include <stdlib.h>

enum { MAX_EVENTS = 4 << 20 }; /* 128 MiB: a few minutes of steps; a trace that is left on must not use up the memory */

typedef struct {
	const char *name;
	uint64_t start, end;
	int32_t layer;
} event;

struct fg_trace {
	event *events;
	size_t n, capacity, dropped;
};

fg_trace *fg_trace_new(void) {
	return calloc(1, sizeof(fg_trace));
}

void fg_trace_free(fg_trace *trace) {
	if (!trace) return;
	free(trace->events);
	free(trace);
}

void fg_trace_op(fg_trace *trace, const char *name, int32_t layer, uint64_t start, uint64_t end) {
	if (trace->n == trace->capacity) {
		size_t capacity = trace->capacity ? 2 * trace->capacity : 4096;
		event *events = capacity <= MAX_EVENTS ? realloc(trace->events, capacity * sizeof *events) : NULL;
		if (!events) {
			trace->dropped++;
			return;
		}
		trace->events = events;
		trace->capacity = capacity;
	}
	trace->events[trace->n++] = (event){.name = name, .start = start, .end = end, .layer = layer};
}

void fg_trace_write(const fg_trace *trace, const fg_ops *ops, fg_ctx *ctx, FILE *file, int *first) {
	for (size_t i = 0; i < trace->n; i++) {
		const event *e = &trace->events[i];
		uint64_t start = ops->mark_ns(ctx, e->start), end = ops->mark_ns(ctx, e->end);
		fprintf(file, "%s{\"name\":\"%s\",\"ph\":\"X\",\"pid\":0,\"tid\":%d,\"ts\":%.3f,\"dur\":%.3f",
		        *first ? "" : ",\n", e->name, ctx->rank, (double)start / 1e3, (double)(end - start) / 1e3);
		if (e->layer >= 0) fprintf(file, ",\"args\":{\"layer\":%d}", e->layer);
		fputc('}', file);
		*first = 0;
	}
	if (trace->dropped) {
		fprintf(file, "%s{\"name\":\"%zu events dropped: out of memory\",\"ph\":\"i\",\"pid\":0,\"tid\":%d,\"ts\":0}",
		        *first ? "" : ",\n", trace->dropped, ctx->rank);
		*first = 0;
	}
}
