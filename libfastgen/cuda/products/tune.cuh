/*
 * tune.cuh - which kernel makes each product, and how: found by timing when an engine starts, and remembered.
 *
 * For every product of a layer, and for the logits, the candidates are timed for every bucket of tokens that a step can
 * have, and the fastest is chosen. The choices are kept in ${XDG_CACHE_HOME:-~/.cache}/fastgen, one file per kind of
 * device and version of cuBLASLt, so that the next start need not time them. Delete the file to tune anew. What was
 * learnt about timing: ../NOTES.md.
 */
#ifndef FG_TUNE_CUH
#define FG_TUNE_CUH

#include "../../fastgen.h"

namespace fg {

struct Context;

/* false: cuBLASLt's kernels are no candidates, and the first of the others is chosen untimed. For tools under which
 * cuBLASLt's kernels do not run, and timing would take long. */
inline bool try_cublaslt = true;

/* Makes all choices in ctx->gemm. On the rank's thread, after the weights are loaded and the buffers made, which it
 * overwrites. FG_UNSUPPORTED if no kernel can make a product. */
fg_status tune_products(Context *ctx);

} // namespace fg

#endif
