/**
 * The CUDA library against transformers' logits (test/golden) and the CPU library's choices. Needs a GPU and
 * `make -C libfastgen cuda`; without them every test here is skipped.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Expected, MODEL_NAMES, MODELS_DIRECTORY } from "../golden/expected.ts";
import { LIBRARY_PATH, Runner } from "../numerics.ts";
import { compareGraphs, compareRows, doubtOf, follow, leads, readGolden } from "./compare.ts";
import { skipped } from "./device.ts";

/** cuBLASLt wants rows of whole 16-byte pieces, as every real model has. */
const fits = (name: string) => {
  const config = JSON.parse(readFileSync(join(MODELS_DIRECTORY, name, "config.json"), "utf8"));
  return config.hidden_size % 8 === 0 && config.intermediate_size % 8 === 0;
};

const open = new Map<string, Promise<Runner>>();

function runner(name: string): Promise<Runner> {
  const made = open.get(name) ?? Runner.open(join(MODELS_DIRECTORY, name), { dtype: "bfloat16", device: "cuda" });
  open.set(name, made);
  return made;
}

afterAll(async () => {
  for (const made of open.values()) await made.then((r) => r.close()).catch(() => {});
});

describe.skipIf(skipped !== null).each(MODEL_NAMES.filter(fits))("CUDA as transformers: %s", (name) => {
  const golden = readGolden(Expected.read(join(MODELS_DIRECTORY, name, "expected.safetensors")));
  const { ids } = golden;

  test("a whole prompt: no worse than twice naive bfloat16", async () => {
    compareRows(await runner(name), [{ ids, golden }]);
  });

  test("in chunks beside others, through swapped pages", async () => {
    const jobs = [
      { ids: ids.toReversed(), chunks: [1] },
      { ids, golden, chunks: [50, 1, 1, 5], start: 2 },
      { ids: ids.slice(0, 65) },
      { ids, golden, chunks: [1], start: 1 },
    ];
    compareRows(await runner(name), jobs, { swapAt: 9 });
  });

  test("graphs choose what single launches choose", async () => {
    compareGraphs(await runner(name), [ids.slice(0, 70), ids.slice(20, 50), ids], 24);
  });

  test.skipIf(!existsSync(LIBRARY_PATH))("greedy tokens are the CPU library's wherever bfloat16 can tell", async () => {
    const r = await runner(name);
    const cpu = await Runner.open(join(MODELS_DIRECTORY, name), { dtype: "bfloat16" });
    const [got] = r.generate([ids], 24);
    const [wanted] = cpu.generate([ids], 24);
    cpu.close();
    follow(got!.ids, wanted!.ids, leads(wanted!), doubtOf(golden.bf16Max));
  });
});

test.skipIf(skipped !== null)("a shape that CUDA cannot compute is refused by its number", async () => {
  const odd = MODEL_NAMES.find((name) => !fits(name))!;
  expect(runner(odd)).rejects.toThrow("must be multiples of 8");
});
