/* See card.h. Memory whose addresses stay while it comes and goes, and memory of other processes: what libfastgen calls
 * of the driver. Here that memory is the host's, which cannot be touched while it is away. */
#include "card.hpp"

#include <cstring>
#include <cuda.h>
#include <map>
#include <mutex>
#include <string>
#include <sys/mman.h>

long card_mapped;
int card_imports;

namespace {

std::mutex mutex; /* of what ranks share */

CUresult granularity(size_t *bytes, const CUmemAllocationProp *, CUmemAllocationGranularity_flags) {
	*bytes = 2 << 20;
	return card_fail.virtual_memory ? CUDA_ERROR_NOT_SUPPORTED : CUDA_SUCCESS;
}
CUresult reserve(CUdeviceptr *at, size_t bytes, size_t, CUdeviceptr, unsigned long long) {
	void *p = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	*at = (CUdeviceptr)p;
	return p == MAP_FAILED ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}
CUresult unreserve(CUdeviceptr at, size_t bytes) {
	return munmap((void *)at, bytes) ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}
CUresult create(CUmemGenericAllocationHandle *handle, size_t bytes, const CUmemAllocationProp *, unsigned long long) {
	*handle = bytes;
	return card_fail.memory ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}
CUresult release(CUmemGenericAllocationHandle) {
	return CUDA_SUCCESS;
}
CUresult map(CUdeviceptr at, size_t bytes, size_t, CUmemGenericAllocationHandle handle, unsigned long long) {
	const std::lock_guard lock(mutex);
	card_mapped += (long)bytes;
	return handle != bytes || mprotect((void *)at, bytes, PROT_READ | PROT_WRITE) ? CUDA_ERROR_INVALID_VALUE
	                                                                              : CUDA_SUCCESS;
}
CUresult unmap(CUdeviceptr at, size_t bytes) {
	const std::lock_guard lock(mutex);
	card_mapped -= (long)bytes;
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
	return mmap((void *)at, bytes, PROT_NONE, flags, -1, 0) == MAP_FAILED ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}
CUresult set_access(CUdeviceptr, size_t, const CUmemAccessDesc *, size_t) {
	return CUDA_SUCCESS;
}

/* Of each memory that has been opened, its bytes. */
std::map<CUdeviceptr, size_t> &opened() {
	static std::map<CUdeviceptr, size_t> sizes;
	return sizes;
}
CUresult address_range(CUdeviceptr *base, size_t *bytes, CUdeviceptr at) {
	const std::lock_guard lock(mutex);
	*base = at, *bytes = opened().at(at);
	return CUDA_SUCCESS;
}

/* Stands for cuTensorMapEncodeTiled. */
int describe(void) {
	return 0;
}

} // namespace

extern "C" {

cudaError_t cudaGetDriverEntryPointByVersion(const char *name, void **function, unsigned, unsigned long long,
                                             cudaDriverEntryPointQueryResult *result) {
	const OwnMemory own;
	static const std::map<std::string, void *> functions = {
		{"cuMemGetAllocationGranularity", (void *)granularity},
		{"cuMemAddressReserve", (void *)reserve},
		{"cuMemAddressFree", (void *)unreserve},
		{"cuMemCreate", (void *)create},
		{"cuMemRelease", (void *)release},
		{"cuMemMap", (void *)map},
		{"cuMemUnmap", (void *)unmap},
		{"cuMemSetAccess", (void *)set_access},
		{"cuMemGetAddressRange", (void *)address_range},
		{"cuTensorMapEncodeTiled", (void *)describe},
	};
	*function = functions.at(name), *result = cudaDriverEntryPointSuccess;
	return cudaSuccess;
}

/* A handle is an address and a size. */
cudaError_t cudaIpcOpenMemHandle(void **data, cudaIpcMemHandle_t handle, unsigned) {
	const OwnMemory own;
	const std::lock_guard lock(mutex);
	size_t bytes;
	memcpy(data, handle.reserved, sizeof *data), memcpy(&bytes, handle.reserved + sizeof *data, sizeof bytes);
	if (!*data) return card_error(cudaErrorInvalidValue);
	opened()[(CUdeviceptr)*data] = bytes;
	card_imports++;
	return cudaSuccess;
}
cudaError_t cudaIpcCloseMemHandle(void *) {
	const std::lock_guard lock(mutex);
	card_imports--;
	return cudaSuccess;
}
}
