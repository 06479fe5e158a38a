/*
 * context.cuh - the CUDA op context: one device of an engine. Everything here belongs to the rank's thread, unless a
 * function says otherwise.
 */
#ifndef FG_CONTEXT_CUH
#define FG_CONTEXT_CUH

#include "attention/decode.cuh"
#include "attention/prefill.cuh"
#include "cupti.cuh"
#include "device_memory.cuh"
#include "guard.cuh"
#include "imports.cuh"
#include "marks.cuh"
#include "ops.cuh"
#include "copies.cuh"
#include "pinned.cuh"
#include "products/gemm.cuh"
#include "quantise.cuh"
#include "ranks/ranks.cuh"
#include "sampling/sample.cuh"

extern "C" {
#include "../trace.h"
}

#include <vector>

namespace fg {

/* Steps whose host buffers may be in use at once: those in flight and the one being described. */
constexpr int RING = FG_STEPS_IN_FLIGHT + 1;

/* The description of a step, which its kernels read: offsets in bytes, the same for every step. It goes to the device
 * in one copy. Page updates and fills have no useful bound: they are copied before it, on their own. T and S:
 * most_tokens and most_seqs. */
struct StepLayout {
	size_t tokens;    /* int32 [T]: ids, or FG_LAST_SAMPLED */
	size_t positions; /* int32 [T] */
	size_t slots;     /* int32 [T]: the token's slot, -1 = padding */
	size_t rows;      /* fg_row [T] */
	size_t seqs;      /* AttnSeq [S]: decoding sequences first, then the others */
	size_t tiles;     /* PrefillTile [max_tiles] */
	size_t shares;    /* DecodeShare [decode_blocks] per distinct window, share_bytes apart */
	size_t share_bytes;
	size_t mask_deadline; /* uint64: 0, as Masks.deadline */
	size_t bytes;
	int32_t max_tiles;
};

/* The results of a step: offsets in bytes. */
struct ResultLayout {
	size_t sampled;      /* Sampled [T] */
	size_t top_ids;      /* int32 [T][FG_MAX_LOGPROBS] */
	size_t top_logprobs; /* float [T][FG_MAX_LOGPROBS] */
	size_t bytes;
};

/* Sizes of the step that is being enqueued. While a graph is captured: the most that its replays may have. */
struct StepExtent {
	int32_t n_tokens, n_decode, n_prefill, n_tiles;
};

/* Host memory of one step. */
struct StepBuffers {
	char *host; /* pinned, StepLayout.bytes */
	char *tail; /* pinned: page updates, fills; grows as needed */
	size_t tail_bytes;
	char *out; /* pinned, ResultLayout.bytes */
	cudaEvent_t start, end;
	CopyTimes copies;
	/* Whose results these are; NULL after step_wait, which looks for its own while the rank's thread may write
	 * another's. The rest belongs to the rank's thread up to step_end, and to step_wait from then on. */
	std::atomic<const fg_batch *> batch;
	fg_status failure;
	char failure_text[FG_ERROR_BYTES];
};

/* The result of a row, without alternatives. */
struct Sampled {
	int32_t id;
	float logprob;
	int32_t rank;
};

struct Graph {
	int32_t n_seqs;
	cudaGraphExec_t exec;
	fg_trace *ops; /* for traces: what of it each op is; made when one first needs it */
};

/* What a mark is. */
enum class MarkKind {
	EVENT, /* the number of an event in the stream */
	HOST,  /* the host's time: while the device tells what it runs */
	NODES, /* while a pass is recorded: the number of its parts so far */
};

struct Context {
	fg_ctx base; /* first: all that the shared code sees of a Context */

	int32_t device, multiprocessors, arch; /* arch: 90 for sm_90 */
	SharedLimits shared;
	char name[128];
	cudaStream_t stream;
	PageCopies copies;
	Gemm gemm;

	Ranks ranks;
	/* This rank's shard. */
	int32_t heads, kv_heads, intermediate;

	size_t weight_bytes;        /* of all matrices */
	DeviceMemory weight_memory; /* [weight_bytes] */
	float *vectors;             /* norms and biases, which stay while the weights sleep */
	PinnedMemory kept_weights;  /* what was in weight_memory, while it sleeps at level 1 */
	Imports imports;

	DeviceMemory kv_memory;
	KvPool kv;
	CUtensorMap kv_map;
	size_t page_bytes;
	int32_t n_pages;
	PinnedMemory host_memory; /* [n_host_pages][page_bytes] */
	int32_t n_host_pages;

	int32_t *page_table; /* [max_seqs][pages_per_seq] */
	int32_t *last_token; /* [max_seqs] */
	Sampler sampler;

	std::vector<int32_t> windows;      /* of the layers, each once */
	std::vector<int32_t> layer_window; /* [n_layers]: index into windows */
	DecodePlan decode_plan;
	int32_t decode_blocks;
	float *decode_partial;   /* as DecodeArgs.partial */
	int32_t *decode_arrived; /* as DecodeArgs.arrived */
	float *rope;             /* [head_dim / 2]: frequencies */

	StepLayout layout;
	ResultLayout results;
	StepExtent extent;
	StepBuffers ring[RING];
	uint64_t n_steps;
	char *step; /* device, layout.bytes */
	char *tail; /* device */
	size_t tail_bytes;
	char *out;   /* device, results.bytes */
	bf16 *delta; /* [Gemm::split_rows][H]: what linear_add leaves pending */

	/* Of rank 0, which samples. */
	uint32_t *mask_words;  /* pinned [FG_STEPS_IN_FLIGHT][max_seqs][fg_mask_stride]: the graphs know where */
	int32_t *mask_state;   /* pinned [FG_STEPS_IN_FLIGHT][max_seqs] */
	uint32_t *mask_copies; /* device [logit_rows][fg_mask_stride] */
	int32_t *mask_found;   /* device [logit_rows] */

	std::vector<Graph> graphs; /* by n_seqs, ascending */
	const Graph *graph;        /* which will replay this step, or NULL */
	uint64_t waited_steps;     /* belongs to the thread that calls step_wait */
	std::vector<void *> owned; /* device memory that close frees */
	/* For traces: of the caller's thread while no step that is traced is in flight. */
	Marks marks;
	MarkKind mark_kind;
	Watch watch;

	fg_status failure; /* the first of the step being enqueued; step_end passes it on to step_wait */
	char failure_text[FG_ERROR_BYTES];

	/* The most tokens and sequences of a step, rounded up to a product's bucket. */
	size_t most_tokens() const {
		return (size_t)Gemm::bucket(base.config->options.max_step_tokens);
	}
	size_t most_seqs() const {
		return (size_t)Gemm::bucket(base.config->options.max_seqs);
	}
	/* Query heads that share a KV head. */
	int32_t group() const {
		return heads / kv_heads;
	}
};

inline Context *context(fg_ctx *ctx) {
	return (Context *)ctx;
}

/* A buffer [most_tokens][matrix.cols] of fg_buffers holds an input of a matrix: bf16, or e4m3 and then the scales,
 * which fit because bf16 would take twice the bytes. */
inline float *input_scales(const Context *ctx, const void *buffer, const fg_matrix &matrix) {
	const bool plain = scaling_of_x((Scaling)matrix.scheme.scaling) == Scaling::PLAIN;
	return plain ? nullptr : (float *)((char *)buffer + ctx->most_tokens() * (size_t)matrix.cols);
}

/* The buffer as an op writes it, of n tokens for matrix `next`. */
inline LinearInput linear_input(const Context *ctx, void *buffer, const fg_matrix &next, int32_t n) {
	const fg_scheme &s = next.scheme;
	const Scaling scaling = scaling_of_x((Scaling)s.scaling);
	return {buffer, input_scales(ctx, buffer, next), scaling, s.input_scale, s.input_bound, Gemm::bucket(n)};
}

/* A product of the buffer x with w. */
inline Operands operands(const Context *ctx, const void *x, const fg_matrix &w) {
	return {x, w.part[0].data, input_scales(ctx, x, w), w.part[0].scale};
}

/* Remembers a CUDA error, or a failure whose text is set, as the context's failure, unless it has one. */
void note(Context *ctx, cudaError_t error, const char *what);
void note(Context *ctx, fg_status status);

/* The failure that the context remembers, with fg_error's text set, or FG_OK. */
fg_status failure_of(const Context *ctx);

/* Zeroed device memory, freed by close; NULL, with fg_error's text set, on failure. */
void *device_alloc(Context *ctx, size_t bytes, const char *what);

/* Fails with CUDA's own words; `what`: during what, such as "copying results". The error is over with then: it does not
 * show up in a later check. */
fg_status cuda_fail(cudaError_t error, const char *what);

/* ---- step.cu ---- */
fg_status step_open(Context *ctx);
void step_close(Context *ctx);
/* Whether this library has code for the current device. */
cudaError_t find_code();
/* Records a pass for each bucket of decoding sequences, and tries the kernels that only prompts need. Fails with what
 * would fail in a step. */
fg_status capture_graphs(Context *ctx);
/* What the graph that replays this step does for each op; NULL where that could not be found out. */
const fg_trace *replayed(fg_ctx *ctx);
void step_begin(fg_ctx *ctx, fg_batch *batch);
int replay(fg_ctx *ctx, const fg_batch *batch);
void step_end(fg_ctx *ctx, fg_batch *batch);
fg_status step_wait(fg_ctx *ctx, fg_batch *batch);
fg_mask_rows masks(fg_ctx *ctx, int32_t place);

/* ---- copies.cu ---- */
cudaError_t copies_open(Context *c);
void copies_close(Context *c);
/* Waits until no copy is under way. */
cudaError_t copies_idle(Context *c);
/* Makes the next step wait for the copies to the device that ran beside the one before it. */
void await_arrivals(Context *c);
/* What a step's result tells of copies: `own` came with the step, `before` with the one before it. Both steps are over.
 */
void tell_copy_times(CopyTimes &own, CopyTimes &before, fg_output *out);
void copy_pages(fg_ctx *ctx, const fg_page_copy *copies, int32_t n_copies);
int32_t host_pages(fg_ctx *ctx);
void *host_page(fg_ctx *ctx, int32_t host_page);
fg_status copies_wait(fg_ctx *ctx);

/* ---- weights.cu ---- */
fg_status import_memory(fg_ctx *ctx, const fg_tensor_table *table);
fg_status load(fg_ctx *ctx, const fg_tensor_table *table, atomic_ullong *done, atomic_int *cancel);
fg_status load_random(fg_ctx *ctx, uint64_t seed, atomic_ullong *done, atomic_int *cancel);

/* Fills to [n] with a random stream's numbers (../random.h), uniform in [-range, range); launched on `stream`. */
cudaError_t fill_random(bf16 *to, uint64_t n, uint64_t random_stream, float range, cudaStream_t stream);
cudaError_t fill_random(fp8 *to, uint64_t n, uint64_t random_stream, float range, cudaStream_t stream);

/* ---- sleep.cu ---- */
fg_status sleep(fg_ctx *ctx, int32_t level);
fg_status wake(fg_ctx *ctx, int32_t what);

/* ---- elementwise.cu, attention/attention.cu, sample in ops.cu: see ops.h ---- */
void embed(fg_ctx *ctx, const fg_batch *batch, void *residual);
void add_norm(fg_ctx *ctx, void *residual, fg_pending pending, const float *weight, int32_t n, const fg_matrix *next,
              void *x);
void qkv_rope(fg_ctx *ctx, const fg_batch *batch, int32_t layer, void *qkv);
void gather(fg_ctx *ctx, const fg_batch *batch, int32_t first, int32_t n, const void *residual, fg_pending pending,
            void *out);
void gather_input(fg_ctx *ctx, const fg_batch *batch, int32_t first, int32_t n, const fg_matrix *w, const void *x,
                  void *out);
void attention(fg_ctx *ctx, const fg_batch *batch, int32_t layer, const void *qkv, const fg_matrix *next, void *out);
void sample(fg_ctx *ctx, const fg_batch *batch, int32_t first, int32_t n, float *logits);

} // namespace fg

#endif
