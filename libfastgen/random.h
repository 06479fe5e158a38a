/*
 * random.h - counter-based random numbers: element i of stream s under a seed is a pure function of the three, so that
 * weights can be made in any order and in parallel, and are the same on every device. Also compiled as CUDA.
 */
#ifndef FG_RANDOM_H
#define FG_RANDOM_H

#include <math.h>
#include <stdint.h>

#ifdef __CUDACC__
#define FG_HOST_DEVICE __host__ __device__
#else
#define FG_HOST_DEVICE
#endif

/* SplitMix64's finaliser (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014). */
static inline FG_HOST_DEVICE uint64_t fg_mix64(uint64_t z) {
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* One stream per tensor. */
static inline FG_HOST_DEVICE uint64_t fg_random_stream(uint64_t seed, int32_t role, int32_t layer) {
	return fg_mix64(seed + 0x9e3779b97f4a7c15u * (1 + (uint64_t)role + 64 * (uint64_t)layer));
}

/* Uniform in [-1, 1), a multiple of 2^-24: exact in float32. */
static inline FG_HOST_DEVICE float fg_random_uniform(uint64_t stream, uint64_t i) {
	int32_t bits = (int32_t)(fg_mix64(stream + 0x9e3779b97f4a7c15u * i) >> 39); /* 25 bits */
	return (float)(bits - (1 << 24)) * (1.0f / (1 << 24));
}

/* Random weights lie in [-range, range): a uniform variable there has the variance range^2 / 3, so that a linear layer
 * of `cols` inputs has 1 / cols. Biases (cols 1) are small. */
static inline float fg_random_range(int32_t cols) {
	return cols == 1 ? 0.02f : sqrtf(3.0f / (float)cols);
}

#endif
