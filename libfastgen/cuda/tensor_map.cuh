/*
 * tensor_map.cuh - what the bulk tensor copy engine (TMA) must know about a matrix.
 */
#ifndef FG_TENSOR_MAP_CUH
#define FG_TENSOR_MAP_CUH

#include "device.cuh"

#include <cuda.h>

namespace fg {

constexpr int BOX_COLUMNS = 64; /* 128 bytes, swizzled: as wgmma reads its operands */

/* Describes a row-major bf16 matrix [rows][cols] on the device, to be read in boxes of box_rows x BOX_COLUMNS; what
 * lies past its ends reads as zeros. cols is a multiple of 8, and the matrix is aligned to 16 bytes. On the host; only
 * the first use calls the driver. Returns an error if the driver is too old (sm_90 needs 525 or newer) or refuses. */
cudaError_t tensor_map(CUtensorMap *map, const bf16 *data, uint64_t rows, uint64_t cols, uint32_t box_rows);

} // namespace fg

#endif
