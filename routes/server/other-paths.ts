/** Paths of other servers' APIs that are not served here: the 404 says what does the same, or that nothing does. */

const OWN = "OpenAI's API is served at /v1, Anthropic's at /v1/messages";
const NO_VECTORS = "models that generate text are served, and no embeddings, scores of pairs or classes";
const IMAGES_AND_SOUND = "models that read and write text are served";
const RENDER = "see POST /v1/chat/completions/render, which gives the prompt's text and token ids";
const TOKENS = "see POST /inference/v1/generate, which takes and gives token ids, or /v1/completions";
const WEIGHTS = "weights do not come over NCCL, and none are given out; see POST /update_weights";
const NO_STORE = "nothing of that kind is kept here";

/** By path without /v1, for it and all below it. */
const ADVICE = new Map<string, string>([
  // OpenAI
  ["/embeddings", NO_VECTORS],
  ["/audio", IMAGES_AND_SOUND],
  ["/images", IMAGES_AND_SOUND],
  ["/videos", IMAGES_AND_SOUND],
  ["/realtime", IMAGES_AND_SOUND],
  ["/moderations", "nothing is moderated here"],
  ["/fine_tuning", "a trainer changes the weights by POST /update_weights"],
  ["/assistants", "see /v1/responses"],
  ["/threads", "see /v1/responses"],
  ["/conversations", "see previous_response_id of /v1/responses"],
  ["/vector_stores", NO_STORE],
  ["/uploads", "see POST /v1/files, which takes whole files"],
  // Anthropic
  ["/messages/batches", "see /v1/batches, which takes OpenAI's files"],
  ["/complete", "see /v1/messages"],
  // vLLM
  ["/pooling", NO_VECTORS],
  ["/classify", NO_VECTORS],
  ["/score", "see POST /inference/v1/score for log probabilities of tokens; no other scores are given"],
  ["/rerank", NO_VECTORS],
  ["/v2/rerank", NO_VECTORS],
  ["/invocations", "see /v1/chat/completions and /v1/completions"],
  ["/collective_rpc", "programs of others are not run here; see POST /update_weights"],
  ["/reset_mm_cache", "there is no such cache; see POST /reset_prefix_cache"],
  ["/reset_encoder_cache", "there is no such cache; see POST /reset_prefix_cache"],
  ["/docs", "docs/api.md lists the fields of requests"],
  ["/redoc", "docs/api.md lists the fields of requests"],
  ["/openapi.json", "docs/api.md lists the fields of requests"],
  // TRL's older server
  ["/init_communicator", WEIGHTS],
  ["/update_named_param", WEIGHTS],
  ["/batch_update_named_params", WEIGHTS],
  ["/close_communicator", WEIGHTS],
  // SGLang and text-generation-inference
  ["/get_weights_by_name", WEIGHTS],
  ["/generate_stream", TOKENS],
  ["/encode", NO_VECTORS],
  ["/health_generate", "see GET /health, and /liveness, which asks the engines"],
  ["/get_model_info", "see GET /v1/models and /server_info"],
  ["/model_info", "see GET /v1/models and /server_info"],
  ["/get_server_info", "see GET /server_info"],
  ["/get_load", "see GET /load and /metrics"],
  ["/info", "see GET /v1/models and /server_info"],
  // llama-server
  ["/completion", "see POST /v1/completions"],
  ["/infill", "see POST /v1/completions, with the model's own tokens for filling in"],
  ["/props", "see GET /v1/models and /server_info"],
  ["/slots", "see GET /load and /metrics"],
  ["/apply-template", RENDER],
  ["/embedding", NO_VECTORS],
  ["/reranking", NO_VECTORS],
  ["/lora-adapters", "adapters are not supported; merge them into the weights"],
  // Ollama
  ["/api", `Ollama's API is not served: ${OWN}`],
]);

/** What to say of a path that no route has. */
export function pathAdvice(path: string): string {
  let known = path.replace(/^\/v1(?=\/)/, "");
  while (known !== "") {
    const advice = ADVICE.get(known);
    if (advice !== undefined) return advice;
    known = known.slice(0, known.lastIndexOf("/"));
  }
  return OWN;
}
