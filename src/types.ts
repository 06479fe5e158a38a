/** The library's public types: what Fastgen (fastgen.ts) takes and returns. Field names follow vLLM's and OpenAI's. */

import type { DeviceKind, SchedulingPolicy } from "./engine-config.ts";
import type { Capacity, EngineInfo, ModelInfo, Stats } from "./engine-info.ts";
import type { Dtype } from "./model/shape.ts";
import type { ResolvedParams, SamplingParams } from "./params.ts";

export type * from "./engine-info.ts";
export type * from "./load-options.ts";

/** A part of a content, such as { type: "text", text }. */
export interface ContentPart {
  type: string;
  text?: string;
  [field: string]: unknown;
}

export interface ChatMessage {
  role: string;
  /** null is the empty text. */
  content: string | null | readonly ContentPart[];
  name?: string | null;
  /** Whatever else the template reads (tool_calls, reasoning_content, ...). */
  [field: string]: unknown;
}

export interface ChatOptions {
  /** Open the assistant's turn; default true, but false with continue_final_message. */
  add_generation_prompt?: boolean;
  /** Leave the last message open: the answer continues it. */
  continue_final_message?: boolean;
  tools?: unknown[];
  documents?: unknown[];
  /** More variables for the template. */
  chat_template_kwargs?: Record<string, unknown>;
  /** The text of a template to use instead of the model's. */
  chat_template?: string;
}

export type Conversation = { messages: ChatMessage[] } & ChatOptions;

/** A conversation's text, as the chat template made it. */
export interface RenderedPrompt {
  rendered: string;
}

/**
 * Text (tokenised with the model's special tokens), token ids, or a conversation. An Int32Array is not copied: leave it as
 * it is until the generation has ended.
 */
export type Prompt = string | readonly number[] | Int32Array | Conversation | RenderedPrompt;

/**
 * Hears what the engine does for a generation as it happens, before and whether or not the pieces are read. Times are those
 * of performance.now().
 */
export interface GenerationObserver {
  /**
   * A choice's sequence waited so long for a slot of this engine, and then computed its prompt for so long. Its first token
   * follows.
   */
  started(choice: number, queuedSeconds: number, prefillSeconds: number, engine: number): void;
  token(choice: number, time: number): void;
  ended(choice: number, reason: "stop" | "length", time: number): void;
}

/** What the output must match, in place of the parameter structured_outputs. */
export interface OutputGrammar {
  /** In llguidance's dialect. */
  source: { lark: string };
  /** It holds from behind one of these texts, each a token of the model; none = from the first token. */
  after: readonly string[];
  /** The field that an error names. */
  param: string;
}

/** How long an output may think. */
export interface ThinkingLimit {
  /** Tokens of thinking, at most. */
  budget: number;
  /** The text by which an output may open it at its start; null = it is open when the output begins. */
  begin: string | null;
  /** The text that ends it, and is written where the budget is spent. */
  end: string;
}

export interface GenerateOptions {
  /** Aborting rejects with FastgenError "aborted" and frees the sequence within a step. */
  signal?: AbortSignal;
  /** Add special tokens such as BOS: default true for a text, false for a conversation, whose template writes its own. */
  add_special_tokens?: boolean;
  /** Use only so many of the prompt's tokens; -1 = as many as fit beside max_tokens. */
  truncate_prompt_tokens?: number;
  /** The side on which the prompt is cut off; default "left": its end stays. */
  truncation_side?: "left" | "right";
  /** Prompts share cached pages only with prompts of the same salt. */
  cache_salt?: string;
  /** Names it for abort(). Several generations may have the same. */
  request_id?: string;
  /** performance.now() when the request came in, for profiles; default: when the generation is started. */
  arrived?: number;
  /** Lower is sooner; default 0. Another value needs LoadOptions.scheduling_policy "priority". */
  priority?: number;
  /** With prompt_logprobs: the first prompt token that has one; default 1. What is before it may come from the prefix cache. */
  first_scored_token?: number;
  /** Special tokens, by their texts, that are shown although skip_special_tokens leaves out the others. */
  shown_special_tokens?: readonly string[];
  grammar?: OutputGrammar;
  thinking?: ThinkingLimit;
  /** max_tokens if neither the params nor default_params have one. */
  default_max_tokens?: number;
  /**
   * The output is only iterated: no whole is kept for completion(), and the sequences pause, leaving their slots to others,
   * while about 1 MiB of output waits to be read.
   */
  stream?: boolean;
  observer?: GenerationObserver;
}

export interface TokenLogprob {
  id: number;
  /** The text of this token alone; bytes that are not UTF-8 show as U+FFFD. */
  token: string;
  bytes: number[];
  logprob: number;
}

export interface PositionLogprobs extends TokenLogprob {
  /** The most probable tokens first; or those of logprob_token_ids, in their order. */
  top: TokenLogprob[];
  /** Its place among all tokens by their probability: 1 = the most probable. */
  rank: number;
  /** Where the token begins in its text (the choice's, or the prompt's), in characters: Unicode code points. */
  text_offset: number;
}

/** The version of the weights that made the tokens from `start` on, counted in the choice's output. */
export interface WeightSpan {
  start: number;
  version: string;
}

/** A piece of one choice. Pieces come in order; the last one of a choice carries finish_reason. */
export interface Chunk {
  /** Which choice, 0 <= index < n. */
  index: number;
  /** New text; may be empty while half a character or a possible stop string is held back. */
  text: string;
  token_ids: number[];
  logprobs: PositionLogprobs[] | null;
  /** abort = the engine was told to end it: abort(), or pause() with mode "abort". */
  finish_reason: FinishReason | null;
  /** The stop string or stop id that ended it; with finish_reason length, why its grammar could not go on. */
  stop_reason: string | number | null;
  /** Which weights made the choice's tokens, from its first one to the end of this piece. Several where they changed meanwhile. */
  weight_versions: readonly WeightSpan[];
}

export type FinishReason = "stop" | "length" | "abort";

export interface Choice extends Chunk {
  finish_reason: FinishReason;
}

export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  /** Prompt tokens found in the prefix cache. */
  cached_tokens: number;
}

export interface Completion {
  prompt_token_ids: number[];
  /** One entry per prompt token, null for the first; null unless prompt_logprobs was set. */
  prompt_logprobs: (PositionLogprobs | null)[] | null;
  choices: Choice[];
  usage: Usage;
}

/** A running generation: iterate over it for pieces as they come, or await completion() for the whole. */
export interface Generation extends AsyncIterable<Chunk> {
  /** Known once the prompt is tokenised, which is before this object exists. */
  readonly prompt_token_ids: Int32Array;
  /** With every default filled in; max_tokens is what each choice may have. */
  readonly params: ResolvedParams;
  /** By choice: the seed of its draws, a random one where none was given. In the range of a signed integer of 64 bits. */
  readonly seeds: readonly bigint[];
  /** The prompt where it was given as a text and is used whole; else null. */
  readonly prompt_text: string | null;
  /** Which engine computes it, counted from 0. */
  readonly engine: number;
  /** Final once the iteration has ended. */
  readonly usage: Usage;
  /**
   * One entry per prompt token, null for those before the first that is scored; made anew by each iteration. null until there,
   * or if not asked for.
   */
  readonly prompt_logprobs: Iterable<PositionLogprobs | null> | null;
  /** Rejects with FastgenError "invalid_request" where the generation was started with `stream: true`. */
  completion(): Promise<Completion>;
  abort(): void;
}

export interface BatchInput {
  prompt: Prompt;
  params?: SamplingParams;
}

export type BatchResult =
  | { index: number; completion: Completion; error?: undefined }
  | { index: number; completion?: undefined; error: Error };

/** What a pause does with the requests that are there. */
export interface PauseOptions {
  /** abort = end them with what they have; wait = let them end; keep = they go on after resume(). Default "abort". */
  mode?: "abort" | "wait" | "keep";
  /**
   * Forget all KV pages, so that sequences that are kept compute theirs anew; default true. It also holds for updates of the
   * weights before resume() that do not say otherwise.
   */
  clear_cache?: boolean;
}

export interface SleepOptions {
  /** 1 = the weights stay in the host's memory; 2 = they are dropped, and an update must bring others. Default 1. */
  level?: 1 | 2;
  /** What becomes of the requests that are there, as in pause(). Default "abort". */
  mode?: PauseOptions["mode"];
}

/** What wakes up. */
export type MemoryTag = "weights" | "kv_cache";

/** A tensor in the memory of this machine's GPU, which belongs to another process. */
export interface DeviceTensor {
  /** As in a checkpoint: "model.layers.0.mlp.up_proj.weight". */
  name: string;
  /** "bfloat16", "float16" or "float32". */
  dtype: string;
  shape: number[];
  /** The 64 bytes of the CUDA IPC handle of the memory that it lies in, and where it begins there. */
  ipc_handle: Uint8Array;
  offset: number;
}

/** Where other weights of a model are. */
export type WeightSource =
  /** A folder with all of the model's tensors as safetensors. What else is in it is not read. */
  | { folder: string }
  /** All of the model's tensors. They must be written, and stay as they are until the update has ended. */
  | { tensors: readonly DeviceTensor[] };

export type WeightUpdate = WeightSource & {
  /** What replies call these weights; default: the number of updates so far. */
  weight_version?: string;
  /** Forget the KV pages that the weights before have computed; default: what the pause in force says, else true. */
  clear_cache?: boolean;
};

export interface ProfileOptions {
  /** The folder that the file goes to; made where it is missing. */
  directory: string;
  /** Steps to record; default: until stopProfile(). */
  steps?: number;
}

/** A Chrome trace, which Perfetto opens: PATH.json or, where it is large, PATH.json.gz. */
export interface ProfileFile {
  path: string;
  bytes: number;
}

/**
 * A loaded model. Any number of calls may be under way at once. What a promise rejects with, and what is thrown, is a
 * FastgenError; after close(), and once every engine has failed, it is "unavailable" for whatever needs an engine.
 */
export interface FastgenApi {
  readonly model: ModelInfo;
  readonly capacity: Capacity;
  /** From the start of the slowest engine until it could run a step. */
  readonly load_seconds: number;
  /** As of the newest step. */
  readonly stats: Stats;
  /** By engine, in their order. */
  readonly engines: readonly EngineInfo[];
  /** False once every engine has failed or close() was called. */
  readonly alive: boolean;
  /** Resolves once every engine that is alive has answered, which it does between steps. Rejects when all have ended. */
  ping(): Promise<void>;
  /** Called after every step of an engine with the number of its tokens. A second listener replaces the first. */
  onStep(listener: (tokens: number, engine: number) => void): void;
  /** Resolves with the reason if every engine fails: nothing can be generated any more. Never rejects. */
  readonly failed: Promise<Error>;

  /**
   * Starts a generation: validates, tokenises, queues. Rejects with FastgenError "invalid_request", whose `param` names the
   * field (`code` "context_length_exceeded" where the prompt is too long), "overloaded" where too many grammars wait to be
   * compiled, "unavailable" where the weights are gone, or "aborted". There is no bound on the queue: bound it yourself, or use
   * generateAll().
   */
  start(prompt: Prompt, params?: SamplingParams, options?: GenerateOptions): Promise<Generation>;
  /** One prompt to its end. Rejects as start() does, and with "device" where its engine fails meanwhile. */
  generate(prompt: Prompt, params?: SamplingParams, options?: GenerateOptions): Promise<Completion>;
  /**
   * Many prompts, results as they finish; `index` is the place of the input. Inputs are read as slots free up, so there may
   * be endlessly many. An input that fails yields its error and leaves the others alone. Throws where the signal aborts, the
   * input itself throws, or no engine is left. Leaving the loop aborts what still runs.
   */
  generateAll(
    inputs: Iterable<Prompt | BatchInput> | AsyncIterable<Prompt | BatchInput>,
    params?: SamplingParams,
    options?: GenerateOptions,
  ): AsyncIterable<BatchResult>;

  /** What the chat template makes of a conversation. Rejects with FastgenError "invalid_request", "aborted". */
  render(conversation: Conversation, signal?: AbortSignal): Promise<RenderedPrompt>;
  /** The prompt's token ids; an Int32Array is returned itself. Rejects with FastgenError "invalid_request", "aborted". */
  tokenize(prompt: Prompt, options?: GenerateOptions): Promise<Int32Array>;
  /** The text of tokens; ids that the tokenizer lacks have none. Special tokens are left out by default. */
  detokenize(ids: readonly number[] | Int32Array, options?: { skip_special_tokens?: boolean }): string;
  /** The text of one token; "" where the tokenizer lacks it. Bytes that are not UTF-8 show as U+FFFD. */
  tokenText(id: number): string;
  /** The token of exactly this text, if there is one; special = control and not text. */
  tokenOf(text: string): { id: number; special: boolean } | null;
  /** The model's tokenizer_config.json, with the chat template in use. */
  readonly tokenizer_config: Record<string, unknown>;
  /**
   * The sampling defaults of generation_config.json (vLLM's --generation-config auto): they apply to every
   * parameter that the caller leaves out. A default max_tokens is cut to the room in the context; one that the caller sets
   * is refused if it does not fit.
   */
  readonly default_params: SamplingParams;

  /**
   * Holds generation until resume(). Requests that come meanwhile wait. Resolves once no step runs any more and, with mode
   * "wait", all requests that were there have ended. May be repeated. Rejects with FastgenError "aborted" where resume() came
   * before that.
   */
  pause(options?: PauseOptions): Promise<void>;
  /** Lets generation go on. Does nothing where it is not paused. */
  resume(): Promise<void>;
  /** From pause() until resume(). */
  readonly is_paused: boolean;
  /**
   * Puts other weights of the same shape in the place of these. Generation holds meanwhile; requests wait, or are kept, and
   * go on with the new weights. Rejects with FastgenError "invalid_request" where they do not fit, and nothing has changed;
   * "overloaded" where another update runs. Any other kind: the update broke off half-way, and requests fail with
   * "unavailable" until another one has succeeded.
   */
  updateWeights(update: WeightUpdate): Promise<void>;
  /** "0" at first; then as updateWeights() says. */
  readonly weight_version: string;
  /**
   * Gives the device's memory back to the system until wakeUp(); KV pages lose what they hold. Requests that come meanwhile
   * wait, those that were kept are computed again. Resolves once the memory is free. Rejects with FastgenError
   * "out_of_memory" where the host has no room for the weights, and nothing has changed.
   */
  sleep(options?: SleepOptions): Promise<void>;
  /**
   * Brings memory back, all of it unless `tags` says what. Generation goes on once everything is awake and the weights have
   * values. Where everything is awake and they have none, new requests are refused ("unavailable") until an update. Rejects with FastgenError "out_of_memory" where others have taken the memory; it may be tried again.
   */
  wakeUp(options?: { tags?: readonly MemoryTag[] }): Promise<void>;
  readonly is_sleeping: boolean;
  /**
   * Why nothing can be generated with the weights that there are: a sleep of level 2 dropped them, or an update broke off.
   * Null while they are whole. An update that succeeds mends it.
   */
  readonly weights_problem: string | null;
  /** New requests find no KV pages of those before. Requests that run keep theirs. */
  resetPrefixCache(): Promise<void>;
  /** Ends the generations that were started with this request_id, or all (null), with what they have. Returns how many. */
  abort(request_id: string | null): number;

  /**
   * Records a profile: what becomes of requests, what the scheduler does, every op, and every kernel and copy of a GPU.
   * Resolves with its file, once `steps` steps have run or stopProfile() was called. Rejects with FastgenError
   * "invalid_request" where one is being recorded or the folder cannot be written to.
   */
  startProfile(options: ProfileOptions): Promise<ProfileFile>;
  /** Ends the profile that is being recorded, if there is one. While it is written no step runs. */
  stopProfile(): void;
  readonly is_profiling: boolean;
  /** Aborts what runs and frees everything. */
  close(): Promise<void>;
}

export type { DeviceKind, Dtype, SchedulingPolicy };
