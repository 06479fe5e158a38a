/**
 * Where a model's files are: in a directory, in the local Hugging Face cache, or on the hub, from which they are downloaded into
 * that cache. Its layout is that of Python's huggingface_hub (refs/, blobs/, snapshots/), so both can share it.
 *
 * Environment: HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE.
 */
import { mkdir, readFile, stat, statfs, symlink, unlink, writeFile } from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";
import { getRepoFolderName, listFiles, modelInfo } from "@huggingface/hub";
import { FastgenError } from "../errors.ts";
import type { LoadProgress } from "../types.ts";
import { formatSize } from "../units.ts";
import { bytesHere, downloadBlob, type HubFile, pause } from "./download.ts";
import { expandHome, type HubClient, hubClient, hubHome, TransientError } from "./hub-client.ts";
import { INDEX_FILE, parseIndex, WEIGHTS_FILE } from "./tensors.ts";

export interface HubOptions {
  revision?: string;
  loadFormat?: "auto" | "dummy";
  onProgress?: (progress: LoadProgress) => void;
  signal?: AbortSignal;
  /** Milliseconds before a failed request is repeated. They double each time. */
  retryDelayMs?: number;
}

/** Files beside the weights. Everything else (other formats, pictures, original/) stays on the hub. */
const SMALL_FILES =
  /^(config|hf_quant_config|generation_config|special_tokens_map|added_tokens|tokenizer.*)\.json$|^tokenizer\.model$|^chat_template(\.jinja|\.json)$/;

/** Files downloaded at once. */
const CONCURRENCY = 4;

/** @throws FastgenError "model", "unavailable" (network), "aborted". */
export async function resolveModel(nameOrDirectory: string, options: HubOptions = {}): Promise<string> {
  const info = await stat(nameOrDirectory).catch(() => null);
  if (info?.isDirectory()) return nameOrDirectory;
  if (info) {
    throw new FastgenError(
      "model",
      `${nameOrDirectory} is a file: give the folder that has config.json and the weights`,
    );
  }
  if (!isRepository(nameOrDirectory)) {
    throw new FastgenError(
      "model",
      `${nameOrDirectory} is neither a directory nor the name of a hub model (as in "org/name"): check the path`,
    );
  }
  const revision = options.revision ?? "main";
  if (!/^[\w.][\w./-]*$/.test(revision) || revision.includes("..")) {
    throw new FastgenError("invalid_request", `${JSON.stringify(revision)} is not a branch, tag or commit`, {
      param: "revision",
    });
  }
  const weights = options.loadFormat !== "dummy";
  const cache = hubCache();
  const folder = join(cache, getRepoFolderName({ type: "model", name: nameOrDirectory }));
  const cached = await findSnapshot(folder, revision, weights);
  if (cached.directory) return cached.directory;
  if (isOffline()) {
    throw new FastgenError(
      "unavailable",
      `${nameOrDirectory} (${revision}) is not in the cache at ${cache}: ${cached.missing}, and HF_HUB_OFFLINE forbids the download. Unset it, or give a directory.`,
    );
  }
  return download(nameOrDirectory, revision, cache, folder, weights, options);
}

/** Where huggingface_hub keeps its cache. */
function hubCache(): string {
  const { HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE } = process.env;
  return expandHome(HF_HUB_CACHE || HUGGINGFACE_HUB_CACHE || join(hubHome(), "hub"));
}

/** "org/name" or the older "name", in the hub's own alphabet. */
function isRepository(name: string): boolean {
  return /^(?:[\w-][\w.-]*\/)?[\w-][\w.-]*$/.test(name) && !name.includes("--") && !name.includes("..");
}

function isOffline(): boolean {
  const on = (value: string | undefined) => /^(1|on|yes|true)$/i.test(value ?? "");
  return on(process.env.HF_HUB_OFFLINE) || on(process.env.TRANSFORMERS_OFFLINE);
}

const isCommit = (revision: string) => /^[0-9a-f]{40}$/.test(revision);

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => null)) !== null;
}

/** The directory of a complete snapshot, or what is missing. */
async function findSnapshot(
  folder: string,
  revision: string,
  weights: boolean,
): Promise<{ directory: string; missing?: undefined } | { directory?: undefined; missing: string }> {
  const reference = isCommit(revision)
    ? revision
    : await readFile(join(folder, "refs", revision), "utf8").catch(() => null);
  const commit = reference?.trim();
  if (!commit || !isCommit(commit)) return { missing: "no such revision there" };
  const directory = join(folder, "snapshots", commit);
  const lacks = async (file: string) => !(await exists(join(directory, file)));
  for (const file of ["config.json", "tokenizer.json"]) if (await lacks(file)) return { missing: `${file} is missing` };
  if (!weights || !(await lacks(WEIGHTS_FILE))) return { directory };
  const index = await readFile(join(directory, INDEX_FILE), "utf8").catch(() => null);
  if (index === null) return { missing: `${WEIGHTS_FILE} is missing` };
  for (const file of new Set(parseIndex(index).values()))
    if (await lacks(file)) return { missing: `${file} is missing` };
  return { directory };
}

async function download(
  name: string,
  revision: string,
  cache: string,
  folder: string,
  weights: boolean,
  options: HubOptions,
): Promise<string> {
  const client = hubClient(name, revision);
  const retryDelayMs = options.retryDelayMs ?? 1000;
  const stop = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
  try {
    const { commit, files } = await patiently(name, retryDelayMs, signal, () => list(client, name, revision, signal));
    for (const needed of ["config.json", "tokenizer.json"]) {
      if (!files.some((file) => file.path === needed)) {
        throw new FastgenError(
          "model",
          `${name} (${revision}) has no ${needed}, which Fastgen needs: choose another model or --revision`,
        );
      }
    }
    const directory = join(folder, "snapshots", commit);
    const blobOf = (file: HubFile) => join(folder, "blobs", file.etag);
    const lockOf = (file: HubFile) => join(cache, ".locks", basename(folder), `${file.etag}.lock`);
    const get = async (file: HubFile, onBytes: (bytes: number) => void) => {
      const blob = blobOf(file);
      const url = `${client.endpoint}/${name}/resolve/${commit}/${file.path}`;
      if (await exists(blob)) onBytes(file.bytes);
      else await downloadBlob(client, url, file, blob, lockOf(file), { onBytes, signal, retryDelayMs });
      await link(blob, join(directory, file.path));
    };

    await mkdir(join(folder, "blobs"), { recursive: true });
    await mkdir(directory, { recursive: true });
    let wanted = files.filter((file) => SMALL_FILES.test(file.path));
    if (weights) wanted = wanted.concat(await chooseWeights(name, files, directory, get));
    const total = wanted.reduce((sum, file) => sum + file.bytes, 0);
    await checkSpace(cache, total, wanted.map(blobOf));
    let done = 0;
    const onBytes = (bytes: number) => {
      done += bytes;
      options.onProgress?.({ stage: "download", done, total });
    };
    await inParallel(wanted, stop, (file) => get(file, onBytes));

    // Last of all, so that a reference never moves from a complete snapshot to an incomplete one.
    if (!isCommit(revision)) {
      const reference = join(folder, "refs", revision);
      await mkdir(dirname(reference), { recursive: true });
      await writeFile(reference, commit);
    }
    return directory;
  } catch (error) {
    if (options.signal?.aborted) throw new FastgenError("aborted", "the download was cancelled");
    throw explain(error, cache, name);
  }
}

/** Repeats a request that fails for a reason that may go away. */
async function patiently<T>(name: string, delayMs: number, signal: AbortSignal, request: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await request();
    } catch (error) {
      if (!(error instanceof TransientError) || signal.aborted) throw error;
      if (attempt === 3) {
        throw new FastgenError(
          "unavailable",
          `${name} is not in the local cache, and ${error.message}: check the network, set HF_ENDPOINT to a mirror, or give a directory`,
          { cause: error },
        );
      }
      await pause(delayMs * 2 ** (attempt - 1), signal);
    }
  }
}

/** The commit that a revision stands for, and the files at its top level. */
async function list(client: HubClient, name: string, revision: string, signal: AbortSignal) {
  const at = {
    hubUrl: client.endpoint,
    fetch: ((url: string, init?: RequestInit) => client.fetch(url, { ...init, signal })) as typeof fetch,
  };
  const { sha } = await modelInfo({ ...at, name, revision, additionalFields: ["sha"] });
  if (!isCommit(sha))
    throw new FastgenError("unavailable", `${client.endpoint} is not a Hugging Face hub: check HF_ENDPOINT`);
  const files: HubFile[] = [];
  for await (const { type, path, size, oid, lfs } of listFiles({
    ...at,
    repo: { type: "model", name },
    revision: sha,
  })) {
    const etag = lfs?.oid ?? oid;
    // The names become paths of ours.
    if (type !== "file" || !/^[\w-][\w.-]*$/.test(path) || !/^[0-9a-f]{40,64}$/.test(etag ?? "")) continue;
    files.push({ path, bytes: lfs?.size ?? size, etag: etag!, hash: lfs ? "sha256" : "git" });
  }
  return { commit: sha, files };
}

/** The weights to download: one file, or an index and the shards that it names. Never a second copy in another format. */
async function chooseWeights(
  name: string,
  files: HubFile[],
  directory: string,
  get: (file: HubFile, onBytes: (bytes: number) => void) => Promise<void>,
): Promise<HubFile[]> {
  const single = files.find((file) => file.path === WEIGHTS_FILE);
  if (single) return [single];
  const index = files.find((file) => file.path === INDEX_FILE);
  if (!index) {
    const others = files.filter((file) => /\.(bin|pth|pt|gguf|safetensors)$/.test(file.path)).map((file) => file.path);
    throw new FastgenError(
      "model",
      `${name} has neither ${WEIGHTS_FILE} nor ${INDEX_FILE}${others.length > 0 ? `, only ${others.slice(0, 3).join(", ")}` : ""}: choose a model or a --revision with safetensors`,
    );
  }
  await get(index, () => {});
  const shards = new Set(parseIndex(await readFile(join(directory, INDEX_FILE), "utf8")).values());
  const chosen = [...shards].map((shard) => {
    const file = files.find(({ path }) => path === shard);
    if (!file) throw new FastgenError("model", `${name}: ${INDEX_FILE} names ${shard}, which is not in the repository`);
    return file;
  });
  return [index, ...chosen];
}

async function checkSpace(cache: string, total: number, blobs: string[]): Promise<void> {
  let missing = total;
  for (const blob of blobs) missing -= await bytesHere(blob);
  const { bavail, bsize } = await statfs(cache);
  if (missing <= bavail * bsize) return;
  const [needed, free] = [formatSize(missing, Math.ceil), formatSize(bavail * bsize, Math.floor)];
  throw new FastgenError(
    "model",
    `the disk of ${cache} is too full: ${needed} to download, ${free} free. Free some space, or set HF_HOME to a larger disk.`,
  );
}

async function link(blob: string, path: string): Promise<void> {
  if (await exists(path)) return;
  await unlink(path).catch(() => {}); // a dangling link
  await symlink(relative(dirname(path), blob), path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EEXIST") throw error;
  });
}

/** The first failure stops the others, and is thrown once they have ended. */
async function inParallel<T>(items: T[], stop: AbortController, work: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items];
  const failures: unknown[] = [];
  const worker = async () => {
    for (let item = queue.shift(); item !== undefined && failures.length === 0; item = queue.shift()) {
      await work(item).catch((error) => {
        failures.push(error);
        stop.abort();
      });
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, worker));
  if (failures.length > 0) throw failures[0];
}

/** Errors of the file system in the user's words. */
function explain(error: unknown, cache: string, name: string): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (error instanceof FastgenError || typeof code !== "string") return error;
  if (["EACCES", "EPERM", "EROFS", "ENOTDIR", "EEXIST"].includes(code)) {
    return new FastgenError(
      "model",
      `${name} cannot be stored in the cache at ${cache} (${code}): set HF_HOME to a directory that you may write to`,
      { cause: error },
    );
  }
  if (code === "ENOSPC" || code === "EDQUOT") {
    return new FastgenError("model", `the disk of ${cache} is full: free some space, or set HF_HOME to a larger disk`, {
      cause: error,
    });
  }
  return error;
}
