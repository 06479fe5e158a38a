/** SGLang's names for what trainers ask: what each is for the library. */
import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { FastgenError } from "../../src/errors.ts";
import { FakeFastgen, json, startServer, type TestServer } from "../testing.ts";

const fake: { updateError?: Error } = {};
const fastgen = new FakeFastgen(fake);
let server: TestServer;
beforeAll(async () => {
  server = await startServer(fastgen);
});
afterAll(() => server.stop());
beforeEach(() => {
  fastgen.commands.length = 0;
  delete fake.updateError;
});
const send = async (path: string, body: object = {}) => {
  const reply = await server.post(path, body);
  return { status: reply.status, body: await json(reply) };
};

test("pauses: its modes are vLLM's with and without the cache", async () => {
  for (const mode of [undefined, "retract", "in_place"])
    expect((await send("/pause_generation", { mode })).status).toBe(200);
  expect((await send("/continue_generation")).status).toBe(200);
  expect(fastgen.commands).toEqual([
    { pause: { mode: "abort" } },
    { pause: { mode: "keep", clear_cache: true } },
    { pause: { mode: "keep", clear_cache: false } },
    "resume",
  ]);
  expect((await send("/pause_generation", { mode: "keep" })).status).toBe(400);
});

test("weights from disk: success and a message, also of what fails", async () => {
  const own = {
    load_format: null,
    is_async: false,
    torch_empty_cache: false,
    recapture_cuda_graph: false,
    token_step: 3,
  };
  const reply = await send("/update_weights_from_disk", {
    model_path: "/w",
    weight_version: "3",
    flush_cache: false,
    ...own,
  });
  expect(reply).toEqual({ status: 200, body: { success: true, message: "Weights updated", num_paused_requests: 0 } });
  await send("/update_weights_from_disk", { model_path: "/w", abort_all_requests: true });
  expect(fastgen.commands).toEqual([
    { update: { folder: "/w", weight_version: "3", clear_cache: false } },
    { abort: null },
    { update: { folder: "/w" } },
  ]);
  fake.updateError = new FastgenError("invalid_request", "there is no folder");
  expect(await send("/update_weights_from_disk", { model_path: "/w" })).toMatchObject({
    status: 400,
    body: { success: false, message: "there is no folder" },
  });
  expect(await send("/update_weights_from_disk")).toMatchObject({ status: 400, body: { success: false } });
  expect(await json(await fetch(`${server.url}/get_weight_version`))).toEqual({
    weight_version: fastgen.weight_version,
  });
});

test("the cache and the memory", async () => {
  expect((await fetch(`${server.url}/flush_cache`)).status).toBe(200);
  expect((await send("/flush_cache")).status).toBe(200);
  await send("/release_memory_occupation", { tags: ["kv_cache", "weights"] });
  await send("/release_memory_occupation", { tags: null });
  await send("/resume_memory_occupation", { tags: ["weights"] });
  await send("/resume_memory_occupation", { tags: null });
  expect(fastgen.commands).toEqual([
    "resetPrefixCache",
    "resetPrefixCache",
    { sleep: { level: 1, mode: "keep" } },
    { sleep: { level: 1, mode: "keep" } },
    { wakeUp: { tags: ["weights"] } },
    { wakeUp: {} },
  ]);
  expect((await send("/release_memory_occupation", { tags: ["weights"] })).status).toBe(400);
});
