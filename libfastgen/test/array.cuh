/*
 * array.cuh - arrays of C's structures.
 */
#ifndef FG_ARRAY_CUH
#define FG_ARRAY_CUH

#include <memory>

/* Not std::vector: nvcc 13.0 fails on vectors of C's unnamed structures. */
template <class T> using Array = std::unique_ptr<T[]>;

#endif
