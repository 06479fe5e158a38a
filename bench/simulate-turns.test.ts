import { expect, setDefaultTimeout, test } from "bun:test";
import { shareFound, simulateTurns } from "./simulate-turns.ts";
import { LINK_RATE } from "./simulated-engine.ts";

// They compute for seconds where others use the machine too.
setDefaultTimeout(60_000);

const machine = { pages: 2048, maxNumSeqs: 1024, maxNumBatchedTokens: 2048 };
const load = { conversations: 160, turns: 4, first: 2000, message: 200, answer: 200 };
const run = (hostPages: number, linkRate = LINK_RATE) => simulateTurns({ ...machine, ...load, hostPages, linkRate });
const seconds = (turns: ReturnType<typeof run>) => turns.reduce((sum, turn) => sum + turn.seconds, 0);

test("conversations that fit are found whole", () => {
  const turns = run(8192);
  expect(shareFound(turns)).toBe(1);
  expect(turns.map(({ known }) => known / load.conversations / 64)).toEqual([0, 34, 40, 46]);
});

test("of conversations in turns that do not fit, 55 % are found where the pools hold 4,096 of 5,440 to 7,360 pages", () => {
  expect(shareFound(run(2048))).toBeGreaterThan(0.55);
});

test("pages go and come back at the same time: each way at 90 % of the link and more, and it costs 1 % of the time", () => {
  const turns = run(2048);
  for (const { readRate, writeRate } of turns) {
    expect(readRate).toBeGreaterThan(0.9 * LINK_RATE);
    expect(writeRate).toBeGreaterThan(0.9 * LINK_RATE);
  }
  expect(seconds(turns)).toBeLessThan(1.01 * seconds(run(2048, 1e6)));
});

test("where the link is so slow that computing is cheaper, pages are computed, and the host costs 2 % of the time at most", () => {
  const without = run(0);
  for (const hostPages of [2048, 8192]) {
    const turns = run(hostPages, 3);
    for (const { found, readRate } of turns.slice(1)) {
      expect(readRate).toBeNaN();
      expect(found).toBeGreaterThan(0);
    }
    expect(seconds(turns)).toBeLessThan(1.02 * seconds(without));
  }
});
