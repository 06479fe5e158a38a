/** Drives a scheduler with the fake library as the worker drives the real one, and checks its invariants: for tests. */
import { expect } from "bun:test";
import { GREEDY } from "../../engine-config.ts";
import type { FastgenError } from "../../errors.ts";
import { FG } from "../../ffi/layout.ts";
import { StepPlan } from "../../ffi/step-plan.ts";
import type { PageCache } from "../pages/page-cache.ts";
import { type EngineRequest, FINISH, PLAIN, type StepMessage, type TokenLogprobs } from "../protocol.ts";
import type { OutputEstimate } from "../scheduler/output-estimate.ts";
import { Scheduler } from "../scheduler/scheduler.ts";
import type { SchedulerConfig } from "../scheduler/scheduler-config.ts";
import { precedes, type Sequence } from "../sequences/sequence.ts";
import type { WaitingQueue } from "../sequences/waiting-queue.ts";
import { submitStep } from "../submit.ts";
import { type FakeConfig, FakeLibrary } from "./fake-library.ts";
import { expectedLogprob, expectedOutput, expectedPromptLogprobs, expectedRank } from "./fake-model.ts";

export const VOCAB = 50;

interface Received {
  request: EngineRequest;
  tokens: number[];
  logprobs: (TokenLogprobs | null)[];
  promptLogprobs: TokenLogprobs | null;
  cachedTokens: number;
  hasBegun: boolean;
  finish: string;
  error: string | null;
  /** What its grammar had to say about its end. */
  reason: string | null;
  /** Number of the commit that ended it. */
  endedAt: number;
}

/** A scheduler and a fake library driven as the worker drives the real ones. */
export class Rig {
  readonly scheduler: Scheduler;
  readonly library: FakeLibrary;
  readonly received = new Map<number, Received>();
  readonly plan: StepPlan;
  /** What sequences may fail with, beside those that the library refuses. */
  expectedErrors: string[] = [];
  commits = 0;
  maxRunning = 0;
  /** Turns without a commit after which finish() takes the sequences that are left for stuck. */
  patience = 2;

  constructor(
    readonly config: SchedulerConfig,
    readonly depth = FG.STEPS_IN_FLIGHT as number,
    /** Host pages that are there at the start. With every step comes one more, up to the config's. */
    private hostPages = config.hostPages,
  ) {
    const fake: FakeConfig = config;
    this.library = new FakeLibrary(fake);
    this.scheduler = new Scheduler({ ...config, hostPages }, this.library);
    this.plan = new StepPlan(config.maxSeqs, config.maxStepTokens);
  }

  add(...requests: EngineRequest[]): void {
    for (const request of requests) {
      this.expect(request);
      this.scheduler.add(request);
    }
  }

  /** Adds a request whose grammar is still being compiled. Returns what hands its matcher over. */
  addEarly(request: EngineRequest): () => void {
    this.expect(request);
    const { matcher, after } = request.grammar!;
    this.scheduler.add({ ...request, grammar: { matcher: null, after } });
    return () => this.scheduler.setMatcher(request.id, matcher!);
  }

  private expect(request: EngineRequest): void {
    this.received.set(request.id, {
      request,
      tokens: [],
      logprobs: [],
      promptLogprobs: null,
      cachedTokens: 0,
      hasBegun: false,
      finish: "",
      error: null,
      reason: null,
      endedAt: -1,
    });
  }

  /** One turn of the worker's loop; false when nothing is left to do. */
  step(fail: FastgenError | null = null): boolean {
    const { scheduler } = this;
    if (this.hostPages < this.config.hostPages) scheduler.setHostPages(++this.hostPages);
    while (scheduler.stepsInFlight < this.depth && scheduler.plan(this.plan)) {
      submitStep(this.library, scheduler, this.plan);
    }
    this.checkConsistency();
    if (scheduler.stepsInFlight === 0) {
      // The worker takes this for a fault.
      if (scheduler.activeCount > 0 && !scheduler.hasOutcomes) throw new Error("sequences wait and none can run");
      this.take(scheduler.takeMessage());
      return scheduler.aliveCount > 0;
    }
    if (scheduler.stepsInFlight === 1) scheduler.closeMasks();
    const result = this.library.wait();
    scheduler.commit(fail ?? result);
    this.commits++;
    this.take(scheduler.takeMessage());
    this.checkConsistency();
    return true;
  }

  finish(limit = 20_000): void {
    let idle = 0;
    for (let i = 0; i < limit; i++) {
      const before = this.commits;
      if (!this.step()) return;
      idle = this.commits === before ? idle + 1 : 0;
      if (idle > this.patience) throw new Error("sequences wait and none can run");
    }
    throw new Error(`not finished after ${limit} steps`);
  }

  private take(message: StepMessage): void {
    this.maxRunning = Math.max(this.maxRunning, message.stats.running);
    for (const [i, id] of message.requestIds.entries()) {
      const got = this.received.get(id)!;
      if (got.finish !== "") throw new Error(`request ${id} got news after its end`);
      got.hasBegun ||= message.starts?.has(i) ?? false;
      if (message.tokens[i]! >= 0) {
        if (!got.hasBegun) throw new Error(`request ${id} got a token before the news of its beginning`);
        got.tokens.push(message.tokens[i]!);
        got.logprobs.push(message.logprobs?.get(i) ?? null);
      }
      got.promptLogprobs = message.promptLogprobs?.get(i) ?? got.promptLogprobs;
      got.cachedTokens = message.cachedTokens?.get(i) ?? got.cachedTokens;
      got.finish = FINISH[message.finish[i]!]!;
      got.error = message.errors?.get(i)?.message ?? null;
      got.reason = message.reasons?.get(i) ?? null;
      if (got.finish !== "") got.endedAt = this.commits;
    }
  }

  /** Reference counts are those of the running sequences' page lists; slots are used once; nothing is lost. */
  checkConsistency(): void {
    const { cache, running, queue, freeSlots, pendingPages } = internals(this.scheduler);
    const refs = new Int32Array(cache.pages);
    for (const seq of running) {
      for (const page of seq.pages) refs[page]!++;
      for (const [i, node] of seq.nodes.entries()) {
        if (node.page !== seq.pages[i]) throw new Error("a sequence's node is on another page");
      }
    }
    if (!same(refs, cache.refs)) throw new Error("reference counts are wrong");
    const unreferenced = refs.reduce((count, n) => count + (n === 0 ? 1 : 0), 0);
    if (unreferenced !== cache.available) throw new Error("a page is lost, or free twice");
    const slots = new Set([...freeSlots, ...running.map((seq) => seq.slot)]);
    if (slots.size !== this.config.maxSeqs) throw new Error("a slot is lost, or used twice");
    for (let i = 1; i < running.length; i++) {
      if (!precedes(running[i - 1]!, running[i]!)) throw new Error("running sequences are out of order");
    }
    for (const [i, seq] of queue.all.entries()) {
      if (seq.pages.length > 0) throw new Error("a waiting sequence holds pages");
      if (i > 0 && !precedes(queue.all[i - 1]!, seq)) throw new Error("waiting sequences are out of order");
      if (seq.awaitedKey !== null && !pendingPages.has(seq.awaitedKey))
        throw new Error("parked for a page that nobody computes");
    }
    for (const seq of pendingPages.computedBy.values()) {
      if (seq.state !== "running") throw new Error("a page is awaited from a sequence that does not run");
    }
  }

  /** All pages are free or cached, and every result is what the sequence gives alone. */
  checkEnd(): void {
    const { cache, freeSlots, queue } = internals(this.scheduler);
    expect(cache.available).toBe(cache.pages);
    expect(queue).toMatchObject({ all: [], ready: [], parked: new Map() });
    expect(freeSlots.length).toBe(this.config.maxSeqs);
    expect(this.scheduler.stats()).toMatchObject({ running: 0, waiting: 0, swapped: 0 });
    if (!this.config.prefixCaching) {
      expect([cache.empty, cache.emptyHost]).toEqual([cache.pages, cache.hostPages]);
    }
    // Every matcher belonged to the scheduler, and each was freed once: the second time would have thrown.
    const given = [...this.received.values()].filter(({ request }) => request.grammar !== null);
    expect(this.library.matchers.size).toBe(given.length);
    expect([...this.library.matchers.values()].every(({ freed }) => freed)).toBe(true);
    expect(this.library.followers.every(({ freed }) => freed)).toBe(true);
    for (const got of this.received.values()) {
      const { request } = got;
      const alone = expectedOutput(request, VOCAB);
      // A prompt of one token has nothing to score, and what is forced is not sampled: the library may see nothing of them.
      const isNothing = request.maxTokens === 0 && request.prompt.length === 1;
      const isForced = request.grammar !== null || request.thinking !== null;
      const failed = got.finish === "abort" || got.finish === "error";
      if (request.sampling.topP === 0 && !isNothing && !isForced) {
        expect({ tokens: got.tokens, failed }).toEqual({ tokens: [], failed: true });
        continue;
      }
      const mayFail = alone.finish === "error" || request.sampling.topP === 0;
      if (!mayFail) expect(got.error).toBeOneOf([null, ...this.expectedErrors]);
      if (failed) {
        expect(got.tokens).toEqual(alone.tokens.slice(0, got.tokens.length));
        continue;
      }
      expect({ tokens: got.tokens, finish: got.finish, fails: got.reason !== null }).toEqual(alone);
      if (request.logprobs >= 0) checkLogprobs(got);
      else expect(got.logprobs.every((one) => one === null)).toBe(true);
      if (request.promptLogprobs >= 0) {
        const scored = <T>(list: Iterable<T>) => [...list].slice(request.scoreFrom);
        const { ids, logprobs, ranks } = got.promptLogprobs!;
        const want = expectedPromptLogprobs(request);
        expect(scored(ranks)).toEqual(scored(want.ids).map(expectedRank));
        expect([scored(ids), scored(logprobs)]).toEqual([scored(want.ids), scored(want.logprobs)]);
      }
    }
  }
}

function checkLogprobs({ request, tokens, logprobs }: Received): void {
  for (const [i, token] of tokens.entries()) {
    const one = logprobs[i]!;
    expect([...one.ids, ...one.logprobs]).toEqual([token, expectedLogprob(token, request.prompt.length + i)]);
    expect([...one.ranks]).toEqual([expectedRank(token)]);
    if (request.logprobIds.length > 0) {
      expect(one.topIds).toEqual(request.logprobIds);
      const length = request.prompt.length + i;
      expect([...one.topLogprobs]).toEqual(Array.from(request.logprobIds, (id) => expectedLogprob(id, length)));
    } else expect([...one.topIds]).toEqual(Array.from({ length: request.logprobs }, (_, n) => token + n));
  }
}

export interface Internals {
  cache: PageCache;
  running: Sequence[];
  queue: WaitingQueue;
  freeSlots: number[];
  pendingPages: { computedBy: Map<bigint, Sequence>; has(key: bigint): boolean };
  estimate: OutputEstimate;
  setAside: Set<Sequence>;
}

/** The invariants are about what is inside; no caller needs to see it. */
export function internals(scheduler: Scheduler): Internals {
  const inside = scheduler as unknown as Internals & {
    states: Pick<Internals, "running" | "freeSlots" | "setAside">;
    planner: Pick<Internals, "pendingPages">;
  };
  const { cache, queue, estimate, states, planner } = inside;
  const { running, freeSlots, setAside } = states;
  return { cache, queue, estimate, running, freeSlots, setAside, pendingPages: planner.pendingPages };
}

function same(a: Int32Array, b: Int32Array): boolean {
  return a.every((value, i) => value === b[i]);
}

let lastId = 0;

export function request(
  prompt: ArrayLike<number>,
  maxTokens: number,
  overrides: Partial<EngineRequest> = {},
): EngineRequest {
  return {
    id: ++lastId,
    prompt: Int32Array.from(prompt),
    sampling: { ...GREEDY, temperature: 1 },
    maxTokens,
    minTokens: 0,
    stopIds: new Int32Array(0),
    logprobs: -1,
    promptLogprobs: -1,
    ...PLAIN,
    ...overrides,
  };
}

/** A greedy request whose prompt is its own, by its id. */
export function greedyRequest(id: number, promptLength: number, maxTokens: number): EngineRequest {
  const tokens = Array.from({ length: promptLength }, (_, i) => (7 * i + id) % VOCAB);
  return request(tokens, maxTokens, { id, sampling: GREEDY });
}

/** Tokens that differ by `flavour`. */
export function prompt(length: number, flavour = 0): number[] {
  return Array.from({ length }, (_, i) => (i * 7 + flavour * 13 + (i >> 3)) % VOCAB);
}

export const config: SchedulerConfig = {
  maxSeqs: 8,
  maxStepTokens: 128,
  maxContext: 640,
  pages: 40,
  hostPages: 0,
  prefixCaching: true,
  vocabSize: VOCAB,
};

/** Makes admission look ahead by only so many tokens: it then admits too many, and pages run out. */
export function expectTooLittle(scheduler: Scheduler, outputs: number): void {
  internals(scheduler).estimate.expected = (maxTokens, soFar) => Math.min(maxTokens, soFar + outputs);
}
