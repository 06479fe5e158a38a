/*
 * driver.cuh - functions of the driver that the runtime lacks, found through the runtime, so that libcuda need not be
 * linked.
 */
#ifndef FG_DRIVER_CUH
#define FG_DRIVER_CUH

#include <cuda.h>
#include <cuda_runtime.h>

namespace fg {

/* The driver's function `name`, as CUDA `version` (12000 for 12.0) defined it: F is its type. NULL if the driver lacks
 * it. */
template <class F> F driver_function(const char *name, unsigned version) {
	void *function = nullptr;
	cudaDriverEntryPointQueryResult found;
	cudaError_t error = cudaGetDriverEntryPointByVersion(name, &function, version, cudaEnableDefault, &found);
	return error == cudaSuccess && found == cudaDriverEntryPointSuccess ? (F)function : nullptr;
}

} // namespace fg

#endif
