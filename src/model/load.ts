/**
 * Opens a model by its name, its directory or its bytes. The result has everything that the engine and the tokenizer need; the
 * weights stay where they are.
 */
import { open, readdir, stat } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { FastgenError } from "../errors.ts";
import type { LoadProgress } from "../types.ts";
import { parseConfig } from "./config.ts";
import { resolveModel } from "./hub.ts";
import { MODELOPT_FILE } from "./quantization.ts";
import type { Model, ModelFiles, TensorSource } from "./shape.ts";
import { type ModelStore, readTensors } from "./tensors.ts";

export interface OpenOptions {
  /** Branch, tag or commit of a hub model. */
  revision?: string;
  /** dummy needs config.json and the tokenizer only. */
  loadFormat?: "auto" | "dummy";
  onProgress?: (progress: LoadProgress) => void;
  signal?: AbortSignal;
}

/** The most bytes of one JSON file. The largest real tokenizer.json has 35 MB. */
const MAX_JSON_BYTES = 256 * 1024 * 1024;

/**
 * Opens a directory, or "org/name" from the local Hugging Face cache. A model that is not in the cache is downloaded into it.
 * @throws FastgenError "model" (files), "unavailable" (network), "aborted".
 */
export async function openModel(nameOrDirectory: string, options: OpenOptions = {}): Promise<Model> {
  const directory = await resolveModel(nameOrDirectory, options);
  const store = directoryStore(nameOrDirectory, directory);
  return readModel(store, nameOrDirectory, directory, options);
}

/** Opens a model whose files are in memory, by name ("config.json", "tokenizer.json", "model.safetensors"). */
export function openModelFromMemory(
  name: string,
  files: ReadonlyMap<string, Uint8Array>,
  options: Pick<OpenOptions, "loadFormat"> = {},
): Promise<Model> {
  return readModel(memoryStore(name, files), name, null, options);
}

async function readModel(
  store: ModelStore,
  name: string,
  directory: string | null,
  options: OpenOptions,
): Promise<Model> {
  const text = async (file: string): Promise<string | null> => {
    const bytes = await store.size(file);
    if (bytes === null) return null;
    if (bytes > MAX_JSON_BYTES)
      throw new FastgenError(
        "model",
        `${store.label}: ${file} has ${bytes} bytes; at most ${MAX_JSON_BYTES} are allowed`,
      );
    return new TextDecoder().decode(await store.read(file, 0, bytes));
  };
  const need = async (file: string, cure: string): Promise<string> => {
    const content = await text(file);
    if (content === null) throw new FastgenError("model", `${store.label} has no ${file}: ${cure}`);
    return content;
  };
  const files: ModelFiles = {
    config: await need("config.json", "is it a Hugging Face model folder?"),
    tokenizer: await need(
      "tokenizer.json",
      "write one with transformers: AutoTokenizer.from_pretrained(MODEL).save_pretrained(MODEL)",
    ),
    tokenizerConfig: await text("tokenizer_config.json"),
    generationConfig: await text("generation_config.json"),
    chatTemplate: await text("chat_template.jinja"),
  };
  const { architecture, shape, maxContext, dtype, quantization } = parseConfig(files.config, await text(MODELOPT_FILE));
  const tensors = options.loadFormat === "dummy" ? [] : await readTensors(store, shape, architecture, quantization);
  const stored = tensors.find((tensor) => tensor.role === "embed")?.dtype;
  const own = stored === "float8_e4m3" ? "bfloat16" : stored;
  return {
    name,
    directory,
    architecture,
    shape,
    maxContext,
    dtype: dtype ?? own ?? "bfloat16",
    quantization: quantization?.format ?? null,
    tensors,
    files,
  };
}

function directoryStore(label: string, directory: string): ModelStore {
  const failed = (file: string, error: unknown) => {
    const { code, message } = error as NodeJS.ErrnoException;
    const why = code === "EACCES" || code === "EPERM" ? "no permission to read it" : message;
    return new FastgenError("model", `${join(directory, file)} cannot be read: ${why}`, { cause: error });
  };
  return {
    label,
    async size(file) {
      try {
        const info = await stat(join(directory, file));
        return info.isFile() ? info.size : null;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
        throw failed(file, error);
      }
    },
    async read(file, offset, length) {
      let handle: Awaited<ReturnType<typeof open>> | undefined;
      try {
        handle = await open(join(directory, file), "r");
        const buffer = new Uint8Array(length);
        let done = 0;
        while (done < length) {
          const { bytesRead } = await handle.read(buffer, done, length - done, offset + done);
          if (bytesRead === 0) break;
          done += bytesRead;
        }
        return buffer.subarray(0, done);
      } catch (error) {
        throw failed(file, error);
      } finally {
        await handle?.close();
      }
    },
    where: (file, offset, bytes): TensorSource["where"] => ({ path: resolve(directory, file), offset, bytes }),
    list: () => readdir(directory),
  };
}

function memoryStore(label: string, files: ReadonlyMap<string, Uint8Array>): ModelStore {
  const get = (file: string) => files.get(file) ?? new Uint8Array(0);
  return {
    label,
    size: async (file) => files.get(file)?.length ?? null,
    read: async (file, offset, length) => get(file).subarray(offset, offset + length),
    where: (file, offset, bytes) => ({ data: get(file).subarray(offset, offset + bytes) }),
    list: async () => [...files.keys()].map((file) => basename(file)),
  };
}
