/** The HTTP API: the handler of each path, with and without /v1. It is built on FastgenApi and nothing beneath it. */
import { type Handler, Hono } from "hono";
import { getPathNoStrict } from "hono/utils/url";
import { asFastgenError } from "../src/errors.ts";
import { abortRequest, isPaused, isSleeping, pause, resetPrefixCache, resume, sleep, wakeUp } from "./admin/admin.ts";
import { startProfile, stopProfile } from "./admin/profile.ts";
import { serverInfo, worldSize } from "./admin/server-info.ts";
import { pauseGeneration, releaseMemory, resumeMemory, updateWeightsFromDisk } from "./admin/sglang.ts";
import { LORA_PATHS, refuseLora, refuseWeightTransfer, WEIGHT_TRANSFER_PATHS } from "./admin/weight-transfer.ts";
import { updateWeights, weightVersion } from "./admin/weights.ts";
import { countTokens, createMessage } from "./anthropic/create.ts";
import { anthropicErrorReply, isAnthropic } from "./anthropic/errors.ts";
import { batches, cancelBatch, getBatch } from "./batch/batches.ts";
import { file, fileContent, files } from "./batch/files.ts";
import type { Env } from "./context.ts";
import { errorReply, HttpError } from "./errors.ts";
import { chat } from "./openai/chat.ts";
import { completions } from "./openai/completions.ts";
import { getModel, listModels } from "./openai/models.ts";
import { countInputTokens, createResponse } from "./responses/create.ts";
import { cancelResponse, inputItems, storedResponse } from "./responses/stored.ts";
import { health, liveness, load } from "./server/health.ts";
import { adminOnly, apiKey, concurrency, host, record } from "./server/middleware.ts";
import { cors, guardHost, guardOrigin } from "./server/origins.ts";
import { pathAdvice } from "./server/other-paths.ts";
import { page } from "./server/page.ts";
import { version } from "./server/version.ts";
import type { Service } from "./service.ts";
import { generate } from "./tokens/generate.ts";
import { renderChat, renderCompletions } from "./tokens/render.ts";
import { score } from "./tokens/score.ts";
import { detokenize, tokenize } from "./tokens/tokenize.ts";
import { tokenizerInfo } from "./tokens/tokenizer-info.ts";

type Method = "GET" | "POST" | "DELETE";

/**
 * The path without what base URLs add to it: one that ends in a slash, or in the /v1 that the client adds by itself, and a
 * proxy's path to the server (`root`, "" = none), which some proxies cut off themselves.
 */
function plainPath(request: Request, root: string): string {
  const path = getPathNoStrict(request).replace(/\/{2,}/g, "/");
  const below = root !== "" && `${path}/`.startsWith(`${root}/`) ? path.slice(root.length) || "/" : path;
  return below.replace(/^\/v1(?=\/v1\/)/, "");
}

export function createApp(service: Service): Hono<Env> {
  const app = new Hono<Env>({ getPath: (request) => plainPath(request, service.options.rootPath) });

  const route = (methods: Method | Method[], path: string, ...handlers: Handler<Env>[]) => {
    const taken = [methods].flat();
    const allow = taken.map((method) => (method === "GET" ? "GET, HEAD" : method)).join(", ");
    for (const full of [path, `/v1${path}`]) {
      for (const handler of handlers) app.on(taken, full, handler);
      app.all(full, (c) => {
        throw new HttpError(405, `${c.req.path} takes ${allow}, not ${c.req.method}`, "method_not_allowed", { allow });
      });
    }
  };

  app.use(record(service));
  app.use(host);
  app.use(guardHost(service.options));
  app.use(guardOrigin(service.options));
  app.use(cors(service.options));
  if (service.options.ui) app.get("/", page());
  route("GET", "/health", health(service));
  route(["GET", "POST"], "/ping", health(service));
  route("GET", "/load", load(service));
  route("GET", "/metrics", () => service.metrics.reply());
  route("GET", "/version", version);
  route("GET", "/liveness", liveness(service));
  const { apiKey: key, adminApiKey } = service.options;
  const admin = adminOnly(service.options);
  const adminRoute = (methods: Method | Method[], path: string, handler: Handler<Env>) =>
    route(methods, path, admin, handler);
  adminRoute("POST", "/pause", pause(service));
  adminRoute("POST", "/resume", resume(service));
  adminRoute("POST", "/update_weights", updateWeights(service));
  adminRoute("POST", "/sleep", sleep(service));
  adminRoute("POST", "/wake_up", wakeUp(service));
  adminRoute("POST", "/reset_prefix_cache", resetPrefixCache(service));
  for (const path of ["/abort_request", "/abort_requests"]) adminRoute("POST", path, abortRequest(service));
  adminRoute("POST", "/pause_generation", pauseGeneration(service));
  adminRoute("POST", "/continue_generation", resume(service));
  adminRoute("POST", "/update_weights_from_disk", updateWeightsFromDisk(service));
  adminRoute(["GET", "POST"], "/flush_cache", resetPrefixCache(service));
  adminRoute("POST", "/release_memory_occupation", releaseMemory(service));
  adminRoute("POST", "/resume_memory_occupation", resumeMemory(service));
  adminRoute("POST", "/start_profile", startProfile(service));
  adminRoute("POST", "/stop_profile", stopProfile(service));
  for (const path of WEIGHT_TRANSFER_PATHS) adminRoute("POST", path, refuseWeightTransfer);
  for (const path of LORA_PATHS) adminRoute("POST", path, refuseLora);
  // Whoever may change the server may use it.
  if (key !== null) app.use(apiKey(adminApiKey === null ? [key] : [key, adminApiKey]));
  app.use(concurrency(service));
  route("GET", "/is_paused", isPaused(service));
  route("GET", "/is_sleeping", isSleeping(service));
  for (const path of ["/weight_version", "/weight_info", "/get_weight_version"])
    route("GET", path, weightVersion(service));
  route("GET", "/server_info", serverInfo(service));
  route("GET", "/get_world_size", worldSize(service));
  route("GET", "/models", listModels(service));
  route("GET", "/models/:name{.+}", getModel(service));
  route("POST", "/chat/completions", chat(service));
  route("POST", "/completions", completions(service));
  route("POST", "/responses", createResponse(service));
  route("POST", "/responses/input_tokens", countInputTokens(service));
  route(["GET", "DELETE"], "/responses/:id", storedResponse(service));
  route("GET", "/responses/:id/input_items", inputItems(service));
  route("POST", "/responses/:id/cancel", cancelResponse(service));
  route("POST", "/messages", createMessage(service));
  route("POST", "/messages/count_tokens", countTokens(service));
  route("POST", "/chat/completions/render", renderChat(service));
  route("POST", "/completions/render", renderCompletions(service));
  route("POST", "/inference/v1/generate", generate(service));
  route("POST", "/inference/v1/score", score(service));
  route(["GET", "POST"], "/files", files(service));
  route(["GET", "DELETE"], "/files/:id", file(service));
  route("GET", "/files/:id/content", fileContent(service));
  route(["GET", "POST"], "/batches", batches(service));
  route("GET", "/batches/:id", getBatch(service));
  route("POST", "/batches/:id/cancel", cancelBatch(service));
  route("GET", "/tokenizer_info", tokenizerInfo(service));
  route("POST", "/tokenize", tokenize(service));
  route("POST", "/detokenize", detokenize(service));

  service.batches.runner.connect((url, init) => {
    const request = new Request(`http://localhost${url}`, init);
    if (key !== null) request.headers.set("authorization", `Bearer ${key}`);
    return app.fetch(request);
  });

  app.notFound((c) => {
    throw new HttpError(404, `no such path: ${c.req.path}; ${pathAdvice(c.req.path)}`, "not_found");
  });
  app.onError((thrown, c) => {
    const error = asFastgenError(thrown);
    const record = c.get("record");
    record.error = error;
    service.report(record.id, error);
    return isAnthropic(c.req.path) ? anthropicErrorReply(error, record.id) : errorReply(error);
  });
  return app;
}
