/*
 * gemm.cuh - y = x * w^T by whatever is fastest: cuBLASLt, which is opened at run time, or a kernel of our own.
 *
 * For each (rows of w, columns of w, kind of y) and each bucket of x's rows the candidates are timed, and the fastest
 * is remembered in a file, so that the next start need not.
 */
#ifndef FG_GEMM_CUH
#define FG_GEMM_CUH

#include "../ops.cuh"
#include "gemm_sm90.cuh"
#include "gemv.cuh"

#include <algorithm>
#include <cublasLt.h>
#include <cuda_bf16.h>
#include <compare>
#include <cuda_runtime.h>
#include <map>
#include <string>
#include <vector>

namespace fg {

/* cuBLASLt's functions, by name. */
struct CublasLt {
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
};

/* Who makes a product. */
enum class Method { CUBLASLT, GEMV, SM90 };

/* One product: a plan made for a bucket of n. */
struct GemmPlan {
	cublasLtMatmulDesc_t desc;
	cublasLtMatrixLayout_t w, x, y;
	Method method;
	cublasLtMatmulAlgo_t algo; /* cuBLASLt's */
	int gemv_shape;            /* index into GEMV_SHAPES */
	Sm90Cut cut;
	/* That a product with Output::PARTS is left in; 0 = it is added to the stream at once, as cuBLASLt does for
	 * nothing. */
	int parts() const {
		return method == Method::CUBLASLT ? 0 : method == Method::SM90 ? cut.parts : 1;
	}
};

struct GemmKey {
	int32_t rows, cols, n; /* w [rows][cols], x [n][cols], y [n][rows], or as Output says */
	Output output;
	auto operator<=>(const GemmKey &) const = default;
};

/* What candidates are timed on: device memory that may be read and overwritten. Weights are taken in turn, as a step
 * does, so that none is found in the L2 cache. */
struct GemmTrial {
	const void *x;
	const void *w; /* the first of n_w matrices, w_stride bytes apart */
	size_t w_stride;
	int32_t n_w;
	void *y;
	void *scratch; /* as Gemm::run's */
};

class Gemm {
  public:
	/* Opens cuBLASLt and the file of choices for this device. FG_UNSUPPORTED, saying what to install, when there is
	 * none. arch: 90 for sm_90. */
	fg_status open(const char *device_name, int arch);
	void close();

	/* false: cuBLASLt's kernels are not tried. For tools that cannot run them. */
	static inline bool use_cublaslt = true;
	/* Makes the plan for this product, timing candidates where the file holds no choice. */
	fg_status plan(const GemmKey &key, const GemmTrial &trial, cudaStream_t stream);
	/* Products of so many tokens and more are bound by the power that the device may draw, of which a product alone
	 * says too little: who has planned one chooses among its rivals, by timing it among what surrounds it. There are
	 * none where the file held the choice. */
	static constexpr int32_t MANY_TOKENS = 1024;
	std::vector<GemmPlan> rivals(const GemmKey &key) const;
	void choose(const GemmKey &key, const GemmPlan &plan);
	/* Writes new choices to the file. A failure to do so is no error. */
	void save() const;

	/* y = x * w^T, enqueued. Rows of x, y and scratch up to bucket(n) are read and written. The plan must exist.
	 * `scratch`: with SILU_MUL [n][rows], left undefined. With PARTS y is the residual stream, which the product is
	 * added to, or it is left in scratch [part_rows][rows], as *pending says. */
	cudaError_t run(const void *x, const void *w, void *y, int32_t rows, int32_t cols, int32_t n, Output output,
	                void *scratch, fg_pending *pending, cudaStream_t stream) const;
	/* Rows that scratch must have room for with PARTS, for n up to `most`. */
	static int32_t part_rows(int32_t most) {
		return std::max(bucket(most), SM90_PART_ROWS);
	}

	/* The sizes that n is rounded up to: fine where a step's time depends on them, coarse where it does not. */
	static int32_t bucket(int32_t n);
	/* All of them up to `most`, ascending. */
	static std::vector<int32_t> buckets(int32_t most);

  private:
	fg_status describe(const GemmKey &key, GemmPlan *plan);
	/* Adds cuBLASLt's suggestions for this plan to the candidates. */
	fg_status suggest(GemmPlan plan, std::vector<GemmPlan> *candidates) const;
	std::vector<Sm90Cut> cuts(const GemmKey &key) const;
	/* Whether the file's choice works for this plan; then it is in it. */
	bool recall(const GemmKey &key, GemmPlan *plan);
	cudaError_t enqueue(const GemmKey &key, const GemmPlan &plan, const void *x, const void *w, void *y, void *scratch,
	                    cudaStream_t stream) const;

	void *library = nullptr;
	CublasLt lt = {};
	cublasLtHandle_t handle = nullptr;
	void *workspace = nullptr;
	bool hopper = false; /* sm_90 */
	std::string file;
	/* As in the file: "gemv:INDEX", "sm90:" and a cut's name, or the bytes of cuBLASLt's algorithm in hexadecimal. */
	std::map<GemmKey, std::string> choices;
	std::map<GemmKey, GemmPlan> plans;
	std::map<GemmKey, std::vector<GemmPlan>> rivals_of;
	bool changed = false;
};

} // namespace fg

#endif
