/*
 * tensor_map.cuh - what the bulk tensor copy engine (TMA) must know about a matrix.
 */
#ifndef FG_TENSOR_MAP_CUH
#define FG_TENSOR_MAP_CUH

#include "device.cuh"

#include <cuda.h>

namespace fg {

constexpr int BOX_BYTES = 128; /* of a box's row, swizzled: as wgmma reads its operands */

/* Describes a row-major matrix [rows][cols] on the device, whose elements are bf16 or, where `element` is 1, of one
 * byte, to be read in boxes of box_rows x BOX_BYTES; what lies past its ends reads as zeros. A row's bytes are a
 * multiple of 16, and the matrix is aligned to 16 bytes. On the host; only the first use calls the driver. Returns an
 * error if the driver is too old (sm_90 needs 525 or newer) or refuses. */
cudaError_t tensor_map(CUtensorMap *map, const void *data, uint64_t rows, uint64_t cols, uint32_t box_rows,
                       uint32_t element = sizeof(bf16));

} // namespace fg

#endif
