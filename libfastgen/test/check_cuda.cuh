/*
 * check_cuda.cuh - CUDA(call): a test ends where a call to the runtime fails.
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

#endif
