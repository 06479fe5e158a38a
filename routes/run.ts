/** One request's generations: admitted, started, merged into one stream of pieces, timed and accounted for. */
import type { Context } from "hono";
import { asFastgenError, type FastgenError } from "../src/errors.ts";
import type { SamplingParams } from "../src/params.ts";
import type {
  Choice,
  Chunk,
  FastgenApi,
  GenerateOptions,
  Generation,
  GenerationObserver,
  Prompt,
} from "../src/types.ts";
import type { Env, RequestRecord } from "./context.ts";
import { GenerationTimer } from "./metrics/request-metrics.ts";
import type { RequestTracer } from "./metrics/tracing.ts";
import type { Service } from "./service.ts";

/** Prompts of one request that are tokenised at once. */
const PROMPTS_AT_ONCE = 8;

/** What a prompt becomes, and what more is asked of the library then. */
export type Prepare = (prompt: Prompt, signal: AbortSignal) => Promise<{ prompt: Prompt; options: GenerateOptions }>;

export class Run {
  readonly fastgen: FastgenApi;
  readonly record: RequestRecord;
  /** By prompt. */
  readonly generations: Generation[];
  /** Choices of each prompt; choice c of prompt p has the index p * n + c. */
  readonly n: number;
  readonly #service: Service;
  readonly #controller: AbortController;
  /** By prompt. */
  readonly #timers: GenerationTimer[];
  /** The version of the weights that made the newest piece, or would have made one. */
  weightVersion: string;
  /** Choices that have not ended; each holds a place in the queue. */
  #open: number;
  #ended = false;

  private constructor(
    service: Service,
    fastgen: FastgenApi,
    record: RequestRecord,
    generations: Generation[],
    timers: GenerationTimer[],
    n: number,
    controller: AbortController,
  ) {
    this.fastgen = fastgen;
    this.record = record;
    this.generations = generations;
    this.n = n;
    this.#service = service;
    this.#controller = controller;
    this.#timers = timers;
    this.#open = generations.length * n;
    this.weightVersion = fastgen.weight_version;
  }

  /**
   * Takes places in the queue, then tokenises and starts every prompt, all or none. Throws FastgenError.
   * @param prepare called for each prompt once there is a place for it.
   */
  static async start(
    c: Context<Env>,
    service: Service,
    prompts: Prompt[],
    params: SamplingParams,
    options: GenerateOptions = {},
    prepare?: Prepare,
  ): Promise<Run> {
    const n = params.n ?? 1;
    const { fastgen } = service;
    service.admit(prompts.length * n);
    const record = c.get("record");
    record.generates = true;
    const controller = new AbortController();
    const gone = c.req.raw.signal;
    if (gone.aborted) controller.abort();
    else gone.addEventListener("abort", () => controller.abort(), { once: true });
    const { signal } = controller;
    const generations: Generation[] = [];
    const begin = async (prompt: Prompt, observer: GenerationObserver) => {
      const made = await prepare?.(prompt, signal);
      return fastgen.start(made?.prompt ?? prompt, params, {
        ...options,
        ...made?.options,
        request_id: record.id,
        arrived: record.started,
        signal,
        observer,
      });
    };
    const timers = prompts.map(() => new GenerationTimer(service.metrics.requests, record.started));
    // A few at a time: tokenising thousands at once would keep everybody else's prompts waiting.
    for (let i = 0; i < prompts.length; i += PROMPTS_AT_ONCE) {
      const some = prompts.slice(i, i + PROMPTS_AT_ONCE);
      const started = await Promise.allSettled(some.map((prompt, j) => begin(prompt, timers[i + j]!)));
      for (const result of started) {
        if (result.status === "fulfilled") generations.push(result.value);
        else {
          controller.abort();
          service.release(prompts.length * n);
          throw result.reason;
        }
      }
    }
    record.releaseBody();
    return new Run(service, fastgen, record, generations, timers, n, controller);
  }

  /** The pieces of every choice as they come. The caller calls end(). */
  async *chunks(): AsyncGenerator<Chunk> {
    const [only] = this.generations;
    if (only && this.generations.length === 1) {
      for await (const chunk of only) {
        this.#account(chunk);
        yield chunk;
      }
      return;
    }
    for await (const [prompt, chunk] of merge(this.generations)) {
      chunk.index += prompt * this.n;
      this.#account(chunk);
      yield chunk;
    }
  }

  /** The generation that a choice belongs to. */
  generationOf(index: number): Generation {
    return this.generations[Math.floor(index / this.n)]!;
  }

  #account(chunk: Chunk): void {
    this.weightVersion = chunk.weight_versions.at(-1)?.version ?? this.weightVersion;
    if (chunk.finish_reason === null) return;
    this.#open--;
    this.#service.release(1);
  }

  /**
   * Waits for every choice to end. Returns the choices of the first prompt, then those of the second, and so on.
   * @param each hears of the pieces as they come.
   */
  async collect(each: (chunk: Chunk) => void = () => {}): Promise<Choice[]> {
    try {
      // The iteration does the timing and the accounts; the generations put the answers together.
      for await (const chunk of this.chunks()) each(chunk);
      const completions = await Promise.all(this.generations.map((generation) => generation.completion()));
      this.end();
      return completions.flatMap(({ choices }) => choices);
    } catch (error) {
      this.end(error);
      throw error;
    }
  }

  /** OpenAI's usage, summed over the prompts. Complete once the pieces have ended. */
  usage() {
    let prompt_tokens = 0;
    let completion_tokens = 0;
    let cached_tokens = 0;
    for (const { usage } of this.generations) {
      prompt_tokens += usage.prompt_tokens;
      completion_tokens += usage.completion_tokens;
      cached_tokens += usage.cached_tokens;
    }
    const total_tokens = prompt_tokens + completion_tokens;
    return { prompt_tokens, completion_tokens, total_tokens, prompt_tokens_details: { cached_tokens } };
  }

  /** Ends the request, after `error` if there was one. Aborts what still runs. Further calls do nothing. */
  end(error?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#controller.abort();
    this.#service.release(this.#open);
    const failure = error === undefined ? null : asFastgenError(error);
    const { requests } = this.#service.metrics;
    const { prompt_tokens, completion_tokens } = this.usage();
    this.record.promptTokens = prompt_tokens;
    this.record.completionTokens = completion_tokens;
    this.record.error = failure;
    const reason = failure === null || failure.kind === "aborted" ? "abort" : "error";
    for (const [i, generation] of this.generations.entries()) {
      const timer = this.#timers[i]!;
      // What the engine has ended counts as ended, also where its last piece was never read.
      requests.cut(generation.engine, this.n - timer.done, reason);
      requests.promptDone(generation, timer);
    }
    if (this.#service.options.tracer) this.#trace(this.#service.options.tracer, failure);
  }

  #trace(tracer: RequestTracer, error: FastgenError | null): void {
    const { id, started, traceHeaders } = this.record;
    tracer.requestDone({
      id,
      headers: traceHeaders,
      started,
      model: this.#service.modelName,
      params: this.generations[0]!.params,
      usage: this.usage(),
      times: this.#timers.flatMap(({ times }) => [...times.values()]),
      error,
    });
  }
}

/** Items of several iterables as they come. Each is asked for its next item once its last one was taken. */
export async function* merge<T>(sources: readonly AsyncIterable<T>[]): AsyncGenerator<[number, T]> {
  const iterators = sources.map((source) => source[Symbol.asyncIterator]());
  const ready: (() => [number, IteratorResult<T>])[] = [];
  let wake = () => {};
  const put = (item: () => [number, IteratorResult<T>]) => {
    ready.push(item);
    wake();
  };
  const ask = (which: number) =>
    iterators[which]!.next().then(
      (result) => put(() => [which, result]),
      (error) =>
        put(() => {
          throw error;
        }),
    );
  for (const which of iterators.keys()) void ask(which);
  for (let open = iterators.length; open > 0; ) {
    if (ready.length === 0) await new Promise<void>((resolve) => (wake = resolve));
    const taken = ready.splice(0);
    for (const item of taken) {
      const [which, result] = item();
      if (result.done) open--;
      else {
        yield [which, result.value];
        void ask(which);
      }
    }
  }
}
