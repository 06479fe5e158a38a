/*
 * chunk.h - reads a row of logits in chunks, with loops that the compiler turns into vector code.
 */
#ifndef FG_CHUNK_H
#define FG_CHUNK_H

#include "../sample_math.h"

/* Marks a function to be compiled for several instruction sets; the loader of the library picks one. All give the same
 * bits. */
#if defined(FG_SIMD)
/* set on the command line, to test one of them */
#elif defined(__x86_64__) && defined(__gnu_linux__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__)
#define FG_SIMD __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FG_SIMD /* ThreadSanitizer is not there yet when the loader asks which clone to take */
#endif
#define FG_INLINE static inline __attribute__((always_inline))

enum { CHUNK = 64 }; /* tokens: four of the widest vectors, so that their latencies overlap */

static inline int32_t chunk_count(int32_t vocab_size) {
	return vocab_size / CHUNK + (vocab_size % CHUNK != 0);
}

static inline int32_t chunk_width(int32_t vocab_size, int32_t chunk) {
	const int32_t left = vocab_size - chunk * CHUNK;
	return left < CHUNK ? left : CHUNK;
}

/* The chunk's logits, cleaned; -inf past the vocabulary. */
FG_INLINE void load_chunk(const float *logits, int32_t vocab_size, int32_t chunk, float x[CHUNK]) {
	const float *from = logits + (size_t)chunk * CHUNK;
	const int32_t width = chunk_width(vocab_size, chunk);
	if (width == CHUNK) {
		for (int j = 0; j < CHUNK; j++) x[j] = fg_clean(from[j]);
	} else {
		for (int j = 0; j < CHUNK; j++) x[j] = j < width ? fg_clean(from[j]) : -INFINITY;
	}
}

/* The greatest of x, ignoring NaN; -inf when there is none. */
FG_INLINE float max_of_chunk(const float x[CHUNK]) {
	float m[16];
	for (int j = 0; j < 16; j++) m[j] = -INFINITY;
#pragma GCC unroll 4
	for (int i = 0; i < CHUNK; i += 16)
#pragma GCC unroll 1
		for (int j = 0; j < 16; j++) m[j] = x[i + j] > m[j] ? x[i + j] : m[j];
#pragma GCC unroll 4
	for (int half = 8; half > 0; half /= 2)
		for (int j = 0; j < half; j++) m[j] = m[j + half] > m[j] ? m[j + half] : m[j];
	return m[0];
}

/* Writes the greatest cleaned logit of each chunk to maxima [chunk_count]; returns the greatest of all. -inf where a
 * chunk holds nothing but NaN and -inf. */
FG_INLINE float chunk_maxima(const float *logits, int32_t vocab_size, float *maxima) {
	float greatest = -INFINITY;
	float x[CHUNK];
	const int32_t n_chunks = chunk_count(vocab_size);
	for (int32_t c = 0; c < n_chunks; c++) {
		load_chunk(logits, vocab_size, c, x);
		maxima[c] = max_of_chunk(x);
		greatest = maxima[c] > greatest ? maxima[c] : greatest;
	}
	return greatest;
}

#endif
