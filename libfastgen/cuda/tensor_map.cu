/* See tensor_map.cuh. */
#include "tensor_map.cuh"
#include "driver.cuh"

namespace fg {

cudaError_t tensor_map(CUtensorMap *map, const void *data, uint64_t rows, uint64_t cols, uint32_t box_rows,
                       uint32_t element) {
	static const auto encode = driver_function<decltype(&cuTensorMapEncodeTiled)>("cuTensorMapEncodeTiled", 12000);
	if (!encode) return cudaErrorInsufficientDriver;
	cuuint64_t dims[2] = {cols, rows}, strides[1] = {cols * element};
	cuuint32_t box[2] = {BOX_BYTES / element, box_rows}, steps[2] = {1, 1};
	const CUtensorMapDataType type = element == 1 ? CU_TENSOR_MAP_DATA_TYPE_UINT8 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
	CUresult result =
		encode(map, type, 2, (void *)data, dims, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
		       CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
	return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

} // namespace fg
