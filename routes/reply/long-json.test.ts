import { afterAll, expect, test } from "bun:test";
import fc from "fast-check";
import { FakeFastgen, json, startServer, until } from "../testing.ts";
import { JsonList, jsonParts } from "./long-json.ts";

test("the parts are the JSON of the value", () => {
  fc.assert(
    fc.property(fc.jsonValue({ noUnicodeString: false }), (value) => {
      // JSON has one zero.
      const text = JSON.stringify(value);
      expect(JSON.parse([...jsonParts({ value, missing: undefined })].join(""))).toEqual({ value: JSON.parse(text) });
      const list = new JsonList([value, value]);
      expect(JSON.parse([...jsonParts([{ list }])].join(""))).toEqual(
        [{ list: [value, value] }].map(() => JSON.parse(`{"list":[${text},${text}]}`)),
      );
    }),
  );
  expect([...jsonParts({ a: new JsonList([]), b: [], c: {} })].join("")).toBe('{"a":[],"b":[],"c":{}}');
});

const server = await startServer(new FakeFastgen({ max_model_len: 100_000 }));
afterAll(() => server.stop());
const scored = { prompt: "ab".repeat(20_000), max_tokens: 1, prompt_logprobs: 20 };

test("a long reply is whole, and others are served while it is written", async () => {
  const long = server.post("/v1/completions", scored).then(json);
  let served = 0;
  let done = false;
  void long.then(() => (done = true));
  while (!done) {
    await fetch(`${server.url}/health`);
    served++;
  }
  const { choices } = await long;
  expect(choices[0].prompt_logprobs).toHaveLength(40_000);
  expect(choices[0].prompt_logprobs[1]["98"]).toEqual({ logprob: -0.5, rank: 1, decoded_token: "b" });
  expect(served).toBeGreaterThan(10);
}, 30_000);

test("the server drains once it is written; a client that leaves is noticed", async () => {
  const own = await startServer(new FakeFastgen({ max_model_len: 100_000 }));
  const reply = await own.post("/v1/completions", scored);
  expect(own.service.open).toBe(1);
  const drained = own.service.drain(20);
  expect((await reply.arrayBuffer()).byteLength).toBeGreaterThan(10_000_000);
  expect(await drained).toBe(true);
  expect(own.accessLog.at(-1)).toMatchObject({ status: 200, error: null });
  own.stop();
  const left = await startServer(new FakeFastgen({ max_model_len: 100_000 }));
  const gone = await left.post("/v1/completions", scored);
  await gone.body!.cancel();
  await until(() => left.service.open === 0);
  expect(left.accessLog.at(-1)).toMatchObject({ error: "aborted" });
  left.stop();
}, 30_000);

test("a stream refuses what would be too much in one frame", async () => {
  const body = { prompt: scored.prompt, max_tokens: 1, stream: true, echo: true };
  const reply = await server.post("/v1/completions", { ...body, logprobs: 5 });
  expect(reply.status).toBe(400);
  expect((await json(reply)).error.param).toBe("logprobs");
  expect((await server.post("/v1/completions", { ...body, logprobs: 0 })).status).toBe(200);
  await until(() => server.service.open === 0);
});
