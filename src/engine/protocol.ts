/**
 * What crosses between the main thread (front.ts) and the engine worker (worker.ts): token ids and small structs, one message
 * per step in each direction. Plain data only; structured clone copies typed arrays.
 */
import type { EngineCapacity, EngineSampling } from "../engine-config.ts";
import type { ErrorKind } from "../errors.ts";
import type { TensorSource } from "../model/shape.ts";
import type { DiskChange } from "./offload/disk-listing.ts";

/** What a sequence's tokens must follow. */
export interface EngineGrammar {
  /**
   * An LlgMatcher (src/grammar). The worker owns it from now on, and frees it when the sequence has ended. Null = the grammar
   * is still being compiled: a "matchers" message brings it. Until then nothing is sampled that the grammar holds for.
   */
  matcher: number | null;
  /** It holds from the token after one of these id sequences: the end of thinking. None = from the first token. */
  after: Int32Array[];
}

/** A sequence whose thinking ends by force once it has had `budget` tokens. */
export interface ThinkingBudget {
  budget: number;
  /** The id sequences that open it where the output begins with them; none = it is open at the first token. */
  isBegin: Int32Array[];
  /** The ids that end it by force. Whatever waits for the end of thinking then begins. */
  end: Int32Array;
  /** The id sequences by which it ends on its own. */
  isEnd: Int32Array[];
}

/** One sequence to generate. A request with n choices is n of these. */
export interface EngineRequest {
  /** Unique while it is alive; chosen by the front. */
  id: number;
  prompt: Int32Array;
  sampling: EngineSampling;
  /** >= 0, and prompt + maxTokens <= maxContext: request.ts has checked that. 0 only with promptLogprobs. */
  maxTokens: number;
  minTokens: number;
  /** Generation ends when one of these is sampled. That id is still reported. */
  stopIds: Int32Array;
  /** Which ids to sample from (token-mask.ts), shared by the choices of a request; null = all. */
  allowed: Uint32Array | null;
  /** Token sequences that must not be generated: the last token of one is not sampled after the others. */
  badWords: Int32Array[];
  /** Null = none. */
  grammar: EngineGrammar | null;
  /** Null = thinking, if there is any, has no end but its own. */
  thinking: ThinkingBudget | null;
  /** Its pages are found only by requests with the same salt. */
  cacheSalt: string;
  /** Lower is sooner. Equal for all unless the scheduling policy is "priority". */
  priority: number;
  /** Ids to report for each generated token in place of the most probable ones; empty = none. Needs logprobs >= 0. */
  logprobIds: Int32Array;
  /** Alternatives per token. 0 = only the sampled token's own log probability; -1 = not even that. */
  logprobs: number;
  /** The same for each prompt token that is scored. */
  promptLogprobs: number;
  /**
   * Scored are the tokens after prompt position scoreFrom; what is before it may come from the prefix cache. 0 = all tokens but the
   * first, and a request with promptLogprobs then does not use the cache. Less than the prompt's length - 1, where that is not 0.
   */
  scoreFrom: number;
}

/** The fields of a request that asks for none of this. */
export const PLAIN = {
  allowed: null,
  badWords: [],
  grammar: null,
  thinking: null,
  cacheSalt: "",
  priority: 0,
  logprobIds: new Int32Array(0),
  scoreFrom: 0,
} satisfies Partial<EngineRequest>;

/** Why a sequence ended. Its index is what crosses in StepMessage.finish; 0 = it still runs. */
export const FINISH = ["", "stop", "length", "abort", "error"] as const;
export type FinishReason = Exclude<(typeof FINISH)[number], "">;

/** Log probabilities of some tokens of one sequence, in order. */
export interface TokenLogprobs {
  ids: Int32Array;
  logprobs: Float32Array;
  /** 1 = the most probable of the vocabulary. */
  ranks: Int32Array;
  /** Alternatives, most probable first: [ids.length][topN] flattened. */
  topN: number;
  topIds: Int32Array;
  topLogprobs: Float32Array;
}

/** The version of the weights that an engine starts with. */
export const FIRST_VERSION = "0";

/** Why an update is refused while another one runs. */
export const UPDATING = "the weights are being updated; wait for the end of that";

/** Why a sleep comes to nothing. */
export const WOKEN = "the engine was woken up before it slept";

/** How a hold treats the sequences that are there: end them, let them end, or let them go on after it. */
export type HoldMode = "abort" | "wait" | "keep";

/** What is asked of the engine beside sequences. Each is answered by a "done" message. */
export type Command =
  /** No step runs from then on, until "release". Sequences that arrive wait. */
  | { type: "hold"; mode: HoldMode; clearCache: boolean }
  | { type: "release" }
  | { type: "ping" }
  /** No page of before is found any more. Sequences that run keep theirs. */
  | { type: "clear_cache" }
  /** Other weights in the place of these. Null: the pages go unless the hold in force said that they stay. */
  | { type: "update"; tensors: TensorSource[]; version: string; clearCache: boolean | null }
  /** As "hold", until all is awake; and the memory goes back to the system. Level 2 drops the weights: they need an update. */
  | { type: "sleep"; level: 1 | 2; mode: HoldMode }
  /** As "sleep" up to the point where it could begin: no step runs from then on, until it sleeps and wakes, or "wake". */
  | { type: "ready_to_sleep"; mode: HoldMode }
  | { type: "wake"; weights: boolean; kvCache: boolean };

/** What commands have made of the engine. */
export interface ControlState {
  weightVersion: string;
  /** The weights, the KV cache or both sleep. */
  sleeping: boolean;
  /** Why nothing can be computed with the weights that there are; null while they are whole. */
  weightsProblem: string | null;
  /** Why new requests are refused rather than wait; null while they are taken. */
  refusal: string | null;
}

/** What an engine is to record for a profile. */
export interface ProfileOrder {
  /** The engine's number in the profile. */
  engine: number;
  /** Null = until it is stopped. */
  steps: number | null;
  /** Where its parts go (profile-file.ts). */
  parts: [steps: string, trace: string];
}

export type ToWorker =
  | { type: "add"; requests: EngineRequest[] }
  /** What requests came without, because it was being compiled: entry i is for ids[i], which may have ended meanwhile. */
  | { type: "matchers"; ids: number[]; matchers: number[] }
  | { type: "abort"; ids: number[] }
  | { type: "pause"; ids: number[] }
  | { type: "resume"; ids: number[] }
  | { type: "command"; id: number; command: Command }
  /** Records steps, `steps` of them or all until "profile_stop". Answered by "profiled", at the end. */
  | { type: "profile_start"; order: ProfileOrder }
  | { type: "profile_stop" }
  | { type: "close" };

/** How a sequence began, by the engine's clock. */
export interface SequenceStart {
  /** From its arrival until it first got a slot. */
  queuedSeconds: number;
  /** From then until its first token, or its end if it has none. */
  prefillSeconds: number;
}

/** The KV cache on disk (--kv-cache-dir). Counted since the start, but diskPages and diskCapacity. */
export interface DiskStats {
  /** Pages on disk, and how many may be; 0 while there are none. */
  diskPages: number;
  diskCapacity: number;
  /** Pages of prompts that neither device nor host had: those that were read from disk, and those that were computed. */
  diskHits: number;
  diskMisses: number;
  /** Pages written, and pages that were not, because the disk did not keep up. */
  diskSaved: number;
  diskSkipped: number;
  /** Pages that were damaged or gone when they were to be read. */
  diskLost: number;
  /** In which pages were read, and written. */
  diskReadSeconds: number;
  diskWriteSeconds: number;
}

export const NO_DISK: DiskStats = {
  diskPages: 0,
  diskCapacity: 0,
  diskHits: 0,
  diskMisses: 0,
  diskSaved: 0,
  diskSkipped: 0,
  diskLost: 0,
  diskReadSeconds: 0,
  diskWriteSeconds: 0,
};

export interface EngineStats extends DiskStats {
  running: number;
  waiting: number;
  /** Sequences whose pages are on the host. */
  swapped: number;
  /** Sequences that pause because nobody reads their output. */
  paused: number;
  /** Of `pages`, those that running sequences refer to. Cached pages that no sequence refers to count as free. */
  pagesUsed: number;
  pages: number;
  /** Since start. */
  preemptions: number;
  prefixQueriedTokens: number;
  prefixHitTokens: number;
  promptTokens: number;
  generatedTokens: number;
  steps: number;
  /** Of the newest step. */
  stepTokens: number;
  /** Of `pages`, those that hold something: what sequences refer to, and what is cached. */
  pagesHeld: number;
  host: HostStats;
}

/** KV pages in host memory. All but the first two count since the start. */
export interface HostStats {
  /** Pages that can be used, and of these, those that hold something. */
  pages: number;
  pagesHeld: number;
  /** Pages of prompts that were found there, and those that were neither there nor on the device. */
  hits: number;
  misses: number;
  /** Pages copied from the device, and back. */
  saved: number;
  restored: number;
  /** Pages that can no longer be found, because others needed their room. */
  forgotten: number;
  /** In which pages were copied to the device, and from it. */
  readSeconds: number;
  writeSeconds: number;
}

const NO_HOST: HostStats = {
  pages: 0,
  pagesHeld: 0,
  hits: 0,
  misses: 0,
  saved: 0,
  restored: 0,
  forgotten: 0,
  readSeconds: 0,
  writeSeconds: 0,
};

/** Before the first step. */
export const NO_STATS: EngineStats = {
  running: 0,
  waiting: 0,
  swapped: 0,
  paused: 0,
  pagesUsed: 0,
  pages: 0,
  preemptions: 0,
  prefixQueriedTokens: 0,
  prefixHitTokens: 0,
  promptTokens: 0,
  generatedTokens: 0,
  steps: 0,
  stepTokens: 0,
  pagesHeld: 0,
  host: NO_HOST,
  ...NO_DISK,
};

/**
 * What one step produced. Entry i belongs to request requestIds[i]. A request has several entries, in order, where tokens
 * were forced. Columns rather than objects: 512 sequences make one message of a few arrays.
 */
export interface StepMessage {
  type: "step";
  requestIds: Int32Array;
  /** The next token, or -1 for an entry that only ends a sequence (abort, error, maxTokens 0, a grammar's end). */
  tokens: Int32Array;
  /** Index into FINISH. */
  finish: Uint8Array;
  /** By entry index, only where the request asked for them. */
  logprobs: Map<number, TokenLogprobs> | null;
  /**
   * By entry index: those of all prompt tokens but the first, on a request's first entry. Where the request has a scoreFrom, the
   * first so many mean nothing.
   */
  promptLogprobs: Map<number, TokenLogprobs> | null;
  /** By entry index: the number of prompt tokens found in the prefix cache, on a request's first entry. */
  cachedTokens: Map<number, number> | null;
  /** By entry index: how the sequence began, on a request's first entry, unless it failed or was aborted. */
  starts: Map<number, SequenceStart> | null;
  /** By entry index: why the sequence ended early, where its grammar is the reason and not its text. */
  reasons: Map<number, string> | null;
  /** By entry index: the reason, where finish says "error". */
  errors: Map<number, { kind: ErrorKind; message: string }> | null;
  /** Of the weights that computed it. */
  weightVersion: string;
  stats: EngineStats;
}

export type FromWorker =
  | { type: "progress"; done: number; total: number }
  | { type: "ready"; capacity: EngineCapacity; loadSeconds: number }
  /** Something is not as it was asked for; the engine goes on. */
  | { type: "warning"; message: string }
  /** The engine cannot go on. Every request that is alive fails with this. */
  | { type: "failed"; kind: ErrorKind; message: string }
  /** The parts of a profile are there, or not, for the reason `error`. */
  | { type: "profiled"; error: { kind: ErrorKind; message: string } | null }
  /** The command `id` has been carried out, or not, for the reason `error`. */
  | { type: "done"; id: number; error: { kind: ErrorKind; message: string } | null; state: ControlState }
  /** What has become of cached pages, encoded for publishing (kv-events.ts). */
  | { type: "kv_events"; batch: Uint8Array }
  /** What has become of pages on disk (disk-listing.ts). */
  | { type: "disk_pages"; change: DiskChange }
  | { type: "closed" }
  | StepMessage;
