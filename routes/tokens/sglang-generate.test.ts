/** POST /generate: SGLang's requests and replies, as trainers send and read them. */
import { afterAll, expect, test } from "bun:test";
import { FakeFastgen, json, startServer } from "../testing.ts";

const fake = new FakeFastgen({ answer: "abc", default_params: { temperature: 0.2, max_tokens: 7, top_k: 3 } });
const server = await startServer(fake);
afterAll(() => server.stop());

const generate = (body: object) => server.post("/generate", body);
const asked = () => fake.calls.at(-1)!.params;
const input_ids = [72, 105];

test("token ids in, token ids and their log probabilities out", async () => {
  const sampling_params = { max_new_tokens: 9, temperature: 0.5, top_k: -1, skip_special_tokens: false };
  const defaults = { stream: false, logprob_start_len: -1, top_logprobs_num: 0, image_data: null };
  const reply = await json(
    await generate({ input_ids, sampling_params, return_logprob: true, rid: "r1", ...defaults }),
  );
  expect(reply).toMatchObject({
    text: "abc",
    output_ids: [97, 98, 99],
    meta_info: { id: "r1", prompt_tokens: 2, completion_tokens: 3, weight_version: "0", input_token_logprobs: [] },
  });
  expect(reply.meta_info.output_token_logprobs).toEqual([97, 98, 99].map((id) => [-0.5, id, null]));
  expect(reply.meta_info.finish_reason).toMatchObject({ type: "stop" });
  expect(asked()).toMatchObject({
    max_tokens: 9,
    temperature: 0.5,
    top_k: -1,
    skip_special_tokens: false,
    logprobs: 0,
  });
});

test("what is left out has SGLang's default, not the model's", async () => {
  const { meta_info } = await json(await generate({ text: "Hi" }));
  expect(meta_info.output_token_logprobs).toBeUndefined();
  expect(asked()).toMatchObject({ max_tokens: 128, temperature: 1, top_k: 0 });
  expect(asked().logprobs).toBeUndefined();
});

test("its names for our parameters", async () => {
  const sampling_params = { max_new_tokens: 2, min_new_tokens: 1, sampling_seed: 5, no_stop_trim: true, regex: "a+" };
  const { meta_info } = await json(await generate({ text: "Hi", sampling_params }));
  expect(meta_info.finish_reason).toEqual({ type: "length", length: 2 });
  expect(asked()).toMatchObject({
    min_tokens: 1,
    seed: 5,
    include_stop_str_in_output: true,
    structured_outputs: { regex: "a+" },
  });
});

test("a list of prompts, and several choices, have a list of answers", async () => {
  const many = await json(await generate({ input_ids: [[72], [72, 105, 33]] }));
  expect(many.map(({ meta_info }: { meta_info: { prompt_tokens: number } }) => meta_info.prompt_tokens)).toEqual([
    1, 3,
  ]);
  expect(await json(await generate({ text: ["Hi"] }))).toHaveLength(1);
  expect(await json(await generate({ text: "Hi", sampling_params: { n: 2 } }))).toHaveLength(2);
});

test.each([
  [{ text: "Hi", input_ids }, "text"],
  [{}, "text"],
  [{ input_ids: [] }, "input_ids"],
  [{ input_ids: ["a", 1] }, "input_ids[1]"],
  [{ text: "Hi", stream: true }, "stream"],
  [{ text: "Hi", logprob_start_len: 0 }, "logprob_start_len"],
  [{ text: "Hi", top_logprobs_num: 2 }, "top_logprobs_num"],
  [{ text: "Hi", image_data: "x" }, "image_data"],
  [{ text: "Hi", sampling_params: { max_new_tokens: 0 } }, "sampling_params.max_new_tokens"],
  [{ text: "Hi", sampling_params: { temperature: -1 } }, "sampling_params.temperature"],
  [{ text: "Hi", sampling_params: { stop_regex: "x" } }, "sampling_params.stop_regex"],
  [{ text: "Hi", sampling_params: { json_schema: 5 } }, "sampling_params.json_schema"],
  [{ text: "Hi", sampling_params: { regex: "a", ebnf: "b" } }, "sampling_params.ebnf"],
])("%j is refused by name", async (body, param) => {
  const reply = await generate(body);
  expect(reply.status).toBe(400);
  expect((await json(reply)).error.param).toBe(param);
});
