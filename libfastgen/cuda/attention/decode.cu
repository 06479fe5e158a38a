/* See decode.cuh. */
#include "decode.cuh"
#include "../launch.cuh"

#include <cuda/atomic>

namespace fg {

namespace {

constexpr int WARPS = 4;
constexpr int THREADS = WARPS * WARP;
constexpr int ROWS = 16;       /* of a tensor-core tile: the query heads of a group, padded */
constexpr float NONE = -1e30f; /* a maximum over nothing: finite, so that NONE - NONE is 0 */

/* Blocks that may share a pair: as many as there is shared memory to weigh. */
__host__ __device__ constexpr int most_parts(int head_dim) {
	return head_dim == 32 ? 64 : 96;
}

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
	int keys = s.context - at.page * PAGE; /* past the last one nothing is read, and zeros take its place */
#pragma unroll
	for (int kv = 0; kv < 2; kv++) {
		const char *from = (const char *)a.kv.data + a.kv.panel(page, a.layer, kv, at.head) * T::BYTES;
		uint32_t to = stage + kv * T::BYTES;
#pragma unroll
		for (int i = 0; i < PAGE * T::CHUNKS / THREADS; i++) {
			int n = threadIdx.x + i * THREADS;
			copy_async(to + T::offset(n / T::CHUNKS, n % T::CHUNKS), from + n * 16, n / T::CHUNKS < keys);
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

/* What the blocks that share a pair weigh in its output, in the place of a Merge that is done with. */
template <int D> struct Weights {
	float part[most_parts(D)][ROWS]; /* exp2(the part's maximum - the pair's), divided by the pair's sum */
};
static_assert(sizeof(Weights<32>) <= sizeof(Merge<32>) && sizeof(Weights<64>) <= sizeof(Merge<64>) &&
              sizeof(Weights<128>) <= sizeof(Merge<128>));

/* Adds up what blocks b0 to b1 have left of a pair and writes its output [group][D]. All threads take part. What must
 * come from memory comes in two rounds of independent loads, for this is what a small batch waits for. */
template <int D> __device__ void merge_blocks(const DecodeArgs &a, Weights<D> &w, int b0, int b1, bf16 *out) {
	constexpr int EACH = most_parts(D) / WARP; /* parts a lane weighs */
	int lane = threadIdx.x % WARP, n = b1 - b0 + 1;
	auto part = [&](int i) { return a.partial + (int64_t)(2 * (b0 + i) + (i == 0)) * a.group * (D + 2); };
	for (int row = threadIdx.x / WARP; row < a.group; row += WARPS) {
		float m[EACH], s[EACH], max = NONE, sum = 0;
#pragma unroll
		for (int k = 0; k < EACH; k++) {
			int i = lane + k * WARP;
			const float *from = part(min(i, n - 1)) + row * (D + 2) + D;
			m[k] = __ldcg(from), s[k] = i < n ? __ldcg(from + 1) : 0;
		}
#pragma unroll
		for (int k = 0; k < EACH; k++) max = fmaxf(max, m[k]);
#pragma unroll
		for (int i = WARP / 2; i > 0; i /= 2) max = fmaxf(max, __shfl_xor_sync(~0u, max, i));
#pragma unroll
		for (int k = 0; k < EACH; k++) m[k] = exp2_fast(m[k] - max), sum += s[k] * m[k];
#pragma unroll
		for (int i = WARP / 2; i > 0; i /= 2) sum += __shfl_xor_sync(~0u, sum, i);
#pragma unroll
		for (int k = 0; k < EACH; k++) w.part[lane + k * WARP][row] = m[k] / sum;
	}
	__syncthreads();
	for (int i = threadIdx.x; i < a.group * (D / 2); i += THREADS) {
		constexpr int AT_ONCE = 16;
		int row = i / (D / 2), col = i % (D / 2) * 2;
		float2 o = make_float2(0, 0), x[AT_ONCE];
		for (int from = 0; from < n; from += AT_ONCE) {
#pragma unroll
			for (int k = 0; k < AT_ONCE; k++)
				if (from + k < n) x[k] = __ldcg((const float2 *)(part(from + k) + row * (D + 2) + col));
#pragma unroll
			for (int k = 0; k < AT_ONCE; k++)
				if (from + k < n) {
					float weight = w.part[from + k][row];
					o.x = fmaf(x[k].x, weight, o.x), o.y = fmaf(x[k].y, weight, o.y);
				}
		}
		*(uint32_t *)(out + row * D + col) = pack_bf16(o.x, o.y);
	}
}

template <int D>
__global__ void __launch_bounds__(THREADS, 2) decode_kernel(const __grid_constant__ DecodeArgs a, int n_seqs) {
	let_next_start();
	using T = Tile<D>;
	extern __shared__ __align__(128) char shared[];
	__shared__ int last;
	uint32_t stages = shared_address(shared);
	int lane = threadIdx.x % WARP, group = a.group, kv_heads = a.kv.kv_heads;
	DecodeShare share = a.shares[blockIdx.x];
	int64_t total = share.units;
	int64_t n_blocks = min((int64_t)gridDim.x, total); /* so that no share is empty, which block_of relies on */
	int64_t unit = 0, stop = 0;
	Cursor load = {};
	AttnSeq load_seq = share.seq;
	if (blockIdx.x < n_blocks) { /* where the share begins */
		unit = blockIdx.x * total / n_blocks, stop = (blockIdx.x + 1) * total / n_blocks;
		int first = first_page(load_seq.context, a.window), pages = pages_read(load_seq.context, a.window);
		load = {share.index, share.within / pages, first + share.within % pages, first + pages};
	}
	Cursor use = load;
	AttnSeq use_seq = load_seq;

	auto next = [&](Cursor &c, AttnSeq &s) { /* to the next page; what lies past the last one is not looked at */
											 if (++c.page < c.end) return;
											 if (++c.head == kv_heads) {
												 c.head = 0;
												 if (++c.seq == n_seqs) return;
												 s = a.seqs[c.seq];
											 }
											 c.page = first_page(s.context, a.window);
											 c.end = c.page + pages_read(s.context, a.window);
	};

	/* The first pages, up to one that the kernel before this one writes to, are read while that still runs. */
	int64_t loading = unit;
	auto fill = [&](bool written) {
		for (; loading - unit < T::STAGES - 1; loading++) {
			if (loading < stop) {
				if (!written && load.page + 1 == load.end) return;
				load_page<D>(a, load_seq, load, stages + (int)(loading - unit) * 2 * T::BYTES);
				next(load, load_seq);
			}
			copy_async_commit();
		}
	};
	fill(false);
	await_previous();
	fill(true);

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
			bf16 *out = a.out + ((int64_t)use_seq.first_token * kv_heads + use.head) * group * D;
			for (int i = threadIdx.x; i < group * (D / 2); i += THREADS) {
				int row = i / (D / 2), col = i % (D / 2) * 2;
				float2 o = *(float2 *)&m.o[0][row][col];
				float *to = a.partial + ((int64_t)slot * group + row) * (D + 2);
				if (whole) {
					float inverse = 1 / m.sum[0][row];
					*(uint32_t *)(out + row * D + col) = pack_bf16(o.x * inverse, o.y * inverse);
				} else {
					*(float2 *)(to + col) = o;
					if (col == 0) *(float2 *)(to + D) = make_float2(m.max[0][row], m.sum[0][row]);
				}
			}
			if (!whole) {
				int b0 = block_of(pair_start, total, n_blocks), b1 = block_of(pair_last, total, n_blocks);
				cuda::atomic_ref<int32_t, cuda::thread_scope_device> arrived(a.arrived[use.seq * kv_heads + use.head]);
				/* The barriers make the first thread's release and acquire those of all. */
				__syncthreads();
				if (threadIdx.x == 0) last = arrived.fetch_add(1, cuda::memory_order_acq_rel) == b1 - b0;
				__syncthreads();
				if (last) {
					merge_blocks<D>(a, *(Weights<D> *)&m, b0, b1, out);
					if (threadIdx.x == 0) arrived.store(0, cuda::memory_order_relaxed);
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
	return launch(decode_kernel<D>, args.n_blocks, THREADS, shared_bytes<D>(), stream, args, n_seqs);
}

int decode_blocks(int multiprocessors, int kv_heads, int head_dim) {
	/* A pair is at most 1 / kv_heads of the work, and begins and ends anywhere in a share. */
	return min(2 * multiprocessors, (most_parts(head_dim) - 2) * kv_heads);
}

void list_decode_shares(const AttnSeq *seqs, int32_t n_seqs, int32_t kv_heads, int32_t window, int32_t n_blocks,
                        DecodeShare *shares) {
	int64_t total = 0;
	for (int32_t i = 0; i < n_seqs; i++) total += pages_read(seqs[i].context, window) * kv_heads;
	int64_t used = min((int64_t)n_blocks, total), start = 0;
	auto end = [&](int32_t s) { return start + pages_read(seqs[s].context, window) * kv_heads; };
	for (int64_t b = 0, s = 0; b < n_blocks; b++) {
		shares[b] = {};
		if (b < used) {
			int64_t first = b * total / used;
			while (end((int32_t)s) <= first) start = end((int32_t)s++);
			shares[b] = {seqs[s], (int32_t)s, (int32_t)(first - start), 0, 0};
		}
		shares[b].units = (int32_t)total;
	}
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
