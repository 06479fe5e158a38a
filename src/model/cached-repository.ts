/**
 * One repository's folder in the Hugging Face cache: blobs/, refs/ and snapshots/ as Python's huggingface_hub lays them out.
 * Beside them .fastgen/ keeps what the hub lists for a commit, which never changes: with it a snapshot is checked by the sizes
 * of its files, without the network.
 */
import { mkdir, readFile, readlink, rename, stat, symlink, unlink, writeFile } from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";
import { getRepoFolderName } from "@huggingface/hub";
import { z } from "zod";
import type { HubFile } from "./download.ts";

/** Whether a revision is a commit's full hash. */
export const isCommit = (revision: string) => /^[0-9a-f]{40}$/.test(revision);

const listingSchema = z.object({
  files: z.array(
    z.object({
      path: z.string(),
      bytes: z.int().min(0),
      etag: z.string(),
      hash: z.enum(["sha256", "git"]),
    }),
  ),
});

export class CachedRepository {
  readonly folder: string;

  constructor(
    /** The cache's root. */
    readonly cache: string,
    name: string,
  ) {
    this.folder = join(cache, getRepoFolderName({ type: "model", name }));
  }

  blob(file: HubFile): string {
    return join(this.folder, "blobs", file.etag);
  }

  lock(file: HubFile): string {
    return join(this.cache, ".locks", basename(this.folder), `${file.etag}.lock`);
  }

  snapshot(commit: string): string {
    return join(this.folder, "snapshots", commit);
  }

  /** The commit that a revision stands for here; null when there is no snapshot of it. */
  async commitOf(revision: string): Promise<string | null> {
    const reference = isCommit(revision)
      ? revision
      : await readFile(join(this.folder, "refs", revision), "utf8").catch(() => "");
    const commit = reference.trim();
    const isHere = isCommit(commit) && (await stat(this.snapshot(commit)).catch(() => null)) !== null;
    return isHere ? commit : null;
  }

  async setCommit(revision: string, commit: string): Promise<void> {
    if (isCommit(revision)) return;
    const reference = join(this.folder, "refs", revision);
    await mkdir(dirname(reference), { recursive: true });
    await writeFile(reference, commit);
  }

  #listing(commit: string): string {
    return join(this.folder, ".fastgen", `${commit}.json`);
  }

  /** The files of a commit; null when the hub has not been asked, or what it said is damaged. */
  async listing(commit: string): Promise<HubFile[] | null> {
    try {
      return listingSchema.parse(JSON.parse(await readFile(this.#listing(commit), "utf8"))).files;
    } catch {
      return null;
    }
  }

  /** Keeps the listing of a commit, where the cache can be written to. */
  async keepListing(commit: string, files: HubFile[]): Promise<void> {
    const path = this.#listing(commit);
    const unfinished = `${path}.${crypto.randomUUID()}`;
    try {
      await mkdir(dirname(path), { recursive: true });
      await writeFile(unfinished, JSON.stringify({ files }));
      await rename(unfinished, path);
    } catch {
      await unlink(unfinished).catch(() => {});
    }
  }

  /** Makes the file of a snapshot a link to its blob, whatever is there. */
  async link(file: HubFile, commit: string): Promise<void> {
    const path = join(this.snapshot(commit), file.path);
    const target = relative(dirname(path), this.blob(file));
    if ((await readlink(path).catch(() => null)) === target) return;
    await mkdir(dirname(path), { recursive: true });
    // Another process may do the same; whoever is last replaces the other's link by the same one.
    const unfinished = `${path}.${crypto.randomUUID()}`;
    await symlink(target, unfinished);
    await rename(unfinished, path);
  }
}
