/** The bench of conversations with a stand-in server: what it sends, and what it makes of what it is told. */
import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { runTurns, type TurnsOptions } from "./turns.ts";

const received: { prompt: number[]; max_tokens: number; ignore_eos: boolean }[] = [];
let answered = 0;
let server: Bun.Server<undefined>;

/** Copied bytes and seconds rise with each answer. */
function metrics(): string {
  return [
    `vllm:kv_host_read_bytes_total{engine="0"} ${answered * 100}`,
    `vllm:kv_host_read_seconds_total{engine="0"} ${answered * 2}`,
    `vllm:kv_host_written_bytes_total{engine="0"} ${answered * 1000}`,
    `vllm:kv_host_write_seconds_total{engine="0"} ${answered}`,
  ].join("\n");
}

beforeAll(() => {
  server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    async fetch(request) {
      if (new URL(request.url).pathname === "/metrics") return new Response(metrics());
      const body = (await request.json()) as (typeof received)[number];
      received.push(body);
      answered++;
      const usage = { prompt_tokens: body.prompt.length, prompt_tokens_details: { cached_tokens: 64 } };
      return Response.json({ usage, choices: [{ token_ids: new Array(body.max_tokens).fill(7) }] });
    },
  });
});
afterAll(() => server.stop(true));
beforeEach(() => {
  received.length = 0;
});

const options = (): TurnsOptions => ({
  url: server.url.href.replace(/\/$/, ""),
  model: "m",
  conversations: 3,
  turns: 3,
  first: 100,
  message: 10,
  answer: 20,
  seed: 0,
  vocab: 50,
  forget: false,
});

test("a turn is what was said before, what was answered, and more", async () => {
  const turns = await runTurns(options());
  expect(received.map(({ prompt }) => prompt.length)).toEqual([100, 100, 100, 130, 130, 130, 160, 160, 160]);
  expect(received.every((body) => body.max_tokens === 20 && body.ignore_eos)).toBe(true);
  const firsts = received.slice(0, 3).map(({ prompt }) => prompt.join());
  expect(new Set(firsts).size).toBe(3);
  for (const first of firsts) {
    const starts = received.filter(({ prompt }) => prompt.slice(0, 100).join() === first);
    expect(starts.map(({ prompt }) => prompt.slice(100, 120).join())).toEqual(
      ["", "7".repeat(20), "7".repeat(20)].map((ids) => [...ids].join()),
    );
  }
  expect(turns.map(({ known }) => known)).toEqual([0, 3 * 64, 3 * 128]);
  expect(turns[1]).toMatchObject({ promptTokens: 390, found: 3 * 64, readBytes: 300, readSeconds: 6 });
  expect(turns[1]).toMatchObject({ writtenBytes: 3000, writeSeconds: 3 });
});

test("turns that go on from nothing are as long, and have nothing in common", async () => {
  const turns = await runTurns({ ...options(), forget: true });
  expect(received.map(({ prompt }) => prompt.length)).toEqual([100, 100, 100, 130, 130, 130, 160, 160, 160]);
  expect(new Set(received.map(({ prompt }) => prompt.slice(0, 64).join())).size).toBe(9);
  expect(turns.map(({ known }) => known)).toEqual([0, 0, 0]);
});
