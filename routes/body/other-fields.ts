/**
 * The fields of OpenAI's, vLLM's, SGLang's and other servers' and clients' requests that Fastgen does not support. One that
 * asks for nothing is taken; one that would change the answer is refused by name. docs/api.md lists them for users.
 */
import { isObject } from "../../src/bounded-json.ts";
import { FastgenError } from "../../src/errors.ts";
import { MAX_NAMED_FIELDS } from "../../src/limits.ts";
import { whatToSend } from "./other-names.ts";

/** Fields that change nothing about the answer, whatever their value: names, routing, caching, and a client's own notes. */
const IGNORED = new Set([
  // OpenAI: about the request. Nothing is stored, there is one tier, and the cache finds prompts by content.
  "user",
  "safety_identifier",
  "store",
  "service_tier",
  "prompt_cache_key",
  "prompt_cache_options",
  "prompt_cache_retention",
  "parallel_tool_calls",
  // A guess of the answer, which only makes it come faster; how long work in the background may take, of which there is none
  "prediction",
  "background_options",
  "access_programs",
  // Anthropic's: caching, betas, and where its servers run
  "cache_control",
  "betas",
  "anthropic_beta",
  "anthropic_version",
  "inference_geo",
  "diagnostics",
  "fallbacks",
  "billing_policy",
  "user_profile_id",
  "workspace_id",
  // Codex
  "client_metadata",
  // vLLM: what its engine or router does with a request
  "session_id",
  "stream_interval",
  "return_mm_kwargs",
  "spaces_between_special_tokens",
  "guided_decoding_backend",
  "detokenize",
  "output_kind",
  "flat_logprobs",
  "skip_clone",
  "skip_reading_prefix_cache",
  // SGLang
  "rid",
  "extra_key",
  "custom_labels",
  "data_parallel_rank",
  "routed_dp_rank",
  "disagg_prefill_dp_rank",
  "separate_reasoning",
  "stream_reasoning",
  // llama.cpp
  "cache_prompt",
  "id_slot",
  "slot_id",
  "timings_per_token",
  "return_progress",
  // Ollama, and LM Studio: how long a model stays loaded, and which one drafts
  "keep_alive",
  "ttl",
  "draft_model",
  // OpenRouter: which of its providers answers, and what replies tell of tokens anyway
  "provider",
  "models",
  "route",
  "usage",
  // Open WebUI, whose direct connections pass on its own state
  "chat_id",
  "id",
  "model_item",
  "background_tasks",
  "variables",
]);

/**
 * By field: the values, beside null, at which it asks for nothing. First comes its documented default. A field whose default
 * is null, false or empty needs no entry.
 */
const INERT = new Map<string, readonly unknown[]>([
  // OpenAI
  ["best_of", [1]],
  ["function_call", ["none", "auto"]],
  ["tool_choice", ["auto", "none", { type: "auto" }, { type: "none" }]],
  ["top_logprobs", [0]],
  ["modalities", [["text"]]],
  ["reasoning_summary", ["none"]],
  ["truncation", ["disabled"]],
  // Anthropic
  ["context_management", [{ edits: [] }, { edits: [{ type: "clear_thinking_20251015", keep: "all" }] }]],
  ["speed", ["standard"]],
  // vLLM
  ["include_reasoning", [true]],
  ["length_penalty", [1]],
  ["add_generation_prompt", [false, true]],
  ["routed_experts_prompt_start", [0]],
  ["reasoning_ended", [true]],
  ["thinking_token_budget", [-1]],
  // SGLang
  ["routed_experts_start_len", [0]],
  ["logprob_start_len", [-1]],
  ["top_logprobs_num", [0]],
  ["log_metrics", [true, false]],
  // llama.cpp
  ["n_predict", [-1]],
  ["n_keep", [0]],
  ["n_probs", [0]],
  ["min_keep", [0]],
  ["t_max_predict_ms", [-1, 0]],
  ["dynatemp_range", [0]],
  ["dynatemp_exponent", [1]],
  ["typical_p", [1]],
  ["typ_p", [1]],
  ["repeat_penalty", [1]],
  ["repeat_last_n", [64]],
  ["mirostat", [0]],
  ["mirostat_mode", [0]],
  ["mirostat_tau", [5]],
  ["mirostat_eta", [0.1]],
  ["xtc_probability", [0]],
  ["xtc_threshold", [0.1]],
  ["dry_multiplier", [0]],
  ["dry_base", [1.75]],
  ["dry_allowed_length", [2]],
  ["dry_penalty_last_n", [-1]],
  ["top_n_sigma", [-1]],
  ["reasoning_format", ["auto", "none", "deepseek", "parsed"]],
  ["top_a", [0]],
  ["tfs", [1]],
  ["tfs_z", [1]],
  // MiniMax, Z.ai and Alibaba: how streams come here anyway
  ["reasoning_split", [true]],
  ["tool_stream", [false, true]],
  ["incremental_output", [true]],
  // Transformers' generate(): sampling is the default here, and temperature 0 switches it off.
  ["do_sample", [false, true]],
  ["num_beams", [1]],
  ["min_new_tokens", [0]],
  ["thinking_budget", [-1]],
  ["thinking_budget_tokens", [-1]],
  ["reasoning_budget", [-1]],
]);

/** Fields that ask for something even when they are empty. */
const NEVER_EMPTY = new Set(["audio", "web_search_options"]);

/** false, "", [], {}, and an object whose entries are all null or false: clients send their own defaults so. */
function isEmpty(value: unknown): boolean {
  if (value === false || value === "") return true;
  if (Array.isArray(value)) return value.length === 0;
  if (!isObject(value)) return false;
  for (const key in value) if (value[key] !== null && value[key] !== false) return false;
  return true;
}

/** An object's keys that say something. */
function withoutNulls(value: unknown): unknown {
  if (!isObject(value)) return value;
  return Object.fromEntries(Object.entries(value).filter(([, entry]) => entry !== null));
}

/** Whether an unsupported field leaves the answer as it is. */
export function asksForNothing(name: string, value: unknown): boolean {
  if (value === null || IGNORED.has(name)) return true;
  const inert = INERT.get(name);
  if (inert?.some((one) => Bun.deepEquals(withoutNulls(value), one))) return true;
  // A switch that is on by default asks for something when it is off.
  return inert?.[0] !== true && !NEVER_EMPTY.has(name) && isEmpty(value);
}

/** Fields of which false means none; false is no value of theirs. */
const NONE_IS_FALSE = new Set(["logprobs", "prompt_logprobs", "tools", "stop"]);

/** Fields of which "" is a value, or a mistake: whoever sends an empty salt believes that it keeps others out. */
const EMPTY_COUNTS = new Set(["prompt", "cache_salt"]);

/** Whether a supported field is as good as left out: null, and "", which forms send for what nobody filled in. */
function meansDefault(name: string, value: unknown): boolean {
  if (value === "") return !EMPTY_COUNTS.has(name);
  return value === null || (value === false && NONE_IS_FALSE.has(name));
}

/** A body's known fields, and the names of those that were left out although they ask for something. */
export interface Taken {
  known: Record<string, unknown>;
  ignored: string[];
}

/**
 * Keeps the fields of `given` that `shape` has. The others must ask for nothing, unless `allowExtra`.
 * @param prefix what stands before the field's name in an error: "stream_options."
 * @throws FastgenError "invalid_request" that names the field.
 */
export function takeKnown(given: Record<string, unknown>, shape: object, allowExtra: boolean, prefix = ""): Taken {
  const known: Record<string, unknown> = {};
  const ignored: string[] = [];
  for (const name of Object.keys(given)) {
    const value = given[name];
    if (Object.hasOwn(shape, name)) {
      if (!meansDefault(name, value)) known[name] = value;
    } else if (asksForNothing(name, value)) continue;
    else if (!allowExtra) {
      const param = prefix + name;
      const cure = whatToSend(name, shape);
      const why = cure
        ? `: ${cure}`
        : ", or no field of this request, and this value may change the answer; leave it out";
      const message = `${param} is not supported${why}`;
      throw new FastgenError("invalid_request", message, { param });
    } else if (ignored.length < MAX_NAMED_FIELDS) ignored.push(prefix + name);
  }
  return { known, ignored };
}
