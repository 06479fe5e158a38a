import { expect, test } from "bun:test";
import { existsSync, readFileSync, readlinkSync } from "node:fs";
import * as path from "node:path";
import { Library } from "../ffi/library.ts";
import { memoryFile } from "./memory-file.ts";

test("a file in memory can be read by its path and is nowhere else", () => {
  const bytes = new Uint8Array(3_000_000).map((_, i) => i * 7);
  const file = memoryFile("some-name", bytes)!;
  expect(readFileSync(file)).toEqual(Buffer.from(bytes));
  expect(readlinkSync(file)).toStartWith("/memfd:some-name");
});

const library = path.join(import.meta.dir, "../../build/libfastgen_cpu.so");
const built = existsSync(library);

test.skipIf(!built)(
  `a shared library opens from one${built ? "" : " (skipped: libfastgen_cpu.so is not built)"}`,
  () => {
    const file = memoryFile("libfastgen_cpu.so", readFileSync(library))!;
    expect(Library.open(file).deviceCount()).toBe(1);
  },
);

test("a library that does not open from one is told of by its name", () => {
  const file = memoryFile("libother.so", new TextEncoder().encode("no library"))!;
  expect(() => Library.open(file)).toThrow(/^cannot open the libother\.so of this executable: /);
});
