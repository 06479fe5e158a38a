/**
 * GET /server_info and /get_world_size, in vLLM's shapes: what is served, how, and on what. `config_format=json` for programs,
 * else text.
 */
import type { Context } from "hono";
import { VERSION } from "../../src/version.ts";
import type { Env } from "../context.ts";
import type { Service } from "../service.ts";

export function serverInfo(service: Service) {
  return (c: Context<Env>): Response => {
    const config = configOf(service);
    const asText = c.req.query("config_format") !== "json";
    return Response.json({
      version: VERSION,
      vllm_config: asText ? textOf(config) : config,
      vllm_env: {},
      system_env: { bun_version: Bun.version, platform: `${process.platform}-${process.arch}` },
    });
  };
}

/** How many devices hold the model, in all engines together, or in each with `include_dp=false`. */
export function worldSize(service: Service) {
  return (c: Context<Env>): Response => {
    const { tensor_parallel_size, data_parallel_size } = service.fastgen.capacity;
    const engines = c.req.query("include_dp") === "false" ? 1 : data_parallel_size;
    return Response.json({ world_size: tensor_parallel_size * engines });
  };
}

type Config = Record<string, Record<string, string | number | boolean> | null>;

function configOf({ fastgen, modelName }: Service): Config {
  const { model, capacity } = fastgen;
  return {
    model_config: {
      model: model.name,
      served_model_name: modelName,
      architecture: model.architecture,
      // As PyTorch writes it, which trainers read it for.
      dtype: `torch.${model.dtype}`,
      max_model_len: model.max_model_len,
      vocab_size: model.vocab_size,
      weight_version: fastgen.weight_version,
      weights: fastgen.weights_problem ?? "ready",
      logprobs_mode: fastgen.default_params.logprobs_mode ?? "raw_logprobs",
    },
    cache_config: {
      block_size: capacity.page_tokens,
      num_gpu_blocks: capacity.pages,
      num_cpu_blocks: capacity.host_pages,
      enable_prefix_caching: capacity.prefix_caching,
    },
    scheduler_config: {
      max_num_seqs: capacity.max_num_seqs,
      max_num_batched_tokens: capacity.max_num_batched_tokens,
    },
    parallel_config: {
      tensor_parallel_size: capacity.tensor_parallel_size,
      data_parallel_size: capacity.data_parallel_size,
    },
    device_config: { device: model.device, device_name: capacity.device_name },
    // Trainers look here for what the server can do: it has neither.
    weight_transfer_config: null,
    lora_config: null,
  };
}

function textOf(config: Config): string {
  const entries = Object.values(config).flatMap((section) => Object.entries(section ?? {}));
  return entries.map(([key, value]) => `${key}=${typeof value === "string" ? `'${value}'` : value}`).join(", ");
}
