/** The model that Fastgen carries with it. */
import { readdir } from "node:fs/promises";
import * as path from "node:path";
import { assets } from "../assets.ts";
import { FastgenError } from "../errors.ts";
import { type OpenOptions, openModelFromMemory } from "./load.ts";
import type { Model } from "./shape.ts";

/** The model for a load without a name. @throws FastgenError "model" when this build carries none. */
export async function openDefaultModel(options: OpenOptions): Promise<Model> {
  const files = await embeddedFiles();
  if (files === null) {
    throw new FastgenError("model", "this build carries no model: name a directory or one on the hub (org/name)");
  }
  return openModelFromMemory(files.name, files.contents, options);
}

/** The files of models/NAME, by name: from inside the executable, or beside the sources in a checkout. */
async function embeddedFiles(): Promise<{ name: string; contents: Map<string, Uint8Array> } | null> {
  const places = assets.size > 0 ? assets : await checkoutFiles();
  const weights = [...places.keys()].find((file) => /^models\/[^/]+\/model\.safetensors$/.test(file));
  if (!weights) return null;
  const folder = path.posix.dirname(weights);
  const contents = new Map<string, Uint8Array>();
  for (const [file, place] of places) {
    if (path.posix.dirname(file) === folder) contents.set(path.posix.basename(file), await Bun.file(place).bytes());
  }
  return { name: path.posix.basename(folder), contents };
}

async function checkoutFiles(): Promise<Map<string, string>> {
  const root = path.join(import.meta.dir, "../..");
  const found = await readdir(path.join(root, "models"), { recursive: true }).catch(() => []);
  return new Map(
    found
      .filter((file) => /\.(json|jinja|safetensors)$/.test(file))
      .map((file) => [path.posix.join("models", file), path.join(root, "models", file)]),
  );
}
