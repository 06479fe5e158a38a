/** GET /health, /ping and /load. The first two: 200 while requests are served; 503 while the model loads, while draining, and once the engine has failed. */
import type { Service } from "./service.ts";

export function health(service: Service) {
  return (): Response => {
    // Throws FastgenError "unavailable": the 503, with its reason.
    const { model } = service.fastgen;
    return Response.json({ status: "ok", model: service.modelName, device: model.device });
  };
}

/** In vLLM's shape: the requests that are being generated for, so that a router can choose among servers. */
export function load(service: Service) {
  return (): Response => Response.json({ server_load: service.load });
}
