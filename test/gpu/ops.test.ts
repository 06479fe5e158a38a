/** Runs the programs that test single ops on a GPU against references on the CPU (make -C libfastgen cuda-tests). */
import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { skipped } from "./device.ts";

const BUILD = join(import.meta.dir, "..", "..", "build");

for (const program of [
  "attention_test",
  "fp8_test",
  "gemm_test",
  "ipc_test",
  "masks_test_cuda",
  "ops_test",
  "peers_test",
  "sample_test_cuda",
  "update_test_cuda",
]) {
  const path = join(BUILD, program);
  test.skipIf(skipped !== null || !existsSync(path))(
    `${program} (skipped without a GPU, or where it is not built)`,
    () => {
      const { exitCode, stdout, stderr } = Bun.spawnSync([path]);
      expect(`${stdout}${stderr}`).not.toContain("FAILED");
      expect(exitCode).toBe(0);
    },
    120_000,
  );
}
