import { expect, spyOn, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { LIBRARY_PATH } from "./library.ts";
import { main } from "./steps.ts";

test.skipIf(!existsSync(LIBRARY_PATH))(
  "a small load on the CPU: every token is in some step, and the times of steps are printed",
  async () => {
    const log = spyOn(console, "log").mockImplementation(() => {});
    const model = join(import.meta.dir, "..", "models", "fastgen-tiny");
    const sizes = ["--prompts", "6", "--input", "40", "--output", "10", "--max-num-seqs", "4"];
    const limits = ["--max-num-batched-tokens", "64", "--kv-cache", "0.05", "--swap-space", "0"];
    const steps = await main([model, "--device", "cpu", ...sizes, ...limits]);
    const printed = log.mock.calls.map(([line]) => line).join("\n");
    log.mockRestore();
    // A prompt's last token yields the first new one, and the last new token is never computed.
    expect(steps.reduce((sum, { tokens }) => sum + tokens, 0)).toBe(6 * (40 + 10 - 1));
    expect(steps.every(({ run, decodes, decodeContext }) => run > 0 && decodeContext >= decodes)).toBe(true);
    expect(printed).toContain("tokens/s");
    expect(printed).toContain("device: busy");
  },
);
