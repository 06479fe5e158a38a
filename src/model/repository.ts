/** What a repository on the hub has at a revision. */
import { type ListFileEntry, listFiles, modelInfo } from "@huggingface/hub";
import { FastgenError } from "../errors.ts";
import { isCommit } from "./cached-repository.ts";
import { type HubFile, pause } from "./download.ts";
import { type HubClient, TransientError } from "./hub-client.ts";

export interface Repository {
  commit: string;
  /** At the top level, and in additional_chat_templates. */
  files: HubFile[];
  /** Everything at the top level; names of folders end in "/". */
  names: string[];
}

/** transformers keeps templates by name in this folder. */
const TEMPLATES = "additional_chat_templates";

/** The names become paths of ours. */
const SAFE_PATH = new RegExp(`^(${TEMPLATES}/)?[\\w-][\\w.-]*$`);

/** The commit that a revision stands for, and its files. */
export async function listRepository(
  client: HubClient,
  name: string,
  revision: string,
  signal: AbortSignal,
): Promise<Repository> {
  const at = {
    hubUrl: client.endpoint,
    fetch: ((url: string, init?: RequestInit) => client.fetch(url, { ...init, signal })) as typeof fetch,
  };
  try {
    const commit = isCommit(revision)
      ? revision
      : (await modelInfo({ ...at, name, revision, additionalFields: ["sha"] })).sha;
    if (isCommit(commit))
      return { commit, ...(await listCommit({ ...at, repo: { type: "model", name }, revision: commit })) };
  } catch (error) {
    // What answers here, such as the login page of a network, does not speak JSON.
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new FastgenError("unavailable", `${client.endpoint} is not a Hugging Face hub: check HF_ENDPOINT`);
}

async function listCommit(at: Parameters<typeof listFiles>[0]): Promise<Omit<Repository, "commit">> {
  const files: HubFile[] = [];
  const names: string[] = [];
  const add = ({ type, path, size, oid, lfs }: ListFileEntry) => {
    const etag = lfs?.oid ?? oid;
    if (type !== "file" || !SAFE_PATH.test(path) || !/^[0-9a-f]{40,64}$/.test(etag ?? "")) return;
    files.push({ path, bytes: lfs?.size ?? size, etag: etag!, hash: lfs ? "sha256" : "git" });
  };
  for await (const entry of listFiles(at)) {
    names.push(entry.type === "directory" ? `${entry.path}/` : entry.path);
    add(entry);
  }
  if (names.includes(`${TEMPLATES}/`)) for await (const entry of listFiles({ ...at, path: TEMPLATES })) add(entry);
  return { files, names };
}

/** Attempts of a request that a busy hub refuses. */
const ATTEMPTS = 3;

/**
 * Repeats a request that fails for a reason that may go away.
 * @param hasCopy whether one can do without the answer: a hub that cannot be reached is then asked once only.
 * @throws TransientError in the end, or what the request throws.
 */
export async function patiently<T>(
  delayMs: number,
  signal: AbortSignal,
  hasCopy: boolean,
  request: () => Promise<T>,
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await request();
    } catch (error) {
      if (!(error instanceof TransientError) || signal.aborted) throw error;
      if (attempt === ATTEMPTS || (hasCopy && !error.answered)) throw error;
      await pause(delayMs * 2 ** (attempt - 1), signal);
    }
  }
}
