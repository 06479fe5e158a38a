/**
 * Files that belong to Fastgen: shared libraries, the built-in model. The executable carries them inside itself (its
 * generated entry point fills `assets`). A checkout and an installed package have them under the same paths, beside the
 * folder of this file (src or dist).
 */
import { existsSync, readFileSync } from "node:fs";
import * as path from "node:path";
import { memoryFile } from "./system/memory-file.ts";

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

const libraries = new Map<string, string>();

/**
 * A path to open the shared library `name` from, or null if this build lacks it. What the executable carries is opened from a
 * file in memory. Where the system allows none, Bun unpacks it into TMPDIR when it is opened.
 */
export function libraryPath(name: string): string | null {
  const embedded = assets.get(name);
  if (!embedded) return assetPath(name);
  const known = libraries.get(name);
  if (known) return known;
  const opened = memoryFile(path.basename(name), readFileSync(embedded)) ?? embedded;
  libraries.set(name, opened);
  return opened;
}
