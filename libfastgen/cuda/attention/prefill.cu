/*
 * prefill.cu - prompt attention for devices without wgmma, and for head_dim 32: FlashAttention-2 (arXiv:2307.08691) on
 * mma.sync; and the plan of a step's tiles, for either kernel.
 *
 * Each of a block's eight warps has 16 rows of a tile. Pages of K and V are loaded one ahead of their use. Those of
 * e4m3 are widened to bf16 before they are used.
 */
#include "prefill.cuh"
#include "page.cuh"
#include "widen.cuh"

#include <algorithm>

namespace fg {

namespace {

constexpr int WARPS = PREFILL_ROWS / 16;
constexpr int THREADS = WARPS * WARP;

/* Page: as pages are loaded. */
template <class Page> struct PrefillShape {
	static constexpr int STAGES = 2;
	static constexpr int STAGE_BYTES = 2 * Page::BYTES + Page::SCALE_BYTES; /* a page of K, its V, the scales of both */
	static constexpr int RING_BYTES = STAGES * STAGE_BYTES;
	static constexpr int BYTES = RING_BYTES + (Page::SCALED ? 2 * SharedPage<Page::HEAD_DIM>::BYTES : 0);
};

/* Brings the pages that a tile attends to into a ring of stages in shared memory, one ahead of its use. All threads
 * take part. */
template <class Page> struct KvPipeline {
	using S = PrefillShape<Page>;
	using Wide = SharedPage<Page::HEAD_DIM>;

	const PrefillArgs &a;
	const PrefillTile &tile;
	const int head;
	const uint32_t ring;   /* shared memory address of [STAGES], then of K and V widened */
	const int first, last; /* pages that some row sees, as indexes into the sequence's page table */

	__device__ __forceinline__ KvPipeline(const PrefillArgs &a, const PrefillTile &tile, int head, const char *ring)
		: a(a), tile(tile), head(head), ring(shared_address(ring)),
		  first(a.window > 0 ? max(0, tile.low - a.window + 1) / PAGE : 0), last(tile.high / PAGE) {
		load(first);
		copy_async_commit();
	}

	/* Waits for a page and starts loading the one that follows it. Returns the shared memory address of its K in bf16;
	 * its V follows. */
	__device__ __forceinline__ uint32_t acquire(int page) const {
		if (page < last) load(page + 1);
		copy_async_commit();
		copy_async_wait<1>();
		__syncthreads();
		if constexpr (!Page::SCALED) return stage_of(page);
		widen_page(stage_of(page));
		__syncthreads();
		return ring + S::RING_BYTES;
	}

	/* Lets the page's stage be overwritten, once all threads are done with it. */
	__device__ __forceinline__ void release() const {
		__syncthreads();
	}

  private:
	__device__ __forceinline__ uint32_t stage_of(int page) const {
		return ring + (page - first) % S::STAGES * S::STAGE_BYTES;
	}

	__device__ __forceinline__ void load(int index) const {
		int page = a.kv.page_table[(int64_t)tile.slot * a.kv.pages_per_seq + index];
#pragma unroll
		for (int kv = 0; kv < 2; kv++) {
			const char *from = a.kv.data + a.kv.row(page, a.layer, kv, head) * Page::ROW_BYTES;
			uint32_t to = stage_of(index) + kv * Page::BYTES;
#pragma unroll
			for (int n = threadIdx.x; n < PAGE * Page::VECTORS; n += THREADS)
				copy_async(to + Page::offset(n / Page::VECTORS, n % Page::VECTORS), from + n * 16);
		}
		if constexpr (Page::SCALED) {
			constexpr int EACH = 16 / sizeof(float),
						  LOADS = PAGE / EACH; /* scales of a load; loads of K's, and of V's */
			if (threadIdx.x >= 2 * LOADS) return;
			const float *from = a.kv.scales(page, a.layer, threadIdx.x / LOADS, head) + threadIdx.x % LOADS * EACH;
			copy_async(stage_of(index) + 2 * Page::BYTES + threadIdx.x * 16, from);
		}
	}

	__device__ __forceinline__ void widen_page(uint32_t stage) const {
		for (int n = threadIdx.x; n < 2 * PAGE * Page::VECTORS; n += THREADS) {
			const int row = n / Page::VECTORS, kv = row / PAGE, key = row % PAGE, vector = n % Page::VECTORS;
			const uint32_t to = ring + S::RING_BYTES + kv * Wide::BYTES;
			float scale;
			asm volatile("ld.shared.f32 %0, [%1];\n" : "=f"(scale) : "r"(stage + 2 * Page::BYTES + row * 4));
			widen(stage + kv * Page::BYTES + Page::offset(key, vector), scale, to + Wide::offset(key, 2 * vector),
			      to + Wide::offset(key, 2 * vector + 1));
		}
	}
};

/* A lane's two rows of a tile: token by token, and of each token the heads of a group. */
struct Rows {
	int row[2];      /* of the chunk */
	int position[2]; /* of the row's token in its sequence; -1 for rows past the chunk's end */

	__device__ __forceinline__ Rows(const PrefillArgs &a, const PrefillTile &tile) {
#pragma unroll
		for (int r = 0; r < 2; r++) {
			row[r] = tile.first_row + threadIdx.x / WARP * 16 + threadIdx.x % WARP / 4 + 8 * r;
			position[r] = row[r] < tile.n_rows ? tile.base + row[r] / a.group : -1;
		}
	}
};

/* Loads the queries of a warp's rows as mma's operand a. Rows past the chunk's end are zeros. */
template <int D>
__device__ __forceinline__ void load_queries(uint32_t (&q)[D / 16][4], const PrefillArgs &a, const PrefillTile &tile,
                                             int head, const Rows &rows) {
#pragma unroll
	for (int r = 0; r < 2; r++) {
		bool valid = rows.position[r] >= 0;
		int token = valid ? rows.row[r] / a.group : 0, in_group = valid ? rows.row[r] % a.group : 0;
		const bf16 *from = a.q + (int64_t)(tile.first_token + token) * a.q_stride + (head * a.group + in_group) * D;
#pragma unroll
		for (int d = 0; d < D / 16; d++)
#pragma unroll
			for (int half = 0; half < 2; half++)
				q[d][r + 2 * half] = valid ? *(const uint32_t *)(from + d * 16 + half * 8 + threadIdx.x % 4 * 2) : 0;
	}
}

/* A warp's online softmax (arXiv:1805.02867) for 16 rows. Index r or i >> 1 picks one of a lane's two rows. */
template <int D> struct OnlineSoftmax {
	using Scores = float[PAGE / 8][4]; /* of a page: eight keys each, as page.cuh has them */

	float o[D / 8][4] = {}; /* output, not yet divided by the sum */
	float max[2] = {-INFINITY, -INFINITY};
	float sum[2] = {}; /* until finish, over a lane's own keys */

	/* Adds a page. kv: shared memory address of its K; its V follows. first_key: position of its first key. */
	__device__ __forceinline__ void attend(const PrefillArgs &a, const uint32_t (&q)[D / 16][4], const Rows &rows,
	                                       uint32_t kv, int first_key) {
		Scores s = {};
#pragma unroll
		for (int d = 0; d < D / 16; d++)
#pragma unroll
			for (int n = 0; n < PAGE / 16; n++) SharedPage<D>::add_scores(s[2 * n], s[2 * n + 1], q[d], kv, n * 16, d);
		mask(s, a, rows, first_key);
		weigh(s);
#pragma unroll
		for (int n = 0; n < PAGE / 16; n++)
			SharedPage<D>::add_values(o, s[2 * n], s[2 * n + 1], kv + SharedPage<D>::BYTES, n * 16);
	}

	/* Completes the sums. Call once, after the last page. */
	__device__ __forceinline__ void finish() {
#pragma unroll
		for (int r = 0; r < 2; r++) {
			sum[r] += __shfl_xor_sync(~0u, sum[r], 1);
			sum[r] += __shfl_xor_sync(~0u, sum[r], 2);
		}
	}

  private:
	static __device__ __forceinline__ void mask(Scores &s, const PrefillArgs &a, const Rows &rows, int first_key) {
#pragma unroll
		for (int n = 0; n < PAGE / 8; n++)
#pragma unroll
			for (int i = 0; i < 4; i++) {
				int key = first_key + n * 8 + threadIdx.x % 4 * 2 + (i & 1), position = rows.position[i >> 1];
				bool seen = key <= position && (a.window == 0 || key > position - a.window);
				s[n][i] = seen ? s[n][i] * a.scale : -INFINITY;
			}
	}

	/* Raises the maxima to these scores, turns the scores into weights, and makes what has been added so far relative
	 * to the new maxima. */
	__device__ __forceinline__ void weigh(Scores &s) {
#pragma unroll
		for (int r = 0; r < 2; r++) {
			float new_max = max[r];
#pragma unroll
			for (int n = 0; n < PAGE / 8; n++) new_max = fmaxf(new_max, fmaxf(s[n][2 * r], s[n][2 * r + 1]));
			new_max = fmaxf(new_max, __shfl_xor_sync(~0u, new_max, 1));
			new_max = fmaxf(new_max, __shfl_xor_sync(~0u, new_max, 2));
			float origin = new_max == -INFINITY ? 0 : new_max; /* -inf: the row has seen no key yet */
			float correction = exp2_fast(max[r] - origin);
			max[r] = new_max, sum[r] *= correction;
#pragma unroll
			for (int n = 0; n < PAGE / 8; n++)
#pragma unroll
				for (int i = 2 * r; i < 2 * r + 2; i++) s[n][i] = exp2_fast(s[n][i] - origin), sum[r] += s[n][i];
#pragma unroll
			for (int d = 0; d < D / 8; d++) o[d][2 * r] *= correction, o[d][2 * r + 1] *= correction;
		}
	}
};

template <int D>
__device__ __forceinline__ void store(const PrefillArgs &a, const PrefillTile &tile, int head, const Rows &rows,
                                      const OnlineSoftmax<D> &softmax) {
#pragma unroll
	for (int r = 0; r < 2; r++) {
		if (rows.position[r] < 0) continue;
		int row = rows.row[r];
		float inverse = 1 / softmax.sum[r];
		bf16 *to = a.out + ((int64_t)(tile.first_token + row / a.group) * a.kv.kv_heads + head) * a.group * D +
		           row % a.group * D;
#pragma unroll
		for (int d = 0; d < D / 8; d++)
			*(uint32_t *)(to + d * 8 + threadIdx.x % 4 * 2) =
				pack_bf16(softmax.o[d][2 * r] * inverse, softmax.o[d][2 * r + 1] * inverse);
	}
}

/* One block for each tile and kv head. */
template <class Page> __global__ void __launch_bounds__(THREADS) prefill_kernel(const __grid_constant__ PrefillArgs a) {
	constexpr int D = Page::HEAD_DIM;
	extern __shared__ __align__(128) char shared[];
	const PrefillTile tile = a.tiles[blockIdx.x / a.kv.kv_heads];
	const int head = blockIdx.x % a.kv.kv_heads;
	const Rows rows(a, tile);
	uint32_t q[D / 16][4];
	load_queries<D>(q, a, tile, head, rows);
	OnlineSoftmax<D> softmax;
	const KvPipeline<Page> pipeline(a, tile, head, shared);
	for (int page = pipeline.first; page <= pipeline.last; page++) {
		const uint32_t kv = pipeline.acquire(page);
		softmax.attend(a, q, rows, kv, page * PAGE);
		pipeline.release();
	}
	softmax.finish();
	store<D>(a, tile, head, rows, softmax);
}

template <class Page> cudaError_t run(const PrefillArgs &args, cudaStream_t stream) {
	constexpr int BYTES = PrefillShape<Page>::BYTES;
	cudaError_t error = cudaFuncSetAttribute(prefill_kernel<Page>, cudaFuncAttributeMaxDynamicSharedMemorySize, BYTES);
	if (error != cudaSuccess) return error;
	prefill_kernel<Page><<<args.n_tiles * args.kv.kv_heads, THREADS, BYTES, stream>>>(args);
	return cudaGetLastError();
}

PrefillTile tile_of(const AttnSeq &s, int32_t first_row, int32_t group) {
	const int32_t base = s.context - s.n_new, n_rows = s.n_new * group;
	const int32_t end = std::min(first_row + PREFILL_ROWS, n_rows);
	return {.slot = s.slot,
	        .first_token = s.first_token,
	        .n_rows = n_rows,
	        .first_row = first_row,
	        .base = base,
	        .low = base + first_row / group,
	        .high = base + (end - 1) / group,
	        .last_page = (s.context - 1) / PAGE};
}

} // namespace

int32_t list_prefill_tiles(const AttnSeq *seqs, int32_t n_seqs, int32_t group, PrefillTile *tiles) {
	int32_t n = 0;
	for (int32_t i = 0; i < n_seqs; i++)
		for (int32_t row = 0; row < seqs[i].n_new * group; row += PREFILL_ROWS)
			tiles[n++] = tile_of(seqs[i], row, group);
	std::stable_sort(tiles, tiles + n, [](const PrefillTile &a, const PrefillTile &b) { return a.low > b.low; });
	return n;
}

cudaError_t prefill_attention(const PrefillArgs &args, cudaStream_t stream) {
	return with_page(args.kv.head_dim, args.kv.fp8, cudaErrorInvalidValue,
	                 [&](auto page) { return run<decltype(page)>(args, stream); });
}

} // namespace fg
