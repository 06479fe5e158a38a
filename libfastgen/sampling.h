/*
 * sampling.h - the checks of sampling parameters that both libraries share.
 */
#ifndef FG_SAMPLING_H
#define FG_SAMPLING_H

#include "fastgen.h"

#include <stdbool.h>

/* Checks every parameter against its range in fastgen.h, and every id against the vocabulary. FG_INVALID with
 * fg_error() saying which parameter is wrong and what is allowed. Any thread. */
fg_status fg_sampling_check(const fg_sampling *sampling, int32_t vocab_size);

/* Whether any penalty is on, so that the history matters. */
bool fg_sampling_penalizes(const fg_sampling *sampling);

#endif
