/** Which files hold a checkpoint's weights. */
import { z } from "zod";
import { FastgenError } from "../errors.ts";
import { parseConfigJson } from "./config-json.ts";
import { describeOtherKind, someNames } from "./folder-kind.ts";

export const WEIGHTS_FILE = "model.safetensors";
export const INDEX_FILE = "model.safetensors.index.json";

const SHARD = /^(?!consolidated|adapter_)(.+)-(\d{5})-of-(\d{5})\.safetensors$/;

/**
 * The shards of a checkpoint without an index, in order, by any of them: names say how many there are. null when `names` has
 * none, or those of several checkpoints.
 */
export function numberedShards(names: Iterable<string>): string[] | null {
  const sets = new Map<string, { prefix: string; total: number }>();
  for (const name of names) {
    const [, prefix, , total] = SHARD.exec(name) ?? [];
    if (prefix !== undefined) sets.set(`${prefix} ${total}`, { prefix, total: Number(total) });
  }
  const all = [...sets.values()];
  const usual = all.filter(({ prefix }) => prefix === "model");
  const [set, another] = usual.length > 0 ? usual : all;
  if (!set || another || set.total === 0) return null;
  const digits = (i: number) => String(i).padStart(5, "0");
  return Array.from(
    { length: set.total },
    (_, i) => `${set.prefix}-${digits(i + 1)}-of-${digits(set.total)}.safetensors`,
  );
}

/** Whether there are weights that Fastgen may read: one file, an index, or numbered shards. */
export function hasWeights(names: readonly string[]): boolean {
  return names.includes(WEIGHTS_FILE) || names.includes(INDEX_FILE) || numberedShards(names) !== null;
}

const indexSchema = z.looseObject({ weight_map: z.record(z.string(), z.string()) });

/** From tensor names to the files of an index. The files have no folders: an index must not point outside its model. */
export function parseIndex(text: string): Map<string, string> {
  const parsed = indexSchema.safeParse(parseConfigJson(INDEX_FILE, text));
  if (!parsed.success) throw new FastgenError("model", `${INDEX_FILE}: weight_map: ${parsed.error.issues[0]!.message}`);
  for (const file of Object.values(parsed.data.weight_map)) {
    if (!/^[\w.-]+\.safetensors$/.test(file)) {
      throw new FastgenError("model", `${INDEX_FILE}: ${JSON.stringify(file)} is not the name of a safetensors file`);
    }
  }
  return new Map(Object.entries(parsed.data.weight_map));
}

/** Weights of which a part or all are absent. `named` says where their names come from, as in "the index names". */
export function missingWeights(
  { label, isUpdate }: { label: string; isUpdate: boolean },
  absent: string[],
  all: number,
  named: string,
): FastgenError {
  const [are, them] = absent.length > 1 ? ["are", "them"] : ["is", "it"];
  const cure = isUpdate
    ? "an update begins once all files have been written"
    : `copy ${them} here from where the model came from, or give the model's name on the hub`;
  const what =
    absent.length === all && all > 1
      ? `none of the ${all} files of weights that ${named} is there (${someNames(absent)})`
      : `${absent.length > 4 ? someNames(absent) : absent.join(", ")} ${are} missing, though ${named} ${them}`;
  return new FastgenError("model", `${label}: ${what}: ${cure}`);
}

/** What a folder without the usual names of weights has: the end of a sentence that its name begins. */
export function noWeights(names: readonly string[]): string {
  const other = describeOtherKind(names);
  if (other) return other;
  const named = names.filter((name) => name.endsWith(".safetensors"));
  if (named.length > 0) {
    return `has neither ${WEIGHTS_FILE} nor ${INDEX_FILE}, only ${someNames(named)}: give one file of weights the name ${WEIGHTS_FILE}, or copy the index of several here`;
  }
  return `has no weights: neither ${WEIGHTS_FILE} nor ${INDEX_FILE} is there. Copy them here, or use --load-format dummy for random weights`;
}

/** The same of a folder that was given for an update of the weights. */
export function noNewWeights(names: readonly string[]): string {
  const has = names.length === 0 ? "the folder is empty" : `it has ${someNames(names)}`;
  return `has no weights in safetensors, and ${has}: an update reads ${WEIGHTS_FILE}, or shards with ${INDEX_FILE} or the usual numbers. Write them there first`;
}
