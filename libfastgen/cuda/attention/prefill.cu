/*
 * prefill.cu - prompt attention for devices without wgmma, and for head_dim 32: FlashAttention-2
 * (arXiv:2307.08691) on mma.sync; and the plan of a step's tiles, for either kernel. Each of four warps holds 16 query
 * rows; pages of K and V come in two ahead.
 */
#include "prefill.cuh"

#include <algorithm>

namespace fg {

namespace {

constexpr int WARPS = PREFILL_ROWS / 16;
constexpr int THREADS = WARPS * WARP;
constexpr int STAGES = 2;

template <int D> struct Tile {
	static constexpr int ROW_BYTES = D * (int)sizeof(bf16);
	static constexpr int BYTES = PAGE * ROW_BYTES;
	static constexpr int CHUNKS = ROW_BYTES / 16;
	static constexpr int SHARED = STAGES * 2 * BYTES;

	__device__ static __forceinline__ uint32_t offset(int row, int chunk) {
		constexpr int SHIFT = CHUNKS >= 8 ? 0 : 1;
		constexpr int MASK = CHUNKS >= 8 ? 7 : 3;
		return row * ROW_BYTES + ((chunk ^ ((row >> SHIFT) & MASK)) << 4);
	}
};

template <int D>
__device__ __forceinline__ void load_page(const PrefillArgs &a, const PrefillTile &t, int head, int index,
                                          uint32_t stage) {
	using T = Tile<D>;
	int page = a.kv.page_table[(int64_t)t.slot * a.kv.pages_per_seq + index];
#pragma unroll
	for (int kv = 0; kv < 2; kv++) {
		const char *from = (const char *)a.kv.data + a.kv.panel(page, a.layer, kv, head) * T::BYTES;
#pragma unroll
		for (int n = threadIdx.x; n < PAGE * T::CHUNKS; n += THREADS)
			copy_async(stage + kv * T::BYTES + T::offset(n / T::CHUNKS, n % T::CHUNKS), from + n * 16);
	}
}

template <int D> __global__ void __launch_bounds__(THREADS) prefill_kernel(const __grid_constant__ PrefillArgs a) {
	using T = Tile<D>;
	extern __shared__ __align__(128) char shared[];
	uint32_t stages = shared_address(shared);
	const PrefillTile tile = a.tiles[blockIdx.x / a.kv.kv_heads];
	int head = blockIdx.x % a.kv.kv_heads, lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
	int base = tile.base, total = tile.n_rows, row0 = tile.first_row + warp * 16 + lane / 4;

	int position[2]; /* of this lane's two rows; -1 past the chunk's end */
	uint32_t q[D / 16][4];
#pragma unroll
	for (int r = 0; r < 2; r++) {
		int row = row0 + 8 * r;
		bool valid = row < total;
		position[r] = valid ? base + row / a.group : -1;
		const bf16 *from = a.q + (int64_t)(tile.first_token + (valid ? row / a.group : 0)) * a.q_stride +
		                   (head * a.group + (valid ? row % a.group : 0)) * D;
#pragma unroll
		for (int d = 0; d < D / 16; d++)
#pragma unroll
			for (int half = 0; half < 2; half++)
				q[d][r + 2 * half] = valid ? *(const uint32_t *)(from + d * 16 + half * 8 + lane % 4 * 2) : 0;
	}
	int first = a.window > 0 ? max(0, tile.low - a.window + 1) / PAGE : 0, last = tile.high / PAGE;

	float o[D / 8][4] = {}, max_score[2] = {-INFINITY, -INFINITY}, sum[2] = {};
	load_page<D>(a, tile, head, first, stages);
	copy_async_commit();
	for (int page = first; page <= last; page++) {
		if (page < last) load_page<D>(a, tile, head, page + 1, stages + (page + 1 - first) % STAGES * 2 * T::BYTES);
		copy_async_commit();
		copy_async_wait<1>();
		__syncthreads();
		uint32_t k = stages + (page - first) % STAGES * 2 * T::BYTES, v = k + T::BYTES;

		float sc[PAGE / 8][4] = {};
#pragma unroll
		for (int d = 0; d < D / 16; d++)
#pragma unroll
			for (int n = 0; n < PAGE / 16; n++) {
				uint32_t b[4];
				load_matrices(b, k + T::offset(n * 16 + (lane & 7) + (lane >> 4) * 8, d * 2 + ((lane >> 3) & 1)));
				mma(sc[2 * n], q[d], b[0], b[1]);
				mma(sc[2 * n + 1], q[d], b[2], b[3]);
			}
		float max_new[2] = {max_score[0], max_score[1]};
#pragma unroll
		for (int n = 0; n < PAGE / 8; n++)
#pragma unroll
			for (int i = 0; i < 4; i++) {
				int key = page * PAGE + n * 8 + lane % 4 * 2 + (i & 1), p = position[i >> 1];
				bool seen = key <= p && (a.window == 0 || key > p - a.window);
				sc[n][i] = seen ? sc[n][i] * a.scale : -INFINITY;
				max_new[i >> 1] = fmaxf(max_new[i >> 1], sc[n][i]);
			}
		float correction[2], origin[2];
#pragma unroll
		for (int r = 0; r < 2; r++) {
			max_new[r] = fmaxf(max_new[r], __shfl_xor_sync(~0u, max_new[r], 1));
			max_new[r] = fmaxf(max_new[r], __shfl_xor_sync(~0u, max_new[r], 2));
			origin[r] = max_new[r] == -INFINITY ? 0 : max_new[r]; /* a row that has seen no key yet */
			correction[r] = exp2_fast(max_score[r] - origin[r]);
			max_score[r] = max_new[r], sum[r] *= correction[r];
		}
#pragma unroll
		for (int n = 0; n < PAGE / 8; n++)
#pragma unroll
			for (int i = 0; i < 4; i++) {
				sc[n][i] = exp2_fast(sc[n][i] - origin[i >> 1]);
				sum[i >> 1] += sc[n][i];
			}
#pragma unroll
		for (int d = 0; d < D / 8; d++)
#pragma unroll
			for (int i = 0; i < 4; i++) o[d][i] *= correction[i >> 1];
#pragma unroll
		for (int n = 0; n < PAGE / 16; n++) {
			uint32_t p[4] = {pack_bf16(sc[2 * n][0], sc[2 * n][1]), pack_bf16(sc[2 * n][2], sc[2 * n][3]),
			                 pack_bf16(sc[2 * n + 1][0], sc[2 * n + 1][1]),
			                 pack_bf16(sc[2 * n + 1][2], sc[2 * n + 1][3])};
#pragma unroll
			for (int d = 0; d < D / 16; d++) {
				uint32_t b[4];
				load_matrices_transposed(b, v + T::offset(n * 16 + (lane & 15), d * 2 + (lane >> 4)));
				mma(o[2 * d], p, b[0], b[1]);
				mma(o[2 * d + 1], p, b[2], b[3]);
			}
		}
		__syncthreads(); /* before the next page but one overwrites this one */
	}
#pragma unroll
	for (int r = 0; r < 2; r++) {
		sum[r] += __shfl_xor_sync(~0u, sum[r], 1);
		sum[r] += __shfl_xor_sync(~0u, sum[r], 2);
		if (position[r] < 0) continue;
		int row = row0 + 8 * r;
		float inverse = 1 / sum[r];
		bf16 *to = a.out + ((int64_t)(tile.first_token + row / a.group) * a.kv.kv_heads + head) * a.group * D +
		           row % a.group * D;
#pragma unroll
		for (int d = 0; d < D / 8; d++)
			*(uint32_t *)(to + d * 8 + lane % 4 * 2) = pack_bf16(o[d][2 * r] * inverse, o[d][2 * r + 1] * inverse);
	}
}

template <int D> cudaError_t launch(const PrefillArgs &args, cudaStream_t stream) {
	cudaError_t error =
		cudaFuncSetAttribute(prefill_kernel<D>, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile<D>::SHARED);
	if (error != cudaSuccess) return error;
	prefill_kernel<D><<<args.n_tiles * args.kv.kv_heads, THREADS, Tile<D>::SHARED, stream>>>(args);
	return cudaGetLastError();
}

PrefillTile tile_of(const AttnSeq &s, int32_t first_row, int32_t group) {
	const int32_t base = s.context - s.n_new, n_rows = s.n_new * group,
				  end = std::min(first_row + PREFILL_ROWS, n_rows);
	return {s.slot,
	        s.first_token,
	        n_rows,
	        first_row,
	        base,
	        base + first_row / group,
	        base + (end - 1) / group,
	        (s.context - 1) / PAGE};
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
	switch (args.kv.head_dim) {
	case 32: return launch<32>(args, stream);
	case 64: return launch<64>(args, stream);
	case 128: return launch<128>(args, stream);
	default: return cudaErrorInvalidValue;
	}
}

} // namespace fg
