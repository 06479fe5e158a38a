/* See prefill.cuh. */
#include "prefill.cuh"
#include "../hopper.cuh"
#include "../launch.cuh"

namespace fg {

namespace {

constexpr int CONSUMERS = 2; /* warpgroups, 64 rows each */
constexpr int THREADS = (1 + CONSUMERS) * GROUP_THREADS;
constexpr int KEYS = 2 * PAGE; /* a K or V tile: two pages */
constexpr int STAGES = 2;
constexpr int LINE = 128; /* bytes of a swizzled row: 64 columns */

template <int D> struct Shared {
	static constexpr int HALVES = D / 64; /* column blocks of 64 */
	static constexpr int Q_BYTES = 64 * LINE * HALVES;
	static constexpr int KV_BYTES = KEYS * LINE * HALVES;

	char k[STAGES][KV_BYTES]; /* [half][key][64] */
	char v[STAGES][KV_BYTES];
	char q[CONSUMERS][2][Q_BYTES]; /* [half][row][64]; two, so that the next tile's come in during this one */
	uint64_t k_full[STAGES], k_empty[STAGES], v_full[STAGES], v_empty[STAGES];
};

/* The item that this block does in a round. Items come with the most work first; every other round runs backwards, so
 * that who began with more goes on with less. */
__device__ __forceinline__ int item_of(int round) {
	return round * gridDim.x + (round & 1 ? gridDim.x - 1 - blockIdx.x : blockIdx.x);
}

/* A tile and a kv head. */
struct Work {
	PrefillTile tile;
	int head;

	/* Loads, but does not wait. */
	__device__ __forceinline__ Work(const PrefillArgs &a, const Divider &kv_heads, int item) {
		const int index = kv_heads.quotient(item);
		tile = a.tiles[index];
		head = item - index * kv_heads.divisor;
	}
	/* Blocks of KEYS keys that some row sees. */
	__device__ __forceinline__ int first_block(const PrefillArgs &a) const {
		return a.window > 0 ? max(0, tile.low - a.window + 1) / KEYS : 0;
	}
	__device__ __forceinline__ int last_block() const {
		return tile.high / KEYS;
	}
};

/* Starts to bring 64 query rows into swizzled shared memory; rows past the chunk's end become zeros. One warpgroup. */
template <int D>
__device__ __forceinline__ void load_q(const PrefillArgs &a, const Divider &group, const Work &w, int consumer,
                                       char *to) {
	const bf16 *from = a.q + (int64_t)w.tile.first_token * a.q_stride + w.head * a.group * D;
#pragma unroll
	for (int i = 0; i < 64 * D / 8 / GROUP_THREADS; i++) {
		int n = threadIdx.x % GROUP_THREADS + i * GROUP_THREADS;
		int r = n / (D / 8), chunk = n % (D / 8), row = w.tile.first_row + consumer * 64 + r;
		bool valid = row < w.tile.n_rows;
		int token = group.quotient(valid ? row : 0), head = valid ? row - token * a.group : 0;
		copy_async(shared_address(to) + (chunk / 8) * 64 * LINE + r * LINE + (((chunk & 7) ^ (r & 7)) << 4),
		           from + token * a.q_stride + head * D + chunk * 8, valid);
	}
	copy_async_commit();
}

/* What to load next is looked up while there is no room for it yet: the consumers must not wait for page tables. */
template <int D> __device__ void produce(const PrefillArgs &a, const Divider &kv_heads, Shared<D> &s, int n_work) {
	int stage = 0, parity = 0, page[2], next_page[2];
	auto look_up = [&](const Work &w, int block, int (&to)[2]) {
		const int32_t *pages = a.kv.page_table + (int64_t)w.tile.slot * a.kv.pages_per_seq;
		/* A tile may reach past the last page; what it reads there is masked. */
		to[0] = pages[2 * block], to[1] = pages[min(2 * block + 1, w.tile.last_page)];
	};
	Work w(a, kv_heads, item_of(0));
	look_up(w, w.last_block(), page);
	for (int round = 0; item_of(round) < n_work; round++) {
		const Work next(a, kv_heads, min(item_of(round + 1), n_work - 1));
		const int first_block = w.first_block(a);
		for (int block = w.last_block(); block >= first_block; block--) {
			if (block > first_block) look_up(w, block - 1, next_page);
			else look_up(next, next.last_block(), next_page);
#pragma unroll
			for (int kv = 0; kv < 2; kv++) {
				uint64_t *full = kv ? &s.v_full[stage] : &s.k_full[stage],
						 *empty = kv ? &s.v_empty[stage] : &s.k_empty[stage];
				char *to = kv ? s.v[stage] : s.k[stage];
				barrier_wait(empty, parity ^ 1);
				barrier_expect(full, Shared<D>::KV_BYTES);
#pragma unroll
				for (int p = 0; p < 2; p++)
#pragma unroll
					for (int half = 0; half < Shared<D>::HALVES; half++)
						tma_load(to + (half * KEYS + p * PAGE) * LINE, &a.map, full, half * 64,
						         (int)(a.kv.panel(page[p], a.layer, kv, w.head) * PAGE));
			}
			if (++stage == STAGES) stage = 0, parity ^= 1;
			page[0] = next_page[0], page[1] = next_page[1];
		}
		w = next;
	}
}

/* s = q * k^T for 64 rows and KEYS keys: started, not waited for. */
template <int D> __device__ __forceinline__ void scores(float (&s)[KEYS / 2], uint32_t q, uint32_t k) {
	wgmma_fence();
#pragma unroll
	for (int d = 0; d < D / 16; d++)
		wgmma<0>(s, tile_descriptor(q + d / 4 * 64 * LINE + d % 4 * 32),
		         tile_descriptor(k + d / 4 * KEYS * LINE + d % 4 * 32), d > 0);
	wgmma_commit();
}

/* o += p * v, likewise. */
template <int D>
__device__ __forceinline__ void weigh(float (&o)[D / 2], const uint32_t (&p)[KEYS / 16][4], uint32_t v) {
	wgmma_fence();
#pragma unroll
	for (int k = 0; k < KEYS / 16; k++) wgmma<1>(o, p[k], tile_descriptor(v + k * 16 * LINE, KEYS * LINE), true);
	wgmma_commit();
}

/* The two rows of a thread: their positions, running maxima and sums. */
struct Rows {
	int position[2]; /* -1 for rows past the chunk's end */
	float max[2], sum[2];
};

/* Turns scores into weights of a running softmax; correction[] is what the earlier output must be multiplied by. */
__device__ __forceinline__ void softmax(float (&s)[KEYS / 2], Rows &rows, float (&correction)[2], int first_key,
                                        bool masked, int window, float scale) {
	int lane = threadIdx.x % WARP;
	if (masked) {
#pragma unroll
		for (int i = 0; i < KEYS / 2; i++) {
			int key = first_key + i / 4 * 8 + lane % 4 * 2 + (i & 1), position = rows.position[(i >> 1) & 1];
			if (key > position || (window > 0 && key <= position - window)) s[i] = -INFINITY;
		}
	}
#pragma unroll
	for (int r = 0; r < 2; r++) {
		float max = rows.max[r];
#pragma unroll
		for (int i = 0; i < KEYS / 2; i += 4) max = fmaxf(max, fmaxf(s[i + 2 * r], s[i + 2 * r + 1]));
		max = fmaxf(max, __shfl_xor_sync(~0u, max, 1));
		max = fmaxf(max, __shfl_xor_sync(~0u, max, 2));
		float base = max == -INFINITY ? 0 : max * scale; /* a row that has seen no key yet */
		correction[r] = exp2_fast(rows.max[r] * scale - base);
		rows.max[r] = max;
		float sum = 0;
#pragma unroll
		for (int i = 0; i < KEYS / 2; i += 4)
#pragma unroll
			for (int j = 0; j < 2; j++) {
				float &x = s[i + 2 * r + j];
				x = exp2_fast(fmaf(x, scale, -base));
				sum += x;
			}
		rows.sum[r] = rows.sum[r] * correction[r] + sum;
	}
}

__device__ __forceinline__ void pack_weights(uint32_t (&p)[KEYS / 16][4], const float (&s)[KEYS / 2]) {
#pragma unroll
	for (int k = 0; k < KEYS / 16; k++)
#pragma unroll
		for (int i = 0; i < 4; i++) p[k][i] = pack_bf16(s[k * 8 + i * 2], s[k * 8 + i * 2 + 1]);
}

template <int D>
__device__ void consume(const PrefillArgs &a, const Divider &kv_heads, const Divider &group, Shared<D> &s, int consumer,
                        int n_work) {
	int lane = threadIdx.x % WARP, warp = threadIdx.x % GROUP_THREADS / WARP;
	int k_stage = 0, k_parity = 0, v_stage = 0, v_parity = 0, buffer = 0;
	/* The warpgroups take turns in handing work to the tensor cores: one's softmax runs beside the other's products. */
	constexpr int TURN = 1 + CONSUMERS;
	auto await_turn = [&] { named_barrier(TURN + consumer, CONSUMERS * GROUP_THREADS); };
	auto pass_turn = [&] { named_barrier_arrive(TURN + (consumer ^ 1), CONSUMERS * GROUP_THREADS); };
	if (consumer == 1) pass_turn();
	auto k_next = [&] {
		if (++k_stage == STAGES) k_stage = 0, k_parity ^= 1;
	};
	auto v_next = [&] {
		if (++v_stage == STAGES) v_stage = 0, v_parity ^= 1;
	};
	auto release = [&](uint64_t *barrier) {
		if (threadIdx.x % GROUP_THREADS == 0) barrier_arrive(barrier);
	};
	/* Waits for an item's queries; past it the warpgroup is done with the item before it, and so with its buffer. */
	auto await_q = [&] {
		copy_async_wait<0>();
		async_proxy_fence();
		named_barrier(1 + consumer, GROUP_THREADS);
	};
	float sc[KEYS / 2];
	auto start_scores = [&](const char *q) {
		barrier_wait(&s.k_full[k_stage], k_parity);
		scores<D>(sc, shared_address(q), shared_address(s.k[k_stage]));
	};

	/* An item's first scores are on their way before the one before it is written out. */
	auto work_of = [&](int round) { return Work(a, kv_heads, min(item_of(round), n_work - 1)); };
	Work w = work_of(0), next = work_of(1); /* there are no more blocks than items */
	load_q<D>(a, group, w, consumer, s.q[consumer][0]);
	await_q();
	await_turn();
	start_scores(s.q[consumer][0]);
	pass_turn();
	for (int round = 0; item_of(round) < n_work; round++, buffer ^= 1) {
		bool more = item_of(round + 1) < n_work;
		if (more) load_q<D>(a, group, next, consumer, s.q[consumer][buffer ^ 1]);
		const Work after = work_of(round + 2); /* nobody waits for it before the next round */

		const int base = w.tile.base, total = w.tile.n_rows;
		const int first_block = w.first_block(a), last_block = w.last_block();
		int row0 = w.tile.first_row + consumer * 64 + warp * 16 + lane / 4;
		Rows rows;
#pragma unroll
		for (int r = 0; r < 2; r++) {
			rows.position[r] = row0 + 8 * r < total ? base + group.quotient(row0 + 8 * r) : -1;
			rows.max[r] = -INFINITY, rows.sum[r] = 0;
		}
		/* Blocks in which every row of the warpgroup sees every key need no mask. */
		int low = base + group.quotient(w.tile.first_row + consumer * 64);
		int high = base + group.quotient(min(w.tile.first_row + consumer * 64 + 63, total - 1));
		auto masked = [&](int block) {
			return (block + 1) * KEYS - 1 > low || (a.window > 0 && block * KEYS <= high - a.window);
		};

		wgmma_wait<0>();
		hold(sc);
		float o[D / 2];
#pragma unroll
		for (int i = 0; i < D / 2; i++) o[i] = 0;
		uint32_t p[KEYS / 16][4];
		float correction[2];
		release(&s.k_empty[k_stage]);
		k_next();
		softmax(sc, rows, correction, last_block * KEYS, masked(last_block), a.window, a.scale);
		pack_weights(p, sc);
		for (int block = last_block - 1; block >= first_block; block--) {
			await_turn();
			start_scores(s.q[consumer][buffer]);
			barrier_wait(&s.v_full[v_stage], v_parity);
			weigh<D>(o, p, shared_address(s.v[v_stage]));
			pass_turn();
			wgmma_wait<1>();
			hold(sc);
			release(&s.k_empty[k_stage]);
			k_next();
			softmax(sc, rows, correction, block * KEYS, masked(block), a.window, a.scale);
			wgmma_wait<0>();
			hold(o);
			release(&s.v_empty[v_stage]);
			v_next();
#pragma unroll
			for (int i = 0; i < D / 2; i++) o[i] *= correction[(i >> 1) & 1];
			pack_weights(p, sc);
		}
		auto write = [&] {
			hold(o);
			release(&s.v_empty[v_stage]);
			v_next();
#pragma unroll
			for (int r = 0; r < 2; r++) {
				rows.sum[r] += __shfl_xor_sync(~0u, rows.sum[r], 1);
				rows.sum[r] += __shfl_xor_sync(~0u, rows.sum[r], 2);
				const int row = row0 + 8 * r, token = group.quotient(row);
				const float inverse = __fdividef(1, rows.sum[r]);
				bf16 *to = a.out + ((int64_t)(w.tile.first_token + token) * a.kv.kv_heads + w.head) * a.group * D +
				           (row - token * a.group) * D + exchanged_column();
#pragma unroll
				for (int i = 0; i < D / 8; i += 2) {
					uint32_t first = pack_bf16(o[i * 4 + 2 * r] * inverse, o[i * 4 + 2 * r + 1] * inverse);
					uint32_t second = pack_bf16(o[i * 4 + 4 + 2 * r] * inverse, o[i * 4 + 5 + 2 * r] * inverse);
					store_eights(to + i * 8, first, second, rows.position[r] >= 0);
				}
			}
		};
		barrier_wait(&s.v_full[v_stage], v_parity);
		if (!more) {
			await_turn();
			weigh<D>(o, p, shared_address(s.v[v_stage]));
			pass_turn();
			wgmma_wait<0>();
			write();
			break;
		}
		await_q();
		barrier_wait(&s.k_full[k_stage], k_parity);
		await_turn();
		weigh<D>(o, p, shared_address(s.v[v_stage]));
		scores<D>(sc, shared_address(s.q[consumer][buffer ^ 1]), shared_address(s.k[k_stage]));
		pass_turn();
		wgmma_wait<1>();
		write();
		w = next, next = after;
	}
}

template <int D>
__global__ void __launch_bounds__(THREADS, 1)
	prefill_kernel(const __grid_constant__ PrefillArgs a, Divider kv_heads, Divider group_heads) {
	extern __shared__ char raw[];
	Shared<D> &s = *(Shared<D> *)(((uintptr_t)raw + 1023) & ~(uintptr_t)1023); /* swizzled tiles: 1024-byte aligned */
	if (threadIdx.x == 0) {
		for (int i = 0; i < STAGES; i++) {
			barrier_init(&s.k_full[i], 1), barrier_init(&s.v_full[i], 1);
			barrier_init(&s.k_empty[i], CONSUMERS), barrier_init(&s.v_empty[i], CONSUMERS);
		}
		barrier_init_fence();
	}
	__syncthreads();
	await_previous();
	int n_work = a.n_tiles * a.kv.kv_heads;
	int group = threadIdx.x / GROUP_THREADS;
	if (group == 0) {
		registers_give<40>();
		if (threadIdx.x == 0) produce<D>(a, kv_heads, s, n_work);
	} else {
		registers_take<232>();
		consume<D>(a, kv_heads, group_heads, s, group - 1, n_work);
	}
}

template <int D> cudaError_t run(const PrefillArgs &args, int multiprocessors, cudaStream_t stream) {
	constexpr int BYTES = (int)sizeof(Shared<D>) + 1024;
	cudaError_t error = cudaFuncSetAttribute(prefill_kernel<D>, cudaFuncAttributeMaxDynamicSharedMemorySize, BYTES);
	if (error != cudaSuccess) return error;
	int blocks = min(args.n_tiles * args.kv.kv_heads, multiprocessors);
	return launch(prefill_kernel<D>, blocks, THREADS, BYTES, stream, args, Divider(args.kv.kv_heads),
	              Divider(args.group));
}

} // namespace

cudaError_t prefill_attention_sm90(const PrefillArgs &args, int multiprocessors, cudaStream_t stream) {
	switch (args.kv.head_dim) {
	case 64: return run<64>(args, multiprocessors, stream);
	case 128: return run<128>(args, multiprocessors, stream);
	default: return cudaErrorInvalidValue;
	}
}

} // namespace fg
