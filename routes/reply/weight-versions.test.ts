import { afterAll, beforeAll, expect, test } from "bun:test";
import { FakeFastgen, json, startServer, type TestServer } from "../testing.ts";
import { changedVersions, changedVersionsJson, versionFields } from "./weight-versions.ts";

const one = [{ start: 0, version: "1" }];
const two = [...one, { start: 5, version: "2" }];

test("a choice has spans where the reply's version does not say it all", () => {
  expect(changedVersions({ weight_versions: one }, "1")).toEqual({});
  expect(changedVersions({ weight_versions: one }, "2")).toEqual({ weight_versions: one });
  expect(changedVersions({ weight_versions: two }, "2")).toEqual({ weight_versions: two });
});

test("a reply of one choice, and the last frame of one", () => {
  expect(versionFields(one)).toEqual({ weight_version: "1" });
  expect(versionFields(two)).toEqual({ weight_version: "2", weight_versions: two });
  expect(versionFields([])).toEqual({ weight_version: undefined });
  expect([
    changedVersionsJson({ weight_versions: one }),
    JSON.parse(`{"a":1${changedVersionsJson({ weight_versions: two })}}`),
  ]).toEqual(["", { a: 1, weight_versions: two }]);
});

const fastgen: FakeFastgen = new FakeFastgen({
  answer: "abcd",
  // Other weights before every third token.
  pace: () => {
    if (++tokens % 4 === 3) fastgen.weight_version = String(tokens);
  },
});
let tokens = 0;
let server: TestServer;
beforeAll(async () => {
  server = await startServer(fastgen);
});
afterAll(() => server.stop());

const messages = [{ role: "user", content: "Hi" }];
const requests: [path: string, body: object][] = [
  ["/v1/chat/completions", { messages }],
  ["/v1/completions", { prompt: "Hi" }],
  ["/v1/responses", { input: "Hi" }],
  ["/v1/messages", { messages, max_tokens: 9 }],
];

test.each(requests)(
  "%s: where the weights changed, in a whole reply and at the end of a stream",
  async (path, body) => {
    const before = () => fastgen.weight_version;
    const after = () => String(tokens + 3);
    let [old, now] = [before(), after()];
    const spans = () => [
      { start: 0, version: old },
      { start: 2, version: now },
    ];
    const reply = await json(await server.post(path, body));
    expect([reply.weight_version, (reply.choices?.[0] ?? reply).weight_versions]).toEqual([now, spans()]);
    [old, now] = [before(), after()];
    const stream = await (await server.post(path, { ...body, stream: true })).text();
    const frames = [...stream.matchAll(/^data: (\{.*)$/gm)].map(([, data]) => JSON.parse(data!));
    const ends = frames.map((frame) => frame.choices?.[0] ?? frame.response ?? frame);
    expect(ends.filter((end) => end.weight_versions).map((end) => end.weight_versions)).toEqual([spans()]);
    const versions = frames.map((frame) => (frame.response ?? frame.message ?? frame).weight_version);
    expect([...new Set(versions.filter((version) => version !== undefined))]).toEqual([old, now]);
  },
);
