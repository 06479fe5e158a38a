/*
 * trace_write.c - see trace.h.
 */
#include "trace.h"

#include <stdarg.h>
#include <stdlib.h>

typedef struct {
	uint64_t start, end; /* nanoseconds */
} period;

static const period NEVER = {UINT64_MAX, 0};

static void extend(period *p, uint64_t start, uint64_t end) {
	if (start < p->start) p->start = start;
	if (end > p->end) p->end = end;
}

/* ---- lines ---- */

/* A text in quotes, as JSON wants it. */
static void text(FILE *file, const char *s) {
	fputc('"', file);
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;
		if (c == '"' || c == '\\') fputc('\\', file);
		if (c >= ' ') fputc(c, file);
	}
	fputc('"', file);
}

static void begin(fg_trace_file *to, const char *name, char phase, int32_t row) {
	fputs(to->written ? ",\n{\"name\":" : "{\"name\":", to->file);
	to->written = 1;
	text(to->file, name);
	fprintf(to->file, ",\"ph\":\"%c\",\"pid\":%d,\"tid\":%d", phase, to->process, row);
}

static double us(uint64_t ns) {
	return (double)ns / 1e3;
}

/* Nanoseconds by which a span is written shorter, once more for each span that it stands in, so that neighbours never
 * overlap by a rounding of whoever opens the trace (GAP of src/profile/events.ts says more). */
static const uint64_t GAP = 4;

static void begin_span(fg_trace_file *to, const char *name, int32_t row, period p, uint64_t depth) {
	const uint64_t length = p.end - p.start, gap = GAP * (1 + depth);
	begin(to, name, 'X', row);
	fprintf(to->file, ",\"ts\":%.3f,\"dur\":%.3f", us(p.start), us(length > gap ? length - gap : 0));
}

/* Names a row. Rows stand in the order of their numbers. */
__attribute__((format(printf, 3, 4))) static void name_row(fg_trace_file *to, int32_t row, const char *format, ...) {
	char name[64];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(name, sizeof name, format, arguments);
	va_end(arguments);
	begin(to, "thread_name", 'M', row);
	fputs(",\"args\":{\"name\":", to->file);
	text(to->file, name);
	fputs("}}", to->file);
	begin(to, "thread_sort_index", 'M', row);
	fprintf(to->file, ",\"args\":{\"sort_index\":%d}}", row);
}

__attribute__((format(printf, 4, 5))) static void remark(fg_trace_file *to, int32_t row, uint64_t at,
                                                         const char *format, ...) {
	char what[600];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(what, sizeof what, format, arguments);
	va_end(arguments);
	begin(to, what, 'i', row);
	fprintf(to->file, ",\"ts\":%.3f,\"s\":\"t\"}", us(at));
}

static void write_op(fg_trace_file *to, int32_t row, const fg_traced_op *op, period p) {
	begin_span(to, op->name, row, p, 1);
	if (op->layer >= 0) fprintf(to->file, ",\"args\":{\"layer\":%d}", op->layer);
	fputc('}', to->file);
}

static void write_step(fg_trace_file *to, int32_t row, const fg_traced_step *s, period p) {
	begin_span(to, "step", row, p, 0);
	fprintf(to->file, ",\"args\":{\"step\":%llu,\"sequences\":%d,\"tokens\":%d,\"graph\":%s}}",
	        (unsigned long long)s->number, s->n_seqs, s->n_tokens, s->replayed ? "true" : "false");
	begin(to, "step", 't', row);
	fprintf(to->file, ",\"cat\":\"step\",\"id\":%llu,\"bp\":\"e\",\"ts\":%.3f}",
	        ((unsigned long long)to->process << 32) + s->number, us(p.start));
}

/* ---- ops timed by their marks ---- */

static void write_marked(const fg_trace *trace, const fg_ops *ops, fg_ctx *ctx, fg_trace_file *to) {
	const int32_t row = fg_trace_row(ctx->rank);
	for (size_t i = 0; i < trace->n_steps; i++) {
		const fg_traced_step *s = &trace->steps[i];
		write_step(to, row, s, (period){ops->mark_ns(ctx, s->start), ops->mark_ns(ctx, s->end)});
		for (const fg_traced_op *op = trace->ops + s->first_op; op < trace->ops + s->first_op + s->n_ops; op++)
			write_op(to, row, op, (period){ops->mark_ns(ctx, op->start), ops->mark_ns(ctx, op->end)});
	}
}

/* ---- ops timed by what the device ran for them ---- */

static int by_call(const void *left, const void *right) {
	const fg_activity *a = left, *b = right;
	if (a->called != b->called) return a->called < b->called ? -1 : 1;
	return (a->start > b->start) - (a->start < b->start);
}

static int by_row(const void *left, const void *right) {
	const fg_activity *a = left, *b = right;
	if (a->stream != b->stream) return a->stream < b->stream ? -1 : 1;
	return (a->start > b->start) - (a->start < b->start);
}

/* The activities, sorted by_call, that the host asked for from `start` to `end`, searched from *from on, which is set
 * to the first of them. Returns how many. */
static size_t called_within(const fg_activities *d, size_t *from, uint64_t start, uint64_t end) {
	while (*from < d->n && d->list[*from].called < start) (*from)++;
	size_t n = 0;
	while (*from + n < d->n && d->list[*from + n].called <= end) n++;
	return n;
}

static period span_of(const fg_activity *list, size_t n) {
	period p = NEVER;
	for (size_t i = 0; i < n; i++) extend(&p, list[i].start, list[i].end);
	return p;
}

/* An op whose kernels were put in place beside the end of the one before begins where that ends. */
static void write_after(fg_trace_file *to, int32_t row, const fg_traced_op *op, period p, uint64_t *free_from) {
	if (p.start < *free_from) p.start = *free_from;
	if (p.start >= p.end) return;
	*free_from = p.end;
	write_op(to, row, op, p);
}

/* The ops of a pass that was replayed: each ran so many of the n activities, one after the other. */
static void write_replayed(const fg_trace *pass, const fg_activity *list, size_t n, fg_trace_file *to, int32_t row,
                           uint64_t free_from) {
	for (size_t i = 0; i < pass->n_ops; i++) {
		const fg_traced_op *op = &pass->ops[i];
		if (op->end <= n && op->start < op->end)
			write_after(to, row, op, span_of(list + op->start, op->end - op->start), &free_from);
	}
}

static void write_timed(const fg_trace *trace, const fg_activities *d, int32_t rank, fg_trace_file *to) {
	const int32_t row = fg_trace_row(rank);
	size_t at = 0, strange = 0;
	for (size_t i = 0; i < trace->n_steps; i++) {
		const fg_traced_step *s = &trace->steps[i];
		begin_span(to, "enqueue", row + 1, (period){s->start, s->end}, 0);
		fprintf(to->file, ",\"args\":{\"step\":%llu}}", (unsigned long long)s->number);
		size_t n = called_within(d, &at, s->start, s->end), from = at;
		if (n == 0) continue;
		period p = span_of(d->list + at, n);
		write_step(to, row, s, p);
		if (s->replayed) {
			n = called_within(d, &from, s->replay_start, s->replay_end);
			const size_t want = s->replayed->n_ops ? s->replayed->ops[s->replayed->n_ops - 1].end : 0;
			if (n == want) write_replayed(s->replayed, d->list + from, n, to, row, p.start);
			else strange++;
			continue;
		}
		uint64_t free_from = p.start;
		for (const fg_traced_op *op = trace->ops + s->first_op; op < trace->ops + s->first_op + s->n_ops; op++) {
			n = called_within(d, &from, op->start, op->end);
			if (n) write_after(to, row, op, span_of(d->list + from, n), &free_from);
		}
	}
	if (strange)
		remark(to, row, trace->steps[0].start,
		       "%zu replayed steps ran more or fewer kernels than were recorded: no ops", strange);
}

/* The device's streams, a row each, without what was asked for after the last step of the trace. */
static void write_streams(const fg_trace *trace, fg_activities *d, int32_t rank, fg_trace_file *to) {
	const uint64_t end = trace->n_steps ? trace->steps[trace->n_steps - 1].end : 0;
	int32_t row = fg_trace_row(rank) + 1;
	int64_t stream = -1; /* of the row */
	uint64_t free_from = 0;
	qsort(d->list, d->n, sizeof *d->list, by_row);
	for (size_t i = 0; i < d->n; i++) {
		const fg_activity *a = &d->list[i];
		if (a->called > end) continue;
		if (a->stream != stream) {
			if (row + 1 < fg_trace_row(rank + 1)) row++;
			name_row(to, row, "rank %d: stream %u", rank, a->stream);
			stream = a->stream, free_from = 0;
		}
		/* What began beside the end of the one before it is drawn from there on, so that the row has one thing at a
		 * time. */
		period p = {a->start < free_from ? free_from : a->start, a->end};
		if (p.start > p.end) p.start = p.end;
		free_from = p.end;
		begin_span(to, a->name, row, p, 0);
		if (a->bytes) fprintf(to->file, ",\"args\":{\"bytes\":%llu}", (unsigned long long)a->bytes);
		fputc('}', to->file);
	}
}

void fg_trace_write(const fg_trace *trace, const fg_ops *ops, fg_ctx *ctx, fg_activities *device, const char *why,
                    fg_trace_file *to) {
	const int32_t row = fg_trace_row(ctx->rank);
	const uint64_t first = !trace->n_steps ? 0
	                       : device        ? trace->steps[0].start
	                                       : ops->mark_ns(ctx, trace->steps[0].start);
	name_row(to, row, "rank %d: ops", ctx->rank);
	if (device) {
		name_row(to, row + 1, "rank %d: enqueued by the host", ctx->rank);
		qsort(device->list, device->n, sizeof *device->list, by_call);
		write_timed(trace, device, ctx->rank, to);
		write_streams(trace, device, ctx->rank, to);
	} else write_marked(trace, ops, ctx, to);
	if (why) remark(to, row, first, "ops are timed by events, and not replayed as graphs: %s", why);
	const size_t dropped = trace->dropped + (device ? device->dropped : 0);
	if (dropped) remark(to, row, first, "%zu events dropped: the trace was full", dropped);
}
