/*
 * elementwise.cuh - what elementwise.cu offers besides ops.
 */
#ifndef FG_ELEMENTWISE_CUH
#define FG_ELEMENTWISE_CUH

#include "device.cuh"

namespace fg {

/* act [n][width] = silu(gate) * up, the halves of gate_up's rows [n][2 * width], launched on `stream`. width: a
 * multiple of 8. Returns the launch's error. */
cudaError_t silu_mul(const bf16 *gate_up, bf16 *act, int32_t n, int32_t width, cudaStream_t stream);

} // namespace fg

#endif
