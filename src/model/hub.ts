/**
 * Where a model's files are: in a directory, in the local Hugging Face cache, or on the hub, from which they are downloaded into
 * that cache. Its layout is that of Python's huggingface_hub (refs/, blobs/, snapshots/), so both can share it.
 *
 * Environment: HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE.
 */
import { mkdir, readdir, readFile, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import { FastgenError } from "../errors.ts";
import type { LoadProgress } from "../types.ts";
import { formatSize } from "../units.ts";
import { CachedRepository } from "./cached-repository.ts";
import { bytesHere, downloadBlob, type HubFile, isIntact } from "./download.ts";
import { checkFolder } from "./folder-check.ts";
import { describeOtherKind, someNames } from "./folder-kind.ts";
import { expandHome, hubClient, hubHome, TransientError } from "./hub-client.ts";
import { localFolder } from "./local-folder.ts";
import { listRepository, patiently } from "./repository.ts";
import { type Fault, findFaults, lacking, smallFiles, weightNames } from "./snapshot.ts";
import { hasWeights, INDEX_FILE, parseIndex } from "./weight-files.ts";

export interface HubOptions {
  revision?: string;
  loadFormat?: "auto" | "dummy";
  onProgress?: (progress: LoadProgress) => void;
  /** Takes a sentence about what could not be checked or fetched of a model that is there all the same. */
  onWarning?: (message: string) => void;
  signal?: AbortSignal;
  /** Milliseconds before a failed request is repeated. They double each time. */
  retryDelayMs?: number;
}

/** Files downloaded at once. */
const CONCURRENCY = 4;

/** A model on the hub and what is wanted of it. */
interface Wanted {
  name: string;
  revision: string;
  weights: boolean;
  cached: CachedRepository;
  options: HubOptions;
}

/**
 * The directory of a model's files. A snapshot in the cache is checked against what the hub lists for its commit, which is
 * asked once, and completed. It is served as it is, with a warning, where it can be loaded but not completed.
 * @throws FastgenError "model", "unavailable" (network), "aborted".
 */
export async function resolveModel(nameOrDirectory: string, options: HubOptions = {}): Promise<string> {
  const local = await localFolder(nameOrDirectory);
  if (local !== null) {
    if (options.revision !== undefined) {
      options.onWarning?.(`${nameOrDirectory} is a folder, so the revision ${options.revision} is ignored`);
    }
    return local;
  }
  const revision = options.revision ?? "main";
  if (!/^[\w.][\w./-]*$/.test(revision) || revision.includes("..")) {
    throw new FastgenError("invalid_request", `${JSON.stringify(revision)} is not a branch, tag or commit`, {
      param: "revision",
    });
  }
  const cached = new CachedRepository(hubCache(), nameOrDirectory);
  const wanted: Wanted = {
    name: nameOrDirectory,
    revision,
    weights: options.loadFormat !== "dummy",
    cached,
    options,
  };
  const commit = await cached.commitOf(revision);
  const missing = commit === null ? null : await lacking(cached.snapshot(commit), wanted.weights);
  if (commit === null || missing !== null) {
    if (isOffline()) throw await notHere(wanted, commit, missing);
    return download(wanted, revision);
  }
  return checkedSnapshot(wanted, commit);
}

/** A snapshot that can be loaded, as far as it tells itself. */
async function checkedSnapshot(wanted: Wanted, commit: string): Promise<string> {
  const { name, weights, cached, options } = wanted;
  const directory = cached.snapshot(commit);
  const listing = await cached.listing(commit);
  const faults = listing && (await findFaults(directory, listing, weights));
  if (faults?.length === 0) return directory;
  if (isOffline()) {
    const worst = faults?.find((fault) => !fault.bearable);
    if (worst) throw await notHere(wanted, commit, worst.what);
    const why = "HF_HUB_OFFLINE is set";
    options.onWarning?.(faults ? withoutFiles(name, faults, why) : unchecked(name, why));
    return directory;
  }
  let known: readonly HubFile[] | null = null;
  try {
    return await download(wanted, commit, (files) => {
      known = files;
    });
  } catch (error) {
    if (options.signal?.aborted || !(error instanceof FastgenError)) throw error;
    if (known === null) {
      options.onWarning?.(unchecked(name, error.message));
      return directory;
    }
    const left = await findFaults(directory, known, weights);
    // Where nothing is missing, something else is wrong with the model.
    if (left.length === 0 || left.some((fault) => !fault.bearable)) throw error;
    options.onWarning?.(withoutFiles(name, left, error.message));
    return directory;
  }
}

function unchecked(name: string, why: string): string {
  return `${name} is served from the cache as it is; whether its files are complete could not be checked: ${why}`;
}

function withoutFiles(name: string, faults: readonly Fault[], why: string): string {
  const files = someNames(faults.map(({ file }) => file.path));
  return `${name} is served without ${files}, which the cache lacks and which could not be fetched: ${why}`;
}

/** What is said where HF_HUB_OFFLINE keeps a model from being downloaded or completed. */
async function notHere(wanted: Wanted, commit: string | null, missing: string | null): Promise<FastgenError> {
  const { name, revision, cached, weights } = wanted;
  const where = `in the cache at ${cached.cache}`;
  const cure = "and HF_HUB_OFFLINE forbids the download. Unset it, or give a directory.";
  if (commit === null) {
    return new FastgenError("unavailable", `${name} (${revision}) is not ${where}: no such revision there, ${cure}`);
  }
  const names = await readdir(cached.snapshot(commit)).catch(() => []);
  const other = weights && !hasWeights(names) ? describeOtherKind(names) : null;
  if (other) return new FastgenError("model", `${name} (${revision}) ${other}`);
  return new FastgenError("unavailable", `${name} (${revision}) is not complete ${where}: ${missing}, ${cure}`);
}

/** Where huggingface_hub keeps its cache. */
function hubCache(): string {
  const { HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE } = process.env;
  return expandHome(HF_HUB_CACHE || HUGGINGFACE_HUB_CACHE || join(hubHome(), "hub"));
}

function isOffline(): boolean {
  const on = (value: string | undefined) => /^(1|on|yes|true)$/i.test(value ?? "");
  return on(process.env.HF_HUB_OFFLINE) || on(process.env.TRANSFORMERS_OFFLINE);
}

/**
 * Brings the files of a revision into the cache.
 * @param onListing given where `revision` is the commit of a snapshot that can be loaded as it is: takes what the hub lists.
 */
async function download(
  wanted: Wanted,
  revision: string,
  onListing?: (files: readonly HubFile[]) => void,
): Promise<string> {
  const { name, cached, weights, options } = wanted;
  const client = hubClient(name, wanted.revision);
  const retryDelayMs = options.retryDelayMs ?? 1000;
  const stop = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
  try {
    const { commit, files, names } = await askHub(wanted, onListing !== undefined, signal, (bounded) =>
      listRepository(client, name, revision, bounded),
    );
    const directory = cached.snapshot(commit);
    onListing?.(files);
    const get = async (file: HubFile, onBytes: (bytes: number) => void) => {
      if (await isIntact(join(directory, file.path), file)) return onBytes(file.bytes);
      const blob = cached.blob(file);
      await mkdir(dirname(blob), { recursive: true });
      const url = `${client.endpoint}/${name}/resolve/${commit}/${file.path}`;
      await downloadBlob(client, url, file, blob, cached.lock(file), { onBytes, signal, retryDelayMs });
      await cached.link(file, commit);
    };
    const read = async (path: string) => {
      const file = files.find((file) => file.path === path);
      if (!file) return null;
      await get(file, () => {});
      return readFile(join(directory, path), "utf8");
    };

    await checkFolder({ label: `${name} (${wanted.revision})`, names, read }, weights);
    const all = smallFiles(files);
    if (weights) all.push(...(await chooseWeights(name, files, read)));
    const total = all.reduce((sum, file) => sum + file.bytes, 0);
    await checkSpace(cached, await findFaults(directory, files, weights));
    let done = 0;
    const onBytes = (bytes: number) => {
      done += bytes;
      options.onProgress?.({ stage: "download", done, total });
    };
    await inParallel(all, stop, (file) => get(file, onBytes));

    // Last of all, so that a reference never moves from a complete snapshot to an incomplete one.
    await cached.keepListing(commit, files);
    if (!onListing) await cached.setCommit(revision, commit);
    return directory;
  } catch (error) {
    if (options.signal?.aborted) throw new FastgenError("aborted", "the download was cancelled");
    throw explain(error, cached.cache, name);
  }
}

/** Milliseconds that a hub may take to answer where one can do without. */
const HUB_PATIENCE_MS = 5000;

const HINT = "HF_HUB_OFFLINE=1 starts without asking";

async function askHub<T>(
  { name, options }: Wanted,
  hasCopy: boolean,
  signal: AbortSignal,
  request: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const late = hasCopy ? AbortSignal.timeout(HUB_PATIENCE_MS) : null;
  const bounded = late ? AbortSignal.any([signal, late]) : signal;
  try {
    return await patiently(options.retryDelayMs ?? 1000, bounded, hasCopy, () => request(bounded));
  } catch (error) {
    const cause = { cause: error };
    if (late?.aborted) throw new FastgenError("unavailable", `the hub takes too long to answer; ${HINT}`, cause);
    if (!(error instanceof TransientError)) throw error;
    if (hasCopy) throw new FastgenError("unavailable", `${error.message}; ${HINT}`, cause);
    throw new FastgenError(
      "unavailable",
      `${name} is not in the local cache, and ${error.message}: check the network, set HF_ENDPOINT to a mirror, or give a directory`,
      cause,
    );
  }
}

/** The files of weights to download, of those that the repository has. */
async function chooseWeights(
  name: string,
  files: HubFile[],
  read: (path: string) => Promise<string | null>,
): Promise<HubFile[]> {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const names = await weightNames([...byPath.keys()], async () => parseIndex((await read(INDEX_FILE))!));
  const by = names.includes(INDEX_FILE) ? `${INDEX_FILE} names` : "the number of its shards names";
  return names.map((path) => {
    const file = byPath.get(path);
    if (file) return file;
    throw new FastgenError(
      "model",
      `${name}: ${by} ${path}, which is not in the repository: choose another model or --revision`,
    );
  });
}

async function checkSpace(cached: CachedRepository, faults: readonly Fault[]): Promise<void> {
  let missing = 0;
  for (const { file } of faults) missing += file.bytes - (await bytesHere(cached.blob(file)));
  const { cache } = cached;
  const { bavail, bsize } = await statfs(cache);
  if (missing <= bavail * bsize) return;
  const [needed, free] = [formatSize(missing, Math.ceil), formatSize(bavail * bsize, Math.floor)];
  throw new FastgenError(
    "model",
    `the disk of ${cache} is too full: ${needed} to download, ${free} free. Free some space, or set HF_HOME to a larger disk.`,
  );
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
