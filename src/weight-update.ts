/** An update of the weights, checked: what the engine is then told to load. */
import { stat } from "node:fs/promises";
import { isAbsolute } from "node:path";
import type { Command } from "./engine/protocol.ts";
import { asFastgenError, FastgenError } from "./errors.ts";
import { MAX_WEIGHT_VERSION_LENGTH } from "./limits.ts";
import type { Model } from "./model/shape.ts";
import type { WeightUpdate } from "./types.ts";

/**
 * @param counted the version where the update names none
 * @throws FastgenError "invalid_request" naming the field and what does not fit.
 */
export async function updateCommand(
  model: Pick<Model, "weightsIn">,
  update: WeightUpdate,
  counted: string,
): Promise<Command> {
  const { weight_version: version = counted, clear_cache = null } = update;
  if (version === "" || version.length > MAX_WEIGHT_VERSION_LENGTH) {
    const message = `weight_version must have 1 to ${MAX_WEIGHT_VERSION_LENGTH} characters`;
    throw new FastgenError("invalid_request", message, { param: "weight_version" });
  }
  const param = "folder" in update ? "folder" : "tensors";
  if ("folder" in update) await requireFolder(update.folder);
  try {
    return { type: "update", tensors: await model.weightsIn(update), version, clearCache: clear_cache };
  } catch (thrown) {
    const error = asFastgenError(thrown);
    if (error.kind !== "model") throw error;
    throw new FastgenError("invalid_request", `the weights stay as they are: ${error.message}`, { param });
  }
}

async function requireFolder(path: string): Promise<void> {
  const info = await stat(path).catch(() => null);
  if (info?.isDirectory()) return;
  const what = info
    ? `'${path}' is a file: give its folder`
    : `there is no folder '${path}' on the machine of the model`;
  const cure = info || isAbsolute(path) ? "" : "; give its whole path, from / on";
  throw new FastgenError("invalid_request", `folder: ${what}${cure}`, { param: "folder" });
}
