/*
 * numeric.h - conversions between float32 and the 16-bit formats, to nearest even. The reference for every kernel.
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

/* Bytes of one element; 0 for what is not an fg_dtype. */
static inline int32_t fg_dtype_bytes(int32_t dtype) {
	return dtype == FG_F32 ? 4 : dtype == FG_F16 || dtype == FG_BF16 ? 2 : dtype == FG_FP8_E4M3 ? 1 : 0;
}

static inline float fg_read(const void *data, int32_t dtype, size_t i) {
	uint32_t u = 0;
	memcpy(&u, (const char *)data + i * (size_t)fg_dtype_bytes(dtype), (size_t)fg_dtype_bytes(dtype));
	return dtype == FG_F32 ? fg_bits_float(u) : dtype == FG_F16 ? fg_from_f16((uint16_t)u) : fg_from_bf16((uint16_t)u);
}

static inline void fg_write(void *data, int32_t dtype, size_t i, float f) {
	uint32_t u = dtype == FG_F32 ? fg_float_bits(f) : dtype == FG_F16 ? fg_to_f16(f) : fg_to_bf16(f);
	memcpy((char *)data + i * (size_t)fg_dtype_bytes(dtype), &u, (size_t)fg_dtype_bytes(dtype));
}

/* f as it reads back after being stored in `dtype`. */
static inline float fg_round(float f, int32_t dtype) {
	return dtype == FG_F16 ? fg_from_f16(fg_to_f16(f)) : dtype == FG_BF16 ? fg_from_bf16(fg_to_bf16(f)) : f;
}

#endif
