/* See device_memory.cuh. */
#include "device_memory.cuh"
#include "driver.cuh"

namespace fg {

namespace {

/* CUDA's virtual memory management (CUDA 10.2): addresses are reserved apart from the memory that they lead to. */
struct VirtualMemory {
	decltype(&cuMemGetAllocationGranularity) granularity;
	decltype(&cuMemAddressReserve) reserve;
	decltype(&cuMemAddressFree) free;
	decltype(&cuMemCreate) create;
	decltype(&cuMemRelease) release;
	decltype(&cuMemMap) map;
	decltype(&cuMemUnmap) unmap;
	decltype(&cuMemSetAccess) set_access;

	template <class F> static void find(F *function, const char *name) {
		*function = driver_function<F>(name, 10020);
	}
	VirtualMemory() {
		find(&granularity, "cuMemGetAllocationGranularity");
		find(&reserve, "cuMemAddressReserve");
		find(&free, "cuMemAddressFree");
		find(&create, "cuMemCreate");
		find(&release, "cuMemRelease");
		find(&map, "cuMemMap");
		find(&unmap, "cuMemUnmap");
		find(&set_access, "cuMemSetAccess");
	}
	bool is_whole() const {
		return granularity && reserve && free && create && release && map && unmap && set_access;
	}
};

const VirtualMemory &driver() {
	static const VirtualMemory functions;
	return functions;
}

CUmemAllocationProp on_device(int device) {
	CUmemAllocationProp prop = {};
	prop.type = CU_MEM_ALLOCATION_TYPE_PINNED;
	prop.location = {CU_MEM_LOCATION_TYPE_DEVICE, device};
	return prop;
}

/* Puts new memory behind `bytes` reserved addresses from `at` on. */
CUresult put(CUdeviceptr at, size_t bytes, int device) {
	const VirtualMemory &d = driver();
	const CUmemAllocationProp prop = on_device(device);
	const CUmemAccessDesc access = {prop.location, CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
	CUmemGenericAllocationHandle memory;
	CUresult result = d.create(&memory, bytes, &prop, 0);
	if (result != CUDA_SUCCESS) return result;
	result = d.map(at, bytes, 0, memory, 0);
	d.release(memory); /* what is mapped stays until it is unmapped */
	if (result != CUDA_SUCCESS) return result;
	result = d.set_access(at, bytes, &access, 1);
	if (result != CUDA_SUCCESS) d.unmap(at, bytes);
	return result;
}

/* Reserves addresses for `bytes`, rounded up to *reserved, and puts memory there. */
CUresult reserve_and_put(size_t bytes, int device, CUdeviceptr *at, size_t *reserved) {
	const VirtualMemory &d = driver();
	const CUmemAllocationProp prop = on_device(device);
	size_t unit = 0;
	if (!d.is_whole()) return CUDA_ERROR_NOT_SUPPORTED;
	CUresult result = d.granularity(&unit, &prop, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED);
	if (result != CUDA_SUCCESS) return result;
	*reserved = (bytes + unit - 1) / unit * unit;
	result = d.reserve(at, *reserved, 0, 0, 0);
	if (result != CUDA_SUCCESS) return result;
	result = put(*at, *reserved, device);
	if (result != CUDA_SUCCESS) d.free(*at, *reserved);
	return result;
}

} // namespace

fg_status DeviceMemory::fail(size_t wanted) const {
	constexpr double GIB = 1 << 30;
	size_t free = 0, total = 0;
	cudaGetLastError();
	cudaMemGetInfo(&free, &total);
	return fg_fail(
		FG_OUT_OF_MEMORY,
		"no room for %s: it takes %.2f GiB, and %.2f of the %.2f GiB of device %d are free; end other programs "
		"that use it, or lower gpu_memory_utilization",
		what, (double)wanted / GIB, (double)free / GIB, (double)total / GIB, device);
}

fg_status DeviceMemory::open(size_t wanted, int on, const char *name, cudaStream_t stream) {
	device = on, what = name;
	if (wanted == 0) wanted = 1;
	CUdeviceptr at = 0;
	const CUresult result = reserve_and_put(wanted, device, &at, &reserved);
	void *plain = nullptr;
	if (result == CUDA_ERROR_OUT_OF_MEMORY) return reserved = 0, fail(wanted);
	if (result != CUDA_SUCCESS) {
		reserved = 0;
		if (cudaMalloc(&plain, wanted) != cudaSuccess) return fail(wanted);
	}
	data = plain ? (char *)plain : (char *)at, bytes = wanted, there = true;
	if (cudaMemsetAsync(data, 0, bytes, stream) == cudaSuccess) return FG_OK;
	return fg_fail(FG_DEVICE, "CUDA failed (%s) in clearing %s", cudaGetErrorString(cudaGetLastError()), what);
}

fg_status DeviceMemory::release() {
	if (!there || !can_release()) return FG_OK;
	const CUresult result = driver().unmap((CUdeviceptr)data, reserved);
	if (result != CUDA_SUCCESS) return fg_fail(FG_DEVICE, "CUDA failed (error %d) in releasing %s", (int)result, what);
	there = false;
	return FG_OK;
}

fg_status DeviceMemory::restore(cudaStream_t stream) {
	if (there || !data) return FG_OK;
	const CUresult result = put((CUdeviceptr)data, reserved, device);
	if (result == CUDA_ERROR_OUT_OF_MEMORY) return fail(reserved);
	if (result != CUDA_SUCCESS) return fg_fail(FG_DEVICE, "CUDA failed (error %d) in restoring %s", (int)result, what);
	there = true;
	if (cudaMemsetAsync(data, 0, bytes, stream) == cudaSuccess) return FG_OK;
	return fg_fail(FG_DEVICE, "CUDA failed (%s) in clearing %s", cudaGetErrorString(cudaGetLastError()), what);
}

void DeviceMemory::close() {
	if (can_release()) {
		if (there) driver().unmap((CUdeviceptr)data, reserved);
		driver().free((CUdeviceptr)data, reserved);
	} else {
		cudaFree(data);
	}
	*this = {};
}

} // namespace fg
