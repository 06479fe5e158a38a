/**
 * The CUDA library against transformers' logits (test/golden) and the CPU library's choices. Needs a GPU and
 * `make -C libfastgen cuda`; without them every test here is skipped.
 */
import { expect, test } from "bun:test";
import { MODEL_NAMES } from "../golden/expected.ts";
import { skipped } from "./device.ts";
import { goldenConfig, openGolden, testGolden } from "./golden.ts";

/** cuBLASLt needs rows of a multiple of 16 bytes, as every real model has. */
const fits = (name: string) => {
  const config = goldenConfig(name);
  return config.hidden_size % 8 === 0 && config.intermediate_size % 8 === 0;
};

const onGpu = { dtype: "bfloat16", device: "cuda" } as const;
const skip = skipped !== null;

for (const name of MODEL_NAMES.filter(fits)) {
  testGolden(name, onGpu, { title: "CUDA", skip, reference: { dtype: "bfloat16" } });
}

test.skipIf(skip)("a shape that CUDA cannot compute is refused, and the error says what it must be", async () => {
  const odd = MODEL_NAMES.find((name) => !fits(name))!;
  await expect(openGolden(odd, onGpu)).rejects.toThrow("must be multiples of 8");
});
