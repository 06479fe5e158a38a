/**
 * A model split over two GPUs against transformers' logits (test/golden), with sums over peer memory and with NCCL's. Needs
 * two GPUs, NCCL and `make -C libfastgen cuda`; without them every test here is skipped.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Expected, MODEL_NAMES, MODELS_DIRECTORY } from "../golden/expected.ts";
import { Runner } from "../numerics.ts";
import { compareGraphs, compareRows, doubtOf, follow, leads, readGolden } from "./compare.ts";
import { devices } from "./device.ts";

const RANKS = 2;
const skip = devices < RANKS;
const throughNccl = process.env.NCCL_P2P_DISABLE === "1";
if (skip) console.log(`skipped: ${RANKS} devices are needed, and there are ${devices}`);

const config = (name: string) => JSON.parse(readFileSync(join(MODELS_DIRECTORY, name, "config.json"), "utf8"));

const splits = (name: string) => {
  const { num_key_value_heads: kvHeads, intermediate_size: intermediate, hidden_size: hidden } = config(name);
  return kvHeads % RANKS === 0 && intermediate % (8 * RANKS) === 0 && hidden % 8 === 0;
};

const open = new Map<string, Promise<Runner>>();

function runner(name: string): Promise<Runner> {
  const options = { dtype: "bfloat16", device: "cuda", ranks: RANKS } as const;
  const made = open.get(name) ?? Runner.open(join(MODELS_DIRECTORY, name), options);
  open.set(name, made);
  return made;
}

afterAll(async () => {
  for (const made of open.values()) await made.then((r) => r.close()).catch(() => {});
});

const how = throughNccl ? "through NCCL" : "through peer memory";
describe.skipIf(skip).each(MODEL_NAMES.filter(splits))(`two GPUs ${how} as transformers: %s`, (name) => {
  const golden = readGolden(Expected.read(join(MODELS_DIRECTORY, name, "expected.safetensors")));
  const { ids } = golden;

  test("a whole prompt: no worse than twice naive bfloat16", async () => {
    compareRows(await runner(name), [{ ids, golden }]);
  });

  test("in chunks beside others, through swapped pages", async () => {
    const jobs = [
      { ids: ids.toReversed(), chunks: [1] },
      { ids, golden, chunks: [50, 1, 1, 5], start: 2 },
      { ids, golden, chunks: [1], start: 1 },
    ];
    compareRows(await runner(name), jobs, { swapAt: 9 });
  });

  test("graphs choose what single launches choose", async () => {
    compareGraphs(await runner(name), [ids.slice(0, 70), ids.slice(20, 50), ids], 24);
  });

  test("greedy tokens are one GPU's wherever bfloat16 can tell", async () => {
    const one = await Runner.open(join(MODELS_DIRECTORY, name), { dtype: "bfloat16", device: "cuda" });
    const [wanted] = one.generate([ids], 24);
    one.close();
    const [got] = (await runner(name)).generate([ids], 24);
    follow(got!.ids, wanted!.ids, leads(wanted!), doubtOf(golden.bf16Max));
  });
});

test.skipIf(skip)("heads that cannot be split are refused by their number", async () => {
  const odd = MODEL_NAMES.find((name) => config(name).num_key_value_heads % RANKS !== 0)!;
  await expect(runner(odd)).rejects.toThrow("cannot be split over 2 devices");
});

test.skipIf(skip || throughNccl)(
  "all of this through NCCL",
  () => {
    const env = { ...process.env, NCCL_P2P_DISABLE: "1" };
    const { exitCode, stderr } = Bun.spawnSync([process.execPath, "test", import.meta.path], { env });
    expect(exitCode, stderr.toString()).toBe(0);
  },
  120_000,
);
