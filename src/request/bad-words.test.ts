import { expect, test } from "bun:test";
import { BadWords } from "./bad-words.ts";

/** A tokenizer that has "sea" and " sea", but only the bare form of "of the" and "x". */
function encoder() {
  const texts: string[] = [];
  const ids: Record<string, number[]> = {
    sea: [1],
    " sea": [2],
    "of the": [3, 4],
    " of the": [5, 4],
    x: [6],
    " x": [7, 6],
    " ": [7],
    // The space joins another token, and both forms are as long: the first ids are the same all the same.
    ab: [8, 9],
    " ab": [8, 10],
    "sea x": [1, 7, 6],
  };
  const encode = (text: string) => {
    texts.push(text);
    return Promise.resolve(Int32Array.from(ids[text] ?? []));
  };
  return { texts, words: new BadWords(encode) };
}

test("a word counts as it is and after a space, unless the space is a token of its own", async () => {
  const { words } = encoder();
  const found = await words.idsOf(["sea", " of the", "x", "   ", "", "ab"]);
  expect(found.map((ids) => [...ids])).toEqual([[1], [2], [3, 4], [5, 4], [6], [8, 9]]);
});

test("the same words are tokenised once in a row", async () => {
  const { texts, words } = encoder();
  expect(await words.idsOf([])).toEqual([]);
  const first = await words.idsOf(["sea"]);
  expect(await words.idsOf(["sea"])).toBe(first);
  expect(texts).toEqual(["sea", " sea"]);
  expect((await words.idsOf(["x"])).map((ids) => [...ids])).toEqual([[6]]);
  const idsOf = async (...all: string[]) => (await words.idsOf(all)).map((ids) => [...ids]);
  // Words that only look alike side by side are others.
  expect(await idsOf("sea x")).toEqual([[1, 7, 6]]);
  expect(await idsOf("sea", "x")).toEqual([[1], [2], [6]]);
});
