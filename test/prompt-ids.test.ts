/** From messages to ids there is one way: every face of Fastgen makes the same prompt of the same conversation. */
import { afterAll, beforeAll, describe, expect, spyOn, test } from "bun:test";
import { type ChatMessage, type ChatOptions, Fastgen, type LoadOptions, type Prompt } from "fastgen";
import { LocalBackend } from "../cli/chat-backend.ts";
import { createApp } from "../routes/app.ts";
import { Service } from "../routes/service.ts";
import { makeTinyModel, type TinyModel } from "./fixtures/tiny-model.ts";
import golden from "./golden/tokenizers.json";

/** Writes all that a template may be given. */
const EVERYTHING =
  "{{ bos_token }}{% if tools %}<tools>{{ tools | tojson }}{% endif %}{% if documents %}{{ documents | length }} documents{% endif %}" +
  "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %}{{ eos_token }}\n" +
  "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% if thinking %}<think>{% endif %}{% endif %}";

/** Takes contents as parts alone. */
const PARTS =
  "{% for m in messages %}[{{ m.role }}]{% for part in m.content %}{{ part.text | trim }}{% endfor %}{{ eos_token }}{% endfor %}" +
  "{% if add_generation_prompt %}[assistant]{% endif %}";

const specials = { bos_token: "<s>", eos_token: "</s>" };
const file = (value: object) => JSON.stringify(value);

const MODELS: Record<string, { files: Record<string, string>; options?: LoadOptions }> = {
  "the built-in model's tokenizer and template": { files: {} },
  "byte-level, BOS by its flag": {
    files: {
      "tokenizer.json": file(golden.tokenizers.byte_level),
      "tokenizer_config.json": file({ ...specials, tokenizer_class: "LlamaTokenizerFast", chat_template: EVERYTHING }),
    },
  },
  "a space before every text, BOS by the post-processor": {
    files: {
      "tokenizer.json": file(golden.tokenizers.prepended),
      "tokenizer_config.json": file({}),
      "special_tokens_map.json": file(specials),
      "chat_template.jinja": EVERYTHING,
    },
  },
  "contents as parts": {
    files: {
      "tokenizer.json": file(golden.tokenizers.runs),
      "tokenizer_config.json": file({ ...specials, chat_template: PARTS }),
    },
  },
  "contents as parts, because it was said": {
    files: {
      "tokenizer.json": file(golden.tokenizers.byte_level_nfc),
      "tokenizer_config.json": file({ ...specials, chat_template: PARTS }),
    },
    options: { chat_template_content_format: "openai" },
  },
};

const user: ChatMessage = { role: "user", content: "  Hello,\n\n\n  wörld  <s> 👩‍👩‍👧" };
const answer: ChatMessage = { role: "assistant", content: "Well, " };
const system: ChatMessage = { role: "system", content: "Be brief." };
const tools = [{ type: "function", function: { name: "add", parameters: { type: "object", properties: {} } } }];
const call = { id: "c1", type: "function", function: { name: "add", arguments: '{"a": 1.0}' } };

const CONVERSATIONS: Record<string, { messages: ChatMessage[] } & ChatOptions> = {
  "one message": { messages: [user] },
  "several turns": { messages: [system, user, answer, user] },
  "content in parts": {
    messages: [{ role: "user", content: ["One", " two"].map((text) => ({ type: "text", text })) }],
  },
  "no generation prompt": { messages: [user, answer], add_generation_prompt: false },
  "the last message goes on": { messages: [user, answer], add_generation_prompt: false, continue_final_message: true },
  tools: { messages: [user], tools },
  documents: { messages: [user], documents: [{ title: "A", text: "B" }] },
  "a call and its answer": {
    messages: [
      user,
      { role: "assistant", content: null, tool_calls: [call] },
      { role: "tool", content: "2", tool_call_id: "c1" },
    ],
    tools,
  },
  kwargs: { messages: [user], chat_template_kwargs: { thinking: true } },
};

describe.each(Object.keys(MODELS))("%s", (name) => {
  let model: TinyModel;
  let fastgen: Fastgen;
  let app: ReturnType<typeof createApp>;

  beforeAll(async () => {
    const { files, options } = MODELS[name]!;
    model = makeTinyModel(files, { max_position_embeddings: 4096 });
    fastgen = await Fastgen.load(model.directory, { load_format: "dummy", threads: 1, ...options });
    const service = new Service();
    service.ready(fastgen);
    app = createApp(service);
  });
  afterAll(async () => {
    await fastgen.close();
    model.remove();
  });

  const post = (path: string, body: object) =>
    app.request(path, {
      method: "POST",
      headers: { "content-type": "application/json", host: "localhost" },
      body: JSON.stringify(body),
    });
  /** The field of a reply, or the error. */
  async function ask(path: string, body: object, field: string): Promise<unknown> {
    const reply = await post(path, body);
    const json = (await reply.json()) as Record<string, unknown>;
    return reply.ok ? json[field] : (json.error as { message: string }).message;
  }
  async function firstFrame(path: string, body: object): Promise<unknown> {
    const reply = await post(path, { ...body, stream: true });
    const text = await reply.text();
    if (!reply.ok) return JSON.parse(text).error.message;
    const frame = JSON.parse(text.slice("data: ".length, text.indexOf("\n\n")));
    // Chat has them beside the choices, completions in each.
    return frame.prompt_token_ids ?? frame.choices[0].prompt_token_ids;
  }
  const orMessage = async (ids: Promise<ArrayLike<number>>) => {
    try {
      return Array.from(await ids);
    } catch (error) {
      return (error as Error).message;
    }
  };
  async function fromBatch(prompt: Prompt): Promise<unknown> {
    for await (const { completion, error } of fastgen.generateAll([prompt], { max_tokens: 1 })) {
      return error ? error.message : completion.prompt_token_ids;
    }
  }
  async function fromChatTool(messages: ChatMessage[]): Promise<unknown> {
    let ids: unknown;
    const spy = Object.create(fastgen, {
      start: {
        value: async (...args: Parameters<Fastgen["start"]>) => {
          const generation = await fastgen.start(...args);
          ids = Array.from(generation.prompt_token_ids);
          return generation;
        },
      },
    }) as Fastgen;
    const backend = new LocalBackend(spy, { max_tokens: 1 });
    const failed = await backend
      .answer(messages, new AbortController().signal, () => {})
      .then(
        () => null,
        (error: Error) => error.message,
      );
    return failed ?? ids;
  }

  test.each(Object.keys(CONVERSATIONS))("a conversation: %s", async (kind) => {
    const conversation = CONVERSATIONS[kind]!;
    const expected = await orMessage(fastgen.tokenize(conversation));
    const one = { ...conversation, max_tokens: 1, return_token_ids: true };
    expect(await ask("/tokenize", conversation, "tokens")).toEqual(expected);
    expect(await ask("/v1/chat/completions", one, "prompt_token_ids")).toEqual(expected);
    expect(await firstFrame("/v1/chat/completions", one)).toEqual(expected);
    expect(await fromBatch(conversation)).toEqual(expected);
    const { messages, ...options } = conversation;
    if (Object.keys(options).length === 0) expect(await fromChatTool(messages)).toEqual(expected);
    // The built-in model knows no tool messages, and says so everywhere.
    if (name !== "the built-in model's tokenizer and template") expect(expected).toBeArray();
  });

  test.each([true, false, undefined])("a text, add_special_tokens %p", async (add_special_tokens) => {
    const prompt = "  Hello,\n\n\n  wörld </s>";
    const expected = Array.from(await fastgen.tokenize(prompt, { add_special_tokens }));
    const body = { prompt, add_special_tokens };
    expect(await ask("/tokenize", body, "tokens")).toEqual(expected);
    const choices = await ask("/v1/completions", { ...body, max_tokens: 1, return_token_ids: true }, "choices");
    expect((choices as { prompt_token_ids: number[] }[])[0]!.prompt_token_ids).toEqual(expected);
    expect(await firstFrame("/v1/completions", { ...body, max_tokens: 1, return_token_ids: true })).toEqual(expected);
    const generation = await fastgen.start(prompt, { max_tokens: 1 }, { add_special_tokens });
    expect(Array.from(generation.prompt_token_ids)).toEqual(expected);
    generation.abort();
  });
});

describe("a long text", () => {
  const context = 16_384;
  let model: TinyModel;
  let fastgen: Fastgen;
  beforeAll(async () => {
    model = makeTinyModel({}, { max_position_embeddings: context });
    fastgen = await Fastgen.load(model.directory, { load_format: "dummy", threads: 1 });
  });
  afterAll(async () => {
    await fastgen.close();
    model.remove();
  });

  const text = "A sea of words. ".repeat(20_000);

  test("is counted whole, but is tokenised to be answered only until it cannot fit", async () => {
    const whole = (await fastgen.tokenize(text)).length;
    expect(whole).toBeGreaterThan(2 * context);
    const error = await fastgen.generate(text).catch((error) => error);
    expect(error.param).toBe("prompt");
    expect(error.code).toBe("context_length_exceeded");
    const [, counted] = /at least (\d+) tokens long/.exec(error.message)!;
    expect(Number(counted)).toBeGreaterThan(context);
    expect(Number(counted)).toBeLessThan(whole);
  });

  test("is given up when its request is aborted", async () => {
    const stop = new AbortController();
    const { signal } = stop;
    const both = [fastgen.tokenize(text, { signal }), fastgen.start(text, {}, { signal })].map((promise) =>
      promise.then(
        () => "done",
        (error) => error.kind,
      ),
    );
    stop.abort();
    expect(await Promise.all(both)).toEqual(["aborted", "aborted"]);
  });

  test("is given up when the client of /tokenize goes away", async () => {
    const service = new Service();
    service.ready(fastgen);
    const stop = new AbortController();
    const tokenize = fastgen.tokenize.bind(fastgen);
    const spy = spyOn(fastgen, "tokenize").mockImplementation((prompt, options) => {
      const ids = tokenize(prompt, options);
      stop.abort();
      return ids;
    });
    const request = new Request("http://localhost/tokenize", {
      method: "POST",
      headers: { "content-type": "application/json", host: "localhost" },
      body: JSON.stringify({ prompt: text }),
      signal: stop.signal,
    });
    const reply = await createApp(service).request(request);
    spy.mockRestore();
    expect(((await reply.json()) as { error: { message: string } }).error.message).toMatch(/aborted/);
    expect(reply.ok).toBe(false);
  });
});
