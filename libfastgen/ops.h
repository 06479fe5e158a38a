/*
 * ops.h - what a device must be able to do. The forward pass (forward.c) and the engine (engine.c) are written once
 * over this table; each library fills it in: cpu/ plainly, cuda/ fused.
 *
 * Every rank (one device of a tensor-parallel engine) has an op context of its own, used by its rank thread alone.
 * Ops of a step may be asynchronous: they run in the order they were called in, and step_wait waits for them. They
 * return nothing: a context remembers its first failure, and step_wait returns it.
 *
 * Dimensions: T = tokens of a step, H = hidden_size, D = head_dim, I = intermediate_size, V = vocab_size,
 * heads and kv_heads = those of this rank.
 */
#ifndef FG_OPS_H
#define FG_OPS_H

#include "error.h"
#include "fastgen.h"

#include <stdatomic.h>
#include <stddef.h>

enum { FG_MAX_RANKS = 16 };

/* What was passed to fg_open, checked and copied. */
typedef struct {
	fg_shape shape;
	fg_options options;
	int32_t pages_per_seq; /* ceil(max_context / FG_PAGE_TOKENS): entries in a slot's page table */
} fg_config;

/* ---- weights ---- */

/* The rows of a matrix may come from up to three tensors (q|k|v, gate|up), one below the other. The CPU reads each
 * where its file is mapped; CUDA makes one matrix of them. */
typedef struct {
	const void *data;   /* [rows][cols] */
	const float *scale; /* FG_ROWS: [rows]; FG_BLOCKS: [ceil(rows / 128)][ceil(cols / 128)]; FG_PLAIN: NULL */
	int32_t rows;
	int32_t dtype; /* fg_dtype; FG_FP8_E4M3 unless FG_PLAIN */
} fg_matrix_part;

/* How a matrix and its inputs are scaled. An op that makes inputs for a matrix is told which (`next`), and quantises
 * them itself, from its float32 results (numeric.h: fg_fp8_scale, fg_to_e4m3):
 *
 * FG_PLAIN   inputs as compute_dtype says.
 * FG_ROWS    y[t][r] = input_scale[t] * scale[r] * sum over k of x8[t][k] * w8[r][k]; x8 = x / input_scale, in FP8.
 * FG_BLOCKS  the same for each block of 128 columns, with the scales of the block, summed up in float32.
 *
 * FG_WIDE_ROWS and FG_WIDE_BLOCKS: weights in FP8, scaled by row or by block, and inputs as with FG_PLAIN. Of no
 * checkpoint: CUDA's, where the device multiplies no FP8 that is scaled so.
 *
 * All parts of a matrix are FG_PLAIN, or none. */
typedef enum { FG_PLAIN = 0, FG_ROWS = 1, FG_BLOCKS = 2, FG_WIDE_ROWS = 3, FG_WIDE_BLOCKS = 4 } fg_scaling;

typedef struct {
	int32_t scaling;   /* fg_scaling */
	float input_scale; /* FG_ROWS: > 0: of every token, instead of the token's own */
	float input_bound; /* FG_ROWS: > 0: a token's scale comes from min(amax, input_bound) */
} fg_scheme;

typedef struct {
	fg_matrix_part part[3];
	int32_t n_parts;
	int32_t rows; /* output features: sum over the parts */
	int32_t cols; /* input features */
	fg_scheme scheme;
} fg_matrix;

typedef struct {
	fg_matrix qkv;          /* [(heads + 2 * kv_heads) * D][H] */
	fg_matrix o;            /* [H][heads * D] */
	fg_matrix gate_up;      /* [2 * I][H] */
	fg_matrix down;         /* [H][I] */
	const float *attn_norm; /* [H] */
	const float *mlp_norm;  /* [H] */
	const float *qkv_bias;  /* [(heads + 2 * kv_heads) * D] or NULL */
	const float *q_norm;    /* [D] or NULL */
	const float *k_norm;    /* [D] or NULL */
} fg_layer;

typedef struct {
	fg_matrix embed;   /* [V][H] */
	fg_matrix lm_head; /* [V][H]; the same as embed when tied */
	const float *final_norm;
	fg_layer *layers; /* [n_layers] */
} fg_weights;

/* The checkpoint's tensors, checked against the shape and sorted (load.c). */
typedef struct {
	char *path;                          /* NULL: not a file, but device memory that another process shares */
	uint64_t bytes;                      /* the file's size */
	uint8_t handle[FG_IPC_HANDLE_BYTES]; /* the memory's */
} fg_file;

typedef struct {
	fg_tensor *tensors; /* [n_tensors]; .path and .ipc_handle are not to be used: see file_of */
	int32_t *file_of;   /* [n_tensors]: index into files, -1 = in memory */
	int32_t *index;     /* [n_layers][FG_ROLES]: index into tensors, -1 = none; role < FG_ATTN_NORM: in row 0 */
	fg_file *files;
	int32_t n_tensors;
	int32_t n_files;
	uint64_t bytes; /* of all tensors */
} fg_tensor_table;

/* The tensor of (layer, role), NULL where the table has none; *file is its file or NULL. */
const fg_tensor *fg_table_find(const fg_tensor_table *table, int32_t layer, fg_role role, const fg_file **file);

/* The scheme of a matrix whose parts are the tensors of n roles of a layer. `table` is NULL for random weights. Where
 * the parts are scaled in different ways it is FG_PLAIN, and their FP8 values are multiplied by their scales as they
 * are loaded; so always for embed and lm_head. Where a plain part is in an FG_ROWS matrix, it is to be quantised. */
fg_scheme fg_table_scheme(const fg_tensor_table *table, const fg_config *config, int32_t layer, int32_t n,
                          const fg_role *roles);

/* ---- pages ---- */

/* Bytes of one layer in a page: keys and values of kv_heads, then, if they are FP8, a float32 scale each:
 * [K|V][kv_heads][64]. Scales are written with the keys and values (qkv_rope), from a head's head_dim float32 values
 * (numeric.h: fg_fp8_scale). */
static inline size_t fg_page_layer_bytes(int32_t kv_heads, int32_t head_dim, int32_t kv_dtype) {
	size_t of_head =
		kv_dtype == FG_FP8_E4M3 ? (size_t)head_dim + sizeof(float) : (size_t)head_dim * (kv_dtype == FG_F32 ? 4 : 2);
	return (size_t)2 * (size_t)kv_heads * FG_PAGE_TOKENS * of_head;
}

/* ---- masks ---- */

/* How far a mask is. Whoever writes one of the last two does so after the mask's words (release); whoever reads it
 * reads them after it (acquire). */
typedef enum {
	FG_MASK_MISSING = 0, /* not given yet */
	FG_MASK_FILLING = 1, /* given: a thread of its own fills it, or whoever samples the row */
	FG_MASK_READY = 2,
	FG_MASK_BROKEN = 3, /* its fill failed */
} fg_mask_state;

/* The masks of a step: those that came with it, then the late ones. In host memory that the device reads. */
typedef struct {
	uint32_t *words; /* [max_seqs][stride], of which fg_mask_words are used: bit i set = token i is allowed */
	int32_t *state;  /* [max_seqs]: fg_mask_state */
	size_t stride;   /* words from one mask to the next: a multiple of 4, so that masks are aligned to 16 bytes */
} fg_mask_rows;

static inline size_t fg_mask_words(int32_t vocab_size) {
	return ((size_t)vocab_size + 31) / 32;
}

static inline size_t fg_mask_stride(int32_t vocab_size) {
	return (fg_mask_words(vocab_size) + 3) / 4 * 4;
}

/* ---- a step ---- */

/* One row of logits that a step needs. */
typedef struct {
	int32_t token; /* whose hidden state: index into the step's tokens */
	int32_t slot;
	int32_t position;   /* of the token that follows */
	int32_t target;     /* the id to score; -1 = sample, and remember what was sampled as the slot's last token */
	int32_t n_logprobs; /* as fg_step_seq's */
	int32_t mask;       /* row of the step's masks, or -1 */
	int32_t logits_row; /* row of out.logits to copy the logits to, or -1 */
} fg_row;

/* A slot to fill. `sampler` is the library's own (sampler_new); step_begin exchanges it for the one it replaces. */
typedef struct {
	int32_t slot;
	void *sampler;
} fg_fill;

/* What a step returns: host memory, laid out as in fg_result, that step_wait fills in. */
typedef struct {
	int32_t *ids;
	float *logprobs;
	int32_t *ranks;
	int32_t *top_ids;    /* NULL when no row asks for alternatives */
	float *top_logprobs; /* NULL when top_ids is */
	float *logits;       /* NULL when no row asks for logits */
	double run_seconds;
	double idle_seconds;
	double to_host_seconds;
	double to_device_seconds;
} fg_output;

/* A step, checked, copied and expanded by the engine. Lives until after step_wait. */
typedef struct {
	int32_t n_seqs, n_tokens, n_rows, n_page_updates, n_fills;
	const fg_step_seq *seqs;            /* [n_seqs] */
	const int32_t *first_token;         /* [n_seqs]: index of the sequence's first new token */
	const int32_t *tokens;              /* [n_tokens]: ids, or FG_LAST_SAMPLED */
	const int32_t *positions;           /* [n_tokens] */
	const int32_t *seq_of;              /* [n_tokens]: index into seqs */
	const fg_row *rows;                 /* [n_rows] */
	const fg_page_update *page_updates; /* [n_page_updates], applied after the fills; no (slot, index) twice */
	fg_fill *fills;                     /* [n_fills] */
	fg_mask_rows masks;                 /* late ones come while the step runs */
	struct fg_masks *mask_fills;        /* what `sample` fills masks with; NULL = other threads fill them */
	int32_t place;                      /* of the step, there */
	fg_output out;
} fg_batch;

/* Activations of one step. Matrices that linear reads are in the library's own format for its inputs, which the matrix
 * that will read them decides (CPU: float32 rounded to compute_dtype, or bf16; FP8 values in the same, then the
 * scales). */
typedef struct {
	void *residual;     /* [T][H]: the residual stream, in the library's own format (CPU: float32, CUDA: bf16) */
	void *x;            /* [T][H]: a norm's output, a linear input */
	void *qkv;          /* [T][(heads + 2 * kv_heads) * D]: a linear output; or as attn, of the rows that need logits */
	void *attn;         /* [T][heads * D]: a linear input */
	void *gate_up;      /* [T][2 * I]: gate_up's scratch */
	void *act;          /* [T][I]: a linear input */
	void *rows;         /* [logit_rows][H]: the residual stream, of the rows that need logits */
	float *logits;      /* [logit_rows][V] */
	int32_t logit_rows; /* rows of logits made at once */
} fg_buffers;

/* What the residual stream [T][H] still lacks: the sum of `count` matrices [T][H] in the library's own format, `stride`
 * elements apart, which no op has added to it yet. linear_add and all_reduce leave it where adding would cost a pass of
 * its own; the next op that reads the stream takes it as an argument, and adds it on the way. */
typedef struct {
	const void *data;
	int32_t count; /* 0: the stream is whole, as always on the CPU */
	int64_t stride;
} fg_pending;

/* What the shared code sees of an op context: the first member of each library's own. */
typedef struct {
	const fg_config *config;
	int32_t rank;
	fg_weights weights; /* after load */
	fg_buffers buf;     /* after ready */
} fg_ctx;

/* ---- traces ---- */

struct fg_trace; /* trace.h */

/* Something that a device did by itself: a kernel, a copy. Times are those of fg_clock_ns. */
typedef struct fg_activity {
	const char *name; /* until forget_trace */
	uint64_t start, end;
	uint64_t called; /* when the host's call that asked for it began; 0 = unknown */
	uint64_t bytes;  /* of a copy, else 0 */
	uint32_t stream; /* the device's number for its queue */
} fg_activity;

typedef struct {
	fg_activity *list; /* [n], in any order; until forget_trace */
	size_t n;
	size_t dropped; /* that did not fit */
} fg_activities;

typedef struct {
	/* Life of a context. On the rank thread, in this order; each returns a status and sets fg_error's text. `done`
	 * counts the table's bytes loaded so far. Once *cancel is set, load stops early, with any status. After ready, load
	 * and load_random may come again, with the same schemes and no step in flight: they replace the weights. */
	fg_status (*open)(const fg_config *config, int32_t rank, fg_ctx **ctx);
	fg_status (*load)(fg_ctx *ctx, const fg_tensor_table *table, atomic_ullong *done, atomic_int *cancel);
	fg_status (*load_random)(fg_ctx *ctx, uint64_t seed, atomic_ullong *done, atomic_int *cancel);
	fg_status (*ready)(fg_ctx *ctx, fg_capacity *capacity);
	void (*close)(fg_ctx *ctx); /* frees everything, also after a failure */
	/* 1: `sample` calls the fills of late masks itself where the options ask for no mask threads. A library whose steps
	 * need all cores: beside its threads, others would only take turns with them. */
	int sampler_fills;

	/* Before a load whose table names memory of other processes: opens it, on all ranks or on none. load closes it.
	 * NULL for a library that cannot read such memory. */
	fg_status (*import)(fg_ctx *ctx, const fg_tensor_table *table);
	/* As fg_sleep and fg_wake say, with no step in flight; for any level and any bits, whatever sleeps already. If one
	 * rank fails for lack of memory, all fail, and nothing has changed. */
	fg_status (*sleep)(fg_ctx *ctx, int32_t level);
	fg_status (*wake)(fg_ctx *ctx, int32_t what);

	/* Checks sampling parameters and makes what step_begin puts in a slot. Any thread. */
	fg_status (*sampler_new)(const fg_config *config, const fg_sampling *sampling, void **sampler);
	void (*sampler_free)(void *sampler);

	/* Around the ops of a step, on the rank thread: step_begin applies fills and page updates, step_end publishes the
	 * results. */
	void (*step_begin)(fg_ctx *ctx, fg_batch *batch);
	/* Runs the whole pass in place of the ops below, if the device has recorded one for such a step (a CUDA graph).
	 * Returns 1 if it did. NULL in a library that records none. */
	int (*replay)(fg_ctx *ctx, const fg_batch *batch);
	void (*step_end)(fg_ctx *ctx, fg_batch *batch);
	/* Waits until the step's results are in batch->out. On the thread that calls fg_wait, after step_end has returned.
	 */
	fg_status (*step_wait)(fg_ctx *ctx, fg_batch *batch);
	/* Where the masks of a step in flight lie, 0 <= place < FG_STEPS_IN_FLIGHT. Of rank 0, which samples. Any thread,
	 * after ready. */
	fg_mask_rows (*masks)(fg_ctx *ctx, int32_t place);
	/* Copies KV pages between device and host, in order with the steps. On the rank thread. */
	void (*copy_pages)(fg_ctx *ctx, const fg_page_copy *copies, int32_t n_copies);
	/* Host pages that copies may name by now, of the capacity's: never fewer than before. Any thread, after ready. NULL
	 * for a library whose ready makes them all. */
	int32_t (*host_pages)(fg_ctx *ctx);
	/* Where a host page lies that copies may name. Any thread, after ready. */
	void *(*host_page)(fg_ctx *ctx, int32_t host_page);
	/* Waits for the copies that were begun, while no step is in flight. On the rank thread. NULL for a library whose
	 * copy_pages waits. */
	fg_status (*copies_wait)(fg_ctx *ctx);

	/* residual[t] = embed[tokens[t]] */
	void (*embed)(fg_ctx *ctx, const fg_batch *batch, void *residual);
	/* residual += pending; x = RMSNorm(residual) * weight, over n rows of H, as input for `next` */
	void (*add_norm)(fg_ctx *ctx, void *residual, fg_pending pending, const float *weight, int32_t n,
	                 const fg_matrix *next, void *x);
	/* y[n][w.rows] = x[n][w.cols] * w^T, in the library's own format for activations */
	void (*linear)(fg_ctx *ctx, const void *x, const fg_matrix *w, int32_t n, void *y);
	/* residual[n][w.rows] += x[n][w.cols] * w^T, or the product is left in *pending, which is set either way. It is the
	 * rank's term of a sum over the ranks, which all_reduce completes. */
	void (*linear_add)(fg_ctx *ctx, const void *x, const fg_matrix *w, int32_t n, void *residual, fg_pending *pending);
	/* Completes linear_add: the sum over the ranks is in the stream, or left in *pending. */
	void (*all_reduce)(fg_ctx *ctx, void *residual, int32_t n, fg_pending *pending);
	/* Bias, norm of each head of q and k, RoPE; q stays in qkv, k and v go to their pages. */
	void (*qkv_rope)(fg_ctx *ctx, const fg_batch *batch, int32_t layer, void *qkv);
	/* out[t][heads * D] = attention of token t over its sequence's pages, up to itself, within the layer's window, as
	 * input for `next`. */
	void (*attention)(fg_ctx *ctx, const fg_batch *batch, int32_t layer, const void *qkv, const fg_matrix *next,
	                  void *out);
	/* act[n][I] = silu(gate) * up, gate and up being the halves of x[n][H] * w^T, as input for `next`.
	 * scratch[n][2 * I] may be overwritten. */
	void (*gate_up)(fg_ctx *ctx, const void *x, const fg_matrix *w, int32_t n, const fg_matrix *next, void *scratch,
	                void *act);
	/* out[i] = (residual + pending)[rows[first + i].token], n rows of H */
	void (*gather)(fg_ctx *ctx, const fg_batch *batch, int32_t first, int32_t n, const void *residual,
	               fg_pending pending, void *out);
	/* out[i] = x[rows[first + i].token], n inputs of w. out has room for as many as x. */
	void (*gather_input)(fg_ctx *ctx, const fg_batch *batch, int32_t first, int32_t n, const fg_matrix *w,
	                     const void *x, void *out);
	/* logits[n][V] = x[n][H] * w^T in float32. On rank 0 alone, which samples; elsewhere logits stay undefined. */
	void (*logits)(fg_ctx *ctx, const void *x, const fg_matrix *w, int32_t n, float *logits);
	/* Samples or scores rows [first, first + n) from their logits [n][V], into batch->out and the slots' last tokens.
	 * Waits for late masks as fastgen.h says of fg_mask. May overwrite the logits. */
	void (*sample)(fg_ctx *ctx, const fg_batch *batch, int32_t first, int32_t n, float *logits);

	/* For tracing: a point in the order of ops, and its time by fg_clock_ns, once the steps up to it are over. */
	uint64_t (*mark)(fg_ctx *ctx);
	uint64_t (*mark_ns)(fg_ctx *ctx, uint64_t mark);
	/* The next five are NULL in a library whose ops are done when they return.
	 *
	 * watch: from now on the device tells what it runs, at most `limit` things; and marks are points in the host's
	 * time, so that recorded passes may be replayed. With no step that is traced in flight. FG_UNSUPPORTED where the
	 * device cannot. settle: waits until the device has run all that it was asked for. watched: after that on all
	 * ranks, ends it, and says what the device ran. */
	fg_status (*watch)(fg_ctx *ctx, size_t limit);
	void (*settle)(fg_ctx *ctx);
	fg_activities (*watched)(fg_ctx *ctx);
	/* While it is watched, after `replay`: the ops of the pass that was replayed, or NULL. Their marks count what the
	 * device runs for the pass, from 0 on. On the rank thread. Valid until close. */
	const struct fg_trace *(*replayed)(fg_ctx *ctx);
	/* Forgets all marks and what the device did, and frees what they took. */
	void (*forget_trace)(fg_ctx *ctx);
} fg_ops;

/* The table of the library that this is linked into. */
extern const fg_ops fg_device_ops;

#endif
