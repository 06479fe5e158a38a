import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import OpenAI from "openai";
import { FastgenError } from "../../src/errors.ts";
import { parseJson } from "../../src/index.ts";
import type { Conversation } from "../../src/types.ts";
import { events, FakeFastgen, type FakeOptions, json, startServer, until } from "../testing.ts";

const ANSWER = "Hello, wörld 👋";
const messages = [{ role: "user" as const, content: "Hi" }];

async function start(options: FakeOptions = {}) {
  const fake = new FakeFastgen(options);
  const server = await startServer(fake, { servedModelName: "served", trustRequestChatTemplate: true });
  const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "any", maxRetries: 0 });
  return { fake, server, client, chat: (body: object) => server.post("/v1/chat/completions", { messages, ...body }) };
}

let t: Awaited<ReturnType<typeof start>>;
beforeAll(async () => {
  t = await start({ default_params: { temperature: 0.6, top_p: 0.9 } });
});
afterAll(() => t.server.stop());

/** What the newest request asked of the library. */
const asked = () => t.fake.calls.at(-1)!;

describe("the openai client", () => {
  test("reads a whole answer", async () => {
    const reply = await t.client.chat.completions.create({ model: "gpt-4o-mini", messages });
    expect(reply.object).toBe("chat.completion");
    expect(reply.id).toMatch(/^chatcmpl-[0-9a-f]{32}$/);
    expect(reply.model).toBe("served");
    expect(reply.system_fingerprint).toMatch(/^fg_[0-9a-f]{12}$/);
    expect(Math.abs(reply.created - Date.now() / 1000)).toBeLessThan(5);
    expect(reply.choices).toHaveLength(1);
    const message = { role: "assistant" as const, content: ANSWER, refusal: null };
    expect(reply.choices[0]).toMatchObject({ index: 0, message, logprobs: null, finish_reason: "stop" });
    expect(reply.usage).toMatchObject({ prompt_tokens: 8, completion_tokens: 15, total_tokens: 23 });
    expect(reply.usage?.prompt_tokens_details?.cached_tokens).toBe(0);
  });

  test("reads a stream: the role first, then the text, the reason last, usage after it", async () => {
    const stream = await t.client.chat.completions.create({
      model: "any",
      messages,
      stream: true,
      stream_options: { include_usage: true },
    });
    const chunks = await Array.fromAsync(stream);
    expect(chunks[0]!.choices[0]!.delta).toEqual({ role: "assistant", content: "", refusal: null });
    const usage = chunks.pop()!;
    expect(usage.choices).toEqual([]);
    expect(usage.usage).toMatchObject({ prompt_tokens: 8, completion_tokens: 15, total_tokens: 23 });
    expect(chunks.map((chunk) => chunk.choices[0]!.delta.content ?? "").join("")).toBe(ANSWER);
    for (const chunk of chunks) {
      expect(chunk.object).toBe("chat.completion.chunk");
      expect(chunk.id).toBe(chunks[0]!.id);
      expect(chunk.model).toBe("served");
      expect(chunk.usage).toBeNull();
    }
    const reasons = chunks.map((chunk) => chunk.choices[0]!.finish_reason);
    expect(reasons.at(-1)).toBe("stop");
    expect(reasons.slice(0, -1).every((reason) => reason === null)).toBe(true);
  });

  test("the client's own stream helper accepts every chunk", async () => {
    const runner = t.client.chat.completions.stream({ model: "any", messages, n: 2, logprobs: true, top_logprobs: 1 });
    const final = await runner.finalChatCompletion();
    expect(final.choices.map(({ message }) => message.content)).toEqual([ANSWER, ANSWER]);
    expect(final.choices[1]!.logprobs!.content).toHaveLength(15);
  });

  test("n choices, streamed and not", async () => {
    const reply = await t.client.chat.completions.create({ model: "any", messages, n: 3 });
    expect(reply.choices.map(({ index }) => index)).toEqual([0, 1, 2]);
    expect(reply.usage).toMatchObject({ prompt_tokens: 8, completion_tokens: 45 });
    const stream = await t.client.chat.completions.create({ model: "any", messages, n: 3, stream: true });
    const texts = ["", "", ""];
    const roles = [0, 0, 0];
    for await (const { choices } of stream) {
      const { index, delta } = choices[0]!;
      texts[index] += delta.content ?? "";
      if (delta.role) roles[index]!++;
    }
    expect(texts).toEqual([ANSWER, ANSWER, ANSWER]);
    expect(roles).toEqual([1, 1, 1]);
  });

  test("log probabilities", async () => {
    const body = { model: "any", messages, logprobs: true, top_logprobs: 2, max_tokens: 2 };
    const reply = await t.client.chat.completions.create(body);
    const { logprobs, finish_reason } = reply.choices[0]!;
    expect(finish_reason).toBe("length");
    const second = { token: "e", logprob: -0.5, bytes: [101] };
    expect(logprobs!.content![1]).toEqual({
      ...second,
      top_logprobs: [second, { token: "f", logprob: -1.5, bytes: [102] }],
    });
    const stream = await t.client.chat.completions.create({ ...body, stream: true });
    const streamed = [];
    for await (const { choices } of stream) streamed.push(...(choices[0]!.logprobs?.content ?? []));
    expect(streamed).toEqual(logprobs!.content!);
  });

  test("an error is an APIError with its status, field and code", async () => {
    const long = { role: "user" as const, content: "x".repeat(2000) };
    const error = await t.client.chat.completions.create({ model: "any", messages: [long] }).catch((e) => e);
    expect(error).toBeInstanceOf(OpenAI.BadRequestError);
    expect(error.code).toBe("context_length_exceeded");
    expect(error.message).toContain("2006");
    expect(error.message).toContain("1024");
  });
});

describe("what reaches the library", () => {
  test("the model's defaults stand under explicit values, and null means the default", async () => {
    await t.chat({ temperature: 0, top_p: null, seed: 0, stop: ["a", "b"], top_k: 7 });
    expect(asked().params).toEqual({ temperature: 0, top_p: 0.9, seed: 0, stop: ["a", "b"], top_k: 7 });
    await t.chat({ random_seed: 7 });
    expect(asked().params).toMatchObject({ seed: 7 });
    await t.chat({ random_seed: 7, seed: 0 });
    expect(asked().params).toMatchObject({ seed: 0 });
    await t.chat({});
    expect(asked().params).toEqual({ temperature: 0.6, top_p: 0.9 });
  });

  test("every sampling field of vLLM's is passed on", async () => {
    const sampling = {
      n: 2,
      min_tokens: 1,
      min_p: 0.1,
      repetition_penalty: 1.1,
      presence_penalty: -1,
      frequency_penalty: 2,
      logit_bias: { "5": -100 },
      stop_token_ids: [3],
      ignore_eos: true,
      include_stop_str_in_output: true,
      skip_special_tokens: false,
      prompt_logprobs: 1,
    };
    await t.chat(sampling);
    expect(asked().params).toMatchObject(sampling);
  });

  test("max_completion_tokens is max_tokens", async () => {
    await t.chat({ max_completion_tokens: 5 });
    expect(asked().params.max_tokens).toBe(5);
    await t.chat({ max_tokens: 6, max_completion_tokens: 6 });
    expect(asked().params.max_tokens).toBe(6);
  });

  test("logprobs: none, the sampled token's, or alternatives", async () => {
    await t.chat({ logprobs: true });
    expect(asked().params.logprobs).toBe(0);
    await t.chat({ logprobs: true, top_logprobs: 4 });
    expect(asked().params.logprobs).toBe(4);
    await t.chat({ logprobs: false, top_logprobs: 0 });
    expect(asked().params.logprobs).toBeUndefined();
  });

  test("messages reach the library as they were given, with their keys in their order", async () => {
    const messages = [
      { role: "developer", content: "Be brief." },
      { role: "user", name: "ann", content: ["a", "b"].map((text) => ({ text, type: "text" })) },
      { tool_calls: [], content: null, refusal: null, role: "assistant" },
      { role: "user", content: "" },
    ];
    await t.chat({ messages, chat_template: "{{ messages }}" });
    expect(JSON.stringify((asked().prompt as { messages: object[] }).messages)).toBe(JSON.stringify(messages));
  });

  test("roles, fields, tools and documents reach the library, their numbers as they were written", async () => {
    const body = `{
      "messages": [
        {"role": "critic", "content": null, "mood": 1.0},
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "content": "4", "tool_call_id": "1"}
      ],
      "tools": [{"type": "function", "function": {"name": "f", "parameters": {"minimum": 1e3, "maximum": 12345678901234567890}}}],
      "documents": [{"title": "T"}],
      "temperature": 1.0
    }`;
    const headers = { "content-type": "application/json" };
    const reply = await fetch(`${t.server.url}/v1/chat/completions`, { method: "POST", headers, body });
    expect(reply.status).toBe(200);
    const prompt = asked().prompt as { messages: object[]; tools: object[]; documents: object[] };
    expect(prompt.messages).toEqual([
      { role: "critic", content: null, mood: parseJson("1.0") },
      { role: "assistant", tool_calls: [{ function: { name: "f", arguments: "{}" } }] },
      { role: "tool", content: "4", tool_call_id: "1" },
    ]);
    expect(prompt.tools).toEqual([
      {
        type: "function",
        function: { name: "f", parameters: { minimum: parseJson("1e3"), maximum: 12345678901234567890n } },
      },
    ]);
    expect(prompt.documents).toEqual([{ title: "T" }]);
    expect(asked().params.temperature).toBe(1);
  });

  test("fields that ask for nothing are accepted", async () => {
    const reply = await t.chat({
      model: "x",
      user: "u",
      metadata: { a: "b" },
      store: false,
      service_tier: "auto",
      tools: [],
      tool_choice: "none",
      parallel_tool_calls: true,
      response_format: { type: "text" },
      functions: null,
      audio: null,
      modalities: ["text"],
      reasoning_effort: null,
      add_special_tokens: false,
      stream: false,
      stream_options: null,
    });
    expect(reply.status).toBe(200);
  });
});

describe("vLLM's extras", () => {
  test("return_token_ids and prompt_logprobs", async () => {
    const reply = await json(await t.chat({ return_token_ids: true, prompt_logprobs: 1, max_tokens: 2 }));
    expect(reply.prompt_token_ids).toEqual([...Buffer.from("<user>Hi")]);
    expect(reply.choices[0].token_ids).toEqual([72, 101]);
    expect(reply.prompt_logprobs).toHaveLength(8);
    expect(reply.prompt_logprobs[0]).toBeNull();
    expect(reply.prompt_logprobs[1]).toEqual({ "117": { logprob: -0.5, rank: 1, decoded_token: "u" } });
  });

  test("return_token_ids in a stream: a frame for every token, the prompt's in the first", async () => {
    const frames = await events(await t.chat({ return_token_ids: true, stream: true }));
    expect(frames.pop()).toBe("[DONE]");
    const chunks = frames.map((frame) => JSON.parse(frame));
    // Beside the choices, and once.
    expect(chunks[0].prompt_token_ids).toHaveLength(8);
    const withIds = (frame: string) => frame.includes("prompt_token_ids");
    expect(frames.filter(withIds)).toHaveLength(1);
    const two = await events(await t.chat({ return_token_ids: true, stream: true, n: 2 }));
    expect([two.filter(withIds).length, withIds(two[0]!)]).toEqual([1, true]);
    expect(chunks.flatMap((chunk) => chunk.choices[0].token_ids ?? [])).toHaveLength(15);
  });

  test("echo repeats the assistant's open message", async () => {
    const open = [...messages, { role: "assistant", content: "Well, " }];
    const body = { messages: open, echo: true, continue_final_message: true };
    const reply = await json(await t.chat(body));
    expect(reply.choices[0].message.content).toBe(`Well, ${ANSWER}`);
    const frames = await events(await t.chat({ ...body, stream: true }));
    expect(JSON.parse(frames[0]!).choices[0].delta.content).toBe("Well, ");
  });

  test("the turn is opened or left open by flags among the template's variables, too; the body's own count more", async () => {
    const flags = async (body: object) => {
      await t.chat(body);
      const { add_generation_prompt, continue_final_message } = asked().prompt as Conversation;
      return [add_generation_prompt, continue_final_message];
    };
    expect(await flags({})).toEqual([undefined, undefined]);
    const chat_template_kwargs = { add_generation_prompt: false, continue_final_message: true };
    expect(await flags({ chat_template_kwargs })).toEqual([false, true]);
    expect(await flags({ chat_template_kwargs, add_generation_prompt: true, continue_final_message: false })).toEqual([
      true,
      false,
    ]);
    expect(await flags({ chat_template_kwargs: { add_generation_prompt: 0 } })).toEqual([undefined, undefined]);
  });

  test("stop_reason stands beside finish_reason", async () => {
    const reply = await json(await t.chat({}));
    expect(reply.choices[0].stop_reason).toBeNull();
  });
});

describe("streams", () => {
  test("no frame for a token whose text is held back, and no half characters", async () => {
    const frames = await events(await t.chat({ stream: true }));
    expect(frames.pop()).toBe("[DONE]");
    // The role, 13 characters and the emoji of two tokens.
    expect(frames).toHaveLength(15);
    for (const frame of frames) expect(frame.isWellFormed()).toBe(true);
  });

  test("an error in the middle is an error event, and nothing looks like an end", async () => {
    const broken = await start({ failAfter: 3 });
    const reply = await broken.chat({ stream: true, stream_options: { include_usage: true } });
    expect(reply.status).toBe(200);
    const text = await reply.text();
    expect(text).not.toContain("event:");
    expect(text).not.toContain("[DONE]");
    expect(text).not.toContain('"finish_reason":"');
    const { error } = JSON.parse(/data: (.*)\n\n$/.exec(text)![1]!);
    expect(error).toEqual({
      message: "the device fell off the bus",
      type: "server_error",
      param: null,
      code: "device_error",
    });
    const stream = await broken.client.chat.completions.create({ model: "any", messages, stream: true });
    const seen: string[] = [];
    const failure = (async () => {
      for await (const chunk of stream) seen.push(chunk.choices[0]!.delta.content ?? "");
    })();
    expect(failure).rejects.toBeInstanceOf(OpenAI.APIError);
    await failure.catch(() => {});
    expect(seen.join("")).toBe("Hel");
    expect(broken.server.accessLog.at(-1)).toMatchObject({ error: "device", completion_tokens: 3 });
    broken.server.stop();
  });

  test("an error before the end of a whole answer is its status", async () => {
    const broken = await start({ failAfter: 3, error: new FastgenError("out_of_memory", "no page is free") });
    const reply = await broken.chat({});
    expect(reply.status).toBe(503);
    expect((await json(reply)).error).toMatchObject({ message: "no page is free", code: "out_of_memory" });
    broken.server.stop();
  });

  test("a bug's message stays in the log", async () => {
    const broken = await start({ failAfter: 0, error: new Error("secret") });
    const reply = await broken.chat({});
    expect(reply.status).toBe(500);
    expect(JSON.stringify(await json(reply))).not.toContain("secret");
    expect(broken.server.errors.join()).toContain("secret");
    const stream = await (await broken.chat({ stream: true })).text();
    expect(stream).not.toContain("secret");
    broken.server.stop();
  });

  for (const stream of [true, false]) {
    test(`a client that goes away aborts its generation (stream: ${stream})`, async () => {
      const slow = await start({ answer: "x".repeat(1000), pace: () => Bun.sleep(2) });
      const controller = new AbortController();
      const { signal } = controller;
      const reply = fetch(`${slow.server.url}/chat/completions`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ messages, stream }),
        signal,
      }).then((response) => response.text());
      await until(() => (slow.fake.calls[0]?.tokens ?? 0) > 3);
      controller.abort();
      await expect(reply).rejects.toThrow();
      await until(() => slow.fake.calls[0]!.aborted);
      const { tokens } = slow.fake.calls[0]!;
      await until(() => slow.server.accessLog.length === 1);
      expect(slow.server.accessLog[0]).toMatchObject({ error: "aborted" });
      await Bun.sleep(20);
      expect(slow.fake.calls[0]!.tokens).toBeLessThanOrEqual(tokens + 1);
      slow.server.stop();
    });
  }

  test("a client that stops reading holds back its own generation and no other", async () => {
    // More frames than the socket's buffers on both sides hold.
    const answer = "x".repeat(100_000);
    const fast = await start({ answer });
    const body = JSON.stringify({ messages, stream: true });
    const head = `POST /chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n`;
    const socket = await Bun.connect({
      hostname: "127.0.0.1",
      port: fast.server.port,
      socket: { data: (socket) => socket.pause() },
    });
    socket.write(`${head}Content-Length: ${body.length}\r\n\r\n${body}`);
    await until(() => (fast.fake.calls[0]?.tokens ?? 0) > 0);
    const first = fast.fake.calls[0]!;
    let tokens = -1;
    while (tokens !== first.tokens) {
      tokens = first.tokens;
      await Bun.sleep(100);
    }
    expect(tokens).toBeLessThan(answer.length);
    const other = await fast.chat({ stream: true, max_tokens: 10 });
    expect((await events(other)).at(-1)).toBe("[DONE]");
    expect(first.tokens).toBe(tokens);
    expect(first.aborted).toBe(false);
    socket.terminate();
    await until(() => first.aborted);
    fast.server.stop();
  });
});

describe("templates from requests", () => {
  const template = "{{ messages }}";
  const inKwargs = { chat_template_kwargs: { chat_template: template } };

  test("are refused, wherever they stand, unless the server trusts them", async () => {
    const fake = new FakeFastgen();
    const server = await startServer(fake);
    for (const route of ["/v1/chat/completions", "/tokenize"]) {
      for (const [param, body] of [
        ["chat_template", { chat_template: template }],
        ["chat_template_kwargs.chat_template", inKwargs],
      ] as const) {
        const reply = await server.post(route, { messages, ...body });
        expect(reply.status).toBe(400);
        const { error } = await json(reply);
        expect(error).toMatchObject({ type: "invalid_request_error", param });
        expect(error.message).toContain("--trust-request-chat-template");
      }
    }
    expect(fake.calls).toEqual([]);
    await server.stop();
  });

  test("are taken by a server that trusts them; those of chat_template_kwargs come first", async () => {
    await t.chat(inKwargs);
    expect(asked().prompt).toMatchObject({ chat_template: template });
    await t.chat({ chat_template: "other", ...inKwargs });
    expect(asked().prompt).toMatchObject({ chat_template: template });
    const reply = await t.chat({ chat_template_kwargs: { chat_template: 1 } });
    expect(reply.status).toBe(400);
  });
});
