/**
 * Files that exist in memory only (memfd_create(2)). The executable opens the shared libraries that it carries from such files:
 * it needs no folder to unpack them into, and nobody else can put a file in their place.
 */
import { FFIType, ptr } from "bun:ffi";
import { closeSync, writeSync } from "node:fs";
import { openLibrary } from "./dynamic-library.ts";

const CLOSE_ON_EXEC = 1;
/** Linux 6.3 and newer: says that the file holds code, where the system asks for that. Older kernels refuse the flag. */
const EXECUTABLE = 16;

/**
 * Writes `bytes` to a new file in memory and returns its path, which is good in this process for as long as it runs. `name`
 * shows in /proc. Null when the system allows no such files.
 */
export function memoryFile(name: string, bytes: Uint8Array): string | null {
  const libc = openLibrary("libc.so.6", {
    memfd_create: { args: [FFIType.ptr, FFIType.u32], returns: FFIType.i32 },
  });
  const text = new TextEncoder().encode(`${name}\0`);
  const create = (flags: number) => libc.symbols.memfd_create(ptr(text), flags);
  let file = create(CLOSE_ON_EXEC | EXECUTABLE);
  if (file < 0) file = create(CLOSE_ON_EXEC);
  libc.close();
  if (file < 0) return null;
  try {
    for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
  } catch {
    closeSync(file);
    return null;
  }
  return `/proc/self/fd/${file}`;
}
