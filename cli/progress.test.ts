import { expect, test } from "bun:test";
import { formatBytes, formatSeconds, ProgressBar, progressLine } from "./progress.ts";

test("sizes have three digits", () => {
  expect([0, 999, 1000, 12_345, 269_060_552, 14_496_047_104].map(formatBytes)).toEqual([
    "0",
    "999",
    "1.00k",
    "12.3k",
    "269M",
    "14.5G",
  ]);
});

test("times are minutes and seconds, hours where needed", () => {
  expect([0.4, 61, 3725].map(formatSeconds)).toEqual(["00:00", "01:01", "1:02:05"]);
});

test("a line fills its width and ends at 100%", () => {
  expect(progressLine("loading", 14.5e9, 14.5e9, 1, 70)).toBe(
    "loading: 100%|███████████████████| 14.5G/14.5G [00:01<00:00, 14.5GB/s]",
  );
  expect(progressLine("loading", 5e9, 10e9, 2, 70)).toBe(
    "loading:  50%|█████████▌         | 5.00G/10.0G [00:02<00:02, 2.50GB/s]",
  );
  for (const done of [0, 1, 12e6, 99e6]) expect(progressLine("loading", done, 1e8, 3, 80)).toHaveLength(80);
});

test("a line that is broken by something else goes on below it, with the time from its beginning", async () => {
  let written = "";
  const bar = new ProgressBar({ isTTY: true, columns: 60, write: (text) => (written += text) });
  bar.breakLine();
  expect(written).toBe("");
  bar.update({ stage: "load", done: 25, total: 100 });
  bar.breakLine();
  expect(written).toEndWith("\n");
  written = "";
  await Bun.sleep(60);
  bar.update({ stage: "load", done: 50, total: 100 });
  const [, rate] = /, ([\d.]+)B\/s\]$/.exec(written)!;
  expect(Number(rate)).toBeLessThan(50 / 0.06 + 1);
  let logged = "";
  const quiet = new ProgressBar({ write: (text) => (logged += text) });
  quiet.update({ stage: "load", done: 25, total: 100 });
  quiet.breakLine();
  expect(logged).toBe("");
});

test("where there is no terminal a line comes now and then, too", () => {
  let written = "";
  const bar = new ProgressBar({ write: (text) => (written += text), columns: 60 }, { logSeconds: 0 });
  for (const done of [25, 50]) bar.update({ stage: "load", done, total: 100 });
  expect(written.match(/loading: .*?%/g)).toEqual(["loading:  25%", "loading:  50%"]);
});

test("where there is no terminal only the end of each quick stage is written", () => {
  let written = "";
  const bar = new ProgressBar({ write: (text) => (written += text), columns: 60 });
  for (const stage of ["download", "load"] as const) {
    for (const done of [1, 50, 100]) bar.update({ stage, done, total: 100 });
  }
  bar.end();
  bar.end();
  const lines = written.split("\n");
  expect(lines).toHaveLength(3);
  expect(lines[0]).toStartWith("downloading: 100%|");
  expect(lines[1]).toStartWith("loading: 100%|");
});

test("what follows the last byte is told where it takes long, and only there", async () => {
  let written = "";
  const output = { isTTY: true, columns: 60, write: (text: string) => (written += text) };
  const bar = new ProgressBar(output, { readyPatience: 20 });
  for (const done of [50, 100, 100]) bar.update({ stage: "load", done, total: 100 });
  bar.end();
  await Bun.sleep(40);
  expect(written).not.toContain("getting ready");
  for (const done of [50, 100, 100]) bar.update({ stage: "load", done, total: 100 });
  await Bun.sleep(60);
  bar.end();
  expect(written).toMatch(/100%\|.*\n.*getting ready/);
  expect(written.match(/getting ready/g)).toHaveLength(1);
});
