/** POST /update_weights, and what tells which weights there are. Behind adminOnly, but for the version. */
import type { Context } from "hono";
import { z } from "zod";
import { boundedArray } from "../../src/bounded-json.ts";
import { FastgenError } from "../../src/errors.ts";
import * as limits from "../../src/limits.ts";
import type { Env } from "../context.ts";
import type { Service } from "../service.ts";
import { adminFields } from "./admin-fields.ts";
import { INSTEAD } from "./weight-transfer.ts";

const path = z.string().min(1).max(limits.MAX_PATH_LENGTH);

/** The 64 bytes of a CUDA IPC handle. */
const HANDLE_BYTES = 64;

const handle = z
  .string()
  .transform((text) => Buffer.from(text, "base64"))
  .refine(({ length }) => length === HANDLE_BYTES, `must be a CUDA IPC handle: ${HANDLE_BYTES} bytes in base64`);

const deviceTensor = z.strictObject({
  name: z.string().max(limits.MAX_TENSOR_NAME_LENGTH),
  dtype: z.string().max(limits.MAX_TENSOR_NAME_LENGTH),
  shape: boundedArray(z.int().min(1), 2, 1),
  ipc_handle: handle,
  offset: z.int().min(0).default(0),
});

export const updateSchema = z.strictObject({
  /** A folder on the server's machine. */
  weight_dir: path.optional(),
  /** In place of a folder: device memory of another process on this machine. */
  tensors: boundedArray(deviceTensor, limits.MAX_DEVICE_TENSORS, 1).optional(),
  weight_version: z.string().min(1).max(limits.MAX_WEIGHT_VERSION_LENGTH).optional(),
  clear_cache: z.boolean().optional(),
  /** vLLM's, of weights that come over NCCL. */
  update_info: z.undefined({ error: `is not supported: ${INSTEAD}` }).optional(),
});

export function updateWeights(service: Service) {
  return async (c: Context<Env>): Promise<Response> => {
    const { weight_dir, tensors, weight_version, clear_cache } = await adminFields(c, service, updateSchema);
    if ((weight_dir === undefined) === (tensors === undefined)) {
      const message = "weight_dir or tensors must be given, and not both: a folder of safetensors, or device memory";
      throw new FastgenError("invalid_request", message, { param: "weight_dir" });
    }
    const { fastgen } = service;
    const source = tensors ? { tensors } : { folder: weight_dir! };
    await fastgen.updateWeights({ ...source, weight_version, clear_cache }).catch((error) => {
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
