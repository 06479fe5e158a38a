/**
 * One request on the main thread: token ids come in from the engine; text, log probabilities and chunks go out. A request
 * with n choices is n sequences of the engine.
 */

import type { SequenceEvent } from "../engine/front.ts";
import type { TokenLogprobs } from "../engine/protocol.ts";
import { FastgenError } from "../errors.ts";
import { MAX_UNREAD_BYTES } from "../limits.ts";
import type { ResolvedParams } from "../params.ts";
import type { Detokenizer } from "../text/detokenizer.ts";
import { StopStrings } from "../text/stop-strings.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type {
  Choice,
  Chunk,
  Completion,
  Generation,
  GenerationObserver,
  PositionLogprobs,
  TokenLogprob,
  Usage,
  WeightSpan,
} from "../types.ts";
import { afterNews } from "./after-news.ts";
import { codePoints, PromptOffsets } from "./text-offsets.ts";

interface ChoiceState {
  decoder: Detokenizer;
  stop: StopStrings;
  /** The whole answer, for completion(). A stream keeps only the fields that do not grow. */
  whole: Chunk;
  /** Tokens so far. */
  tokens: number;
  /** Characters of the text that they have completed; counted where log probabilities are reported. */
  characters: number;
  /** Which weights made them. */
  versions: readonly WeightSpan[];
  /** Not yet taken by the iteration. Pieces that nobody has taken yet are joined. */
  pending: Chunk | null;
}

/** A TokenLogprob: an object, its text, and its array of bytes. */
const LOGPROB_BYTES = 150;

export interface GenerationSetup {
  prompt: Int32Array;
  /** What the prompt's ids were made from, where that was a text and they are all of it. */
  promptText: string | null;
  params: ResolvedParams;
  /** The first prompt token that has a log probability, where any has. */
  firstScored: number;
  /** By choice. */
  seeds: readonly bigint[];
  tokenizer: Tokenizer;
  /** The model's own stop ids: they end an output without being a stop_reason. */
  modelStopIds: ReadonlySet<number>;
  /** By the id of a special token: the stop string that is its text. */
  stopTexts: ReadonlyMap<number, string>;
  /** Special tokens that are shown although skip_special_tokens leaves out the others. */
  shownIds: ReadonlySet<number>;
  /** The output is only iterated (GenerateOptions.stream). */
  stream: boolean;
  observer?: GenerationObserver;
  /** Which engine its sequences are in, once they are in one. */
  engine(): number;
  /** Ends the sequence of a choice in the engine, at any time. */
  abortChoice(choice: number): void;
  /** Pause the sequences of some choices in the engine, and let them go on. */
  pause(choices: number[]): void;
  resume(choices: number[]): void;
}

export class RunningGeneration implements Generation {
  readonly prompt_token_ids: Int32Array;
  readonly params: ResolvedParams;
  readonly seeds: readonly bigint[];
  readonly prompt_text: string | null;
  readonly usage: Usage;

  readonly #setup: GenerationSetup;
  readonly #choices: ChoiceState[];
  /** Choices with something pending, in the order it came. */
  readonly #ready: ChoiceState[] = [];
  /** As the engine gave them: a long prompt's would take gigabytes as objects. */
  #promptLogprobs: TokenLogprobs | null = null;
  /** Bytes of all that is pending, as they lie in memory. */
  #unread = 0;
  #paused = false;
  #running: number;
  #failure: FastgenError | null = null;
  /** Wakes whoever waits for news; there may be an iteration and several completion() calls. */
  readonly #wake: (() => void)[] = [];
  #onEnd: (() => void)[] = [];

  constructor(setup: GenerationSetup) {
    this.#setup = setup;
    this.prompt_token_ids = setup.prompt;
    this.params = setup.params;
    this.seeds = setup.seeds;
    this.prompt_text = setup.promptText;
    this.usage = { prompt_tokens: setup.prompt.length, completion_tokens: 0, cached_tokens: 0 };
    this.#running = setup.params.n;
    this.#choices = Array.from({ length: setup.params.n }, (_, index) => ({
      decoder: setup.tokenizer.detokenizer({
        skipSpecialTokens: setup.params.skip_special_tokens,
        shownIds: setup.shownIds,
      }),
      stop: new StopStrings(setup.params.stop, { includeStop: setup.params.include_stop_str_in_output }),
      whole: emptyChunk(index, setup.params.logprobs !== null),
      tokens: 0,
      characters: 0,
      versions: [],
      pending: null,
    }));
  }

  get prompt_logprobs(): Iterable<PositionLogprobs | null> | null {
    const from = this.#promptLogprobs;
    if (!from) return null;
    const { tokenizer, params, firstScored } = this.#setup;
    const { prompt_token_ids, prompt_text } = this;
    const position = (i: number, offset: number) => this.#position(from, i, offset);
    return {
      *[Symbol.iterator]() {
        const offsets = new PromptOffsets(tokenizer, prompt_text, params.skip_special_tokens);
        for (const [i, id] of prompt_token_ids.entries()) {
          const offset = offsets.next(id);
          yield i < firstScored ? null : position(i - 1, offset);
        }
      },
    };
  }

  get engine(): number {
    return this.#setup.engine();
  }

  /** True once nothing more will come. */
  get ended(): boolean {
    return this.#running === 0 || this.#failure !== null;
  }

  /** Calls back once, when the generation has ended, with or without an error. */
  onEnd(callback: () => void): void {
    if (this.ended) callback();
    else this.#onEnd.push(callback);
  }

  /** Takes the engine's news of one choice. News of a choice that has ended is dropped. */
  accept(index: number, event: SequenceEvent): void {
    const choice = this.#choices[index]!;
    if (this.ended || choice.whole.finish_reason !== null) return;
    if (event.error || event.finish === "error") {
      this.fail(event.error ?? new FastgenError("aborted", "the generation was aborted"));
      return;
    }
    choice.versions = withVersion(choice.versions, choice.tokens, event);
    if (event.cachedTokens !== null && index === 0) this.usage.cached_tokens = event.cachedTokens;
    if (event.promptLogprobs) this.#promptLogprobs = event.promptLogprobs;
    const { observer } = this.#setup;
    if (event.start) observer?.started(index, event.start.queuedSeconds, event.start.prefillSeconds, this.engine);
    if (event.token >= 0) observer?.token(index, event.time);
    const chunk = emptyChunk(index, choice.whole.logprobs !== null, choice.versions);
    if (event.token >= 0) this.#token(choice, chunk, event);
    if (event.finish !== "" && chunk.finish_reason === null) {
      chunk.finish_reason = event.finish;
      chunk.stop_reason ??= event.reason;
      chunk.text += choice.stop.flush() + choice.decoder.flush();
    }
    if (chunk.finish_reason !== null && chunk.finish_reason !== "abort") {
      observer?.ended(index, chunk.finish_reason, event.time);
    }
    this.#emit(choice, chunk);
  }

  /** Decodes one sampled token into `chunk` and looks for stop strings. */
  #token(choice: ChoiceState, chunk: Chunk, event: SequenceEvent): void {
    const { params, modelStopIds, stopTexts } = this.#setup;
    chunk.token_ids.push(event.token);
    choice.tokens++;
    this.usage.completion_tokens++;
    if (event.logprobs && chunk.logprobs) {
      const offset = choice.characters + Number(choice.decoder.breaksOff(event.token));
      chunk.logprobs.push(this.#position(event.logprobs, 0, offset));
    }
    const isStopId = event.finish === "stop" && this.#isStopId(event.token);
    const stopText = isStopId ? stopTexts.get(event.token) : undefined;
    if (isStopId && (params.ignore_eos || !modelStopIds.has(event.token))) chunk.stop_reason = stopText ?? event.token;
    // A stop id is reported among the ids. Its text, if it has any, is shown only if stop strings are.
    if (isStopId && !params.include_stop_str_in_output) return;
    const { decoder } = choice;
    const piece = stopText === undefined ? decoder.pushOne(event.token) : decoder.flush() + stopText;
    if (chunk.logprobs) choice.characters += codePoints(piece);
    // min_tokens holds stop strings back too: what comes before cannot be part of one.
    if (isStopId || choice.tokens - 1 < params.min_tokens) {
      chunk.text = choice.stop.flush() + piece;
      return;
    }
    const { text, stop } = choice.stop.push(piece);
    chunk.text = text;
    if (stop !== null) {
      chunk.finish_reason = "stop";
      chunk.stop_reason = stop;
      if (event.finish === "") this.#setup.abortChoice(choice.whole.index);
    }
  }

  /** A sequence also stops with the last token of its grammar. */
  #isStopId(token: number): boolean {
    const { params, modelStopIds, stopTexts } = this.#setup;
    return modelStopIds.has(token) || stopTexts.has(token) || params.stop_token_ids.includes(token);
  }

  #emit(choice: ChoiceState, chunk: Chunk): void {
    if (this.#setup.stream) choice.whole.finish_reason = chunk.finish_reason;
    else appendChunk(choice.whole, chunk);
    this.#unread += chunkBytes(chunk);
    if (choice.pending) appendChunk(choice.pending, chunk);
    else {
      choice.pending = chunk;
      this.#ready.push(choice);
    }
    if (chunk.finish_reason !== null && --this.#running === 0) this.#end();
    this.#notify();
    if (this.#setup.stream && !this.#paused && this.#unread > MAX_UNREAD_BYTES && !this.ended) {
      this.#paused = true;
      this.#setup.pause(this.#open());
    }
  }

  /** The next piece for the iteration, or null where there is none. */
  #take(): Chunk | null {
    const choice = this.#ready.shift();
    if (!choice) return null;
    const chunk = choice.pending!;
    choice.pending = null;
    this.#unread -= chunkBytes(chunk);
    // Well below the bound, so that sequences do not pause and go on all the time: each time costs the engine a little.
    if (this.#paused && this.#unread <= MAX_UNREAD_BYTES / 2) {
      this.#paused = false;
      if (!this.ended) this.#setup.resume(this.#open());
    }
    return chunk;
  }

  /** Choices that have not ended. */
  #open(): number[] {
    return this.#choices.filter(({ whole }) => whole.finish_reason === null).map(({ whole }) => whole.index);
  }

  /** Ends the generation with an error and aborts its sequences in the engine. The first failure stays. */
  fail(error: FastgenError): void {
    if (this.ended) return;
    this.#failure = error;
    for (const choice of this.#open()) this.#setup.abortChoice(choice);
    this.#end();
    this.#notify();
  }

  abort(): void {
    this.fail(new FastgenError("aborted", "the generation was aborted"));
  }

  #end(): void {
    for (const callback of this.#onEnd) callback();
    this.#onEnd = [];
  }

  #notify(): void {
    if (this.#wake.length > 0) afterNews(this.#wake.splice(0));
  }

  #news(): Promise<void> {
    return new Promise((resolve) => this.#wake.push(resolve));
  }

  /** Pieces as they come. Leaving the loop early aborts the generation. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Chunk, void, void> {
    try {
      while (true) {
        const chunk = this.#take();
        if (chunk) yield chunk;
        else if (this.#failure) throw this.#failure;
        else if (this.#running === 0) return;
        else await this.#news();
      }
    } finally {
      this.abort();
    }
  }

  async completion(): Promise<Completion> {
    if (this.#setup.stream) {
      throw new FastgenError("invalid_request", "this generation was started with stream: true; iterate it");
    }
    while (!this.ended) await this.#news();
    if (this.#failure) throw this.#failure;
    const { prompt_logprobs } = this;
    let made: Completion["prompt_logprobs"] = null;
    return {
      prompt_token_ids: Array.from(this.prompt_token_ids),
      /** Made when first asked for: there may be millions. */
      get prompt_logprobs() {
        made ??= prompt_logprobs && Array.from(prompt_logprobs);
        return made;
      },
      choices: this.#choices.map((choice) => choice.whole as Choice),
      usage: this.usage,
    };
  }

  #position(from: TokenLogprobs, i: number, text_offset: number): PositionLogprobs {
    return {
      ...this.#logprob(from.ids[i]!, from.logprobs[i]!),
      rank: from.ranks[i]!,
      text_offset,
      top: Array.from({ length: from.topN }, (_, k) =>
        this.#logprob(from.topIds[i * from.topN + k]!, from.topLogprobs[i * from.topN + k]!),
      ),
    };
  }

  #logprob(id: number, logprob: number): TokenLogprob {
    const { tokenizer } = this.#setup;
    return { id, token: tokenizer.tokenText(id), bytes: Array.from(tokenizer.tokenBytes(id)), logprob };
  }
}

function emptyChunk(index: number, logprobs: boolean, weight_versions: readonly WeightSpan[] = []): Chunk {
  const nothing = { text: "", token_ids: [], logprobs: logprobs ? [] : null };
  return { index, ...nothing, finish_reason: null, stop_reason: null, weight_versions };
}

/** The versions of a choice with `tokens` tokens so far after one more event. The array stays the same where no other is new. */
function withVersion(
  versions: readonly WeightSpan[],
  tokens: number,
  { token, weightVersion: version }: Pick<SequenceEvent, "token" | "weightVersion">,
): readonly WeightSpan[] {
  const last = versions.at(-1);
  if (last && (token < 0 || last.version === version)) return versions;
  return [...versions, { start: tokens, version }];
}

/** A chunk's size in memory: a rough sum over its parts, so that two chunks together are as large as their join. */
function chunkBytes({ text, token_ids, logprobs }: Chunk): number {
  const entries = logprobs?.reduce((count, { top }) => count + 1 + top.length, 0) ?? 0;
  return 2 * text.length + 8 * token_ids.length + LOGPROB_BYTES * entries;
}

/** Joins the piece `from` of the same choice to `to`, which comes right before it. */
export function appendChunk(to: Chunk, from: Chunk): void {
  to.text += from.text;
  to.token_ids.push(...from.token_ids);
  if (to.logprobs && from.logprobs) to.logprobs.push(...from.logprobs);
  to.finish_reason = from.finish_reason;
  to.stop_reason = from.stop_reason;
  to.weight_versions = from.weight_versions;
}
