/*
 * tune.cuh - which kernel makes each product, and how: found by timing when an engine starts, and remembered.
 *
 * For every product of a layer, and the logits', and for every bucket of tokens that a step can have, the candidates
 * are timed and the fastest is chosen. The choices are kept in ${XDG_CACHE_HOME:-~/.cache}/fastgen, in a file for each
 * kind of device and version of cuBLASLt, so that the next start need not time them. Delete the file to tune anew.
 */
#ifndef FG_TUNE_CUH
#define FG_TUNE_CUH

#include "../../fastgen.h"

namespace fg {

struct Context;

/* false: cuBLASLt's kernels are no candidates, and the first of the others is taken untimed. For tools that cannot run
 * cuBLASLt's, and would take long to time the others. */
inline bool try_cublaslt = true;

/* Chooses for every product of every size, in ctx->gemm. On the rank's thread, once weights and buffers are there; the
 * buffers are overwritten. FG_UNSUPPORTED where nothing can make a product. */
fg_status tune_products(Context *ctx);

} // namespace fg

#endif
