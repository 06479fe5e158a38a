/*
 * hopper.cuh - sm_90a: warpgroup matrix multiply (wgmma), the bulk tensor copy engine (TMA), mbarriers, register
 * reallocation. PTX ISA 8.0 and later; layouts as in its sections on wgmma's shared memory descriptors.
 */
#ifndef FG_HOPPER_CUH
#define FG_HOPPER_CUH

#include "device.cuh"

#include <cuda.h>

namespace fg {

constexpr int GROUP_THREADS = 128; /* a warpgroup */

/* ---- barriers in shared memory ---- */

__device__ __forceinline__ void barrier_init(uint64_t *barrier, int arrivals) {
	asm volatile("mbarrier.init.shared.b64 [%0], %1;\n" ::"r"(shared_address(barrier)), "r"(arrivals));
}

__device__ __forceinline__ void barrier_init_fence() {
	asm volatile("fence.mbarrier_init.release.cluster;\n");
}

__device__ __forceinline__ void barrier_arrive(uint64_t *barrier) {
	asm volatile("mbarrier.arrive.shared.b64 _, [%0];\n" ::"r"(shared_address(barrier)));
}

/* Arrives, and makes the phase wait for `bytes` of bulk copies too. */
__device__ __forceinline__ void barrier_expect(uint64_t *barrier, int bytes) {
	asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;\n" ::"r"(shared_address(barrier)), "r"(bytes));
}

/* Waits for the end of the phase of this parity. */
__device__ __forceinline__ void barrier_wait(uint64_t *barrier, int parity) {
	asm volatile("{\n.reg .pred p;\n"
	             "again:\n"
	             "mbarrier.try_wait.parity.shared.b64 p, [%0], %1;\n"
	             "@p bra done;\n"
	             "bra again;\n"
	             "done:\n}\n" ::"r"(shared_address(barrier)),
	             "r"(parity));
}

/* A barrier among `threads` threads of a block, by number (0 is __syncthreads'). */
__device__ __forceinline__ void named_barrier(int number, int threads) {
	asm volatile("bar.sync %0, %1;\n" ::"r"(number), "r"(threads) : "memory");
}

/* Counts as arrived at it, without waiting. */
__device__ __forceinline__ void named_barrier_arrive(int number, int threads) {
	asm volatile("bar.arrive %0, %1;\n" ::"r"(number), "r"(threads) : "memory");
}

/* Makes this thread's ordinary shared memory writes visible to wgmma and TMA. */
__device__ __forceinline__ void async_proxy_fence() {
	asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
}

/* ---- TMA ---- */

/* Copies the box of a two-dimensional map that begins at (column, row), completing on `barrier`. One thread. */
__device__ __forceinline__ void tma_load(void *to, const CUtensorMap *map, uint64_t *barrier, int column, int row) {
	asm volatile(
		"cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];\n" ::
			"r"(shared_address(to)),
		"l"(map), "r"(shared_address(barrier)), "r"(column), "r"(row)
		: "memory");
}

/* Likewise into the same place of every block of the cluster that `blocks` has a bit for, completing on the barrier
 * at the same place there. */
__device__ __forceinline__ void tma_load(void *to, const CUtensorMap *map, uint64_t *barrier, int column, int row,
                                         uint16_t blocks) {
	asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], "
	             "[%1, {%3, %4}], [%2], %5;\n" ::"r"(shared_address(to)),
	             "l"(map), "r"(shared_address(barrier)), "r"(column), "r"(row), "h"(blocks)
	             : "memory");
}

/* ---- clusters ---- */

/* This block's number in its cluster. */
__device__ __forceinline__ uint32_t cluster_rank() {
	uint32_t rank;
	asm("mov.u32 %0, %%cluster_ctarank;\n" : "=r"(rank));
	return rank;
}

/* A barrier among all threads of the cluster, in two halves. Whole warps. */
__device__ __forceinline__ void cluster_arrive() {
	asm volatile("barrier.cluster.arrive.aligned;\n" ::: "memory");
}

__device__ __forceinline__ void cluster_wait() {
	asm volatile("barrier.cluster.wait.aligned;\n" ::: "memory");
}

/* The address, in all of the cluster's shared memory, of what another block has at the same place. */
__device__ __forceinline__ uint32_t cluster_address(const void *here, int rank) {
	uint32_t there;
	asm("mapa.shared::cluster.u32 %0, %1, %2;\n" : "=r"(there) : "r"(shared_address(here)), "r"(rank));
	return there;
}

/* Arrives at the barrier at the same place of another block of the cluster. */
__device__ __forceinline__ void barrier_arrive(uint64_t *barrier, int rank) {
	asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];\n" ::"r"(cluster_address(barrier, rank)) : "memory");
}

/* Waits for the end of the phase of this parity, and sees what other blocks have sent. */
__device__ __forceinline__ void barrier_wait_cluster(uint64_t *barrier, int parity) {
	asm volatile("{\n.reg .pred p;\n"
	             "again:\n"
	             "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%0], %1;\n"
	             "@p bra done;\n"
	             "bra again;\n"
	             "done:\n}\n" ::"r"(shared_address(barrier)),
	             "r"(parity)
	             : "memory");
}

/* Sends four floats to an address of the cluster, completing 16 bytes on the barrier there. */
__device__ __forceinline__ void store_async(uint32_t to, float4 v, uint32_t barrier) {
	asm volatile(
		"st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%1, %2, %3, %4}, [%5];\n" ::"r"(to),
		"f"(v.x), "f"(v.y), "f"(v.z), "f"(v.w), "r"(barrier)
		: "memory");
}

/* ---- registers ---- */

template <int N> __device__ __forceinline__ void registers_take() {
	asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(N));
}

template <int N> __device__ __forceinline__ void registers_give() {
	asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"(N));
}

/* ---- wgmma ---- */

/* Descriptor of a tile in 128-byte swizzled rows, as TMA writes them; groups of 8 rows follow each other at 1024
 * bytes. `leading`: bytes between blocks of 64 bf16 columns, for a transposed operand. */
__device__ __forceinline__ uint64_t tile_descriptor(uint32_t address, int leading = 16) {
	return (uint64_t)((address & 0x3FFFF) >> 4) | (uint64_t)(leading >> 4) << 16 | (uint64_t)(1024 >> 4) << 32 |
	       (uint64_t)1 << 62;
}

__device__ __forceinline__ void wgmma_fence() {
	asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory");
}

__device__ __forceinline__ void wgmma_commit() {
	asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory");
}

template <int N> __device__ __forceinline__ void wgmma_wait() {
	asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(N) : "memory");
}

/* Keeps the compiler from moving uses of accumulators across a wait. */
template <int N> __device__ __forceinline__ void hold(float (&d)[N]) {
#pragma unroll
	for (int i = 0; i < N; i++) asm volatile("" : "+f"(d[i])::"memory");
}

/* Of eight columns of an accumulator's row a lane of a quad has two. Stores what it has, in bf16, of two eights: lanes
 * exchange one each with a neighbour, so that each has four columns of one, and a quad stores whole sectors of memory.
 * `to`: the place of this lane's four, exchanged_column() from the first of both eights; left alone if not `valid`. */
__device__ __forceinline__ void store_eights(bf16 *to, uint32_t first, uint32_t second, bool valid) {
	const bool odd = threadIdx.x & 1;
	uint32_t got = __shfl_xor_sync(~0u, odd ? first : second, 1);
	if (valid) *(uint2 *)to = odd ? make_uint2(got, second) : make_uint2(first, got);
}

__device__ __forceinline__ int exchanged_column() {
	return (threadIdx.x & 1) * 8 + threadIdx.x % 4 / 2 * 4;
}

/* d[64 x 2N] (+)= a[64x16] * b[16 x 2N]: N accumulators a thread; a from shared memory or registers, b from shared
 * memory, stored [n][k] or, with TransB = 1, [k][n].
 *
 * The instruction names every accumulator, and inline PTX knows operands by number alone: lists of both, eight longer
 * each. */
#define FG_REGISTERS_8 "%0, %1, %2, %3, %4, %5, %6, %7"
#define FG_REGISTERS_16 FG_REGISTERS_8 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define FG_REGISTERS_24 FG_REGISTERS_16 ", %16, %17, %18, %19, %20, %21, %22, %23"
#define FG_REGISTERS_32 FG_REGISTERS_24 ", %24, %25, %26, %27, %28, %29, %30, %31"
#define FG_REGISTERS_40 FG_REGISTERS_32 ", %32, %33, %34, %35, %36, %37, %38, %39"
#define FG_REGISTERS_48 FG_REGISTERS_40 ", %40, %41, %42, %43, %44, %45, %46, %47"
#define FG_REGISTERS_56 FG_REGISTERS_48 ", %48, %49, %50, %51, %52, %53, %54, %55"
#define FG_REGISTERS_64 FG_REGISTERS_56 ", %56, %57, %58, %59, %60, %61, %62, %63"
#define FG_REGISTERS_72 FG_REGISTERS_64 ", %64, %65, %66, %67, %68, %69, %70, %71"
#define FG_REGISTERS_80 FG_REGISTERS_72 ", %72, %73, %74, %75, %76, %77, %78, %79"
#define FG_REGISTERS_88 FG_REGISTERS_80 ", %80, %81, %82, %83, %84, %85, %86, %87"
#define FG_REGISTERS_96 FG_REGISTERS_88 ", %88, %89, %90, %91, %92, %93, %94, %95"
#define FG_REGISTERS_104 FG_REGISTERS_96 ", %96, %97, %98, %99, %100, %101, %102, %103"
#define FG_REGISTERS_112 FG_REGISTERS_104 ", %104, %105, %106, %107, %108, %109, %110, %111"
#define FG_REGISTERS_120 FG_REGISTERS_112 ", %112, %113, %114, %115, %116, %117, %118, %119"
#define FG_REGISTERS_128 FG_REGISTERS_120 ", %120, %121, %122, %123, %124, %125, %126, %127"
#define FG_EIGHT(i)                                                                                                    \
	"+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]),        \
		"+f"(d[i + 7])
#define FG_ACCUMULATORS_8 FG_EIGHT(0)
#define FG_ACCUMULATORS_16 FG_ACCUMULATORS_8, FG_EIGHT(8)
#define FG_ACCUMULATORS_24 FG_ACCUMULATORS_16, FG_EIGHT(16)
#define FG_ACCUMULATORS_32 FG_ACCUMULATORS_24, FG_EIGHT(24)
#define FG_ACCUMULATORS_40 FG_ACCUMULATORS_32, FG_EIGHT(32)
#define FG_ACCUMULATORS_48 FG_ACCUMULATORS_40, FG_EIGHT(40)
#define FG_ACCUMULATORS_56 FG_ACCUMULATORS_48, FG_EIGHT(48)
#define FG_ACCUMULATORS_64 FG_ACCUMULATORS_56, FG_EIGHT(56)
#define FG_ACCUMULATORS_72 FG_ACCUMULATORS_64, FG_EIGHT(64)
#define FG_ACCUMULATORS_80 FG_ACCUMULATORS_72, FG_EIGHT(72)
#define FG_ACCUMULATORS_88 FG_ACCUMULATORS_80, FG_EIGHT(80)
#define FG_ACCUMULATORS_96 FG_ACCUMULATORS_88, FG_EIGHT(88)
#define FG_ACCUMULATORS_104 FG_ACCUMULATORS_96, FG_EIGHT(96)
#define FG_ACCUMULATORS_112 FG_ACCUMULATORS_104, FG_EIGHT(104)
#define FG_ACCUMULATORS_120 FG_ACCUMULATORS_112, FG_EIGHT(112)
#define FG_ACCUMULATORS_128 FG_ACCUMULATORS_120, FG_EIGHT(120)

/* For COUNT accumulators; the numbers of the operands that follow them. */
#define FG_WGMMA_SHARED(WIDTH, COUNT, A, B, ADD, TRANS)                                                                \
	template <int TransB> __device__ __forceinline__ void wgmma(float (&d)[COUNT], uint64_t a, uint64_t b, bool add) { \
		asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" #ADD ", 0;\n"                                                \
		             "wgmma.mma_async.sync.aligned.m64n" #WIDTH "k16.f32.bf16.bf16 "                                   \
		             "{" FG_REGISTERS_##COUNT "}, %" #A ", %" #B ", p, 1, 1, 0, %" #TRANS ";\n}\n"                     \
		             : FG_ACCUMULATORS_##COUNT                                                                         \
		             : "l"(a), "l"(b), "r"((int)add), "n"(TransB));                                                    \
	}
#define FG_WGMMA_REGISTERS(WIDTH, COUNT, A0, A1, A2, A3, B, ADD, TRANS)                                                \
	template <int TransB>                                                                                              \
	__device__ __forceinline__ void wgmma(float (&d)[COUNT], const uint32_t (&a)[4], uint64_t b, bool add) {           \
		asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" #ADD ", 0;\n"                                                \
		             "wgmma.mma_async.sync.aligned.m64n" #WIDTH "k16.f32.bf16.bf16 "                                   \
		             "{" FG_REGISTERS_##COUNT "}, {%" #A0 ", %" #A1 ", %" #A2 ", %" #A3 "}, %" #B                      \
		                                      ", p, 1, 1, %" #TRANS ";\n}\n"                                           \
		             : FG_ACCUMULATORS_##COUNT                                                                         \
		             : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)add), "n"(TransB));                \
	}

/* The same of e4m3: d[64][WIDTH] (+)= a[64][32] * b[WIDTH][32]^T, rows of both in shared memory. The tensor core adds
 * up with fewer bits than float32 has. */
#define FG_WGMMA_FP8(WIDTH, COUNT, A, B, ADD)                                                                          \
	__device__ __forceinline__ void wgmma_fp8(float (&d)[COUNT], uint64_t a, uint64_t b, bool add) {                   \
		asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" #ADD ", 0;\n"                                                \
		             "wgmma.mma_async.sync.aligned.m64n" #WIDTH "k32.f32.e4m3.e4m3 "                                   \
		             "{" FG_REGISTERS_##COUNT "}, %" #A ", %" #B ", p, 1, 1;\n}\n"                                     \
		             : FG_ACCUMULATORS_##COUNT                                                                         \
		             : "l"(a), "l"(b), "r"((int)add));                                                                 \
	}

FG_WGMMA_SHARED(64, 32, 32, 33, 34, 35)
FG_WGMMA_SHARED(80, 40, 40, 41, 42, 43)
FG_WGMMA_SHARED(96, 48, 48, 49, 50, 51)
FG_WGMMA_SHARED(112, 56, 56, 57, 58, 59)
FG_WGMMA_SHARED(128, 64, 64, 65, 66, 67)
FG_WGMMA_SHARED(160, 80, 80, 81, 82, 83)
FG_WGMMA_SHARED(192, 96, 96, 97, 98, 99)
FG_WGMMA_SHARED(224, 112, 112, 113, 114, 115)
FG_WGMMA_SHARED(256, 128, 128, 129, 130, 131)
FG_WGMMA_FP8(64, 32, 32, 33, 34)
FG_WGMMA_FP8(80, 40, 40, 41, 42)
FG_WGMMA_FP8(96, 48, 48, 49, 50)
FG_WGMMA_FP8(112, 56, 56, 57, 58)
FG_WGMMA_FP8(128, 64, 64, 65, 66)
FG_WGMMA_FP8(160, 80, 80, 81, 82)
FG_WGMMA_FP8(192, 96, 96, 97, 98)
FG_WGMMA_FP8(224, 112, 112, 113, 114)
FG_WGMMA_FP8(256, 128, 128, 129, 130)
FG_WGMMA_REGISTERS(64, 32, 32, 33, 34, 35, 36, 37, 38)
FG_WGMMA_REGISTERS(128, 64, 64, 65, 66, 67, 68, 69, 70)

} // namespace fg

#endif
