import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { undisturbed } from "./quiet.ts";

function spin(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

test.skipIf(!existsSync("/proc/stat"))(
  "another program at work is noticed, and the work done again",
  async () => {
    const other = Bun.spawn([process.execPath, "-e", "while (true);"]);
    try {
      await Bun.sleep(200);
      let runs = 0;
      const { disturbed, result } = await undisturbed([process.pid], () => {
        // The disturbance ends by itself.
        if (++runs === 2) other.kill();
        spin(200);
        return runs;
      });
      expect(result).toBeGreaterThan(1);
      expect(typeof disturbed).toBe("boolean");
    } finally {
      other.kill();
    }
  },
  60_000,
);

test("one's own work is no disturbance: the result is the last run's", async () => {
  const { result } = await undisturbed([process.pid], () => {
    spin(20);
    return "done";
  });
  expect(result).toBe("done");
}, 60_000);
