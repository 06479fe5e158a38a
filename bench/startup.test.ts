/** A tiny run of the start-up bench: weights of a shape are written, loaded and served. */
import { afterAll, expect, test } from "bun:test";
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openModel } from "../src/model/load.ts";
import { MODELS_DIRECTORY } from "../test/golden/expected.ts";
import { LIBRARY_PATH } from "./library.ts";
import type { Result } from "./record.ts";

const library = existsSync(LIBRARY_PATH);
if (!library) console.log("skipped: no build/libfastgen_cpu.so (make -C libfastgen)");
const folder = mkdtempSync(join(tmpdir(), "fastgen-startup-test-"));
afterAll(() => rmSync(folder, { recursive: true }));

test.skipIf(!library).each(["llama3-rope", "qwen2", "qwen3"])(
  "bench/startup.ts: %s",
  async (name) => {
    const model = mkdtempSync(join(folder, `${name}-`));
    for (const file of ["config.json", "tokenizer.json"]) {
      copyFileSync(join(MODELS_DIRECTORY, name, file), join(model, file));
    }
    const results = join(model, "results.jsonl");
    const flags = [model, "--device", "cpu", "--launches", "1", "--results", results];
    const child = Bun.spawn([process.execPath, join(import.meta.dir, "startup.ts"), ...flags], {
      stdout: "pipe",
      stderr: "pipe",
    });
    const output = await Promise.all([child.stdout.text(), child.stderr.text()]);
    if ((await child.exited) !== 0) throw new Error(output.join(""));

    const lines: Result[] = readFileSync(results, "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    const values = new Map(lines.map(({ metric, value }) => [metric, value]));
    expect(values.get("loading")).toBeGreaterThan(0);
    expect(values.get("launch to ready")).toBeGreaterThan(0);
    expect(values.get("launch to first token")).toBeGreaterThan(values.get("launch to ready")!);
    // The weights that were written are those of the model.
    const written = await openModel(model);
    const real = await openModel(join(MODELS_DIRECTORY, name));
    const list = (m: typeof real) => m.tensors.map(({ role, layer, dims }) => `${role} ${layer} [${dims}]`).sort();
    expect(list(written)).toEqual(list(real));
  },
  60_000,
);
