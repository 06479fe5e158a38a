/*
 * error.h - the thread-local message behind fg_error().
 */
#ifndef FG_ERROR_H
#define FG_ERROR_H

#include "fastgen.h"

enum { FG_ERROR_BYTES = 512 };

/* Sets this thread's message and returns `status`, so that a check reads `return fg_fail(FG_INVALID, "...", ...)`. To
 * report a failure on another thread, copy what fg_error returns on this one. */
fg_status fg_fail(fg_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Notes that a failure is this slot's alone, for fg_error_slot, and returns `status`. Call it after fg_fail; FG_OK
 * passes. */
fg_status fg_fail_slot(fg_status status, int32_t slot);

#endif
