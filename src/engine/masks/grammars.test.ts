/** Sequences with grammars against the fake library, one thing at a time; random-grammars.test.ts plays all of it together. */
import { expect, test } from "bun:test";
import { randomFrom } from "../../testing.ts";
import { PAGE_TOKENS } from "../pages/page-cache.ts";
import type { EngineRequest } from "../protocol.ts";
import { type FakeGrammar, type FakeState, fakeMatcher } from "../testing/fake-grammar.ts";
import { CHOICE, constrained, EOS, endless, record, run } from "../testing/grammar-rig.ts";
import { config, internals, prompt, Rig, request } from "../testing/scheduler-rig.ts";

test("a sequence with a grammar gets a token in each step, as any other", () => {
  const rig = new Rig(config);
  const [one, other] = run(rig, constrained(endless, 50), request(prompt(20, 1), 50));
  expect([one!.endedAt, other!.endedAt, rig.library.computedTokens]).toEqual([50, 50, 2 * (20 + 49)]);
});

test("single tokens may be checked in place of masks", () => {
  const rig = new Rig(config);
  run(rig, constrained(endless, 50));
  expect(rig.library.checkedMasks).toBeGreaterThanOrEqual(49);
});

test("whoever has no grammar gets a token in each step, however late the masks of others are", () => {
  const rig = new Rig({ ...config, pages: 100 });
  const random = randomFrom(7);
  rig.library.isLate = () => random() < 0.7;
  const free = Array.from({ length: 3 }, (_, i) => request(prompt(10, i), 60));
  const late = Array.from({ length: 4 }, () => constrained(endless, 60));
  const ends = run(rig, ...free, ...late).map(({ endedAt }) => endedAt);
  expect(ends.slice(0, 3)).toEqual([60, 60, 60]);
  expect(Math.min(...ends.slice(3))).toBeGreaterThan(60);
});

test("a mask that is always late is computed before its step", () => {
  const rig = new Rig(config);
  rig.library.isLate = () => true;
  const [got] = run(rig, constrained(endless, 5));
  // A token costs two repetitions and what was in flight behind them.
  expect(got!.tokens.length).toBe(5);
  expect(got!.endedAt).toBeLessThanOrEqual(5 * 5);
});

test("a page whose last position is computed again is not found before", () => {
  const rig = new Rig(config);
  let late = true;
  rig.library.isLate = () => late;
  const fields = { grammar: { matcher: fakeMatcher(endless), after: [] } };
  rig.add(request(prompt(PAGE_TOKENS), 9, fields));
  rig.step();
  const [seq] = internals(rig.scheduler).running;
  expect([rig.library.lateMasks, seq!.nodes.length]).toEqual([1, 0]);
  late = false;
  rig.finish();
  rig.checkEnd();
});

test("tokens without a choice take one step together, and none where the text begins with them", () => {
  const forced = Array.from({ length: 6 }, (_, i) => 5 + i);
  const rig = new Rig(config);
  const [got] = run(rig, constrained(record(forced), 50));
  // Step 1 samples the choice, step 2 is dropped, step 3 computes all forced tokens and samples the stop id.
  expect(got).toMatchObject({ finish: "stop", endedAt: 3, tokens: [expect.any(Number), ...forced, EOS] });
  const first = { states: [{ next: new Map([[4, 1]]) }, ...shift(record(forced).states)], stopIds: [EOS] };
  const second = new Rig(config);
  const [begun] = run(second, constrained(first, 50));
  expect(begun).toMatchObject({ finish: "stop", endedAt: 3, tokens: [4, expect.any(Number), ...forced, EOS] });
});

test("one token without a choice is sampled by the step in flight, which is not dropped", () => {
  const rig = new Rig(config);
  const turns: FakeGrammar = {
    states: [{ next: new Map(CHOICE.map((id) => [id, 1])) }, { next: new Map([[5, 0]]) }],
    stopIds: [EOS],
  };
  const [got] = run(rig, constrained(turns, 40));
  expect(got!.tokens.filter((id) => id === 5).length).toBe(20);
  expect([got!.endedAt, rig.library.computedTokens]).toEqual([40, 20 + 39]);
});

/** The same states, each one further back. */
function shift(states: readonly FakeState[]): FakeState[] {
  return states.map((state) => ({ ...state, next: new Map([...state.next].map(([id, to]) => [id, to + 1])) }));
}

test("forced tokens end with max_tokens, and with a stop id among them", () => {
  const forced = [5, 6, 7, 8, 9, 10];
  const [cut, stopped, whole] = run(
    new Rig(config),
    constrained(record(forced), 4),
    constrained(record(forced), 50, { stopIds: Int32Array.of(7) }),
    constrained(record(forced, { next: new Map(), stopped: true }), 50),
  );
  expect(cut).toMatchObject({ finish: "length", reason: null, tokens: [expect.any(Number), 5, 6, 7] });
  expect(stopped).toMatchObject({ finish: "stop", reason: null, tokens: [expect.any(Number), 5, 6, 7] });
  expect(whole).toMatchObject({ finish: "stop", reason: null, tokens: [expect.any(Number), ...forced] });
});

test.each([1, 2])(
  "aborted before anything is computed, a sequence has the %d tokens that were forced, and no more",
  (count) => {
    const forced = Array.from({ length: count }, (_, i) => ({ next: new Map([[4 + i, i + 1]]) }));
    const choice = { next: new Map(CHOICE.map((id) => [id, count])) };
    const rig = new Rig(config);
    const one = constrained({ states: [...forced, choice], stopIds: [EOS] }, 50);
    rig.add(one);
    rig.scheduler.abort(one.id);
    rig.finish();
    expect(rig.received.get(one.id)).toMatchObject({
      finish: "abort",
      hasBegun: true,
      tokens: [4, 5].slice(0, count),
    });
  },
);

test("forced tokens get pages, and their pages are found by others", () => {
  const forced = Array.from({ length: 3 * PAGE_TOKENS }, (_, i) => 5 + (i % 7));
  const rig = new Rig({ ...config, maxStepTokens: 512 });
  const [got] = run(rig, constrained(record(forced), 300));
  expect(got!.tokens.length).toBe(1 + forced.length + 1);
  const again = request([...prompt(20), ...got!.tokens.slice(0, -1)], 1);
  const [second] = run(rig, again);
  expect(second!.cachedTokens).toBe(3 * PAGE_TOKENS);
});

test("where log probabilities are asked for, tokens without a choice are sampled like others", () => {
  const [got] = run(new Rig(config), constrained(record([5, 6, 7]), 50, { logprobs: 2 }));
  expect(got!.tokens.slice(1)).toEqual([5, 6, 7, EOS]);
  expect(got!.logprobs.every((one) => one !== null)).toBe(true);
});

test("a text that cannot become whole ends with the reason, as if it was too long", () => {
  const dead = { next: new Map() };
  const choice = new Map([
    [5, 0],
    [6, 0],
  ]);
  const reasons = [
    { last: dead, reason: "no token is left" },
    { last: { next: choice, maskFails: true }, reason: "its mask cannot be computed" },
    { last: { next: choice, refuses: true }, reason: "it does not take" },
    { last: { next: choice, breaks: true }, reason: "it has broken" },
  ];
  for (const { last, reason } of reasons) {
    const [got, other] = run(new Rig(config), constrained(record([8], last), 9), request(prompt(9), 9));
    expect(got).toMatchObject({ finish: "length", tokens: [expect.any(Number), 8], error: null });
    expect(got!.reason).toContain(reason);
    expect(other).toMatchObject({ finish: "length", reason: null });
  }
});

test("a text that is whole before min_tokens, and can only end, ends", () => {
  const [got] = run(new Rig(config), constrained(record([5, 6]), 50, { minTokens: 20 }));
  expect(got).toMatchObject({ finish: "stop", reason: null, tokens: [expect.any(Number), 5, 6] });
});

test("a stop id that a grammar wants before min_tokens is not taken, forced or not", () => {
  const stopIds = Int32Array.of(EOS, 14);
  const [held, taken] = run(
    new Rig(config),
    constrained(record([5, 14, 6]), 50, { minTokens: 20, stopIds }),
    constrained(record([5, 14, 6]), 50, { minTokens: 2, stopIds }),
  );
  expect(held).toMatchObject({ finish: "length", tokens: [expect.any(Number), 5] });
  expect(taken).toMatchObject({ finish: "stop", tokens: [expect.any(Number), 5, 14] });
});

test("thinking ends by force after its budget, and the grammar begins then", () => {
  const [open, close] = [[40], [41, 42]];
  const thinking = { budget: 5, isBegin: [], end: Int32Array.from(close), isEnd: [Int32Array.from(close)] };
  const grammar = { matcher: 0, after: [Int32Array.from(close)] };
  const made = (more: Partial<EngineRequest> = {}) =>
    request([...prompt(9), ...open], 30, {
      grammar: { ...grammar, matcher: fakeMatcher(record([5, 6])) },
      thinking,
      stopIds: Int32Array.of(EOS),
      ...more,
    });
  for (const got of run(new Rig(config), made(), made({ logprobs: 0 }))) {
    expect(got.tokens.slice(5)).toEqual([...close, expect.any(Number), 5, 6, EOS]);
    expect(CHOICE).toContain(got.tokens[7]!);
  }
  const none = { ...thinking, budget: 0 };
  const [sooner] = run(new Rig(config), made({ thinking: none }));
  expect(sooner!.tokens).toEqual([...close, expect.any(Number), 5, 6, EOS]);
});

test("thinking that the output opens has its budget from there, and further on its mark is text", () => {
  const mark = [Int32Array.of(40)];
  const made = (isBegin: Int32Array[]) =>
    request(prompt(9), 30, {
      thinking: { budget: 3, isBegin, end: Int32Array.of(41, 42), isEnd: [Int32Array.of(41, 42)] },
    });
  const [free] = run(new Rig(config), made(mark));
  expect(free!.tokens).not.toContain(41);
  const ids = free!.tokens;
  const [opened, text] = run(new Rig(config), made([Int32Array.of(ids[1]!)]), made([Int32Array.of(ids[2]!)]));
  expect(opened!.tokens.slice(0, 7)).toEqual([...ids.slice(0, 5), 41, 42]);
  expect(text!.tokens).toEqual(ids);
});

test("within a grammar that has the thinking too, its end is forced where it fits", () => {
  const thinking = { budget: 2, isBegin: [], end: Int32Array.of(41, 42), isEnd: [] };
  const open = { next: new Map([...CHOICE.map((id) => [id, 0] as const), [41, 1] as const]) };
  const states = [
    open,
    { next: new Map([[42, 2]]) },
    { next: new Map([[5, 3]]) },
    { next: new Map(), accepting: true },
  ];
  const fits = { states, stopIds: [EOS] };
  const [ended, left] = run(
    new Rig(config),
    constrained(fits, 30, { thinking }),
    constrained(endless, 10, { thinking }),
  );
  expect(ended!.tokens.slice(2)).toEqual([41, 42, 5, EOS]);
  expect(left).toMatchObject({ finish: "length", reason: null });
});

test("the budget of thinking ends it also among tokens that the grammar forces", () => {
  const thinking = { budget: 2, isBegin: [], end: Int32Array.of(5, 41), isEnd: [] };
  // It forces 5 for ever, and allows no 41.
  const [got] = run(
    new Rig(config),
    constrained({ states: [{ next: new Map([[5, 0]]) }], stopIds: [EOS] }, 9, { thinking }),
  );
  expect(got).toMatchObject({ finish: "length", tokens: [5, 5, 5], reason: expect.any(String) });
});

test("an aborted sequence's matcher is freed once the steps in flight are done, and not before", () => {
  const rig = new Rig(config);
  const one = constrained(endless, 50);
  rig.add(one);
  rig.step();
  const matcher = [...rig.library.matchers.values()][0]!;
  rig.scheduler.abort(one.id);
  expect(matcher.freed).toBe(false);
  rig.finish();
  expect(matcher.freed).toBe(true);
  rig.checkEnd();
});

// Grammars that are compiled while the engine has the request

/** Calls back once the next step has been submitted, before another one is planned. */
function afterSubmit({ scheduler }: Rig, event: () => void): void {
  const submitted = scheduler.submitted.bind(scheduler);
  scheduler.submitted = () => {
    scheduler.submitted = submitted;
    submitted();
    event();
  };
}

/** Calls back when the next result is waited for. */
function duringWait({ library }: Rig, event: () => void): void {
  const wait = library.wait.bind(library);
  library.wait = () => {
    library.wait = wait;
    event();
    return wait();
  };
}

test("a prompt is computed while its grammar is compiled, and sampled in the step after that", () => {
  const rig = new Rig(config);
  const give = rig.addEarly(constrained(endless, 2, { prompt: Int32Array.from(prompt(300)) }));
  for (let i = 0; i < 6; i++) rig.step();
  expect(rig.library.computedTokens).toBe(300);
  expect(rig.scheduler.stats()).toMatchObject({ running: 0, waiting: 1, paused: 0 });
  // It waits without a page of its own: what it computed is in the cache.
  expect(internals(rig.scheduler).cache.available).toBe(config.pages);
  give();
  rig.finish();
  // Of the last page, which was not full, everything is computed again.
  expect(rig.library.computedTokens).toBe(300 + (300 % PAGE_TOKENS) + 1);
  rig.checkEnd();
});

test("a grammar that comes while its prompt's step runs costs nothing", () => {
  const [early, whole] = [new Rig(config), new Rig(config)];
  afterSubmit(early, early.addEarly(constrained(endless, 20)));
  run(whole, constrained(endless, 20));
  early.finish();
  early.checkEnd();
  expect([early.commits, early.library.computedTokens]).toEqual([whole.commits, whole.library.computedTokens]);
});

test("a grammar that comes once the next step is planned costs the repetition of one token", () => {
  const rig = new Rig(config);
  const give = rig.addEarly(constrained(endless, 5));
  rig.add(request(prompt(9, 1), 50));
  duringWait(rig, give);
  rig.finish();
  rig.checkEnd();
  expect(rig.library.computedTokens).toBe(20 + 1 + 4 + 9 + 49);
});

test("what a grammar forces at its start follows the prompt wherever that is", () => {
  const first = { states: [{ next: new Map([[4, 1]]) }, ...shift(record([5, 6]).states)], stopIds: [EOS] };
  for (const steps of [0, 1, 2, 3, 9]) {
    const rig = new Rig(config);
    const give = rig.addEarly(constrained(first, 50, { prompt: Int32Array.from(prompt(300)) }));
    for (let i = 0; i < steps; i++) rig.step();
    give();
    rig.finish();
    rig.checkEnd();
    expect([...rig.received.values()][0]).toMatchObject({ finish: "stop", tokens: [4, expect.any(Number), 5, 6, EOS] });
  }
});

test("whoever waits for a grammar holds nobody back: not in the only slot, and not for a mask", () => {
  const rig = new Rig({ ...config, maxSeqs: 1 });
  const give = rig.addEarly(constrained(endless, 3));
  const other = request(prompt(9, 1), 5);
  rig.add(other);
  for (let i = 0; i < 12; i++) rig.step();
  expect(rig.received.get(other.id)!.finish).toBe("length");
  give();
  rig.finish();
  rig.checkEnd();
});

test("a grammar that begins after thinking is not waited for before", () => {
  const rig = new Rig(config);
  const close = Int32Array.of(41, 42);
  const thinking = { budget: 5, isBegin: [], end: close, isEnd: [close] };
  const grammar = { matcher: fakeMatcher(record([5, 6])), after: [close] };
  const one = request([...prompt(9), 40], 30, { grammar, thinking, stopIds: Int32Array.of(EOS) });
  const give = rig.addEarly(one);
  for (let i = 0; i < 15; i++) rig.step();
  expect(internals(rig.scheduler).setAside.size).toBe(1);
  give();
  rig.finish();
  rig.checkEnd();
  expect(rig.received.get(one.id)!.tokens.slice(5)).toEqual([...close, expect.any(Number), 5, 6, EOS]);
});

test("a grammar that comes while the sequence thinks costs nothing", () => {
  const [early, whole] = [new Rig(config), new Rig(config)];
  const badWords = [Int32Array.of(7, 8)];
  const one = () => {
    const grammar = { matcher: fakeMatcher(endless), after: [Int32Array.of(41)] };
    return request(prompt(20), 12, { grammar, badWords, stopIds: Int32Array.of(EOS) });
  };
  const give = early.addEarly(one());
  early.step();
  afterSubmit(early, give);
  early.finish();
  early.checkEnd();
  run(whole, one());
  expect([early.commits, early.library.computedTokens]).toEqual([whole.commits, whole.library.computedTokens]);
});

test("a sequence that waits for its grammar can be paused, let go on and ended", () => {
  const rig = new Rig(config);
  const requests = [constrained(endless, 5), constrained(endless, 5), constrained(endless, 5)];
  const [paused, resumed, ended] = requests.map((one) => rig.addEarly(one));
  for (let i = 0; i < 4; i++) rig.step();
  for (const { id } of requests.slice(0, 2)) rig.scheduler.pause(id);
  rig.scheduler.resume(requests[1]!.id);
  rig.scheduler.abort(requests[2]!.id);
  for (const give of [paused, resumed, ended]) give!();
  for (let i = 0; i < 10; i++) rig.step();
  const finishes = () => requests.map(({ id }) => rig.received.get(id)!.finish);
  expect(finishes()).toEqual(["", "length", "abort"]);
  expect(rig.scheduler.stats()).toMatchObject({ paused: 1, waiting: 0 });
  rig.scheduler.resume(requests[0]!.id);
  rig.finish();
  expect(finishes()).toEqual(["length", "length", "abort"]);
  rig.checkEnd();
});

test("closing frees every matcher, of those that run, wait or have just been aborted", () => {
  const rig = new Rig({ ...config, maxSeqs: 2 });
  const all = Array.from({ length: 4 }, () => constrained(endless, 50));
  rig.add(...all);
  for (let i = 0; i < 4; i++) rig.step();
  rig.scheduler.abort(all[0]!.id);
  while (rig.library.isBusy) rig.library.wait();
  rig.scheduler.close();
  expect([...rig.library.matchers.values()].map(({ freed }) => freed)).toEqual([true, true, true, true]);
});
