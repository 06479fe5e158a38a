/*
 * check_cuda.cuh - CUDA(call): a test ends where a call to the runtime fails; and one without a device says so.
 */
#ifndef FG_CHECK_CUDA_CUH
#define FG_CHECK_CUDA_CUH

#include <cstdio>
#include <cstdlib>
#include <cuda_runtime.h>

#define CUDA(call)                                                                                                     \
	do {                                                                                                               \
		cudaError_t error_ = (call);                                                                                   \
		if (error_ != cudaSuccess) {                                                                                   \
			printf("FAILED: %s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(error_));                  \
			exit(1);                                                                                                   \
		}                                                                                                              \
	} while (0)

/* Whether there is none; then the test of this name is skipped, which is said. */
inline bool no_device(const char *test) {
	int devices = 0;
	if (cudaGetDeviceCount(&devices) == cudaSuccess && devices > 0) return false;
	printf("%s: skipped: no device\n", test);
	return true;
}

#endif
