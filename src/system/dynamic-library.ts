/** Shared libraries, opened with bun:ffi: the only dlopen of the project beside Node addons. */
import { dlopen, type FFIFunction } from "bun:ffi";
import { readlinkSync } from "node:fs";
import { FastgenError } from "../errors.ts";

/** Opens a library by path or name. Throws FastgenError "device", with the cure where it is known. */
export function openLibrary<Symbols extends Record<string, FFIFunction>>(path: string, symbols: Symbols) {
  try {
    return dlopen(path, symbols);
  } catch (cause) {
    throw new FastgenError("device", `cannot open ${libraryName(path)}: ${reason(cause)}`, { cause });
  }
}

/** What to call it: the path of a library that the executable carries is but a number (memory-file.ts). */
export function libraryName(path: string): string {
  if (!path.startsWith("/proc/self/fd/")) return path;
  const [, carried] = /^\/memfd:(.+?)(?: \(deleted\))?$/.exec(readlinkSync(path)) ?? [];
  return carried ? `the ${carried} of this executable` : path;
}

function reason(cause: unknown): string {
  const message = cause instanceof Error ? cause.message : String(cause);
  const [, missing] = /^Symbol "(\w+)" not found/.exec(message) ?? [];
  if (missing) return `it has no ${missing}, so it is of another version of Fastgen: build it again (npm run build)`;
  if (!message.includes("requires the JIT")) return message;
  return "there is no address space for compiled code; run without a limit on it (ulimit -v unlimited), and limit memory with a cgroup instead";
}
