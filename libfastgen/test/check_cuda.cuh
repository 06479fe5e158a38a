/*
 * check_cuda.cuh - CUDA(call), which ends a test when a call to the runtime fails; and no_device, which skips it.
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

/* Whether there is no device. If so, says that the test of this name is skipped. */
inline bool no_device(const char *test) {
	int devices = 0;
	if (cudaGetDeviceCount(&devices) == cudaSuccess && devices > 0) return false;
	printf("%s: skipped: no device\n", test);
	return true;
}

#endif
