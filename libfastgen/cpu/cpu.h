/*
 * cpu.h - the CPU's op context.
 */
#ifndef FG_CPU_H
#define FG_CPU_H

#include "../ops.h"
#include "kernels.h"
#include "sample.h"
#include "threads.h"

enum {
	/* Loops over fewer values than this run on the calling thread: sharing them out would take longer. */
	FG_SMALL = 1 << 14,
	CPU_PARTIALS = 4096, /* spans that may be items of their own, in one layer */
	CPU_LOGIT_ROWS = 64, /* rows of logits made at once: bounds the memory of a step that scores a long prompt */
};

/* Mapped regions that are freed together: of files, or of memory that costs nothing until it is touched. */
typedef struct {
	void *data;
	size_t bytes;
} fg_mapping;

typedef struct {
	fg_mapping *mappings;
	int32_t n;
} cpu_memory;

/* Consecutive query tokens of one sequence. */
typedef struct {
	int32_t seq, first, n_tokens;
} cpu_block;

/* Of the rank's thread; within fg_parallel of the pool's too, each item with results and scratch of its own. Masks are
 * written by other threads meanwhile (ops.h). */
typedef struct {
	fg_ctx base;
	const fg_kernels *kernels;
	fg_pool *pool;
	fg_x_format x_format; /* of the inputs of FG_PLAIN matrices */
	float attention_scale;

	cpu_memory memory;        /* from ready to close */
	cpu_memory weight_memory; /* of the weights that are loaded, and the files that they are in */

	/* [n_pages][n_layers][K|V][n_kv_heads][64 * head_dim]; K is [head_dim][64], V [64][head_dim]. In FP8, a layer's
	 * scales follow: float [K|V][n_kv_heads][64]. */
	char *kv;
	char *host_kv; /* [n_host_pages], laid out as kv */
	size_t page_bytes;
	int32_t n_pages, n_host_pages;

	int32_t *page_table;   /* [max_seqs][pages_per_seq] */
	int32_t *last_token;   /* [max_seqs]; FG_NO_TOKEN where none could be sampled */
	fg_sampler **samplers; /* [max_seqs] */
	uint32_t *mask_words;  /* [FG_STEPS_IN_FLIGHT][max_seqs][fg_mask_stride] */
	int32_t *mask_state;   /* [FG_STEPS_IN_FLIGHT][max_seqs] */

	int32_t widest; /* features of a linear input */
	float *wide;    /* [max_step_tokens][widest]: what an op is about to quantise */

	/* of the current step */
	cpu_block *blocks; /* [n_blocks], up to max_step_tokens */
	int32_t n_blocks;
	int32_t longest;                   /* the longest context */
	float *rope_cos, *rope_sin;        /* [max_step_tokens][head_dim / 2] */
	uint64_t step_start, last_end;     /* ns */
	uint64_t to_host_ns, to_device_ns; /* page copies since the last step's end */
	uint64_t mask_deadline;            /* ns: until when sampling waits for masks; 0 = it has not waited yet */
	int32_t *sample_order;             /* [logit_rows]: rows to sample, by what they wait for */

	char *linear_scratch; /* [n_threads][16 * widest] */
	char *sample_scratch; /* [n_threads][sample_scratch_bytes] */
	size_t sample_scratch_bytes;
	fg_attention_scratch *attention_scratch; /* [n_threads] */
	fg_softmax *partials;                    /* [CPU_PARTIALS] */
} cpu_ctx;

/* memory.c: zeroed memory, which takes up space only as it is touched. NULL, with fg_error's text set, on failure. */
void *cpu_alloc(cpu_memory *memory, size_t bytes, const char *what);
/* Takes over a mapping, and unmaps it if that fails. */
fg_status cpu_keep_mapping(cpu_memory *memory, void *data, size_t bytes);
void cpu_free_memory(cpu_memory *memory);
/* Gives all that was touched of a piece of cpu_alloc's memory back to the system: it is zeros again. */
void cpu_empty(void *data, size_t bytes);

/* bus_error.c: from now on a read of what is missing from the mapped file `path` (cut where it is longer) ends the
 * process with a message that names it, not with a signal. cpu_unwatch_file() comes before the mapping at `start` ends;
 * it does nothing where none is watched. Both may be called from any thread. */
void cpu_watch_file(const char *path, const void *start, size_t bytes);
void cpu_unwatch_file(const void *start);

/* fp8.c: FP8 inputs. For an FG_ROWS or FG_BLOCKS matrix [rows][cols] they are FP8 values [T][cols] in cpu_input_format,
 * then, behind room for max_step_tokens of them, the scales [T][cpu_input_scales]. */
fg_x_format cpu_input_format(const cpu_ctx *ctx, const fg_matrix *w);
int32_t cpu_input_scales(const fg_matrix *w); /* of one token */
float *cpu_input_scale(const cpu_ctx *ctx, const void *x, const fg_matrix *w);
/* Room for n tokens of any format. */
size_t cpu_input_bytes(int32_t n, int32_t cols);
/* Around the making of row t of the inputs x of a matrix: what makes it writes `row` in `format`, between the two. */
typedef struct {
	char *row;
	fg_x_format format;
} cpu_input;
cpu_input cpu_input_begin(const cpu_ctx *ctx, const fg_matrix *w, int32_t t, void *x);
void cpu_input_end(const cpu_ctx *ctx, const fg_matrix *w, int32_t t, void *x);
int32_t cpu_scale_blocks(int32_t n); /* ceil(n / 128) */

/* fp8.c: weights. Quantises [rows][cols] of dtype to FP8, with a scale per row. */
void cpu_quantize_rows(const cpu_ctx *ctx, const void *from, int32_t dtype, int32_t rows, int32_t cols, void *to,
                       float *scale);
/* to = from * its scales, as dtype; `from`: the bytes of an FP8 tensor. */
void cpu_widen(const cpu_ctx *ctx, const fg_tensor *tensor, const void *from, void *to, int32_t dtype);

/* weights.c */
fg_status cpu_load(fg_ctx *ctx, const fg_tensor_table *table, atomic_ullong *done, atomic_int *cancel);
fg_status cpu_load_random(fg_ctx *ctx, uint64_t seed, atomic_ullong *done, atomic_int *cancel);
void cpu_drop_weights(cpu_ctx *ctx);

/* matmul.c */
void cpu_linear(fg_ctx *ctx, const void *x, const fg_matrix *w, int32_t n, void *y);
void cpu_linear_add(fg_ctx *ctx, const void *x, const fg_matrix *w, int32_t n, void *residual, fg_pending *pending);
void cpu_logits(fg_ctx *ctx, const void *x, const fg_matrix *w, int32_t n, float *logits);

/* attend.c */
void cpu_qkv_rope(fg_ctx *ctx, const fg_batch *batch, int32_t layer, void *qkv);
void cpu_list_blocks(cpu_ctx *ctx, const fg_batch *batch); /* in step_begin */
void cpu_attention(fg_ctx *ctx, const fg_batch *batch, int32_t layer, const void *qkv, const fg_matrix *next,
                   void *out);

#endif
