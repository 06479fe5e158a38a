import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { FastgenError } from "../errors.ts";
import { readSafetensorsHeader } from "./safetensors.ts";
import { safetensors } from "./test-files.ts";

const read = (file: Uint8Array, size = file.length) =>
  readSafetensorsHeader("model.safetensors", size, async (offset, length) => file.subarray(offset, offset + length));

const message = (file: Uint8Array, size?: number) =>
  read(file, size).then(
    () => "no error",
    (error: Error) => error.message,
  );

const A = { dtype: "F32", shape: [2, 3], data_offsets: [0, 24] };
const B = { dtype: "BF16", shape: [4], data_offsets: [24, 32] };

test("names, dtypes, dimensions and places", async () => {
  const file = safetensors({ __metadata__: { format: "pt" }, "b.weight": B, "a.weight": A }, 32);
  const start = file.length - 32;
  expect(await read(file)).toEqual([
    { name: "b.weight", dtype: "BF16", dims: [4], offset: start + 24, bytes: 8 },
    { name: "a.weight", dtype: "F32", dims: [2, 3], offset: start, bytes: 24 },
  ]);
  expect(await read(safetensors("{}   ", 0))).toEqual([]);
});

test("scalars and empty tensors", async () => {
  const header = {
    s: { dtype: "F32", shape: [], data_offsets: [0, 4] },
    e: { dtype: "F32", shape: [0, 5], data_offsets: [4, 4] },
  };
  expect((await read(safetensors(header, 4))).map((tensor) => tensor.bytes)).toEqual([4, 0]);
  // An empty tensor may share its place with the one that begins there, whichever is named first.
  const shared = { a: A, e: { dtype: "F32", shape: [0], data_offsets: [0, 0] } };
  expect((await read(safetensors(shared, 24))).map((tensor) => tensor.bytes)).toEqual([24, 0]);
});

describe("damaged files are refused with what is wrong", () => {
  const cases: [string, Uint8Array, RegExp][] = [
    ["empty", new Uint8Array(0), /0 bytes are too few/],
    ["shorter than its length field", new Uint8Array(7), /7 bytes are too few/],
    [
      "header longer than the file",
      safetensors({ a: A }, 24).subarray(0, 30),
      /header claims \d+ bytes, the file has 30/,
    ],
    [
      "header longer than allowed",
      Uint8Array.from([0, 0, 0, 0, 1, 0, 0, 0, 0x7b]),
      /header claims 4294967296 bytes; at most/,
    ],
    [
      "header longer than the file by less than its length field",
      Uint8Array.from([6, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0x7d]),
      /header claims 6 bytes, the file has 10/,
    ],
    ["not JSON", safetensors("{nonsense", 0), /not valid JSON/],
    ["not UTF-8", safetensors("{}", 0).with(8, 0xff), /not valid JSON/],
    ["a name that is not UTF-8", safetensors({ aa: A }, 24).with(10, 0xff), /not valid JSON/],
    ["a list", safetensors("[]", 0), /not an object/],
    ["truncated", safetensors({ a: A, b: B }, 31), /should have \d+ bytes and has \d+\. .*cut short: replace it/],
    ["bytes left over", safetensors({ a: A }, 25), /1 bytes after its last tensor/],
    ["overlap", safetensors({ a: A, b: { ...B, data_offsets: [20, 28] } }, 28), /b overlaps another tensor/],
    ["gap", safetensors({ a: A, b: { ...B, data_offsets: [28, 36] } }, 36), /gap before b/],
    [
      "size and shape disagree",
      safetensors({ a: { ...A, shape: [2, 4] } }, 24),
      /F32 \[2,4\] takes 32 bytes, its offsets \[0, 24\]/,
    ],
    [
      "more bytes than the shape takes",
      safetensors({ a: { ...A, shape: [2, 2] } }, 24),
      /F32 \[2,2\] takes 16 bytes, its offsets \[0, 24\]/,
    ],
    ["offsets reversed", safetensors({ a: { ...A, data_offsets: [24, 0] } }, 24), /offsets \[24, 0\] say otherwise/],
    ["negative offset", safetensors({ a: { ...A, data_offsets: [-24, 0] } }, 24), /a: data_offsets.0/],
    ["huge shape", safetensors({ a: { ...A, shape: [2 ** 52, 2 ** 52] } }, 24), /say otherwise/],
    ["unknown dtype", safetensors({ a: { ...A, dtype: "Q4" } }, 24), /unknown dtype Q4/],
    ["dtype of Object.prototype", safetensors({ a: { ...A, dtype: "constructor" } }, 24), /unknown dtype constructor/],
    ["no shape", safetensors({ a: { dtype: "F32", data_offsets: [0, 24] } }, 24), /a: shape/],
    ["a name twice", safetensors(`{"a":${JSON.stringify(A)},"a":${JSON.stringify(A)}}`, 24), /a name appears twice/],
    [
      "a name twice, spelt in two ways",
      safetensors(`{"a":${JSON.stringify(A)},"\\u0061":${JSON.stringify(A)}}`, 24),
      /a name appears twice/,
    ],
  ];
  for (const [name, file, expected] of cases) {
    test(name, async () => {
      expect(await message(file)).toMatch(expected);
    });
  }

  test("a file that shrinks while it is read", async () => {
    const file = safetensors({ a: A }, 24);
    expect(await message(file.subarray(0, 20), file.length)).toMatch(/ended while its header was read/);
    expect(await message(file.subarray(0, 4), file.length)).toMatch(/ended while its header was read/);
  });
});

test("quotes and braces in names do not confuse it", async () => {
  const header = { 'a"}:{,"': A, "\\": B };
  expect((await read(safetensors(header, 32))).length).toBe(2);
});

describe("nothing but a FastgenError, whatever the file", () => {
  const check = async (file: Uint8Array, size = file.length) => {
    try {
      for (const tensor of await read(file, size)) {
        expect(tensor.offset >= 8 && tensor.offset + tensor.bytes <= size).toBe(true);
      }
    } catch (error) {
      expect(error).toBeInstanceOf(FastgenError);
    }
  };

  test("random bytes", () =>
    fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 64 }), (file) => check(file)),
      { numRuns: 1000 },
    ));

  test("random JSON for a header", () => {
    const entry = fc.record({
      dtype: fc.oneof(fc.constantFrom("F32", "BF16", "I8"), fc.string()),
      shape: fc.oneof(fc.array(fc.nat(4), { maxLength: 3 }), fc.jsonValue()),
      data_offsets: fc.oneof(fc.tuple(fc.nat(40), fc.nat(40)), fc.jsonValue()),
    });
    const header = fc.oneof(fc.dictionary(fc.string(), entry, { maxKeys: 3 }), fc.jsonValue());
    return fc.assert(
      fc.asyncProperty(header, fc.nat(64), (header, bytes) => check(safetensors(header as object, bytes))),
      { numRuns: 2000 },
    );
  });

  test("a good file with any one byte changed, or cut anywhere", () => {
    const good = safetensors({ __metadata__: { format: "pt" }, a: A, b: B }, 32);
    return fc.assert(
      fc.asyncProperty(fc.nat(good.length - 1), fc.nat(255), fc.nat(good.length), async (at, byte, length) => {
        await check(good.with(at, byte));
        await check(good.subarray(0, length));
      }),
      { numRuns: 2000 },
    );
  });
});
