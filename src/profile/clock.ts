/** The clock of profiles: CLOCK_MONOTONIC, which libfastgen's traces also have, so that all threads' times compare. */
import { FFIType, ptr } from "bun:ffi";
import { openLibrary } from "../system/dynamic-library.ts";

const CLOCK_MONOTONIC = 1;
/** The least of several readings is the one that nothing interrupted. */
const READINGS = 8;

/** Microseconds to add to 1000 * performance.now() of this thread for microseconds of CLOCK_MONOTONIC. It never changes. */
export function clockOffset(): number {
  const { symbols } = openLibrary("libc.so.6", {
    clock_gettime: { args: [FFIType.i32, FFIType.ptr], returns: FFIType.i32 },
  });
  const time = new BigInt64Array(new ArrayBuffer(16));
  let offset = Number.POSITIVE_INFINITY;
  for (let i = 0; i < READINGS; i++) {
    const before = performance.now();
    symbols.clock_gettime(CLOCK_MONOTONIC, ptr(time));
    offset = Math.min(offset, Number(time[0]) * 1e6 + Number(time[1]) / 1e3 - before * 1e3);
  }
  return offset;
}
