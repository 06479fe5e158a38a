/** The library: a model loaded, generating. The tools are written on this. */

import { chooseDevice, contextThatFits, engineConfigs } from "./device.ts";
import type { SequenceListener } from "./engine/front.ts";
import { PAGE_TOKENS } from "./engine/pages/page-cache.ts";
import type { EngineRequest, EngineStats } from "./engine/protocol.ts";
import { type Placement, Replicas } from "./engine/replicas.ts";
import type { EngineConfig } from "./engine-config.ts";
import { asFastgenError, FastgenError } from "./errors.ts";
import { RunningGeneration } from "./generation/generation.ts";
import { PromptEncoder, promptField, specialIds, specialStops } from "./generation/prompt-encoder.ts";
import { kvEventsOf } from "./kv-events/config.ts";
import { KvEventPublishers } from "./kv-events/publishers.ts";
import { openDefaultModel } from "./model/embedded.ts";
import { openModel } from "./model/load.ts";
import type { Model } from "./model/shape.ts";
import type { SamplingParams } from "./params.ts";
import { Profile } from "./profile/profile.ts";
import { BadWords } from "./request/bad-words.ts";
import { freeMatchers, giveMatchers, OutputConstraints } from "./request/output-constraints.ts";
import { engineRequests, type ModelLimits, resolveParams } from "./request/request.ts";
import { runBounded } from "./run-bounded.ts";
import { whyNotWritable } from "./system/writable-folder.ts";
import { ChatTemplate } from "./text/chat-template.ts";
import { readGenerationConfig } from "./text/generation-config.ts";
import { Tokenizer } from "./text/tokenizer.ts";
import { tokenizerConfig } from "./text/tokenizer-config.ts";
import type {
  BatchInput,
  BatchResult,
  Capacity,
  Completion,
  Conversation,
  EngineInfo,
  FastgenApi,
  GenerateOptions,
  Generation,
  LoadOptions,
  MemoryTag,
  ModelInfo,
  PauseOptions,
  ProfileFile,
  ProfileOptions,
  Prompt,
  RenderedPrompt,
  SleepOptions,
  Stats,
  WeightUpdate,
} from "./types.ts";
import { VERSION } from "./version.ts";
import { updateCommand } from "./weight-update.ts";

/** Milliseconds from the model's being ready until grammars are prepared. */
const PREPARE_AFTER = 100;

/** What a loaded model is made of. */
interface Loaded {
  engines: Replicas;
  kvEvents: KvEventPublishers;
  tokenizer: Tokenizer;
  template: ChatTemplate;
  model: ModelInfo;
  weightsIn: Model["weightsIn"];
  limits: ModelLimits;
  defaults: SamplingParams;
  config: Pick<EngineConfig, "prefixCaching" | "maxSeqs" | "maxStepTokens" | "devices">;
  tokenizerConfig: Record<string, unknown>;
  /** Whether requests may have a priority. */
  byPriority: boolean;
}

export class Fastgen implements FastgenApi {
  readonly #loaded: Loaded;
  readonly #modelStopIds: ReadonlySet<number>;
  readonly #encoder: PromptEncoder;
  readonly #badWords: BadWords;
  readonly #constraints: OutputConstraints;
  /** Those that have not ended: what each is called, and what ends it in the engine. */
  readonly #running = new Map<RunningGeneration, { id: string | undefined; end: () => void }>();
  #paused = false;
  /** Updates of the weights that have succeeded. */
  #updates = 0;
  readonly #preparing: NodeJS.Timeout;
  #profile: Profile | null = null;

  private constructor(loaded: Loaded) {
    this.#loaded = loaded;
    this.#modelStopIds = new Set(loaded.limits.stopIds);
    const { template, tokenizer, limits } = loaded;
    this.#encoder = new PromptEncoder(template, tokenizer, limits);
    this.#badWords = new BadWords((text) => tokenizer.encode(text, false));
    this.#constraints = new OutputConstraints(tokenizer, limits.vocabSize, limits.stopIds);
    // Whoever waits for the model has it by then.
    this.#preparing = setTimeout(() => this.#constraints.prepare(), PREPARE_AFTER).unref();
  }

  /**
   * Loads a model: a Hugging Face directory, "org/name", or none for the embedded one. Everything that can be wrong is
   * found before the weights are read.
   * @throws FastgenError "model", "invalid_request" (options), "device", "out_of_memory", "unavailable" (network), "aborted".
   */
  static async load(name?: string, options: LoadOptions = {}): Promise<Fastgen> {
    const { signal } = options;
    const device = chooseDevice(options.device ?? "auto", options.onWarning);
    const opening = {
      revision: options.revision,
      loadFormat: options.load_format,
      onProgress: options.onProgress,
      onWarning: options.onWarning,
      signal,
    };
    const model = await (name === undefined ? openDefaultModel(opening) : openModel(name, opening));
    const configs = engineConfigs(model, device, options);
    const config = configs[0]!;
    if (config.kvCacheDir) makeKvCacheDir(config.kvCacheDir.path);
    const template = ChatTemplate.load(model.files, {
      override: options.chat_template,
      contentFormat: options.chat_template_content_format,
    });
    for (const problem of await template.problems()) options.onWarning?.(problem);
    const kvEvents = await KvEventPublishers.open(kvEventsOf(options.kv_events_config), configs.length);
    // The tokenizer and the weights load side by side.
    const starting = Replicas.start(configs, {
      onProgress: options.onProgress,
      onWarning: options.onWarning,
      onKvEvents: (batch, rank) => kvEvents.publish(batch, rank),
      signal,
    });
    const tokenizing = Tokenizer.load(model.files);
    const [engines, tokenizer] = await Promise.allSettled([starting, tokenizing]);
    if (engines.status === "rejected") {
      await kvEvents.close();
      throw engines.reason;
    }
    try {
      if (tokenizer.status === "rejected") throw tokenizer.reason;
      const generation = readGenerationConfig(model.files, tokenizer.value, await template.afterAnswer());
      const { prefixCaching, maxSeqs, maxStepTokens, devices } = config;
      const maxContext = contextThatFits(config.maxContext, engines.value.capacity, device, options);
      return new Fastgen({
        engines: engines.value,
        kvEvents,
        tokenizer: tokenizer.value,
        template,
        model: {
          name: model.name,
          architecture: model.architecture,
          max_model_len: maxContext,
          vocab_size: model.shape.vocabSize,
          dtype: config.computeDtype,
          device: config.device,
        },
        weightsIn: model.weightsIn,
        limits: { vocabSize: model.shape.vocabSize, maxContext, stopIds: generation.stopIds },
        defaults: { ...generation.params, ...(options.logprobs_mode && { logprobs_mode: options.logprobs_mode }) },
        config: { prefixCaching, maxSeqs, maxStepTokens, devices },
        tokenizerConfig: tokenizerConfig(model.files, options.chat_template),
        byPriority: config.schedulingPolicy === "priority",
      });
    } catch (error) {
      await engines.value.close();
      await kvEvents.close();
      throw error;
    }
  }

  get model(): ModelInfo {
    return this.#loaded.model;
  }

  get capacity(): Capacity {
    const { engines, config } = this.#loaded;
    const { pages, hostPages, pageBytes, weightBytes, graphs, threads, deviceName } = engines.capacity;
    return {
      pages,
      host_pages: hostPages,
      page_tokens: PAGE_TOKENS,
      prefix_caching: config.prefixCaching,
      max_num_seqs: config.maxSeqs,
      max_num_batched_tokens: config.maxStepTokens,
      tensor_parallel_size: config.devices.length,
      data_parallel_size: engines.engines.length,
      page_bytes: pageBytes,
      weight_bytes: weightBytes,
      graphs,
      threads,
      device_name: deviceName,
    };
  }

  get load_seconds(): number {
    return this.#loaded.engines.loadSeconds;
  }

  get stats(): Stats {
    return publicStats(this.#loaded.engines.stats);
  }

  get engines(): readonly EngineInfo[] {
    return this.#loaded.engines.engines.map(({ alive, failure, stats }) => ({
      alive,
      failure,
      stats: publicStats(stats),
    }));
  }

  get alive(): boolean {
    return this.#loaded.engines.alive;
  }

  onStep(listener: (tokens: number, engine: number) => void): void {
    this.#loaded.engines.onStep(listener);
  }

  get failed(): Promise<FastgenError> {
    return this.#loaded.engines.failed;
  }

  get default_params(): SamplingParams {
    return this.#loaded.defaults;
  }

  async start(prompt: Prompt, params?: SamplingParams, options: GenerateOptions = {}): Promise<Generation> {
    const { engines, tokenizer, limits, defaults, byPriority } = this.#loaded;
    const { signal, cache_salt: cacheSalt, priority = 0 } = options;
    const called = performance.now();
    throwIfAborted(signal);
    if (priority !== 0 && !byPriority) {
      const message = `priority must be 0, not ${priority}, unless the model is served with --scheduling-policy priority`;
      throw new FastgenError("invalid_request", message, { param: "priority" });
    }
    const resolved = resolveParams(params, { max_tokens: options.default_max_tokens, ...defaults });
    const room = limits.maxContext - (resolved.max_tokens ?? 1);
    const { ids, isWhole } = await this.#encoder.encode(prompt, options, room, limits.maxContext);
    const tokenised = performance.now();
    const stopTexts = specialStops(resolved.stop, tokenizer);
    const badWords = await this.#badWords.idsOf(resolved.bad_words ?? []);
    throwIfAborted(signal);
    const isDefault = params?.max_tokens === undefined;
    const constraint = await this.#constraints.of(resolved, options);
    const firstScored = options.first_scored_token ?? 1;
    const extras = { stopIds: stopTexts.keys(), badWords, cacheSalt, priority, firstScored, ...constraint };
    let requests: EngineRequest[];
    try {
      throwIfAborted(signal);
      requests = engineRequests(resolved, ids, limits, promptField(prompt), isDefault, extras);
    } catch (error) {
      constraint.release();
      throw error;
    }
    let placed!: Placement;
    const idsOf = (choices: number[]) => choices.map((choice) => placed.ids[choice]!);
    const generation = new RunningGeneration({
      prompt: ids,
      promptText: typeof prompt === "string" && isWhole ? prompt : null,
      params: { ...resolved, max_tokens: requests[0]!.maxTokens },
      firstScored,
      seeds: requests.map(({ sampling }) => BigInt.asIntN(64, sampling.seed)),
      stopTexts,
      shownIds: specialIds(options.shown_special_tokens ?? [], tokenizer),
      tokenizer,
      modelStopIds: this.#modelStopIds,
      stream: options.stream ?? false,
      observer: options.observer,
      engine: () => placed.index,
      abortChoice: (choice) => placed.engine.abort(idsOf([choice])),
      pause: (choices) => placed.engine.pause(idsOf(choices)),
      resume: (choices) => placed.engine.resume(idsOf(choices)),
    });
    // Before anything is hung on the signal: this may refuse.
    try {
      const listener: SequenceListener = (choice, event) => {
        this.#profile?.requests.news(placed.index, placed.ids[choice]!, choice, event);
        try {
          generation.accept(choice, event);
        } catch (thrown) {
          // Nobody waits for ever on a fault of whoever listens.
          generation.fail(asFastgenError(thrown));
          throw thrown;
        }
      };
      const queued = performance.now();
      placed = engines.add(requests, listener);
      this.#profile?.requests.added(placed.index, placed.ids, {
        request: options.request_id ?? "",
        arrived: options.arrived ?? called,
        called,
        tokenised,
        queued,
        promptTokens: ids.length,
      });
    } catch (error) {
      freeMatchers(requests);
      constraint.release();
      throw error;
    }
    this.#running.set(generation, { id: options.request_id, end: () => placed.engine.abort(placed.ids) });
    generation.onEnd(() => this.#running.delete(generation));
    if (signal) {
      const onAbort = () => generation.abort();
      signal.addEventListener("abort", onAbort, { once: true });
      generation.onEnd(() => signal.removeEventListener("abort", onAbort));
    }
    try {
      // The prompt is computed meanwhile. Whether the grammar can be used is known before the caller has anything.
      if (constraint.compiling) await giveMatchers(placed.engine, placed.ids, constraint.compiling);
    } catch (error) {
      generation.fail(asFastgenError(error));
      throw error;
    } finally {
      constraint.release();
    }
    return generation;
  }

  async generate(prompt: Prompt, params?: SamplingParams, options?: GenerateOptions): Promise<Completion> {
    return (await this.start(prompt, params, options)).completion();
  }

  async *generateAll(
    inputs: Iterable<Prompt | BatchInput> | AsyncIterable<Prompt | BatchInput>,
    params?: SamplingParams,
    options: GenerateOptions = {},
  ): AsyncGenerator<BatchResult, void, void> {
    // Twice what runs at once: a sequence that ends finds the next one waiting in the engine.
    const limit = 2 * this.#loaded.config.maxSeqs * this.#loaded.engines.engines.length;
    const prepare = (input: Prompt | BatchInput) => {
      const stop = new AbortController();
      const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
      const job = isBatchInput(input) ? input : { prompt: input };
      const merged = { ...params, ...job.params };
      return {
        weight: Number.isInteger(merged.n) ? Math.max(merged.n!, 1) : 1,
        run: () => this.generate(job.prompt, merged, { ...options, signal }),
        abort: () => stop.abort(),
      };
    };
    for await (const { index, outcome } of runBounded(inputs, limit, prepare)) {
      throwIfAborted(options.signal);
      // The input may be endless, and an engine that has ended would fail every request.
      if (outcome.status === "rejected" && !this.alive) throw outcome.reason;
      if (outcome.status === "fulfilled") yield { index, completion: outcome.value };
      else yield { index, error: asFastgenError(outcome.reason) };
    }
    throwIfAborted(options.signal);
  }

  render(conversation: Conversation, signal?: AbortSignal): Promise<RenderedPrompt> {
    return this.#encoder.render(conversation, signal);
  }

  async tokenize(prompt: Prompt, options: GenerateOptions = {}): Promise<Int32Array> {
    return (await this.#encoder.encode(prompt, options, this.#loaded.limits.maxContext, null)).ids;
  }

  detokenize(ids: readonly number[] | Int32Array, options: { skip_special_tokens?: boolean } = {}): string {
    return this.#loaded.tokenizer.decode(ids, { skipSpecialTokens: options.skip_special_tokens ?? true });
  }

  tokenText(id: number): string {
    return this.#loaded.tokenizer.tokenText(id);
  }

  tokenOf(text: string): { id: number; special: boolean } | null {
    const { tokenizer } = this.#loaded;
    const id = tokenizer.tokenToId(text);
    return id === null ? null : { id, special: tokenizer.isSpecial(id) };
  }

  get tokenizer_config(): Record<string, unknown> {
    return this.#loaded.tokenizerConfig;
  }

  async ping(): Promise<void> {
    await this.#loaded.engines.command({ type: "ping" });
  }

  async pause({ mode = "abort", clear_cache = true }: PauseOptions = {}): Promise<void> {
    this.#paused = true;
    await this.#loaded.engines.command({ type: "hold", mode, clearCache: clear_cache });
  }

  async resume(): Promise<void> {
    this.#paused = false;
    await this.#loaded.engines.command({ type: "release" });
  }

  get is_paused(): boolean {
    return this.#paused;
  }

  async updateWeights(update: WeightUpdate): Promise<void> {
    const { engines } = this.#loaded;
    await engines.command(await updateCommand(this.#loaded, update, String(this.#updates + 1)));
    this.#updates++;
  }

  get weight_version(): string {
    return this.#loaded.engines.state.weightVersion;
  }

  async resetPrefixCache(): Promise<void> {
    await this.#loaded.engines.command({ type: "clear_cache" });
  }

  async sleep({ level = 1, mode = "abort" }: SleepOptions = {}): Promise<void> {
    await this.#loaded.engines.command({ type: "sleep", level, mode });
  }

  async wakeUp({ tags = ["weights", "kv_cache"] }: { tags?: readonly MemoryTag[] } = {}): Promise<void> {
    const [weights, kvCache] = [tags.includes("weights"), tags.includes("kv_cache")];
    await this.#loaded.engines.command({ type: "wake", weights, kvCache });
  }

  get is_sleeping(): boolean {
    return this.#loaded.engines.state.sleeping;
  }

  get weights_problem(): string | null {
    return this.#loaded.engines.state.weightsProblem;
  }

  abort(request_id: string | null): number {
    const wanted = [...this.#running.values()].filter(({ id }) => request_id === null || id === request_id);
    for (const { end } of wanted) end();
    return wanted.length;
  }

  async startProfile(options: ProfileOptions): Promise<ProfileFile> {
    const { engines, model } = this.#loaded;
    if (this.#profile) throw new FastgenError("invalid_request", "a profile is being recorded: stop it first");
    const { device_name } = this.capacity;
    const about = { fastgen: VERSION, model: model.name, dtype: model.dtype, device: device_name };
    this.#profile = new Profile(engines.engines, about);
    try {
      return await this.#profile.record(options);
    } finally {
      this.#profile = null;
    }
  }

  stopProfile(): void {
    this.#profile?.stop();
  }

  get is_profiling(): boolean {
    return this.#profile !== null;
  }

  async close(): Promise<void> {
    clearTimeout(this.#preparing);
    await this.#loaded.engines.close();
    await this.#loaded.kvEvents.close();
    await this.#constraints.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** What the engines' threads would otherwise find out later, when the server is up. */
function makeKvCacheDir(folder: string): void {
  const reason = whyNotWritable(folder, 0o700);
  if (reason === null) return;
  const message = `kv_cache_dir: pages cannot be kept in ${folder}: ${reason}; name another folder`;
  throw new FastgenError("invalid_request", message, { param: "kv_cache_dir" });
}

function publicStats(stats: EngineStats): Stats {
  const { pagesUsed, prefixQueriedTokens, prefixHitTokens, promptTokens, generatedTokens, stepTokens, ...rest } = stats;
  const { diskPages, diskCapacity, diskHits, diskMisses, diskSaved, diskSkipped, diskLost, ...others } = rest;
  const { diskReadSeconds, diskWriteSeconds, ...more } = others;
  const { host, pagesHeld, ...same } = more;
  return {
    ...same,
    pages_used: pagesUsed,
    prefix_queried_tokens: prefixQueriedTokens,
    prefix_hit_tokens: prefixHitTokens,
    prompt_tokens: promptTokens,
    generated_tokens: generatedTokens,
    step_tokens: stepTokens,
    pages_held: pagesHeld,
    host: {
      pages: host.pages,
      pages_held: host.pagesHeld,
      hits: host.hits,
      misses: host.misses,
      saved: host.saved,
      restored: host.restored,
      forgotten: host.forgotten,
      read_seconds: host.readSeconds,
      write_seconds: host.writeSeconds,
    },
    disk_pages: diskPages,
    disk_capacity: diskCapacity,
    disk_hits: diskHits,
    disk_misses: diskMisses,
    disk_saved: diskSaved,
    disk_skipped: diskSkipped,
    disk_lost: diskLost,
    disk_read_seconds: diskReadSeconds,
    disk_write_seconds: diskWriteSeconds,
  };
}

function isBatchInput(input: Prompt | BatchInput): input is BatchInput {
  return typeof input === "object" && "prompt" in input;
}

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new FastgenError("aborted", "the generation was aborted");
}
