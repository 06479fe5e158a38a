/* See gemm.cuh. */
extern "C" {
#include "../error.h"
}
#include "gemm.cuh"
#include "gemv.cuh"
#include "libraries.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <sys/stat.h>

namespace fg {

namespace {

constexpr size_t WORKSPACE_BYTES = 32 << 20; /* cuBLAS's own recommendation for Hopper */
constexpr int SUGGESTIONS = 16;              /* of cuBLASLt's */
/* Every suggestion is timed over TRIALS calls; the fastest FINALISTS over rounds of more, most where a step waits for
 * the weights and a microsecond counts. */
constexpr int TRIALS = 2, FINALISTS = 4, FEW_ROWS = 256;
struct Finals {
	int rounds, calls;
};
constexpr Finals FINALS_FEW = {3, 8}, FINALS_MANY = {2, 5};

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
		/* A line a choice: rows cols n output choice. A line that does not read as one is skipped: the choice is then
		 * made anew. */
		char line[512], choice[256];
		GemmKey key;
		while (fgets(line, sizeof line, f))
			if (sscanf(line, "%d %d %d %d %255s", &key.rows, &key.cols, &key.n, (int32_t *)&key.output, choice) == 5)
				choices[key] = choice;
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
	LT(lt.layout_create(&plan->y, key.output == Output::F32 ? CUDA_R_32F : CUDA_R_16BF, key.rows, key.n, key.rows));
	return FG_OK;
}

bool Gemm::recall(const GemmKey &key, GemmPlan *plan) {
	auto known = choices.find(key);
	if (known == choices.end()) return false;
	const std::string &choice = known->second;
	if (sscanf(choice.c_str(), "own:%d", &plan->own) == 1)
		return plan->own >= 0 && plan->own < GEMV_SHAPES_COUNT && key.n <= GEMV_MOST;
	plan->own = -1;
	if (choice.size() != 2 * sizeof plan->algo) return false;
	for (size_t i = 0; i < sizeof plan->algo; i++) {
		unsigned byte = 0;
		if (sscanf(choice.c_str() + 2 * i, "%2x", &byte) != 1) return false;
		((uint8_t *)&plan->algo)[i] = (uint8_t)byte;
	}
	cublasLtMatmulHeuristicResult_t result;
	return lt.check(handle, plan->desc, plan->w, plan->x, plan->y, plan->y, &plan->algo, &result) ==
	           CUBLAS_STATUS_SUCCESS &&
	       result.workspaceSize <= WORKSPACE_BYTES;
}

bool Gemm::enqueue(const GemmKey &key, const GemmPlan &p, const void *x, const void *w, void *y,
                   cudaStream_t stream) const {
	if (p.own >= 0)
		return gemv(p.own, (const bf16 *)x, (const bf16 *)w, y, key.rows, key.cols, key.n, key.output, stream) ==
		       cudaSuccess;
	float one = 1, zero = 0;
	return lt.matmul(handle, p.desc, &one, w, p.w, x, p.x, &zero, y, p.y, y, p.y, &p.algo, workspace, WORKSPACE_BYTES,
	                 stream) == CUBLAS_STATUS_SUCCESS;
}

fg_status Gemm::plan(const GemmKey &key, const GemmTrial &trial, cudaStream_t stream) {
	if (plans.count(key)) return FG_OK;
	GemmPlan plan = {};
	fg_status status = describe(key, &plan);
	if (status) return status;
	if (recall(key, &plan)) {
		plans[key] = plan;
		return FG_OK;
	}

	std::vector<GemmPlan> candidates;
	plan.own = -1;
	cublasLtMatmulPreference_t preference;
	size_t bytes = WORKSPACE_BYTES;
	LT(lt.preference_create(&preference));
	LT(lt.preference_set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes, sizeof bytes));
	cublasLtMatmulHeuristicResult_t found[SUGGESTIONS];
	int n_found = 0;
	cublasStatus_t searched =
		lt.heuristic(handle, plan.desc, plan.w, plan.x, plan.y, plan.y, preference, SUGGESTIONS, found, &n_found);
	lt.preference_destroy(preference);
	bool plain = key.output != Output::SILU_MUL; /* which cuBLASLt has not */
	for (int i = 0; plain && searched == CUBLAS_STATUS_SUCCESS && i < n_found; i++) {
		plan.algo = found[i].algo;
		candidates.push_back(plan);
	}
	for (plan.own = 0; key.n <= GEMV_MOST && plan.own < GEMV_SHAPES_COUNT; plan.own++) candidates.push_back(plan);

	cudaEvent_t from, to;
	cudaEventCreate(&from);
	cudaEventCreate(&to);
	int calls = 0;
	bool failed = false;
	/* Milliseconds of a call, of several in a row, as in a step: one's end runs beside the next one's begin. */
	auto time = [&](const GemmPlan &candidate, int repeats) {
		bool works = true;
		cudaEventRecord(from, stream);
		for (int i = 0; i < repeats && works; i++) {
			const char *w = (const char *)trial.w + trial.w_stride * (size_t)(calls++ % trial.n_w);
			works = enqueue(key, candidate, trial.x, w, trial.y, stream);
		}
		cudaEventRecord(to, stream);
		float ms = INFINITY;
		failed = failed || cudaEventSynchronize(to) != cudaSuccess;
		if (works && !failed) cudaEventElapsedTime(&ms, from, to);
		return ms / (float)repeats;
	};
	std::vector<std::pair<float, size_t>> order;
	for (size_t i = 0; i < candidates.size(); i++) {
		time(candidates[i], 1); /* its first call loads the kernel */
		order.push_back({time(candidates[i], TRIALS), i});
	}
	std::sort(order.begin(), order.end());
	float best = INFINITY;
	for (size_t i = 0; i < std::min<size_t>(order.size(), FINALISTS); i++) {
		float least = INFINITY;
		Finals finals = key.n <= FEW_ROWS ? FINALS_FEW : FINALS_MANY;
		for (int round = 0; round < finals.rounds; round++)
			least = std::min(least, time(candidates[order[i].second], finals.calls));
		if (least < best) best = least, plan = candidates[order[i].second];
	}
	cudaEventDestroy(from);
	cudaEventDestroy(to);
	if (failed) return fg_fail(FG_DEVICE, "a matrix product failed on the device");
	if (best == INFINITY)
		return fg_fail(FG_UNSUPPORTED, "cuBLASLt has no product of [%d][%d] with [%d][%d]^T", key.n, key.cols, key.rows,
		               key.cols);
	std::string choice = plan.own >= 0 ? "own:" + std::to_string(plan.own) : "";
	for (size_t i = 0; plan.own < 0 && i < sizeof plan.algo; i++) {
		char hex[3];
		snprintf(hex, sizeof hex, "%02x", ((const uint8_t *)&plan.algo)[i]);
		choice += hex;
	}
	choices[key] = choice;
	plans[key] = plan;
	changed = true;
	return FG_OK;
}

void Gemm::save() const {
	if (!changed || file.empty()) return;
	std::string part = file + ".part";
	FILE *f = fopen(part.c_str(), "w");
	if (!f) return;
	for (auto &[key, choice] : choices)
		fprintf(f, "%d %d %d %d %s\n", key.rows, key.cols, key.n, (int32_t)key.output, choice.c_str());
	if (fclose(f) == 0) rename(part.c_str(), file.c_str());
}

cudaError_t Gemm::run(const void *x, const void *w, void *y, int32_t rows, int32_t cols, int32_t n, Output output,
                      cudaStream_t stream) const {
	GemmKey key = {rows, cols, bucket(n), output};
	auto found = plans.find(key);
	if (found == plans.end()) return cudaErrorInvalidValue;
	return enqueue(key, found->second, x, w, y, stream) ? cudaSuccess : cudaErrorUnknown;
}

} // namespace fg
