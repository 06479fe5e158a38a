/**
 * Files that belong to Fastgen: shared libraries, the built-in model. The executable carries them inside itself (its
 * generated entry point fills `assets`). A checkout and an installed package have them under the same paths, beside the
 * folder of this file (src or dist).
 */
import { existsSync } from "node:fs";
import * as path from "node:path";

/** Path in a checkout ("build/libfastgen_cpu.so") → path of the embedded file. Empty outside the executable. */
export const assets = new Map<string, string>();

const root = path.dirname(import.meta.dir);

/** A path to read the file `name` from, or null if this build lacks it. */
export function assetPath(name: string): string | null {
  const embedded = assets.get(name);
  if (embedded) return embedded;
  const file = path.join(root, name);
  return assets.size === 0 && existsSync(file) ? file : null;
}
