import { expect, test } from "bun:test";
import { PassThrough } from "node:stream";
import { watchParent } from "./parent.ts";

/** A pipe from a parent, and how often it was taken for gone. */
function watched() {
  const input = new PassThrough();
  const seen = { gone: 0 };
  const unwatch = watchParent(() => seen.gone++, input);
  return { input, seen, unwatch };
}

/** Streams tell of their end a few turns later. */
const settle = () => Bun.sleep(10);

test("the parent is there while its pipe is open, whatever it writes", async () => {
  const { input, seen } = watched();
  for (let i = 0; i < 100; i++) input.write("x".repeat(10_000));
  await settle();
  expect(seen.gone).toBe(0);
  // Dropped, not kept.
  expect(input.readableLength + input.writableLength).toBe(0);
});

test("the parent is gone when the pipe ends, and when it breaks", async () => {
  const ended = watched();
  ended.input.end();
  const broken = watched();
  broken.input.destroy(new Error("EIO"));
  await settle();
  expect(ended.seen.gone).toBeGreaterThan(0);
  expect(broken.seen.gone).toBeGreaterThan(0);
});

test("after unwatching, the end of the pipe says nothing", async () => {
  const { input, seen, unwatch } = watched();
  unwatch();
  await settle();
  expect(seen.gone).toBe(0);
  expect(input.destroyed).toBe(true);
});
