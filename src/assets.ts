/**
 * Files that belong to Fastgen: shared libraries, the embedded model. The executable carries them inside itself (its
 * generated entry point fills `assets`); in a checkout they lie where they were built.
 */
import { existsSync } from "node:fs";
import * as path from "node:path";

/** Path in the checkout ("build/libfastgen_cpu.so") → path of the embedded file. Empty in a checkout. */
export const assets = new Map<string, string>();

const root = path.dirname(import.meta.dir);

/** Where the file `name` can be read, or null when this build has none. */
export function assetPath(name: string): string | null {
  const embedded = assets.get(name);
  if (embedded) return embedded;
  const file = path.join(root, name);
  return assets.size === 0 && existsSync(file) ? file : null;
}
