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
typedef uint8_t vb __attribute__((vector_size(LANES)));

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
