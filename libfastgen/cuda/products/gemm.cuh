/*
 * gemm.cuh - y = x * w^T by the kernel that was chosen for it (tune.cuh): cuBLASLt's or one of our own.
 */
#ifndef FG_GEMM_CUH
#define FG_GEMM_CUH

#include "../ops.cuh"
#include "../quantise.cuh"
#include "cublaslt.cuh"
#include "gemm_sm90.cuh"
#include "gemm_w8a16.cuh"
#include "gemv.cuh"
#include "gemv_fp8.cuh"

#include <algorithm>
#include <compare>
#include <map>
#include <vector>

namespace fg {

/* A product's size and result. */
struct GemmKey {
	int32_t rows, cols, n; /* w [rows][cols], x [n][cols], y [n][rows] or as Output says */
	Output output;
	Scaling scaling;
	auto operator<=>(const GemmKey &) const = default;
};

/* How a device multiplies FP8, the best first. */
enum class Fp8Way {
	SCALED,   /* cuBLASLt applies the scales */
	UNSCALED, /* cuBLASLt takes FP8, but no such scales: the sums are scaled by a pass of ours */
	WIDENED,  /* it does not: weights become bf16 on their way into a product, and inputs are bf16 */
};

/* What tests may be content with: other devices' ways work on a better one, too. */
inline Fp8Way best_fp8_way = Fp8Way::SCALED;

/* Whose kernel makes a product. UNSCALED and WIDENED: cuBLASLt's, and a pass after it or before it. */
enum class Method { CUBLASLT, UNSCALED, WIDENED, GEMV, SM90, W8A16 };

inline bool is_cublaslt(Method method) {
	return method == Method::CUBLASLT || method == Method::UNSCALED || method == Method::WIDENED;
}

struct GemmChoice {
	Method method;
	cublasLtMatmulAlgo_t algorithm; /* cuBLASLt's */
	int shape;                      /* GEMV, W8A16: index into the kernel's shapes */
	Sm90Cut cut;

	/* How many matrices a product with Output::SPLITS is left in. 0: it is added to the stream at once, which costs
	 * cuBLASLt nothing, unless it has yet to be scaled. */
	int splits() const {
		if (method == Method::SM90) return cut.splits;
		return is_cublaslt(method) && method != Method::UNSCALED ? 0 : 1;
	}
};

class Gemm {
  public:
	/* FG_UNSUPPORTED, saying what to install, when there is no cuBLASLt. */
	fg_status open();
	void close();

	/* How products of matrices that are scaled by ROWS or BLOCKS are made on this device, as cuBLASLt says when it is
	 * first asked. arch: as Context's. */
	Fp8Way fp8_way(int arch, Scaling scaling) const;
	/* Device memory for the largest WIDE matrix in bf16, which products use one after the other. */
	void set_widened(bf16 *memory) {
		widened = memory;
	}

	/* The sizes that n is rounded up to: fine where a step's time depends on them, coarse where it does not. */
	static int32_t bucket(int32_t n);
	/* All of them up to `most`, ascending. */
	static std::vector<int32_t> buckets(int32_t most);
	/* Rows that scratch must have with SPLITS, for n up to `most`. */
	static int32_t split_rows(int32_t most) {
		return std::max(bucket(most), SM90_SPLIT_ROWS);
	}

	/* y = x * w^T by the chosen kernel, enqueued. Rows of x, y and scratch up to bucket(n) are read and written. y is
	 * plain, but with SILU_MUL an input of the next product. `scratch`: with SILU_MUL [n][rows], left undefined. With
	 * SPLITS y is the residual stream: the product is added to it, or left in scratch [split_rows][rows]. *pending says
	 * which. */
	cudaError_t run(const GemmKey &product, const Operands &in, const LinearInput &y, void *scratch,
	                fg_pending *pending, cudaStream_t stream) const;

	/* ---- for tune.cu, which chooses ---- */

	/* How cuBLASLt is used for a product. */
	Method cublaslt_method(const GemmKey &key) const;
	/* Makes a product known. Before all other calls about it. Here and below its n is one of the buckets. */
	fg_status add(const GemmKey &key);
	void choose(const GemmKey &key, const GemmChoice &choice);
	bool has_chosen(const GemmKey &key) const;
	/* The product as `choice` makes it. */
	cudaError_t run(const GemmKey &key, const GemmChoice &choice, const Operands &in, const LinearInput &y,
	                void *scratch, cudaStream_t stream) const;
	const CublasLt &cublaslt() const {
		return lt;
	}
	const LtProduct &lt_product(const GemmKey &key) const {
		return lt_products.at(key);
	}

  private:
	cudaError_t run_cublaslt(const GemmKey &key, const GemmChoice &choice, const Operands &in, const LinearInput &y,
	                         void *scratch, cudaStream_t stream) const;

	CublasLt lt;
	mutable std::map<Scaling, Fp8Way> fp8_ways; /* of what was asked */
	bf16 *widened = nullptr;
	std::map<GemmKey, LtProduct> lt_products;
	std::map<GemmKey, GemmChoice> choices;
};

} // namespace fg

#endif
