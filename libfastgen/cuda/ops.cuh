/*
 * ops.cuh - ../ops.h for C++, whose atomic types are those of C's stdatomic.h.
 */
#ifndef FG_OPS_CUH
#define FG_OPS_CUH

#include <atomic>
using std::atomic_int, std::atomic_ullong;
extern "C" {
#include "../ops.h"
}

#endif
