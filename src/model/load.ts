/**
 * Opens a model by its name, its directory or its bytes. The result has everything that the engine and the tokenizer need; the
 * weights stay where they are.
 */
import { open, readdir, stat } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { FastgenError } from "../errors.ts";
import { systemReason } from "../system/system-reason.ts";
import type { LoadProgress } from "../types.ts";
import { LFS_POINTER, LFS_POINTER_START, modelError } from "./config-json.ts";
import { deviceTensors } from "./device-tensors.ts";
import { checkFolder } from "./folder-check.ts";
import { resolveModel } from "./hub.ts";
import type { Model, ModelFiles, TensorSource } from "./shape.ts";
import { type ModelStore, readTensors, type Tensors } from "./tensors.ts";

export interface OpenOptions {
  /** Branch, tag or commit of a hub model. */
  revision?: string;
  /** dummy needs config.json and the tokenizer only. */
  loadFormat?: "auto" | "dummy";
  onProgress?: (progress: LoadProgress) => void;
  /** Takes a sentence about what the user should know of a model that loads all the same. */
  onWarning?: (message: string) => void;
  signal?: AbortSignal;
}

/** Where transformers keeps templates with a name, each in a file of its own. */
const TEMPLATES_FOLDER = "additional_chat_templates";

/** The most bytes of one JSON file. The largest real tokenizer.json has 35 MB. */
const MAX_JSON_BYTES = 256 * 1024 * 1024;

/**
 * Opens a directory, or "org/name" from the local Hugging Face cache. A model that is not in the cache is downloaded into it.
 * @throws FastgenError "model" (files), "unavailable" (network), "aborted".
 */
export async function openModel(nameOrDirectory: string, options: OpenOptions = {}): Promise<Model> {
  const directory = await resolveModel(nameOrDirectory, options);
  const store = directoryStore(nameOrDirectory, directory, false);
  return readModel(store, nameOrDirectory, directory, options);
}

/** Opens a model whose files are in memory, by name ("config.json", "tokenizer.json", "model.safetensors"). */
export function openModelFromMemory(
  name: string,
  files: ReadonlyMap<string, Uint8Array>,
  options: Pick<OpenOptions, "loadFormat" | "onWarning"> = {},
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
    const content = new TextDecoder().decode(await store.read(file, 0, bytes));
    if (content.startsWith(LFS_POINTER_START)) throw modelError(`${store.label}: ${file} ${LFS_POINTER}`);
    return content;
  };
  const names = await store.list();
  // A model may do without such a file, but where there is a broken one it was meant to have it.
  const optional = (file: string) => {
    const broken = names.find((name) => name === `${file}@` || name === `${file}/`);
    if (broken === undefined) return text(file);
    const what = broken.endsWith("@") ? "a link to a file that is not there" : "a folder where a file should be";
    throw modelError(`${store.label}: ${file} is ${what}: put the model's own file there, or remove it`);
  };
  const withWeights = options.loadFormat !== "dummy";
  const checked = await checkFolder({ label: store.label, names, read: text }, withWeights);
  const files: ModelFiles = {
    config: checked.config,
    tokenizer: checked.tokenizer,
    tokenizerConfig: await optional("tokenizer_config.json"),
    generationConfig: await optional("generation_config.json"),
    chatTemplate: await optional("chat_template.jinja"),
    chatTemplateJson: await optional("chat_template.json"),
    specialTokensMap: await optional("special_tokens_map.json"),
    addedTokens: await optional("added_tokens.json"),
    namedTemplates: {},
  };
  for (const path of await store.templates()) files.namedTemplates[basename(path, ".jinja")] = (await text(path)) ?? "";
  const { architecture, maxContext, dtype, shape, quantization } = checked.parsed;
  const none: Tensors = { tensors: [], tied: shape.tiedEmbeddings, notices: [] };
  const { tensors, tied, notices } = withWeights ? await readTensors(store, shape, architecture, quantization) : none;
  for (const notice of notices) options.onWarning?.(notice);
  const stored = tensors.find((tensor) => tensor.role === "embed")?.dtype;
  return {
    name,
    directory,
    architecture,
    shape: { ...shape, tiedEmbeddings: tied },
    maxContext,
    // Weights in FP8 are computed with in bfloat16.
    dtype: dtype ?? (stored === "float8_e4m3" ? "bfloat16" : stored) ?? "bfloat16",
    quantization: quantization?.format ?? null,
    tensors,
    async weightsIn(source) {
      if ("tensors" in source) return deviceTensors(source.tensors, { ...shape, tiedEmbeddings: tied }, architecture);
      const { folder } = source;
      const other = await readTensors(directoryStore(folder, folder, true), shape, architecture, quantization);
      if (other.tied === tied) return other.tensors;
      const found = other.tied ? "the embedding alone" : "an lm_head.weight with values of its own";
      throw modelError(`${folder}: has ${found}, unlike the weights that the model was loaded with`);
    },
    files,
  };
}

function directoryStore(label: string, directory: string, isUpdate: boolean): ModelStore {
  const failed = (file: string, error: unknown) => {
    const { code } = error as NodeJS.ErrnoException;
    const path = join(directory, file);
    const why = code === "EACCES" || code === "EPERM" ? "no permission to read it" : systemReason(error, path);
    return new FastgenError("model", `${path} cannot be read: ${why}`, { cause: error });
  };
  return {
    label,
    isUpdate,
    async size(file) {
      try {
        const info = await stat(join(directory, file));
        if (info.isFile()) return info.size;
        if (info.isDirectory()) return null;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
        throw failed(file, error);
      }
      const path = join(directory, file);
      throw modelError(`${path} is no file, but a pipe, a socket or a device: put the model's own file there`);
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
    async list() {
      const entries = await readdir(directory);
      const kind = async (name: string) => {
        const info = await stat(join(directory, name)).catch(() => null);
        return info?.isDirectory() ? "/" : info ? "" : "@";
      };
      return Promise.all(entries.map(async (name) => `${name}${await kind(name)}`));
    },
    async templates() {
      const names = await readdir(join(directory, TEMPLATES_FOLDER)).catch(() => []);
      return names.filter((name) => name.endsWith(".jinja")).map((name) => `${TEMPLATES_FOLDER}/${name}`);
    },
  };
}

function memoryStore(label: string, files: ReadonlyMap<string, Uint8Array>): ModelStore {
  const get = (file: string) => files.get(file) ?? new Uint8Array(0);
  return {
    label,
    isUpdate: false,
    size: async (file) => files.get(file)?.length ?? null,
    read: async (file, offset, length) => get(file).subarray(offset, offset + length),
    where: (file, offset, bytes) => ({ data: get(file).subarray(offset, offset + bytes) }),
    list: async () => [...files.keys()].map((file) => basename(file)),
    templates: async () => [],
  };
}
