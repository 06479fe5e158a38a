/** What a snapshot in the cache has and lacks of a model's files. */
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import type { HubFile } from "./download.ts";
import { INDEX_FILE, numberedShards, parseIndex, WEIGHTS_FILE } from "./weight-files.ts";

/** Files beside the weights. Everything else (other formats, pictures, original/) stays on the hub. */
const SMALL_FILES =
  /^(config|hf_quant_config|generation_config|special_tokens_map|added_tokens|tokenizer.*)\.json$|^chat_template(\.jinja|\.json)$|^additional_chat_templates\//;

const NEEDED = ["config.json", "tokenizer.json"];

/** Of the files of a repository, those beside the weights that a model is read from. */
export function smallFiles(files: readonly HubFile[]): HubFile[] {
  return files.filter((file) => SMALL_FILES.test(file.path));
}

/**
 * The names of the files that hold a model's weights, by the names that there are: one file, or an index and what it names,
 * or numbered shards. Never a second copy in another format. Empty when there are none.
 * @param readIndex reads the index; null when it is damaged.
 */
export async function weightNames(
  names: readonly string[],
  readIndex: () => Promise<ReadonlyMap<string, string> | null>,
): Promise<string[]> {
  if (names.includes(WEIGHTS_FILE)) return [WEIGHTS_FILE];
  if (!names.includes(INDEX_FILE)) return numberedShards(names) ?? [];
  const index = await readIndex();
  return [INDEX_FILE, ...new Set(index?.values())];
}

/** The index of a snapshot; null when it is not there or damaged. */
async function indexOf(directory: string): Promise<ReadonlyMap<string, string> | null> {
  try {
    return parseIndex(await readFile(join(directory, INDEX_FILE), "utf8"));
  } catch {
    return null;
  }
}

const sizeOf = async (path: string) => (await stat(path).catch(() => null))?.size ?? null;

/** What a snapshot lacks to be loaded, as far as it tells itself; null when nothing. */
export async function lacking(directory: string, weights: boolean): Promise<string | null> {
  const names = await readdir(directory).catch(() => []);
  const needed = [...NEEDED];
  if (weights) {
    const files = await weightNames(names, () => indexOf(directory));
    needed.push(...(files.length > 0 ? files : [WEIGHTS_FILE]));
  }
  for (const file of needed) if ((await sizeOf(join(directory, file))) === null) return `${file} is missing`;
  return null;
}

export interface Fault {
  file: HubFile;
  /** "generation_config.json is missing" */
  what: string;
  /** Whether the model can be loaded all the same. What is damaged is not taken. */
  bearable: boolean;
}

/** Where a snapshot that lacks nothing of its own differs in its files, or in their sizes, from what the hub lists. */
export async function findFaults(directory: string, listing: readonly HubFile[], weights: boolean): Promise<Fault[]> {
  const wanted = smallFiles(listing);
  if (weights) {
    const names = listing.map((file) => file.path);
    const of = await weightNames(names, () => indexOf(directory));
    wanted.push(...listing.filter((file) => of.includes(file.path)));
  }
  const sizes = await Promise.all(wanted.map((file) => sizeOf(join(directory, file.path))));
  return wanted.flatMap((file, i) => {
    const size = sizes[i]!;
    if (size === file.bytes) return [];
    const what = size === null ? `${file.path} is missing` : `${file.path} has ${size} of ${file.bytes} bytes`;
    return [{ file, what, bearable: size === null }];
  });
}
