/* See decode.cuh. */
#include "decode_merge.cuh"
#include "../launch.cuh"

namespace fg {

namespace {

/* Blocks that a multiprocessor should run: one computes while another begins or ends a pair. */
constexpr int MOST_BLOCKS = 2;

/* Each block asks for its share of the pieces. */
__device__ __forceinline__ void read_ahead(const Ahead &a) {
#if __CUDA_ARCH__ >= 900
	for (int i = threadIdx.x * gridDim.x + blockIdx.x; i < a.rows; i += gridDim.x * THREADS)
		asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;\n" ::"l"(a.data + i * a.pitch), "r"(a.width));
#endif
}

/* HALVES: of the rows of a tile, that the group needs. */
template <class Page, int STAGES, int HALVES>
__global__ void __launch_bounds__(THREADS, MOST_BLOCKS)
	decode_kernel(const __grid_constant__ DecodeArgs a, int n_seqs) {
	constexpr int D = Page::HEAD_DIM;
	let_next_start();
	read_ahead(a.ahead);
	extern __shared__ __align__(128) char shared[];
	/* While warps merge, pages are loaded into the ring, so the merge has a place of its own. */
	auto &merge = *(WarpMerge<D, HALVES> *)(shared + DecodeRing<Page, STAGES>::BYTES);
	const Share share(a);
	Cursor at = share.begin;
	KvPipeline<Page, STAGES> pipeline(a, n_seqs, shared, share);
	pipeline.fill(false);
	await_previous();
	pipeline.fill(true);

	OnlineSoftmax<Page, HALVES> softmax;
	Queries<Page, HALVES> q;
	if (share.first == share.stop) return;
	q.load(a, at);
	softmax.clear(), q.prepare(a);
	int first = share.first; /* page of this pair in the share */
	for (int page = share.first; page < share.stop; page++) {
		const uint32_t kv = pipeline.next();
		const int context = at.seq.context - at.page * PAGE; /* keys from this page on */
		softmax.attend(q, kv, a.window > 0 ? context - a.window : 0, context);
		if (!at.at_last_page() && page + 1 < share.stop) {
			at.next(a, n_seqs);
			continue;
		}
		const Cursor done = at;
		at.next(a, n_seqs);
		if (page + 1 < share.stop) q.load(a, at); /* on their way while warps merge */
		merge_warps(softmax, merge);
		__syncthreads();
		store(a, share, done, PairPart(a, done, first, page), merge);
		__syncthreads(); /* before the next pair's results overwrite these */
		softmax.clear(), q.prepare(a);
		first = page + 1;
	}
	copy_async_wait<0>();
}

/* Stages that keep an H100's memory busy, and those that suffice where a multiprocessor has less to itself. */
template <class Page> constexpr int MOST_STAGES = Page::BYTES >= 16384 ? 3 : Page::BYTES >= 8192 ? 4 + Page::SCALED : 6;
/* The smallest pages fit everywhere. */
template <class Page> constexpr int FEW_STAGES = Page::BYTES > 2048 ? (MOST_STAGES<Page> + 1) / 2 : MOST_STAGES<Page>;

template <class Page, int STAGES> constexpr int dynamic_bytes() {
	static_assert(sizeof(WarpMerge<Page::HEAD_DIM, 1>) == sizeof(WarpMerge<Page::HEAD_DIM, 2>));
	return DecodeRing<Page, STAGES>::BYTES + (int)sizeof(WarpMerge<Page::HEAD_DIM, 1>);
}

template <class Page> DecodePlan plan(const SharedLimits &limits) {
	auto fit = [&](int bytes, int blocks) {
		constexpr int STATIC = 256; /* the kernel's own variables, at most */
		return bytes + STATIC <= limits.block && blocks * (bytes + STATIC + limits.reserved) <= limits.multiprocessor;
	};
	constexpr int MOST = dynamic_bytes<Page, MOST_STAGES<Page>>(), FEW = dynamic_bytes<Page, FEW_STAGES<Page>>();
	for (int blocks = MOST_BLOCKS; blocks > 0; blocks--) {
		if (fit(MOST, blocks)) return {MOST_STAGES<Page>, blocks};
		if (fit(FEW, blocks)) return {FEW_STAGES<Page>, blocks};
	}
	return {0, 0};
}

template <class Page, int STAGES> cudaError_t run(const DecodeArgs &args, int n_seqs, cudaStream_t stream) {
	constexpr int BYTES = dynamic_bytes<Page, STAGES>();
	auto kernel = args.group > HALF_ROWS ? decode_kernel<Page, STAGES, 2> : decode_kernel<Page, STAGES, 1>;
	cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, BYTES);
	if (error != cudaSuccess) return error;
	return launch(kernel, args.n_blocks, THREADS, BYTES, stream, args, n_seqs);
}

} // namespace

DecodePlan decode_plan(int head_dim, bool fp8, const SharedLimits &limits) {
	return with_page(head_dim, fp8, DecodePlan{0, 0}, [&](auto page) { return plan<decltype(page)>(limits); });
}

int decode_blocks(const DecodePlan &plan, int multiprocessors, int kv_heads, int head_dim) {
	/* A pair has at most 1 / kv_heads of all pages. The blocks with its first and its last page may have other pairs
	 * too, hence the two. */
	return min(plan.blocks * multiprocessors, (most_blocks(head_dim) - 2) * kv_heads);
}

void list_decode_shares(const AttnSeq *seqs, int32_t n_seqs, int32_t kv_heads, int32_t window, int32_t n_blocks,
                        DecodeShare *shares) {
	auto pages_of = [&](int32_t s) { return (int64_t)pages_read(seqs[s].context, window) * kv_heads; };
	int64_t total = 0;
	for (int32_t s = 0; s < n_seqs; s++) total += pages_of(s);
	const int64_t used = min((int64_t)n_blocks, total); /* blocks */
	int64_t start = 0;                                  /* first page of sequence s */
	for (int32_t b = 0, s = 0; b < n_blocks; b++) {
		shares[b] = {};
		if (b < used) {
			int64_t first = b * total / used;
			for (; start + pages_of(s) <= first; s++) start += pages_of(s);
			shares[b] = {seqs[s], s, (int32_t)(first - start), 0, 0};
		}
		shares[b].units = (int32_t)total;
	}
}

cudaError_t decode_attention(const DecodeArgs &args, int n_seqs, cudaStream_t stream) {
	return with_page(args.kv.head_dim, args.kv.fp8, cudaErrorInvalidValue, [&](auto page) {
		using Page = decltype(page);
		if (args.stages == MOST_STAGES<Page>) return run<Page, MOST_STAGES<Page>>(args, n_seqs, stream);
		if (args.stages == FEW_STAGES<Page>) return run<Page, FEW_STAGES<Page>>(args, n_seqs, stream);
		return cudaErrorInvalidValue;
	});
}

} // namespace fg
