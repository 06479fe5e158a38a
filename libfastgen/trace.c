/* See trace.h; trace_write.c writes what is recorded here. */
#include "trace.h"

#include <stdlib.h>

fg_trace *fg_trace_new(size_t limit) {
	fg_trace *trace = calloc(1, sizeof(fg_trace));
	if (trace) trace->limit = limit;
	return trace;
}

void fg_trace_free(fg_trace *trace) {
	if (!trace) return;
	free(trace->ops);
	free(trace->steps);
	free(trace);
}

/* Makes room for one element more. Returns whether there is. */
static int grow(void **list, size_t n, size_t *room, size_t limit, size_t bytes) {
	if (n < *room) return 1;
	size_t more = *room ? 2 * *room : 4096;
	if (more > limit) more = limit;
	void *moved = n < more ? realloc(*list, more * bytes) : NULL;
	if (!moved) return 0;
	*list = moved;
	*room = more;
	return 1;
}

void fg_trace_op(fg_trace *trace, const char *name, int32_t layer, uint64_t start, uint64_t end) {
	if (!grow((void **)&trace->ops, trace->n_ops, &trace->op_room, trace->limit, sizeof *trace->ops)) {
		trace->dropped++;
		return;
	}
	trace->ops[trace->n_ops++] = (fg_traced_op){.name = name, .start = start, .end = end, .layer = layer};
}

void fg_trace_step(fg_trace *trace, fg_traced_step step) {
	if (!grow((void **)&trace->steps, trace->n_steps, &trace->step_room, trace->limit, sizeof *trace->steps)) {
		trace->dropped++;
		return;
	}
	const fg_traced_step *last = trace->n_steps ? &trace->steps[trace->n_steps - 1] : NULL;
	step.first_op = last ? last->first_op + last->n_ops : 0;
	step.n_ops = trace->n_ops - step.first_op;
	trace->steps[trace->n_steps++] = step;
}
