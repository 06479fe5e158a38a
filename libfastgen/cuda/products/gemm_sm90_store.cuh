/*
 * gemm_sm90_store.cuh - what gemm_sm90's kernels do with their accumulators: scale them, add up those of two blocks,
 * apply SiLU, and store y.
 *
 * Accumulators come in eights of columns. Of an eight, a lane holds columns lane % 4 * 2 and the next, for the token
 * lane / 4 of its warp's 16 (elements 0 and 1) and for the one 8 below (2 and 3).
 */
#ifndef FG_GEMM_SM90_STORE_CUH
#define FG_GEMM_SM90_STORE_CUH

#include "gemm_sm90_shape.cuh"

namespace fg {

/* Multiplies the sums of ROWS rows of w by the scales of their rows and tokens. token: a lane's first. */
template <class S, int ROWS>
__device__ __forceinline__ void scale(const GemmArgs &a, const GemmItem &item, int token, float (&acc)[ROWS / 2]) {
	constexpr int WIDTH = ROWS / S::GATED; /* of the gate's rows, and of up's */
	float of_token[2];
#pragma unroll
	for (int r = 0; r < 2; r++) of_token[r] = token + r * 8 < a.n ? a.x_scale[token + r * 8] : 0;
#pragma unroll
	for (int i = 0; i < ROWS / 8; i++) {
		const int side = i / (WIDTH / 8), row = item.column + i % (WIDTH / 8) * 8 + threadIdx.x % 4 * 2;
		float2 of_row = make_float2(0, 0);
		if (row < a.rows / S::GATED) of_row = *(const float2 *)(a.w_scale + side * (a.rows / S::GATED) + row);
#pragma unroll
		for (int r = 0; r < 2; r++)
			acc[i * 4 + r * 2] *= of_token[r] * of_row.x, acc[i * 4 + r * 2 + 1] *= of_token[r] * of_row.y;
	}
}

/* Stores two neighbouring columns of y, leaving out what lies past its edges. */
template <class S>
__device__ __forceinline__ void store_two(const GemmArgs &a, int split, int token, int column, float x, float y) {
	int width = a.rows / S::GATED;
	if (token >= a.n || column >= width) return;
	int64_t at = ((int64_t)split * a.n + token) * width + column;
	if constexpr (S::OUT != Output::F32) {
		*(uint32_t *)((bf16 *)a.y + at) = pack_bf16(x, y);
	} else if (width % 2 == 0) {
		*(float2 *)((float *)a.y + at) = make_float2(x, y);
	} else {
		((float *)a.y)[at] = x;
		if (column + 1 < width) ((float *)a.y)[at + 1] = y;
	}
}

/* A lane's two columns of an eight of y, from its accumulators of ROWS rows of w. r: its first token or its second. */
template <class S, int ROWS>
__device__ __forceinline__ float2 two_columns(const float (&acc)[ROWS / 2], int eight, int r) {
	const float *x = &acc[eight * 4 + r * 2];
	if constexpr (S::OUT != Output::SILU_MUL) return make_float2(x[0], x[1]);
	const float *up = x + ROWS / 4;
	float2 gate = silu(make_float2(x[0], x[1]));
	return make_float2(gate.x * up[0], gate.y * up[1]);
}

/* Stores an item of ROWS rows of w, which this block alone has computed. token: a lane's first. */
template <class S, int ROWS>
__device__ __forceinline__ void store(const GemmArgs &a, const GemmItem &item, int token,
                                      const float (&acc)[ROWS / 2]) {
	constexpr int EIGHTS = ROWS / S::GATED / 8;
	const int width = a.rows / S::GATED;
#pragma unroll
	for (int r = 0; r < 2; r++) {
		const int t = token + r * 8;
		bf16 *row = (bf16 *)a.y + ((int64_t)item.split * a.n + t) * width; /* unless F32 */
#pragma unroll
		for (int b = 0; b < EIGHTS; b += 2) {
			const bool alone = b + 1 == EIGHTS;
			float2 first = two_columns<S, ROWS>(acc, b, r);
			float2 second = alone ? first : two_columns<S, ROWS>(acc, b + 1, r);
			if (S::OUT == Output::F32 || alone) {
				int column = item.column + b * 8 + threadIdx.x % 4 * 2;
				store_two<S>(a, item.split, t, column, first.x, first.y);
				if (!alone) store_two<S>(a, item.split, t, column + 8, second.x, second.y);
			} else {
				int column = item.column + exchanged_column() + b * 8;
				store_eights(row + column, pack_bf16(first.x, first.y), pack_bf16(second.x, second.y),
				             t < a.n && column < width);
			}
		}
	}
}

/* Stores an item that is split between the blocks of the cluster. Each block stores half of the columns: it sends its
 * sums of the other half, and adds what it receives to its own. token: a lane's first. phase: of the barriers in
 * `sent`. */
template <class S>
__device__ __forceinline__ void exchange_and_store(const GemmArgs &a, typename S::Sent &sent, const GemmItem &item,
                                                   int token, int phase, const float (&acc)[S::ROWS / 2]) {
	constexpr int SIDE = S::EACH / 8; /* eights of the columns that a block stores, of gate or of up */
	int rank = (int)cluster_rank();
	/* Accumulators of an eight of the columns that block `of` stores. */
	auto eight = [&](int i, int of) {
		int half = i / SIDE, first = (half * S::WIDTH / 8 + i % SIDE) * 4, second = first + S::EACH / 2;
		return of ? make_float4(acc[second], acc[second + 1], acc[second + 2], acc[second + 3])
		          : make_float4(acc[first], acc[first + 1], acc[first + 2], acc[first + 3]);
	};
	barrier_wait(&sent.empty, phase ^ 1); /* until the other block has read what it received last */
	if (threadIdx.x == 0) barrier_expect(&sent.full, (int)sizeof sent.sums);
	uint32_t there = cluster_address(&sent.sums[0][threadIdx.x], rank ^ 1);
	uint32_t full = cluster_address(&sent.full, rank ^ 1);
#pragma unroll
	for (int i = 0; i < S::EIGHTS; i++) store_async(there + i * (int)sizeof sent.sums[0], eight(i, rank ^ 1), full);
	barrier_wait_cluster(&sent.full, phase);
	float4 sum[S::EIGHTS];
#pragma unroll
	for (int i = 0; i < S::EIGHTS; i++) {
		float4 mine = eight(i, rank), its = sent.sums[i][threadIdx.x];
		sum[i] = make_float4(mine.x + its.x, mine.y + its.y, mine.z + its.z, mine.w + its.w);
	}
	named_barrier(1 + threadIdx.x / GROUP_THREADS, GROUP_THREADS);
	if (threadIdx.x % GROUP_THREADS == 0) barrier_arrive(&sent.empty, rank ^ 1);
#pragma unroll
	for (int i = 0; i < SIDE; i++) {
		float4 v = sum[i];
		if constexpr (S::OUT == Output::SILU_MUL) {
			float4 up = sum[SIDE + i];
			float2 low = silu(make_float2(v.x, v.y)), high = silu(make_float2(v.z, v.w));
			v = make_float4(low.x * up.x, low.y * up.y, high.x * up.z, high.y * up.w);
		}
		int at = item.column + rank * S::EACH + i * 8 + threadIdx.x % 4 * 2;
		store_two<S>(a, 0, token, at, v.x, v.y);
		store_two<S>(a, 0, token + 8, at, v.z, v.w);
	}
}

} // namespace fg

#endif
