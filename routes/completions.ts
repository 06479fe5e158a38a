/** POST /completions: OpenAI's text completions, with token-id prompts, echo, and vLLM's sampling fields. */
import type { Context } from "hono";
import type { z } from "zod";
import { FastgenError } from "../src/errors.ts";
import { MAX_STREAMED_PROMPT_LOGPROBS } from "../src/limits.ts";
import type { SamplingParams } from "../src/params.ts";
import type { Chunk, PositionLogprobs, Prompt } from "../src/types.ts";
import { readBody } from "./body.ts";
import type { Env } from "./context.ts";
import { CompletionLogprobsWriter, longCompletionLogprobs, promptLogprobs } from "./logprobs.ts";
import { longJson } from "./long-json.ts";
import { Run } from "./run.ts";
import { checkStreamOptions, completionSchema, promptList, samplingParams } from "./schemas.ts";
import type { Service } from "./service.ts";
import { eventStream, type Frames, frame } from "./sse.ts";

type Fields = z.output<typeof completionSchema>;

/** OpenAI's default for completions; chat has none. */
export const DEFAULT_MAX_TOKENS = 16;

export function completions(service: Service) {
  return async (c: Context<Env>): Promise<Response> => {
    const { fields, given } = await readBody(c, service, completionSchema);
    checkStreamOptions(fields);
    const prompts = promptList(fields.prompt);
    const params = completionParams(fields, given);
    const { add_special_tokens, stream } = fields;
    const options = { add_special_tokens, default_max_tokens: DEFAULT_MAX_TOKENS, stream };
    const run = await Run.start(c, service, prompts, params, options);
    const envelope = {
      id: `cmpl-${crypto.randomUUID().replaceAll("-", "")}`,
      object: "text_completion",
      created: Math.floor(Date.now() / 1000),
      model: service.modelName,
      system_fingerprint: service.fingerprint,
    };
    if (fields.stream) checkEchoedLogprobs(run, fields);
    const echo = fields.echo ? new Echo(run, prompts, fields) : null;
    if (fields.stream) return eventStream(service, run, new CompletionFrames(envelope, run, fields, echo));
    const choices = (await run.collect()).map((choice, index) => {
      const generation = run.generations[Math.floor(index / run.n)]!;
      const own = choice.logprobs ?? (fields.logprobs == null ? null : []);
      const positions = own && joined(echo?.positions(index) ?? [], own);
      return {
        index,
        text: (echo?.text(index) ?? "") + choice.text,
        logprobs: positions && longCompletionLogprobs(positions, echo?.firstToken(index)),
        finish_reason: choice.finish_reason,
        stop_reason: choice.stop_reason,
        ...(given.prompt_logprobs !== undefined && {
          prompt_logprobs: promptLogprobs(generation.prompt_logprobs ?? []),
        }),
        ...(fields.return_token_ids && {
          token_ids: choice.token_ids,
          prompt_token_ids: Array.from(generation.prompt_token_ids),
        }),
      };
    });
    return longJson(run.record, { ...envelope, choices, usage: run.usage() });
  };
}

/** Refuses a stream whose first frame would be too large, and ends its run. */
function checkEchoedLogprobs(run: Run, { echo, logprobs }: Fields): void {
  if (!echo || logprobs === null) return;
  for (const { prompt_token_ids } of run.generations) {
    if (prompt_token_ids.length * (1 + logprobs) <= MAX_STREAMED_PROMPT_LOGPROBS) continue;
    const message = `logprobs: with echo, those of ${prompt_token_ids.length} prompt tokens are too many for a stream; leave out stream`;
    const error = new FastgenError("invalid_request", message, { param: "logprobs" });
    run.end(error);
    throw error;
  }
}

/** `first`, then `second`; may be iterated again. */
function joined<T>(first: Iterable<T>, second: Iterable<T>): Iterable<T> {
  return {
    *[Symbol.iterator]() {
      yield* first;
      yield* second;
    },
  };
}

export function completionParams(fields: Fields, given: Record<string, unknown>): SamplingParams {
  const { best_of, echo, logprobs, n } = fields;
  if (best_of !== undefined && best_of !== n) {
    const message = `best_of: only the value of n (${n}) is supported; leave it out`;
    throw new FastgenError("invalid_request", message, { param: "best_of" });
  }
  const params = samplingParams(given);
  if (params.max_tokens === 0 && !echo) {
    throw new FastgenError("invalid_request", "max_tokens: 0 needs echo: true", { param: "max_tokens" });
  }
  // An echoed prompt has log probabilities too. Without new tokens they are all there is to compute.
  if (echo && (logprobs !== null || params.max_tokens === 0)) params.prompt_logprobs ??= logprobs ?? 0;
  return params;
}

/** With `echo`: the prompts, which begin the answers. */
class Echo {
  readonly #run: Run;
  readonly #texts: string[];
  readonly #withLogprobs: boolean;

  constructor(run: Run, prompts: readonly Prompt[], fields: Fields) {
    this.#run = run;
    this.#withLogprobs = fields.logprobs !== null;
    const { skip_special_tokens } = fields;
    this.#texts = prompts.map((prompt, i) =>
      typeof prompt === "string"
        ? prompt
        : run.fastgen.detokenize(run.generations[i]!.prompt_token_ids, { skip_special_tokens }),
    );
  }

  text(index: number): string {
    return this.#texts[Math.floor(index / this.#run.n)]!;
  }

  /** Empty unless log probabilities were asked for. */
  positions(index: number): Iterable<PositionLogprobs | null> {
    return this.#withLogprobs ? (this.#run.generations[Math.floor(index / this.#run.n)]!.prompt_logprobs ?? []) : [];
  }

  /** Whether the prompt's log probabilities are still to come. One choice brings them for all choices of its prompt. */
  waits(index: number): boolean {
    return this.#withLogprobs && this.#run.generations[Math.floor(index / this.#run.n)]!.prompt_logprobs === null;
  }

  firstToken(index: number): string {
    const id = this.#run.generations[Math.floor(index / this.#run.n)]!.prompt_token_ids[0];
    return id === undefined ? "" : this.#run.fastgen.tokenText(id);
  }
}

interface ChoiceState {
  /** The start of its frames, up to the text. */
  head: string;
  logprobs: CompletionLogprobsWriter;
}

class CompletionFrames implements Frames {
  /** Of the request only this is kept: its text may be large, and a stream may last long. */
  readonly #returnIds: boolean;
  readonly #run: Run;
  readonly #echo: Echo | null;
  readonly #envelope: string;
  readonly #choices: ChoiceState[] = [];
  /** Pieces that wait for their prompt's log probabilities. */
  #held: Chunk[] = [];
  readonly #tail: string;
  readonly #includeUsage: boolean;

  constructor(envelope: object, run: Run, fields: Fields, echo: Echo | null) {
    this.#run = run;
    this.#returnIds = fields.return_token_ids ?? false;
    this.#echo = echo;
    this.#envelope = JSON.stringify(envelope).slice(0, -1);
    this.#includeUsage = fields.stream_options?.include_usage ?? false;
    this.#tail = this.#includeUsage ? '}],"usage":null}\n\n' : "}]}\n\n";
  }

  chunk(chunk: Chunk): string {
    if (this.#held.length === 0 && !this.#echo?.waits(chunk.index)) return this.#frames(chunk);
    const held = [...this.#held, chunk];
    this.#held = held.filter(({ index }) => this.#echo?.waits(index));
    return held.map((piece) => (this.#held.includes(piece) ? "" : this.#frames(piece))).join("");
  }

  #frames(chunk: Chunk): string {
    const { index, text, finish_reason } = chunk;
    let out = "";
    let choice = this.#choices[index];
    if (!choice) {
      const head = `data: ${this.#envelope},"choices":[{"index":${index},"text":`;
      choice = { head, logprobs: new CompletionLogprobsWriter() };
      this.#choices[index] = choice;
      out = this.#opening(index, choice);
    }
    const ids = this.#returnIds ? chunk.token_ids : null;
    if (text === "" && finish_reason === null && !chunk.logprobs && !ids) return out;
    const logprobs = chunk.logprobs ? JSON.stringify(choice.logprobs.write(chunk.logprobs)) : "null";
    out += `${choice.head}${JSON.stringify(text)},"logprobs":${logprobs},"finish_reason":`;
    out += finish_reason === null ? "null" : `"${finish_reason}","stop_reason":${JSON.stringify(chunk.stop_reason)}`;
    if (ids) out += `,"token_ids":${JSON.stringify(ids)}`;
    return out + this.#tail;
  }

  /** A choice's first frame if there is something to say before its first token: the echo, the prompt's ids. */
  #opening(index: number, choice: ChoiceState): string {
    if (!this.#echo && !this.#returnIds) return "";
    const positions = Array.from(this.#echo?.positions(index) ?? []);
    const logprobs = positions.length > 0 ? choice.logprobs.write(positions, this.#echo?.firstToken(index)) : null;
    const { prompt_token_ids } = this.#run.generations[Math.floor(index / this.#run.n)]!;
    const ids = this.#returnIds ? `,"prompt_token_ids":${JSON.stringify(Array.from(prompt_token_ids))}` : "";
    const text = JSON.stringify(this.#echo?.text(index) ?? "");
    return `${choice.head}${text},"logprobs":${JSON.stringify(logprobs)},"finish_reason":null${ids}${this.#tail}`;
  }

  end(): string {
    if (!this.#includeUsage) return "";
    return frame(`${this.#envelope},"choices":[],"usage":${JSON.stringify(this.#run.usage())}}`);
  }
}
