import { expect, test } from "bun:test";
import fc from "fast-check";
import { StopStrings } from "./stop.ts";

/** Feeds `pieces` one by one; returns what was shown and what ended it. */
function run(stops: string[], pieces: string[], keep = false) {
  const matcher = new StopStrings(stops, keep);
  let shown = "";
  for (const piece of pieces) {
    const { text, matched } = matcher.push(piece, true);
    shown += text;
    if (matched !== null) return { shown, matched };
  }
  return { shown: shown + matcher.flush(), matched: null };
}

test("a stop string that spans pieces is found and left out", () => {
  expect(run(["###"], ["a#", "b##", "#c"])).toEqual({ shown: "a#b", matched: "###" });
  expect(run(["###"], ["a##", "#c"], true)).toEqual({ shown: "a###", matched: "###" });
});

test("text that only looked like a stop string is shown after all", () => {
  expect(run(["stop!"], ["st", "op", "per"])).toEqual({ shown: "stopper", matched: null });
  expect(run(["stop!"], ["sto"])).toEqual({ shown: "sto", matched: null });
});

test("the earliest match wins, then the caller's order", () => {
  expect(run(["b", "ab"], ["xab"])).toEqual({ shown: "x", matched: "ab" });
  expect(run(["ab", "a"], ["xab"])).toEqual({ shown: "x", matched: "ab" });
  expect(run(["a", "ab"], ["xab"])).toEqual({ shown: "x", matched: "a" });
});

test("an unarmed matcher ends nothing, and a stop string may begin in its text", () => {
  const matcher = new StopStrings(["ab"], false);
  expect(matcher.push("abxa", false)).toEqual({ text: "abx", matched: null });
  expect(matcher.push("b", true)).toEqual({ text: "", matched: "ab" });
});

test("however the text is cut into pieces, what is shown never holds a stop string and is the text before the first", () => {
  const letters = fc.string({ unit: fc.constantFrom("a", "b", "é"), maxLength: 30 });
  const stop = fc.string({ unit: fc.constantFrom("a", "b", "é"), minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(fc.array(letters, { maxLength: 8 }), fc.array(stop, { minLength: 1, maxLength: 3 }), (pieces, stops) => {
      const { shown, matched } = run(stops, pieces);
      const whole = pieces.join("");
      expect(whole.startsWith(shown)).toBe(true);
      for (const one of stops) expect(shown.includes(one)).toBe(false);
      if (matched === null) expect(shown).toBe(whole);
      else expect(whole.startsWith(shown + matched)).toBe(true);
    }),
  );
});
