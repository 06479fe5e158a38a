/** The Response object: what was asked, as it comes back, and the output items that the answer's blocks are. */
import type { ResolvedParams } from "../../src/params.ts";
import type { PositionLogprobs, WeightSpan } from "../../src/types.ts";
import { freshId } from "../body/fields.ts";
import type { Block } from "../conversation/blocks.ts";
import type { Conversation } from "../conversation/conversation.ts";
import { chatLogprobs, tokenNames } from "../reply/logprobs.ts";
import { versionFields } from "../reply/weight-versions.ts";
import type { Service } from "../service.ts";
import { wantsLogprobs } from "./request.ts";
import type { ResponseFields } from "./schema.ts";
import type { ToolName, Tools } from "./tools.ts";

export type ResponseStatus = "in_progress" | "completed" | "incomplete" | "failed";

export interface ResponseError {
  code: string;
  message: string;
}

/** The ids of items begin with their response's: so a stored item is found by its id. */
export function itemId(prefix: string, response: string, index: number): string {
  return `${prefix}_${response}${index.toString(16).padStart(4, "0")}`;
}

/** The id of the response that an item belongs to; null where the id is not one of ours. */
export function responseOf(item: string): string | null {
  const hex = /^[a-z]+_([0-9a-f]{32})[0-9a-f]{4,}$/.exec(item)?.[1];
  return hex === undefined ? null : `resp_${hex}`;
}

/** What stays the same in a response from its start to its end. */
export class ResponseEnvelope {
  /** Without "resp_". */
  readonly hex = freshId();
  /** The reasoning stands in the place of a summary, which some clients show alone. */
  readonly summarised: boolean;
  /** Which weights made the answer so far. */
  weightVersions: readonly WeightSpan[] = [];
  readonly #created = Math.floor(Date.now() / 1000);
  readonly #tools: Tools;
  readonly #previous: string | null;
  readonly #echoed: object;
  readonly #withLogprobs: boolean;
  /** Whether the response ends with a record of it for trainers. */
  readonly withRollout: boolean;

  /** `given`: the body as it was sent. */
  constructor(
    service: Service,
    fields: ResponseFields,
    given: Record<string, unknown>,
    tools: Tools,
    params: ResolvedParams,
  ) {
    this.#tools = tools;
    this.#withLogprobs = wantsLogprobs(fields);
    this.withRollout = fields.return_rollout ?? false;
    const { reasoning, text, metadata } = fields;
    const summary = reasoning?.summary ?? reasoning?.generate_summary ?? null;
    this.summarised = summary !== null;
    this.#previous = fields.previous_response_id ?? null;
    this.#echoed = {
      instructions: fields.instructions ?? null,
      max_output_tokens: fields.max_output_tokens ?? null,
      max_tool_calls: fields.max_tool_calls ?? null,
      model: service.modelName,
      parallel_tool_calls: fields.parallel_tool_calls ?? true,
      prompt_cache_key: fields.prompt_cache_key ?? null,
      reasoning: { effort: reasoning?.effort ?? null, summary },
      safety_identifier: fields.safety_identifier ?? null,
      service_tier: "default",
      store: fields.store ?? true,
      temperature: params.temperature,
      text: { format: text?.format ?? { type: "text" }, verbosity: text?.verbosity ?? null },
      tool_choice: given.tool_choice ?? "auto",
      tools: given.tools ?? [],
      top_logprobs: fields.top_logprobs ?? 0,
      top_p: params.top_p,
      truncation: fields.truncation ?? "disabled",
      user: fields.user ?? null,
      metadata: metadata ?? {},
    };
  }

  get id(): string {
    return `resp_${this.hex}`;
  }

  /** `usage`: null while the answer goes on; `cut`: why it is incomplete. */
  response(
    status: ResponseStatus,
    output: object[],
    usage: object | null,
    error: ResponseError | null = null,
    cut: string | null = null,
  ) {
    return {
      id: this.id,
      object: "response",
      created_at: this.#created,
      status,
      background: false,
      completed_at: status === "completed" ? Math.floor(Date.now() / 1000) : null,
      error,
      incomplete_details: cut === null ? null : { reason: cut },
      ...this.#echoed,
      previous_response_id: this.#previous,
      output,
      usage,
      ...versionFields(this.weightVersions),
    };
  }

  /** What a call of the model's is called. */
  itemName(name: string): ToolName {
    return this.#tools.itemName(name);
  }

  /** The output item that a block is. `logprobs` is false for the store. */
  item(block: Block, logprobs = true) {
    const { kind, index, text, state } = block;
    const status = { open: "in_progress", complete: "completed", cut: "incomplete" }[state];
    if (kind === "call") {
      const call = { status, call_id: block.id, ...this.itemName(block.name) };
      if (block.custom) return { id: itemId("ctc", this.hex, index), type: "custom_tool_call", ...call, input: text };
      return { id: itemId("fc", this.hex, index), type: "function_call", ...call, arguments: text };
    }
    const content = state === "open" ? [] : [this.part(block, logprobs)];
    if (kind === "text") {
      return { id: itemId("msg", this.hex, index), type: "message", status, role: "assistant", content };
    }
    const reasoning = { id: itemId("rs", this.hex, index), type: "reasoning", encrypted_content: null, status };
    return this.summarised ? { ...reasoning, summary: content } : { ...reasoning, summary: [], content };
  }

  /** Chat's positions serve here too. Empty where the request asked for none, but for a rollout. */
  tokenLogprobs(positions: readonly PositionLogprobs[]) {
    return this.#withLogprobs ? chatLogprobs(positions, BY_TEXT).content : [];
  }

  /** The content part of a block of text or reasoning. */
  part({ kind, text, logprobs }: Block, withLogprobs = true) {
    if (kind === "text") {
      return { type: "output_text", text, annotations: [], logprobs: withLogprobs ? this.tokenLogprobs(logprobs) : [] };
    }
    return { type: this.summarised ? "summary_text" : "reasoning_text", text };
  }
}

const BY_TEXT = tokenNames(false);

export function responseUsage(conversation: Conversation) {
  const usage = conversation.usage();
  const { cached_tokens } = usage.prompt_tokens_details;
  return {
    input_tokens: usage.prompt_tokens,
    input_tokens_details: { cached_tokens, cache_write_tokens: 0 },
    output_tokens: usage.completion_tokens,
    output_tokens_details: { reasoning_tokens: usage.completion_tokens_details.reasoning_tokens },
    total_tokens: usage.total_tokens,
  };
}
