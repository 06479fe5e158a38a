/** POST /update_weights, and what tells which weights there are. Behind adminOnly, but for the version. */
import type { Context } from "hono";
import { z } from "zod";
import { FastgenError } from "../src/errors.ts";
import * as limits from "../src/limits.ts";
import { adminFields } from "./admin-fields.ts";
import type { Env } from "./context.ts";
import type { Service } from "./service.ts";
import { INSTEAD } from "./weight-transfer.ts";

const path = z.string().min(1).max(limits.MAX_PATH_LENGTH);

const updateSchema = z.strictObject({
  /** A folder on the server's machine. */
  weight_dir: path.optional(),
  weight_version: z.string().min(1).max(limits.MAX_WEIGHT_VERSION_LENGTH).optional(),
  clear_cache: z.boolean().optional(),
  /** vLLM's, of weights that come over NCCL. */
  update_info: z.undefined({ error: `is not supported: ${INSTEAD}` }).optional(),
});

export function updateWeights(service: Service) {
  return async (c: Context<Env>): Promise<Response> => {
    const { weight_dir, weight_version, clear_cache } = await adminFields(c, service, updateSchema);
    if (weight_dir === undefined) {
      const message = "weight_dir is missing: name a folder of safetensors that the server can read";
      throw new FastgenError("invalid_request", message, { param: "weight_dir" });
    }
    const { fastgen } = service;
    await fastgen.updateWeights({ folder: weight_dir, weight_version, clear_cache }).catch((error) => {
      throw inRoutesWords(error);
    });
    return Response.json({ status: "ok", message: "Weights updated", weight_version: fastgen.weight_version });
  };
}

/** The library calls the folder by another name. */
function inRoutesWords(error: unknown): unknown {
  if (!(error instanceof FastgenError) || error.param !== "folder") return error;
  return new FastgenError(error.kind, error.message.replace(/^folder/, "weight_dir"), { param: "weight_dir" });
}

export function weightVersion(service: Service) {
  return (): Response => Response.json({ weight_version: service.fastgen.weight_version });
}
