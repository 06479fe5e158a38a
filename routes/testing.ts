/**
 * A FastgenApi without a model, for tests of the routes: one token per UTF-16 code unit, the same answer every time, and
 * the timing and errors that a test asks for. It records what it was asked, and whether it was aborted.
 */
import { FastgenError } from "../src/errors.ts";
import { appendChunk } from "../src/generation/generation.ts";
import { codePoints } from "../src/generation/text-offsets.ts";
import { type ResolvedParams, type SamplingParams, samplingSchema } from "../src/params.ts";
import type {
  BatchResult,
  Capacity,
  Choice,
  Chunk,
  Completion,
  Conversation,
  EngineInfo,
  FastgenApi,
  GenerateOptions,
  Generation,
  MemoryTag,
  ModelInfo,
  PauseOptions,
  PositionLogprobs,
  ProfileFile,
  ProfileOptions,
  Prompt,
  RenderedPrompt,
  SleepOptions,
  Stats,
  TokenLogprob,
  Usage,
  WeightUpdate,
} from "../src/types.ts";
import { listen } from "./server/listen.ts";
import { Service, type ServiceOptions } from "./service.ts";

export interface FakeOptions {
  /** What the chat template ends with. */
  opening?: string;
  /** What every choice answers; then it stops. */
  answer?: string;
  /** Waits before each token. */
  pace?: () => Promise<void> | void;
  /** Tokens after which a choice fails with `error`. */
  failAfter?: number;
  error?: Error;
  /** Tokens after which the prompt's log probabilities are there. */
  promptLogprobsAfter?: number;
  max_model_len?: number;
  default_params?: SamplingParams;
  running?: number;
  /** How many engines; default 1. Choices are computed by the last. */
  engines?: number;
  /** What an update of the weights fails with. */
  updateError?: Error;
  /** What a profile fails with. */
  profileError?: Error;
}

export interface FakeCall {
  /** The conversation where the prompt was rendered from one. */
  prompt: Prompt;
  params: SamplingParams;
  options: GenerateOptions;
  aborted: boolean;
  /** Tokens given so far. */
  tokens: number;
}

/** What every sequence of the fake waits and computes its prompt for. */
export const QUEUED_SECONDS = 0.5;
export const PREFILL_SECONDS = 0.25;

function logprob(id: number, top: number, text_offset: number): PositionLogprobs {
  const one = (shift: number): TokenLogprob => {
    const token = String.fromCharCode(id + shift);
    return { id: id + shift, token, bytes: [...Buffer.from(token)], logprob: -0.5 - shift };
  };
  return { ...one(0), top: Array.from({ length: top }, (_, i) => one(i)), rank: 1, text_offset };
}

const codeUnits = (text: string) => Array.from({ length: text.length }, (_, i) => text.charCodeAt(i));

export class FakeFastgen implements FastgenApi {
  readonly model: ModelInfo;
  readonly capacity: Capacity = {
    pages: 64,
    host_pages: 0,
    page_tokens: 64,
    page_bytes: 1024,
    prefix_caching: true,
    max_num_seqs: 8,
    max_num_batched_tokens: 512,
    tensor_parallel_size: 1,
    data_parallel_size: 1,
    weight_bytes: 1,
    graphs: 0,
    threads: 1,
    device_name: "fake",
  };
  readonly load_seconds = 0;
  readonly stats: Stats = {
    running: 0,
    waiting: 0,
    swapped: 0,
    paused: 0,
    pages_used: 16,
    pages: 64,
    preemptions: 0,
    prefix_queried_tokens: 0,
    prefix_hit_tokens: 0,
    prompt_tokens: 0,
    generated_tokens: 0,
    steps: 0,
    step_tokens: 0,
    pages_held: 0,
    host: {
      pages: 0,
      pages_held: 0,
      hits: 0,
      misses: 0,
      saved: 0,
      restored: 0,
      forgotten: 0,
      read_seconds: 0,
      write_seconds: 0,
    },
    disk_pages: 0,
    disk_capacity: 0,
    disk_hits: 0,
    disk_misses: 0,
    disk_saved: 0,
    disk_skipped: 0,
    disk_lost: 0,
    disk_read_seconds: 0,
    disk_write_seconds: 0,
  };
  readonly tokenizer_config = { tokenizer_class: "FakeTokenizer", model_max_length: 1024 };
  /** What onStep() was given: a test calls it as the engine would. */
  step: (tokens: number, engine: number) => void = () => {};
  /** What has failed, by engine. The stats of all but the last are those of an idle engine. */
  readonly failures: (string | null)[];
  readonly default_params: SamplingParams;
  readonly calls: FakeCall[] = [];
  alive = true;
  readonly failed = new Promise<Error>(() => {});
  readonly #options: FakeOptions;
  /** What rendered prompts were made from. */
  readonly #rendered = new WeakMap<Prompt & object, Prompt>();

  constructor(options: FakeOptions = {}) {
    this.#options = options;
    this.default_params = options.default_params ?? {};
    this.stats.running = options.running ?? 0;
    this.failures = Array.from({ length: options.engines ?? 1 }, () => null);
    this.capacity.data_parallel_size = this.failures.length;
    this.model = {
      name: "org/fake",
      architecture: "FakeForCausalLM",
      max_model_len: options.max_model_len ?? 1024,
      vocab_size: 65_536,
      dtype: "float32",
      device: "cpu",
    };
  }

  async start(prompt: Prompt, given: SamplingParams = {}, options: GenerateOptions = {}): Promise<Generation> {
    // Defaults are filled in as the library does it.
    const params = { max_tokens: options.default_max_tokens, ...this.default_params, ...given };
    const asked = (typeof prompt === "object" && this.#rendered.get(prompt)) || prompt;
    const call: FakeCall = { prompt: asked, params, options, aborted: false, tokens: 0 };
    this.calls.push(call);
    const ids = await this.tokenize(prompt);
    if (ids.length >= this.model.max_model_len) {
      const message = `the prompt has ${ids.length} tokens; the context holds ${this.model.max_model_len}`;
      throw new FastgenError("invalid_request", message, { code: "context_length_exceeded" });
    }
    return new FakeGeneration(this, call, ids, this.#options);
  }

  async generate(prompt: Prompt, params?: SamplingParams, options?: GenerateOptions): Promise<Completion> {
    return (await this.start(prompt, params, options)).completion();
  }

  // biome-ignore lint/correctness/useYield: the routes do not use it
  async *generateAll(): AsyncIterable<BatchResult> {
    throw new Error("not part of the fake");
  }

  async render(conversation: Conversation): Promise<RenderedPrompt> {
    const text = conversation.messages.map(({ role, content }) => `<${role}>${content}`).join("");
    const prompt = { rendered: text + (this.#options.opening ?? "") };
    this.#rendered.set(prompt, conversation);
    return prompt;
  }

  async tokenize(prompt: Prompt, _options?: GenerateOptions): Promise<Int32Array> {
    if (typeof prompt === "string") return Int32Array.from(codeUnits(prompt));
    if ("messages" in prompt) return this.tokenize(await this.render(prompt));
    return Int32Array.from("rendered" in prompt ? codeUnits(prompt.rendered) : prompt);
  }

  detokenize(ids: readonly number[] | Int32Array): string {
    return String.fromCharCode(...ids);
  }

  tokenText(id: number): string {
    return String.fromCharCode(id);
  }

  tokenOf(): null {
    return null;
  }

  get engines(): readonly EngineInfo[] {
    const zeros = <T extends object>(of: T) => Object.fromEntries(Object.keys(of).map((key) => [key, 0]));
    const idle = { ...zeros(this.stats), host: zeros(this.stats.host) } as unknown as Stats;
    const last = this.failures.length - 1;
    return this.failures.map((failure, i) => ({
      alive: failure === null,
      failure,
      stats: i === last ? this.stats : idle,
    }));
  }

  onStep(listener: (tokens: number, engine: number) => void): void {
    this.step = listener;
  }

  /** Whether ping() is answered. */
  responds = true;

  ping(): Promise<void> {
    return this.responds ? Promise.resolve() : new Promise(() => {});
  }

  is_paused = false;
  weight_version = "0";
  /** What was asked of it beside generations, in order. */
  readonly commands: unknown[] = [];

  async pause(options?: PauseOptions): Promise<void> {
    this.commands.push({ pause: options });
    this.is_paused = true;
  }

  async resume(): Promise<void> {
    this.commands.push("resume");
    this.is_paused = false;
  }

  async updateWeights(update: WeightUpdate): Promise<void> {
    this.commands.push({ update });
    if (this.#options.updateError) throw this.#options.updateError;
    this.weight_version = update.weight_version ?? String(Number(this.weight_version) + 1);
  }

  async resetPrefixCache(): Promise<void> {
    this.commands.push("resetPrefixCache");
  }

  is_sleeping = false;
  weights_problem: string | null = null;

  async sleep(options?: SleepOptions): Promise<void> {
    this.commands.push({ sleep: options });
    this.is_sleeping = true;
  }

  async wakeUp(options?: { tags?: readonly MemoryTag[] }): Promise<void> {
    this.commands.push({ wakeUp: options });
    this.is_sleeping = false;
  }

  abort(request_id: string | null): number {
    this.commands.push({ abort: request_id });
    return this.calls.filter(({ options }) => request_id === null || options.request_id === request_id).length;
  }

  #profile: PromiseWithResolvers<ProfileFile> | null = null;

  async startProfile(options: ProfileOptions): Promise<ProfileFile> {
    if (this.#options.profileError) throw this.#options.profileError;
    this.commands.push({ startProfile: options });
    this.#profile = Promise.withResolvers();
    return this.#profile.promise;
  }

  stopProfile(): void {
    this.commands.push("stopProfile");
    this.#profile?.resolve({ path: "/profiles/one.json", bytes: 123 });
    this.#profile = null;
  }

  get is_profiling(): boolean {
    return this.#profile !== null;
  }

  async close(): Promise<void> {
    this.alive = false;
  }
}

class FakeGeneration implements Generation {
  readonly prompt_token_ids: Int32Array;
  readonly params: ResolvedParams;
  readonly seeds: readonly bigint[];
  readonly prompt_text: string | null;
  readonly engine: number;
  readonly usage: Usage;
  readonly #fake: FakeFastgen;
  readonly #call: FakeCall;
  readonly #options: FakeOptions;
  readonly #choices: Choice[] = [];

  constructor(fake: FakeFastgen, call: FakeCall, ids: Int32Array, options: FakeOptions) {
    this.#fake = fake;
    this.#call = call;
    this.#options = options;
    this.prompt_token_ids = ids;
    this.params = samplingSchema.parse(call.params);
    this.params.max_tokens ??= fake.model.max_model_len - ids.length;
    this.seeds = Array.from({ length: this.params.n }, (_, i) => BigInt(this.params.seed ?? 77) + BigInt(i));
    this.engine = fake.failures.length - 1;
    this.prompt_text = typeof call.prompt === "string" ? call.prompt : null;
    this.usage = { prompt_tokens: ids.length, completion_tokens: 0, cached_tokens: 0 };
    fake.stats.prompt_tokens += ids.length;
    call.options.signal?.addEventListener("abort", () => this.abort());
    if (call.options.signal?.aborted) this.abort();
  }

  get prompt_logprobs(): (PositionLogprobs | null)[] | null {
    const top = this.#call.params.prompt_logprobs;
    if (top == null || this.#call.tokens < (this.#options.promptLogprobsAfter ?? 0)) return null;
    return Array.from(this.prompt_token_ids, (id, i) => (i === 0 ? null : logprob(id, top, i)));
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Chunk> {
    for await (const chunk of this.#chunks()) {
      const choice = this.#choices[chunk.index];
      if (choice) appendChunk(choice, chunk);
      else this.#choices[chunk.index] = structuredClone(chunk) as Choice;
      yield chunk;
    }
  }

  async *#chunks(): AsyncGenerator<Chunk> {
    const { answer = "Hello, wörld 👋", pace, failAfter, error } = this.#options;
    const { params } = this;
    const { observer } = this.#call.options;
    // Its context does not end an answer: some tests want longer ones.
    const limit = Math.min(this.#call.params.max_tokens ?? Number.POSITIVE_INFINITY, answer.length);
    const finish_reason = limit < answer.length ? "length" : "stop";
    let weight_versions = [{ start: 0, version: this.#fake.weight_version }];
    const end = { finish_reason, stop_reason: null } as const;
    const nothing = { token_ids: [], logprobs: null, weight_versions };
    if (limit === 0) {
      for (let index = 0; index < params.n; index++) {
        observer?.started(index, QUEUED_SECONDS, PREFILL_SECONDS, this.engine);
        observer?.ended(index, finish_reason, performance.now());
        yield { index, text: "", ...nothing, ...end };
      }
      return;
    }
    let held = "";
    for (let i = 0; i < limit; i++) {
      if (pace) await pace();
      if (this.#call.aborted) throw new FastgenError("aborted", "aborted");
      if (i === failAfter) throw error ?? new FastgenError("device", "the device fell off the bus");
      const version = this.#fake.weight_version;
      if (weight_versions.at(-1)!.version !== version) weight_versions = [...weight_versions, { start: i, version }];
      const id = answer.charCodeAt(i);
      const last = i === limit - 1;
      // Half a surrogate pair is held back, as half a character is by a detokeniser.
      held += answer[i];
      const text = last || held.isWellFormed() ? held : "";
      if (text !== "") held = "";
      for (let index = 0; index < params.n; index++) {
        this.usage.completion_tokens++;
        this.#fake.stats.generated_tokens++;
        this.#call.tokens++;
        if (i === 0) observer?.started(index, QUEUED_SECONDS, PREFILL_SECONDS, this.engine);
        observer?.token(index, performance.now());
        if (last) observer?.ended(index, finish_reason, performance.now());
        const logprobs =
          params.logprobs === null ? null : [logprob(id, params.logprobs, codePoints(answer.slice(0, i)))];
        const running = { finish_reason: null, stop_reason: null };
        yield { index, text, token_ids: [id], logprobs, weight_versions, ...(last ? end : running) };
      }
    }
  }

  async completion(): Promise<Completion> {
    const { prompt_token_ids, prompt_logprobs, usage } = this;
    return { prompt_token_ids: Array.from(prompt_token_ids), prompt_logprobs, choices: this.#choices, usage };
  }

  abort(): void {
    this.#call.aborted = true;
  }
}

/** A server on a port of its own over `fake` (null = still loading), and the lines of its access log. */
export async function startServer(fake: FastgenApi | null, options: Partial<ServiceOptions> = {}) {
  const accessLog: Record<string, unknown>[] = [];
  const errors: string[] = [];
  const service = new Service({
    accessLog: (line) => accessLog.push(JSON.parse(line)),
    errorLog: (text) => errors.push(text),
    ...options,
  });
  if (fake) service.ready(fake);
  const server = await listen(service, "127.0.0.1", 0);
  const url = `http://127.0.0.1:${server.port}`;
  return {
    service,
    accessLog,
    errors,
    url,
    port: server.port,
    post: (path: string, body: unknown, headers: Record<string, string> = {}) =>
      fetch(url + path, {
        method: "POST",
        headers: { "content-type": "application/json", ...headers },
        body: typeof body === "string" || body instanceof Uint8Array ? body : JSON.stringify(body),
      }),
    stop: () => server.stop(),
  };
}

export type TestServer = Awaited<ReturnType<typeof startServer>>;

/** Waits until `condition` holds, looking every `interval` milliseconds; fails after ten seconds. */
export async function until(condition: () => boolean, interval = 2): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error("the condition did not come to hold within ten seconds");
    await Bun.sleep(interval);
  }
}

/** Waits until `count` is above 0 and has not grown for `interval` milliseconds. Returns it. */
export async function stalledAt(count: () => number, interval: number): Promise<number> {
  let last = -1;
  await until(() => {
    const stalled = count() > 0 && count() === last;
    last = count();
    return stalled;
  }, interval);
  return last;
}

// biome-ignore lint/suspicious/noExplicitAny: a test reads whatever the reply holds
export function json(response: Response): Promise<any> {
  return response.json();
}

/** The data of a stream's events, in order; [DONE] included. */
export async function events(response: Response): Promise<string[]> {
  const text = await response.text();
  return [...text.matchAll(/^data: (.*)$/gm)].map((match) => match[1]!);
}
