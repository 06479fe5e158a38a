/** Routes of other servers for weights that this one takes in another way: a refusal that says which. */
import type { Context } from "hono";
import { FastgenError } from "../src/errors.ts";
import type { Env } from "./context.ts";

export const WEIGHTS_COME =
  "weights come from a folder or from device memory on this machine: POST /update_weights with weight_dir, or with tensors and their CUDA IPC handles";
const NO_LORA = "there are no LoRA adapters; merge the adapter into its model, and POST /update_weights";

/** By path. */
export const REFUSED: Record<string, string> = {
  "/init_weight_transfer_engine": `weights are not sent over NCCL; ${WEIGHTS_COME}`,
  "/start_weight_update": `weights are not sent over NCCL; ${WEIGHTS_COME}`,
  "/finish_weight_update": `weights are not sent over NCCL; ${WEIGHTS_COME}`,
  "/init_weights_update_group": `weights are not sent over NCCL; ${WEIGHTS_COME}`,
  "/update_weights_from_distributed": `weights are not sent over NCCL; ${WEIGHTS_COME}`,
  "/update_weights_from_tensor": `pickled tensors are programs, and are not read; ${WEIGHTS_COME}`,
  "/collective_rpc": `there are no Python workers to call; ${WEIGHTS_COME}`,
  "/load_lora_adapter": NO_LORA,
  "/unload_lora_adapter": NO_LORA,
};

export function refused(message: string) {
  return (c: Context<Env>): Response => {
    throw new FastgenError("invalid_request", `${c.req.path} is not supported: ${message}`);
  };
}
