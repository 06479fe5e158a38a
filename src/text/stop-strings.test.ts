import { expect, test } from "bun:test";
import fc from "fast-check";
import { StopStrings } from "./stop-strings.ts";

/** What should come of the whole text: the end of the first stop string to be complete, the longest of those that end there. */
function reference(text: string, stops: string[], includeStop: boolean): { text: string; stop: string | null } {
  for (let end = 1; end <= text.length; end++) {
    const ending = stops.filter((stop) => text.slice(0, end).endsWith(stop)).sort((a, b) => b.length - a.length)[0];
    if (ending !== undefined) return { text: text.slice(0, includeStop ? end : end - ending.length), stop: ending };
  }
  return { text, stop: null };
}

function run(pieces: string[], stops: string[], includeStop = false) {
  const matcher = new StopStrings(stops, { includeStop });
  let text = "";
  let stop: string | null = null;
  const shown: string[] = [];
  for (const piece of pieces) {
    const result = matcher.push(piece);
    text += result.text;
    shown.push(text);
    stop ??= result.stop;
  }
  text += matcher.flush();
  return { text, stop, shown };
}

test("a stop string over several pieces", () => {
  expect(run(["Hello", " wo", "rl", "d! STO", "P and more"], ["STOP"])).toMatchObject({
    text: "Hello world! ",
    stop: "STOP",
    shown: ["Hello", "Hello wo", "Hello world! ".slice(0, 10), "Hello world! ", "Hello world! "],
  });
});

test("what only looked like one comes out again", () => {
  expect(run(["a<", "/", "b>"], ["</s>"])).toEqual({ text: "a</b>", stop: null, shown: ["a", "a", "a</b>"] });
  expect(run(["text</s"], ["</s>"]).text).toBe("text</s");
});

test("the first to be complete wins, of two at once the longer", () => {
  expect(run(["xabc"], ["abc", "b"])).toMatchObject({ text: "xa", stop: "b" });
  expect(run(["xabc"], ["c", "abc"])).toMatchObject({ text: "x", stop: "abc" });
  expect(run(["one two"], ["two", "one"])).toMatchObject({ text: "", stop: "one" });
});

test("nothing after the stop string is looked at", () => {
  const matcher = new StopStrings(["."]);
  expect(matcher.push("a.b.c")).toEqual({ text: "a", stop: "." });
  expect(matcher.push("d.")).toEqual({ text: "", stop: null });
  expect(matcher.flush()).toBe("");
});

test("include_stop_str_in_output keeps it", () => {
  expect(run(["ab", "cd"], ["bc"], true)).toMatchObject({ text: "abc", stop: "bc" });
});

test("text without stop strings passes through", () => {
  expect(run(["a", "", "b"], [])).toEqual({ text: "ab", stop: null, shown: ["a", "a", "ab"] });
});

test("bad stop strings are refused by their place", () => {
  expect(() => new StopStrings(["a", ""])).toThrow(/stop\[1\] is empty/);
  expect(() => new StopStrings(["\ud83d"])).toThrow(/stop\[0\] is not well-formed/);
});

// A small alphabet makes overlaps, self-overlaps and near misses common.
const letters = (max: number) =>
  fc.string({ unit: fc.constantFrom("a", "b", "c", "😀"), minLength: 1, maxLength: max });

test("any text, any stop strings, cut anywhere: as for the whole text, and nothing leaks", () => {
  fc.assert(
    fc.property(
      letters(40),
      fc.array(letters(6), { minLength: 0, maxLength: 4 }),
      fc.array(fc.nat(60), { maxLength: 10 }),
      fc.boolean(),
      (text, stops, cuts, include) => {
        const places = [...new Set([0, ...cuts.filter((cut) => cut < text.length).sort((a, b) => a - b), text.length])];
        const pieces = places.slice(1).map((end, i) => text.slice(places[i], end));
        const expected = reference(text, stops, include);
        const { shown, ...result } = run(pieces, stops, include);
        expect(result).toEqual(expected);
        for (const soFar of shown) expect(expected.text.startsWith(soFar)).toBe(true);
      },
    ),
    { numRuns: 2000 },
  );
});

test("text is held back only while it may be the start of a stop string", () => {
  fc.assert(
    fc.property(letters(30), fc.array(letters(5), { minLength: 1, maxLength: 3 }), (text, stops) => {
      const matcher = new StopStrings(stops);
      let soFar = "";
      let shown = 0;
      for (const c of text) {
        const { text: piece, stop } = matcher.push(c);
        if (stop !== null) return;
        soFar += c;
        shown += piece.length;
        const held = soFar.slice(shown);
        if (held !== "") expect(stops.some((s) => s.startsWith(held) && s !== held)).toBe(true);
        // and nothing longer could have been the start of one
        for (let k = held.length + 1; k <= soFar.length; k++) {
          expect(stops.some((s) => s.startsWith(soFar.slice(-k)))).toBe(false);
        }
      }
    }),
    { numRuns: 1000 },
  );
});
