/**
 * GET /health, /ping, /liveness and /load. The first two: 200 while requests are served; 503 while the model loads, while
 * draining, and once every engine has failed. Of several engines it is said which have; and what is wrong with the weights.
 */
import { LIVENESS_SECONDS } from "../../src/limits.ts";
import type { Service } from "../service.ts";

export function health(service: Service) {
  return (): Response => {
    // Throws FastgenError "unavailable": the 503, with its reason.
    const { model, engines, weights_problem } = service.fastgen;
    const served = {
      status: "ok",
      model: service.modelName,
      device: model.device,
      // No 503: who would mend it must still be led here.
      ...(weights_problem !== null && { weights: weights_problem }),
    };
    if (engines.length === 1) return Response.json(served);
    return Response.json({ ...served, engines: engines.map(({ alive }) => (alive ? "ok" : "failed")) });
  };
}

/** GET /liveness, as prime-rl asks for it: 503 also where an engine's thread does not answer in time. */
export function liveness(service: Service, seconds = LIVENESS_SECONDS) {
  return async (): Promise<Response> => {
    const { fastgen } = service;
    const { promise: late, resolve } = Promise.withResolvers<false>();
    const timer = setTimeout(resolve, seconds * 1000, false);
    const answers = await Promise.race([fastgen.ping().then(() => true), late]);
    clearTimeout(timer);
    if (answers) return Response.json({ status: "ok" });
    return Response.json({ status: "engine_unresponsive" }, { status: 503 });
  };
}

/** In vLLM's shape: the requests that are being generated for, so that a router can choose among servers. */
export function load(service: Service) {
  return (): Response => Response.json({ server_load: service.load });
}
