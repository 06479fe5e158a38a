/*
 * decode_pages.cuh - which pages a block of decode attention reads, and how they come into shared memory.
 */
#ifndef FG_ATTENTION_DECODE_PAGES_CUH
#define FG_ATTENTION_DECODE_PAGES_CUH

#include "decode.cuh"
#include "fp8_page.cuh"
#include "page.cuh"

namespace fg {

constexpr int WARPS = 4;
constexpr int THREADS = WARPS * WARP;

/* A block's ring in shared memory. */
template <class Page, int STAGES> struct DecodeRing {
	static constexpr int STAGE_BYTES = 2 * Page::BYTES + Page::SCALE_BYTES; /* a page of K, its V, the scales of both */
	static constexpr int BYTES = STAGES * STAGE_BYTES;
};

/* A place among the pages that all pairs (sequence, kv head) read, laid end to end. A sequence's pairs follow each
 * other. */
struct Cursor {
	AttnSeq seq;
	int index;     /* of seq */
	int head;      /* kv head */
	int page, end; /* index into the sequence's page table, and where it ends */

	__device__ __forceinline__ bool at_last_page() const {
		return page + 1 == end;
	}

	/* Moves on by one page. Past the last page of the last pair the cursor is not valid. */
	__device__ __forceinline__ void next(const DecodeArgs &a, int n_seqs) {
		if (++page < end) return;
		if (++head == a.kv.kv_heads) {
			head = 0;
			if (++index == n_seqs) return;
			seq = a.seqs[index];
		}
		page = first_page(seq.context, a.window);
		end = page + pages_read(seq.context, a.window);
	}
};

/* This block's share: the pages [first, stop), counted over all pairs. */
struct Share {
	int total;    /* pages of all shares */
	int n_blocks; /* whose shares are not empty */
	int first = 0, stop = 0;
	Cursor begin = {}; /* at page `first` */

	__device__ __forceinline__ explicit Share(const DecodeArgs &a) {
		const DecodeShare share = a.shares[blockIdx.x];
		total = share.units;
		n_blocks = min((int)gridDim.x, total);
		begin.seq = share.seq;
		if ((int)blockIdx.x >= n_blocks) return;
		first = start_of(blockIdx.x), stop = start_of(blockIdx.x + 1);
		int seq_first = first_page(share.seq.context, a.window), pages = pages_read(share.seq.context, a.window);
		begin.index = share.index, begin.head = share.within / pages;
		begin.page = seq_first + share.within % pages, begin.end = seq_first + pages;
	}

	/* The page at which a block's share begins. */
	__device__ __forceinline__ int start_of(int64_t block) const {
		return (int)(block * total / n_blocks);
	}

	/* The block whose share holds a page. No share is empty. */
	__device__ __forceinline__ int block_of(int64_t page) const {
		return (int)(((page + 1) * n_blocks - 1) / total);
	}
};

/* Brings the pages of a share into a ring of stages in shared memory, ahead of their use. All threads take part. */
template <class Page, int STAGES> struct KvPipeline {
	using Ring = DecodeRing<Page, STAGES>;
	static constexpr int AHEAD = STAGES - 1;

	const DecodeArgs &a;
	const int n_seqs;
	const uint32_t ring;   /* shared memory address of [STAGES] */
	const int first, stop; /* of the share */
	Cursor at;             /* at the next page to load */
	int loading;           /* that page, counted as in Share */
	int stage = 0;         /* of the next page to use */

	__device__ __forceinline__ KvPipeline(const DecodeArgs &a, int n_seqs, const char *ring, const Share &share)
		: a(a), n_seqs(n_seqs), ring(shared_address(ring)), first(share.first), stop(share.stop), at(share.begin),
		  loading(share.first) {
	}

	/* Starts loading the first pages. While the kernel before this one may still run (!written), it stops at a
	 * sequence's last page, which that kernel writes to, and only looks up where it is. */
	__device__ __forceinline__ void fill(bool written) {
		for (; loading - first < AHEAD; loading++) {
			if (loading < stop) {
				if (!written && at.at_last_page()) {
					asm volatile("prefetch.global.L1 [%0];\n" ::"l"(table_entry()));
					return;
				}
				load(loading - first);
			}
			copy_async_commit();
		}
	}

	/* Waits for the next page, and starts loading one into the stage of the page before it. Returns the shared memory
	 * address of the page's K; its V and their scales follow. */
	__device__ __forceinline__ uint32_t next() {
		copy_async_wait<AHEAD - 1>();
		__syncthreads();
		if (loading < stop) load((stage + AHEAD) % STAGES);
		loading++;
		copy_async_commit();
		uint32_t page = ring + stage * Ring::STAGE_BYTES;
		stage = (stage + 1) % STAGES;
		return page;
	}

  private:
	__device__ __forceinline__ const int32_t *table_entry() const {
		return a.kv.page_table + (int64_t)at.seq.slot * a.kv.pages_per_seq + at.page;
	}

	__device__ __forceinline__ void load(int stage) {
		int page = *table_entry();
		int keys = at.seq.context - at.page * PAGE; /* rows past the last key are not read but set to zero */
#pragma unroll
		for (int kv = 0; kv < 2; kv++) {
			const char *from = a.kv.data + a.kv.row(page, a.layer, kv, at.head) * Page::ROW_BYTES;
			uint32_t to = ring + stage * Ring::STAGE_BYTES + kv * Page::BYTES;
#pragma unroll
			for (int i = 0; i < PAGE * Page::VECTORS / THREADS; i++) {
				int n = threadIdx.x + i * THREADS, row = n / Page::VECTORS;
				copy_async(to + Page::offset(row, n % Page::VECTORS), from + n * 16, row < keys);
			}
		}
		if constexpr (Page::SCALED) load_scales(page, ring + stage * Ring::STAGE_BYTES + 2 * Page::BYTES, keys);
		at.next(a, n_seqs);
	}

	__device__ __forceinline__ void load_scales(int page, uint32_t to, int keys) {
		constexpr int EACH = 16 / sizeof(float), LOADS = PAGE / EACH; /* scales of a load; loads of K's, and of V's */
		if (threadIdx.x >= 2 * LOADS) return;
		const int key = threadIdx.x % LOADS * EACH;
		const float *from = a.kv.scales(page, a.layer, threadIdx.x / LOADS, at.head) + key;
		copy_async(to + threadIdx.x * 16, from, key < keys);
	}
};

} // namespace fg

#endif
