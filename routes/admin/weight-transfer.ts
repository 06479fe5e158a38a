/**
 * What trainers ask of vLLM before they send weights over NCCL, or as pickles. Fastgen joins no trainer's process group and opens
 * no pickle, which could run anything. The refusal is a 400, which clients do not repeat, and says what there is instead.
 */
import type { Context } from "hono";
import type { Env } from "../context.ts";
import { HttpError } from "../errors.ts";

export const WEIGHT_TRANSFER_PATHS = [
  "/init_weight_transfer_engine",
  "/start_weight_update",
  "/finish_weight_update",
  "/collective_rpc",
  // SGLang's
  "/init_weights_update_group",
  "/update_weights_from_distributed",
  "/update_weights_from_tensor",
] as const;

/** Of adapters, which are not there either. */
export const LORA_PATHS = ["/load_lora_adapter", "/unload_lora_adapter"] as const;

export const INSTEAD =
  "send POST /update_weights with weight_dir, a folder of safetensors that the server can read, or with tensors in this machine's device memory";

export function refuseWeightTransfer(c: Context<Env>): never {
  const message = `${c.req.path} is not supported: weights do not come over NCCL or as pickles; ${INSTEAD}`;
  throw new HttpError(400, message, "weight_transfer_unsupported");
}

export function refuseLora(c: Context<Env>): never {
  const message = `${c.req.path} is not supported: there are no LoRA adapters; merge the adapter into its model, and ${INSTEAD}`;
  throw new HttpError(400, message, "lora_unsupported");
}
