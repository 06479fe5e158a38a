/** Reads the tensors that the Python scripts beside this file wrote; make_models.py and make_smollm2.py list their names. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

export const MODELS_DIRECTORY = join(import.meta.dir, "models");

/** Names of the random-weight models. */
export const MODEL_NAMES: readonly string[] = readdirSync(MODELS_DIRECTORY).sort();

export class Expected {
  private constructor(
    private readonly tensors: Map<string, Int32Array | Float32Array>,
    private readonly path: string,
  ) {}

  /** A safetensors file of int32 and float32 tensors. */
  static read(path: string): Expected {
    const bytes = readFileSync(path);
    const headerBytes = Number(bytes.readBigUInt64LE(0));
    const header: Record<string, { dtype: string; data_offsets: [number, number] }> = JSON.parse(
      bytes.toString("utf8", 8, 8 + headerBytes),
    );
    const tensors = new Map<string, Int32Array | Float32Array>();
    for (const [name, { dtype, data_offsets }] of Object.entries(header)) {
      if (name === "__metadata__") continue;
      // A copy, because a view must start at a multiple of 4 bytes.
      const data = new Uint8Array(bytes.subarray(8 + headerBytes + data_offsets[0], 8 + headerBytes + data_offsets[1]));
      if (dtype !== "I32" && dtype !== "F32") throw new Error(`${path}: ${name} is ${dtype}`);
      tensors.set(name, dtype === "I32" ? new Int32Array(data.buffer) : new Float32Array(data.buffer));
    }
    return new Expected(tensors, path);
  }

  ints(name: string): Int32Array {
    const tensor = this.tensors.get(name);
    if (tensor instanceof Int32Array) return tensor;
    throw new Error(`${this.path} has no int32 tensor ${name}`);
  }

  floats(name: string): Float32Array {
    const tensor = this.tensors.get(name);
    if (tensor instanceof Float32Array) return tensor;
    throw new Error(`${this.path} has no float32 tensor ${name}`);
  }
}
