/** What a server does for requests that do not say: variables of the template, usage in streams. */
import { afterAll, describe, expect, test } from "bun:test";
import { events, FakeFastgen, startServer } from "./testing.ts";

const fake = new FakeFastgen({ answer: "abc" });
const messages = [{ role: "user", content: "Hi" }];

describe("--default-chat-template-kwargs", async () => {
  const defaults = { enable_thinking: false, tone: "dry" };
  const server = await startServer(fake, { defaultChatTemplateKwargs: defaults });
  afterAll(() => server.stop());
  const kwargs = () => (fake.calls.at(-1)!.prompt as { chat_template_kwargs?: object }).chat_template_kwargs;

  test.each([
    ["/v1/chat/completions", { messages }],
    ["/v1/messages", { messages, max_tokens: 4 }],
    ["/v1/responses", { input: "Hi" }],
  ])("%s", async (path, body) => {
    expect((await server.post(path, body)).status).toBe(200);
    expect(kwargs()).toEqual(defaults);
  });

  test("a request's own come first, also those with a field of their own", async () => {
    await server.post("/v1/chat/completions", { messages, chat_template_kwargs: { tone: "warm" } });
    expect(kwargs()).toEqual({ enable_thinking: false, tone: "warm" });
    await server.post("/v1/chat/completions", { messages, enable_thinking: true });
    expect(kwargs()).toEqual({ enable_thinking: true, tone: "dry" });
    await server.post("/v1/chat/completions", { messages, reasoning_effort: "high" });
    expect(kwargs()).toEqual({ enable_thinking: true, tone: "dry", reasoning_effort: "high" });
  });
});

describe("usage at the end of streams", async () => {
  const plain = await startServer(fake);
  const forced = await startServer(fake, { forceIncludeUsage: true });
  afterAll(() => Promise.all([plain.stop(), forced.stop()]));
  const asked: [string, object][] = [
    ["/v1/chat/completions", { messages, stream: true }],
    ["/v1/completions", { prompt: "Hi", stream: true }],
  ];
  const last = async (server: typeof plain, path: string, body: object) =>
    JSON.parse((await events(await server.post(path, body))).at(-2)!);

  test.each(asked)("%s: OpenRouter's usage asks for it", async (path, body) => {
    expect((await last(plain, path, body)).usage).toBeUndefined();
    expect((await last(plain, path, { ...body, usage: { include: false } })).usage).toBeUndefined();
    const frame = await last(plain, path, { ...body, usage: { include: true } });
    expect(frame).toMatchObject({ choices: [], usage: { completion_tokens: 3 } });
    const declined = { ...body, usage: { include: true }, stream_options: { include_usage: false } };
    expect((await last(plain, path, declined)).usage).toBeUndefined();
  });

  test.each(asked)("%s: --enable-force-include-usage", async (path, body) => {
    const frame = await last(forced, path, { ...body, stream_options: { include_usage: false } });
    expect(frame).toMatchObject({ choices: [], usage: { completion_tokens: 3 } });
    expect((await forced.post(path, { ...body, stream: false })).status).toBe(200);
  });
});
