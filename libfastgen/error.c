/*
 * error.c - the text of the last error, and the slot that it was about, for each thread.
 */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local char text[FG_ERROR_BYTES];
static _Thread_local int32_t failed_slot = -1;

fg_status fg_fail(fg_status status, const char *format, ...) {
	va_list list;
	va_start(list, format);
	vsnprintf(text, sizeof text, format, list);
	va_end(list);
	failed_slot = -1;
	return status;
}

fg_status fg_fail_slot(fg_status status, int32_t slot) {
	if (status) failed_slot = slot;
	return status;
}

FG_API const char *fg_error(void) {
	return text;
}

FG_API int32_t fg_error_slot(void) {
	return failed_slot;
}
