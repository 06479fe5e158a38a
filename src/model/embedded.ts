/** The model that Fastgen carries with it, and the one that stands in where it carries none. */

import { readdir } from "node:fs/promises";
import * as path from "node:path";
import { assets } from "../assets.ts";
import { type OpenOptions, openModel, openModelFromMemory } from "./load.ts";
import type { Model } from "./shape.ts";

/** Taken from the hub when no model was named and none is embedded: 135 million parameters, Apache-2.0. */
const STAND_IN = "HuggingFaceTB/SmolLM2-135M-Instruct";

/** The model for a load without a name. */
export async function openDefaultModel(options: OpenOptions): Promise<Model> {
  const files = await embeddedFiles();
  if (files === null) return openModel(STAND_IN, options);
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
