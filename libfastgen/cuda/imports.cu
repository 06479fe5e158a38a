/* See imports.cuh. */
#include "imports.cuh"
#include "driver.cuh"

extern "C" {
#include "../engine.h"
}

#include <cinttypes>
#include <cstring>

namespace fg {

namespace {

/* Bytes from `data` to the end of its allocation; SIZE_MAX where the driver does not say. */
size_t size_of(void *data) {
	static const auto range = driver_function<decltype(&cuMemGetAddressRange)>("cuMemGetAddressRange", 3020);
	CUdeviceptr base = 0;
	size_t bytes = 0;
	if (!range || range(&base, &bytes, (CUdeviceptr)data) != CUDA_SUCCESS) return SIZE_MAX;
	return (size_t)(base + bytes - (CUdeviceptr)data);
}

} // namespace

fg_status Imports::open(const fg_tensor_table *table) {
	close(); /* those of a load that never began */
	files = table->files;
	opened.assign((size_t)table->n_files, nullptr);
	for (int32_t i = 0; i < table->n_tensors; i++) {
		const fg_tensor &t = table->tensors[i];
		const int32_t file = table->file_of[i];
		if (file < 0 || table->files[file].path) continue;
		char name[64];
		fg_role_name(name, (fg_role)t.role, t.layer);
		void *&data = opened[(size_t)file];
		if (!data) {
			cudaIpcMemHandle_t handle;
			static_assert(sizeof handle == FG_IPC_HANDLE_BYTES);
			memcpy(&handle, table->files[file].handle, sizeof handle);
			const cudaError_t error = cudaIpcOpenMemHandle(&data, handle, cudaIpcMemLazyEnablePeerAccess);
			if (error != cudaSuccess) {
				data = nullptr;
				cudaGetLastError();
				return fg_fail(FG_INVALID,
				               "%s: the memory of its ipc_handle cannot be opened (%s). It must be of cudaMalloc, "
				               "shared by another process of this machine that still runs",
				               name, cudaGetErrorString(error));
			}
		}
		const size_t size = size_of(data);
		if (t.offset <= size && t.bytes <= size - t.offset) continue;
		return fg_fail(FG_INVALID,
		               "%s lies at bytes %" PRIu64 " to %" PRIu64
		               " of the memory of its ipc_handle, which has only %zu",
		               name, t.offset, t.offset + t.bytes, size);
	}
	return FG_OK;
}

void Imports::close() {
	for (void *data : opened)
		if (data) cudaIpcCloseMemHandle(data);
	opened.clear();
}

} // namespace fg
