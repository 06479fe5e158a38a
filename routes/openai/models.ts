/** GET /models and /models/NAME: the one model that is served, in the shape of OpenAI, or of Anthropic where the client is theirs. */
import type { Context } from "hono";
import type { Env } from "../context.ts";
import { HttpError } from "../errors.ts";
import type { Service } from "../service.ts";

function card(c: Context<Env>, service: Service) {
  const { model } = service.fastgen;
  if (isAnthropicClient(c)) {
    return {
      type: "model",
      id: service.modelName,
      display_name: service.modelName,
      created_at: new Date(service.created * 1000).toISOString(),
      lifecycle: "active",
      max_input_tokens: model.max_model_len,
      max_tokens: model.max_model_len,
    };
  }
  return {
    id: service.modelName,
    object: "model",
    // Mistral's clients refuse a model without one.
    type: "model",
    created: service.created,
    owned_by: "fastgen",
    root: model.name,
    parent: null,
    max_model_len: model.max_model_len,
  };
}

/** Anthropic's clients always send this header, and no others do. */
function isAnthropicClient(c: Context<Env>): boolean {
  return c.req.header("anthropic-version") !== undefined;
}

export function listModels(service: Service) {
  return (c: Context<Env>): Response => {
    const found = card(c, service);
    const { id } = found;
    const page = isAnthropicClient(c) ? { has_more: false, first_id: id, last_id: id } : { object: "list" };
    return Response.json({ ...page, data: [found] });
  };
}

export function getModel(service: Service) {
  return (c: Context<Env>): Response => {
    const found = card(c, service);
    const name = c.req.param("name") ?? "";
    if (name === found.id) return Response.json(found);
    throw new HttpError(404, `the model '${name}' is not served here; '${found.id}' is`, "model_not_found");
  };
}
