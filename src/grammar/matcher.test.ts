/** What a grammar allows, forces and ends, token by token, on the built-in model's vocabulary. */

import type { Pointer } from "bun:ffi";
import { beforeAll, describe, expect, test } from "bun:test";
import { FastgenError } from "../errors.ts";
import { Llguidance } from "./llguidance.ts";
import { Matcher } from "./matcher.ts";
import { TestVocabulary } from "./testing.ts";

let words: TestVocabulary;
let stop: number;

beforeAll(async () => {
  words = await TestVocabulary.load();
  stop = words.vocabulary.stopIds[0]!;
});

/** The ids that a matcher allows now. */
function allowed(matcher: Matcher): Set<number> {
  const mask = new Uint32Array(matcher.maskBytes / 4);
  expect(matcher.fillMask(mask)).toBe(true);
  const ids = new Set<number>();
  for (let id = 0; id < mask.length * 32; id++) if ((mask[id >> 5]! >>> (id & 31)) & 1) ids.add(id);
  return ids;
}

async function consumeText(matcher: Matcher, text: string): Promise<boolean> {
  for (const id of await words.encode(text)) if (!matcher.consume(id)) return false;
  return true;
}

test("a mask has a bit for each id of the model and allows what fits, however it is cut into tokens", async () => {
  const matcher = words.matcher('start: "yes" | "no"');
  expect(matcher.maskBytes).toBe(4 * Math.ceil(words.vocabulary.vocabSize / 32));
  const texts = [...allowed(matcher)].map((id) => words.tokenizer.tokenText(id)).sort();
  const fits = Array.from({ length: words.vocabulary.vocabSize }, (_, id) => words.tokenizer.tokenText(id))
    .filter((text) => text !== "" && ("yes".startsWith(text) || "no".startsWith(text)))
    .sort();
  expect(texts).toEqual(fits);
  matcher.free();
});

test("a stop id is allowed exactly where the grammar may end", async () => {
  const matcher = words.matcher("start: /[0-9]{2,4}/");
  const [digit] = await words.encode("7");
  expect(matcher.accepting).toBe(false);
  expect(allowed(matcher).has(stop)).toBe(false);
  expect(matcher.consume(digit!)).toBe(true);
  expect(matcher.accepting).toBe(false);
  expect(matcher.consume(digit!)).toBe(true);
  expect(matcher.accepting).toBe(true);
  expect(allowed(matcher).has(stop)).toBe(true);
  expect(matcher.stopped).toBe(false);
  expect(matcher.consume(stop)).toBe(true);
  expect(matcher.stopped).toBe(true);
  expect(matcher.error).toBeNull();
  matcher.free();
});

test("where nothing more can follow, the matcher stops by itself, and a mask still has the stop id", async () => {
  const matcher = words.matcher("start: /[0-9]{2}/");
  expect(await consumeText(matcher, "42")).toBe(true);
  expect(matcher.stopped).toBe(true);
  expect(matcher.error).toBeNull();
  expect([...allowed(matcher)]).toEqual([stop]);
  matcher.free();
});

test("a token that is not allowed fails the matcher for good, with a reason in words", async () => {
  const matcher = words.matcher("start: /[0-9]+/");
  expect(await consumeText(matcher, "x")).toBe(false);
  expect(matcher.error).toMatch(/\w/);
  expect(matcher.error).not.toContain("<");
  expect(matcher.stopped).toBe(true);
  expect(matcher.accepting).toBe(false);
  expect(matcher.fillMask(new Uint32Array(matcher.maskBytes / 4))).toBe(false);
  expect(matcher.forcedTokens()).toEqual(new Int32Array(0));
  const [digit] = await words.encode("7");
  expect(matcher.consume(digit!)).toBe(false);
  matcher.free();
});

test("ids beyond the vocabulary and a stop id too early are not allowed", () => {
  for (const id of [words.vocabulary.vocabSize, 2 ** 31 - 1, stop]) {
    const matcher = words.matcher("start: /[0-9]+/");
    expect(matcher.consume(id)).toBe(false);
    matcher.free();
  }
});

test("a mask of another size is refused, not overrun", () => {
  const matcher = words.matcher('start: "yes"');
  expect(matcher.fillMask(new Uint32Array(1))).toBe(false);
  matcher.free();
});

test("forced tokens are the tokenizer's own, as far as they are certain", async () => {
  const text = '{"first name": "';
  const matcher = words.matcher(`start: ${JSON.stringify(text)} /[a-z]+/ "\\"}"`);
  const forced = matcher.forcedTokens();
  const whole = await words.encode(text);
  expect(forced.length).toBeGreaterThan(3);
  expect(forced).toEqual(whole.subarray(0, forced.length));
  // The last quote may be written together with what follows, so it may be missing; nothing else may.
  expect(text.length - words.tokenizer.decode(forced).length).toBeLessThanOrEqual(3);
  for (const id of forced) expect(matcher.consume(id)).toBe(true);
  expect(await consumeText(matcher, `${text.slice(words.tokenizer.decode(forced).length)}bob"}`)).toBe(true);
  expect(matcher.stopped).toBe(true);
  matcher.free();
});

test("a mask where a token is forced allows that token alone", () => {
  const matcher = words.matcher('start: "hello world" /[a-z]+/');
  const [first] = matcher.forcedTokens();
  expect([...allowed(matcher)]).toEqual([first!]);
  matcher.free();
});

describe("on random walks through", () => {
  const schema = {
    type: "object",
    properties: {
      name: { type: "string", maxLength: 12 },
      score: { type: "number" },
      kind: { enum: ["cat", "dog", "\u00e4\u00f6"] },
      tags: { type: "array", items: { type: "string", pattern: "^[a-f\u00e9]{2,5}$" }, maxItems: 3 },
    },
    required: ["name", "score", "kind", "tags"],
    additionalProperties: false,
  };
  const grammars = {
    "a schema": `start: %json ${JSON.stringify(schema)}`,
    "a regular expression": "start: /([a-z]{1,4}[ .])*[0-9]{2}/",
    "any text, then a special token": 'start: /[^\\n]*/ "\\n" <|assistant|> "yes"',
    choices: 'start: "red" | "reddish" | "green" start',
  };
  const randomBelow = (seed: number) => {
    let state = seed;
    return (n: number) => {
      state = (state * 48271) % 0x7fffffff;
      return state % n;
    };
  };

  test.each(Object.entries(grammars))("%s, tokens that are checked one by one are those of the mask", (_, lark) => {
    const below = randomBelow(7);
    let compared = 0;
    for (let walk = 0; walk < 12; walk++) {
      const matcher = words.matcher(lark);
      for (let length = 0; length < 60 && !matcher.stopped; length++) {
        const forced = matcher.forcedTokens();
        if (forced.length > 0) {
          for (const id of forced) expect(matcher.consume(id)).toBe(true);
          continue;
        }
        const { vocabSize } = words.vocabulary;
        // Before the mask, as the library asks: what is known of the state must not matter.
        const single = Array.from({ length: vocabSize }, (_, id) => id).filter((id) => matcher.allows(id));
        const ids = [...allowed(matcher)];
        expect(single).toEqual(ids);
        compared += ids.length;
        expect(matcher.consume(ids[below(ids.length)]!)).toBe(true);
      }
      expect(matcher.error).toBeNull();
      matcher.free();
    }
    expect(compared).toBeGreaterThan(50);
  });

  test.each(Object.entries(grammars))(
    "%s, a matcher that comes after others is as one of its own compile",
    (_, lark) => {
      const { calls } = Llguidance.open();
      const start = words.matcher(lark);
      const clone = () => new Matcher(calls.llg_clone_matcher(start.pointer as Pointer) as number);
      /** What it forces or allows along the way, and how it ends. */
      const walk = (matcher: Matcher, seed: number) => {
        const below = randomBelow(seed);
        const seen: unknown[] = [];
        for (let length = 0; length < 60 && !matcher.stopped; length++) {
          const forced = [...matcher.forcedTokens()];
          const ids = forced.length > 0 ? forced : [...allowed(matcher)];
          seen.push(ids);
          const [...next] = forced.length > 0 ? forced : [ids[below(ids.length)]!];
          for (const id of next) expect(matcher.consume(id)).toBe(true);
        }
        return [seen, matcher.accepting, matcher.stopped, matcher.error];
      };
      for (let seed = 1; seed <= 12; seed++) {
        const fresh = words.matcher(lark);
        const expected = walk(fresh, seed);
        fresh.free();
        // Two at once: they share nothing.
        const [one, other] = [clone(), clone()];
        expect(walk(one, seed)).toEqual(expected);
        if (seed % 3 === 0) one.consume(stop === 5 ? 6 : 5);
        one.free();
        expect(walk(other, seed)).toEqual(expected);
        other.free();
      }
      start.free();
    },
  );
});

test("tokens that are checked for long without a mask do not use up a grammar's work", async () => {
  const matcher = words.matcher("start: /([a-z]{0,40}c){0,40}[a-z]{0,300}/");
  const [letter] = await words.encode("c");
  for (let i = 0; i < 1000; i++) {
    expect(matcher.allows(letter!)).toBe(true);
    expect(matcher.consume(letter!)).toBe(true);
  }
  expect(matcher.error).toBeNull();
  matcher.free();
});

test("no special token matches text, not even its own spelling", async () => {
  const spelling = words.tokenizer.idToToken(stop)!;
  const special = words.vocabulary.table.special;
  const free = words.matcher("start: /(.|\\n)+/");
  for (const id of allowed(free)) expect(special[id]).toBe(0);
  const written = words.matcher(`start: ${JSON.stringify(spelling)} "!"`);
  const forced = written.forcedTokens();
  expect([...forced].some((id) => special[id] === 1)).toBe(false);
  for (const id of forced) expect(written.consume(id)).toBe(true);
  free.free();
  written.free();
});

test("a grammar names special tokens, by spelling and by id", async () => {
  const name = "<|assistant|>";
  const id = words.tokenizer.tokenToId(name)!;
  for (const lark of [`start: "a" ${name} "b"`, `start: "a" <[${id}]> "b"`]) {
    const matcher = words.matcher(lark);
    expect(await consumeText(matcher, "a")).toBe(true);
    expect([...allowed(matcher)]).toEqual([id]);
    expect(matcher.consume(id)).toBe(true);
    expect(await consumeText(matcher, "b")).toBe(true);
    expect(matcher.stopped).toBe(true);
    matcher.free();
  }
});

test("a tokenizer that cannot be read forces nothing; masks allow every way to write the text", async () => {
  const plain = await TestVocabulary.load(undefined, { tokenizerJson: "{}" });
  expect(plain.forces).toBe(false);
  expect(words.forces).toBe(true);
  const matcher = plain.matcher('start: "hello"');
  expect(matcher.forcedTokens()).toEqual(new Int32Array(0));
  expect([...allowed(matcher)].length).toBeGreaterThan(1);
  expect(await consumeText(matcher, "hello")).toBe(true);
  expect(matcher.stopped).toBe(true);
  matcher.free();
});

test("several stop ids all end a grammar", async () => {
  const two = await TestVocabulary.load(undefined, { stopIds: [stop, 0] });
  const matcher = two.matcher("start: /[0-9]*/");
  expect(allowed(matcher)).toContain(stop);
  expect(allowed(matcher)).toContain(0);
  expect(matcher.consume(0)).toBe(true);
  expect(matcher.stopped).toBe(true);
  matcher.free();
});

test("a model without a stop id takes no grammars", async () => {
  await expect(TestVocabulary.load(undefined, { stopIds: [] })).rejects.toBeInstanceOf(FastgenError);
});

test("ids that the model has and the tokenizer lacks are never allowed", async () => {
  const padded = await TestVocabulary.load(undefined, { vocabSize: 2100 });
  const matcher = padded.matcher("start: /(.|\\n)+/");
  expect(matcher.maskBytes).toBe(4 * Math.ceil(2100 / 32));
  expect(Math.max(...allowed(matcher))).toBeLessThan(2048);
  matcher.free();
});

test("freed twice is freed once, and a freed matcher is not used", () => {
  const matcher = words.matcher('start: "yes"');
  matcher.free();
  matcher.free();
  expect(() => matcher.consume(1)).toThrow("freed");
});
