/** A model's name that is a path: its folder, or what to give in its place. */
import { stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { FastgenError } from "../errors.ts";
import { describeOtherKind } from "./folder-kind.ts";

/**
 * The folder that `name` is the path of; null for the name of a model on the hub.
 * @throws FastgenError "model" for a path that is no folder, a hub cache's folder of a model, and what is no name.
 */
export async function localFolder(name: string): Promise<string | null> {
  const info = await stat(name).catch(() => null);
  if (info?.isDirectory()) {
    const [, cached] = /^models--(.+)$/.exec(basename(name)) ?? [];
    if (cached === undefined || !(await stat(join(name, "snapshots")).catch(() => null))) return name;
    throw refused(
      `${name} is a model's folder in the hub's cache, one level too high: give its name, ${cached.replace("--", "/")}, or a folder in its snapshots/`,
    );
  }
  if (info) throw refused(aFile(name));
  if (isRepository(name)) return null;
  const [, onHub] = /^(?:https?:\/\/)?(?:huggingface\.co|hf\.co)\/([\w.-]+\/[\w.-]+)/.exec(name) ?? [];
  if (onHub) throw refused(`${name} is a web address: give the model's name, ${onHub}`);
  const [, repository, rest] = /^([\w.-]+\/[\w.-]+)[:/](.+)$/.exec(name) ?? [];
  if (repository && /gguf$|^I?Q\d/i.test(rest!)) {
    throw refused(
      `${name} names a file in GGUF, llama.cpp's format: Fastgen reads safetensors; give the name of the model that it was made from`,
    );
  }
  throw refused(`${name} is neither a directory nor the name of a hub model (as in "org/name"): check the path`);
}

function refused(message: string): FastgenError {
  return new FastgenError("model", message);
}

function aFile(path: string): string {
  const isPart = /\.(safetensors|json|jinja|md|txt)$/.test(path);
  const kind = isPart ? null : describeOtherKind([basename(path)]);
  if (kind) return `${path} is a file: it ${kind}`;
  return `${path} is a file: give the folder that has config.json and the weights${isPart ? `, such as ${dirname(path)}` : ""}`;
}

/** "org/name" or the older "name", in the hub's own alphabet. */
function isRepository(name: string): boolean {
  return /^(?:[\w-][\w.-]*\/)?[\w-][\w.-]*$/.test(name) && !name.includes("--") && !name.includes("..");
}
