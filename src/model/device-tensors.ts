/** Tensors in the device memory of another process, as a checkpoint without files. */
import { FastgenError } from "../errors.ts";
import type { DeviceTensor } from "../types.ts";
import type { ModelShape, TensorSource } from "./shape.ts";
import { type ModelStore, tensorTable } from "./tensors.ts";

/** The names that safetensors has for what PyTorch calls so; F8_E4M3 would need scales, which nobody can read here. */
const STORED: Record<string, [name: string, bytes: number]> = {
  float32: ["F32", 4],
  float16: ["F16", 2],
  bfloat16: ["BF16", 2],
};

/**
 * The table of these tensors.
 * @throws FastgenError "model" naming the tensor that is missing or does not fit.
 */
export async function deviceTensors(
  tensors: readonly DeviceTensor[],
  shape: ModelShape,
  architecture: string,
): Promise<TensorSource[]> {
  const store: ModelStore = {
    isUpdate: true,
    label: "tensors",
    size: async () => null,
    read: async () => new Uint8Array(0),
    list: async () => [],
    templates: async () => [],
    where: (index, offset, bytes) => ({ ipcHandle: tensors[Number(index)]!.ipc_handle, offset, bytes }),
  };
  const hasEmbedding = tensors.some(({ name }) => name.endsWith("embed_tokens.weight"));
  const stored = tensors.map(({ name, dtype, shape: dims, offset }, index) => {
    const [type, size] = STORED[dtype.replace(/^torch\./, "")] ?? [];
    if (type === undefined || size === undefined) {
      const message = `tensors: ${name} is ${dtype}; only float32, float16 and bfloat16 are taken`;
      throw new FastgenError("model", message);
    }
    const bytes = dims.reduce((product, n) => product * n, size);
    return { file: String(index), tensor: { name, dtype: type, dims, offset, bytes } };
  });
  // Trainers name both ends of a tied embedding: they are one tensor.
  const own = stored.filter(
    ({ tensor }) => !(shape.tiedEmbeddings && hasEmbedding && tensor.name.endsWith("lm_head.weight")),
  );
  return (await tensorTable(own, store, shape, architecture)).tensors;
}
