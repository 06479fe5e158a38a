/*
 * elementwise.cu - the ops between the matrix products, each one pass over its data with 16-byte accesses. See ops.h
 * for what each computes.
 *
 * The residual stream is bf16, as in training and serving in bf16: in float32, every norm of a long prompt would read
 * and write twice as much. What linear_add leaves pending is bf16 too; the next op that reads the stream adds it, so
 * that the sum costs no pass of its own.
 */
#include "attention/fp8_write.cuh"
#include "context.cuh"
#include "elementwise.cuh"
#include "launch.cuh"
#include "quantise.cuh"
#include "vectors.cuh"

#include <type_traits>

namespace fg {

namespace {

constexpr int THREADS = 256;

/* Eight elements of the stream and of what is pending, MOST matrices or fewer: all read at once. */
template <int MOST> struct Sum {
	uint4 stream, term[MOST > 0 ? MOST : 1];
	int count; /* of the terms */

	/* Eight elements from `residual` on, in the stream, and from `first` on, in the first matrix. */
	__device__ __forceinline__ void load(const bf16 *residual, const bf16 *first, const fg_pending &pending) {
		stream = *(const uint4 *)residual;
		count = MOST > 1 ? pending.count : MOST;
#pragma unroll
		for (int p = 0; p < MOST; p++)
			if (p < count) term[p] = *(const uint4 *)(first + p * pending.stride);
	}

	/* As it will be read again: rounded to bf16. */
	__device__ __forceinline__ Floats rounded() const {
		Floats sum = floats(stream);
#pragma unroll
		for (int p = 0; p < MOST; p++) {
			if (p >= count) continue;
			Floats f = floats(term[p]);
#pragma unroll
			for (int i = 0; i < VECTOR; i++) sum.v[i] += f.v[i];
		}
#pragma unroll
		for (int i = 0; i < VECTOR; i++) sum.v[i] = __bfloat162float(__float2bfloat16(sum.v[i]));
		return sum;
	}
};

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
	for (int i = WARP / 2; i > 0; i /= 2) x += __shfl_xor_sync(~0u, x, i);
	return x;
}

/* Returns the sum over the block to every thread. */
__device__ __forceinline__ float block_sum(float x) {
	__shared__ float of_warp[THREADS / WARP];
	x = warp_sum(x);
	if (threadIdx.x % WARP == 0) of_warp[threadIdx.x / WARP] = x;
	__syncthreads();
	x = 0;
#pragma unroll
	for (int i = 0; i < THREADS / WARP; i++) x += of_warp[i];
	return x;
}

/* One block per row. */
__global__ void __launch_bounds__(THREADS) embed_kernel(const bf16 *table, const int32_t *tokens, const int32_t *slots,
                                                        const int32_t *last_token, bf16 *residual, int hidden) {
	await_previous();
	int slot = slots[blockIdx.x], token = tokens[blockIdx.x];
	if (slot < 0) token = 0;                                             /* padding */
	else if (token == FG_LAST_SAMPLED) token = max(last_token[slot], 0); /* a row that could not be sampled left -1 */
	const bf16 *from = table + (int64_t)token * hidden;
	bf16 *to = residual + (int64_t)blockIdx.x * hidden;
	for (int i = threadIdx.x * VECTOR; i < hidden; i += THREADS * VECTOR)
		*(uint4 *)(to + i) = *(const uint4 *)(from + i);
}

/* One block per row. The row stays in registers between the sum of squares and the scaling. */
template <int VECTORS, int MOST, bool QUANTISED>
__global__ void __launch_bounds__(THREADS)
	add_norm_kernel(bf16 *residual, fg_pending pending, const float *weight, const __grid_constant__ LinearInput x,
	                int hidden, float eps) {
	let_next_start();
	int64_t row = (int64_t)blockIdx.x * hidden;
	Floats r[VECTORS], w[VECTORS];
#pragma unroll
	for (int k = 0; k < VECTORS; k++) {
		int i = (threadIdx.x + k * THREADS) * VECTOR;
		if (i < hidden) w[k] = load_float(weight + i);
	}
	await_previous();
	Sum<MOST> sum[VECTORS];
#pragma unroll
	for (int k = 0; k < VECTORS; k++) {
		int i = (threadIdx.x + k * THREADS) * VECTOR;
		if (i < hidden) sum[k].load(residual + row + i, (const bf16 *)pending.data + row + i, pending);
	}
	float squares = 0;
#pragma unroll
	for (int k = 0; k < VECTORS; k++) {
		int i = (threadIdx.x + k * THREADS) * VECTOR;
		if (i >= hidden) break;
		r[k] = sum[k].rounded();
		if (MOST > 0) store_bf16(residual + row + i, r[k]);
#pragma unroll
		for (int j = 0; j < VECTOR; j++) squares += r[k].v[j] * r[k].v[j];
	}
	float scale = rsqrtf(block_sum(squares) / hidden + eps);
#pragma unroll
	for (int k = 0; k < VECTORS; k++) {
		int i = (threadIdx.x + k * THREADS) * VECTOR;
		if (i >= hidden) {
			if (QUANTISED) r[k] = {};
			continue;
		}
#pragma unroll
		for (int j = 0; j < VECTOR; j++) r[k].v[j] = r[k].v[j] * scale * w[k].v[j];
		if (!QUANTISED) store_bf16((bf16 *)x.data + row + i, r[k]);
	}
	if constexpr (QUANTISED) store_quantised<THREADS, VECTORS>(r, blockIdx.x, hidden, x);
}

/* Loads one or two elements in one access. */
template <int N> __device__ __forceinline__ void load_few(const bf16 *p, float (&f)[N]) {
	static_assert(N == 1 || N == 2);
	if constexpr (N == 1) {
		f[0] = __bfloat162float(*p);
	} else {
		float2 both = __bfloat1622float2(*(const __nv_bfloat162 *)p);
		f[0] = both.x, f[1] = both.y;
	}
}

template <int N> __device__ __forceinline__ void store_few(bf16 *p, const float (&f)[N]) {
	if constexpr (N == 1) *p = __float2bfloat16(f[0]);
	else *(uint32_t *)p = pack_bf16(f[0], f[1]);
}

/* Clamps to bf16's finite range; NaN becomes its lower end. */
__device__ __forceinline__ float finite(float x) {
	return fminf(fmaxf(x, -0x1.fep127f), 0x1.fep127f);
}

struct RopeArgs {
	KvPool kv;
	bf16 *qkv;                    /* [n][(heads + 2 * kv_heads) * D] */
	const float *bias;            /* [(heads + 2 * kv_heads) * D] or NULL */
	const float *q_norm, *k_norm; /* [D] or NULL */
	const float *inv_freq;        /* [D / 2] */
	const int32_t *positions, *slots;
	int32_t heads, layer;
	int32_t blocks_per_token;
	float rope_scale, eps;
};

/* The warps of `blocks_per_token` blocks share a token's heads. Of a head of 128, a lane holds elements 2 * lane and
 * 2 * lane + 1 of either half, which are the pairs that RoPE rotates. */
template <int D, bool FP8>
__global__ void __launch_bounds__(THREADS) qkv_rope_kernel(const __grid_constant__ RopeArgs a) {
	let_next_start();
	constexpr int HALF = D / 2, PAIRS = HALF / WARP > 0 ? HALF / WARP : 1; /* pairs per lane */
	int token = blockIdx.x / a.blocks_per_token, slot = a.slots[token];
	int position = a.positions[token], lane = threadIdx.x % WARP;
	int first = lane * PAIRS;
	bool active = first < HALF;
	float sine[PAIRS], cosine[PAIRS];
#pragma unroll
	for (int i = 0; i < PAIRS; i++) {
		sincosf((float)position * (active ? a.inv_freq[first + i] : 0), &sine[i], &cosine[i]);
		sine[i] *= a.rope_scale, cosine[i] *= a.rope_scale;
	}
	/* Nothing that has been read so far is written by a kernel of the step. */
	int page = slot < 0 ? 0 : a.kv.page_table[(int64_t)slot * a.kv.pages_per_seq + position / PAGE];
	await_previous();
	if (slot < 0) return; /* padding */
	int kv_heads = a.kv.kv_heads, all = a.heads + 2 * kv_heads;
	bf16 *row = a.qkv + (int64_t)token * all * D;
	int first_head = blockIdx.x % a.blocks_per_token * (THREADS / WARP) + threadIdx.x / WARP;
	for (int h = first_head; h < all; h += a.blocks_per_token * (THREADS / WARP)) {
		bf16 *head = row + h * D;
		float low[PAIRS], high[PAIRS];
		if (active) load_few(head + first, low), load_few(head + HALF + first, high);
#pragma unroll
		for (int i = 0; i < PAIRS; i++) {
			if (!active) low[i] = high[i] = 0;
			else if (a.bias) low[i] += a.bias[h * D + first + i], high[i] += a.bias[h * D + HALF + first + i];
		}
		bool is_v = h >= a.heads + kv_heads, is_q = h < a.heads;
		if (!is_v) {
			const float *norm = is_q ? a.q_norm : a.k_norm;
			if (norm) {
				float squares = 0;
#pragma unroll
				for (int i = 0; i < PAIRS; i++) squares += low[i] * low[i] + high[i] * high[i];
				float scale = rsqrtf(warp_sum(squares) / D + a.eps);
#pragma unroll
				for (int i = 0; i < PAIRS; i++)
					if (active) low[i] *= scale * norm[first + i], high[i] *= scale * norm[HALF + first + i];
			}
#pragma unroll
			for (int i = 0; i < PAIRS; i++) {
				float l = low[i] * cosine[i] - high[i] * sine[i];
				high[i] = high[i] * cosine[i] + low[i] * sine[i];
				low[i] = l;
			}
		}
		/* Whatever a page still holds of an earlier owner is multiplied by 0, and so must be finite. */
#pragma unroll
		for (int i = 0; i < PAIRS; i++)
			if (!is_q) low[i] = finite(low[i]), high[i] = finite(high[i]);
		const int kv_head = is_q ? 0 : (h - a.heads) % kv_heads;
		if (FP8 && !is_q) {
			write_fp8<D>(a.kv, page, a.layer, is_v, kv_head, position % PAGE, first, low, high);
			continue;
		}
		bf16 *to = is_q ? head : (bf16 *)a.kv.data + (a.kv.row(page, a.layer, is_v, kv_head) + position % PAGE) * D;
		if (active) store_few(to + first, low), store_few(to + HALF + first, high);
	}
}

/* `blocks_per_row` blocks per row. */
__global__ void __launch_bounds__(THREADS)
	silu_mul_kernel(const bf16 *gate_up, bf16 *act, int width, int blocks_per_row) {
	await_previous();
	int64_t row = blockIdx.x / blocks_per_row;
	int i = (blockIdx.x % blocks_per_row * THREADS + threadIdx.x) * VECTOR;
	if (i >= width) return;
	Floats g = load_bf16(gate_up + row * 2 * width + i), u = load_bf16(gate_up + row * 2 * width + width + i);
#pragma unroll
	for (int j = 0; j < VECTOR; j++) g.v[j] = silu(g.v[j]) * u.v[j];
	store_bf16(act + row * width + i, g);
}

/* One block per row. */
template <int MOST>
__global__ void __launch_bounds__(THREADS)
	gather_kernel(const fg_row *rows, const bf16 *residual, const __grid_constant__ fg_pending pending, bf16 *out,
	              int hidden) {
	await_previous();
	int64_t from = (int64_t)rows[blockIdx.x].token * hidden, to = (int64_t)blockIdx.x * hidden;
	for (int i = threadIdx.x * VECTOR; i < hidden; i += THREADS * VECTOR) {
		Sum<MOST> sum;
		sum.load(residual + from + i, (const bf16 *)pending.data + from + i, pending);
		store_bf16(out + to + i, sum.rounded());
	}
}

/* One block per row, of `bytes`, a multiple of 16. */
__global__ void __launch_bounds__(THREADS)
	gather_input_kernel(const fg_row *rows, const __grid_constant__ LinearInput from,
	                    const __grid_constant__ LinearInput to, int bytes, int n_scales) {
	await_previous();
	const int token = rows[blockIdx.x].token, row = (int)blockIdx.x;
	const char *x = (const char *)from.data + (int64_t)token * bytes;
	char *out = (char *)to.data + (int64_t)row * bytes;
	for (int i = threadIdx.x * (int)sizeof(uint4); i < bytes; i += THREADS * (int)sizeof(uint4))
		*(uint4 *)(out + i) = *(const uint4 *)(x + i);
	for (int i = threadIdx.x; i < n_scales; i += THREADS)
		to.scale[i * to.stride + row] = from.scale[i * from.stride + token];
}

/* The kernel for what is pending: nothing, one matrix or several, each of which takes registers. */
template <class F> auto for_pending(int count, F pick) {
	return count == 0   ? pick(std::integral_constant<int, 0>())
	       : count == 1 ? pick(std::integral_constant<int, 1>())
	                    : pick(std::integral_constant<int, SM90_MOST_SPLITS>());
}

} // namespace

void embed(fg_ctx *ctx, const fg_batch *, void *residual) {
	Context *c = context(ctx);
	c->ranks.first_turn();
	cudaError_t error =
		launch(embed_kernel, c->extent.n_tokens, THREADS, 0, c->stream, (const bf16 *)ctx->weights.embed.part[0].data,
		       (const int32_t *)(c->step + c->layout.tokens), (const int32_t *)(c->step + c->layout.slots),
		       c->last_token, (bf16 *)residual, ctx->config->shape.hidden_size);
	note(c, error, "embed");
}

void add_norm(fg_ctx *ctx, void *residual, fg_pending pending, const float *weight, int32_t n, const fg_matrix *next,
              void *x) {
	Context *c = context(ctx);
	int hidden = ctx->config->shape.hidden_size, vectors = (hidden / VECTOR + THREADS - 1) / THREADS;
	float eps = ctx->config->shape.rms_norm_eps;
	const LinearInput to = linear_input(c, x, *next, n);
	auto pick = [&](auto most, auto quantised) {
		constexpr int MOST = decltype(most)::value;
		constexpr bool QUANTISED = decltype(quantised)::value;
		return vectors <= 1   ? add_norm_kernel<1, MOST, QUANTISED>
		       : vectors <= 2 ? add_norm_kernel<2, MOST, QUANTISED>
		       : vectors <= 4 ? add_norm_kernel<4, MOST, QUANTISED>
		                      : add_norm_kernel<8, MOST, QUANTISED>;
	};
	auto kernel = for_pending(pending.count, [&](auto most) {
		return to.scaling == Scaling::PLAIN ? pick(most, std::false_type()) : pick(most, std::true_type());
	});
	note(c, launch(kernel, n, THREADS, 0, c->stream, (bf16 *)residual, pending, weight, to, hidden, eps), "add_norm");
}

void qkv_rope(fg_ctx *ctx, const fg_batch *, int32_t layer, void *qkv) {
	Context *c = context(ctx);
	const fg_layer &l = ctx->weights.layers[layer];
	const fg_shape &s = ctx->config->shape;
	/* For few tokens one head per warp: what counts is when the last one is done. */
	constexpr int FEW = 256, WARPS = THREADS / WARP;
	int blocks_per_token = c->extent.n_tokens <= FEW ? (c->heads + 2 * c->kv_heads + WARPS - 1) / WARPS : 1;
	RopeArgs a = {c->kv,
	              (bf16 *)qkv,
	              l.qkv_bias,
	              l.q_norm,
	              l.k_norm,
	              c->rope,
	              (const int32_t *)(c->step + c->layout.positions),
	              (const int32_t *)(c->step + c->layout.slots),
	              c->heads,
	              layer,
	              blocks_per_token,
	              s.rope_scale,
	              s.rms_norm_eps};
	auto pick = [&](auto fp8) {
		constexpr bool FP8 = decltype(fp8)::value;
		return s.head_dim == 32   ? qkv_rope_kernel<32, FP8>
		       : s.head_dim == 64 ? qkv_rope_kernel<64, FP8>
		                          : qkv_rope_kernel<128, FP8>;
	};
	auto kernel = c->kv.fp8 ? pick(std::true_type()) : pick(std::false_type());
	note(c, launch(kernel, (unsigned)(c->extent.n_tokens * blocks_per_token), THREADS, 0, c->stream, a), "qkv_rope");
}

cudaError_t silu_mul(const bf16 *gate_up, bf16 *act, int32_t n, int32_t width, cudaStream_t stream) {
	int per_row = (width / VECTOR + THREADS - 1) / THREADS;
	return launch(silu_mul_kernel, (unsigned)(n * per_row), THREADS, 0, stream, gate_up, act, width, per_row);
}

void gather(fg_ctx *ctx, const fg_batch *, int32_t first, int32_t n, const void *residual, fg_pending pending,
            void *out) {
	Context *c = context(ctx);
	const fg_row *rows = (const fg_row *)(c->step + c->layout.rows) + first;
	auto kernel = for_pending(pending.count, [](auto most) { return gather_kernel<decltype(most)::value>; });
	note(c,
	     launch(kernel, n, THREADS, 0, c->stream, rows, (const bf16 *)residual, pending, (bf16 *)out,
	            ctx->config->shape.hidden_size),
	     "gather");
}

void gather_input(fg_ctx *ctx, const fg_batch *, int32_t first, int32_t n, const fg_matrix *w, const void *x,
                  void *out) {
	Context *c = context(ctx);
	const fg_row *rows = (const fg_row *)(c->step + c->layout.rows) + first;
	const LinearInput from = linear_input(c, (void *)x, *w, c->extent.n_tokens), to = linear_input(c, out, *w, n);
	const bool plain = to.scaling == Scaling::PLAIN;
	const int bytes = w->cols * (int)(plain ? sizeof(bf16) : sizeof(fp8));
	const int n_scales = plain ? 0 : to.scaling == Scaling::ROWS ? 1 : (w->cols + SCALE_BLOCK - 1) / SCALE_BLOCK;
	note(c, launch(gather_input_kernel, (unsigned)n, THREADS, 0, c->stream, rows, from, to, bytes, n_scales),
	     "gather_input");
}

} // namespace fg
