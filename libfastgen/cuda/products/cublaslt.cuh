/*
 * cublaslt.cuh - cuBLASLt, opened at run time: products of bf16 or e4m3 matrices, and the algorithms that it suggests
 * for them.
 */
#ifndef FG_CUBLASLT_CUH
#define FG_CUBLASLT_CUH

#include "product.cuh"

#include <cublasLt.h>
#include <cuda_runtime.h>

namespace fg {

/* A product as cuBLASLt knows it: y [n][rows] = x [n][cols] * w [rows][cols]^T. */
struct LtProduct {
	cublasLtMatmulDesc_t desc;
	cublasLtMatrixLayout_t w, x, y;
	bool scaled; /* by the operands' scales */
};

class CublasLt {
  public:
	/* Finds the library and allocates its workspace. FG_UNSUPPORTED, saying what to install, when there is none. */
	fg_status open(size_t workspace_bytes);
	void close();
	size_t version() const;

	/* y is float32 or bf16. PLAIN, ROWS or BLOCKS; `scaled` false: without regard to the scales. Unless plain, rows and
	 * cols are multiples of 16, and with BLOCKS n is one of 4. Free with forget. */
	fg_status describe(int32_t rows, int32_t cols, int32_t n, bool f32, Scaling scaling, bool scaled,
	                   LtProduct *product) const;
	void forget(const LtProduct &product) const;

	/* Writes at most `most` algorithms to found [most], the most promising first, and returns how many. `reductions`:
	 * how an algorithm may add up its splits over k (bits of cublasLtReductionScheme_t). */
	int suggest(const LtProduct &product, uint32_t reductions, cublasLtMatmulAlgo_t *found, int most) const;
	/* Whether this version has the algorithm on this device, and the workspace is large enough for it. */
	bool has(const LtProduct &product, const cublasLtMatmulAlgo_t &algorithm) const;

	/* y = x * w^T + before * y, enqueued. False when cuBLASLt refuses. */
	bool multiply(const LtProduct &product, const cublasLtMatmulAlgo_t &algorithm, const Operands &in, float before,
	              void *y, cudaStream_t stream) const;

  private:
	bool set_scales(const LtProduct &product, const float *of_x, const float *of_w) const;

	/* cuBLASLt's functions, by name. */
	struct {
		decltype(&cublasLtCreate) create;
		decltype(&cublasLtDestroy) destroy;
		decltype(&cublasLtGetVersion) version;
		decltype(&cublasLtMatmul) matmul;
		decltype(&cublasLtMatmulDescCreate) desc_create;
		decltype(&cublasLtMatmulDescDestroy) desc_destroy;
		decltype(&cublasLtMatmulDescSetAttribute) desc_set;
		decltype(&cublasLtMatrixLayoutCreate) layout_create;
		decltype(&cublasLtMatrixLayoutDestroy) layout_destroy;
		decltype(&cublasLtMatmulPreferenceCreate) preference_create;
		decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy;
		decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set;
		decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic;
		decltype(&cublasLtMatmulAlgoCheck) check;
	} lt = {};
	void *library = nullptr;
	cublasLtHandle_t handle = nullptr;
	void *workspace = nullptr;
	size_t workspace_bytes = 0;
};

} // namespace fg

#endif
