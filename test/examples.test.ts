/** Every example runs on the built-in model, and says what it promises to. */
import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import * as path from "node:path";

const root = path.dirname(import.meta.dir);
const folder = path.join(root, "examples");
const missing = !existsSync(path.join(root, "build", "libfastgen_cpu.so"));
const why = missing ? " (skipped: needs build/libfastgen_cpu.so: npm run build)" : "";

/** Runs an example from another folder than its own. */
function run(name: string, args: string[] = [], input = "") {
  const child = Bun.spawnSync([process.execPath, path.join(folder, name), ...args], {
    cwd: root,
    stdin: new Blob([input]),
  });
  const [out, err] = [child.stdout.toString(), child.stderr.toString()];
  if (child.exitCode !== 0) throw new Error(`${name} ended with exit code ${child.exitCode}: ${err}`);
  return { out, err };
}

const checks: Record<string, () => void> = {
  "generate.ts": () => {
    const { out } = run("generate.ts");
    expect(out).toStartWith("fastgen-tiny on ");
    expect(out).toContain("17 + 25 = 42.\n13 prompt tokens, 12 generated\n");
    expect(out).toContain("> How do you spell rhythm?\nr-h-y-t-h-m\n");
    expect(out).toContain("> Which month follows December?\nThe month after December is January.\n");
  },

  "stream.ts": () => {
    // The name of a model, here its folder, in place of the built-in one.
    const { out } = run("stream.ts", ["models/fastgen-tiny"]);
    expect(out).toMatch(/^\S.*\n\S.*\n\S.*\n\[stop: \d+ tokens\]\n$/);
  },

  "chat.ts": () => {
    const { out } = run("chat.ts", [], "Hello, my name is Wolfgang.\nWhat is my name?\n");
    expect(out).toMatch(
      /Nice to meet you, Wolfgang!.*\n\[0 of 14 prompt .*\nYour name is Wolfgang\.\n\[\d+ of 38 prompt /,
    );
  },

  "dataset.ts": () => {
    const input = readFileSync(path.join(folder, "dataset.jsonl"), "utf8");
    const items = input.trim().split("\n").length;
    const long = JSON.stringify({ messages: [{ role: "user", content: "x".repeat(9000) }] });
    const { out, err } = run("dataset.ts", [], `${input}not JSON\n{"messages": 3}\n${long}\n`);
    const results = out
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line))
      .sort((a, b) => a.line - b.line);
    expect(results.map(({ line }) => line)).toEqual(Array.from({ length: items + 3 }, (_, i) => i + 1));
    expect(results[0]).toMatchObject({ text: "17 + 25 = 42.", finish_reason: "stop" });
    for (const { token_ids, logprobs, error } of results.slice(0, items)) {
      expect(error).toBeUndefined();
      expect(token_ids.length).toBeGreaterThan(3);
      expect(logprobs).toHaveLength(token_ids.length);
      expect(logprobs.every((logprob: number) => logprob <= 0)).toBe(true);
    }
    expect(results.slice(items).map(({ error }) => error)).toEqual([
      expect.stringContaining("JSON"),
      expect.stringContaining('"messages" must be an array'),
      expect.stringContaining("maximum context length is 1024"),
    ]);
    expect(err).toMatch(/\d+ tokens generated/);
  },
};

const examples = readdirSync(folder).filter((name) => name.endsWith(".ts"));

test("each example is tested, short, and says how to run it", () => {
  expect(examples.sort()).toEqual(Object.keys(checks).sort());
  for (const name of examples) {
    const text = readFileSync(path.join(folder, name), "utf8");
    expect(text.split("\n").length).toBeLessThanOrEqual(61);
    expect(text).toStartWith("/**");
    expect(text).toContain(`Run: bun examples/${name} [MODEL]`);
  }
});

describe.skipIf(missing)(`examples${why}`, () => {
  for (const [name, check] of Object.entries(checks)) test(name, check);
});
