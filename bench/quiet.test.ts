import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { undisturbed } from "./quiet.ts";

let other: Bun.Subprocess;
beforeEach(async () => {
  other = Bun.spawn([process.execPath, "-e", "while (true);"]);
  await Bun.sleep(200);
});
afterEach(() => other.kill());

function spin(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

test.skipIf(!existsSync("/proc/stat"))(
  "work that another program disturbs is repeated",
  async () => {
    let runs = 0;
    const { result } = await undisturbed([process.pid], () => {
      if (++runs === 2) other.kill();
      spin(200);
      return runs;
    });
    expect(result).toBeGreaterThan(1);
  },
  60_000,
);

test.skipIf(!existsSync("/proc/stat"))("the repeats end, and the result says that it was disturbed", async () => {
  let runs = 0;
  const work = () => {
    spin(100);
    return ++runs;
  };
  expect(await undisturbed([process.pid], work, 2)).toEqual({ result: 2, disturbed: true });
});
