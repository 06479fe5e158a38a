/*
 * formats.h - vectors to and from the narrower formats: numeric.h's conversions, LANES at a time.
 */
#ifndef FG_FORMATS_H
#define FG_FORMATS_H

#include "simd.h"

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

/* ---- FP8 ---- */

/* LANES values from their bytes. */
INLINE vf vf_from_e4m3(const void *p) {
#if defined(__AVX2__)
	/* With its bits in the right places, E4M3 is float16 divided by 2^8, subnormal numbers too; not so NaN. */
#if defined(__AVX512F__)
	__m256i b = _mm256_cvtepi8_epi16(_mm_loadu_si128(p)), magnitude = b & _mm256_set1_epi16(0x7f);
	__m256i nan = _mm256_cmpeq_epi16(magnitude, _mm256_set1_epi16(0x7f));
	__m256i half = _mm256_slli_epi16(b, 7) & _mm256_set1_epi16((short)0xbfff);
	return _mm512_cvtph_ps(half | nan) * 256.0f;
#else
	__m128i b = _mm_cvtepi8_epi16(_mm_loadl_epi64(p)), magnitude = b & _mm_set1_epi16(0x7f);
	__m128i nan = _mm_cmpeq_epi16(magnitude, _mm_set1_epi16(0x7f));
	__m128i half = _mm_slli_epi16(b, 7) & _mm_set1_epi16((short)0xbfff);
	return _mm256_cvtph_ps(half | nan) * 256.0f;
#endif
#else
	vb bytes;
	__builtin_memcpy(&bytes, p, sizeof bytes);
	vu b = __builtin_convertvector(bytes, vu), rest = b & 0x7f;
	vf subnormal = __builtin_convertvector(rest, vf) * 0x1p-9f, normal = (vf)((rest << 20) + 0x3c000000);
	vf v = vf_select((vi)(rest < 8), subnormal, normal);
	v = vf_select((vi)(rest == 0x7f), vf_set(NAN), v);
	return (vf)((vu)v | (b & 0x80) << 24);
#endif
}

/* The bytes of the nearest E4M3, each in a lane. */
INLINE vu vf_to_e4m3(vf v) {
	vu u = (vu)v, magnitude = u & 0x7fffffff, sign = u >> 24 & 0x80;
	vu normal = (magnitude + 0x7ffff + (magnitude >> 20 & 1) - 0x3c000000) >> 20;
	vu subnormal = (vu)((vf)magnitude + 0x1p14f) - 0x46800000; /* its low bits: the rounded multiple of 2^-9 */
	vu code = (vu)vf_select((vi)(magnitude < 0x3c800000), (vf)subnormal, (vf)normal);
	code = (vu)vf_select((vi)(magnitude >= 0x43e00000), (vf)((vu){0} + 0x7e), (vf)code);
	code = (vu)vf_select((vi)(magnitude > 0x7f800000), (vf)((vu){0} + 0x7f), (vf)code);
	return code | sign;
}

#if defined(__AVX512BF16__)
/* 32 values as bf16, which holds them exactly. */
INLINE __m512i bf16_from_e4m3(__m256i bytes) {
	/* NaN, then the subnormal numbers 0 to 7 * 2^-9: at the magnitude plus 1, modulo 128. */
	static const uint16_t table[32] = {0x7fc0, 0, 0x3b00, 0x3b80, 0x3bc0, 0x3c00, 0x3c20, 0x3c40, 0x3c60};
	const __m512i special = _mm512_loadu_si512(table);
	__m512i b = _mm512_cvtepu8_epi16(bytes), magnitude = b & _mm512_set1_epi16(0x7f);
	__m512i index = _mm512_add_epi16(magnitude, _mm512_set1_epi16(1));
	__mmask32 is_special = _mm512_cmple_epu16_mask(index & _mm512_set1_epi16(0x7f), _mm512_set1_epi16(8));
	__m512i normal = _mm512_add_epi16(_mm512_slli_epi16(magnitude, 4), _mm512_set1_epi16(120 << 7));
	__m512i value = _mm512_mask_permutexvar_epi16(normal, is_special, index, special);
	/* value | sign */
	return _mm512_ternarylogic_epi32(value, _mm512_slli_epi16(b, 8), _mm512_set1_epi16((short)0x8000), 0xf8);
}
#endif

/* ---- any dtype ---- */

/* Bytes of one element. */
INLINE size_t dtype_bytes(int32_t dtype) {
	return dtype == FG_F32 ? 4 : dtype == FG_FP8_E4M3 ? 1 : 2;
}

/* LANES values of dtype, from element i of p on. */
INLINE vf vf_read(const void *p, int32_t dtype, size_t i) {
	const char *at = (const char *)p + i * dtype_bytes(dtype);
	if (dtype == FG_F32) return vf_load((const float *)(const void *)at);
	if (dtype == FG_FP8_E4M3) return vf_from_e4m3(at);
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
	char *at = (char *)p + i * dtype_bytes(dtype);
	if (dtype == FG_F32) {
		__builtin_memcpy(at, &v, sizeof v);
	} else if (dtype == FG_FP8_E4M3) {
		vb bytes = __builtin_convertvector(vf_to_e4m3(v), vb);
		__builtin_memcpy(at, &bytes, sizeof bytes);
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

#endif
