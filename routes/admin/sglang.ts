/** The routes of admin.ts and weights.ts under SGLang's names, with its fields and replies. */
import type { Context } from "hono";
import { z } from "zod";
import { asFastgenError, FastgenError } from "../../src/errors.ts";
import type { PauseOptions } from "../../src/types.ts";
import type { Env } from "../context.ts";
import { errorStatus } from "../errors.ts";
import type { Service } from "../service.ts";
import { memoryTags, requireBoth } from "./admin.ts";
import { adminFields } from "./admin-fields.ts";
import { updateSchema } from "./weights.ts";

/** Running requests go back to the queue and are computed again, or stand still with their pages. */
const MODES: Record<string, PauseOptions> = {
  abort: { mode: "abort" },
  retract: { mode: "keep", clear_cache: true },
  in_place: { mode: "keep", clear_cache: false },
};

const pauseSchema = z.strictObject({ mode: z.enum(Object.keys(MODES)).default("abort") });

export function pauseGeneration(service: Service) {
  return async (c: Context<Env>): Promise<Response> => {
    const { mode } = await adminFields(c, service, pauseSchema);
    await service.fastgen.pause(MODES[mode]);
    return Response.json({ status: "ok", message: "Generation paused" });
  };
}

const diskSchema = z.strictObject({
  model_path: updateSchema.shape.weight_dir,
  weight_version: updateSchema.shape.weight_version,
  flush_cache: z.boolean().optional(),
  abort_all_requests: z.boolean().optional(),
  // About how it is done there; here there is one way.
  load_format: z.string().nullable().optional(),
  is_async: z.boolean().optional(),
  torch_empty_cache: z.boolean().optional(),
  recapture_cuda_graph: z.boolean().optional(),
  token_step: z.int().optional(),
});

export function updateWeightsFromDisk(service: Service) {
  return async (c: Context<Env>): Promise<Response> => {
    const { model_path, weight_version, flush_cache, abort_all_requests } = await adminFields(c, service, diskSchema);
    const { fastgen } = service;
    try {
      if (model_path === undefined) throw new FastgenError("invalid_request", "model_path is missing");
      if (abort_all_requests) fastgen.abort(null);
      await fastgen.updateWeights({ folder: model_path, weight_version, clear_cache: flush_cache });
      return Response.json({ success: true, message: "Weights updated", num_paused_requests: 0 });
    } catch (thrown) {
      const error = asFastgenError(thrown);
      const { message } = error;
      return Response.json({ success: false, message, error: { message } }, { status: errorStatus(error) });
    }
  };
}

const tagsSchema = z.strictObject({ tags: memoryTags.nullable().optional() });

/** Requests that are there are kept: SGLang wants none. Weights that nobody updates come back as they were. */
export function releaseMemory(service: Service) {
  return async (c: Context<Env>): Promise<Response> => {
    const { tags } = await adminFields(c, service, tagsSchema, ["tags"]);
    requireBoth(tags, "are released");
    await service.fastgen.sleep({ level: 1, mode: "keep" });
    return Response.json({ success: true });
  };
}

export function resumeMemory(service: Service) {
  return async (c: Context<Env>): Promise<Response> => {
    const { tags } = await adminFields(c, service, tagsSchema, ["tags"]);
    await service.fastgen.wakeUp({ tags: tags ?? undefined });
    return Response.json({ success: true });
  };
}
