import { expect, test } from "bun:test";
import { WaitLine } from "./wait-line.ts";

test("a token that is long in coming is said to be, until it is there", async () => {
  const written: string[] = [];
  const line = new WaitLine((text) => written.push(text), { patience: 5, interval: 5 });
  while (written.length < 2) await Bun.sleep(2);
  line.end();
  const { length } = written;
  expect(written.slice(0, 2)).toEqual(new Array(2).fill("\r\x1b[K(no token yet after 0 s; Ctrl-C gives up)"));
  expect(written.at(-1)).toBe("\r\x1b[K");
  await Bun.sleep(20);
  line.end();
  expect(written).toHaveLength(length);
});

test("nothing is said where the token comes soon", async () => {
  const written: string[] = [];
  const line = new WaitLine((text) => written.push(text), { patience: 15 });
  line.end();
  await Bun.sleep(30);
  expect(written).toEqual([]);
});
