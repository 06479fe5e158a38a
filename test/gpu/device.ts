/** Whether the CUDA tests can run here, and if not, why. */
import { existsSync } from "node:fs";
import { Library } from "../../src/ffi/library.ts";
import { CUDA_LIBRARY_PATH } from "../numerics.ts";

function problem(): string | null {
  if (!existsSync(CUDA_LIBRARY_PATH)) return "no build/libfastgen_cuda.so (make -C libfastgen cuda)";
  return Library.open(CUDA_LIBRARY_PATH).deviceCount() > 0 ? null : "no device";
}

/** Null where they can. */
export const skipped = problem();
if (skipped !== null) console.log(`skipped: ${skipped}`);
