import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { parseRequestLine } from "../routes/batch/request-line.ts";
import { writeBatch } from "./batch.ts";
import { planLoad } from "./load.ts";

const folder = mkdtempSync(path.join(tmpdir(), "fastgen-bench-batch-"));
afterAll(() => rmSync(folder, { recursive: true }));

test("a batch has the load's requests", async () => {
  const load = {
    prompts: 50,
    input: 20,
    output: 10,
    spread: 0.9,
    rate: null,
    seed: 3,
    vocab: 100,
    schemas: "half",
  } as const;
  const file = path.join(folder, "in.jsonl");
  await writeBatch(file, load);
  const lines = readFileSync(file, "utf8").trimEnd().split("\n");
  const requests = lines.map((text, i) => {
    const bytes = Buffer.from(text);
    return parseRequestLine({ number: i + 1, bytes, length: bytes.length, start: 0, ended: true }, "/v1/completions");
  });
  expect(new Set(requests.map(({ custom_id }) => custom_id)).size).toBe(50);
  expect(requests.every(({ sequences }) => sequences === 1)).toBe(true);
  const bodies = requests.map(({ body }) => JSON.parse(body));
  expect(bodies.map(({ prompt }) => prompt)).toEqual(planLoad(load).map(({ promptIds }) => promptIds));
  expect(bodies.filter(({ structured_outputs }) => structured_outputs)).toHaveLength(25);
});
