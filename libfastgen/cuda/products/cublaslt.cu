/* See cublaslt.cuh. */
extern "C" {
#include "../../error.h"
}
#include "../libraries.h"
#include "cublaslt.cuh"

#include <dlfcn.h>
#include <iterator>
#include <memory>

namespace fg {

namespace {

fg_status lt_fail(cublasStatus_t status, const char *what) {
	return fg_fail(FG_DEVICE, "cuBLASLt failed in %s with status %d", what, (int)status);
}

#define LT(call)                                                                                                       \
	do {                                                                                                               \
		cublasStatus_t status_ = (call);                                                                               \
		if (status_ != CUBLAS_STATUS_SUCCESS) return lt_fail(status_, #call);                                          \
	} while (0)

} // namespace

fg_status CublasLt::open(size_t bytes) {
	static const char *const names[] = {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so", nullptr};
	const fg_function functions[] = {
		{(void **)&lt.create, "cublasLtCreate"},
		{(void **)&lt.destroy, "cublasLtDestroy"},
		{(void **)&lt.version, "cublasLtGetVersion"},
		{(void **)&lt.matmul, "cublasLtMatmul"},
		{(void **)&lt.desc_create, "cublasLtMatmulDescCreate"},
		{(void **)&lt.desc_destroy, "cublasLtMatmulDescDestroy"},
		{(void **)&lt.desc_set, "cublasLtMatmulDescSetAttribute"},
		{(void **)&lt.layout_create, "cublasLtMatrixLayoutCreate"},
		{(void **)&lt.layout_destroy, "cublasLtMatrixLayoutDestroy"},
		{(void **)&lt.preference_create, "cublasLtMatmulPreferenceCreate"},
		{(void **)&lt.preference_destroy, "cublasLtMatmulPreferenceDestroy"},
		{(void **)&lt.preference_set, "cublasLtMatmulPreferenceSetAttribute"},
		{(void **)&lt.heuristic, "cublasLtMatmulAlgoGetHeuristic"},
		{(void **)&lt.check, "cublasLtMatmulAlgoCheck"},
	};
	library = fg_open_library(names, "CUDA 12.9 or newer (or `pip install nvidia-cublas`)", functions,
	                          (int)std::size(functions));
	if (!library) return FG_UNSUPPORTED;
	LT(lt.create(&handle));
	if (cudaMalloc(&workspace, bytes) != cudaSuccess) {
		cudaGetLastError(); /* it must not show up in a later check */
		return fg_fail(FG_OUT_OF_MEMORY, "no device memory for cuBLASLt's workspace");
	}
	workspace_bytes = bytes;
	return FG_OK;
}

void CublasLt::close() {
	if (workspace) cudaFree(workspace);
	if (handle) lt.destroy(handle);
	if (library) dlclose(library);
	workspace = nullptr, handle = nullptr, library = nullptr;
}

size_t CublasLt::version() const {
	return lt.version();
}

/* cuBLASLt's matrices are column-major: y^T [rows x n] = w [rows x cols] * x^T. A row-major matrix of ours is the
 * transpose of one of cuBLASLt's. */
fg_status CublasLt::describe(int32_t rows, int32_t cols, int32_t n, bool f32, Scaling scaling, bool scaled,
                             LtProduct *p) const {
	const cublasOperation_t transpose = CUBLAS_OP_T;
	const cudaDataType_t type = scaling == Scaling::PLAIN ? CUDA_R_16BF : CUDA_R_8F_E4M3;
	p->scaled = scaled && scaling != Scaling::PLAIN;
	LT(lt.desc_create(&p->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F));
	LT(lt.desc_set(p->desc, CUBLASLT_MATMUL_DESC_TRANSA, &transpose, sizeof transpose));
	LT(lt.layout_create(&p->w, type, cols, rows, cols));
	LT(lt.layout_create(&p->x, type, cols, n, cols));
	LT(lt.layout_create(&p->y, f32 ? CUDA_R_32F : CUDA_R_16BF, rows, n, rows));
	if (scaling == Scaling::PLAIN) return FG_OK;
	const bool by_row = scaling == Scaling::ROWS;
	const int8_t fast = by_row; /* sums stay in the tensor core, as in gemm_sm90 */
	LT(lt.desc_set(p->desc, CUBLASLT_MATMUL_DESC_FAST_ACCUM, &fast, sizeof fast));
	if (!scaled) return FG_OK;
	const cublasLtMatmulMatrixScale_t of_w = by_row ? CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F
	                                                : CUBLASLT_MATMUL_MATRIX_SCALE_BLK128x128_32F,
									  of_x = by_row ? CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F
									                : CUBLASLT_MATMUL_MATRIX_SCALE_VEC128_32F;
	LT(lt.desc_set(p->desc, CUBLASLT_MATMUL_DESC_A_SCALE_MODE, &of_w, sizeof of_w));
	LT(lt.desc_set(p->desc, CUBLASLT_MATMUL_DESC_B_SCALE_MODE, &of_x, sizeof of_x));
	/* Algorithms are suggested only to a description with scales: any address will do. */
	return set_scales(*p, (const float *)workspace, (const float *)workspace)
			   ? FG_OK
			   : fg_fail(FG_DEVICE, "cuBLASLt takes no scales of products");
}

bool CublasLt::set_scales(const LtProduct &p, const float *of_x, const float *of_w) const {
	return lt.desc_set(p.desc, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, &of_w, sizeof of_w) == CUBLAS_STATUS_SUCCESS &&
	       lt.desc_set(p.desc, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, &of_x, sizeof of_x) == CUBLAS_STATUS_SUCCESS;
}

void CublasLt::forget(const LtProduct &p) const {
	if (p.desc) lt.desc_destroy(p.desc);
	for (cublasLtMatrixLayout_t layout : {p.w, p.x, p.y})
		if (layout) lt.layout_destroy(layout);
}

int CublasLt::suggest(const LtProduct &p, uint32_t reductions, cublasLtMatmulAlgo_t *found, int most) const {
	cublasLtMatmulPreference_t preference;
	if (lt.preference_create(&preference) != CUBLAS_STATUS_SUCCESS) return 0;
	auto set = [&](cublasLtMatmulPreferenceAttributes_t what, const auto &value) {
		return lt.preference_set(preference, what, &value, sizeof value) == CUBLAS_STATUS_SUCCESS;
	};
	/* Not std::vector: nvcc 13.0 fails on vectors of C's unnamed structures. */
	const std::unique_ptr<cublasLtMatmulHeuristicResult_t[]> results(new cublasLtMatmulHeuristicResult_t[most]);
	int n = 0;
	const bool searched =
		set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_bytes) &&
		set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, reductions) &&
		lt.heuristic(handle, p.desc, p.w, p.x, p.y, p.y, preference, most, results.get(), &n) == CUBLAS_STATUS_SUCCESS;
	lt.preference_destroy(preference);
	if (!searched) return 0;
	for (int i = 0; i < n; i++) found[i] = results[i].algo;
	return n;
}

bool CublasLt::has(const LtProduct &p, const cublasLtMatmulAlgo_t &algorithm) const {
	cublasLtMatmulHeuristicResult_t result;
	return lt.check(handle, p.desc, p.w, p.x, p.y, p.y, &algorithm, &result) == CUBLAS_STATUS_SUCCESS &&
	       result.workspaceSize <= workspace_bytes;
}

bool CublasLt::multiply(const LtProduct &p, const cublasLtMatmulAlgo_t &algorithm, const Operands &in, float before,
                        void *y, cudaStream_t stream) const {
	const float one = 1;
	if (p.scaled && !set_scales(p, in.x_scale, in.w_scale)) return false;
	return lt.matmul(handle, p.desc, &one, in.w, p.w, in.x, p.x, &before, y, p.y, y, p.y, &algorithm, workspace,
	                 workspace_bytes, stream) == CUBLAS_STATUS_SUCCESS;
}

} // namespace fg
