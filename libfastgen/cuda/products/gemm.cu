/* See gemm.cuh. */
extern "C" {
#include "../../error.h"
}
#include "../elementwise.cuh"
#include "gemm.cuh"
#include "../libraries.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <iterator>
#include <sys/stat.h>
#include <unistd.h>

namespace fg {

namespace {

constexpr size_t WORKSPACE_BYTES = 32 << 20; /* cuBLAS's own recommendation for Hopper */
constexpr int SUGGESTIONS = 16;              /* of cuBLASLt's */
/* Every candidate is timed over TRIALS calls; the fastest FINALISTS over rounds of more, in turn, so that all of them
 * find the clock as high. */
constexpr int TRIALS = 2, ROUNDS = 3, CALLS = 3;
constexpr size_t FINALISTS = 5, RIVALS = 3;
/* How fast the reader of a product takes in the parts of it, which are in the L2 cache. */
constexpr double READER_BYTES_PER_MS = 3e9;

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

fg_status Gemm::open(const char *device_name, int arch) {
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
	library = fg_open_library(names, FG_CUBLASLT, functions, (int)std::size(functions));
	if (!library) return FG_UNSUPPORTED;
	LT(lt.create(&handle));
	hopper = arch == 90;
	if (cudaMalloc(&workspace, WORKSPACE_BYTES) != cudaSuccess)
		return fg_fail(FG_OUT_OF_MEMORY, "no device memory for cuBLASLt's workspace");

	std::string folder = cache_folder(), device = device_name;
	for (char &c : device)
		if (!isalnum((unsigned char)c)) c = '-';
	if (!folder.empty()) file = folder + "/products-" + device + "-" + std::to_string(lt.version()) + ".txt";
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

/* A choice as it is in the file. */
static std::string text(const GemmPlan &plan) {
	if (plan.method == Method::GEMV) return "gemv:" + std::to_string(plan.gemv_shape);
	if (plan.method == Method::SM90) return "sm90:" + plan.cut.name();
	std::string bytes;
	for (size_t i = 0; i < sizeof plan.algo; i++) {
		char hex[3];
		snprintf(hex, sizeof hex, "%02x", ((const uint8_t *)&plan.algo)[i]);
		bytes += hex;
	}
	return bytes;
}

std::vector<Sm90Cut> Gemm::cuts(const GemmKey &key) const {
	/* Where power is what there is least of, what a cut brings in tells more than a short measurement does. */
	return hopper ? gemm_sm90_cuts(key.rows, key.n, key.output, key.n >= MANY_TOKENS ? 1.03 : 1.15)
	              : std::vector<Sm90Cut>();
}

bool Gemm::recall(const GemmKey &key, GemmPlan *plan) {
	auto known = choices.find(key);
	if (known == choices.end()) return false;
	const std::string &choice = known->second;
	if (sscanf(choice.c_str(), "gemv:%d", &plan->gemv_shape) == 1) {
		plan->method = Method::GEMV;
		return plan->gemv_shape >= 0 && plan->gemv_shape < GEMV_SHAPES_COUNT && key.n <= GEMV_MOST;
	}
	if (choice.starts_with("sm90:")) {
		plan->method = Method::SM90;
		for (const Sm90Cut &cut : cuts(key)) {
			plan->cut = cut;
			if (choice == text(*plan)) return true;
		}
		return false;
	}
	plan->method = Method::CUBLASLT;
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

cudaError_t Gemm::enqueue(const GemmKey &key, const GemmPlan &p, const void *x, const void *w, void *y, void *scratch,
                          cudaStream_t stream) const {
	const bf16 *from = (const bf16 *)x, *weights = (const bf16 *)w;
	void *left = key.output == Output::PARTS ? scratch : y; /* by a kernel of our own */
	if (p.method == Method::GEMV)
		return gemv(p.gemv_shape, from, weights, left, key.rows, key.cols, key.n, key.output, stream);
	if (p.method == Method::SM90)
		return gemm_sm90(p.cut, from, weights, left, key.rows, key.cols, key.n, key.output, stream);
	float one = 1, before = key.output == Output::PARTS ? 1 : 0; /* what y is multiplied by first */
	bool gated = key.output == Output::SILU_MUL;                 /* which cuBLASLt has not */
	void *to = gated ? scratch : y;
	cublasStatus_t status = lt.matmul(handle, p.desc, &one, w, p.w, x, p.x, &before, to, p.y, to, p.y, &p.algo,
	                                  workspace, WORKSPACE_BYTES, stream);
	if (status != CUBLAS_STATUS_SUCCESS) return cudaErrorUnknown;
	return gated ? silu_mul((const bf16 *)scratch, (bf16 *)y, key.n, key.rows / 2, stream) : cudaSuccess;
}

fg_status Gemm::suggest(GemmPlan plan, std::vector<GemmPlan> *candidates) const {
	cublasLtMatmulPreference_t preference;
	size_t bytes = WORKSPACE_BYTES;
	/* Parts over k must not be rounded to bf16 before they are added up. */
	uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
	LT(lt.preference_create(&preference));
	LT(lt.preference_set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes, sizeof bytes));
	LT(lt.preference_set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reductions, sizeof reductions));
	cublasLtMatmulHeuristicResult_t found[SUGGESTIONS];
	int n_found = 0;
	cublasStatus_t searched =
		lt.heuristic(handle, plan.desc, plan.w, plan.x, plan.y, plan.y, preference, SUGGESTIONS, found, &n_found);
	lt.preference_destroy(preference);
	for (int i = 0; searched == CUBLAS_STATUS_SUCCESS && i < n_found; i++) {
		plan.algo = found[i].algo;
		candidates->push_back(plan);
	}
	return FG_OK;
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
	/* SiLU takes cuBLASLt a further pass, which costs more than it is faster by where our own tiles come out even. */
	const bool own_is_better = hopper && key.output == Output::SILU_MUL && key.n > GEMV_MOST && gemm_sm90_even(key.n);
	if (use_cublaslt && !own_is_better) status = suggest(plan, &candidates);
	if (status) return status;
	plan.method = Method::GEMV;
	for (plan.gemv_shape = 0; key.n <= GEMV_MOST && plan.gemv_shape < GEMV_SHAPES_COUNT; plan.gemv_shape++)
		candidates.push_back(plan);
	plan.method = Method::SM90;
	for (const Sm90Cut &cut : cuts(key)) plan.cut = cut, candidates.push_back(plan);
	/* Nothing to choose; or a tool that would take long to time it. */
	if (candidates.size() == 1 || (!use_cublaslt && !candidates.empty())) {
		choose(key, candidates[0]);
		return FG_OK;
	}

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
			works = enqueue(key, candidate, trial.x, w, trial.y, trial.scratch, stream) == cudaSuccess;
		}
		cudaEventRecord(to, stream);
		float ms = INFINITY;
		failed = failed || cudaEventSynchronize(to) != cudaSuccess;
		if (works && !failed) cudaEventElapsedTime(&ms, from, to);
		int parts = key.output == Output::PARTS ? candidate.parts() : 0;
		double adding = (double)parts * key.n * key.rows * sizeof(bf16) / READER_BYTES_PER_MS;
		return ms / (float)repeats + (float)adding;
	};
	std::vector<std::pair<float, size_t>> order;
	for (size_t i = 0; i < candidates.size(); i++) {
		time(candidates[i], 1); /* its first call loads the kernel */
		order.push_back({time(candidates[i], TRIALS), i});
	}
	std::sort(order.begin(), order.end());
	float best = INFINITY;
	auto take = [&](float ms, size_t candidate) {
		if (ms < best) best = ms, plan = candidates[candidate];
	};
	if (key.n >= MANY_TOKENS) {
		order.resize(std::min(order.size(), RIVALS));
		for (auto [ms, i] : order) {
			take(ms, i);
			if (ms < INFINITY) rivals_of[key].push_back(candidates[i]);
		}
	} else {
		order.resize(std::min(order.size(), FINALISTS));
		std::vector<float> total(order.size());
		for (int round = 0; round < ROUNDS; round++)
			for (size_t i = 0; i < order.size(); i++) total[i] += time(candidates[order[i].second], CALLS);
		for (size_t i = 0; i < order.size(); i++) take(total[i], order[i].second);
	}
	cudaEventDestroy(from);
	cudaEventDestroy(to);
	if (failed) return fg_fail(FG_DEVICE, "a matrix product failed on the device");
	if (best == INFINITY)
		return fg_fail(FG_UNSUPPORTED, "there is no product of [%d][%d] with [%d][%d]^T", key.n, key.cols, key.rows,
		               key.cols);
	choose(key, plan);
	return FG_OK;
}

std::vector<GemmPlan> Gemm::rivals(const GemmKey &key) const {
	auto found = rivals_of.find(key);
	return found == rivals_of.end() ? std::vector<GemmPlan>() : found->second;
}

void Gemm::choose(const GemmKey &key, const GemmPlan &plan) {
	choices[key] = text(plan);
	plans[key] = plan;
	changed = true;
}

void Gemm::save() const {
	if (!changed || file.empty()) return;
	std::string part = file + "." + std::to_string(getpid()) + "-" + std::to_string((uintptr_t)this) + ".part";
	FILE *f = fopen(part.c_str(), "w");
	if (!f) return;
	for (auto &[key, choice] : choices)
		fprintf(f, "%d %d %d %d %s\n", key.rows, key.cols, key.n, (int32_t)key.output, choice.c_str());
	if (fclose(f) == 0) rename(part.c_str(), file.c_str());
}

cudaError_t Gemm::run(const void *x, const void *w, void *y, int32_t rows, int32_t cols, int32_t n, Output output,
                      void *scratch, fg_pending *pending, cudaStream_t stream) const {
	GemmKey key = {rows, cols, bucket(n), output};
	auto found = plans.find(key);
	if (found == plans.end()) return cudaErrorInvalidValue;
	if (output == Output::PARTS) *pending = {scratch, found->second.parts(), (int64_t)key.n * rows};
	return enqueue(key, found->second, x, w, y, scratch, stream);
}

} // namespace fg
