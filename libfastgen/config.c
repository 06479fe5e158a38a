/*
 * config.c - checks the shape and the options that fg_open is given, and copies them.
 */
#include "engine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Bounds on dimensions: far above any model, and low enough that no size computed from two of them overflows 64 bits.
 */
enum { MAX_DIM = 1 << 24, MAX_LAYERS = 4096, MAX_HEADS = 4096, MAX_SEQS = 1 << 16 };

static fg_status in_range(const char *name, int64_t value, int64_t low, int64_t high) {
	if (value >= low && value <= high) return FG_OK;
	return fg_fail(FG_INVALID, "%s is %lld; it must be between %lld and %lld", name, (long long)value, (long long)low,
	               (long long)high);
}

static fg_status check_shape(const fg_shape *s) {
	struct {
		const char *name;
		int64_t value, low, high;
	} range[] = {
		{"n_layers", s->n_layers, 1, MAX_LAYERS},
		{"hidden_size", s->hidden_size, 1, MAX_DIM},
		{"n_heads", s->n_heads, 1, MAX_HEADS},
		{"n_kv_heads", s->n_kv_heads, 1, MAX_HEADS},
		{"intermediate_size", s->intermediate_size, 1, MAX_DIM},
		{"vocab_size", s->vocab_size, 1, MAX_DIM},
		{"qkv_bias", s->qkv_bias, 0, 1},
		{"qk_norm", s->qk_norm, 0, 1},
		{"tied_embeddings", s->tied_embeddings, 0, 1},
	};
	for (size_t i = 0; i < sizeof range / sizeof *range; i++) {
		fg_status status = in_range(range[i].name, range[i].value, range[i].low, range[i].high);
		if (status) return status;
	}
	if (s->head_dim != 32 && s->head_dim != 64 && s->head_dim != 128) {
		return fg_fail(FG_UNSUPPORTED, "head_dim is %d; 32, 64 and 128 are supported", s->head_dim);
	}
	if (s->n_heads % s->n_kv_heads) {
		return fg_fail(FG_INVALID, "n_heads (%d) is not a multiple of n_kv_heads (%d)", s->n_heads, s->n_kv_heads);
	}
	if (!(s->rms_norm_eps >= 0) || isinf(s->rms_norm_eps)) {
		return fg_fail(FG_INVALID, "rms_norm_eps is %g; it must be a finite number >= 0", (double)s->rms_norm_eps);
	}
	if (!isfinite(s->rope_scale)) {
		return fg_fail(FG_INVALID, "rope_scale is %g; it must be finite (1 = no scaling)", (double)s->rope_scale);
	}
	if (!s->rope_inv_freq) return fg_fail(FG_INVALID, "rope_inv_freq is NULL; it must hold head_dim / 2 frequencies");
	if (!s->layer_window) return fg_fail(FG_INVALID, "layer_window is NULL; it must hold n_layers windows (0 = none)");
	for (int32_t i = 0; i < s->head_dim / 2; i++) {
		if (!isfinite(s->rope_inv_freq[i])) {
			return fg_fail(FG_INVALID, "rope_inv_freq[%d] is %g; it must be finite", i, (double)s->rope_inv_freq[i]);
		}
	}
	for (int32_t i = 0; i < s->n_layers; i++) {
		if (s->layer_window[i] < 0) {
			return fg_fail(FG_INVALID, "layer_window[%d] is %d; it must be 0 (full attention) or more", i,
			               s->layer_window[i]);
		}
	}
	return FG_OK;
}

static fg_status check_options(const fg_options *o) {
	/* float32 holds positions exactly up to 2^24 */
	struct {
		const char *name;
		int64_t value, low, high;
	} range[] = {
		{"n_devices", o->n_devices, 1, FG_MAX_RANKS},
		{"n_threads", o->n_threads, 0, 1024},
		{"mask_threads", o->mask_threads, 0, 1024},
		{"max_seqs", o->max_seqs, 1, MAX_SEQS},
		{"max_step_tokens", o->max_step_tokens, o->max_seqs, 1 << 20},
		{"max_context", o->max_context, 1, MAX_DIM},
		{"compute_dtype", o->compute_dtype, FG_F32, FG_BF16},
		{"kv_dtype", o->kv_dtype, FG_F32, FG_FP8_E4M3},
		{"quantization", o->quantization, FG_QUANTIZE_NONE, FG_QUANTIZE_FP8_LARGE},
	};
	for (size_t i = 0; i < sizeof range / sizeof *range; i++) {
		fg_status status = in_range(range[i].name, range[i].value, range[i].low, range[i].high);
		if (status) return status;
	}
	if (!o->devices) return fg_fail(FG_INVALID, "devices is NULL; it must hold n_devices device numbers");
	return FG_OK;
}

static void *copy(const void *data, size_t bytes) {
	void *p = malloc(bytes);
	return p ? memcpy(p, data, bytes) : NULL;
}

fg_status fg_config_init(fg_config *config, const fg_shape *shape, const fg_options *options) {
	memset(config, 0, sizeof *config);
	if (!shape || !options) return fg_fail(FG_INVALID, "shape or options is NULL");
	fg_status status = check_shape(shape);
	if (!status) status = check_options(options);
	if (status) return status;
	config->shape = *shape;
	config->options = *options;
	config->pages_per_seq = (options->max_context + FG_PAGE_TOKENS - 1) / FG_PAGE_TOKENS;
	config->shape.rope_inv_freq = copy(shape->rope_inv_freq, (size_t)shape->head_dim / 2 * sizeof(float));
	config->shape.layer_window = copy(shape->layer_window, (size_t)shape->n_layers * sizeof(int32_t));
	config->options.devices = copy(options->devices, (size_t)options->n_devices * sizeof(int32_t));
	if (!config->shape.rope_inv_freq || !config->shape.layer_window || !config->options.devices) {
		return fg_fail(FG_OUT_OF_MEMORY, "no memory for the engine's configuration");
	}
	return FG_OK;
}

void fg_config_free(fg_config *config) {
	free((void *)config->shape.rope_inv_freq);
	free((void *)config->shape.layer_window);
	free((void *)config->options.devices);
	memset(config, 0, sizeof *config);
}
