/*
 * simd.h - float vectors as wide as those of the instruction set that a file is compiled for: GCC's vector extension,
 * and intrinsics for what it cannot express. Everything is static: code that was compiled for one instruction set must
 * not be linked into code for another.
 */
#ifndef FG_SIMD_H
#define FG_SIMD_H

#include "../numeric.h"
#include "kernels.h"

#include <math.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512BF16__)
#define FG_ISA(name) name##_avx512bf16
#define LANES 16
#elif defined(__AVX512F__)
#define FG_ISA(name) name##_avx512
#define LANES 16
#elif defined(__AVX2__)
#define FG_ISA(name) name##_avx2
#define LANES 8
#else
#define FG_ISA(name) name##_scalar
#define LANES 4
#endif

#define INLINE static inline __attribute__((always_inline))

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));
typedef uint32_t vu __attribute__((vector_size(4 * LANES)));
typedef uint16_t vh __attribute__((vector_size(2 * LANES)));

INLINE vf vf_set(float f) {
	return f - (vf){0};
}

INLINE vf vf_load(const float *p) {
	vf v;
	__builtin_memcpy(&v, p, sizeof v);
	return v;
}

INLINE void vf_store(float *p, vf v) {
	__builtin_memcpy(p, &v, sizeof v);
}

INLINE vf vf_select(vi mask, vf a, vf b) {
	return (vf)((mask & (vi)a) | (~mask & (vi)b));
}

INLINE vf vf_max(vf a, vf b) {
#if defined(__AVX512F__)
	return _mm512_max_ps(a, b);
#elif defined(__AVX2__)
	return _mm256_max_ps(a, b);
#else
	return vf_select(a > b, a, b);
#endif
}

INLINE vf vf_fma(vf a, vf b, vf c) {
#if defined(__AVX512F__)
	return _mm512_fmadd_ps(a, b, c);
#elif defined(__AVX2__)
	return _mm256_fmadd_ps(a, b, c);
#else
	return a * b + c;
#endif
}

typedef float vf4 __attribute__((vector_size(16)));

/* Sums of the lanes of four vectors. Each vector is folded in halves: lanes 16 -> 8 -> 4 -> (0 + 2) + (1 + 3). */
INLINE vf4 vf_sum4(vf a, vf b, vf c, vf d) {
#if defined(__AVX512F__)
	vf ab = _mm512_shuffle_f32x4(a, b, 0x44) + _mm512_shuffle_f32x4(a, b, 0xee);
	vf cd = _mm512_shuffle_f32x4(c, d, 0x44) + _mm512_shuffle_f32x4(c, d, 0xee);
	vf s = _mm512_shuffle_f32x4(ab, cd, 0x88) + _mm512_shuffle_f32x4(ab, cd, 0xdd); /* a quarter of each */
	s += _mm512_shuffle_ps(s, s, 0x4e);
	s += _mm512_shuffle_ps(s, s, 0xb1);
	return _mm512_castps512_ps128(_mm512_maskz_compress_ps(0x1111, s));
#else
#if defined(__AVX2__)
	vf4 p = _mm256_castps256_ps128(a) + _mm256_extractf128_ps(a, 1);
	vf4 q = _mm256_castps256_ps128(b) + _mm256_extractf128_ps(b, 1);
	vf4 r = _mm256_castps256_ps128(c) + _mm256_extractf128_ps(c, 1);
	vf4 s = _mm256_castps256_ps128(d) + _mm256_extractf128_ps(d, 1);
#else
	vf4 p = a, q = b, r = c, s = d;
#endif
	vf4 pq = __builtin_shufflevector(p, q, 0, 4, 1, 5) + __builtin_shufflevector(p, q, 2, 6, 3, 7);
	vf4 rs = __builtin_shufflevector(r, s, 0, 4, 1, 5) + __builtin_shufflevector(r, s, 2, 6, 3, 7);
	return __builtin_shufflevector(pq, rs, 0, 1, 4, 5) + __builtin_shufflevector(pq, rs, 2, 3, 6, 7);
#endif
}

INLINE float vf_sum(vf v) {
	return vf_sum4(v, v, v, v)[0];
}

INLINE float vf_max_lane(vf v) {
#if defined(__AVX512F__)
	return _mm512_reduce_max_ps(v);
#else
	float f[LANES];
	vf_store(f, v);
	float max = f[0];
	for (int i = 1; i < LANES; i++) max = f[i] > max ? f[i] : max;
	return max;
#endif
}

/* ---- 16-bit formats ---- */

INLINE vf vf_from_bf16(const void *p) {
#if defined(__AVX512F__)
	return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p)), 16);
#elif defined(__AVX2__)
	return (vf)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(p)), 16);
#else
	vh h;
	__builtin_memcpy(&h, p, sizeof h);
	return (vf)(__builtin_convertvector(h, vu) << 16);
#endif
}

INLINE vf vf_from_f16(const void *p) {
#if defined(__AVX512F__)
	return _mm512_cvtph_ps(_mm256_loadu_si256(p));
#elif defined(__AVX2__)
	return _mm256_cvtph_ps(_mm_loadu_si128(p));
#else
	vf v;
	for (int i = 0; i < LANES; i++) v[i] = fg_read(p, FG_F16, (size_t)i);
	return v;
#endif
}

/* LANES values of dtype, from element i of p on. */
INLINE vf vf_read(const void *p, int32_t dtype, size_t i) {
	const char *at = (const char *)p + i * (dtype == FG_F32 ? 4 : 2);
	if (dtype == FG_F32) return vf_load((const float *)(const void *)at);
	return dtype == FG_F16 ? vf_from_f16(at) : vf_from_bf16(at);
}

/* Bits of the nearest bf16, in the upper half of each lane; the lower half is 0. */
INLINE vu vf_bf16_bits(vf v) {
	vu u = (vu)v, magnitude = u & 0x7fffffff;
	vu rounded = u + 0x7fff + (u >> 16 & 1);
	vu nan = (vu)(magnitude > 0x7f800000);
	return ((nan & (u | 0x400000)) | (~nan & rounded)) & 0xffff0000;
}

INLINE void vf_write(void *p, int32_t dtype, size_t i, vf v) {
	char *at = (char *)p + i * (dtype == FG_F32 ? 4 : 2);
	if (dtype == FG_F32) {
		__builtin_memcpy(at, &v, sizeof v);
	} else if (dtype == FG_BF16) {
		vh h = __builtin_convertvector(vf_bf16_bits(v) >> 16, vh);
		__builtin_memcpy(at, &h, sizeof h);
	} else {
#if defined(__AVX512F__)
		_mm256_storeu_si256((__m256i *)(void *)at, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__AVX2__)
		_mm_storeu_si128((__m128i *)(void *)at, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
#else
		for (int k = 0; k < LANES; k++) fg_write(p, dtype, i + (size_t)k, v[k]);
#endif
	}
}

/* The first n < LANES values, the rest 0. */
INLINE vf vf_read_some(const void *p, int32_t dtype, size_t i, int n) {
	vf v = {0};
	for (int k = 0; k < n; k++) v[k] = fg_read(p, dtype, i + (size_t)k);
	return v;
}

/* ---- activations that linear reads ---- */

INLINE void vf_write_x(void *x, fg_x_format format, size_t i, vf v) {
	if (format == FG_X_BF16) {
#if defined(__AVX512BF16__)
		__m256bh h = _mm512_cvtneps_pbh(v);
		__builtin_memcpy((char *)x + i * 2, &h, sizeof h);
#else
		vf_write(x, FG_BF16, i, v);
#endif
	} else if (format == FG_X_ROUND_BF16) {
		vf_write(x, FG_F32, i, (vf)vf_bf16_bits(v));
	} else if (format == FG_X_ROUND_F16) {
		uint16_t h[LANES];
		vf_write(h, FG_F16, 0, v);
		vf_write(x, FG_F32, i, vf_from_f16(h));
	} else {
		vf_write(x, FG_F32, i, v);
	}
}

static inline void write_x(void *x, fg_x_format format, size_t i, float f) {
	if (format == FG_X_BF16) fg_write(x, FG_BF16, i, f);
	else fg_write(x, FG_F32, i, format == FG_X_F32 ? f : fg_round(f, format == FG_X_ROUND_F16 ? FG_F16 : FG_BF16));
}

/* e^v: 2^n * p(r), v = n ln 2 + r, |r| <= ln 2 / 2. p is the minimax polynomial of Cephes' expf (Moshier); error about
 * one unit in the last place. 0 and infinity beyond float32's range (or that of its normal numbers); NaN stays NaN. */
INLINE vf vf_exp(vf v) {
#if defined(__AVX512F__)
	/* a NaN passes only as the second operand */
	vf clamped = _mm512_min_ps(vf_set(89.0f), _mm512_max_ps(vf_set(-104.0f), v));
#else
	vf clamped = vf_select(v < -87.33654f, vf_set(-87.33654f), vf_select(v > 88.72283f, vf_set(88.72283f), v));
#endif
	vf shifted = vf_fma(clamped, vf_set(1.44269504f), vf_set(0x1.8p23f)); /* rounds to nearest in the low bits */
	vf n = shifted - 0x1.8p23f;
	vf r = vf_fma(n, vf_set(-0.693359375f), clamped);
	r = vf_fma(n, vf_set(2.12194440e-4f), r);
	vf p = vf_set(1.9875691500e-4f);
	p = vf_fma(p, r, vf_set(1.3981999507e-3f));
	p = vf_fma(p, r, vf_set(8.3334519073e-3f));
	p = vf_fma(p, r, vf_set(4.1665795894e-2f));
	p = vf_fma(p, r, vf_set(1.6666665459e-1f));
	p = vf_fma(p, r, vf_set(5.0000001201e-1f));
	p = vf_fma(p, r * r, r) + 1.0f;
#if defined(__AVX512F__)
	return _mm512_scalef_ps(p, n);
#else
	/* n may be 128: two factors, neither of which overflows */
	vi whole = (vi)shifted - (vi)vf_set(0x1.8p23f), half = whole >> 1;
	p = p * (vf)((half + 127) << 23) * (vf)((whole - half + 127) << 23);
	p = vf_select(v < -87.33654f, (vf){0}, p);
	return vf_select(v > 88.72283f, vf_set(INFINITY), p);
#endif
}

#endif
