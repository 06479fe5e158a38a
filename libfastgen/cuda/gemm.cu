/* See gemm.cuh. */
extern "C" {
#include "../error.h"
}
#include "gemm.cuh"
#include "libraries.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <sys/stat.h>

namespace fg {

namespace {

constexpr size_t WORKSPACE_BYTES = 32 << 20; /* cuBLAS's own recommendation for Hopper */
constexpr int CANDIDATES = 8;
constexpr int REPEATS = 5;

fg_status lt_fail(cublasStatus_t status, const char *what) {
	return fg_fail(FG_DEVICE, "cuBLASLt failed in %s with status %d", what, (int)status);
}

#define LT(call)                                                                                                       \
	do {                                                                                                               \
		cublasStatus_t status_ = (call);                                                                               \
		if (status_ != CUBLAS_STATUS_SUCCESS) return lt_fail(status_, #call);                                          \
	} while (0)

/* ${XDG_CACHE_HOME:-~/.cache}/fastgen, made where missing. Empty when there is no such place. */
std::string cache_folder() {
	const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	std::string folder = xdg && *xdg ? xdg : home && *home ? std::string(home) + "/.cache" : "";
	if (folder.empty()) return folder;
	mkdir(folder.c_str(), 0755);
	folder += "/fastgen";
	mkdir(folder.c_str(), 0755);
	return folder;
}

} // namespace

int32_t Gemm::bucket(int32_t n) {
	int32_t step = n <= 8 ? 1 : n <= 64 ? 8 : n <= 256 ? 16 : n <= 1024 ? 64 : 256;
	return (n + step - 1) / step * step;
}

std::vector<int32_t> Gemm::buckets(int32_t most) {
	std::vector<int32_t> all;
	for (int32_t n = 1; n <= bucket(most); n = bucket(n + 1)) all.push_back(n);
	return all;
}

fg_status Gemm::open(const char *device_name) {
	static const char *const names[] = {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so", nullptr};
	library = fg_open_library(names, "nvidia-cublas");
	if (!library) return FG_UNSUPPORTED;
	struct {
		void **function;
		const char *name;
	} wanted[] = {
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
	for (auto &w : wanted) {
		*w.function = dlsym(library, w.name);
		if (!*w.function)
			return fg_fail(FG_UNSUPPORTED, "the cuBLASLt that was found has no %s; install CUDA 12.9 or newer", w.name);
	}
	LT(lt.create(&handle));
	if (cudaMalloc(&workspace, WORKSPACE_BYTES) != cudaSuccess)
		return fg_fail(FG_OUT_OF_MEMORY, "no device memory for cuBLASLt's workspace");

	std::string folder = cache_folder(), device = device_name;
	for (char &c : device)
		if (!isalnum((unsigned char)c)) c = '-';
	if (!folder.empty()) file = folder + "/gemm-" + device + "-" + std::to_string(lt.version()) + ".txt";
	FILE *f = file.empty() ? nullptr : fopen(file.c_str(), "r");
	if (f) {
		/* A line a choice: rows cols n f32 and the algorithm's bytes in hexadecimal. A line that does not read as one
		 * is skipped: the choice is then made anew. */
		char line[512], hex[2 * sizeof(cublasLtMatmulAlgo_t) + 1];
		while (fgets(line, sizeof line, f)) {
			GemmKey key;
			if (sscanf(line, "%d %d %d %d %128s", &key.rows, &key.cols, &key.n, &key.f32, hex) != 5) continue;
			if (strlen(hex) != 2 * sizeof(cublasLtMatmulAlgo_t)) continue;
			std::vector<uint8_t> bytes(sizeof(cublasLtMatmulAlgo_t));
			for (size_t i = 0; i < bytes.size(); i++) {
				unsigned x = 0;
				sscanf(hex + 2 * i, "%2x", &x);
				bytes[i] = (uint8_t)x;
			}
			choices[key] = bytes;
		}
		fclose(f);
	}
	return FG_OK;
}

void Gemm::close() {
	for (auto &[key, plan] : plans) {
		lt.desc_destroy(plan.desc);
		lt.layout_destroy(plan.w), lt.layout_destroy(plan.x), lt.layout_destroy(plan.y);
	}
	plans.clear();
	if (workspace) cudaFree(workspace);
	if (handle) lt.destroy(handle);
	if (library) dlclose(library);
	workspace = nullptr, handle = nullptr, library = nullptr;
}

/* cuBLASLt counts columns first: y^T [rows x n] = w [rows x cols] * x^T, where each row-major matrix of ours is its
 * transpose. */
fg_status Gemm::describe(const GemmKey &key, GemmPlan *plan) {
	cublasOperation_t transpose = CUBLAS_OP_T;
	LT(lt.desc_create(&plan->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F));
	LT(lt.desc_set(plan->desc, CUBLASLT_MATMUL_DESC_TRANSA, &transpose, sizeof transpose));
	LT(lt.layout_create(&plan->w, CUDA_R_16BF, key.cols, key.rows, key.cols));
	LT(lt.layout_create(&plan->x, CUDA_R_16BF, key.cols, key.n, key.cols));
	LT(lt.layout_create(&plan->y, key.f32 ? CUDA_R_32F : CUDA_R_16BF, key.rows, key.n, key.rows));
	return FG_OK;
}

fg_status Gemm::plan(const GemmKey &key, const void *x, const void *w, void *y, cudaStream_t stream) {
	if (plans.count(key)) return FG_OK;
	GemmPlan plan = {};
	fg_status status = describe(key, &plan);
	if (status) return status;

	auto known = choices.find(key);
	if (known != choices.end()) {
		memcpy(&plan.algo, known->second.data(), sizeof plan.algo);
		cublasLtMatmulHeuristicResult_t result;
		if (lt.check(handle, plan.desc, plan.w, plan.x, plan.y, plan.y, &plan.algo, &result) == CUBLAS_STATUS_SUCCESS &&
		    result.workspaceSize <= WORKSPACE_BYTES) {
			plans[key] = plan;
			return FG_OK;
		}
	}

	cublasLtMatmulPreference_t preference;
	size_t bytes = WORKSPACE_BYTES;
	LT(lt.preference_create(&preference));
	LT(lt.preference_set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes, sizeof bytes));
	cublasLtMatmulHeuristicResult_t found[CANDIDATES];
	int n_found = 0;
	cublasStatus_t searched =
		lt.heuristic(handle, plan.desc, plan.w, plan.x, plan.y, plan.y, preference, CANDIDATES, found, &n_found);
	lt.preference_destroy(preference);
	if (searched != CUBLAS_STATUS_SUCCESS || n_found == 0)
		return fg_fail(FG_UNSUPPORTED, "cuBLASLt has no product of [%d][%d] with [%d][%d]^T", key.n, key.cols, key.rows,
		               key.cols);

	cudaEvent_t from, to;
	cudaEventCreate(&from);
	cudaEventCreate(&to);
	float best = 1e30f, one = 1, zero = 0;
	for (int c = 0; c < n_found; c++) {
		float least = 1e30f;
		bool works = true;
		for (int i = 0; i <= REPEATS && works; i++) { /* the first is a warm-up */
			cudaEventRecord(from, stream);
			works = lt.matmul(handle, plan.desc, &one, w, plan.w, x, plan.x, &zero, y, plan.y, y, plan.y,
			                  &found[c].algo, workspace, WORKSPACE_BYTES, stream) == CUBLAS_STATUS_SUCCESS;
			cudaEventRecord(to, stream);
			float ms = 0;
			if (cudaEventSynchronize(to) != cudaSuccess)
				return fg_fail(FG_DEVICE, "a matrix product failed on the device");
			cudaEventElapsedTime(&ms, from, to);
			if (i > 0) least = std::min(least, ms);
		}
		if (works && least < best) best = least, plan.algo = found[c].algo;
	}
	cudaEventDestroy(from);
	cudaEventDestroy(to);
	if (best == 1e30f)
		return fg_fail(FG_DEVICE, "every cuBLASLt algorithm failed for [%d][%d] x [%d][%d]^T", key.n, key.cols,
		               key.rows, key.cols);
	choices[key].assign((uint8_t *)&plan.algo, (uint8_t *)&plan.algo + sizeof plan.algo);
	plans[key] = plan;
	changed = true;
	return FG_OK;
}

void Gemm::save() const {
	if (!changed || file.empty()) return;
	std::string part = file + ".part";
	FILE *f = fopen(part.c_str(), "w");
	if (!f) return;
	for (auto &[key, bytes] : choices) {
		fprintf(f, "%d %d %d %d ", key.rows, key.cols, key.n, key.f32);
		for (uint8_t b : bytes) fprintf(f, "%02x", b);
		fputc('\n', f);
	}
	if (fclose(f) == 0) rename(part.c_str(), file.c_str());
}

cudaError_t Gemm::run(const void *x, const void *w, void *y, int32_t rows, int32_t cols, int32_t n, bool f32,
                      cudaStream_t stream) const {
	auto found = plans.find({rows, cols, bucket(n), f32});
	if (found == plans.end()) return cudaErrorInvalidValue;
	const GemmPlan &p = found->second;
	float one = 1, zero = 0;
	cublasStatus_t status = lt.matmul(handle, p.desc, &one, w, p.w, x, p.x, &zero, y, p.y, y, p.y, &p.algo, workspace,
	                                  WORKSPACE_BYTES, stream);
	return status == CUBLAS_STATUS_SUCCESS ? cudaSuccess : cudaErrorUnknown;
}

} // namespace fg
