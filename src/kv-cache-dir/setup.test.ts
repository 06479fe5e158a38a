import { afterAll, expect, test } from "bun:test";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { EngineCapacity, EngineConfig } from "../engine-config.ts";
import { differences, setupId, setupSource, weightsDigest } from "./setup.ts";

const folder = mkdtempSync(join(tmpdir(), "fastgen-setup-"));
afterAll(() => rmSync(folder, { recursive: true }));

const config = {
  device: "cuda",
  devices: [0, 1],
  computeDtype: "bfloat16",
  kvDtype: "bfloat16",
  quantization: "none",
  maxSeqs: 8,
  shape: { layers: 2, ropeInvFreq: Float32Array.of(1, 0.5), layerWindow: Int32Array.of(0, 7) },
  tensors: null,
  seed: 3,
} as unknown as EngineConfig;
const capacity = { pageBytes: 4096, deviceName: "2 × GPU", pages: 7 } as EngineCapacity;

test("whatever pages depend on changes the setup, and nothing else does", () => {
  const id = (over: Partial<EngineConfig> = {}, size: Partial<EngineCapacity> = {}) =>
    setupId(setupSource({ ...config, ...over }, { ...capacity, ...size }).setup);
  const same = [id(), id({ maxSeqs: 9, kvBytes: 5, devices: [2, 3] }), id({}, { pages: 8 })];
  expect(new Set(same).size).toBe(1);
  const { shape } = config;
  const others = [
    id({ device: "cpu" }),
    id({ devices: [0] }),
    id({ computeDtype: "float32" }),
    id({ kvDtype: "float8_e4m3" }),
    id({ quantization: "fp8" }),
    id({ shape: { ...shape, layers: 3 } }),
    id({ shape: { ...shape, ropeInvFreq: Float32Array.of(1, 0.25) } }),
    id({ shape: { ...shape, layerWindow: Int32Array.of(0, 8) } }),
    id({}, { pageBytes: 8192 }),
    id({}, { deviceName: "2 × other" }),
  ];
  expect(new Set([...same, ...others]).size).toBe(1 + others.length);
});

test("the weights' digest is that of their bytes, wherever the files lie", () => {
  const paths = ["one", "two", "three"].map((name) => {
    mkdirSync(join(folder, name));
    const path = join(folder, name, "model.safetensors");
    // More than one chunk, with an end that fills none.
    writeFileSync(path, Buffer.alloc((16 << 20) + 100, name === "three" ? 8 : 7));
    return path;
  });
  const [one, two, three] = paths.map((path) => weightsDigest({ files: [path], memory: "" }, folder));
  expect(one).toBe(two!);
  expect(three).not.toBe(one!);
  expect(weightsDigest({ files: [paths[0]!], memory: "1" }, folder)).not.toBe(one!);
  rmSync(join(folder, "weights.json"));
  expect(() => weightsDigest({ files: [paths[0]!], memory: "" }, folder, () => true)).toThrow("closes");
  expect(weightsDigest({ seed: 1 }, folder)).not.toBe(weightsDigest({ seed: 2 }, folder));
  // One byte, at the same size and the same time of change.
  const { atime, mtime } = statSync(paths[1]!);
  const bytes = readFileSync(paths[1]!);
  bytes[16 << 20] = 9;
  writeFileSync(paths[1]!, bytes);
  utimesSync(paths[1]!, atime, mtime);
  expect(weightsDigest({ files: [paths[1]!], memory: "" }, folder)).not.toBe(one!);
  // And one near the beginning.
  bytes[16 << 20] = 7;
  bytes[5] = 9;
  writeFileSync(paths[1]!, bytes);
  expect(weightsDigest({ files: [paths[1]!], memory: "" }, folder)).not.toBe(one!);
  expect(statSync(join(folder, "weights.json")).mode & 0o777).toBe(0o600);
});

test("files that have not changed are not read again, and a damaged memory of them is no memory", () => {
  const path = join(folder, "small.safetensors");
  writeFileSync(path, "weights");
  const digest = weightsDigest({ files: [path], memory: "" }, folder);
  const memory = join(folder, "weights.json");
  const known = JSON.parse(readFileSync(memory, "utf8")) as Record<string, string>;
  const key = Object.keys(known).find((one) => one.startsWith(path))!;
  writeFileSync(memory, JSON.stringify({ ...known, [key]: "what was remembered" }));
  expect(weightsDigest({ files: [path], memory: "" }, folder)).not.toBe(digest);
  for (const damaged of ["{", "null", "7"]) {
    writeFileSync(memory, damaged);
    expect(weightsDigest({ files: [path], memory: "" }, folder)).toBe(digest);
  }
});

test("what others could have written is not believed, and a memory that cannot be written is done without", () => {
  const path = join(folder, "small.safetensors");
  writeFileSync(path, "weights");
  const weights = { files: [path], memory: "" };
  const memory = join(folder, "weights.json");
  rmSync(memory, { force: true, recursive: true });
  const digest = weightsDigest(weights, folder);
  const known = JSON.parse(readFileSync(memory, "utf8")) as Record<string, string>;
  const planted = (value: unknown) => JSON.stringify(Object.fromEntries(Object.keys(known).map((key) => [key, value])));
  writeFileSync(memory, planted("planted"));
  chmodSync(memory, 0o666);
  expect(weightsDigest(weights, folder)).toBe(digest);
  writeFileSync(memory, planted(7));
  expect(weightsDigest(weights, folder)).toBe(digest);
  rmSync(memory);
  writeFileSync(join(folder, "elsewhere"), planted("planted"), { mode: 0o600 });
  symlinkSync(join(folder, "elsewhere"), memory);
  expect(weightsDigest(weights, folder)).toBe(digest);
  rmSync(memory);
  mkdirSync(memory);
  expect(weightsDigest(weights, folder)).toBe(digest);
  expect(readdirSync(folder).filter((name) => name.startsWith("weights.json."))).toEqual([]);
  rmSync(memory, { recursive: true });
  expect(Bun.spawnSync(["mkfifo", memory]).exitCode).toBe(0);
  expect(weightsDigest(weights, folder)).toBe(digest);
});

test("the weights of an engine are its files, and what it has in memory", () => {
  const where = (path: string) => ({ where: { path, offset: 0, bytes: 1 } });
  const data = (...bytes: number[]) => ({ where: { data: Uint8Array.from(bytes) } });
  const of = (...tensors: object[]) => setupSource({ ...config, tensors } as EngineConfig, capacity).weights;
  expect(of(where("/b"), where("/a"), where("/b"))).toEqual({ files: ["/a", "/b"], memory: "" });
  expect(of(data(1, 2))).not.toEqual(of(data(1, 3)));
  expect(of(data(1), data(2))).not.toEqual(of(data(2), data(1)));
  expect(setupSource(config, capacity).weights).toEqual({ seed: 3 });
});

test("a message names what differs", () => {
  expect(differences({ dtype: "float32", format: 1 }, { dtype: "bfloat16", format: 1 })).toBe(
    "dtype was float32 and is bfloat16",
  );
  for (const other of [null, "x"]) expect(differences(other, { dtype: "x" })).toContain("not known");
});
