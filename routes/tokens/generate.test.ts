import { afterAll, describe, expect, test } from "bun:test";
import { events, FakeFastgen, json, startServer } from "../testing.ts";

const PATH = "/inference/v1/generate";
const mode = { logprobs_mode: "processed_logprobs" } as const;
const defaults = { temperature: 0.6, top_k: 20, top_p: 0.95, max_tokens: 3, ...mode };
const fake = new FakeFastgen({ answer: "abcd", default_params: defaults });
const server = await startServer(fake);
afterAll(() => server.stop());

const codes = (text: string) => Array.from(text, (letter) => letter.charCodeAt(0));
const post = (body: object) => server.post(PATH, body);

describe("tokens in, tokens out", () => {
  test("a reply has the tokens, their log probabilities by id, the token itself first, and the usage", async () => {
    const sampling_params = { max_tokens: 2, logprobs: 1, seed: 5 };
    const reply = await post({ model: "x", token_ids: [72, 105], sampling_params, request_id: "r-1" });
    expect(reply.headers.get("x-request-id")).toBe("r-1");
    const own = { token: "token_id:97", token_id: 97, logprob: -0.5, rank: 1 };
    expect(await json(reply)).toMatchObject({
      request_id: "r-1",
      output_mode: "tokens",
      model: "org/fake",
      choices: [
        {
          index: 0,
          token_ids: codes("ab"),
          finish_reason: "length",
          stop_reason: null,
          logprobs: { content: [{ ...own, top_logprobs: [own] }, { token: "token_id:98" }] },
        },
      ],
      usage: { prompt_tokens: 2, completion_tokens: 2, total_tokens: 4 },
      prompt_logprobs: null,
      weight_version: "0",
      kv_transfer_params: null,
    });
  });

  test("what sampling_params leave out is vLLM's default, but the model's max_tokens and the server's logprobs_mode", async () => {
    const { choices } = await json(await post({ token_ids: [72], sampling_params: { top_k: 7 } }));
    expect(choices[0]).toMatchObject({ token_ids: codes("abc"), logprobs: null });
    expect(choices[0].text).toBeUndefined();
    expect(fake.calls.at(-1)!.params).toEqual({ temperature: 1, top_k: 7, top_p: 1, max_tokens: 3, ...mode });
    await post({ token_ids: [72] });
    expect(fake.calls.at(-1)!.params).toEqual({ temperature: 1, top_k: 0, top_p: 1, max_tokens: 3, ...mode });
  });

  test("vLLM's own way of writing sampling parameters", async () => {
    const sampling_params = {
      ...{ n: 2, temperature: 0.5, seed: null, stop: null, logprobs: 0, prompt_logprobs: null, output_kind: 2 },
      ...{ detokenize: false, flat_logprobs: false, skip_clone: true, extra_args: null, bad_words: [], min_tokens: 0 },
      ...{ spaces_between_special_tokens: true, structured_outputs: null, logprobs_mode: "raw_logprobs" },
    };
    const body = { token_ids: [72], sampling_params, features: null, priority: 0, reasoning_ended: true };
    const reply = await json(await post({ ...body, cache_salt: "pepper", kv_transfer_params: null }));
    expect(reply.choices.map(({ index }: { index: number }) => index)).toEqual([0, 1]);
    const { params, options } = fake.calls.at(-1)!;
    expect(params).toMatchObject({ n: 2, temperature: 0.5, logprobs: 0, logprobs_mode: "raw_logprobs" });
    expect(options.cache_salt).toBe("pepper");
  });

  test("a seed of 64 bits is exact", async () => {
    await server.post(PATH, `{"token_ids":[72],"sampling_params":{"seed":9007199254740993}}`);
    expect(fake.calls.at(-1)!.params.seed).toBe(9007199254740993n);
  });

  test("the prompt's own token comes first among its log probabilities", async () => {
    const sampling_params = { max_tokens: 1, prompt_logprobs: 2 };
    const text = await (await post({ token_ids: [72, 105], sampling_params, return_token_ids: true })).text();
    // The fake's alternatives are the token and the one after it; here the text is what counts, since objects sort such keys.
    expect(text).toContain(`"prompt_logprobs":[null,{"105":{"logprob":-0.5,"rank":1,"decoded_token":"i"},"106":{`);
    expect(JSON.parse(text).prompt_token_ids).toEqual([72, 105]);
  });

  test("with output_mode text there is text, and tokens have theirs", async () => {
    const body = { token_ids: [72], sampling_params: { max_tokens: 2, logprobs: 0 }, output_mode: "text" };
    const { choices } = await json(await post(body));
    expect(choices[0].text).toBe("ab");
    expect(choices[0].logprobs.content[0]).toMatchObject({ token: "a", token_id: 97, bytes: [97] });
  });

  test("a stream has the same in pieces", async () => {
    const sampling_params = { max_tokens: 2, logprobs: 0 };
    const body = { token_ids: [72], sampling_params, stream: true, request_id: "s", return_token_ids: true };
    const frames = await events(await post({ ...body, stream_options: { include_usage: true } }));
    expect(frames.pop()).toBe("[DONE]");
    const parsed = frames.map((frame) => JSON.parse(frame));
    expect(parsed[0]).toMatchObject({
      request_id: "s",
      output_mode: "tokens",
      choices: [{ index: 0, token_ids: [97], finish_reason: null }],
      prompt_token_ids: [72],
    });
    expect(parsed[0].choices[0].logprobs.content).toHaveLength(1);
    expect(parsed[1].prompt_token_ids).toBeUndefined();
    expect(parsed[1].choices[0]).toMatchObject({ token_ids: [98], finish_reason: "length", stop_reason: null });
    expect(parsed[2]).toMatchObject({ choices: [], usage: { completion_tokens: 2 } });
  });

  test("what /render makes of a conversation is a body", async () => {
    const messages = [{ role: "user", content: "Hi" }];
    const rendered = await json(await server.post("/v1/chat/completions/render", { messages, max_tokens: 2 }));
    const { choices } = await json(await post(rendered));
    expect(choices[0].token_ids).toEqual(codes("ab"));
  });

  test.each([
    ["no token ids", {}, "token_ids"],
    ["token ids that are text", { token_ids: "Hi" }, "token_ids"],
    ["a wrong parameter", { token_ids: [1], sampling_params: { top_p: 2 } }, "sampling_params.top_p"],
    ["an unknown parameter", { token_ids: [1], sampling_params: { x: 1 } }, "sampling_params.x"],
    ["images", { token_ids: [1], features: { mm_hashes: { image: ["a"] } } }, "features"],
    [
      "prompt_logprobs in a stream",
      { token_ids: [1], stream: true, sampling_params: { prompt_logprobs: 0 } },
      "prompt_logprobs",
    ],
    ["nothing to compute", { token_ids: [1], sampling_params: { max_tokens: 0 } }, "sampling_params.max_tokens"],
    [
      "a mode that is none",
      { token_ids: [1], sampling_params: { logprobs_mode: "raw_logits" } },
      "sampling_params.logprobs_mode",
    ],
    ["too long a salt", { token_ids: [1], cache_salt: "x".repeat(2000) }, "cache_salt"],
  ])("%s: a 400 that names the field", async (_, body, param) => {
    const reply = await post(body);
    expect(reply.status).toBe(400);
    expect((await json(reply)).error.param).toBe(param);
  });
});

describe("a rollout's record", () => {
  const record = (mode: string, prompt: string, seed: number) => ({
    prompt_token_ids: codes(prompt),
    token_ids: codes("ab"),
    logprobs: [-0.5, -0.5],
    logprobs_mode: mode,
    finish_reason: "length",
    stop_reason: null,
    weight_versions: [{ start: 0, version: "0" }],
    seed,
  });
  const asked = { max_tokens: 2, seed: 5, n: 2, return_rollout: true };

  test("of generated tokens, by choice, without log probabilities beside it", async () => {
    const sampling_params = { max_tokens: 2, seed: 5, n: 2, logprobs_mode: "raw_logprobs" };
    const { choices } = await json(await post({ token_ids: codes("Hi"), sampling_params, return_rollout: true }));
    expect(choices[0].logprobs).toBeNull();
    expect(choices[0].rollout).toEqual(record("raw_logprobs", "Hi", 5));
    expect(choices[1].rollout).toEqual(record("raw_logprobs", "Hi", 6));
  });

  test("of completions of several prompts, and of chat", async () => {
    const completions = await json(await server.post("/v1/completions", { prompt: ["A", "Hi"], ...asked }));
    const seeds = completions.choices.map(({ rollout }: { rollout: { seed: number } }) => rollout.seed);
    expect(seeds).toEqual([5, 6, 5, 6]);
    expect(completions.choices[3].rollout).toEqual(record("processed_logprobs", "Hi", 6));
    expect(completions.choices[3].logprobs).toBeNull();
    const messages = [{ role: "user", content: "Hi" }];
    const { choices } = await json(await server.post("/v1/chat/completions", { messages, ...asked }));
    expect(choices[1].rollout).toEqual(record("processed_logprobs", "<user>Hi", 6));
    expect(choices[1].logprobs).toBeNull();
    const listed = { messages, ...asked, logprobs: true };
    const [first] = (await json(await server.post("/v1/chat/completions", listed))).choices;
    expect(first.logprobs.content).toHaveLength(2);
    expect(first.rollout.logprobs).toHaveLength(2);
  });

  test("in streams, on the last frame of each choice", async () => {
    const messages = [{ role: "user", content: "Hi" }];
    const bodies: [string, object, string][] = [
      ["/v1/chat/completions", { messages, ...asked, stream: true }, "<user>Hi"],
      ["/v1/completions", { prompt: "Hi", ...asked, stream: true }, "Hi"],
      [
        PATH,
        {
          token_ids: codes("Hi"),
          sampling_params: { max_tokens: 2, seed: 5, n: 2 },
          stream: true,
          return_rollout: true,
        },
        "Hi",
      ],
    ];
    for (const [path, body, prompt] of bodies) {
      const frames = await events(await server.post(path, body));
      const choices = frames.slice(0, -1).flatMap((frame) => JSON.parse(frame).choices);
      expect(choices.every(({ logprobs }) => logprobs === null)).toBe(true);
      const ended = choices.filter(({ finish_reason }) => finish_reason !== null);
      expect(choices.filter(({ rollout }) => rollout !== undefined)).toEqual(ended);
      expect(ended.map(({ rollout }) => rollout)).toEqual(
        [5, 6].map((seed) => record("processed_logprobs", prompt, seed)),
      );
    }
  });

  test("of responses and messages, at their ends, and not of what is stored", async () => {
    const sampling = { seed: 5, return_rollout: true };
    const wanted = record("processed_logprobs", "<user>Hi", 5);
    const response = { input: "Hi", max_output_tokens: 2, ...sampling };
    const message = { messages: [{ role: "user", content: "Hi" }], max_tokens: 2, ...sampling };
    const whole = await json(await server.post("/v1/responses", response));
    expect(whole.rollout).toEqual(wanted);
    expect(whole.output[0].content[0].logprobs).toEqual([]);
    const kept = await json(await fetch(`${server.url}/v1/responses/${whole.id}`));
    expect(kept.rollout).toBeUndefined();
    expect((await json(await server.post("/v1/messages", message))).rollout).toEqual(wanted);

    const lastOf = async (path: string, body: object, type: string) => {
      const text = await (await server.post(path, { ...body, stream: true })).text();
      expect(text.match(/"rollout":/g)).toHaveLength(1);
      const [, data] = new RegExp(`^event: ${type}\ndata: (.*)$`, "m").exec(text)!;
      return JSON.parse(data!);
    };
    expect((await lastOf("/v1/responses", response, "response.incomplete")).response.rollout).toEqual(wanted);
    expect((await lastOf("/v1/messages", message, "message_delta")).rollout).toEqual(wanted);
  });

  test("a seed of 64 bits is written as a number, exactly", async () => {
    for (const stream of [false, true]) {
      const body = `{"prompt":"Hi","seed":9007199254740993,"max_tokens":1,"return_rollout":true,"stream":${stream}}`;
      expect(await (await server.post("/v1/completions", body)).text()).toContain(`"seed":9007199254740993}`);
      const message = body.replace('"prompt":"Hi"', '"messages":[{"role":"user","content":"Hi"}]');
      expect(await (await server.post("/v1/messages", message)).text()).toContain(`"seed":9007199254740993}`);
    }
  });
});

describe("scores of given tokens", () => {
  const scores = (body: object) => server.post("/inference/v1/score", body);

  test("each token after the prompt has its log probability and rank", async () => {
    const sequences = [
      { prompt_token_ids: codes("Hi"), token_ids: codes("abc") },
      { prompt_token_ids: codes("H"), token_ids: codes("a") },
    ];
    const reply = await json(await scores({ sequences, request_id: "q", cache_salt: "s" }));
    expect(reply).toMatchObject({
      request_id: "q",
      object: "list",
      model: "org/fake",
      weight_version: "0",
      data: [
        { index: 0, logprobs: [-0.5, -0.5, -0.5], ranks: [1, 1, 1] },
        { index: 1, logprobs: [-0.5], ranks: [1] },
      ],
      usage: { prompt_tokens: 7, completion_tokens: 0 },
    });
    const { params, prompt, options } = fake.calls.at(-2)!;
    expect(params).toMatchObject({ max_tokens: 0, prompt_logprobs: 0 });
    expect([prompt, options.cache_salt]).toEqual([codes("Hiabc"), "s"]);
  });

  test("alternatives are listed by id", async () => {
    const sequences = [{ prompt_token_ids: [72], token_ids: [97] }];
    const { data } = await json(await scores({ sequences, top_logprobs: 2 }));
    expect(data[0].top_logprobs).toEqual([
      [
        { token_id: 97, logprob: -0.5 },
        { token_id: 98, logprob: -1.5 },
      ],
    ]);
  });

  test.each([
    ["no sequences", {}, "sequences"],
    ["none in the list", { sequences: [] }, "sequences"],
    ["too many", { sequences: Array(3000).fill({ prompt_token_ids: [1], token_ids: [1] }) }, "sequences"],
    ["no prompt", { sequences: [{ token_ids: [1] }] }, "sequences[0].prompt_token_ids"],
    ["no tokens", { sequences: [{ prompt_token_ids: [1], token_ids: [] }] }, "sequences[0].token_ids"],
    ["null", { sequences: [null] }, "sequences[0].prompt_token_ids"],
    ["a temperature", { sequences: [{ prompt_token_ids: [1], token_ids: [1] }], temperature: 1 }, "temperature"],
  ])("%s: a 400 that names the field", async (_, body, param) => {
    const reply = await scores(body);
    expect(reply.status).toBe(400);
    expect((await json(reply)).error.param).toBe(param);
  });
});
