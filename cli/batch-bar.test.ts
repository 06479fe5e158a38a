import { expect, test } from "bun:test";
import { BatchBar } from "./batch-bar.ts";
import { barLine, ChangingLine, formatTimes } from "./progress.ts";

const job = { input: "in", output: "out", errors: "err", endpoint: null, maxLineBytes: 1, maxRequests: 1 };
const progress = { total: 20_000, completed: 8390, failed: 10, outputTokens: 1000, promptTokens: 2000 };

function terminal(isTTY: boolean) {
  const written: string[] = [];
  return { written, output: { isTTY, columns: 90, write: (text: string) => written.push(text) } };
}

test("the bar has the share, the requests, the speed and the failures", () => {
  const { written, output } = terminal(true);
  const bar = new BatchBar(output);
  bar.begin();
  bar.update(progress);
  expect(written).toHaveLength(1);
  expect(written[0]).toMatch(
    /^\rrequests: {2}42%\|█+.? *\| 8,400\/20,000 \[00:00<00:0\d, [\d,]+ tokens\/s, 10 failed\]$/,
  );
  expect(written[0]!.length).toBe(90);
});

test("a check of files that takes long is shown, and ends before anything else", () => {
  const { written, output } = terminal(true);
  const bar = new BatchBar(output, 0);
  bar.check(5e9, 10e9);
  bar.update({ ...progress, completed: 0, failed: 0 });
  bar.begin();
  bar.update(progress);
  expect(written.map((text) => text.replace(/\|.*\|/, "|"))).toEqual([
    expect.stringMatching(/^\rchecking: {2}50%\| 5.00G\/10.0G \[00:00<00:00, /),
    expect.stringMatching(/^\rchecking: .*\n$/),
    expect.stringMatching(/^\rrequests: {2}42%/),
  ]);
  const quick = terminal(true);
  new BatchBar(quick.output).check(1, 2);
  expect(quick.written).toEqual([]);
});

test("its end says what is where, what is left, and how fast it was", () => {
  const { output } = terminal(false);
  const bar = new BatchBar(output);
  expect(bar.end(job)).toBe("");
  bar.update(progress);
  expect(bar.end(job)).toBe("8,390 of 20,000 requests answered (out); 10 failed (err); 11,600 left\n");
  bar.begin();
  bar.update({ ...progress, completed: 20_000, failed: 0 });
  const [first, second] = bar.end(job).split("\n");
  expect(first).toBe("20,000 of 20,000 requests answered (out)");
  expect(second).toMatch(/^2,000 \+ 1,000 tokens in \d+\.\d s, [\d,]+ tokens\/s$/);
});

test("the time that is left follows from what this run has done", () => {
  expect(formatTimes(25, 100, 60)).toBe("01:00<03:00");
  expect(formatTimes(0, 100, 60)).toBe("01:00<?");
});

test("a bar fills the width that there is", () => {
  expect(barLine("a", 0.5, "b", 20)).toBe("a:  50%|████▌    | b");
  expect(barLine("a", 1, "b", 20)).toBe("a: 100%|█████████| b");
});

test("where there is no terminal a line comes now and then, and the last one in any case", () => {
  const { written, output } = terminal(false);
  const seldom = new ChangingLine(output, 1000);
  for (const text of ["a", "b", "c"]) seldom.show(() => text);
  seldom.end();
  seldom.end();
  expect(written.splice(0)).toEqual(["c\n"]);
  const often = new ChangingLine(output, 0);
  for (const text of ["a", "b"]) often.show(() => text);
  often.end();
  expect(written).toEqual(["a\n", "b\n"]);
});

test("why there is no server is said once in a while, on a line of its own", () => {
  let written = "";
  const bar = new BatchBar({ write: (text) => (written += text), columns: 60 });
  bar.tell("cannot reach http://localhost:1/v1: refused");
  bar.tell("cannot reach http://localhost:1/v1: refused");
  expect(written).toBe("fgbatch: cannot reach http://localhost:1/v1: refused; trying again, for 10 minutes at most\n");
});
