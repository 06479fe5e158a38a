/*
 * launch.cuh - what a device offers to a launch: its shared memory, and programmatic dependent launch.
 *
 * Programmatic dependent launch (sm_90 and later): a kernel's blocks are put in place while the kernel before it is
 * still running, so that the gap between two kernels shrinks. A kernel launched so must call await_previous() before it
 * touches anything that an earlier kernel wrote, or writes what an earlier one reads; it may read weights before.
 */
#ifndef FG_LAUNCH_CUH
#define FG_LAUNCH_CUH

#include <cuda_runtime.h>
#include <utility>

namespace fg {

/* Lets the next kernel be put in place, once every block of this one has said so. */
__device__ __forceinline__ void let_next_start() {
#if __CUDA_ARCH__ >= 900
	asm volatile("griddepcontrol.launch_dependents;\n");
#endif
}

/* Waits until the kernels before this one are over and their writes are seen; lets the next one be put in place. */
__device__ __forceinline__ void await_previous() {
	let_next_start();
#if __CUDA_ARCH__ >= 900
	asm volatile("griddepcontrol.wait;\n" ::: "memory");
#endif
}

/* Whether the current device has it. */
inline bool can_overlap() {
	static thread_local int major = 0;
	int device = 0;
	if (major == 0 && cudaGetDevice(&device) == cudaSuccess)
		cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
	return major >= 9;
}

/* The shared memory of a device, in bytes. */
struct SharedLimits {
	int block;          /* the most that a block can have, static and dynamic together */
	int multiprocessor; /* that all blocks on a multiprocessor share */
	int reserved;       /* that the system takes of it for each block */
};

inline cudaError_t shared_limits(int device, SharedLimits *limits) {
	cudaError_t error = cudaDeviceGetAttribute(&limits->block, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
	if (error == cudaSuccess)
		error = cudaDeviceGetAttribute(&limits->multiprocessor, cudaDevAttrMaxSharedMemoryPerMultiprocessor, device);
	if (error == cudaSuccess)
		error = cudaDeviceGetAttribute(&limits->reserved, cudaDevAttrReservedSharedMemoryPerBlock, device);
	return error;
}

/* Launches a kernel that calls await_previous(). `shared`: bytes of dynamic shared memory. */
template <class... Parameters, class... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), unsigned blocks, int threads, size_t shared, cudaStream_t stream,
                   Arguments &&...arguments) {
	cudaLaunchAttribute overlap = {};
	overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
	overlap.val.programmaticStreamSerializationAllowed = 1;
	cudaLaunchConfig_t config = {};
	config.gridDim = blocks, config.blockDim = threads, config.dynamicSmemBytes = shared, config.stream = stream;
	config.attrs = &overlap, config.numAttrs = can_overlap() ? 1 : 0;
	return cudaLaunchKernelEx(&config, kernel, Parameters(std::forward<Arguments>(arguments))...);
}

} // namespace fg

#endif
