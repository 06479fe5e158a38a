/** Random grammars against the fake library: whatever is late, every sequence generates what a plain loop over its tokens gives. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { randomFrom } from "../../testing.ts";
import type { EngineRequest, ThinkingBudget } from "../protocol.ts";
import { type FakeGrammar, type FakeState, fakeMatcher } from "../testing/fake-grammar.ts";
import { EOS } from "../testing/grammar-rig.ts";
import { expectTooLittle, internals, prompt, Rig, request, VOCAB } from "../testing/scheduler-rig.ts";
import { maskOf } from "./token-mask.ts";

const ids = (most: number) => fc.uniqueArray(fc.integer({ min: 4, max: VOCAB - 1 }), { minLength: 1, maxLength: most });

/** A state as numbers: `to` is taken modulo the number of states. */
const states = fc.record({
  /** One id is forced, several are a choice. */
  ids: fc.oneof(ids(1), ids(1), ids(1), ids(40)),
  to: fc.array(fc.nat(30), { minLength: 3, maxLength: 3 }),
  kind: fc.oneof(
    { weight: 20, arbitrary: fc.constant("plain" as const) },
    { weight: 8, arbitrary: fc.constant("accepting" as const) },
    { weight: 1, arbitrary: fc.constantFrom("stopped", "dead", "maskFails", "refuses", "breaks") },
  ),
});

const grammars = fc.array(states, { minLength: 1, maxLength: 25 }).map((list): FakeGrammar => {
  const state = (one: (typeof list)[number]): FakeState => {
    if (one.kind === "stopped") return { next: new Map(), stopped: true };
    if (one.kind === "dead") return { next: new Map() };
    const next = new Map(one.ids.map((id, i) => [id, one.to[i % one.to.length]! % list.length]));
    return { next, [one.kind]: true };
  };
  return { states: list.map(state), stopIds: [EOS] };
});

const words = fc.array(fc.array(fc.nat(VOCAB - 1), { minLength: 1, maxLength: 2 }), { maxLength: 4 });
const asWords = (list: readonly number[][]) => list.map((word) => Int32Array.from(word));

const arrivals = fc.record({
  at: fc.nat(15),
  grammar: fc.option(grammars, { freq: 4 }),
  /** Steps until the grammar is there; none = it comes with the request. */
  compiledAfter: fc.option(fc.nat(20), { freq: 2 }),
  after: fc.oneof(fc.constant([]), fc.constant([]), words),
  budget: fc.option(fc.nat(20), { freq: 2 }),
  begin: fc.oneof(fc.constant([]), fc.constant([]), words),
  end: fc.array(fc.integer({ min: 15, max: VOCAB - 1 }), { maxLength: 4 }),
  prompt: fc.integer({ min: 1, max: 200 }),
  maxTokens: fc.integer({ min: 0, max: 190 }),
  minTokens: fc.constantFrom(0, 0, 5, 30),
  ignoreEos: fc.boolean(),
  stopId: fc.constantFrom(null, null, 14),
  seed: fc.nat(3),
  choices: fc.constantFrom(1, 1, 2),
  penalty: fc.constantFrom(false, false, true),
  logprobs: fc.constantFrom(-1, -1, 1),
  promptLogprobs: fc.constantFrom(-1, -1, -1, 1),
  allowed: fc.constantFrom(null, null, null, 5, 20),
  badWords: fc.oneof(fc.constant([]), fc.constant([]), words),
  refused: fc.constantFrom(false, false, false, false, true),
  abortAfter: fc.oneof(fc.constant(0), fc.constant(0), fc.integer({ min: 1, max: 30 })),
  pauseAfter: fc.oneof(fc.constant(0), fc.constant(0), fc.integer({ min: 1, max: 30 })),
  pausedFor: fc.nat(10),
});

type Arrival = typeof arrivals extends fc.Arbitrary<infer T> ? T : never;

const isOver = (grammar: FakeGrammar | null) =>
  grammar?.states[0]?.stopped === true || grammar?.states[0]?.breaks === true;

function build(one: Arrival): EngineRequest[] {
  const thinking: ThinkingBudget | null =
    one.budget === null
      ? null
      : {
          budget: one.budget,
          isBegin: asWords(one.begin),
          end: Int32Array.from(one.end),
          isEnd: asWords(one.after),
        };
  const stopIds = [...(one.ignoreEos ? [] : [EOS]), ...(one.stopId === null ? [] : [one.stopId])];
  return Array.from({ length: one.choices }, (_, choice) => {
    const made = request(prompt(one.prompt, one.seed), one.maxTokens, {
      grammar: one.grammar && { matcher: fakeMatcher(one.grammar), after: asWords(one.after) },
      thinking,
      minTokens: Math.min(one.minTokens, one.maxTokens),
      stopIds: Int32Array.from(stopIds),
      logprobs: one.logprobs,
      // A grammar that ends before it begins leaves nothing to sample once the prompt has been computed.
      promptLogprobs: one.maxTokens === 0 ? 0 : isOver(one.grammar) ? -1 : one.promptLogprobs,
      allowed:
        one.allowed === null
          ? null
          : maskOf(
              Array.from({ length: 30 }, (_, i) => i + one.allowed!),
              VOCAB,
            ),
      badWords: asWords(one.badWords),
    });
    made.sampling.seed = BigInt(one.seed + choice);
    if (one.penalty) made.sampling.presencePenalty = 1;
    if (one.refused) made.sampling.topP = 0;
    return made;
  });
}

const settings = fc.record({
  maxSeqs: fc.integer({ min: 1, max: 8 }),
  extraTokens: fc.oneof(fc.nat(4), fc.nat(200)),
  spare: fc.constantFrom(0, 0, 1, 4),
  hostPages: fc.constantFrom(0, 0, 8),
  prefixCaching: fc.boolean(),
  depth: fc.constantFrom(1, 2, 2, 2),
  shortSight: fc.constantFrom(0, 1, 1, 10),
  lateness: fc.constantFrom(0, 0.1, 0.6),
  follows: fc.boolean(),
  seed: fc.nat(),
});

function rigFor(s: typeof settings extends fc.Arbitrary<infer T> ? T : never): Rig {
  const { maxSeqs, hostPages, prefixCaching } = s;
  const limits = { maxSeqs, maxStepTokens: maxSeqs + s.extraTokens, maxContext: 400, pages: 7 + s.spare };
  const rig = new Rig({ ...limits, hostPages, prefixCaching, vocabSize: VOCAB }, s.depth);
  if (s.shortSight > 0) expectTooLittle(rig.scheduler, s.shortSight);
  const random = randomFrom(s.seed);
  rig.library.isLate = () => random() < s.lateness;
  rig.library.follows = s.follows;
  return rig;
}

function play(list: Arrival[], rig: Rig): void {
  const events: { at: number; event: () => void }[] = [];
  for (const one of list) {
    const made = build(one);
    const { compiledAfter } = one;
    if (compiledAfter === null || one.grammar === null) events.push({ at: one.at, event: () => rig.add(...made) });
    else {
      const compiled: (() => void)[] = [];
      events.push({ at: one.at, event: () => compiled.push(...made.map((request) => rig.addEarly(request))) });
      events.push({
        at: one.at + compiledAfter,
        event: () => {
          for (const give of compiled) give();
        },
      });
    }
    const later = (steps: number, event: (id: number) => void) => {
      for (const { id } of made) events.push({ at: one.at + steps, event: () => event(id) });
    };
    if (one.abortAfter > 0) later(one.abortAfter, (id) => rig.scheduler.abort(id));
    if (one.pauseAfter === 0) continue;
    later(one.pauseAfter, (id) => rig.scheduler.pause(id));
    later(one.pauseAfter + one.pausedFor, (id) => rig.scheduler.resume(id));
  }
  events.sort((a, b) => a.at - b.at);
  for (let step = 0; events.length > 0; step++) {
    while (events[0]?.at === step) events.shift()!.event();
    rig.step();
  }
  rig.finish();
}

test("every sequence generates what a plain loop gives, however late masks are and whatever is forced", () => {
  const seen = { preemptions: 0, early: 0, setAside: 0, late: 0, failed: 0, stopped: 0, thought: 0 };
  fc.assert(
    fc.property(fc.array(arrivals, { minLength: 1, maxLength: 16, size: "max" }), settings, (list, s) => {
      const rig = rigFor(s);
      const { setAside } = internals(rig.scheduler);
      const setsAside = setAside.add.bind(setAside);
      setAside.add = (seq) => {
        seen.setAside++;
        return setsAside(seq);
      };
      play(list, rig);
      rig.checkEnd();
      seen.early += list.filter(({ grammar, compiledAfter }) => grammar !== null && compiledAfter !== null).length;
      seen.preemptions += rig.scheduler.stats().preemptions;
      seen.late += rig.library.lateMasks;
      for (const { reason, finish, request } of rig.received.values()) {
        seen.failed += Number(reason !== null);
        seen.stopped += Number(finish === "stop" && request.grammar !== null);
        seen.thought += Number(request.thinking !== null && finish !== "error");
      }
    }),
    { numRuns: 150 },
  );
  // The cases that matter did occur.
  expect(Math.min(...Object.values(seen))).toBeGreaterThan(20);
}, 120_000);
