import { expect, test } from "bun:test";
import { Writable } from "node:stream";
import { Log } from "./log.ts";

/** A stream that writes when it is told to, or fails. */
function slowStream() {
  const written: string[] = [];
  const waiting: ((error?: Error) => void)[] = [];
  const stream = new Writable({
    highWaterMark: 1,
    autoDestroy: false,
    write(chunk, _encoding, done) {
      waiting.push((error) => {
        if (!error) written.push(String(chunk));
        done(error);
      });
    },
  });
  const settle = async (error?: Error) => {
    while (waiting.length > 0) {
      waiting.shift()!(error);
      await Bun.sleep(0);
    }
  };
  return { stream, written, settle };
}

test("lines are written in order; flush() waits for them", async () => {
  const { stream, written, settle } = slowStream();
  const log = new Log(stream);
  expect(await log.flush(0)).toBe(true);
  log.line("one");
  log.line("two");
  expect(await log.flush(5)).toBe(false);
  const flushed = log.flush(10_000);
  await settle();
  expect(await flushed).toBe(true);
  expect(written).toEqual(["one\n", "two\n"]);
});

test("past the bound lines are dropped, and counted where they are missing", async () => {
  const { stream, written, settle } = slowStream();
  const log = new Log(stream, 100);
  const line = "x".repeat(29);
  for (let i = 0; i < 1000; i++) log.line(line);
  expect(stream.writableLength).toBeLessThan(200);
  await settle();
  log.line("after");
  await settle();
  const kept = written.filter((text) => text === `${line}\n`).length;
  expect(kept).toBeGreaterThan(0);
  expect(written.slice(kept)).toEqual([
    expect.stringContaining(`${1000 - kept} lines of the log were dropped`),
    "after\n",
  ]);
});

test("a stream that fails costs lines and nothing else", async () => {
  const { stream, written, settle } = slowStream();
  const log = new Log(stream);
  log.line("lost");
  log.line("lost");
  await settle(new Error("ENOSPC"));
  expect(await log.flush(10)).toBe(true);
  expect(written).toEqual([]);
});

test("a status line stands below the log, within the terminal's width", async () => {
  const { stream, written, settle } = slowStream();
  const log = new Log(Object.assign(stream, { columns: 21 }));
  log.status("1 running, and much more that does not fit");
  await settle();
  log.line("a line");
  log.status("2 running");
  await settle();
  log.status("2 running");
  log.status(null);
  await settle();
  log.line("plain");
  await settle();
  expect(written).toEqual([
    "\r\x1b[K1 running, and much ",
    "\r\x1b[Ka line\n1 running, and much ",
    "\r\x1b[K2 running",
    "\r\x1b[K",
    "plain\n",
  ]);
});
