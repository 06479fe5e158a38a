/* See card.h. What else libfastgen calls: the runtime's functions for devices and memory, and the
 * libraries that it opens. Memory is the host's. */
#include "../cuda/libraries.h"
#include "card.hpp"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cublasLt.h>
#include <dlfcn.h>
#include <map>
#include <new>
#include <pthread.h>
#include <string>

static thread_local cudaError_t last = cudaSuccess;
thread_local int card_device;

cudaError_t card_error(cudaError_t error) {
	if (error != cudaSuccess) last = error;
	return error;
}

/* ---- the host ---- */

[[gnu::noinline]] void *operator new(size_t bytes) {
	int left = __atomic_load_n(&card_fail.n_news, __ATOMIC_RELAXED); /* of all threads */
	while (OwnMemory::depth == 0 && left > 0 &&
	       !__atomic_compare_exchange_n(&card_fail.n_news, &left, left - 1, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		continue;
	if (OwnMemory::depth == 0 && left == 1) throw std::bad_alloc();
	void *p = malloc(bytes ? bytes : 1);
	if (!p) throw std::bad_alloc();
	return p;
}
[[gnu::noinline]] void operator delete(void *p) noexcept {
	free(p);
}
[[gnu::noinline]] void operator delete(void *p, size_t) noexcept {
	free(p);
}

extern "C" int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                              void *argument) noexcept {
	static const auto real = (decltype(&pthread_create))dlsym(RTLD_NEXT, "pthread_create");
	return card_fail.threads ? EAGAIN : real(thread, attributes, run, argument);
}

extern "C" {

/* ---- the device ---- */

cudaError_t cudaGetDeviceCount(int *count) {
	*count = 8;
	return cudaSuccess;
}
cudaError_t cudaGetDevice(int *device) {
	*device = card_device;
	return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
	card_device = device;
	return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int) {
	memset(p, 0, sizeof *p);
	snprintf(p->name, sizeof p->name, "%s", current_card.name);
	p->major = current_card.arch / 10, p->minor = current_card.arch % 10,
	p->multiProcessorCount = current_card.multiprocessors;
	return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int) {
	switch (attribute) {
	case cudaDevAttrComputeCapabilityMajor: *value = current_card.arch / 10; break;
	case cudaDevAttrComputeCapabilityMinor: *value = current_card.arch % 10; break;
	case cudaDevAttrMultiProcessorCount: *value = current_card.multiprocessors; break;
	case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = current_card.block << 10; break;
	case cudaDevAttrMaxSharedMemoryPerMultiprocessor: *value = current_card.multiprocessor << 10; break;
	case cudaDevAttrReservedSharedMemoryPerBlock: *value = 1 << 10; break;
	default: return card_error(cudaErrorInvalidValue);
	}
	return cudaSuccess;
}
cudaError_t cudaDeviceCanAccessPeer(int *can, int, int) {
	*can = 1;
	return cudaSuccess;
}
cudaError_t cudaDeviceEnablePeerAccess(int, unsigned) {
	return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize(void) {
	return cudaSuccess;
}
cudaError_t cudaGetLastError(void) {
	cudaError_t error = last;
	last = cudaSuccess;
	return error;
}
const char *cudaGetErrorName(cudaError_t error) {
	return error == cudaErrorLaunchOutOfResources ? "cudaErrorLaunchOutOfResources" : "an error";
}
const char *cudaGetErrorString(cudaError_t) {
	return "as the card's table has it";
}

/* ---- memory ---- */

static cudaError_t allocate(void **p, size_t bytes) {
	*p = card_fail.memory ? nullptr : calloc(bytes, 1);
	return *p ? cudaSuccess : card_error(cudaErrorMemoryAllocation);
}
cudaError_t cudaMalloc(void **p, size_t bytes) {
	return allocate(p, bytes);
}
cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned) {
	return allocate(p, bytes);
}
cudaError_t cudaMallocHost(void **p, size_t bytes) {
	return allocate(p, bytes);
}
cudaError_t cudaFree(void *p) {
	free(p);
	return cudaSuccess;
}
cudaError_t cudaFreeHost(void *p) {
	free(p);
	return cudaSuccess;
}
cudaError_t cudaHostRegister(void *, size_t, unsigned) {
	return cudaSuccess;
}
cudaError_t cudaHostUnregister(void *) {
	return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t *left, size_t *total) {
	*left = *total = (size_t)24 << 30;
	return cudaSuccess;
}
cudaError_t cudaMemset(void *p, int value, size_t bytes) {
	memset(p, value, bytes);
	return cudaSuccess;
}
/* Memory is large: to write to it would take it from the machine. It is zeroed already, and no kernel reads it. */
cudaError_t cudaMemsetAsync(void *, int, size_t, cudaStream_t) {
	return cudaSuccess;
}
cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind) {
	memcpy(to, from, bytes);
	return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
	const OwnMemory own;
	card_enqueue(stream, [=] {
		memcpy(to, from, bytes);
		card_ran(nullptr, bytes, stream);
	});
	return cudaSuccess;
}
cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind, cudaStream_t) {
	for (size_t i = 0; i < height; i++) memcpy((char *)to + i * to_pitch, (const char *)from + i * from_pitch, width);
	return cudaSuccess;
}

/* ---- libraries.h: cuBLASLt, with one algorithm for every product, NCCL, and CUPTI (card_trace.cpp) ---- */

static int done(void) {
	return 0;
}
/* A description of a product, as far as cards differ in what they take. */
struct Product {
	cublasLtMatmulMatrixScale_t scale; /* of A */
};
static int create(Product **product, int, int) {
	const OwnMemory own;
	*product = new Product{CUBLASLT_MATMUL_MATRIX_SCALE_SCALAR_32F};
	return 0;
}
static int destroy(Product *product) {
	delete product;
	return 0;
}
static int set(Product *product, int attribute, const void *value, size_t) {
	if (attribute == CUBLASLT_MATMUL_DESC_A_SCALE_MODE) memcpy(&product->scale, value, sizeof product->scale);
	return 0;
}
/* Scales by row and by block are Hopper's alone. */
static int suggest(void *, Product *product, void *, void *, void *, void *, void *, int, void *, int *found) {
	*found = product->scale == CUBLASLT_MATMUL_MATRIX_SCALE_SCALAR_32F || current_card.arch == 90;
	return 0;
}
static int version(int *version) {
	*version = 99999;
	return 0;
}
void *fg_open_library(const char *const *names, const char *, const fg_function *functions, int n_functions) {
	const OwnMemory own;
	if (strstr(names[0], "cupti")) return card_open_cupti(functions, n_functions);
	static const std::map<std::string, void *> stand_ins = {{"cublasLtMatmulDescCreate", (void *)create},
	                                                        {"cublasLtMatmulDescDestroy", (void *)destroy},
	                                                        {"cublasLtMatmulDescSetAttribute", (void *)set},
	                                                        {"cublasLtMatmulAlgoGetHeuristic", (void *)suggest},
	                                                        {"ncclGetVersion", (void *)version}};
	for (int i = 0; i < n_functions; i++) {
		const auto found = stand_ins.find(functions[i].name);
		*functions[i].address = found == stand_ins.end() ? (void *)done : found->second;
	}
	return dlopen(nullptr, RTLD_NOW);
}
}
