/*
 * trace_file.h - reads a trace that fg_trace_stop has written, line by line.
 */
#ifndef FG_TEST_TRACE_FILE_H
#define FG_TEST_TRACE_FILE_H

#include <stdio.h>
#include <string.h>

/* The longest of a trace's events, in microseconds. */
static inline double longest_event(const char *path) {
	double longest = 0, us;
	char line[512];
	FILE *file = fopen(path, "r");
	while (file && fgets(line, sizeof line, file)) {
		const char *at = strstr(line, "\"dur\":");
		if (at && !strstr(line, "\"step\"") && sscanf(at, "\"dur\":%lf", &us) == 1 && us > longest) longest = us;
	}
	if (file) fclose(file);
	return longest;
}

/* Lines of a trace that hold a text. */
static inline int count_lines(const char *path, const char *text) {
	char line[1024];
	int n = 0;
	FILE *file = fopen(path, "r");
	while (file && fgets(line, sizeof line, file)) n += strstr(line, text) != NULL;
	if (file) fclose(file);
	return n;
}

typedef struct {
	char name[200];
	int row;
	double start, end; /* us */
} span;

/* The spans of a trace, at most 4,000. */
static inline span *read_spans(const char *path, int *n) {
	static span spans[4000];
	char line[1024];
	*n = 0;
	FILE *file = fopen(path, "r");
	while (file && fgets(line, sizeof line, file) && *n < 4000) {
		span *s = &spans[*n];
		double dur;
		if (sscanf(line, "{\"name\":\"%199[^\"]\",\"ph\":\"X\",\"pid\":5,\"tid\":%d,\"ts\":%lf,\"dur\":%lf", s->name,
		           &s->row, &s->start, &dur) != 4)
			continue;
		s->end = s->start + dur;
		(*n)++;
	}
	if (file) fclose(file);
	return spans;
}

static inline int count_spans(const span *spans, int n, int row, const char *name) {
	int found = 0;
	for (int i = 0; i < n; i++) found += spans[i].row == row && !strcmp(spans[i].name, name);
	return found;
}

#endif
