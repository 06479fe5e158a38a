/* See attention_decode.cuh. */
#include "attention_decode.cuh"
#include "launch.cuh"

namespace fg {

namespace {

constexpr int WARPS = 4;
constexpr int THREADS = WARPS * WARP;
constexpr int ROWS = 16;       /* of a tensor-core tile: the query heads of a group, padded */
constexpr float NONE = -1e30f; /* a maximum over nothing: finite, so that NONE - NONE is 0 */

template <int D> struct Tile {
	static constexpr int ROW_BYTES = D * (int)sizeof(bf16);
	static constexpr int BYTES = PAGE * ROW_BYTES; /* one page of K or of V */
	static constexpr int CHUNKS = ROW_BYTES / 16;  /* 16-byte chunks a row */
	static constexpr int STAGES = D == 128 ? 3 : D == 64 ? 4 : 6;
	static constexpr int SHARED = STAGES * 2 * BYTES;

	/* Chunks of a row are permuted by the row's number, so that the eight rows an ldmatrix reads fall into different
	 * banks. Rows shorter than 128 bytes share a line, hence the shift. */
	__device__ static __forceinline__ uint32_t offset(int row, int chunk) {
		constexpr int SHIFT = CHUNKS >= 8 ? 0 : CHUNKS == 4 ? 1 : 2;
		constexpr int MASK = CHUNKS >= 8 ? 7 : CHUNKS - 1;
		return row * ROW_BYTES + ((chunk ^ ((row >> SHIFT) & MASK)) << 4);
	}
};

/* A share's walk over (sequence, head, page). */
struct Cursor {
	int seq, head, page, end; /* page, end: of the sequence's pages, first_page included */
};

template <int D>
__device__ __forceinline__ void load_page(const DecodeArgs &a, const AttnSeq &s, const Cursor &at, uint32_t stage) {
	using T = Tile<D>;
	int page = a.kv.page_table[(int64_t)s.slot * a.kv.pages_per_seq + at.page];
#pragma unroll
	for (int kv = 0; kv < 2; kv++) {
		const char *from = (const char *)a.kv.data + a.kv.tile(page, a.layer, kv, at.head) * T::BYTES;
		uint32_t to = stage + kv * T::BYTES;
#pragma unroll
		for (int i = 0; i < PAGE * T::CHUNKS / THREADS; i++) {
			int n = threadIdx.x + i * THREADS;
			copy_async(to + T::offset(n / T::CHUNKS, n % T::CHUNKS), from + n * 16);
		}
	}
}

/* Running softmax of a warp: 16 rows, of which a lane holds row lane / 4 and the one 8 below. */
template <int D> struct Accumulator {
	float o[D / 8][4];
	float max[2], sum[2];

	__device__ void clear() {
#pragma unroll
		for (int i = 0; i < D / 8; i++)
#pragma unroll
			for (int j = 0; j < 4; j++) o[i][j] = 0;
		max[0] = max[1] = NONE;
		sum[0] = sum[1] = 0;
	}
};

/* Adds this warp's 16 keys of a page: keys [16 * warp, 16 * warp + 16), of which [low, high) count. */
template <int D>
__device__ __forceinline__ void attend(Accumulator<D> &acc, const uint32_t (&q)[D / 16][4], uint32_t k, uint32_t v,
                                       int low, int high, float scale) {
	using T = Tile<D>;
	int lane = threadIdx.x % WARP, key0 = threadIdx.x / WARP * 16;
	if (key0 >= high || key0 + 16 <= low) return;

	float s[2][4] = {};
#pragma unroll
	for (int d = 0; d < D / 16; d++) {
		uint32_t b[4]; /* keys 0-7: d low, d high; keys 8-15: likewise */
		load_matrices(b, k + T::offset(key0 + (lane & 7) + (lane >> 4) * 8, d * 2 + ((lane >> 3) & 1)));
		mma(s[0], q[d], b[0], b[1]);
		mma(s[1], q[d], b[2], b[3]);
	}

	float max[2] = {acc.max[0], acc.max[1]};
#pragma unroll
	for (int n = 0; n < 2; n++)
#pragma unroll
		for (int i = 0; i < 4; i++) {
			int key = key0 + n * 8 + (lane & 3) * 2 + (i & 1);
			s[n][i] = key >= low && key < high ? s[n][i] * scale : -INFINITY;
			max[i >> 1] = fmaxf(max[i >> 1], s[n][i]);
		}
#pragma unroll
	for (int r = 0; r < 2; r++) {
		max[r] = fmaxf(max[r], __shfl_xor_sync(~0u, max[r], 1));
		max[r] = fmaxf(max[r], __shfl_xor_sync(~0u, max[r], 2));
	}
	if (__any_sync(~0u, max[0] > acc.max[0] || max[1] > acc.max[1])) {
		float c0 = exp2_fast(acc.max[0] - max[0]), c1 = exp2_fast(acc.max[1] - max[1]);
		acc.sum[0] *= c0, acc.sum[1] *= c1;
#pragma unroll
		for (int i = 0; i < D / 8; i++) {
			acc.o[i][0] *= c0, acc.o[i][1] *= c0;
			acc.o[i][2] *= c1, acc.o[i][3] *= c1;
		}
		acc.max[0] = max[0], acc.max[1] = max[1];
	}
#pragma unroll
	for (int n = 0; n < 2; n++)
#pragma unroll
		for (int i = 0; i < 4; i++) {
			s[n][i] = exp2_fast(s[n][i] - max[i >> 1]);
			acc.sum[i >> 1] += s[n][i];
		}
	uint32_t p[4] = {pack_bf16(s[0][0], s[0][1]), pack_bf16(s[0][2], s[0][3]), pack_bf16(s[1][0], s[1][1]),
	                 pack_bf16(s[1][2], s[1][3])};
#pragma unroll
	for (int d = 0; d < D / 16; d++) {
		uint32_t b[4]; /* d low: keys 0-7, keys 8-15; d high: likewise */
		load_matrices_transposed(b, v + T::offset(key0 + (lane & 15), d * 2 + (lane >> 4)));
		mma(acc.o[2 * d], p, b[0], b[1]);
		mma(acc.o[2 * d + 1], p, b[2], b[3]);
	}
}

/* Where two warps leave their parts for the other two to add. */
template <int D> struct Merge {
	float o[WARPS / 2][ROWS][D];
	float max[WARPS / 2][ROWS], sum[WARPS / 2][ROWS];
};

/* Adds the four warps' parts up, in two rounds of halves; the result is in m.o[0], m.max[0] and m.sum[0] once all
 * threads have passed the barrier that follows. All threads take part. */
template <int D> __device__ __forceinline__ void merge_warps(Accumulator<D> &acc, Merge<D> &m) {
	int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
#pragma unroll
	for (int r = 0; r < 2; r++) {
		acc.sum[r] += __shfl_xor_sync(~0u, acc.sum[r], 1);
		acc.sum[r] += __shfl_xor_sync(~0u, acc.sum[r], 2);
	}
#pragma unroll
	for (int half = WARPS / 2; half >= 0; half /= 2) {
		if (warp >= half && warp < max(2 * half, 1)) {
			int to = warp - half;
#pragma unroll
			for (int r = 0; r < 2; r++) {
				int row = lane / 4 + r * 8;
				if (lane % 4 == 0) m.max[to][row] = acc.max[r], m.sum[to][row] = acc.sum[r];
#pragma unroll
				for (int i = 0; i < D / 8; i++)
					*(float2 *)&m.o[to][row][i * 8 + lane % 4 * 2] = make_float2(acc.o[i][r * 2], acc.o[i][r * 2 + 1]);
			}
		}
		if (half == 0) break;
		__syncthreads();
		if (warp < half) {
#pragma unroll
			for (int r = 0; r < 2; r++) {
				int row = lane / 4 + r * 8;
				float other = m.max[warp][row], both = fmaxf(acc.max[r], other);
				float mine = exp2_fast(acc.max[r] - both), theirs = exp2_fast(other - both);
				acc.sum[r] = acc.sum[r] * mine + m.sum[warp][row] * theirs, acc.max[r] = both;
#pragma unroll
				for (int i = 0; i < D / 8; i++) {
					float2 o = *(float2 *)&m.o[warp][row][i * 8 + lane % 4 * 2];
					acc.o[i][r * 2] = acc.o[i][r * 2] * mine + o.x * theirs;
					acc.o[i][r * 2 + 1] = acc.o[i][r * 2 + 1] * mine + o.y * theirs;
				}
			}
		}
		__syncthreads();
	}
}

/* The block whose share holds a unit, as share b begins at unit b * total / n_blocks. */
__device__ __forceinline__ int block_of(int64_t unit, int64_t total, int64_t n_blocks) {
	return (int)(((unit + 1) * n_blocks - 1) / total);
}

template <int D>
__global__ void __launch_bounds__(THREADS, 2) decode_kernel(const __grid_constant__ DecodeArgs a, int n_seqs) {
	await_previous();
	using T = Tile<D>;
	extern __shared__ __align__(128) char shared[];
	__shared__ int last;
	uint32_t stages = shared_address(shared);
	int lane = threadIdx.x % WARP, group = a.group, kv_heads = a.kv.kv_heads;
	int64_t total = a.plan.unit_start[n_seqs];
	int64_t n_blocks = min((int64_t)gridDim.x, total); /* so that no share is empty, which block_of relies on */
	if (blockIdx.x >= n_blocks) return;
	int64_t unit = blockIdx.x * total / n_blocks, stop = (blockIdx.x + 1) * total / n_blocks;

	/* Where the share begins. */
	Cursor load;
	load.seq = a.plan.block_seq[blockIdx.x];
	AttnSeq load_seq = a.plan.seqs[load.seq];
	int pages = pages_read(load_seq.context, a.window);
	int within = (int)(unit - a.plan.unit_start[load.seq]);
	load.head = within / pages;
	load.page = first_page(load_seq.context, a.window) + within % pages;
	load.end = first_page(load_seq.context, a.window) + pages;
	Cursor use = load;
	AttnSeq use_seq = load_seq;

	auto next = [&](Cursor &c, AttnSeq &s) { /* to the next page; what lies past the last one is not looked at */
											 if (++c.page < c.end) return;
											 if (++c.head == kv_heads) {
												 c.head = 0;
												 if (++c.seq == n_seqs) return;
												 s = a.plan.seqs[c.seq];
											 }
											 c.page = first_page(s.context, a.window);
											 c.end = c.page + pages_read(s.context, a.window);
	};

	int64_t loading = unit;
#pragma unroll
	for (int i = 0; i < T::STAGES - 1; i++) {
		if (loading < stop) {
			load_page<D>(a, load_seq, load, stages + i * 2 * T::BYTES);
			next(load, load_seq);
		}
		loading++;
		copy_async_commit();
	}

	Accumulator<D> acc;
	uint32_t q[D / 16][4];
	int stage = 0;
	bool fresh = true;
	int64_t pair_first = unit; /* first unit of this pair in this share */
	for (; unit < stop; unit++) {
		if (fresh) { /* a new (sequence, head): its queries go to registers, rows past the group as zeros */
			acc.clear();
			pair_first = unit;
			const bf16 *from = a.q + (int64_t)use_seq.first_token * a.q_stride + use.head * group * D;
#pragma unroll
			for (int d = 0; d < D / 16; d++)
#pragma unroll
				for (int i = 0; i < 4; i++) {
					int row = lane / 4 + (i & 1) * 8, col = d * 16 + (i >> 1) * 8 + lane % 4 * 2;
					q[d][i] = row < group ? *(const uint32_t *)(from + row * D + col) : 0;
				}
			fresh = false;
		}
		copy_async_wait<T::STAGES - 2>();
		__syncthreads();
		if (loading < stop) {
			load_page<D>(a, load_seq, load, stages + (stage + T::STAGES - 1) % T::STAGES * 2 * T::BYTES);
			next(load, load_seq);
		}
		loading++;
		copy_async_commit();

		uint32_t k = stages + stage * 2 * T::BYTES;
		int base = use.page * PAGE;
		int low = a.window > 0 ? use_seq.context - a.window - base : 0;
		attend<D>(acc, q, k, k + T::BYTES, low, use_seq.context - base, a.scale);
		stage = (stage + 1) % T::STAGES;

		bool pair_ends = use.page + 1 == use.end;
		if (pair_ends || unit + 1 == stop) {
			/* The pipeline's next pages are in flight in shared memory, so the merge has a place of its own. */
			Merge<D> &m = *(Merge<D> *)(shared + T::SHARED);
			merge_warps<D>(acc, m);
			__syncthreads();
			int first = first_page(use_seq.context, a.window);
			int64_t pair_start = unit - (use.page - first), pair_last = pair_start + (use.end - first) - 1;
			bool whole = pair_start == pair_first && pair_ends;
			/* A block has at most two partial results: of a pair begun by another block, and of one it leaves to
			 * others. */
			int slot = 2 * blockIdx.x + (pair_start == pair_first);
			for (int i = threadIdx.x; i < group * D; i += THREADS) {
				int row = i / D, col = i % D;
				float o = m.o[0][row][col];
				if (whole) {
					a.out[((int64_t)use_seq.first_token * kv_heads + use.head) * group * D + i] =
						__float2bfloat16(o / m.sum[0][row]);
				} else {
					float *to = a.partial + ((int64_t)slot * group + row) * (D + 2);
					to[col] = o;
					if (col == 0) to[D] = m.max[0][row], to[D + 1] = m.sum[0][row];
				}
			}
			if (!whole) {
				int b0 = block_of(pair_start, total, n_blocks), b1 = block_of(pair_last, total, n_blocks);
				int *arrived = a.arrived + use.seq * kv_heads + use.head;
				__threadfence();
				__syncthreads();
				if (threadIdx.x == 0) last = atomicAdd(arrived, 1) == b1 - b0;
				__syncthreads();
				if (last) {
					__threadfence();
					for (int i = threadIdx.x; i < group * D; i += THREADS) {
						int row = i / D, col = i % D;
						float max = NONE, sum = 0, o = 0;
						for (int b = b0; b <= b1; b++) {
							const float *from = a.partial + ((int64_t)(2 * b + (b == b0)) * group + row) * (D + 2);
							float m1 = __ldcg(from + D), max1 = fmaxf(max, m1);
							float c0 = exp2_fast(max - max1), c1 = exp2_fast(m1 - max1);
							o = o * c0 + __ldcg(from + col) * c1, sum = sum * c0 + __ldcg(from + D + 1) * c1,
							max = max1;
						}
						a.out[((int64_t)use_seq.first_token * kv_heads + use.head) * group * D + i] =
							__float2bfloat16(o / sum);
					}
					if (threadIdx.x == 0) *arrived = 0;
				}
			}
			__syncthreads(); /* before the next merge overwrites m */
			fresh = true;
		}
		next(use, use_seq);
	}
	copy_async_wait<0>();
}

template <int D> constexpr int shared_bytes() {
	return Tile<D>::SHARED + (int)sizeof(Merge<D>);
}

} // namespace

template <int D> static cudaError_t run(const DecodeArgs &args, int n_seqs, cudaStream_t stream) {
	static_assert(shared_bytes<D>() < 113 * 1024, "two blocks a multiprocessor");
	cudaError_t error =
		cudaFuncSetAttribute(decode_kernel<D>, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes<D>());
	if (error != cudaSuccess) return error;
	return launch(decode_kernel<D>, args.plan.n_blocks, THREADS, shared_bytes<D>(), stream, args, n_seqs);
}

int decode_blocks(int multiprocessors) {
	return 2 * multiprocessors;
}

cudaError_t decode_attention(const DecodeArgs &args, int n_seqs, cudaStream_t stream) {
	switch (args.kv.head_dim) {
	case 32: return run<32>(args, n_seqs, stream);
	case 64: return run<64>(args, n_seqs, stream);
	case 128: return run<128>(args, n_seqs, stream);
	default: return cudaErrorInvalidValue;
	}
}

} // namespace fg
