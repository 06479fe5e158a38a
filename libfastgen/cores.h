/*
 * cores.h - how much of the machine this process may use.
 */
#ifndef FG_CORES_H
#define FG_CORES_H

#include <stdint.h>

/* Cores that this process may use, at least 1. */
int32_t fg_cores(void);

#endif
