/** Whether the CUDA tests can run here, and why not. */
import { existsSync } from "node:fs";
import { Library } from "../../src/ffi/library.ts";
import { CUDA_LIBRARY_PATH } from "../numerics.ts";

const built = existsSync(CUDA_LIBRARY_PATH);

/** How many GPUs there are; 0 where the library is not built. */
export const devices = built ? Library.open(CUDA_LIBRARY_PATH).deviceCount() : 0;

/** Why they cannot run, or null. */
export const skipped =
  devices > 0 ? null : built ? "no device" : "no build/libfastgen_cuda.so (make -C libfastgen cuda)";
if (skipped !== null) console.log(`skipped: ${skipped}`);
