/** Tiny runs of the benches that need the CPU library: they must record what they measure. */
import { afterAll, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MODELS_DIRECTORY } from "../test/golden/expected.ts";
import { LIBRARY_PATH } from "./library.ts";
import type { Result } from "./record.ts";

const library = existsSync(LIBRARY_PATH);
if (!library) console.log("skipped: no build/libfastgen_cpu.so (make -C libfastgen)");
const folder = mkdtempSync(join(tmpdir(), "fastgen-bench-"));
afterAll(() => rmSync(folder, { recursive: true }));

async function bench(script: string, ...flags: string[]): Promise<{ output: string; results: Map<string, Result> }> {
  const file = join(folder, `${script}l`);
  const child = Bun.spawn([process.execPath, join(import.meta.dir, script), ...flags, "--results", file], {
    stdout: "pipe",
    stderr: "pipe",
  });
  const [output, errors] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  if ((await child.exited) !== 0) throw new Error(output + errors);
  const lines: Result[] = readFileSync(file, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  return {
    output,
    results: new Map(lines.map((line) => [line.server ? `${line.server}: ${line.metric}` : line.metric, line])),
  };
}

const sizes = ["--batch", "3", "--input", "40", "--output", "5", "--rounds", "1", "--memory", "0.05", "--anyway"];

test.skipIf(!library)(
  "bench/cpu.ts",
  async () => {
    const model = join(MODELS_DIRECTORY, "llama3-rope");
    const { results } = await bench("cpu.ts", model, ...sizes, "--no-llama-cpp");
    for (const metric of [
      "memory bandwidth, best",
      "prefill, batch 1",
      "prefill, batch 3",
      "decode, batch 1",
      "decode, batch 3",
    ]) {
      expect(results.get(metric)!.value).toBeGreaterThan(0);
    }
    expect(results.get("decode, batch 1")!.load).toMatchObject({ input: 40, output: 5, rounds: 1 });
  },
  60_000,
);

const cache = join(import.meta.dir, "..", ".cache");
const built = existsSync(cache) && readdirSync(cache).some((name) => name.startsWith("llama-cpp-python-"));
if (!built) console.log("skipped: no llama.cpp in .cache (bench/build-llama-cpp.sh)");

test.skipIf(!library || !built)(
  "bench/cpu.ts beside llama.cpp: the same tokens, and a record of how llama.cpp was built and set",
  async () => {
    const model = join(MODELS_DIRECTORY, "llama3-rope");
    const { output, results } = await bench("cpu.ts", model, ...sizes);
    expect(output).toContain("the first 100 % of the greedy tokens are llama.cpp's too");
    expect(results.get("decode, batch 3: ratio to llama.cpp")!.value).toBeGreaterThan(0);
    const theirs = results.get("llama.cpp: decode, batch 3")!;
    expect(theirs.build).toContain("GGML_NATIVE=ON");
    expect(theirs.setting).toContain("n_ubatch");
  },
  120_000,
);

test.skipIf(!library)(
  "bench/http-overhead.ts",
  async () => {
    const flags = ["--streams", "4", "--input", "20", "--output", "10", "--rounds", "1", "--device", "cpu"];
    const { output, results } = await bench("http-overhead.ts", join(MODELS_DIRECTORY, "llama3-rope"), ...flags);
    expect(output).toContain("HTTP adds");
    expect(results.get("streams through HTTP")!.value).toBeGreaterThan(0);
    expect(results.get("HTTP's share of the time")!.value).toBeGreaterThan(-1);
  },
  60_000,
);
