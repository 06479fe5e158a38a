/** Where a model's files are. */
import { stat } from "node:fs/promises";
import { FastgenError } from "../errors.ts";
import type { OpenOptions } from "./load.ts";

export async function resolveModel(nameOrDirectory: string, _options: OpenOptions): Promise<string> {
  const info = await stat(nameOrDirectory).catch(() => null);
  if (info?.isDirectory()) return nameOrDirectory;
  throw new FastgenError("model", `${nameOrDirectory} is not a directory`);
}
