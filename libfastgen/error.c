#include "error.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local char text[FG_ERROR_BYTES];

fg_status fg_fail(fg_status status, const char *format, ...) {
	va_list list;
	va_start(list, format);
	vsnprintf(text, sizeof text, format, list);
	va_end(list);
	return status;
}

FG_API const char *fg_error(void) {
	return text;
}
