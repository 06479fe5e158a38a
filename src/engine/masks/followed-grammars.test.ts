/**
 * Grammars that the library's sampler takes along: what it samples by itself is kept, and where others decide about the next token
 * it has none. That every sequence generates what it should is a property in grammars.test.ts.
 */
import { expect, test } from "bun:test";
import { type FakeGrammar, fakeMatcher } from "../testing/fake-grammar.ts";
import { CHOICE, constrained, EOS, endless, record, run } from "../testing/grammar-rig.ts";
import { config, prompt, Rig, request } from "../testing/scheduler-rig.ts";

function rigThatFollows(): Rig {
  const rig = new Rig(config);
  rig.library.follows = true;
  return rig;
}

test("each step samples a token, one without a choice, too", () => {
  const rig = rigThatFollows();
  const turns: FakeGrammar = {
    states: [{ next: new Map(CHOICE.map((id) => [id, 1])) }, { next: new Map([[5, 0]]) }],
    stopIds: [EOS],
  };
  const [one, other] = run(rig, constrained(turns, 40), constrained(endless, 40));
  expect(one!.tokens.filter((id) => id === 5).length).toBe(20);
  expect([one!.endedAt, other!.endedAt, rig.library.computedTokens]).toEqual([40, 40, 2 * (20 + 39)]);
  expect(rig.library.followers.length).toBe(2);
});

test("several tokens without a choice take one step together", () => {
  const forced = [5, 6, 7, 8, 9, 10];
  const [got] = run(rigThatFollows(), constrained(record(forced), 50));
  // Step 2 went past them and samples nothing; step 3 computes all and samples the stop id.
  expect(got).toMatchObject({ finish: "stop", endedAt: 3, tokens: [expect.any(Number), ...forced, EOS] });
});

test("a stop id among forced tokens ends, but not before min_tokens", () => {
  const stopIds = Int32Array.of(EOS, 14);
  const [held, taken, soon] = run(
    rigThatFollows(),
    constrained(record([5, 14, 6]), 50, { minTokens: 20, stopIds }),
    constrained(record([5, 14, 6]), 50, { minTokens: 2, stopIds }),
    constrained(record([5, 14, 6]), 50, { stopIds }),
  );
  expect(held).toMatchObject({ finish: "length", tokens: [expect.any(Number), 5] });
  for (const got of [taken, soon]) expect(got).toMatchObject({ finish: "stop", tokens: [expect.any(Number), 5, 14] });
});

test("a grammar that begins after thinking is taken along from there, but not while a budget may still end the thinking", () => {
  const end = Int32Array.of(41, 42);
  const made = (budget: number | null) =>
    request([...prompt(9), 40], 30, {
      grammar: { matcher: fakeMatcher(record([5, 6])), after: [end] },
      thinking: budget === null ? null : { budget, isBegin: [], end, isEnd: [end] },
      stopIds: Int32Array.of(EOS),
    });
  const rig = rigThatFollows();
  const [forced] = run(rig, made(5));
  expect(forced!.tokens.slice(5)).toEqual([...end, expect.any(Number), 5, 6, EOS]);
  // Its thinking is over: nothing but the grammar decides.
  expect(rig.library.followers.length).toBe(1);
  // Within a grammar that has the thinking too, the budget still counts.
  const endlessThinking = request(prompt(9), 12, {
    grammar: { matcher: fakeMatcher(endless), after: [] },
    thinking: { budget: 4, isBegin: [], end: Int32Array.of(CHOICE[0]!, CHOICE[1]!), isEnd: [] },
    stopIds: Int32Array.of(EOS),
  });
  const [within] = run(rig, endlessThinking);
  expect(within!.tokens.slice(4, 6)).toEqual([CHOICE[0]!, CHOICE[1]!]);
});

test("a text that cannot become whole ends with its reason, and closing frees whatever runs", () => {
  const broken: FakeGrammar = {
    states: [{ next: new Map(CHOICE.map((id) => [id, 1])) }, { next: new Map(), breaks: true }],
    stopIds: [EOS],
  };
  const [got] = run(rigThatFollows(), constrained(broken, 20));
  expect(got).toMatchObject({ finish: "length", reason: "it has broken", tokens: [expect.any(Number)] });
  const rig = rigThatFollows();
  rig.add(constrained(endless, 50));
  for (let step = 0; step < 3; step++) rig.step();
  rig.scheduler.close();
  expect(rig.library.followers.map(({ freed }) => freed)).toEqual([true]);
});
