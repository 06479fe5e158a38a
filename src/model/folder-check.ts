/** Refuses a folder or a repository that Fastgen cannot serve, for what it is, before its weights are read or downloaded. */
import { FastgenError } from "../errors.ts";
import { checkArchitecture, type ParsedConfig, parseConfig } from "./config.ts";
import { describeEmbedder, describeOtherKind, someNames } from "./folder-kind.ts";
import { MODELOPT_FILE } from "./quantization.ts";
import { hasWeights, noWeights } from "./weight-files.ts";

export interface Folder {
  /** Names it in errors. */
  label: string;
  /** What is at its top level; names of folders end in "/", those of broken links in "@". */
  names: readonly string[];
  /** The text of a file; null when there is no such file. */
  read(file: string): Promise<string | null>;
}

/**
 * @param weights whether it must have weights.
 * @returns config.json and tokenizer.json, and what config.json says.
 * @throws FastgenError "model" saying what the folder is and what to do.
 */
export async function checkFolder(
  folder: Folder,
  weights: boolean,
): Promise<{ config: string; tokenizer: string; parsed: ParsedConfig }> {
  const { label, names } = folder;
  const broken = names.filter((name) => name.endsWith("@")).map((name) => name.slice(0, -1));
  const links = broken.length > 0 ? `. Links to files that are not there: ${someNames(broken)}` : "";
  const refused = (what: string) => new FastgenError("model", `${label} ${what}${links}`);
  const embedder = describeEmbedder(names);
  if (embedder) throw refused(embedder);
  const config = await folder.read("config.json");
  if (config === null) throw refused(await whatItIs(folder));
  // First of all: who converts a checkpoint should not learn only then that its model is of another kind.
  checkArchitecture(config);
  if (weights && !hasWeights(names)) throw refused(noWeights(names) + (await baseModel(folder)));
  const parsed = parseConfig(config, await folder.read(MODELOPT_FILE));
  const tokenizer = await folder.read("tokenizer.json");
  if (tokenizer === null) throw refused(noTokenizer(names));
  return { config, tokenizer, parsed };
}

/** A folder without config.json. */
async function whatItIs(folder: Folder): Promise<string> {
  const { names } = folder;
  const other = hasWeights(names) ? null : describeOtherKind(names);
  if (other) return other + (await baseModel(folder));
  if (names.length === 0)
    return "has no config.json: the folder is empty. Give one that has config.json, tokenizer.json and the weights";
  const models: string[] = [];
  for (const name of names.filter((name) => name.endsWith("/"))) {
    if ((await folder.read(`${name}config.json`)) !== null) models.push(name.slice(0, -1));
  }
  if (models.length === 1) return `is no model itself, but has one in its folder ${models[0]}: give that one`;
  if (models.length > 1) return `has several models, in its folders ${someNames(models)}: give one of them`;
  return `has no config.json: is it a Hugging Face model? It has ${someNames(names)}; config.json, tokenizer.json and the weights are needed`;
}

/** The base model of an adapter, where its file names it. */
async function baseModel({ names, read }: Folder): Promise<string> {
  if (!names.includes("adapter_config.json")) return "";
  const text = (await read("adapter_config.json")) ?? "";
  const base = /"base_model_name_or_path"\s*:\s*"([^"\\]{1,200})"/.exec(text)?.[1];
  return base ? `. Its base model is ${base}` : "";
}

function noTokenizer(names: readonly string[]): string {
  const slow = names.filter((name) => /^(tokenizer\.model.*|tekken\.json|vocab\.json|merges\.txt)$/.test(name));
  const has = slow.length > 0 ? `, only ${someNames(slow)}` : "";
  return `has no tokenizer.json${has}: write one with transformers (AutoTokenizer.from_pretrained(MODEL).save_pretrained(FOLDER)), or copy it from the model that this one was made from`;
}
