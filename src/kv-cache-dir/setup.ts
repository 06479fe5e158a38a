/** What pages on disk depend on: only an engine that is the same in all of it reads them. */
import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import type { EngineCapacity, EngineConfig } from "../engine-config.ts";
import type { TensorSource } from "../model/shape.ts";
import { VERSION } from "../version.ts";
import { FORMAT } from "./page-file.ts";

/** By name, in the words of about.json. */
export type Setup = Record<string, string | number>;

/** What is known before the weights' digest: plain data, for the thread that makes it. */
export interface SetupSource {
  setup: Setup;
  /** Where the weights come from. */
  weights: WeightsSource;
}

export type WeightsSource =
  | { seed: number }
  /** Files by path; and the digest of tensors that are in memory, "" where there are none. */
  | { files: string[]; memory: string };

/** Bytes of a weights file that are read in one go. */
const CHUNK = 16 << 20;

/** Digests of weights files that are remembered, and bytes of what is read of them. */
const REMEMBERED = 1000;
const MEMORY_BYTES = 8 << 20;

export function setupSource(config: EngineConfig, capacity: EngineCapacity): SetupSource {
  const shape = JSON.stringify(config.shape, (_, value) =>
    ArrayBuffer.isView(value) ? [...(value as Int32Array)] : value,
  );
  return {
    setup: {
      format: FORMAT,
      version: VERSION,
      shape: sha256(shape),
      dtype: config.computeDtype,
      kv_cache_dtype: config.kvDtype,
      quantization: config.quantization,
      page_bytes: capacity.pageBytes,
      tensor_parallel_size: Math.max(1, config.devices.length),
      device: config.device,
      device_name: capacity.deviceName,
    },
    weights: weightsOf(config.tensors, config.seed),
  };
}

function weightsOf(tensors: readonly TensorSource[] | null, seed: number): WeightsSource {
  if (!tensors) return { seed };
  const files = new Set<string>();
  let memory = 0n;
  let inMemory = 0;
  for (const { where } of tensors) {
    if ("path" in where) files.add(where.path);
    else if ("data" in where) {
      memory = Bun.hash.xxHash3(where.data, memory);
      inMemory++;
    }
  }
  return { files: [...files].sort(), memory: inMemory === 0 ? "" : memory.toString(16) };
}

/**
 * The digest of the weights' bytes, wherever they lie. Files that have not changed since are not read again: `dir` remembers
 * their digests. It reads no further once `isStopped`.
 * @throws the system's error; an Error where it was stopped.
 */
export function weightsDigest(weights: WeightsSource, dir: string, isStopped = () => false): string {
  if ("seed" in weights) return `random ${weights.seed}`;
  const digests = weights.files.map((path) => `${basename(path)} ${fileDigest(path, dir, isStopped)}`);
  return sha256([...digests, weights.memory].join("\n"));
}

/** Path, size and times of a file → its digest, newest last. */
type Memory = Record<string, string>;

function fileDigest(path: string, dir: string, isStopped: () => boolean): string {
  const { size, mtimeNs, ctimeNs, ino, dev } = statSync(path, { bigint: true });
  const key = [path, size, mtimeNs, ctimeNs, ino, dev].join(" ");
  const memoryPath = join(dir, "weights.json");
  const known = recall(memoryPath)[key];
  if (known !== undefined) return known;
  const digest = readDigest(path, isStopped);
  remember(memoryPath, { ...recall(memoryPath), [key]: digest });
  return digest;
}

/** What another user could have written is not believed: it would give one model's pages to another. */
function recall(path: string): Memory {
  try {
    const file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const found = fstatSync(file);
      const isOurs = found.isFile() && found.uid === process.getuid!() && (found.mode & 0o022) === 0;
      if (!isOurs || found.size > MEMORY_BYTES) return {};
      const memory: unknown = JSON.parse(readFileSync(file, "utf8"));
      return Object.fromEntries(Object.entries(memory ?? {}).filter(([, digest]) => typeof digest === "string"));
    } finally {
      closeSync(file);
    }
  } catch {
    return {};
  }
}

/** Where it cannot be written, the files are read again at the next start. */
function remember(path: string, memory: Memory): void {
  const unfinished = `${path}.${crypto.randomUUID()}`;
  try {
    const entries = Object.entries(memory).slice(-REMEMBERED);
    writeFileSync(unfinished, JSON.stringify(Object.fromEntries(entries)), { mode: 0o600 });
    renameSync(unfinished, path);
  } catch {
    rmSync(unfinished, { force: true });
  }
}

function readDigest(path: string, isStopped: () => boolean): string {
  const chunk = new Uint8Array(CHUNK);
  const file = openSync(path, "r");
  try {
    let digest = 0n;
    for (let at = 0; ; ) {
      if (isStopped()) throw new Error("the engine closes");
      let filled = 0;
      // A chunk is full before the end of the file, however much one call reads: the digest depends on where chunks end.
      for (let read = -1; read !== 0 && filled < CHUNK; filled += read) {
        read = readSync(file, chunk, filled, CHUNK - filled, at + filled);
      }
      if (filled === 0) return digest.toString(16);
      digest = Bun.hash.xxHash3(chunk.subarray(0, filled), digest);
      at += filled;
    }
  } finally {
    closeSync(file);
  }
}

/** The name of a setup among others. */
export function setupId(setup: Setup): string {
  return sha256(JSON.stringify(setup)).slice(0, 32);
}

/** In what another setup differs, for a message. `other` was read from a file. */
export function differences(other: unknown, setup: Setup): string {
  if (other === null || typeof other !== "object") return "what they belong to is not known";
  const names = Object.keys(setup).filter((name) => (other as Setup)[name] !== setup[name]);
  const short = (value: unknown) => String(value).slice(0, 24);
  return names.map((name) => `${name} was ${short((other as Setup)[name])} and is ${short(setup[name])}`).join(", ");
}

function sha256(text: string): string {
  return new Bun.CryptoHasher("sha256").update(text).digest("hex");
}
