/* See prefill.cuh. */
#include "prefill.cuh"
#include "widen.cuh"
#include "../hopper.cuh"
#include "../launch.cuh"
#include "../ring.cuh"

namespace fg {

namespace {

constexpr int CONSUMERS = 2;       /* warpgroups that multiply */
constexpr int WARPGROUP_ROWS = 64; /* of a tile: wgmma's m */
constexpr int THREADS = (1 + CONSUMERS) * GROUP_THREADS;
constexpr int SPAN = 2 * PAGE;             /* keys that are attended to at once: a span */
constexpr int STAGES = 2;                  /* of a span each */
constexpr int LINE = 128;                  /* bytes of a swizzled row: 64 columns */
constexpr int WIDENED = 1 + 2 * CONSUMERS; /* a named barrier, after the consumers' */
static_assert(CONSUMERS * WARPGROUP_ROWS == PREFILL_ROWS);

template <int D> struct PrefillShape {
	static constexpr int HALVES = D / 64; /* of a row: 64 columns each */
	static constexpr int Q_BYTES = WARPGROUP_ROWS * LINE * HALVES;
	static constexpr int KV_BYTES = SPAN * LINE * HALVES;

	struct Shared {
		char k[STAGES][KV_BYTES];      /* [half][key][64] */
		char v[STAGES][KV_BYTES];      /* [half][key][64] */
		char q[CONSUMERS][2][Q_BYTES]; /* [half][row][64], of this item and of the next */
		uint64_t k_full[STAGES], k_empty[STAGES], v_full[STAGES], v_empty[STAGES];
	};
};

/* The item that this block processes in a round. Items are sorted by work, most first. Every other round runs
 * backwards, so that blocks that started with more work get less next. */
__device__ __forceinline__ int item_of(int round) {
	return round * gridDim.x + (round & 1 ? gridDim.x - 1 - blockIdx.x : blockIdx.x);
}

/* The unit of work: a tile and a kv head. */
struct PrefillItem {
	PrefillTile tile;
	int head;

	/* Does not use the tile that it loads, so that the load may be waited for later. */
	__device__ __forceinline__ PrefillItem(const PrefillArgs &a, const Divider &kv_heads, int item) {
		const int index = kv_heads.quotient(item);
		tile = a.tiles[index];
		head = item - index * kv_heads.divisor;
	}

	/* The first and the last span with a key that some row sees. */
	__device__ __forceinline__ int first_span(const PrefillArgs &a) const {
		return a.window > 0 ? max(0, tile.low - a.window + 1) / SPAN : 0;
	}
	__device__ __forceinline__ int last_span() const {
		return tile.high / SPAN;
	}
};

/* The pages of a span. A span may reach past the last page. That page is read again instead, and masked. */
__device__ __forceinline__ int2 look_up(const PrefillArgs &a, const PrefillItem &item, int span) {
	const int32_t *pages = a.kv.page_table + (int64_t)item.tile.slot * a.kv.pages_per_seq;
	return make_int2(pages[2 * span], pages[min(2 * span + 1, item.tile.last_page)]);
}

/* Calls each(pages, head, next_pages, next_head) for the spans of the block's items: span after span, from an item's
 * last to its first. Pages are looked up one span ahead, while the stages are still full: consumers must not wait for
 * page tables. After the last span, the next one is some span that can be read. */
template <class F>
__device__ __forceinline__ void for_spans(const PrefillArgs &a, const Divider &kv_heads, int n_items, F each) {
	PrefillItem item(a, kv_heads, item_of(0));
	int2 pages = look_up(a, item, item.last_span());
	for (int round = 0; item_of(round) < n_items; round++) {
		const PrefillItem next(a, kv_heads, min(item_of(round + 1), n_items - 1));
		const int first_span = item.first_span(a);
		for (int span = item.last_span(); span >= first_span; span--) {
			const bool inside = span > first_span;
			const int2 next_pages = inside ? look_up(a, item, span - 1) : look_up(a, next, next.last_span());
			each(pages, item.head, next_pages, inside ? item.head : next.head);
			pages = next_pages;
		}
		item = next;
	}
}

/* One thread, which keeps the stages filled. */
template <int D> struct Producer {
	using S = PrefillShape<D>;

	const PrefillArgs &a;
	typename S::Shared &s;
	Ring<STAGES> ring;

	__device__ __forceinline__ void run(const Divider &kv_heads, int n_items) {
		for_spans(a, kv_heads, n_items, [&](int2 pages, int head, int2, int) {
			load(s.k[ring.stage], s.k_full, s.k_empty, pages, 0, head);
			load(s.v[ring.stage], s.v_full, s.v_empty, pages, 1, head);
			ring.next();
		});
	}

  private:
	/* Loads K (kv = 0) or V (1) of a span, once its stage is empty. */
	__device__ __forceinline__ void load(char *to, uint64_t *full, uint64_t *empty, int2 pages, int kv, int head) {
		barrier_wait(&empty[ring.stage], ring.phase ^ 1);
		barrier_expect(&full[ring.stage], S::KV_BYTES);
#pragma unroll
		for (int p = 0; p < 2; p++)
#pragma unroll
			for (int half = 0; half < S::HALVES; half++)
				tma_load(to + (half * SPAN + p * PAGE) * LINE, &a.map, &full[ring.stage], half * 64,
				         (int)a.kv.row(p ? pages.y : pages.x, a.layer, kv, head));
	}
};

/* One warpgroup, which keeps the stages filled from pages of e4m3. Its registers hold the K or the V that comes next,
 * as it is in the pages: each vector's place is refilled as soon as the vector has been widened. */
template <int D> struct Widener {
	using S = PrefillShape<D>;
	static constexpr int VECTORS = D / 16;               /* of a key: 16 elements each, two vectors of bf16 */
	static constexpr int KEYS = GROUP_THREADS / VECTORS; /* that the warpgroup reads at once */
	static constexpr int EACH = SPAN / KEYS;             /* vectors that a thread has of a span: of every KEYS-th key */
	static_assert(PAGE % KEYS == 0 && KEYS % 8 == 0 && EACH == VECTORS);

	/* Where this thread's part of a span of K or V begins: in both pages, and one scale. */
	struct Source {
		const char *rows[2];
		const float *scale;
	};

	const PrefillArgs &a;
	typename S::Shared &s;
	Ring<STAGES> ring;
	uint4 raw[EACH];
	float scale; /* the threads that share their keys have one of these keys' scales each */

	__device__ __forceinline__ void run(const Divider &kv_heads, int n_items) {
		bool first = true;
		for_spans(a, kv_heads, n_items, [&](int2 pages, int head, int2 next_pages, int next_head) {
			if (first) {
				const Source from = source(pages, 0, head);
				scale = __ldg(from.scale);
#pragma unroll
				for (int i = 0; i < EACH; i++) read(i, from);
			}
			first = false;
			widen_span(s.k[ring.stage], s.k_full, s.k_empty, source(pages, 1, head));
			widen_span(s.v[ring.stage], s.v_full, s.v_empty, source(next_pages, 0, next_head));
			ring.next();
		});
	}

  private:
	/* This thread's first key of a span, and its vector of each of its keys. */
	static __device__ __forceinline__ int key() {
		return threadIdx.x / VECTORS;
	}
	static __device__ __forceinline__ int vector() {
		return threadIdx.x % VECTORS;
	}

	__device__ __forceinline__ Source source(int2 pages, int kv, int head) const {
		Source from;
#pragma unroll
		for (int p = 0; p < 2; p++)
			from.rows[p] =
				a.kv.data + (a.kv.row(p ? pages.y : pages.x, a.layer, kv, head) + key()) * D + vector() * sizeof(uint4);
		const int with_scale = key() + vector() * KEYS;
		from.scale = a.kv.scales(with_scale < PAGE ? pages.x : pages.y, a.layer, kv, head) + with_scale % PAGE;
		return from;
	}

	__device__ __forceinline__ void read(int i, const Source &from) {
		constexpr int HALF = EACH / 2;
		raw[i] = __ldg((const uint4 *)(from.rows[i / HALF] + i % HALF * KEYS * D));
	}

	/* Widens the span that has been read into its stage, once that is empty, and starts reading the next one. */
	__device__ __forceinline__ void widen_span(char *to, uint64_t *full, uint64_t *empty, const Source &next) {
		/* A vector of e4m3 becomes two columns of a swizzled line. Half of the lanes store the second one first: no
		 * bank conflicts. */
		const int column = 2 * vector() % 8, swap = vector() / 4 & 1, turn = key() & 7;
		const uint32_t line = shared_address(to) + (vector() / 4 * SPAN + key()) * LINE;
		const uint32_t first = line + (((column + swap) ^ turn) << 4),
					   second = line + (((column + 1 - swap) ^ turn) << 4);
		const float scales = scale;
		scale = __ldg(next.scale);
		barrier_wait(&empty[ring.stage], ring.phase ^ 1);
#pragma unroll
		for (int i = 0; i < EACH; i++) {
			const uint4 from = raw[i];
			read(i, next);
			const float by = __shfl_sync(~0u, scales, i, VECTORS);
			const uint2 a = widen(from.x, by), b = widen(from.y, by), c = widen(from.z, by), d = widen(from.w, by);
			const uint4 low = make_uint4(a.x, a.y, b.x, b.y), high = make_uint4(c.x, c.y, d.x, d.y);
			store_shared(first + i * KEYS * LINE, swap ? high : low);
			store_shared(second + i * KEYS * LINE, swap ? low : high);
		}
		async_proxy_fence();
		named_barrier(WIDENED, GROUP_THREADS);
		if (threadIdx.x == 0) barrier_arrive(&full[ring.stage]);
	}
};

/* A warpgroup's rows of an item. A thread has two of them: `row` and the one 8 below. */
struct Rows {
	int row;         /* of the chunk */
	int position[2]; /* of the rows' tokens in their sequence; -1 for rows past the chunk's end */
	int low, high;   /* positions of the warpgroup's first and last row */

	__device__ __forceinline__ Rows(const PrefillTile &tile, const Divider &group, int consumer) {
		const int first = tile.first_row + consumer * WARPGROUP_ROWS;
		row = first + threadIdx.x % GROUP_THREADS / WARP * 16 + threadIdx.x % WARP / 4;
#pragma unroll
		for (int r = 0; r < 2; r++)
			position[r] = row + 8 * r < tile.n_rows ? tile.base + group.quotient(row + 8 * r) : -1;
		low = tile.base + group.quotient(first);
		high = tile.base + group.quotient(min(first + WARPGROUP_ROWS - 1, tile.n_rows - 1));
	}

	/* Whether some row of the warpgroup does not see some key of a span. */
	__device__ __forceinline__ bool masked(int span, int window) const {
		return (span + 1) * SPAN - 1 > low || (window > 0 && span * SPAN <= high - window);
	}

	__device__ __forceinline__ void mask(float (&s)[SPAN / 2], int span, int window) const {
#pragma unroll
		for (int i = 0; i < SPAN / 2; i++) {
			int key = span * SPAN + i / 4 * 8 + threadIdx.x % 4 * 2 + (i & 1), p = position[(i >> 1) & 1];
			if (key > p || (window > 0 && key <= p - window)) s[i] = -INFINITY;
		}
	}
};

/* The online softmax (arXiv:1805.02867) of a thread's two rows. */
struct OnlineSoftmax {
	float max[2] = {-INFINITY, -INFINITY};
	float sum[2] = {}; /* until finish, over a thread's own keys */

	/* Raises the maxima to the scores of a span and turns these into weights. The output so far must be multiplied by
	 * correction[]. */
	__device__ __forceinline__ void weigh(float (&s)[SPAN / 2], float (&correction)[2], float scale) {
#pragma unroll
		for (int r = 0; r < 2; r++) {
			float new_max = max[r];
#pragma unroll
			for (int i = 0; i < SPAN / 2; i += 4) new_max = fmaxf(new_max, fmaxf(s[i + 2 * r], s[i + 2 * r + 1]));
			new_max = fmaxf(new_max, __shfl_xor_sync(~0u, new_max, 1));
			new_max = fmaxf(new_max, __shfl_xor_sync(~0u, new_max, 2));
			float origin = new_max == -INFINITY ? 0 : new_max * scale; /* -inf: the row has seen no key yet */
			correction[r] = exp2_fast(max[r] * scale - origin);
			max[r] = new_max;
			float added = 0;
#pragma unroll
			for (int i = 0; i < SPAN / 2; i += 4)
#pragma unroll
				for (int j = 0; j < 2; j++) {
					float &x = s[i + 2 * r + j];
					x = exp2_fast(fmaf(x, scale, -origin));
					added += x;
				}
			sum[r] = sum[r] * correction[r] + added;
		}
	}

	/* Completes the sums. Call once, after the last span. */
	__device__ __forceinline__ void finish() {
#pragma unroll
		for (int r = 0; r < 2; r++) {
			sum[r] += __shfl_xor_sync(~0u, sum[r], 1);
			sum[r] += __shfl_xor_sync(~0u, sum[r], 2);
		}
	}
};

/* One warpgroup, which computes the attention of its rows of every item. */
template <int D, bool FP8> struct Consumer {
	using S = PrefillShape<D>;

	const PrefillArgs &a;
	const Divider &kv_heads, &group; /* group: the number of query heads */
	typename S::Shared &s;
	const int consumer, n_items;
	Ring<STAGES> k, v;
	int buffer = 0;           /* of s.q, this item's */
	float scores[SPAN / 2];   /* of a span, then its weights */
	uint32_t p[SPAN / 16][4]; /* the weights in bf16, as wgmma takes them */
	float o[D / 2];           /* output, not yet divided by the sum */

	__device__ __forceinline__ Consumer(const PrefillArgs &a, const Divider &kv_heads, const Divider &group,
	                                    typename S::Shared &s, int consumer, int n_items)
		: a(a), kv_heads(kv_heads), group(group), s(s), consumer(consumer), n_items(n_items) {
	}

	/* The first scores of an item are computed while the item before it is stored. */
	__device__ __forceinline__ void run() {
		if (consumer == 1) pass_turn();
		PrefillItem item = item_in(0), next = item_in(1); /* there are at least as many items as blocks */
		load_q(item, 0);
		await_q();
		await_turn();
		await_k();
		start_scores(0);
		pass_turn();
		for (int round = 0; item_of(round) < n_items; round++, buffer ^= 1) {
			const bool more = item_of(round + 1) < n_items;
			if (more) load_q(next, buffer ^ 1);
			const PrefillItem after = item_in(round + 2); /* not used before the next round */
			const Rows rows(item.tile, group, consumer);
			OnlineSoftmax softmax;
			attend(item, rows, softmax);
			await_v();
			if (!more) {
				await_turn();
				start_output();
				pass_turn();
				wgmma_wait<0>();
				store(item, rows, softmax);
				break;
			}
			await_q();
			await_k();
			await_turn();
			start_output();
			start_scores(buffer ^ 1);
			pass_turn();
			wgmma_wait<1>();
			store(item, rows, softmax);
			item = next, next = after;
		}
	}

  private:
	__device__ __forceinline__ PrefillItem item_in(int round) const {
		return PrefillItem(a, kv_heads, min(item_of(round), n_items - 1));
	}

	/* Warpgroups take turns at starting products: the softmax of one runs beside the products of the other. */
	static constexpr int TURN = 1 + CONSUMERS;
	__device__ __forceinline__ void await_turn() const {
		named_barrier(TURN + consumer, CONSUMERS * GROUP_THREADS);
	}
	__device__ __forceinline__ void pass_turn() const {
		named_barrier_arrive(TURN + (consumer ^ 1), CONSUMERS * GROUP_THREADS);
	}

	__device__ __forceinline__ void await_k() const {
		barrier_wait(&s.k_full[k.stage], k.phase);
	}
	__device__ __forceinline__ void await_v() const {
		barrier_wait(&s.v_full[v.stage], v.phase);
	}
	__device__ __forceinline__ static void release(uint64_t *empty) {
		if (threadIdx.x % GROUP_THREADS == 0) barrier_arrive(empty);
	}

	/* Starts loading the queries of an item's rows into a buffer. Rows past the chunk's end become zeros. */
	__device__ __forceinline__ void load_q(const PrefillItem &item, int into) const {
		const PrefillTile &tile = item.tile;
		const bf16 *from = a.q + (int64_t)tile.first_token * a.q_stride + item.head * a.group * D;
		const uint32_t to = shared_address(s.q[consumer][into]);
#pragma unroll
		for (int i = 0; i < WARPGROUP_ROWS * D / 8 / GROUP_THREADS; i++) {
			int n = threadIdx.x % GROUP_THREADS + i * GROUP_THREADS;
			int r = n / (D / 8), vector = n % (D / 8), row = tile.first_row + consumer * WARPGROUP_ROWS + r;
			bool valid = row < tile.n_rows;
			int token = group.quotient(valid ? row : 0), head = valid ? row - token * a.group : 0;
			copy_async(to + (vector / 8) * WARPGROUP_ROWS * LINE + r * LINE + (((vector & 7) ^ (r & 7)) << 4),
			           from + (int64_t)token * a.q_stride + head * D + vector * 8, valid);
		}
		copy_async_commit();
	}

	/* Waits for the next item's queries. From here on no thread of the warpgroup reads this item's. */
	__device__ __forceinline__ void await_q() const {
		copy_async_wait<0>();
		async_proxy_fence();
		named_barrier(1 + consumer, GROUP_THREADS);
	}

	/* Starts scores = q * k^T for the span that await_k has waited for. */
	__device__ __forceinline__ void start_scores(int from) {
		const uint32_t q = shared_address(s.q[consumer][from]), keys = shared_address(s.k[k.stage]);
		wgmma_fence();
#pragma unroll
		for (int d = 0; d < D / 16; d++)
			wgmma<0>(scores, tile_descriptor(q + d / 4 * WARPGROUP_ROWS * LINE + d % 4 * 32),
			         tile_descriptor(keys + d / 4 * SPAN * LINE + d % 4 * 32), d > 0);
		wgmma_commit();
	}

	/* Call when the scores have been computed. */
	__device__ __forceinline__ void end_scores() {
		hold(scores);
		release(&s.k_empty[k.stage]);
		k.next();
	}

	/* Starts o += p * v for the span that await_v has waited for. */
	__device__ __forceinline__ void start_output() {
		const uint32_t values = shared_address(s.v[v.stage]);
		wgmma_fence();
#pragma unroll
		for (int i = 0; i < SPAN / 16; i++)
			wgmma<1>(o, p[i], tile_descriptor(values + i * 16 * LINE, SPAN * LINE), true);
		wgmma_commit();
	}

	/* Call when the output has been computed. */
	__device__ __forceinline__ void end_output() {
		hold(o);
		release(&s.v_empty[v.stage]);
		v.next();
	}

	__device__ __forceinline__ void weigh(const Rows &rows, OnlineSoftmax &softmax, float (&correction)[2], int span) {
		if (rows.masked(span, a.window)) rows.mask(scores, span, a.window);
		softmax.weigh(scores, correction, a.scale);
	}

	__device__ __forceinline__ void pack_weights() {
#pragma unroll
		for (int n = 0; n < SPAN / 16; n++)
#pragma unroll
			for (int i = 0; i < 4; i++) p[n][i] = pack_bf16(scores[n * 8 + i * 2], scores[n * 8 + i * 2 + 1]);
	}

	/* Attends to all spans of an item, except that its first scores have been started before and its last output is
	 * left to start. Scores of a span are computed before the output of the span before it. */
	__device__ __forceinline__ void attend(const PrefillItem &item, const Rows &rows, OnlineSoftmax &softmax) {
		const int first_span = item.first_span(a), last_span = item.last_span();
		float correction[2];
		wgmma_wait<0>();
#pragma unroll
		for (int i = 0; i < D / 2; i++) o[i] = 0;
		end_scores();
		weigh(rows, softmax, correction, last_span);
		pack_weights();
		for (int span = last_span - 1; span >= first_span; span--) {
			await_turn();
			await_k();
			start_scores(buffer);
			await_v();
			start_output();
			pass_turn();
			wgmma_wait<1>();
			end_scores();
			weigh(rows, softmax, correction, span);
			wgmma_wait<0>();
			end_output();
#pragma unroll
			for (int i = 0; i < D / 2; i++) o[i] *= correction[(i >> 1) & 1];
			pack_weights();
		}
	}

	/* Call when the last output has been computed. */
	__device__ __forceinline__ void store(const PrefillItem &item, const Rows &rows, OnlineSoftmax &softmax) {
		end_output();
		softmax.finish();
#pragma unroll
		for (int r = 0; r < 2; r++) {
			const int row = rows.row + 8 * r, token = group.quotient(row);
			const float inverse = __fdividef(1, softmax.sum[r]);
			bf16 *to = a.out + ((int64_t)(item.tile.first_token + token) * a.kv.kv_heads + item.head) * a.group * D +
			           (row - token * a.group) * D + exchanged_column();
#pragma unroll
			for (int i = 0; i < D / 8; i += 2) {
				uint32_t first = pack_bf16(o[i * 4 + 2 * r] * inverse, o[i * 4 + 2 * r + 1] * inverse);
				uint32_t second = pack_bf16(o[i * 4 + 4 + 2 * r] * inverse, o[i * 4 + 5 + 2 * r] * inverse);
				store_eights(to + i * 8, first, second, rows.position[r] >= 0);
			}
		}
	}
};

template <int D, bool FP8>
__global__ void __launch_bounds__(THREADS, 1)
	prefill_kernel(const __grid_constant__ PrefillArgs a, Divider kv_heads, Divider group) {
	using Shared = typename PrefillShape<D>::Shared;
	extern __shared__ char raw[];
	Shared &s = *(Shared *)(((uintptr_t)raw + 1023) & ~(uintptr_t)1023); /* swizzled tiles: 1024-byte aligned */
	if (threadIdx.x == 0) {
		for (int i = 0; i < STAGES; i++) {
			barrier_init(&s.k_full[i], 1), barrier_init(&s.v_full[i], 1);
			barrier_init(&s.k_empty[i], CONSUMERS), barrier_init(&s.v_empty[i], CONSUMERS);
		}
		barrier_init_fence();
	}
	__syncthreads();
	await_previous();
	const int n_items = a.n_tiles * a.kv.kv_heads;
	const int warpgroup = __shfl_sync(~0u, threadIdx.x / GROUP_THREADS, 0); /* uniform, as the compiler can see */
	if (warpgroup == 0) {
		registers_give<FP8 ? 72 : 40>();
		if constexpr (FP8) {
			Widener<D>{a, s}.run(kv_heads, n_items);
			/* Where this path joins the consumers' again, the compiler gives these no more registers than a block
			 * starts with, and their products no longer overlap. */
			__syncwarp();
			asm volatile("exit;\n");
		} else if (threadIdx.x == 0) {
			Producer<D>{a, s}.run(kv_heads, n_items);
		}
	} else {
		registers_take<FP8 ? 216 : 232>();
		Consumer<D, FP8>(a, kv_heads, group, s, warpgroup - 1, n_items).run();
	}
}

template <int D, bool FP8> cudaError_t run(const PrefillArgs &args, int multiprocessors, cudaStream_t stream) {
	constexpr int BYTES = (int)sizeof(typename PrefillShape<D>::Shared) + 1024;
	static_assert(BYTES <= 227 * 1024);
	auto kernel = prefill_kernel<D, FP8>;
	cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, BYTES);
	if (error != cudaSuccess) return error;
	int blocks = min(args.n_tiles * args.kv.kv_heads, multiprocessors);
	return launch(kernel, blocks, THREADS, BYTES, stream, args, Divider(args.kv.kv_heads), Divider(args.group));
}

} // namespace

cudaError_t prefill_attention_sm90(const PrefillArgs &args, int multiprocessors, cudaStream_t stream) {
	switch (args.kv.head_dim) {
	case 64:
		return args.kv.fp8 ? run<64, true>(args, multiprocessors, stream)
		                   : run<64, false>(args, multiprocessors, stream);
	case 128:
		return args.kv.fp8 ? run<128, true>(args, multiprocessors, stream)
		                   : run<128, false>(args, multiprocessors, stream);
	default: return cudaErrorInvalidValue;
	}
}

} // namespace fg
