/** One answer while it is written: its frames become the message, and its times are taken. */
import { type Frame, type Model, ServerError, streamChat } from "./api.ts";
import type { Message, Timing } from "./types.ts";

/** Parts of an answer's time for which its pace is kept. */
const PACE_PARTS = 40;

export class Generation {
  readonly message: Message;
  readonly model: Model;
  /** Called when the message has grown. */
  onChange: () => void = () => {};
  readonly #stopping = new AbortController();
  readonly #begun = performance.now();
  #first: number | null = null;
  #thinkingEnd: number | null = null;
  #tokens = 0;
  #prompt = 0;
  /** When so many tokens had come: [milliseconds, tokens]. */
  readonly #arrivals: [number, number][] = [];

  constructor(message: Message, model: Model) {
    this.message = message;
    this.model = model;
    message.model = model.id;
  }

  /** The answer ends here, by the reader's wish. */
  stop(): void {
    this.#stopping.abort();
  }

  /** Runs to the answer's end; what goes wrong is in the message. @returns the error, where the reader should do something */
  async run(body: object): Promise<ServerError | null> {
    const { message } = this;
    let failure: ServerError | null = null;
    try {
      for await (const frame of streamChat(this.model.server, body, this.#stopping.signal)) {
        this.#take(frame);
        this.onChange();
      }
      message.end ??= "stop";
    } catch (error) {
      if (this.#stopping.signal.aborted) message.end = "stopped";
      else {
        message.end = "error";
        message.error = (error as Error).message;
        if (error instanceof ServerError) failure = error;
      }
    }
    message.timing = { ...this.timing(), pace: this.#pace() };
    return failure;
  }

  /** Times so far, without the pace. */
  timing(): Timing {
    const now = performance.now();
    return {
      first: this.#first === null ? null : this.#first - this.#begun,
      total: (this.message.end === null ? now : (this.#arrivals.at(-1)?.[0] ?? now)) - this.#begun,
      thinking: this.message.reasoning === "" ? null : (this.#thinkingEnd ?? now) - (this.#first ?? this.#begun),
      tokens: this.#tokens,
      prompt: this.#prompt,
      pace: [],
    };
  }

  #take({ choices, usage }: Frame): void {
    const { message } = this;
    const now = performance.now();
    const [choice] = choices ?? [];
    const { content, reasoning_content, reasoning, tool_calls } = choice?.delta ?? {};
    const thought = reasoning_content ?? reasoning ?? "";
    if (thought !== "") message.reasoning += thought;
    if (content) message.content += content;
    for (const { index, id, function: called } of tool_calls ?? []) {
      if (!Number.isInteger(index) || index < 0 || index > message.calls.length) continue;
      message.calls[index] ??= { id: id ?? "", name: "", arguments: "" };
      message.calls[index].name += called?.name ?? "";
      message.calls[index].arguments += called?.arguments ?? "";
    }
    const has = thought !== "" || content || tool_calls;
    if (has) this.#first ??= now;
    if (content || tool_calls) this.#thinkingEnd ??= now;
    if (usage) {
      this.#prompt = usage.prompt_tokens ?? 0;
      this.#tokens = usage.completion_tokens ?? this.#tokens;
    } else if (has) this.#tokens++;
    if (has) this.#arrivals.push([now, this.#tokens]);
    const end = choice?.finish_reason;
    if (end) message.end = end === "length" || end === "tool_calls" ? end : "stop";
  }

  #pace(): number[] {
    const from = this.#arrivals[0];
    const to = this.#arrivals.at(-1);
    if (!from || !to || to[0] <= from[0]) return [];
    const pace = new Array<number>(PACE_PARTS).fill(0);
    let before = from[1];
    for (const [time, tokens] of this.#arrivals) {
      const part = Math.floor(((time - from[0]) / (to[0] - from[0])) * PACE_PARTS);
      pace[Math.min(PACE_PARTS - 1, part)]! += tokens - before;
      before = tokens;
    }
    return pace;
  }
}

/** Tokens per second after the first; null = too few. */
export function speedOf({ first, total, tokens }: Timing): number | null {
  return first === null || tokens < 2 || total <= first ? null : ((tokens - 1) * 1000) / (total - first);
}
