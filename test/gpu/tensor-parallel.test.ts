/**
 * A model split over two GPUs against transformers' logits (test/golden), with sums over peer memory and with NCCL. Needs
 * two GPUs, NCCL and `make -C libfastgen cuda`; without them every test here is skipped.
 */
import { expect, test } from "bun:test";
import { MODEL_NAMES } from "../golden/expected.ts";
import { devices } from "./device.ts";
import { goldenConfig, openGolden, testGolden } from "./golden.ts";

const RANKS = 2;
const skip = devices < RANKS;
if (skip) console.log(`skipped: needs ${RANKS} devices, and there are ${devices}`);
const throughNccl = process.env.NCCL_P2P_DISABLE === "1";

const splits = (name: string) => {
  const { num_key_value_heads: kvHeads, intermediate_size: intermediate, hidden_size: hidden } = goldenConfig(name);
  return kvHeads % RANKS === 0 && intermediate % (8 * RANKS) === 0 && hidden % 8 === 0;
};

const onOne = { dtype: "bfloat16", device: "cuda" } as const;
const onBoth = { ...onOne, ranks: RANKS };

for (const name of MODEL_NAMES.filter(splits)) {
  const title = `two GPUs through ${throughNccl ? "NCCL" : "peer memory"}`;
  testGolden(name, onBoth, { title, skip, reference: onOne });
}

test.skipIf(skip)("heads that cannot be split are refused, and the error names the number of devices", async () => {
  const odd = MODEL_NAMES.find((name) => goldenConfig(name).num_key_value_heads % RANKS !== 0)!;
  await expect(openGolden(odd, onBoth)).rejects.toThrow("cannot be split over 2 devices");
});

test.skipIf(skip || throughNccl)(
  "all of these tests through NCCL",
  () => {
    const env = { ...process.env, NCCL_P2P_DISABLE: "1" };
    const { exitCode, stderr } = Bun.spawnSync([process.execPath, "test", import.meta.path], { env });
    expect(exitCode, stderr.toString()).toBe(0);
  },
  120_000,
);
