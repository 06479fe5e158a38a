/** The executable with a real model, driven by the openai client. The routes' own rules are tested in routes/. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import * as path from "node:path";
import OpenAI from "openai";
import { Expected } from "./golden/expected.ts";
import { missing, type RunningServer, startServer, until } from "./server.ts";

const golden = path.join(import.meta.dir, "golden");
const { conversations } = JSON.parse(readFileSync(path.join(golden, "smollm2.json"), "utf8"));
const expected = Expected.read(path.join(golden, "smollm2.safetensors"));
const real = path.basename(process.env.FASTGEN_TEST_MODEL ?? "SmolLM2-135M-Instruct") === "SmolLM2-135M-Instruct";

const haiku = [
  { role: "system" as const, content: "You are a helpful assistant." },
  { role: "user" as const, content: "Write a haiku about recursion in programming." },
];
const greedy = { model: "gpt-4o-mini", temperature: 0, max_tokens: 24 };

describe.skipIf(missing !== null)(`over HTTP (${missing ?? "executable"})`, () => {
  let server: RunningServer;
  let client: OpenAI;
  beforeAll(async () => {
    server = await startServer(["--served-model-name", "smol", "--dtype", "float32", "--max-num-seqs", "16"]);
    client = new OpenAI({ baseURL: server.url, apiKey: "foo", maxRetries: 0 });
  });
  afterAll(() => server?.stop());

  const post = async (target: string, body: object) => {
    const headers = { "content-type": "application/json" };
    const reply = await fetch(server.url + target, { method: "POST", headers, body: JSON.stringify(body) });
    // biome-ignore lint/suspicious/noExplicitAny: a test reads whatever the reply holds
    return (await reply.json()) as any;
  };

  test("the banner says what is served, where, and how to ask", () => {
    expect(server.banner).toContain("smol (LlamaForCausalLM, float32)");
    expect(server.banner).toMatch(/KV cache: [\d,]+ tokens in [\d,]+ pages; up to [\d,]+ tokens per sequence/);
    expect(server.banner).toContain(`curl ${server.url}/v1/chat/completions`);
  });

  test("a haiku is the same text whole and streamed", async () => {
    const whole = await client.chat.completions.create({ ...greedy, messages: haiku });
    const { message, finish_reason } = whole.choices[0]!;
    expect(message.content!.length).toBeGreaterThan(10);
    expect(whole.model).toBe("smol");
    const options = { stream: true as const, stream_options: { include_usage: true } };
    const stream = await client.chat.completions.create({ ...greedy, messages: haiku, ...options });
    let text = "";
    let reason: string | null = null;
    let usage: OpenAI.CompletionUsage | null | undefined;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? "";
      reason = chunk.choices[0]?.finish_reason ?? reason;
      usage = chunk.usage ?? usage;
    }
    expect(text).toBe(message.content!);
    expect(reason).toBe(finish_reason);
    const { prompt_tokens, completion_tokens, total_tokens } = whole.usage!;
    expect(usage).toMatchObject({ prompt_tokens, completion_tokens, total_tokens });
  });

  test.skipIf(!real)("greedy tokens match transformers (golden data of SmolLM2-135M-Instruct)", async () => {
    const replies = await Promise.all(
      conversations.map((messages: object[]) =>
        post("/v1/chat/completions", {
          messages,
          temperature: 0,
          max_tokens: 24,
          ignore_eos: true,
          return_token_ids: true,
        }),
      ),
    );
    for (const [i, reply] of replies.entries()) {
      expect(reply.prompt_token_ids).toEqual(Array.from(expected.ints(`${i}.prompt`)));
      const wanted = Array.from(expected.ints(`${i}.greedy`).subarray(0, 24));
      expect(reply.choices[0].token_ids).toEqual(wanted);
    }
  });

  test("completions: text, ids, several prompts, echo", async () => {
    const prompt = "The capital of France is";
    const { tokens } = await post("/tokenize", { prompt });
    expect((await post("/detokenize", { tokens })).prompt).toBe(prompt);
    const one = await client.completions.create({ ...greedy, prompt });
    const ids = await client.completions.create({ ...greedy, prompt: tokens });
    expect(ids.choices[0]!.text).toBe(one.choices[0]!.text);
    const several = await client.completions.create({ ...greedy, prompt: [prompt, "Once upon"], n: 2, echo: true });
    expect(several.choices.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
    expect(several.choices[0]!.text).toBe(prompt + one.choices[0]!.text);
    expect(several.choices[1]!.text).toBe(several.choices[0]!.text);
    expect(several.choices[2]!.text).toStartWith("Once upon");
  });

  test("log probabilities: greedy takes the most probable token; an echoed prompt has them too", async () => {
    const chat = await client.chat.completions.create({
      ...greedy,
      messages: haiku,
      max_tokens: 4,
      logprobs: true,
      top_logprobs: 3,
    });
    const content = chat.choices[0]!.logprobs!.content!;
    expect(content).toHaveLength(4);
    for (const { token, logprob, bytes, top_logprobs } of content) {
      expect(top_logprobs).toHaveLength(3);
      expect(top_logprobs[0]!.token).toBe(token);
      expect(top_logprobs[0]!.logprob).toBe(logprob);
      expect(logprob).toBeLessThanOrEqual(0);
      expect(Buffer.from(bytes!).toString()).toBe(token);
    }
    const prompt = "The capital of France is";
    const scored = await client.completions.create({ ...greedy, prompt, logprobs: 1, echo: true, max_tokens: 0 });
    const { tokens, token_logprobs, text_offset } = scored.choices[0]!.logprobs!;
    expect(tokens!.join("")).toBe(prompt);
    expect(token_logprobs![0]).toBeNull();
    expect(token_logprobs!.slice(1).every((logprob) => logprob! < 0)).toBe(true);
    expect(text_offset!.at(-1)).toBe(prompt.lastIndexOf(" is"));
    expect(scored.choices[0]!.text).toBe(prompt);
    expect(scored.usage!.completion_tokens).toBe(0);
  });

  test("a stop string ends the text and is left out of it, streamed or not", async () => {
    const body = { ...greedy, messages: [{ role: "user" as const, content: "Count from one to ten in digits." }] };
    const full = (await client.chat.completions.create({ ...body, max_tokens: 40 })).choices[0]!.message.content!;
    const stop = full.slice(6, 10);
    const reply = await post("/v1/chat/completions", { ...body, max_tokens: 40, stop });
    expect(reply.choices[0].message.content).toBe(full.slice(0, full.indexOf(stop)));
    expect(reply.choices[0]).toMatchObject({ finish_reason: "stop", stop_reason: stop });
    const stream = await client.chat.completions.create({ ...body, max_tokens: 40, stop, stream: true });
    let text = "";
    for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? "";
    expect(text).toBe(full.slice(0, full.indexOf(stop)));
  });

  test("the same seed draws the same tokens, and the choices of one request differ", async () => {
    const body = { model: "x", messages: haiku, temperature: 1, seed: 7, n: 3, max_tokens: 16 };
    const draw = async () => (await client.chat.completions.create(body)).choices.map(({ message }) => message.content);
    const first = await draw();
    expect(await draw()).toEqual(first);
    expect(new Set(first).size).toBe(3);
  });

  test("thirty-two streams at once give the same texts as one at a time", async () => {
    const ask = async (i: number) => {
      const messages = [{ role: "user" as const, content: `What is ${i} plus ${i}?` }];
      const stream = await client.chat.completions.create({ ...greedy, messages, max_tokens: 8, stream: true });
      let text = "";
      for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? "";
      return text;
    };
    const together = await Promise.all(Array.from({ length: 32 }, (_, i) => ask(i)));
    for (const i of [0, 13, 31]) expect(await ask(i)).toBe(together[i]!);
  });

  test("a prompt longer than the context is refused, and the error gives both lengths", async () => {
    const { data } = await client.models.list();
    const { max_model_len } = data[0] as never as { max_model_len: number };
    const prompt = Array(max_model_len + 1).fill(100);
    const error = await client.completions.create({ ...greedy, prompt }).catch((e) => e);
    expect(error).toBeInstanceOf(OpenAI.BadRequestError);
    expect(error.code).toBe("context_length_exceeded");
    expect(error.message).toContain(String(max_model_len));
    expect(error.message).toContain(String(max_model_len + 1));
  });

  test("what only the model can rule out is a 400 that names the field", async () => {
    const wrong: [object, string][] = [
      [{ prompt: [10_000_000] }, "prompt"],
      [{ prompt: "a", stop_token_ids: [10_000_000] }, "stop_token_ids"],
      [{ prompt: "a", logit_bias: { "10000000": 1 } }, "logit_bias"],
      [{ prompt: "a", max_tokens: 2 ** 40 }, "max_tokens"],
      [{ prompt: "a", max_tokens: 3, min_tokens: 4 }, "min_tokens"],
    ];
    for (const [body, param] of wrong) {
      const { error } = await post("/v1/completions", body);
      expect(error).toMatchObject({ type: "invalid_request_error", param });
    }
    const { error } = await post("/v1/chat/completions", { messages: haiku, chat_template: "{{ messages }}" });
    expect(error).toMatchObject({ type: "invalid_request_error", param: "chat_template" });
  });

  test("the metrics add up, and the log has one line per request", async () => {
    const id = crypto.randomUUID();
    const reply = await fetch(`${server.url}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json", "x-request-id": id },
      body: JSON.stringify({ messages: haiku, max_tokens: 5, ignore_eos: true }),
    });
    await reply.text();
    expect(reply.headers.get("x-request-id")).toBe(id);
    await until(() => server.log().includes(id));
    const line = server
      .log()
      .split("\n")
      .find((line) => line.includes(id))!;
    expect(JSON.parse(line)).toMatchObject({ status: 200, completion_tokens: 5, path: "/v1/chat/completions" });
    const text = await (await fetch(`${server.url}/metrics`)).text();
    // A histogram's series have the same labels in another order.
    const labels = '(engine="0",model_name="smol"|model_name="smol",engine="0")';
    const value = (name: string) => Number(new RegExp(`^vllm:${name}\\{${labels}\\} (\\S+)$`, "m").exec(text)![2]);
    expect(value("generation_tokens_total")).toBeGreaterThan(32);
    expect(value("prompt_tokens_total")).toBeGreaterThan(32);
    expect(value("prefix_cache_queries_total")).toBeGreaterThan(0);
    expect(value("time_to_first_token_seconds_count")).toBeGreaterThan(32);
    expect(value("num_requests_running")).toBe(0);
  });
});
