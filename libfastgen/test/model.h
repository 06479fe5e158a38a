/*
 * model.h - small models with random weights, which tests drive through fastgen.h alone, and a plain reference for
 * them.
 */
#ifndef FG_TEST_MODEL_H
#define FG_TEST_MODEL_H

#include "../fastgen.h"
#include "../numeric.h"
#include "check.h"

enum { MAX_LAYERS = 4, MAX_TENSORS = 3 + MAX_LAYERS * 14 };

typedef struct {
	fg_shape shape;
	float inv_freq[64];
	int32_t window[MAX_LAYERS];
	fg_tensor tensors[MAX_TENSORS];
	int32_t n_tensors;
	int32_t dtype;
} model;

/* A model that runs in no time. */
enum { SMALL_VOCAB = 50 };
static inline fg_shape small_shape(void) {
	return (fg_shape){.n_layers = 2,
	                  .hidden_size = 64,
	                  .n_heads = 4,
	                  .n_kv_heads = 2,
	                  .head_dim = 32,
	                  .intermediate_size = 96,
	                  .vocab_size = SMALL_VOCAB};
}

static inline void add_tensor(model *m, fg_role role, int32_t layer, int32_t rows, int32_t cols) {
	size_t n = (size_t)rows * (size_t)cols, size = (size_t)fg_dtype_bytes(m->dtype);
	void *data = malloc(n * size);
	if (!data) exit(1);
	int norm =
		role == FG_FINAL_NORM || role == FG_ATTN_NORM || role == FG_MLP_NORM || role == FG_Q_NORM || role == FG_K_NORM;
	float scale = cols == 1 ? 0.2f : role == FG_EMBED ? 0.7f : 1.0f / sqrtf((float)cols);
	for (size_t i = 0; i < n; i++) fg_write(data, m->dtype, i, (norm ? 1.0f : 0.0f) + bell(scale));
	m->tensors[m->n_tensors++] = (fg_tensor){
		.data = data, .bytes = n * size, .role = role, .layer = layer, .dtype = m->dtype, .rows = rows, .cols = cols};
}

/* `shape` gives the dimensions and switches; windows and frequencies are filled in here. */
static inline void make_model(model *m, fg_shape shape, int32_t window, int32_t dtype, uint64_t seed) {
	memset(m, 0, sizeof *m);
	random_state = seed;
	m->shape = shape;
	m->dtype = dtype;
	m->shape.rms_norm_eps = 1e-5f;
	if (m->shape.rope_scale == 0) m->shape.rope_scale = 1;
	m->shape.rope_inv_freq = m->inv_freq;
	m->shape.layer_window = m->window;
	for (int i = 0; i < shape.head_dim / 2; i++) m->inv_freq[i] = powf(10000, -2.0f * (float)i / (float)shape.head_dim);
	int32_t h = shape.hidden_size, q = shape.n_heads * shape.head_dim, kv = shape.n_kv_heads * shape.head_dim;
	add_tensor(m, FG_EMBED, 0, shape.vocab_size, h);
	add_tensor(m, FG_FINAL_NORM, 0, h, 1);
	if (!shape.tied_embeddings) add_tensor(m, FG_LM_HEAD, 0, shape.vocab_size, h);
	for (int32_t l = 0; l < shape.n_layers; l++) {
		m->window[l] = window < 0 ? (l & 1 ? -window : 0) : window; /* negative: in every second layer */
		add_tensor(m, FG_ATTN_NORM, l, h, 1);
		add_tensor(m, FG_Q, l, q, h);
		add_tensor(m, FG_K, l, kv, h);
		add_tensor(m, FG_V, l, kv, h);
		add_tensor(m, FG_O, l, h, q);
		if (shape.qkv_bias) {
			add_tensor(m, FG_Q_BIAS, l, q, 1);
			add_tensor(m, FG_K_BIAS, l, kv, 1);
			add_tensor(m, FG_V_BIAS, l, kv, 1);
		}
		if (shape.qk_norm) {
			add_tensor(m, FG_Q_NORM, l, shape.head_dim, 1);
			add_tensor(m, FG_K_NORM, l, shape.head_dim, 1);
		}
		add_tensor(m, FG_MLP_NORM, l, h, 1);
		add_tensor(m, FG_GATE, l, shape.intermediate_size, h);
		add_tensor(m, FG_UP, l, shape.intermediate_size, h);
		add_tensor(m, FG_DOWN, l, h, shape.intermediate_size);
	}
}

static inline void free_model(model *m) {
	for (int32_t i = 0; i < m->n_tensors; i++) free((void *)m->tensors[i].data), free((void *)m->tensors[i].scale);
}

/* Writes the tensors of `m` to a file, one behind the other, and lists them there as t[m->n_tensors]. */
static inline void write_tensors(const model *m, const char *path, fg_tensor *t) {
	FILE *file = fopen(path, "w");
	uint64_t at = 0;
	for (int32_t i = 0; i < m->n_tensors; i++) {
		t[i] = m->tensors[i];
		t[i].path = path, t[i].data = NULL, t[i].offset = at;
		if (!file || fwrite(m->tensors[i].data, t[i].bytes, 1, file) != 1) exit(1);
		at += t[i].bytes;
	}
	if (fclose(file)) exit(1);
}

/* ---- FP8 ---- */

/* Which scale of an FP8 tensor its element i has. */
static inline size_t scale_index(const fg_tensor *t, size_t i) {
	size_t row = i / (size_t)t->cols, col = i % (size_t)t->cols;
	if (t->scale_rows == 1 && t->scale_cols == 1) return 0;
	if (t->scale_rows == t->rows && t->scale_cols == 1) return row;
	return row / FG_SCALE_BLOCK * (size_t)t->scale_cols + col / FG_SCALE_BLOCK;
}

/* Quantises a matrix: a scale in all, per row, or per block of 128 x 128. */
typedef enum { PER_TENSOR, PER_ROW, PER_BLOCK } granularity;

static inline void quantize_tensor(fg_tensor *t, granularity by) {
	size_t n = (size_t)t->rows * (size_t)t->cols;
	fg_tensor made = *t;
	made.scale_rows = by == PER_TENSOR ? 1 : by == PER_ROW ? t->rows : (t->rows + 127) / 128;
	made.scale_cols = by == PER_BLOCK ? (t->cols + 127) / 128 : 1;
	size_t n_scales = (size_t)made.scale_rows * (size_t)made.scale_cols;
	float *scale = calloc(n_scales, sizeof *scale);
	uint8_t *codes = malloc(n);
	if (!scale || !codes) exit(1);
	made.data = codes, made.scale = scale, made.bytes = n, made.dtype = FG_FP8_E4M3;
	for (size_t i = 0; i < n; i++) {
		float *amax = &scale[scale_index(&made, i)];
		*amax = fmaxf(*amax, fabsf(fg_read(t->data, t->dtype, i)));
	}
	for (size_t i = 0; i < n_scales; i++) scale[i] = fg_fp8_scale(scale[i]);
	for (size_t i = 0; i < n; i++) {
		codes[i] = fg_to_e4m3(fg_read(t->data, t->dtype, i) * (1 / scale[scale_index(&made, i)]));
	}
	free((void *)t->data);
	*t = made;
}

static inline int is_linear(const fg_tensor *t) {
	return t->cols > 1 && t->role != FG_EMBED && t->role != FG_LM_HEAD;
}

static inline void quantize_model(model *m, granularity by) {
	for (int32_t i = 0; i < m->n_tensors; i++) {
		if (is_linear(&m->tensors[i])) quantize_tensor(&m->tensors[i], by);
	}
}

/* Quantises and widens again n values, in groups with a scale each. `fixed` > 0: the scale; bound > 0: of amax. */
static inline void through_fp8(double *v, int32_t n, int32_t group, float fixed, float bound) {
	for (int32_t at = 0; at < n; at += group) {
		int32_t end = at + group < n ? at + group : n;
		float amax = 0;
		for (int32_t i = at; i < end; i++) amax = fmaxf(amax, fabsf((float)v[i]));
		if (bound > 0) amax = fminf(amax, bound);
		float scale = fixed > 0 ? fixed : fg_fp8_scale(amax);
		for (int32_t i = at; i < end; i++)
			v[i] = (double)scale * (double)fg_from_e4m3(fg_to_e4m3((float)v[i] * (1 / scale)));
	}
}

/* ---- the reference: one sequence, all positions, no optimisation ---- */

static inline double *doubles(size_t n) {
	double *p = calloc(n, sizeof *p);
	if (!p) exit(1);
	return p;
}

/* rounding: 0 = double precision throughout; 1 = every operation is rounded to float32; 2 = also the inputs of linear
 * layers to compute_dtype (of FP8 layers to FP8, with the scales that the tensor asks for), and keys and values to
 * kv_dtype. */
typedef struct {
	const model *m;
	int rounding;
	int32_t compute_dtype, kv_dtype;
} reference;

static inline double step_of(const reference *r, double v) {
	return r->rounding ? (double)(float)v : v;
}

static inline const fg_tensor *tensor_of(const model *m, fg_role role, int32_t layer) {
	for (int32_t i = 0; i < m->n_tensors; i++) {
		if (m->tensors[i].role == (int32_t)role && m->tensors[i].layer == layer) return &m->tensors[i];
	}
	return NULL;
}

static inline double weight(const reference *r, const fg_tensor *t, size_t i) {
	float w = fg_read(t->data, t->dtype, i);
	if (t->dtype == FG_FP8_E4M3) return (double)w * (double)t->scale[scale_index(t, i)];
	/* a library that computes in bf16 stores float32 weights as bf16 */
	if (r->rounding == 2 && t->cols > 1 && r->compute_dtype == FG_BF16 && t->dtype == FG_F32) w = fg_round(w, FG_BF16);
	return (double)w;
}

static inline void ref_linear(const reference *r, const fg_tensor *w, const double *x, double *y) {
	double *input = doubles((size_t)w->cols);
	memcpy(input, x, (size_t)w->cols * sizeof *input);
	if (r->rounding == 2 && w->dtype == FG_FP8_E4M3) {
		through_fp8(input, w->cols, w->scale_cols > 1 ? FG_SCALE_BLOCK : w->cols, w->input_scale, w->input_bound);
	} else if (r->rounding == 2) {
		for (int32_t k = 0; k < w->cols; k++) input[k] = (double)fg_round((float)x[k], r->compute_dtype);
	}
	for (int32_t i = 0; i < w->rows; i++) {
		double sum = 0;
		for (int32_t k = 0; k < w->cols; k++) {
			sum = step_of(r, sum + input[k] * weight(r, w, (size_t)i * (size_t)w->cols + (size_t)k));
		}
		y[i] = sum;
	}
	free(input);
}

static inline void ref_norm(const reference *r, const fg_tensor *w, const double *x, int32_t n, double *y) {
	double sum = 0;
	for (int32_t i = 0; i < n; i++) sum = step_of(r, sum + x[i] * x[i]);
	double scale = step_of(r, 1 / sqrt(step_of(r, sum / n + (double)r->m->shape.rms_norm_eps)));
	for (int32_t i = 0; i < n; i++) y[i] = step_of(r, step_of(r, x[i] * scale) * weight(r, w, (size_t)i));
}

static inline void ref_heads(const reference *r, double *v, int32_t n_heads, fg_role norm, int32_t layer,
                             int32_t position) {
	const fg_shape *s = &r->m->shape;
	int32_t half = s->head_dim / 2;
	for (int32_t h = 0; h < n_heads; h++, v += s->head_dim) {
		if (s->qk_norm) ref_norm(r, tensor_of(r->m, norm, layer), v, s->head_dim, v);
		for (int32_t i = 0; i < half; i++) {
			/* the model defines the angle in float32: it is no approximation */
			float angle = (float)position * s->rope_inv_freq[i];
			double c = step_of(r, cos((double)angle) * (double)s->rope_scale);
			double n = step_of(r, sin((double)angle) * (double)s->rope_scale);
			double a = v[i], b = v[i + half];
			v[i] = step_of(r, step_of(r, a * c) - step_of(r, b * n));
			v[i + half] = step_of(r, step_of(r, b * c) + step_of(r, a * n));
		}
	}
}

/* logits: [n][vocab_size] */
static inline void ref_forward(const reference *r, const int32_t *tokens, int32_t n, double *logits) {
	const fg_shape *s = &r->m->shape;
	size_t hidden = (size_t)s->hidden_size, dim = (size_t)s->head_dim, inter = (size_t)s->intermediate_size;
	size_t q_size = (size_t)s->n_heads * dim, kv_size = (size_t)s->n_kv_heads * dim, count = (size_t)n;
	double *x = doubles(count * hidden), *norm = doubles(hidden), *delta = doubles(hidden), *q = doubles(q_size);
	double *k = doubles(count * kv_size), *v = doubles(count * kv_size), *out = doubles(q_size),
		   *score = doubles(count);
	double *gate = doubles(inter), *up = doubles(inter);
	const fg_tensor *embed = tensor_of(r->m, FG_EMBED, 0);
	for (size_t i = 0; i < count * hidden; i++) {
		x[i] = weight(r, embed, (size_t)tokens[i / hidden] * hidden + i % hidden);
	}
	for (int32_t l = 0; l < s->n_layers; l++) {
		const fg_tensor *bias[3] = {tensor_of(r->m, FG_Q_BIAS, l), tensor_of(r->m, FG_K_BIAS, l),
		                            tensor_of(r->m, FG_V_BIAS, l)};
		for (int32_t t = 0; t < n; t++) {
			double *xt = x + (size_t)t * hidden, *kt = k + (size_t)t * kv_size, *vt = v + (size_t)t * kv_size;
			ref_norm(r, tensor_of(r->m, FG_ATTN_NORM, l), xt, s->hidden_size, norm);
			ref_linear(r, tensor_of(r->m, FG_Q, l), norm, q);
			ref_linear(r, tensor_of(r->m, FG_K, l), norm, kt);
			ref_linear(r, tensor_of(r->m, FG_V, l), norm, vt);
			for (size_t i = 0; bias[0] && i < q_size; i++) q[i] = step_of(r, q[i] + weight(r, bias[0], i));
			for (size_t i = 0; bias[1] && i < kv_size; i++) kt[i] = step_of(r, kt[i] + weight(r, bias[1], i));
			for (size_t i = 0; bias[2] && i < kv_size; i++) vt[i] = step_of(r, vt[i] + weight(r, bias[2], i));
			ref_heads(r, q, s->n_heads, FG_Q_NORM, l, t);
			ref_heads(r, kt, s->n_kv_heads, FG_K_NORM, l, t);
			if (r->rounding == 2 && r->kv_dtype == FG_FP8_E4M3) {
				through_fp8(kt, (int32_t)kv_size, s->head_dim, 0, 0),
					through_fp8(vt, (int32_t)kv_size, s->head_dim, 0, 0);
			}
			for (size_t i = 0; r->rounding == 2 && r->kv_dtype != FG_FP8_E4M3 && i < kv_size; i++) {
				kt[i] = (double)fg_round((float)kt[i], r->kv_dtype);
				vt[i] = (double)fg_round((float)vt[i], r->kv_dtype);
			}
			int32_t window = s->layer_window[l], low = window && t >= window ? t - window + 1 : 0;
			for (int32_t h = 0; h < s->n_heads; h++) {
				size_t kv_head = (size_t)(h / (s->n_heads / s->n_kv_heads)) * dim;
				double max = -INFINITY, sum = 0, *o = out + (size_t)h * dim;
				for (int32_t j = low; j <= t; j++) {
					double dot = 0;
					for (size_t d = 0; d < dim; d++) {
						dot = step_of(r, dot + q[(size_t)h * dim + d] * k[(size_t)j * kv_size + kv_head + d]);
					}
					score[j] = step_of(r, dot / sqrt((double)dim));
					if (score[j] > max) max = score[j];
				}
				for (size_t d = 0; d < dim; d++) o[d] = 0;
				for (int32_t j = low; j <= t; j++) {
					double p = step_of(r, exp(score[j] - max));
					sum = step_of(r, sum + p);
					for (size_t d = 0; d < dim; d++) o[d] = step_of(r, o[d] + p * v[(size_t)j * kv_size + kv_head + d]);
				}
				for (size_t d = 0; d < dim; d++) o[d] = step_of(r, o[d] / sum);
			}
			ref_linear(r, tensor_of(r->m, FG_O, l), out, delta);
			for (size_t i = 0; i < hidden; i++) xt[i] = step_of(r, xt[i] + delta[i]);
			ref_norm(r, tensor_of(r->m, FG_MLP_NORM, l), xt, s->hidden_size, norm);
			ref_linear(r, tensor_of(r->m, FG_GATE, l), norm, gate);
			ref_linear(r, tensor_of(r->m, FG_UP, l), norm, up);
			for (size_t i = 0; i < inter; i++) gate[i] = step_of(r, step_of(r, gate[i] / (1 + exp(-gate[i]))) * up[i]);
			ref_linear(r, tensor_of(r->m, FG_DOWN, l), gate, delta);
			for (size_t i = 0; i < hidden; i++) xt[i] = step_of(r, xt[i] + delta[i]);
		}
	}
	for (int32_t t = 0; t < n; t++) {
		ref_norm(r, tensor_of(r->m, FG_FINAL_NORM, 0), x + (size_t)t * hidden, s->hidden_size, norm);
		ref_linear(r, s->tied_embeddings ? embed : tensor_of(r->m, FG_LM_HEAD, 0), norm,
		           logits + (size_t)t * (size_t)s->vocab_size);
	}
	free(x), free(norm), free(delta), free(q), free(k), free(v), free(out), free(score), free(gate), free(up);
}

/* ---- driving an engine ---- */

#define MUST(call)                                                                                                     \
	do {                                                                                                               \
		fg_status status_ = (call);                                                                                    \
		if (status_) {                                                                                                 \
			printf("%s:%d: %s: status %d: %s\n", __FILE__, __LINE__, #call, (int)status_, fg_error());                 \
			exit(1);                                                                                                   \
		}                                                                                                              \
	} while (0)

/* The call must fail with this status, and the message must contain `text`. */
#define REFUSED(status, text, call)                                                                                    \
	do {                                                                                                               \
		fg_status got_ = (call);                                                                                       \
		CHECK(got_ == (status) && strstr(fg_error(), text), "status %d: %s", (int)got_,                                \
		      got_ ? fg_error() : "accepted");                                                                         \
	} while (0)

static inline fg_options test_options(void) {
	static const int32_t device = 0;
	return (fg_options){.devices = &device,
	                    .n_devices = 1,
	                    .n_threads = 2,
	                    .max_seqs = 8,
	                    .max_step_tokens = 1024,
	                    .max_context = 1024,
	                    .compute_dtype = FG_F32,
	                    .kv_dtype = FG_F32,
	                    .kv_bytes = 64 << 20};
}

static inline fg_engine *open_model(const model *m, fg_options options, fg_capacity *capacity) {
	fg_engine *engine;
	fg_capacity ignored;
	MUST(fg_open(&m->shape, &options, &engine));
	MUST(fg_load(engine, m->tensors, m->n_tensors));
	MUST(fg_ready(engine, capacity ? capacity : &ignored));
	return engine;
}

#define GREEDY (fg_sampling){.top_p = 1, .repetition_penalty = 1}

/* A step, and the arrays that it points to. */
typedef struct {
	fg_slot_fill fills[8];
	fg_page_update updates[8 * 32];
	fg_step_seq seqs[8];
	int32_t tokens[1024];
	fg_step step;
} step_builder;

static inline void begin_step(step_builder *b) {
	memset(&b->step, 0, sizeof b->step);
	b->step.fills = b->fills;
	b->step.page_updates = b->updates;
	b->step.seqs = b->seqs;
	b->step.tokens = b->tokens;
}

static inline void fill_slot(step_builder *b, int32_t slot, fg_sampling sampling) {
	b->fills[b->step.n_fills++] = (fg_slot_fill){.slot = slot, .sampling = sampling};
}

static inline void map_pages(step_builder *b, int32_t slot, int32_t from, int32_t n, int32_t first, int32_t stride) {
	for (int32_t i = 0; i < n; i++) {
		b->updates[b->step.n_page_updates++] = (fg_page_update){slot, from + i, first + i * stride};
	}
}

static inline fg_step_seq *add_seq(step_builder *b, int32_t slot, const int32_t *tokens, int32_t n, int32_t context,
                                   int32_t flags) {
	memcpy(b->tokens + b->step.n_tokens, tokens, (size_t)n * sizeof *tokens);
	b->step.n_tokens += n;
	fg_step_seq *q = &b->seqs[b->step.n_seqs++];
	*q = (fg_step_seq){.slot = slot, .n_new = n, .context = context, .flags = flags, .n_logprobs = -1, .mask = -1};
	return q;
}

typedef struct {
	int32_t ids[1024];
	float logprobs[1024];
	int32_t ranks[1024];
	int32_t top_ids[1024 * FG_MAX_LOGPROBS];
	float top_logprobs[1024 * FG_MAX_LOGPROBS];
	float *logits;
	int64_t logits_capacity;
	fg_result result;
} outcome;

static inline outcome *new_outcome(const model *m, int32_t rows) {
	outcome *o = calloc(1, sizeof *o);
	if (!o) exit(1);
	o->logits_capacity = (int64_t)rows * m->shape.vocab_size;
	o->logits = calloc((size_t)o->logits_capacity + 1, sizeof(float));
	if (!o->logits) exit(1);
	return o;
}

static inline void free_outcome(outcome *o) {
	free(o->logits);
	free(o);
}

static inline fg_status wait_for(fg_engine *engine, outcome *o) {
	o->result = (fg_result){.row_capacity = 1024,
	                        .ids = o->ids,
	                        .logprobs = o->logprobs,
	                        .ranks = o->ranks,
	                        .top_ids = o->top_ids,
	                        .top_logprobs = o->top_logprobs,
	                        .logits = o->logits,
	                        .logits_capacity = o->logits_capacity};
	return fg_wait(engine, &o->result);
}

static inline void run_step(fg_engine *engine, step_builder *b, outcome *o) {
	MUST(fg_submit(engine, &b->step));
	MUST(wait_for(engine, o));
}

#endif
