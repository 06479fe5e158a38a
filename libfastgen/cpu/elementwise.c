/*
 * elementwise.c - norm, activation, rotation and conversions: one pass each.
 */
#include "formats.h"

void FG_ISA(fg_rms_norm)(const float *in, const float *weight, int32_t n, float eps, fg_x_format format, void *x) {
	vf squares = {0};
	int32_t i = 0;
	for (; i + LANES <= n; i += LANES) squares = vf_fma(vf_load(in + i), vf_load(in + i), squares);
	float sum = vf_sum(squares);
	for (; i < n; i++) sum += in[i] * in[i];
	float scale = 1.0f / sqrtf(sum / (float)n + eps);
	for (i = 0; i + LANES <= n; i += LANES) {
		vf_write_x(x, format, (size_t)i, vf_load(in + i) * scale * vf_load(weight + i));
	}
	for (; i < n; i++) write_x(x, format, (size_t)i, in[i] * scale * weight[i]);
}

INLINE vf silu(vf v) {
	return v / (1.0f + vf_exp(-v));
}

void FG_ISA(fg_silu_mul)(const float *gate, const float *up, int32_t n, fg_x_format format, void *x) {
	int32_t i = 0;
	for (; i + LANES <= n; i += LANES) vf_write_x(x, format, (size_t)i, silu(vf_load(gate + i)) * vf_load(up + i));
	for (; i < n; i++) write_x(x, format, (size_t)i, silu(vf_set(gate[i]))[0] * up[i]);
}

void FG_ISA(fg_rope)(float *v, const float *cos, const float *sin, int32_t head_dim) {
	int32_t half = head_dim / 2;
	for (int32_t i = 0; i < half; i += LANES) { /* half is a multiple of 16 */
		vf a = vf_load(v + i), b = vf_load(v + half + i), c = vf_load(cos + i), s = vf_load(sin + i);
		vf_store(v + i, a * c - b * s);
		vf_store(v + half + i, b * c + a * s);
	}
}

void FG_ISA(fg_store)(const float *in, int32_t n, int32_t dtype, void *out) {
	int32_t i = 0;
	for (; i + LANES <= n; i += LANES) vf_write(out, dtype, (size_t)i, vf_load(in + i));
	for (; i < n; i++) fg_write(out, dtype, (size_t)i, in[i]);
}

void FG_ISA(fg_load)(const void *in, int32_t n, int32_t dtype, float *out) {
	int32_t i = 0;
	for (; i + LANES <= n; i += LANES) vf_store(out + i, vf_read(in, dtype, (size_t)i));
	for (; i < n; i++) out[i] = fg_read(in, dtype, (size_t)i);
}

float FG_ISA(fg_amax)(const float *in, int32_t n) {
	vf most = {0};
	int32_t i = 0;
	/* vf_max of a NaN and a number is the second operand. */
	for (; i + LANES <= n; i += LANES) most = vf_max((vf)((vu)vf_load(in + i) & 0x7fffffff), most);
	float amax = vf_max_lane(most);
	for (; i < n; i++) amax = fabsf(in[i]) > amax ? fabsf(in[i]) : amax;
	return amax;
}

void FG_ISA(fg_quantize)(const float *in, int32_t n, float scale, int32_t dtype, void *out) {
	float inverse = 1 / scale;
	int32_t i = 0;
	for (; i + LANES <= n; i += LANES) {
		vf v = vf_load(in + i) * inverse;
		if (dtype == FG_FP8_E4M3) {
			vf_write(out, FG_FP8_E4M3, (size_t)i, v);
		} else {
			uint8_t codes[LANES];
			vf_write(codes, FG_FP8_E4M3, 0, v);
			vf_write(out, dtype, (size_t)i, vf_from_e4m3(codes));
		}
	}
	for (; i < n; i++) {
		uint8_t code = fg_to_e4m3(in[i] * inverse);
		if (dtype == FG_FP8_E4M3) ((uint8_t *)out)[i] = code;
		else fg_write(out, dtype, (size_t)i, fg_from_e4m3(code));
	}
}

void FG_ISA(fg_linear)(const fg_linear_args *args);
void FG_ISA(fg_attend)(const fg_attention_args *args, int32_t span, fg_attention_scratch *scratch);
void FG_ISA(fg_merge)(fg_softmax *total, const fg_softmax *run, int32_t n_rows, int32_t head_dim);
void FG_ISA(fg_finish)(const fg_softmax *total, int32_t row, int32_t head_dim, fg_x_format format, void *out);

const fg_kernels FG_ISA(fg_kernels) = {
#if defined(__AVX512BF16__)
	.isa = "AVX-512, bf16",
	.bf16_dot = 1,
#elif defined(__AVX512F__)
	.isa = "AVX-512",
#elif defined(__AVX2__)
	.isa = "AVX2",
#else
	.isa = "scalar",
#endif
	.linear = FG_ISA(fg_linear),
	.attend = FG_ISA(fg_attend),
	.merge = FG_ISA(fg_merge),
	.finish = FG_ISA(fg_finish),
	.rms_norm = FG_ISA(fg_rms_norm),
	.silu_mul = FG_ISA(fg_silu_mul),
	.rope = FG_ISA(fg_rope),
	.store = FG_ISA(fg_store),
	.load = FG_ISA(fg_load),
	.amax = FG_ISA(fg_amax),
	.quantize = FG_ISA(fg_quantize),
};
