/*
 * numeric.h - conversions between float32 and the narrower formats, to nearest even. The reference for every kernel.
 */
#ifndef FG_NUMERIC_H
#define FG_NUMERIC_H

#include "fastgen.h"

#include <string.h>

static inline uint32_t fg_float_bits(float f) {
	uint32_t u;
	memcpy(&u, &f, 4);
	return u;
}

static inline float fg_bits_float(uint32_t u) {
	float f;
	memcpy(&f, &u, 4);
	return f;
}

static inline float fg_from_bf16(uint16_t h) {
	return fg_bits_float((uint32_t)h << 16);
}

static inline uint16_t fg_to_bf16(float f) {
	uint32_t u = fg_float_bits(f);
	if ((u & 0x7fffffff) > 0x7f800000)
		return (uint16_t)(u >> 16 | 0x40); /* remains a NaN when its low bits are dropped */
	return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

static inline float fg_from_f16(uint16_t h) {
	uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = h & 0x7fff;
	if (rest >= 0x7c00) return fg_bits_float(sign | 0x7f800000 | (rest & 0x3ff) << 13);
	if (rest >= 0x400) return fg_bits_float(sign | ((rest << 13) + 0x38000000));
	float f = (float)rest * 0x1p-24f; /* subnormal */
	return sign ? -f : f;
}

static inline uint16_t fg_to_f16(float f) {
	uint32_t u = fg_float_bits(f), sign = u >> 16 & 0x8000;
	u &= 0x7fffffff;
	if (u > 0x7f800000) return (uint16_t)(sign | 0x7e00);
	if (u >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* rounds to infinity */
	if (u < 0x38800000) {
		/* subnormal: adding 0.5 leaves the rounded multiple of 2^-24 in the low bits */
		return (uint16_t)(sign | (fg_float_bits(fg_bits_float(u) + 0.5f) - 0x3f000000));
	}
	return (uint16_t)(sign | ((u + 0xfff + (u >> 13 & 1) - 0x38000000) >> 13));
}

/* FP8: 4 bits of exponent with bias 7, 3 of mantissa; no infinities, NaN is 0x7f and 0xff. */
#define FG_E4M3_MAX 448.0f

static inline float fg_from_e4m3(uint8_t b) {
	uint32_t sign = (uint32_t)(b & 0x80) << 24, rest = b & 0x7f;
	if (rest == 0x7f) return fg_bits_float(sign | 0x7fc00000);
	if (rest >= 8) return fg_bits_float(sign | ((rest << 20) + 0x3c000000));
	float f = (float)rest * 0x1p-9f; /* subnormal */
	return sign ? -f : f;
}

/* Saturates: what is beyond 448, infinity too, becomes 448. */
static inline uint8_t fg_to_e4m3(float f) {
	uint32_t u = fg_float_bits(f), sign = u >> 24 & 0x80;
	u &= 0x7fffffff;
	if (u > 0x7f800000) return (uint8_t)(sign | 0x7f);
	if (u >= 0x43e00000) return (uint8_t)(sign | 0x7e);
	if (u < 0x3c800000) {
		/* subnormal: adding 2^14 leaves the rounded multiple of 2^-9 in the low bits */
		return (uint8_t)(sign | (fg_float_bits(fg_bits_float(u) + 0x1p14f) - 0x46800000));
	}
	return (uint8_t)(sign | ((u + 0x7ffff + (u >> 20 & 1) - 0x3c000000) >> 20));
}

/* The scale of FP8 values whose greatest magnitude (of those that are not NaN) is amax: a value x is stored as
 * fg_to_e4m3(x * (1 / scale)), so that the greatest becomes 448. 1 where there is nothing but zeros, or so little that
 * 1 / scale could overflow. */
static inline float fg_fp8_scale(float amax) {
	return amax > 1e-30f ? amax / FG_E4M3_MAX : 1.0f;
}

/* Bytes of one element; 0 for what is not an fg_dtype. */
static inline int32_t fg_dtype_bytes(int32_t dtype) {
	return dtype == FG_F32 ? 4 : dtype == FG_F16 || dtype == FG_BF16 ? 2 : dtype == FG_FP8_E4M3 ? 1 : 0;
}

static inline float fg_read(const void *data, int32_t dtype, size_t i) {
	uint32_t u = 0;
	memcpy(&u, (const char *)data + i * (size_t)fg_dtype_bytes(dtype), (size_t)fg_dtype_bytes(dtype));
	return dtype == FG_F32    ? fg_bits_float(u)
	       : dtype == FG_F16  ? fg_from_f16((uint16_t)u)
	       : dtype == FG_BF16 ? fg_from_bf16((uint16_t)u)
	                          : fg_from_e4m3((uint8_t)u);
}

static inline void fg_write(void *data, int32_t dtype, size_t i, float f) {
	uint32_t u = dtype == FG_F32    ? fg_float_bits(f)
	             : dtype == FG_F16  ? fg_to_f16(f)
	             : dtype == FG_BF16 ? fg_to_bf16(f)
	                                : fg_to_e4m3(f);
	memcpy((char *)data + i * (size_t)fg_dtype_bytes(dtype), &u, (size_t)fg_dtype_bytes(dtype));
}

/* f as it reads back after being stored in `dtype`. */
static inline float fg_round(float f, int32_t dtype) {
	return dtype == FG_F16 ? fg_from_f16(fg_to_f16(f)) : dtype == FG_BF16 ? fg_from_bf16(fg_to_bf16(f)) : f;
}

#endif
