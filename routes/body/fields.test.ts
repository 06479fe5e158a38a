/** The fields of other servers' requests: at their defaults they are taken, at other values they are refused by name. */
import { afterAll, describe, expect, test } from "bun:test";
import { MAX_DETOKENIZE_IDS, MAX_REQUEST_TEMPLATE_LENGTH, MAX_TEMPLATE_KWARGS } from "../../src/limits.ts";
import { messageSchema } from "../anthropic/schema.ts";
import { responseSchema } from "../responses/schema.ts";
import { events, FakeFastgen, json, startServer } from "../testing.ts";
import { chatSchema, completionSchema, generateSchema } from "./schemas.ts";

const CHAT = "/v1/chat/completions";
const COMPLETIONS = "/v1/completions";
const messages = [{ role: "user", content: "Hi" }];

const fake = new FakeFastgen({ answer: "abc" });
const server = await startServer(fake);
afterAll(() => server.stop());
const asked = () => fake.calls.at(-1)!;

const chat = (body: object) => server.post(CHAT, { messages, ...body });
const complete = (body: object) => server.post(COMPLETIONS, { prompt: "Hi", ...body });

/** Each field of a protocol with its default. */
type Defaults = Record<string, unknown>;

const nulls = (...names: string[]): Defaults => Object.fromEntries(names.map((name) => [name, null]));

const VLLM_COMMON: Defaults = {
  ...nulls(
    "model",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "seed",
    "stream_options",
    "temperature",
    "top_p",
  ),
  ...nulls("user", "top_k", "min_p", "repetition_penalty", "watermarking", "truncate_prompt_tokens", "truncation_side"),
  ...nulls(
    "prompt_logprobs",
    "logprob_token_ids",
    "allowed_token_ids",
    "response_format",
    "structured_outputs",
    "session_id",
  ),
  ...nulls("return_tokens_as_token_ids", "return_token_ids", "cache_salt", "kv_transfer_params", "ec_transfer_params"),
  ...nulls("vllm_xargs", "repetition_detection", "thinking_token_budget", "stream_interval", "logits_processors"),
  ...nulls("guided_json", "guided_regex", "guided_choice", "guided_grammar", "guided_decoding_backend"),
  ...nulls("guided_whitespace_pattern", "structural_tag"),
  n: 1,
  stop: [],
  stream: false,
  use_beam_search: false,
  length_penalty: 1.0,
  stop_token_ids: [],
  include_stop_str_in_output: false,
  ignore_eos: false,
  min_tokens: 0,
  skip_special_tokens: true,
  spaces_between_special_tokens: true,
  bad_words: [],
  echo: false,
  priority: 0,
  request_id: "made-by-the-client",
  routed_experts_prompt_start: 0,
  return_token_offsets: false,
  return_mm_kwargs: true,
};

const VLLM_CHAT: Defaults = {
  ...VLLM_COMMON,
  ...nulls("max_tokens", "max_completion_tokens", "tools", "reasoning_effort", "documents", "chat_template"),
  ...nulls("chat_template_kwargs", "media_io_kwargs", "mm_processor_kwargs", "return_prompt_text"),
  logprobs: false,
  top_logprobs: 0,
  tool_choice: "none",
  include_reasoning: true,
  parallel_tool_calls: true,
  add_generation_prompt: true,
  continue_final_message: false,
  add_special_tokens: false,
};

const VLLM_COMPLETION: Defaults = {
  ...VLLM_COMMON,
  ...nulls("logprobs", "suffix", "prompt_embeds", "best_of"),
  max_tokens: 16,
  add_special_tokens: true,
};

const SGLANG_COMMON: Defaults = {
  ...nulls("logit_bias", "seed", "stop", "stream_options", "user", "regex", "ebnf", "stop_token_ids", "stop_regex"),
  ...nulls("lora_path", "session_id", "session_params", "response_format", "custom_params", "custom_logit_processor"),
  ...nulls("images_config", "bootstrap_host", "bootstrap_port", "bootstrap_room", "routed_dp_rank"),
  ...nulls(
    "disagg_prefill_dp_rank",
    "data_parallel_rank",
    "rid",
    "extra_key",
    "cache_salt",
    "ngram_corpus_id",
    "priority",
  ),
  model: "default",
  frequency_penalty: 0.0,
  presence_penalty: 0.0,
  n: 1,
  stream: false,
  return_hidden_states: false,
  return_routed_experts: false,
  routed_experts_start_len: 0,
  return_cached_tokens_details: false,
  return_token_ids: false,
  min_tokens: 0,
  no_stop_trim: false,
  ignore_eos: false,
  skip_special_tokens: true,
};

const SGLANG_CHAT: Defaults = {
  ...SGLANG_COMMON,
  ...nulls("top_logprobs", "max_tokens", "max_completion_tokens", "temperature", "top_p", "tools", "reasoning_effort"),
  ...nulls("task", "top_k", "min_p", "repetition_penalty", "chat_template_kwargs", "max_dynamic_patch"),
  ...nulls("min_dynamic_patch", "input_ids"),
  logprobs: false,
  tool_choice: "auto",
  parallel_tool_calls: true,
  return_prompt_token_ids: false,
  return_meta_info: false,
  continue_final_message: false,
  separate_reasoning: true,
  stream_reasoning: true,
  use_audio_in_video: false,
};

const SGLANG_COMPLETION: Defaults = {
  ...SGLANG_COMMON,
  ...nulls("best_of", "logprobs", "suffix", "json_schema", "custom_labels"),
  echo: false,
  max_tokens: 16,
  temperature: 1.0,
  top_p: 1.0,
  top_k: -1,
  min_p: 0.0,
  repetition_penalty: 1.0,
};

const OTHERS: Defaults = {
  // OpenAI and its clients
  ...nulls("audio", "function_call", "functions", "modalities", "moderation", "prediction", "web_search_options"),
  store: true,
  service_tier: "auto",
  metadata: { chat_id: "1", files: [], features: { web_search: false } },
  best_of: 1,
  // llama.cpp
  cache_prompt: true,
  n_predict: -1,
  typical_p: 1,
  typ_p: 1,
  mirostat_mode: 0,
  thinking_budget_tokens: -1,
  repeat_penalty: 1.0,
  mirostat: 0,
  samplers: [],
  grammar: "",
  // Transformers', which harnesses pass on
  do_sample: true,
  num_beams: 1,
  early_stopping: false,
  // Ollama's and Open WebUI's
  keep_alive: "5m",
  options: {},
  background_tasks: { title_generation: true },
  model_item: { id: "x" },
};

const TABLES: [name: string, path: string, body: object, defaults: Defaults][] = [
  ["vLLM's chat", CHAT, { messages }, VLLM_CHAT],
  ["vLLM's completions", COMPLETIONS, { prompt: "Hi" }, VLLM_COMPLETION],
  ["SGLang's chat", CHAT, { messages }, SGLANG_CHAT],
  ["SGLang's completions", COMPLETIONS, { prompt: "Hi" }, SGLANG_COMPLETION],
  ["others in chat", CHAT, { messages }, OTHERS],
  ["others in completions", COMPLETIONS, { prompt: "Hi" }, OTHERS],
];

for (const [name, path, body, defaults] of TABLES) {
  test(`${name}: every field at its default, one by one and all together`, async () => {
    const refused: string[] = [];
    for (const [field, value] of [...Object.entries(defaults), ["all", defaults] as const]) {
      const reply = await server.post(path, { ...body, ...(field === "all" ? defaults : { [field]: value }) });
      if (reply.status !== 200) refused.push(`${field}: ${(await json(reply)).error.message}`);
    }
    expect(refused).toEqual([]);
  });
}

describe("fields that are not supported", () => {
  for (const nothing of [null, false, "", [], {}]) {
    test(`an unknown one at ${JSON.stringify(nothing)} is taken`, async () => {
      expect((await chat({ temprature: nothing })).status).toBe(200);
      expect((await complete({ lora_path: nothing })).status).toBe(200);
      expect((await chat({ stream: true, stream_options: { include_all: nothing } })).status).toBe(200);
    });
  }

  const asking: [string, unknown][] = [
    ["temprature", 1],
    ["temprature", 0],
    ["use_beam_search", true],
    ["length_penalty", 2],
    ["no_stop_trim", true],
    ["return_hidden_states", true],
    ["lora_path", "adapter"],
    ["session_params", { id: 1 }],
    ["logits_processors", ["f"]],
    ["mm_processor_kwargs", { a: 1 }],
    ["kv_transfer_params", { do_remote_decode: true }],
    ["vllm_xargs", { a: 1 }],
    ["bootstrap_host", "10.0.0.1"],
    ["typical_p", 0.5],
    ["routed_experts_start_len", 1],
  ];
  for (const [field, value] of asking) {
    test(`${field} at ${JSON.stringify(value)} is refused by name`, async () => {
      for (const reply of [await chat({ [field]: value }), await complete({ [field]: value })]) {
        expect(reply.status).toBe(400);
        const { error } = await json(reply);
        expect(error).toMatchObject({ type: "invalid_request_error", param: field });
        expect(error.message).toStartWith(`${field} is not supported`);
      }
    });
  }

  test("an object whose entries are null or false asks for nothing", async () => {
    expect((await chat({ features: { web_search: false, search: null } })).status).toBe(200);
    expect((await chat({ features: { web_search: {} } })).status).toBe(400);
  });

  test("a switch that is on by default is refused when it is off", async () => {
    expect((await complete({ include_reasoning: false })).status).toBe(400);
    // Reasoning stays in the text: what this asks for.
    expect((await chat({ separate_reasoning: false })).status).toBe(200);
  });

  test("response_format of type text is taken, with fields that say nothing", async () => {
    expect((await chat({ response_format: { type: "text" } })).status).toBe(200);
    expect((await chat({ response_format: { type: "text", json_schema: null } })).status).toBe(200);
  });
});

describe("supported fields at values that say nothing", () => {
  test('"" is the default, as forms send it', async () => {
    const empty = { reasoning_effort: "", verbosity: "", stop: "", request_id: "", chat_template: "", max_tokens: "" };
    expect((await chat({ ...empty, temperature: "", seed: "" })).status).toBe(200);
    expect(asked().params).toEqual({});
    expect((await complete({ stop: "", logprobs: "" })).status).toBe(200);
  });

  test("false is none", async () => {
    expect((await complete({ logprobs: false, prompt_logprobs: false })).status).toBe(200);
    expect((await json(await complete({ logprobs: false }))).choices[0].logprobs).toBeNull();
    expect((await chat({ prompt_logprobs: false, tools: false })).status).toBe(200);
  });

  test("an empty salt is refused: its sender believes that it keeps others out", async () => {
    expect((await json(await chat({ cache_salt: "" }))).error.param).toBe("cache_salt");
  });

  test("-1 tokens is no limit", async () => {
    for (const reply of [
      await chat({ max_tokens: -1 }),
      await chat({ max_tokens: 5, max_completion_tokens: -1 }),
      await complete({ max_tokens: -1 }),
    ]) {
      expect(reply.status).toBe(200);
      expect(asked().params.max_tokens).toBeNull();
    }
    expect((await chat({ max_tokens: 0 })).status).toBe(400);
  });

  test("top_p 0, as OpenAI takes it", async () => {
    expect((await chat({ top_p: 0 })).status).toBe(200);
  });
});

test("fields that never change the answer are taken at every value, in chat and completions", async () => {
  const fields = {
    user: { id: 1, email: "a@b" },
    service_tier: "on_demand",
    store: true,
    safety_identifier: "s",
    prompt_cache_key: 5,
    prompt_cache_options: { mode: "explicit" },
    prompt_cache_retention: "24h",
    parallel_tool_calls: true,
    cache_control: { type: "ephemeral" },
    guided_decoding_backend: "xgrammar",
    timings_per_token: true,
    ttl: 300,
    draft_model: "small",
    prediction: { type: "content", content: "abc" },
    fallbacks: ["small"],
    diagnostics: { previous_message_id: "x" },
    provider: { sort: "price" },
    usage: { include: true },
    reasoning_format: "parsed",
    reasoning_split: true,
    tool_stream: true,
    incremental_output: true,
  };
  for (const send of [chat, complete]) expect((await send(fields)).status).toBe(200);
});

test("text parts by other names, and bare strings, are text parts", async () => {
  const parts = [
    "a",
    { type: "input_text", text: "b", mood: "x" },
    { type: "output_text", text: "c", annotations: [] },
    { type: "refusal", refusal: "d" },
    { type: "thinking", thinking: "e" },
    { text: "f" },
  ];
  expect((await chat({ messages: [{ role: "assistant", content: parts }, ...messages] })).status).toBe(200);
  const text = (text: string, more = {}) => ({ type: "text", text, ...more });
  expect((asked().prompt as { messages: object[] }).messages[0]).toMatchObject({
    content: [text("a"), text("b", { mood: "x" }), text("c"), text("d"), text("e"), text("f")],
  });
  const reply = await chat({ messages: [{ role: "user", content: [{ type: "refusal", text: "no refusal" }] }] });
  expect((await json(reply)).error.param).toBe("messages[0].content[0].text");
});

describe("--allow-extra-fields", async () => {
  const open = await startServer(new FakeFastgen({ answer: "abc" }), { allowExtraFields: true });
  afterAll(() => open.stop());

  test("takes them, and says which in a header and once in the log", async () => {
    const body = { messages, temprature: 1, watermarking: "a+", lora_path: null, "na\nme": 1 };
    for (let i = 0; i < 2; i++) {
      const reply = await open.post(CHAT, body);
      expect(reply.status).toBe(200);
      expect(reply.headers.get("x-ignored-fields")).toBe("temprature, watermarking, na%0Ame");
    }
    const stream = await open.post(CHAT, { messages, stream: true, stream_options: { x: 1 }, watermarking: "a+" });
    expect(stream.headers.get("x-ignored-fields")).toBe("watermarking, stream_options.x");
    await stream.text();
    expect(open.errors).toEqual([
      expect.stringMatching(/--allow-extra-fields\): "temprature", "watermarking", "na\\nme"$/),
      expect.stringMatching(/--allow-extra-fields\): "stream_options\.x"$/),
    ]);
    expect((await open.post(CHAT, { messages })).headers.get("x-ignored-fields")).toBeNull();
  });

  test("the header and the log are bounded; a supported field's value is still checked", async () => {
    const many = Object.fromEntries(Array.from({ length: 10_000 }, (_, i) => [`${"é".repeat(300)}${i}`, 1]));
    const reply = await open.post(CHAT, { messages, ...many });
    expect(reply.status).toBe(200);
    expect(reply.headers.get("x-ignored-fields")!.length).toBeLessThanOrEqual(1024);
    expect(open.errors.join("").length).toBeLessThan(20_000);
    expect((await open.post(CHAT, { messages, temperature: -1 })).status).toBe(400);
  });
});

describe("supported", () => {
  test("unknown keys of messages and content parts reach the template", async () => {
    const content = [{ type: "text", text: "a", cache_control: { type: "ephemeral" } }];
    expect((await chat({ messages: [{ role: "user", content, mood: "x" }] })).status).toBe(200);
    expect(asked().prompt).toMatchObject({ messages: [{ role: "user", content, mood: "x" }] });
  });

  test("request_id is part of the reply's id, and its x-request-id where no header has one", async () => {
    const reply = await chat({ request_id: "my-1" });
    expect(reply.headers.get("x-request-id")).toBe("my-1");
    expect((await json(reply)).id).toBe("chatcmpl-my-1");
    const named = await server.post(COMPLETIONS, { prompt: "a", request_id: "my-2" }, { "x-request-id": "own" });
    expect(named.headers.get("x-request-id")).toBe("own");
    expect((await json(named)).id).toBe("cmpl-my-2");
    // Nothing that a header cannot hold.
    const odd = await chat({ request_id: "zwei\nZeilen" });
    expect(odd.headers.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/);
    const frames = await events(await chat({ request_id: "s", stream: true }));
    expect(JSON.parse(frames[0]!).id).toBe("chatcmpl-s");
  });

  test("what concerns the prompt and the sequence reaches the library", async () => {
    const options = {
      add_special_tokens: true,
      truncate_prompt_tokens: 5,
      truncation_side: "right",
      cache_salt: "salt",
      priority: -7,
    };
    for (const send of [chat, complete]) {
      expect((await send(options)).status).toBe(200);
      expect(asked().options).toMatchObject(options);
    }
  });

  test("sampling fields reach the library", async () => {
    const sampling = { allowed_token_ids: [1, 2], bad_words: ["x"] };
    for (const send of [chat, complete]) {
      expect((await send(sampling)).status).toBe(200);
      expect(asked().params).toMatchObject(sampling);
    }
    await chat({ logprobs: true, logprob_token_ids: [5, 6] });
    expect(asked().params).toMatchObject({ logprobs: 0, logprob_token_ids: [5, 6] });
    await complete({ logprobs: 1, logprob_token_ids: [5, 6] });
    expect(asked().params).toMatchObject({ logprobs: 1, logprob_token_ids: [5, 6] });
  });

  test("reasoning_effort and verbosity are variables of the template", async () => {
    await chat({ reasoning_effort: "low", verbosity: "high", chat_template_kwargs: { a: 1 } });
    expect(asked().prompt).toMatchObject({
      chat_template_kwargs: { a: 1, reasoning_effort: "low", verbosity: "high", enable_thinking: true },
    });
    await chat({ reasoning_effort: "none" });
    expect(asked().prompt).toMatchObject({ chat_template_kwargs: { enable_thinking: false } });
    await chat({ verbosity: "low" });
    expect(asked().prompt).toMatchObject({ chat_template_kwargs: { verbosity: "low" } });
    expect(asked().prompt).not.toHaveProperty("chat_template_kwargs.enable_thinking");
    await chat({ reasoning_effort: 0.5, chat_template_kwargs: { enable_thinking: false } });
    expect(asked().prompt).toMatchObject({ chat_template_kwargs: { reasoning_effort: 0.5, enable_thinking: false } });
  });

  test("of max_tokens and max_completion_tokens the newer counts", async () => {
    for (const [max_tokens, max_completion_tokens] of [
      [1, 2],
      [2, 1],
    ]) {
      await chat({ max_tokens, max_completion_tokens });
      expect(asked().params.max_tokens).toBe(max_completion_tokens);
    }
  });

  test("seeds arrive exactly, over all 64 bits", async () => {
    const raw = (path: string, fields: string) => server.post(path, `{${fields}}`);
    const chatFields = `"messages":${JSON.stringify(messages)}`;
    for (const seed of ["9223372036854775807", "-9223372036854775808", "9007199254740993", "-9007199254740993"]) {
      expect((await raw(CHAT, `${chatFields},"seed":${seed}`)).status).toBe(200);
      expect(asked().params.seed).toBe(BigInt(seed));
      const ids = Array(100_000).fill(7).join();
      await raw(COMPLETIONS, `"x":null,"seed" : ${seed} ,"prompt":[[${ids}],[1]]`);
      expect(asked().params.seed).toBe(BigInt(seed));
    }
    for (const seed of [0, 5, -1, -5]) {
      await chat({ seed });
      expect(asked().params.seed).toBe(seed);
    }
    for (const wrong of ["9223372036854775808", "-9223372036854775809", "1e400", "1.5", '"1"', "true"]) {
      const reply = await raw(CHAT, `${chatFields},"seed":${wrong}`);
      expect(reply.status).toBe(400);
      expect((await json(reply)).error).toMatchObject({
        param: "seed",
        message: "seed must be a whole number from -2^63 to 2^63 - 1",
      });
    }
  });
});

describe("usage in streams", () => {
  const usages = async (send: typeof chat, body: object) => {
    const frames = await events(await send({ stream: true, ...body }));
    return frames.slice(0, -1).map((frame) => JSON.parse(frame).usage);
  };
  const usage = (prompt_tokens: number, completion_tokens: number) => ({
    prompt_tokens,
    completion_tokens,
    total_tokens: prompt_tokens + completion_tokens,
  });

  test("continuous_usage_stats: every frame has its choice's, the last one all", async () => {
    const stream_options = { include_usage: true, continuous_usage_stats: true };
    const last = {
      ...usage(8, 3),
      prompt_tokens_details: { cached_tokens: 0 },
      completion_tokens_details: { reasoning_tokens: 0 },
    };
    expect(await usages(chat, { stream_options })).toEqual([...[0, 1, 2, 3].map((n) => usage(8, n)), last]);
    const two = await usages(complete, { prompt: ["a", "bcd"], n: 2, stream_options });
    expect(
      two
        .slice(0, 12)
        .filter(({ prompt_tokens }) => prompt_tokens === 3)
        .at(-1),
    ).toEqual(usage(3, 3));
    expect(two.at(-1)).toMatchObject(usage(4, 12));
  });

  test("alone it asks for usage, unless that is declined; null is the default", async () => {
    expect((await usages(chat, { stream_options: { continuous_usage_stats: true } }))[1]).toEqual(usage(8, 1));
    for (const stream_options of [
      null,
      {},
      { include_usage: null },
      { include_usage: false, continuous_usage_stats: true },
      { include_usage: null, continuous_usage_stats: null, include_obfuscation: true },
    ]) {
      expect(await usages(chat, { stream_options })).toEqual(Array(4).fill(undefined));
    }
  });

  test("without stream, options that ask for nothing are taken", async () => {
    for (const stream_options of [null, {}, { include_usage: false }]) {
      expect((await chat({ stream_options })).status).toBe(200);
    }
  });
});

test("return_tokens_as_token_ids names tokens by their ids, in whole answers and streams", async () => {
  const asIds = { return_tokens_as_token_ids: true, max_tokens: 1 };
  const whole = await json(await chat({ ...asIds, logprobs: true, top_logprobs: 2 }));
  const [position] = whole.choices[0].logprobs.content;
  expect(position).toMatchObject({ token: "token_id:97", bytes: [97] });
  expect(position.top_logprobs.map(({ token }: { token: string }) => token)).toEqual(["token_id:97", "token_id:98"]);
  const completed = await json(await complete({ ...asIds, logprobs: 1, echo: true }));
  expect(completed.choices[0].logprobs).toMatchObject({
    tokens: ["token_id:72", "token_id:105", "token_id:97"],
    text_offset: [0, 1, 2],
  });
  expect(Object.keys(completed.choices[0].logprobs.top_logprobs[2])).toEqual(["token_id:97"]);
  const frames = await events(await complete({ ...asIds, logprobs: 1, stream: true }));
  expect(JSON.parse(frames[0]!).choices[0].logprobs.tokens).toEqual(["token_id:97"]);
  const streamed = await events(await chat({ ...asIds, logprobs: true, stream: true }));
  expect(JSON.parse(streamed[1]!).choices[0].logprobs.content[0].token).toBe("token_id:97");
});

test("what may be of any size is bounded, and refused by name", async () => {
  const trusting = await startServer(fake, { trustRequestChatTemplate: true });
  const kwargs = Object.fromEntries(Array.from({ length: MAX_TEMPLATE_KWARGS + 1 }, (_, i) => [`k${i}`, 1]));
  for (const [path, body, param] of [
    [CHAT, { messages, chat_template_kwargs: kwargs }, "chat_template_kwargs"],
    [CHAT, { messages, chat_template: "x".repeat(MAX_REQUEST_TEMPLATE_LENGTH + 1) }, "chat_template"],
    ["/detokenize", { tokens: Array(MAX_DETOKENIZE_IDS + 1).fill(1) }, "tokens"],
    [COMPLETIONS, { prompt: [2 ** 31] }, "prompt"],
  ] as const) {
    const reply = await trusting.post(path, body);
    expect([param, reply.status, (await json(reply)).error.param]).toEqual([param, 400, param]);
  }
  await trusting.stop();
});

test("as many prompts and choices as fit the queue are one request", async () => {
  const prompt = Array.from({ length: 512 }, () => [72, 105]);
  const { choices, usage } = await json(await complete({ prompt, n: 16, max_tokens: 1 }));
  expect(choices).toHaveLength(8192);
  expect(usage).toMatchObject({ prompt_tokens: 1024, completion_tokens: 8192 });
  const small = await startServer(new FakeFastgen(), { maxQueued: 8 });
  const refused = await json(await small.post(COMPLETIONS, { prompt: prompt.slice(0, 3), n: 3 }));
  expect(refused.error).toMatchObject({ param: "n", message: expect.stringContaining("--max-queued-seqs") });
  small.stop();
});

describe("docs/api.md", async () => {
  const page = await Bun.file(new URL("../../docs/api.md", import.meta.url)).text();
  /** The fields in the first column of a section's table. */
  const listed = (title: string) => {
    const section = page.split("\n## ").find((part) => part.startsWith(title))!;
    const rows = section.split("\n").filter((line) => line.startsWith("| `"));
    return rows.flatMap((row) => [...row.split(" | ")[0]!.matchAll(/`([a-z_]+)`/g)].map((match) => match[1]!));
  };

  test("fields that it lists as refused are refused by name", async () => {
    const fields = listed("Refused");
    expect(fields.length).toBeGreaterThan(30);
    for (const field of fields) {
      const { error } = await json(await chat({ [field]: { a: 1 } }));
      expect(error?.param).toBe(field);
    }
  });

  test("fields that it lists as ignored are taken at values that are not their defaults", async () => {
    const fields = listed("Ignored");
    expect(fields.length).toBeGreaterThan(20);
    for (const field of fields) {
      const replies = await Promise.all(["flex", true, { a: "b" }].map((value) => chat({ [field]: value })));
      expect([field, replies.some(({ status }) => status === 200)]).toEqual([field, true]);
    }
  });

  test.each([
    ["The Responses API", responseSchema],
    ["Anthropic's Messages API", messageSchema],
    ["Tokens in, tokens out", generateSchema],
  ])("%s: its fields are those of the schema", (title, schema) => {
    expect(listed(title).sort()).toEqual(Object.keys(schema.shape).sort());
  });

  test("fields that it lists as supported are those of the schemas", () => {
    const known = new Set([...Object.keys(chatSchema.shape), ...Object.keys(completionSchema.shape)]);
    const supported = listed("Supported");
    expect(supported.filter((field) => !known.has(field))).toEqual([]);
    const described = new Set([...supported, ...listed("Ignored")]);
    expect([...known].filter((field) => !described.has(field))).toEqual([]);
  });
});
