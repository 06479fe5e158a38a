/** GET /models and /models/NAME: the one model that is served. */
import type { Context } from "hono";
import type { Env } from "./context.ts";
import { HttpError } from "./errors.ts";
import type { Service } from "./service.ts";

function card(service: Service) {
  const { model } = service.fastgen;
  return {
    id: service.modelName,
    object: "model",
    created: service.created,
    owned_by: "fastgen",
    root: model.name,
    parent: null,
    max_model_len: model.max_model_len,
  };
}

export function listModels(service: Service) {
  return (): Response => Response.json({ object: "list", data: [card(service)] });
}

export function getModel(service: Service) {
  return (c: Context<Env>): Response => {
    const found = card(service);
    const name = c.req.param("name") ?? "";
    if (name === found.id) return Response.json(found);
    throw new HttpError(404, `the model '${name}' is not served here; '${found.id}' is`, "model_not_found");
  };
}
