import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { main } from "./http-thread.ts";
import { readResultsFile } from "./record.ts";

const folder = mkdtempSync(path.join(tmpdir(), "fastgen-bench-http-"));
afterAll(() => rmSync(folder, { recursive: true }));

test("loads of several engines on simulated GPUs are measured and recorded", async () => {
  const file = path.join(folder, "http.jsonl");
  await main(["--engines", "1,2", "--scale", "64", "--clients", "2", "--results", file]);
  const results = readResultsFile(file);
  const names = ["reference", "streams", "chat"];
  const metrics = ["output", "busy share of the HTTP thread", "HTTP thread's time per token"];
  const runs = results.map(({ engines, load, metric }) => [engines, load.name, load.prompts, metric]);
  const prompts = (engines: number, name: string) => (engines * (name === "reference" ? 512 : 256)) / 64;
  expect(runs).toEqual(
    [1, 2].flatMap((engines) =>
      names.flatMap((name) => metrics.map((metric) => [engines, name, prompts(engines, name), metric])),
    ),
  );
  for (const { value } of results) expect(value).toBeGreaterThan(0);
  // An H100 makes no more than some 200 tokens a second for one sequence, and neither do simulated ones.
  for (const { engines, load, value } of results.filter(({ metric }) => metric === "output")) {
    expect(value).toBeLessThan(220 * prompts(engines, load.name as string));
  }
}, 60_000);
