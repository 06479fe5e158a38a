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

/** models/NAME/...: in the executable, or beside the sources in a checkout. */
async function embeddedFiles(): Promise<{ name: string; contents: Map<string, Uint8Array> } | null> {
  const paths = assets.size > 0 ? new Map(assets) : await checkoutFiles();
  const contents = new Map<string, Uint8Array>();
  let name = "";
  for (const [file, place] of paths) {
    const parts = file.split("/");
    if (parts[0] !== "models" || parts.length !== 3) continue;
    name = parts[1]!;
    contents.set(parts[2]!, await Bun.file(place).bytes());
  }
  return contents.has("config.json") ? { name, contents } : null;
}

async function checkoutFiles(): Promise<Map<string, string>> {
  const root = path.join(import.meta.dir, "../..");
  const found = await readdir(path.join(root, "models"), { recursive: true }).catch(() => []);
  return new Map(found.map((file) => [path.posix.join("models", file), path.join(root, "models", file)]));
}
