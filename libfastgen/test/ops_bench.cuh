/*
 * ops_bench.cuh - ops_bench.cu's clock, its output, and the device's ceilings.
 */
#ifndef FG_OPS_BENCH_CUH
#define FG_OPS_BENCH_CUH

#include "../cuda/device.cuh"
#include "../cuda/products/gemm.cuh"

extern "C" {
#include "../error.h"
}

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <iterator>
#include <unistd.h>
#include <utility>

[[noreturn]] static void die(const char *what, const char *why) {
	fprintf(stderr, "ops_bench: %s: %s\n", what, why);
	exit(1);
}

#define CUDA(call)                                                                                                     \
	do {                                                                                                               \
		cudaError_t error_ = (call);                                                                                   \
		if (error_ != cudaSuccess) die(#call, cudaGetErrorString(error_));                                             \
	} while (0)
#define FG(call)                                                                                                       \
	do {                                                                                                               \
		if ((call) != FG_OK) die(#call, fg_error());                                                                   \
	} while (0)

static cudaStream_t stream; /* of what is being timed */
static int multiprocessors;

/* Random bf16 numbers that everything reads, far more than the L2 cache holds. They are random as float32 too. */
static char *arena;
constexpr size_t ARENA = (size_t)4 << 30;

/* Uniform in [-1, 1): zeros would take a product less power, and so flatter it. */
__global__ static void fill_kernel(bf16 *p, size_t n) {
	for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x) {
		uint64_t x = (i + 1) * 0x9E3779B97F4A7C15ull;
		x = (x ^ x >> 32) * 0xBF58476D1CE4E5B9ull;
		p[i] = __float2bfloat16((float)(x >> 40) * 0x1p-23f - 1);
	}
}

static void fill(void *p, size_t n) {
	fill_kernel<<<1024, 256>>>((bf16 *)p, n);
	CUDA(cudaGetLastError());
	CUDA(cudaDeviceSynchronize());
}

/* ---- Timing ---- */

/* The least time of a few single runs after one to warm up: for choosing, and where the device must not heat up. */
template <class F> static double least_seconds(F f, int runs) {
	cudaEvent_t from, to;
	CUDA(cudaEventCreate(&from));
	CUDA(cudaEventCreate(&to));
	float least = INFINITY;
	for (int i = 0; i <= runs; i++) {
		float ms;
		CUDA(cudaEventRecord(from, stream));
		f(i);
		CUDA(cudaEventRecord(to, stream));
		CUDA(cudaEventSynchronize(to));
		CUDA(cudaEventElapsedTime(&ms, from, to));
		if (i > 0) least = std::min(least, ms);
	}
	CUDA(cudaEventDestroy(from));
	CUDA(cudaEventDestroy(to));
	return least * 1e-3;
}

/* The median time of a call, where f(i) enqueues the i-th. Calls are replayed as a graph, as decode steps are, so that
 * the host's launches are not timed. `hot`: only after the clock has settled under this load. */
template <class F> static double seconds(F f, bool hot = false) {
	constexpr int REPEATS = 20;
	constexpr double SETTLED = 0.3;
	const double once = least_seconds(f, 2);
	const int calls = std::clamp((int)(2e-3 / once), 4, 128);
	cudaGraph_t graph;
	cudaGraphExec_t exec;
	CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
	for (int i = 0; i < calls; i++) f(i);
	CUDA(cudaStreamEndCapture(stream, &graph));
	CUDA(cudaGraphInstantiate(&exec, graph, 0));
	const int before = hot ? (int)(SETTLED / (once * calls)) + 1 : 1;
	cudaEvent_t events[REPEATS + 1];
	for (int i = -before; i < REPEATS; i++) {
		if (i == 0) CUDA(cudaEventCreate(&events[0]));
		if (i == 0) CUDA(cudaEventRecord(events[0], stream));
		CUDA(cudaGraphLaunch(exec, stream));
		if (i < 0) continue;
		CUDA(cudaEventCreate(&events[i + 1]));
		CUDA(cudaEventRecord(events[i + 1], stream));
	}
	CUDA(cudaStreamSynchronize(stream));
	float ms[REPEATS];
	for (int i = 0; i < REPEATS; i++) CUDA(cudaEventElapsedTime(&ms[i], events[i], events[i + 1]));
	for (cudaEvent_t e : events) CUDA(cudaEventDestroy(e));
	CUDA(cudaGraphExecDestroy(exec));
	CUDA(cudaGraphDestroy(graph));
	std::sort(ms, ms + REPEATS);
	return ms[REPEATS / 2] * 1e-3 / calls;
}

/* ---- Output ---- */

using Shape = std::initializer_list<std::pair<const char *, int>>;
constexpr const char *GBS = "GB/s", *TFLOPS = "TFLOP/s";

/* Prints one result. ceiling: 0 for a result that is a ceiling itself. */
static void result(const char *op, Shape shape, double seconds, double value, const char *unit, double ceiling) {
	char text[128] = "", json[192] = "", bound[64] = "null, \"share\": null", percent[16] = "";
	for (auto [name, size] : shape) {
		snprintf(text + strlen(text), sizeof text - strlen(text), "%s %d  ", name, size);
		snprintf(json + strlen(json), sizeof json - strlen(json), "%s\"%s\": %d", *json ? ", " : "", name, size);
	}
	if (ceiling > 0) {
		snprintf(bound, sizeof bound, "%.6g, \"share\": %.4f", ceiling, value / ceiling);
		snprintf(percent, sizeof percent, "%5.1f %%", 100 * value / ceiling);
	}
	fprintf(stderr, "%-34s %-28s %10.1f us %8.1f %-7s %s\n", op, text, seconds * 1e6, value, unit, percent);
	printf("{\"op\": \"%s\", \"shape\": {%s}, \"us\": %.3f, \"value\": %.6g, \"unit\": \"%s\", \"ceiling\": %s}\n", op,
	       json, seconds * 1e6, value, unit, bound);
}

/* ---- Ceilings ---- */

/* The ceilings that ops are compared with: GB/s, GB/s, TFLOP/s. */
static double read_ceiling, copy_ceiling, gemm_ceiling;

__global__ static void read_kernel(const uint4 *p, size_t n, uint32_t *sink) {
	constexpr int LOADS = 8;
	size_t stride = (size_t)gridDim.x * blockDim.x;
	uint32_t sum = 0;
	for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += LOADS * stride) {
		uint4 v[LOADS] = {};
#pragma unroll
		for (int j = 0; j < LOADS; j++)
			if (i + j * stride < n) v[j] = __ldcs(p + i + j * stride);
#pragma unroll
		for (int j = 0; j < LOADS; j++) sum ^= v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
	}
	if (sum == 0x9E3779B9u) *sink = sum; /* or the compiler would leave out the loads */
}

__global__ static void copy_kernel(const uint4 *from, uint4 *to, size_t n) {
	constexpr int LOADS = 4;
	size_t stride = (size_t)gridDim.x * blockDim.x;
	for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += LOADS * stride) {
		uint4 v[LOADS] = {};
#pragma unroll
		for (int j = 0; j < LOADS; j++)
			if (i + j * stride < n) v[j] = __ldcs(from + i + j * stride);
#pragma unroll
		for (int j = 0; j < LOADS; j++)
			if (i + j * stride < n) __stcs(to + i + j * stride, v[j]);
	}
}

/* The best of a few grids and of the driver's own copy. */
static void memory_ceilings() {
	constexpr size_t HALF = ARENA / 2;
	uint32_t *sink;
	CUDA(cudaMalloc(&sink, sizeof *sink));
	double read = INFINITY, copy = seconds([&](int) {
								CUDA(cudaMemcpyAsync(arena + HALF, arena, HALF, cudaMemcpyDeviceToDevice, stream));
							});
	for (int blocks : {2, 4, 8}) {
		blocks *= multiprocessors;
		read = std::min(read, seconds([&](int) {
							read_kernel<<<blocks, 512, 0, stream>>>((const uint4 *)arena, ARENA / 16, sink);
						}));
		copy = std::min(copy, seconds([&](int) {
							copy_kernel<<<blocks, 512, 0, stream>>>((const uint4 *)arena, (uint4 *)(arena + HALF),
							                                        HALF / 16);
						}));
	}
	CUDA(cudaFree(sink));
	read_ceiling = ARENA / read / 1e9, copy_ceiling = ARENA / copy / 1e9;
	result("ceiling read", {}, read, read_ceiling, GBS, 0);
	result("ceiling copy", {}, copy, copy_ceiling, GBS, 0);

	constexpr size_t LINK = (size_t)256 << 20;
	void *host;
	CUDA(cudaMallocHost(&host, LINK));
	memset(host, 1, LINK);
	for (bool up : {true, false}) {
		double t = seconds([&](int) {
			CUDA(cudaMemcpyAsync(up ? arena : host, up ? host : arena, LINK,
			                     up ? cudaMemcpyHostToDevice : cudaMemcpyDeviceToHost, stream));
		});
		result(up ? "ceiling host to device" : "ceiling device to host", {}, t, LINK / t / 1e9, GBS, 0);
	}
	CUDA(cudaFreeHost(host));
}

/* cuBLASLt itself, asked for more suggestions than the library asks for, each timed on a warm device. */
struct Products {
	static constexpr size_t WORKSPACE = (size_t)64 << 20;
	static constexpr int SUGGESTIONS = 32;

	fg::CublasLt lt;

	Products() {
		FG(lt.open(WORKSPACE));
	}

	/* y [n][rows] = x [n][cols] * w [rows][cols]^T. burst: on a rested device, before its clock has gone down. FP8
	 * numbers and scales are whatever bytes the arena has. */
	double time(int rows, int cols, int n, bool f32, fg::Scaling scaling, bool burst = false) {
		fg::LtProduct product = {};
		FG(lt.describe(rows, cols, n, f32, scaling, true, &product));
		cublasLtMatmulAlgo_t found[SUGGESTIONS];
		const int n_found = lt.suggest(product, CUBLASLT_REDUCTION_SCHEME_MASK, found, SUGGESTIONS);
		if (n_found == 0) die("cuBLASLt", "no such product");

		const bf16 *w = (const bf16 *)arena, *x = w + (size_t)rows * cols;
		const fg::Operands in = {x, w, (const float *)x, (const float *)w};
		void *y = arena + ARENA / 2; /* away from all inputs: sums do not look like inputs */
		int chosen = 0;
		bool works = true;
		auto run = [&](int) { works = lt.multiply(product, found[chosen], in, 0, y, stream); };
		double least = INFINITY;
		int best = 0;
		for (chosen = 0; chosen < n_found; chosen++) {
			double t = least_seconds(run, 3);
			if (works && t < least) least = t, best = chosen;
		}
		chosen = best;
		if (burst) sleep(1);
		const double t = burst ? least_seconds(run, 10) : seconds(run, true);
		if (!works) die("cuBLASLt", "a product failed");
		lt.forget(product);
		return t;
	}
};

struct Product {
	const char *name;
	int rows, cols, most; /* tokens */
	bool f32;
};
constexpr Product PRODUCTS[] = {
	{"qkv 6144x4096", 6144, 4096, 4096, false},       {"o 4096x4096", 4096, 4096, 4096, false},
	{"gate_up 28672x4096", 28672, 4096, 4096, false}, {"down 4096x14336", 4096, 14336, 4096, false},
	{"lm_head 32768x4096", 32768, 4096, 512, true},
};
enum { QKV_PRODUCT, O_PRODUCT, GATE_UP_PRODUCT, DOWN_PRODUCT, LM_HEAD_PRODUCT }; /* indices into PRODUCTS */
constexpr int LARGE[] = {512, 1024, 2048, 4096};
static double product_ceiling[std::size(PRODUCTS)][std::size(LARGE)]; /* TFLOP/s */

static double product_flops(const Product &p, int n) {
	return 2.0 * p.rows * p.cols * n;
}

/* A product of 8192 x 8192 x 8192 on a rested device, and once its clock has settled. */
static void square_ceilings(Products &products, fg::Scaling scaling, const char *of) {
	const int SQUARE = 8192;
	const double flops = 2.0 * SQUARE * SQUARE * SQUARE;
	char name[64];
	snprintf(name, sizeof name, "ceiling %ssquare product, burst", of);
	const double burst = products.time(SQUARE, SQUARE, SQUARE, false, scaling, true);
	result(name, {{"size", SQUARE}}, burst, flops / burst / 1e12, TFLOPS, 0);
	for (int i = 0; i < 3; i++) products.time(SQUARE, SQUARE, SQUARE, false, scaling); /* about a second */
	snprintf(name, sizeof name, "ceiling %ssquare product", of);
	const double sustained = products.time(SQUARE, SQUARE, SQUARE, false, scaling);
	result(name, {{"size", SQUARE}}, sustained, flops / sustained / 1e12, TFLOPS, 0);
}

/* The products of a layer, and in bf16 the LM head's. */
static void layer_ceilings(Products &products, fg::Scaling scaling, const char *of) {
	const bool plain = scaling == fg::Scaling::PLAIN;
	for (size_t k = 0; k < std::size(LARGE); k++) {
		const int n = LARGE[k];
		double flops = 0, time = 0;
		char name[64];
		for (size_t i = 0; i < std::size(PRODUCTS); i++) {
			const Product &p = PRODUCTS[i];
			if (n > p.most || (p.f32 && !plain)) continue;
			const double t = products.time(p.rows, p.cols, n, p.f32, scaling);
			const double speed = product_flops(p, n) / t / 1e12;
			if (plain) product_ceiling[i][k] = speed;
			snprintf(name, sizeof name, "ceiling %s%s", of, p.name);
			result(name, {{"tokens", n}}, t, speed, TFLOPS, 0);
			if (i != LM_HEAD_PRODUCT) flops += product_flops(p, n), time += t;
		}
		snprintf(name, sizeof name, "ceiling %slayer products", of);
		result(name, {{"tokens", n}}, time, flops / time / 1e12, TFLOPS, 0);
		if (plain) gemm_ceiling = std::max(gemm_ceiling, flops / time / 1e12);
	}
}

static void product_ceilings() {
	Products products;
	square_ceilings(products, fg::Scaling::PLAIN, "");
	layer_ceilings(products, fg::Scaling::PLAIN, "");
}

/* With a scale for each row of the weights and each token. */
static void fp8_ceilings() {
	Products products;
	square_ceilings(products, fg::Scaling::ROWS, "FP8 ");
	layer_ceilings(products, fg::Scaling::ROWS, "FP8 ");
}

#endif
