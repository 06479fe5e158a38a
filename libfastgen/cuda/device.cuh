/*
 * device.cuh - the KV pool as kernels see it, and PTX instructions that CUDA C++ cannot express.
 */
#ifndef FG_DEVICE_CUH
#define FG_DEVICE_CUH

#include "../fastgen.h"

#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <stdint.h>

typedef __nv_bfloat16 bf16;

namespace fg {

constexpr int PAGE = FG_PAGE_TOKENS;
constexpr int WARP = 32;

/* The paged KV cache of one rank: of each page and layer [K|V][kv_head][PAGE][head_dim] in bf16; or in e4m3, followed
 * by the tokens' scales, float [K|V][kv_head][PAGE]. */
struct KvPool {
	char *data;
	const int32_t *page_table; /* [max_seqs][pages_per_seq] */
	int32_t pages_per_seq;
	int32_t n_layers;
	int32_t kv_heads;
	int32_t head_dim;
	int32_t fp8;        /* 1: e4m3 */
	int32_t layer_rows; /* as rows_of_layer says */

	/* Rows of head_dim elements that a layer of a page takes, its scales included. */
	static int32_t rows_of_layer(int32_t kv_heads, int32_t head_dim, bool fp8) {
		return 2 * kv_heads * PAGE + (fp8 ? 2 * kv_heads * PAGE * (int32_t)sizeof(float) / head_dim : 0);
	}
	/* Where the rows [PAGE][head_dim] of a page begin, counted in rows. kv: 0 = K, 1 = V. */
	__device__ __forceinline__ int64_t row(int32_t page, int32_t layer, int32_t kv, int32_t head) const {
		return ((int64_t)page * n_layers + layer) * layer_rows + (kv * kv_heads + head) * PAGE;
	}
	/* The scales [PAGE] of these rows. */
	__device__ __forceinline__ float *scales(int32_t page, int32_t layer, int32_t kv, int32_t head) const {
		return (float *)(data + row(page, layer, 2, 0) * head_dim) + (kv * kv_heads + head) * PAGE;
	}
};

/* One sequence's part of a step, as attention reads it. */
struct AttnSeq {
	int32_t slot;
	int32_t context;     /* tokens in the sequence after the step */
	int32_t n_new;       /* the last n_new of them are queries */
	int32_t first_token; /* row of the first query in q and out */
};

/* Division of n by a number that is known at launch, without dividing. n * divisor must be below 2^32. */
struct Divider {
	int32_t divisor;
	uint32_t inverse; /* ceil(2^32 / divisor); not used for 1 */

	Divider() = default;
	explicit Divider(int32_t divisor)
		: divisor(divisor), inverse((uint32_t)(((1ull << 32) + (uint32_t)divisor - 1) / (uint32_t)divisor)) {
	}
	__device__ __forceinline__ int quotient(int n) const {
		return divisor == 1 ? n : (int)__umulhi((uint32_t)n, inverse);
	}
};

__device__ __forceinline__ uint32_t shared_address(const void *p) {
	return (uint32_t)__cvta_generic_to_shared(p);
}

/* Copies 16 bytes from global to shared memory, bypassing L1; zeros when !valid. */
__device__ __forceinline__ void copy_async(uint32_t to, const void *from, bool valid = true) {
	int bytes = valid ? 16 : 0;
	asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;\n" ::"r"(to), "l"(from), "r"(bytes));
}

__device__ __forceinline__ void copy_async_commit() {
	asm volatile("cp.async.commit_group;\n");
}

/* Waits until at most N committed groups are still in flight. */
template <int N> __device__ __forceinline__ void copy_async_wait() {
	asm volatile("cp.async.wait_group %0;\n" ::"n"(N));
}

/* Loads four 8x8 bf16 matrices from shared memory; each lane gives the address of one row. */
__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], uint32_t address) {
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
	             : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
	             : "r"(address));
}

__device__ __forceinline__ void load_matrices_transposed(uint32_t (&r)[4], uint32_t address) {
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
	             : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
	             : "r"(address));
}

/* c[16x8] += a[16x16] * b[16x8] in bf16 with float32 accumulation. */
__device__ __forceinline__ void mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
	asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
	             "{%0,%1,%2,%3};\n"
	             : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
	             : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* Two floats, rounded to bf16 and packed: `low` in the low half. */
__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
	uint32_t r;
	asm("cvt.rn.bf16x2.f32 %0, %1, %2;\n" : "=r"(r) : "f"(high), "f"(low));
	return r;
}

__device__ __forceinline__ float exp2_fast(float x) {
	float y;
	asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(y) : "f"(x));
	return y;
}

/* x * sigmoid(x) */
__device__ __forceinline__ float silu(float x) {
	return __fdividef(x, 1 + __expf(-x));
}

/* SiLU of two numbers with a single reciprocal, as the special function unit is slow. The exponentials are bounded so
 * that their product is finite; where a bound takes effect, SiLU is below 1e-16 anyway. */
__device__ __forceinline__ float2 silu(float2 x) {
	constexpr float LOG2_E = 1.44269504f, MOST = 62;
	float a = 1 + exp2_fast(fminf(x.x * -LOG2_E, MOST)), b = 1 + exp2_fast(fminf(x.y * -LOG2_E, MOST)), inverse;
	asm("rcp.approx.ftz.f32 %0, %1;\n" : "=f"(inverse) : "f"(a * b));
	return make_float2(x.x * (b * inverse), x.y * (a * inverse));
}

} // namespace fg

#endif
