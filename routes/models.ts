/** GET /models and /models/NAME: the one model that is served, as OpenAI's and Anthropic's clients read it. */
import type { Context } from "hono";
import type { Env } from "./context.ts";
import { HttpError } from "./errors.ts";
import type { Service } from "./service.ts";

function card(service: Service) {
  const { model } = service.fastgen;
  return {
    id: service.modelName,
    object: "model",
    type: "model",
    display_name: service.modelName,
    created: service.created,
    created_at: new Date(service.created * 1000).toISOString(),
    owned_by: "fastgen",
    root: model.name,
    parent: null,
    max_model_len: model.max_model_len,
    max_input_tokens: model.max_model_len,
  };
}

export function listModels(service: Service) {
  return (): Response => {
    const data = [card(service)];
    return Response.json({ object: "list", data, has_more: false, first_id: data[0]!.id, last_id: data[0]!.id });
  };
}

export function getModel(service: Service) {
  return (c: Context<Env>): Response => {
    const found = card(service);
    const name = c.req.param("name") ?? "";
    if (name === found.id) return Response.json(found);
    throw new HttpError(404, `the model '${name}' is not served here; '${found.id}' is`, "model_not_found");
  };
}
