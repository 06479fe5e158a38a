/*
 * fastgen.h - all of libfastgen's ABI.
 *
 * Inference of dense decoder-only transformers over a paged KV cache. Plain C: an opaque handle, fixed-width
 * fields, pointers to flat arrays. Two shared libraries implement it: libfastgen_cpu.so (plain C, the oracle)
 * and libfastgen_cuda.so.
 *
 * Mechanism, not policy: the caller decides which sequence runs, which page holds what, and when to stop. The
 * library runs steps, in the order they were submitted.
 *
 * Errors: every call that can fail returns an fg_status; fg_error() then explains it, on the same thread.
 * Nothing here calls exit() or abort(), and a refused call changes nothing.
 *
 * Threads: calls on one engine come from one thread at a time. fg_progress may be called from any other meanwhile, from
 * the end of fg_open to the beginning of fg_close. fg_error and fg_error_slot are of the thread that calls them;
 * fg_devices and fg_device may be called from any. Calls on different engines need not wait for each other.
 *
 * Ownership: the library copies what it needs out of its arguments before a call returns, except where a field
 * says for how long it must live. The caller owns every buffer it passes.
 *
 * Indices: a `slot` is a place for one running sequence, 0 <= slot < max_seqs. A `page` is a KV page,
 * 0 <= page < n_pages. Token ids are 0 <= id < vocab_size.
 */
#ifndef FASTGEN_H
#define FASTGEN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define FG_API __attribute__((visibility("default")))
#else
#define FG_API
#endif

enum {
	FG_ABI_VERSION = 8,
	FG_PAGE_TOKENS = 64,      /* tokens in one KV page */
	FG_SCALE_BLOCK = 128,     /* rows, and columns, of a weight that share a scale when scales are by block */
	FG_STEPS_IN_FLIGHT = 2,   /* steps that may be submitted and not yet waited for */
	FG_MAX_LOGPROBS = 20,     /* most alternatives returned for one row */
	FG_MAX_STOP_IDS = 128,    /* most stop ids held back by min_tokens, per slot */
	FG_MAX_LOGIT_BIAS = 1024, /* most logit_bias entries per slot */
	FG_LAST_SAMPLED = -1,     /* a token id: what this slot sampled last, read from the device */
	FG_MASK_WAIT_US = 1000,   /* most microseconds that sampling waits for late masks, in one step */
	FG_IPC_HANDLE_BYTES = 64, /* of a cudaIpcMemHandle_t */
	/* Ops, and things that a device did, that a trace holds, over all ranks: a file of 500 MB at most. */
	FG_TRACE_EVENTS = 1 << 20,
};

/* What fg_wake brings back: a sum of these. */
enum {
	FG_WAKE_WEIGHTS = 1,
	FG_WAKE_KV_CACHE = 2,
};

/* Instead of the id of a sampled row: why it has none. Nothing is counted for the penalties then. A step in flight that
 * takes it as FG_LAST_SAMPLED computes with some other token: its results of this sequence mean nothing. */
enum {
	FG_NO_TOKEN = -1,    /* nothing could be sampled: mask, min_tokens or NaN left no token */
	FG_MASK_LATE = -2,   /* the row's late mask was not there in time: compute the position again in a later step */
	FG_MASK_FAILED = -3, /* the fill of the row's late mask returned an error */
};

typedef enum {
	FG_OK = 0,
	FG_INVALID = 1,       /* an argument is wrong: the caller's fault */
	FG_OUT_OF_MEMORY = 2, /* of the host or the device */
	FG_IO = 3,            /* a file could not be read */
	FG_DEVICE = 4,        /* the device or its driver failed */
	FG_UNSUPPORTED = 5,   /* valid, but not implemented by this library */
	FG_BUSY = 6,          /* too many steps are in flight for this call, or the engine is still loading */
} fg_status;

/* FG_FP8_E4M3: the format that has no infinities, largest value 448, NaN 0x7f and 0xff. */
typedef enum { FG_F32 = 0, FG_F16 = 1, FG_BF16 = 2, FG_FP8_E4M3 = 3 } fg_dtype;

/* Which distribution the log probabilities of sampled rows are of. Scored rows have raw ones.
 * FG_RAW_LOGPROBS: log_softmax of the logits, before every sampling parameter. FG_PROCESSED_LOGPROBS: what the token is
 * drawn from, after mask, bias, penalties, temperature and filters; with temperature 0 as if it were 1, without
 * filters.
 */
typedef enum { FG_RAW_LOGPROBS = 0, FG_PROCESSED_LOGPROBS = 1 } fg_logprobs_mode;

/* What is done to the weights of the linear layers (not embed and lm_head) that are not FP8 in the checkpoint.
 * FG_QUANTIZE_FP8: they are quantised while they load, one scale per output channel (its amax / 448), and their inputs
 * one scale per token.
 * FG_QUANTIZE_FP8_LARGE: the same of matrices of FG_FP8_LARGE elements and more, q|k|v and gate|up being one each. In a
 * smaller one FP8 saves less time than it costs to quantise the inputs. */
typedef enum { FG_QUANTIZE_NONE = 0, FG_QUANTIZE_FP8 = 1, FG_QUANTIZE_FP8_LARGE = 2 } fg_quantization;
enum { FG_FP8_LARGE = 1 << 20 };

/* The model's tensors by role. Shapes are those of the checkpoint: a linear layer is [out][in], row-major. */
typedef enum {
	FG_EMBED = 0,      /* [vocab_size][hidden_size] */
	FG_FINAL_NORM = 1, /* [hidden_size] */
	FG_LM_HEAD = 2,    /* [vocab_size][hidden_size]; absent when tied_embeddings */
	/* below: one per layer */
	FG_ATTN_NORM = 3, /* [hidden_size] */
	FG_Q = 4,         /* [n_heads * head_dim][hidden_size] */
	FG_K = 5,         /* [n_kv_heads * head_dim][hidden_size] */
	FG_V = 6,         /* [n_kv_heads * head_dim][hidden_size] */
	FG_O = 7,         /* [hidden_size][n_heads * head_dim] */
	FG_Q_BIAS = 8,    /* [n_heads * head_dim], when qkv_bias */
	FG_K_BIAS = 9,    /* [n_kv_heads * head_dim], when qkv_bias */
	FG_V_BIAS = 10,   /* [n_kv_heads * head_dim], when qkv_bias */
	FG_Q_NORM = 11,   /* [head_dim], when qk_norm */
	FG_K_NORM = 12,   /* [head_dim], when qk_norm */
	FG_MLP_NORM = 13, /* [hidden_size] */
	FG_GATE = 14,     /* [intermediate_size][hidden_size] */
	FG_UP = 15,       /* [intermediate_size][hidden_size] */
	FG_DOWN = 16,     /* [hidden_size][intermediate_size] */
	FG_ROLES = 17,
} fg_role;

/*
 * The architecture: pre-norm decoder, RMSNorm, rotary embeddings (on the two halves of a head, as Hugging Face
 * stores them), grouped-query attention, SwiGLU. Biases and norms that a family lacks are switched off.
 */
typedef struct {
	int32_t n_layers;
	int32_t hidden_size;
	int32_t n_heads;
	int32_t n_kv_heads; /* divides n_heads */
	int32_t head_dim;   /* 32, 64 or 128 */
	int32_t intermediate_size;
	int32_t vocab_size;
	int32_t qkv_bias;        /* 0 or 1: bias on q, k and v (Qwen2) */
	int32_t qk_norm;         /* 0 or 1: RMSNorm on each head of q and k, before RoPE (Qwen3) */
	int32_t tied_embeddings; /* 0 or 1: the LM head is the embedding */
	float rms_norm_eps;
	float rope_scale;            /* multiplies cos and sin: YaRN's attention factor, else 1 */
	const float *rope_inv_freq;  /* [head_dim / 2]: frequencies, with any scaling already applied; copied by fg_open */
	const int32_t *layer_window; /* [n_layers]: sliding window in tokens, 0 = full attention; copied by fg_open */
} fg_shape;

typedef struct {
	const int32_t *devices;    /* [n_devices]: device numbers, one tensor-parallel rank each; copied by fg_open */
	int32_t n_devices;         /* 1 on the CPU */
	int32_t n_threads;         /* CPU library: worker threads; 0 = one per core that this process may use */
	int32_t mask_threads;      /* threads that fill late masks, beside those above; 0 = the library chooses: on the CPU
	                            * none, since those above do it */
	int32_t max_seqs;          /* slots */
	int32_t max_step_tokens;   /* most tokens in one step, >= max_seqs */
	int32_t max_context;       /* most tokens in one sequence */
	int32_t compute_dtype;     /* fg_dtype but FP8. The CPU rounds the inputs of linear layers to it and accumulates in
	                              float32 */
	int32_t kv_dtype;          /* fg_dtype of the KV cache. FP8: with a float32 scale per token, head, and K or V */
	int32_t quantization;      /* fg_quantization */
	uint64_t kv_bytes;         /* KV cache on each device; 0 = what memory_utilization leaves (CUDA only) */
	uint64_t host_kv_bytes;    /* KV cache in host memory for each device, 0 = none */
	double memory_utilization; /* share of the device's memory the engine may use, in (0, 1]; CUDA only */
} fg_options;

/*
 * One tensor of the checkpoint, and where its bytes are. One of these is not NULL:
 *
 * `path`        names a file, and [offset, offset + bytes) lies in it. The CPU library maps files whose dtype it can
 *               compute with and reads them in place: such a file may be deleted, and must not be changed or truncated
 *               before fg_close, or before the fg_ready after the next fg_load has returned.
 * `data`        points at the bytes, which must live until fg_ready returns.
 * `ipc_handle`  points at the FG_IPC_HANDLE_BYTES of a CUDA IPC handle: the bytes lie `offset` bytes into the device
 *               memory that another process of this machine has shared (cudaIpcGetMemHandle). They must be written
 *               before fg_load is called, and live until fg_ready returns. CUDA library only.
 *
 * A matrix of FG_FP8_E4M3 comes with its scales: weight = fp8 * scale. scale_rows x scale_cols is 1 x 1 (per tensor),
 * rows x 1 (per output channel), or ceil(rows / 128) x ceil(cols / 128) (by block). The inputs of such a linear layer
 * are quantised too: by block, with a scale per token and 128 inputs; else with a scale per token, or with input_scale
 * alone.
 */
typedef struct {
	const char *path; /* UTF-8, NUL-terminated */
	const void *data;
	const void *ipc_handle;
	const float *scale; /* [scale_rows][scale_cols], finite and > 0, until fg_ready returns; NULL unless FP8 */
	uint64_t offset;
	uint64_t bytes;
	int32_t role;  /* fg_role */
	int32_t layer; /* 0 for the tensors that belong to no layer */
	int32_t dtype; /* fg_dtype; FP8 for matrices only */
	int32_t rows;  /* first dimension */
	int32_t cols;  /* second dimension; 1 for vectors */
	int32_t scale_rows;
	int32_t scale_cols;
	float input_scale; /* the scale of every input (static); 0 = each token's own (dynamic), as always by block */
	float input_bound; /* > 0: a token's scale comes from min(amax, input_bound) (fbgemm's activation_scale_ub); 0 =
	                      none */
	int32_t reserved;  /* 0 */
} fg_tensor;

typedef struct {
	uint64_t done;    /* bytes read so far, by the last fg_load */
	uint64_t total;   /* bytes to read; 0 before fg_load */
	int32_t finished; /* 1 once that loading has succeeded or failed: fg_ready then returns at once */
	/* The number of host pages that copies may name by now, from page 0 on; 0 before fg_ready. It grows to
	 * fg_capacity.n_host_pages as the library makes the memory, or stays below that where the machine gives no more. It
	 * never falls. */
	int32_t n_host_pages;
} fg_load_progress;

typedef struct {
	int32_t n_pages;
	int32_t n_host_pages;
	uint64_t page_bytes;   /* one page over all layers, on one rank */
	uint64_t weight_bytes; /* on one rank, as they were first loaded */
	int32_t graphs;        /* captured; 0 on the CPU */
	int32_t n_threads;     /* CPU library: threads in use */
	int32_t follows;       /* whether fg_follow can be used: no mask threads, but those of the steps fill late masks */
} fg_capacity;

typedef struct {
	char name[128];        /* "NVIDIA H100 80GB HBM3", "AMD EPYC 9654 (AVX-512, bf16)" */
	uint64_t memory_bytes; /* total */
	uint64_t free_bytes;
} fg_device_info;

/*
 * Sampling parameters of one slot. The order of application is vLLM's: allowed-token mask, logit_bias, min_tokens,
 * repetition, presence and frequency penalties, temperature, min_p, top_k, top_p. A filter keeps every token that ties
 * with the last one it keeps. The draw is the Gumbel-max trick with counter-based random numbers keyed by
 * (seed, position, token): it depends on no other sequence.
 */
typedef struct {
	uint64_t seed;
	float temperature;        /* 0 = greedy: filters and seed are then ignored */
	float top_p;              /* (0, 1]; 1 = off */
	float min_p;              /* [0, 1]; 0 = off */
	int32_t top_k;            /* 0 = off */
	float repetition_penalty; /* > 0; 1 = off. Counts prompt and output (CTRL, arXiv:1909.05858) */
	float presence_penalty;   /* 0 = off. Counts output only, as does the next */
	float frequency_penalty;  /* 0 = off */
	int32_t min_context;     /* stop_ids cannot be sampled into a position < min_context (prompt length + min_tokens) */
	const int32_t *stop_ids; /* [n_stop_ids], used only for min_context */
	const int32_t *bias_ids; /* [n_bias] */
	const float *bias;       /* [n_bias]: added to the logits of bias_ids */
	const int32_t *history;  /* [n_prompt + n_output]: needed when a penalty is on, else may be NULL */
	int32_t n_stop_ids;
	int32_t n_bias;
	int32_t n_prompt;      /* tokens of history that are prompt; they come first */
	int32_t n_output;      /* tokens of history already generated (a sequence that was preempted) */
	int32_t logprobs_mode; /* fg_logprobs_mode */
	int32_t reserved;      /* 0 */
} fg_sampling;

/* A slot is filled before its sequence's first step, and again when another sequence takes the slot. Filling it forgets
 * its pages and its last sampled token: all pages of the new sequence must be given, in the same step or a later one.
 */
typedef struct {
	int32_t slot;
	int32_t reserved;
	fg_sampling sampling;
} fg_slot_fill;

/* Position `index` * 64 and the 63 after it, of the sequence in `slot`, live in `page` from this step on. */
typedef struct {
	int32_t slot;
	int32_t index;
	int32_t page;
} fg_page_update;

enum {
	FG_SAMPLE = 1, /* sample one token from the logits of the last new token */
	FG_SCORE = 2,  /* a result row for every new token: the log probability of the token that follows it */
	FG_LOGITS = 4, /* copy the logits of this sequence's result rows to fg_result.logits */
};

/* One sequence's part of a step: n_new tokens at positions [context - n_new, context). */
typedef struct {
	int32_t slot;       /* appears once in a step */
	int32_t n_new;      /* >= 1 */
	int32_t context;    /* tokens in the sequence after this step, <= max_context */
	int32_t flags;      /* FG_SAMPLE | FG_SCORE | FG_LOGITS */
	int32_t next_token; /* with FG_SCORE and without FG_SAMPLE: the token after the last new one; else unused */
	int32_t n_logprobs; /* alternatives to return for each row, 0 .. FG_MAX_LOGPROBS; -1 = not even the chosen one's */
	/* The mask that applies to the sampled token: -1 = none, a row of fg_step.masks, or, from n_masks on, a late mask,
	 * which fg_mask gives after fg_submit. */
	int32_t mask;
} fg_step_seq;

/* FG_TO_DEVICE_BESIDE: the copy may run beside the step that it comes with, which must not use the page. The steps
 * after it wait for the copy. */
typedef enum { FG_TO_HOST = 0, FG_TO_DEVICE = 1, FG_TO_DEVICE_BESIDE = 2 } fg_direction;

typedef struct {
	int32_t page; /* device page */
	int32_t host_page;
	int32_t direction; /* fg_direction */
} fg_page_copy;

/* One ragged batch. By convention the sequences with n_new == 1 come first. While one sequence of a
 * step writes to a page, no other sequence of that step may use the page. */
typedef struct {
	int32_t n_seqs;
	int32_t n_tokens; /* sum of n_new, 1 .. max_step_tokens */
	int32_t n_page_updates;
	int32_t n_fills;
	int32_t n_masks;
	int32_t n_late_masks; /* masks n_masks .. n_masks + n_late_masks - 1 come later; n_masks + n_late_masks <= n_seqs */
	int32_t n_copies;
	const fg_step_seq *seqs;            /* [n_seqs] */
	const int32_t *tokens;              /* [n_tokens], sequence after sequence; FG_LAST_SAMPLED where n_new == 1 */
	const fg_page_update *page_updates; /* [n_page_updates], applied before the step */
	const fg_slot_fill *fills;          /* [n_fills], applied before the step */
	const uint32_t *masks;              /* [n_masks][(vocab_size + 31) / 32]: bit i set = token i is allowed */
	/* [n_copies]: KV pages to copy between device and host before the step, in this order: a page or host page may be
	 * the source of one copy and the target of a later one. Copies to the device come after the steps already
	 * submitted. Copies to the host may run beside those that have not been waited for, which may read such a page and
	 * must not write to it. */
	const fg_page_copy *copies;
} fg_step;

/*
 * What fg_wait fills in. The arrays are the caller's. Rows follow the step's sequences: n_new rows for one with
 * FG_SCORE, else one row for one with FG_SAMPLE, else none. A sampled row holds the sampled id, or FG_NO_TOKEN,
 * FG_MASK_LATE or FG_MASK_FAILED. A scored row holds the id that follows. Log probabilities and ranks are of the
 * distribution that the slot's logprobs_mode says. Processed, the logits of a sampled row are its processed log
 * probabilities up to a constant, -inf where a token could not be sampled. A row whose mask did not come is raw.
 */
typedef struct {
	uint64_t step;        /* out: 0 for the first step submitted, then 1, 2, ... */
	int32_t n_rows;       /* out */
	int32_t row_capacity; /* in: rows that the arrays below hold; max_step_tokens always suffices */
	int32_t *ids;         /* out [n_rows] */
	float *logprobs;      /* out [n_rows]; -inf where the id is negative; not written where n_logprobs was -1 */
	/* out [n_rows]: 1 + the number of tokens that are more probable than the id, so 1 = the most probable; 0
	 * where the id is negative; not written where n_logprobs was -1. NaN logits count as -inf. */
	int32_t *ranks;
	int32_t *top_ids;    /* out [n_rows][FG_MAX_LOGPROBS], most probable first; may be NULL when none were asked for */
	float *top_logprobs; /* out [n_rows][FG_MAX_LOGPROBS], of top_ids; may be NULL when none were asked for */
	float *logits;       /* out [rows with FG_LOGITS][vocab_size]; may be NULL when none were asked for */
	int64_t logits_capacity; /* in: floats that `logits` holds */
	double run_seconds;      /* out: time the device spent on the step */
	double idle_seconds;     /* out: time the device had nothing to do before it */
	/* out: how long page copies took. Those to the host came with this step. Those to the device did, too, or they ran
	 * beside the step before it. On rank 0. */
	double to_host_seconds;
	double to_device_seconds;
} fg_result;

/* A model and all that runs it: weights, slots, KV pages, rank threads. From fg_open to fg_close. */
typedef struct fg_engine fg_engine;

/* The ABI that the library was built with, FG_ABI_VERSION: a mismatch must be refused before any other call. */
FG_API int32_t fg_abi_version(void);

/* Why the last failing call on this thread failed: one sentence that names the cause and the cure. Never NULL. Valid
 * until the next call on this thread. */
FG_API const char *fg_error(void);

/* The slot that the last failing fg_submit on this thread was refused for: without this slot's sequence, fill and page
 * updates the rest of the step may be accepted. -1 when no single slot was at fault. Valid as long as fg_error's text.
 */
FG_API int32_t fg_error_slot(void);

/* Devices this library can use: numbers 0 .. *count - 1. 0 devices is FG_OK, also where there is no driver. The CPU
 * library has one. */
FG_API fg_status fg_devices(int32_t *count);

/* What a device is, and how much of its memory is free now. FG_INVALID or FG_DEVICE where there is no such device. */
FG_API fg_status fg_device(int32_t device, fg_device_info *info);

/*
 * Makes an engine, which fg_close frees, and starts its threads. Waits until each rank has its device; no weights and
 * no KV cache are allocated yet. *engine is NULL on error: FG_INVALID and FG_UNSUPPORTED name the field of the shape or
 * the options, FG_DEVICE a device that cannot be used.
 */
FG_API fg_status fg_open(const fg_shape *shape, const fg_options *options, fg_engine **engine);

/*
 * Checks that the table holds every tensor that the shape needs, once, with its shape, then starts loading and returns.
 * fg_progress follows it; fg_ready waits for its end. FG_INVALID names the tensor that is missing, given twice, of
 * another shape, or in memory that cannot be opened; FG_UNSUPPORTED one of a dtype, or in a place, that this library
 * cannot read; FG_IO a file that is not there, or too short.
 *
 * Once fg_ready has returned FG_OK, both calls may be made again, any number of times: they replace all weights of all
 * ranks, in the same memory. No step may be in flight, and the weights must not sleep. Each matrix must be scaled as it
 * was before: plain or FP8, by row or by block, with the same input_scale and input_bound. What is refused here changes
 * nothing. From here to the end of fg_ready no step is accepted. Where that fails (FG_IO: a file could not be read
 * to its end; FG_OUT_OF_MEMORY) the weights are incomplete: no step is accepted until a later fg_load and its fg_ready
 * have succeeded. KV pages stay as they are.
 */
FG_API fg_status fg_load(fg_engine *engine, const fg_tensor *tensors, int32_t n_tensors);

/* The same with random weights made on the device: each linear layer uniform with the variance 1 / fan_in, norms 1,
 * biases small. The same seed gives the same weights. */
FG_API fg_status fg_load_random(fg_engine *engine, uint64_t seed);

/* All of *progress is of one load, also where another thread calls fg_load meanwhile. */
FG_API fg_status fg_progress(fg_engine *engine, fg_load_progress *progress);

/* Waits until the weights are in place, allocates the KV cache (and captures graphs), and says what fits. After a later
 * fg_load: waits for it, and says the same again. Where the first one fails, only fg_close is left. */
FG_API fg_status fg_ready(fg_engine *engine, fg_capacity *capacity);

/*
 * Gives memory back to the system until fg_wake. `level` 1: the weights go to the host's memory (on the CPU they stay).
 * 2: they are dropped. All KV pages, those of the host too, lose what they hold: sequences must be computed again from
 * their beginning. Memory of activations, and of the host's KV pages, stays. No step may be in flight.
 *
 * Returns when the memory is free. Where the host has no room for the weights it is FG_OUT_OF_MEMORY, and nothing has
 * changed. After FG_DEVICE the engine sleeps, and its weights are incomplete. Asleep, level 2 drops weights that level
 * 1 has kept, and level 1 changes nothing.
 */
FG_API fg_status fg_sleep(fg_engine *engine, int32_t level);

/*
 * Brings back what sleeps: `what` is a sum of FG_WAKE_WEIGHTS and FG_WAKE_KV_CACHE; what is awake stays as it is. No
 * step is accepted before both are awake. KV pages come back empty. Weights come back as they were or, if they were
 * dropped, incomplete: fg_load must load them. It may do so while the KV cache sleeps.
 *
 * FG_OUT_OF_MEMORY when others have taken the device's memory: what was asleep is still asleep, for another try.
 */
FG_API fg_status fg_wake(fg_engine *engine, int32_t what);

/* Copies KV pages between device and host, in the order given, while no step is in flight, and returns when they are
 * there, and all copies of steps before as well. What is refused copies nothing; `copies` may be NULL where n_copies
 * is 0. */
FG_API fg_status fg_copy(fg_engine *engine, const fg_page_copy *copies, int32_t n_copies);

/* Sets *bytes to where one rank's part of a host page lies: fg_capacity.page_bytes bytes, in a layout that is the
 * library's own, of a page that copies may name. The address is good until fg_close, in any thread. It may be read
 * once the fg_wait of the step that copied to it, or fg_copy, has returned, and written before the step that copies
 * from it is submitted; and in neither case during fg_sleep. */
FG_API fg_status fg_host_page(fg_engine *engine, int32_t rank, int32_t host_page, void **bytes);

/* Queues a step, with its page copies before it, and returns at once. FG_BUSY when FG_STEPS_IN_FLIGHT steps are in
 * flight already. When the step is refused, none of its copies is made; fg_error_slot says whether one slot is the
 * reason. */
FG_API fg_status fg_submit(fg_engine *engine, const fg_step *step);

/* Fills a late mask: writes `bytes` bytes, a multiple of 4, at `mask`: bit i of the 32-bit words set = token i is
 * allowed; bits past the vocabulary mean nothing. Returns 0, or anything else when it could not. One of the library's
 * mask threads calls it, or where there are none a thread of the step; at most once; several fills run at once. */
typedef int32_t (*fg_mask_fill)(void *source, uint32_t *mask, size_t bytes);

/* Whether that mask allows `token` for certain, for far less work than a fill: 1 = it does; anything else = it does
 * not, or only the mask can tell. Called any number of times before the fill, which may then never be called. */
typedef int32_t (*fg_mask_check)(void *source, int32_t token);

/*
 * Gives late mask `mask` (n_masks <= mask < n_masks + n_late_masks) of step number `step` (fg_result.step), which was
 * submitted and not yet waited for; each once, in any order. Returns at once.
 *
 * With `fill`, it is called: `source` belongs to the library until fg_wait of that step has returned, or fg_close. With
 * `fill` NULL, `source` is the mask's words, which are copied before this returns. `check` may be NULL. With it, a
 * library that samples without the mask first may find that what it chose is what it would choose with it, and leave
 * the fill out: the token is the same to the bit.
 *
 * Sampling waits for the masks that are missing when the logits are there, at most FG_MASK_WAIT_US in all, so that the
 * other rows are hardly held up. Mask threads call the fills of the oldest step first, and of one step in the order in
 * which they were given; without such threads each fill is called where its row is sampled, however long it takes. What
 * has not come by then, or is never given, is FG_MASK_LATE. Give masks that no longer matter, too: the step would wait
 * for them. fg_wait forgets the fills that have not begun when the step is over, and waits for the others to end.
 *
 * FG_INVALID for a step that is not in flight, a mask that is not one of its late ones, one that was given before, or
 * where both `fill` and `source` are NULL.
 */
FG_API fg_status fg_mask(fg_engine *engine, uint64_t step, int32_t mask, fg_mask_fill fill, fg_mask_check check,
                         void *source);

/* What is to be sampled at `position`, which so many tokens are before: FG_NO_TOKEN = a token that the mask allows; a
 * token, which is taken as it is; FG_MASK_LATE = nothing, because the source has gone on elsewhere. */
typedef int32_t (*fg_mask_known)(void *source, int32_t position);

/* `token` was sampled at `position`, by the mask. */
typedef void (*fg_mask_take)(void *source, int32_t position, int32_t token);

/* A source of masks that goes along with its sequence's tokens as they are sampled. Threads of the steps call its
 * functions, one at a time for each source: `known` first, `take` last. None is called where the token before, taken as
 * FG_LAST_SAMPLED, could not be sampled: such a row is FG_MASK_LATE. */
typedef struct {
	fg_mask_fill fill;
	fg_mask_check check; /* or NULL */
	fg_mask_known known;
	fg_mask_take take;
} fg_follower;

/*
 * As fg_mask, but the mask may depend on tokens that steps in flight are still sampling: the one source may be given
 * for a row of each of them. So nobody has to wait for a step to give the next one its masks. `follower` is copied. Log
 * probabilities of a token that was known are raw.
 *
 * FG_INVALID as fg_mask, and where a function but `check` is NULL. FG_UNSUPPORTED where fg_capacity.follows is 0.
 */
FG_API fg_status fg_follow(fg_engine *engine, uint64_t step, int32_t mask, const fg_follower *follower, void *source);

/* Waits for the oldest step in flight, and for the fills of its late masks that have begun, also when the step
 * fails. Fills in its result. FG_INVALID when none is in flight, or where an array that the step fills is NULL or too
 * short: it is still in flight then. When the step itself failed, its status is returned, with result->step, and no
 * row; the steps after it still run. */
FG_API fg_status fg_wait(fg_engine *engine, fg_result *result);

/*
 * Records the next n_steps steps, or all until fg_trace_stop (0): their ops and, on a GPU where CUPTI is found, every
 * kernel and copy. Where it is not, ops are timed by events, one after the other, and no step is replayed as a graph.
 *
 * fg_trace_stop waits for the device and writes them to `path` in Chrome's trace event format: JSON, the first line
 * {"traceEvents":[, then an event a line, the last line ]}. Where it cannot open the file, it is FG_IO and the trace
 * goes on; where it cannot write all of it, it is FG_IO and the trace is lost. FG_INVALID for a second trace, or a stop
 * without one. Times (ts) are microseconds of CLOCK_MONOTONIC, and `process` is the pid of all rows. What is beyond
 * FG_TRACE_EVENTS is left out, and the file says so.
 */
FG_API fg_status fg_trace_start(fg_engine *engine, int32_t process, int32_t n_steps);
FG_API fg_status fg_trace_stop(fg_engine *engine, const char *path);

/* Waits for the steps in flight and the fills of their masks, then frees everything. NULL is allowed. */
FG_API void fg_close(fg_engine *engine);

#ifdef __cplusplus
}
#endif
#endif
