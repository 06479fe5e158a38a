/** Routes of those who train the model: what they take, in which places, from whom, and what they tell the library. */
import { afterEach, describe, expect, test } from "bun:test";
import { FastgenError } from "../../src/errors.ts";
import { liveness } from "../server/health.ts";
import { adminOnly } from "../server/middleware.ts";
import { FakeFastgen, type FakeOptions, json, startServer } from "../testing.ts";

const started: Awaited<ReturnType<typeof startServer>>[] = [];
async function start(options: Parameters<typeof startServer>[1] = {}, fake: FakeOptions = {}) {
  const fastgen = new FakeFastgen(fake);
  const server = await startServer(fastgen, options);
  started.push(server);
  /** A POST without a body, as several trainers send it. */
  const post = async (path: string, headers: Record<string, string> = {}) => {
    const reply = await fetch(server.url + path, { method: "POST", headers });
    return { status: reply.status, body: await json(reply) };
  };
  const send = async (path: string, body: object) => {
    const reply = await server.post(path, body);
    return { status: reply.status, body: await json(reply) };
  };
  const get = async (path: string) => json(await fetch(server.url + path));
  return { ...server, fastgen, ask: server.post, post, send, get };
}
afterEach(async () => {
  for (const server of started.splice(0)) await server.stop();
});

describe("/pause and /resume", () => {
  test("modes in the query, in a body, in both, and by vLLM's older name", async () => {
    const { fastgen, post, send } = await start();
    expect(await post("/pause")).toEqual({ status: 200, body: { status: "paused" } });
    expect((await post("/pause?mode=keep&clear_cache=false")).status).toBe(200);
    expect((await post("/v1/pause?clear_cache=True&mode=wait")).status).toBe(200);
    expect((await send("/pause", { mode: "keep" })).status).toBe(200);
    expect((await send("/pause?mode=abort&clear_cache=false", { mode: "wait" })).status).toBe(200);
    expect((await post("/pause?wait_for_inflight_requests=true")).status).toBe(200);
    expect(fastgen.commands).toEqual([
      { pause: { mode: "abort" } },
      { pause: { mode: "keep", clear_cache: false } },
      { pause: { mode: "wait", clear_cache: true } },
      { pause: { mode: "keep" } },
      { pause: { mode: "wait", clear_cache: false } },
      { pause: { mode: "wait" } },
    ]);
  });

  test("/is_paused says what is", async () => {
    const { get, post } = await start();
    expect(await get("/is_paused")).toEqual({ is_paused: false });
    await post("/pause");
    expect(await get("/is_paused")).toEqual({ is_paused: true });
    expect(await post("/resume")).toEqual({ status: 200, body: { status: "resumed" } });
    expect(await get("/is_paused")).toEqual({ is_paused: false });
  });

  test("what is wrong is a 400 that names the field", async () => {
    const { fastgen, post, send } = await start();
    const wrong = [
      [await post("/pause?mode=later"), "mode"],
      [await post("/pause?clear_cache=maybe"), "clear_cache"],
      [await post("/pause?modes=keep"), "modes"],
      [await send("/pause", { mode: 1 }), "mode"],
      [await send("/pause", { wait: true }), "wait"],
      [await send("/abort_request", {}), "request_id"],
      [await send("/update_weights", { weight_dir: null }), "weight_dir"],
      [await post("/update_weights"), "weight_dir"],
    ] as const;
    for (const [{ status, body }, param] of wrong) expect([status, body.error.param]).toEqual([400, param]);
    expect(fastgen.commands).toEqual([]);
  });
});

describe("/update_weights", () => {
  test("a folder, a version, and the cache", async () => {
    const { fastgen, send, get } = await start();
    expect(await get("/weight_version")).toEqual({ weight_version: "0" });
    const { status, body } = await send("/update_weights", { weight_dir: "/w/1" });
    expect([status, body]).toEqual([200, { status: "ok", message: "Weights updated", weight_version: "1" }]);
    await send("/update_weights", { weight_dir: "/w/2", weight_version: "step 2", clear_cache: false });
    expect(fastgen.commands).toEqual([
      { update: { folder: "/w/1" } },
      { update: { folder: "/w/2", weight_version: "step 2", clear_cache: false } },
    ]);
    expect(await get("/weight_info")).toEqual({ weight_version: "step 2" });
    const info = await get("/server_info?config_format=json");
    expect(info.vllm_config.model_config).toMatchObject({ weight_version: "step 2", logprobs_mode: "raw_logprobs" });
    expect(info.vllm_config).toMatchObject({ weight_transfer_config: null, lora_config: null });
  });

  test("device memory of another process, by its IPC handle", async () => {
    const { fastgen, send } = await start();
    const bytes = Buffer.alloc(64, 7);
    const tensor = {
      name: "model.norm.weight",
      dtype: "torch.bfloat16",
      shape: [64],
      ipc_handle: bytes.toString("base64"),
    };
    expect((await send("/update_weights", { tensors: [{ ...tensor, offset: 512 }], weight_version: "5" })).status).toBe(
      200,
    );
    expect(fastgen.commands).toEqual([
      { update: { tensors: [{ ...tensor, ipc_handle: bytes, offset: 512 }], weight_version: "5" } },
    ]);
    for (const [wrong, param] of [
      [{ ...tensor, ipc_handle: "AAAA" }, "tensors[0].ipc_handle"],
      [{ ...tensor, shape: [1, 2, 3] }, "tensors[0].shape"],
      [{ ...tensor, offset: -1 }, "tensors[0].offset"],
    ] as const) {
      const { status, body } = await send("/update_weights", { tensors: [wrong] });
      expect([status, body.error.param]).toEqual([400, param]);
    }
    expect((await send("/update_weights", { tensors: [tensor], weight_dir: "/w" })).status).toBe(400);
  });

  test("the library's errors are told in the route's words", async () => {
    const updateError = new FastgenError("invalid_request", "folder: there is none", { param: "folder" });
    const { send } = await start({}, { updateError });
    const { status, body } = await send("/update_weights", { weight_dir: "/w" });
    expect([status, body.error.param, body.error.message]).toEqual([400, "weight_dir", "weight_dir: there is none"]);
  });

  test("every reply names the weights, and its fingerprint is theirs", async () => {
    const { send, ask: stream } = await start({}, { answer: "ab" });
    const ask = async () => {
      const chat = { messages: [{ role: "user", content: "Hi" }] };
      const whole = [
        await send("/v1/chat/completions", chat),
        await send("/v1/completions", { prompt: "Hi" }),
        await send("/v1/responses", { input: "Hi" }),
        await send("/v1/messages", { ...chat, max_tokens: 9 }),
      ].map(({ body }) => body);
      const streams: string[] = [];
      for (const [path, body] of [
        ["/v1/chat/completions", { ...chat, stream_options: { include_usage: true } }],
        ["/v1/completions", { prompt: "Hi", stream_options: { include_usage: true, continuous_usage_stats: true } }],
      ] as const) {
        const text = await (await stream(path, { ...body, stream: true })).text();
        streams.push(...[...text.matchAll(/^data: (\{.*)$/gm)].map(([, data]) => JSON.parse(data!).weight_version));
      }
      return { versions: whole.map((body) => body.weight_version), streams, fingerprint: whole[0].system_fingerprint };
    };
    const before = await ask();
    expect(before.versions).toEqual(["0", "0", "0", "0"]);
    expect(new Set(before.streams)).toEqual(new Set(["0"]));
    await send("/update_weights", { weight_dir: "/w", weight_version: "new" });
    const after = await ask();
    expect(after.versions).toEqual(["new", "new", "new", "new"]);
    expect(after.streams).toEqual(before.streams.map(() => "new"));
    expect(after.fingerprint).not.toBe(before.fingerprint);
  });
});

test("/sleep and /wake_up: levels and tags in the query, as SkyRL and vLLM's clients send them", async () => {
  const { fastgen, post, send, get } = await start();
  expect((await post("/sleep")).status).toBe(200);
  expect((await post("/sleep?level=2&tags=weights&tags=kv_cache")).status).toBe(200);
  expect((await send("/sleep", { level: 1, mode: "keep" })).status).toBe(200);
  expect(await get("/is_sleeping")).toEqual({ is_sleeping: true });
  expect(await post("/wake_up?tags=weights")).toEqual({ status: 200, body: { status: "awake" } });
  await post("/wake_up?tags=kv_cache&tags=weights");
  await post("/wake_up");
  expect(await get("/is_sleeping")).toEqual({ is_sleeping: false });
  fastgen.weights_problem = "the weights are gone";
  const gone = { weights: "the weights are gone" };
  expect(await post("/wake_up")).toEqual({ status: 200, body: { status: "awake", message: gone.weights } });
  expect(await get("/health")).toMatchObject({ status: "ok", ...gone });
  expect((await get("/server_info?config_format=json")).vllm_config.model_config).toMatchObject(gone);
  fastgen.weights_problem = null;
  expect(await get("/health")).not.toHaveProperty("weights");
  expect(fastgen.commands).toEqual([
    { sleep: { level: 1 } },
    { sleep: { level: 2 } },
    { sleep: { level: 1, mode: "keep" } },
    { wakeUp: { tags: ["weights"] } },
    { wakeUp: { tags: ["kv_cache", "weights"] } },
    { wakeUp: {} },
    { wakeUp: {} },
  ]);
  for (const path of ["/sleep?level=3", "/sleep?tags=weights", "/wake_up?tags=disk"]) {
    expect((await post(path)).status).toBe(400);
  }
});

test("/reset_prefix_cache takes vLLM's fields, which ask for nothing here", async () => {
  const { fastgen, post, send } = await start();
  expect(await post("/reset_prefix_cache/?reset_external=true")).toEqual({ status: 200, body: { success: true } });
  expect((await send("/reset_prefix_cache", { reset_running_requests: false })).status).toBe(200);
  expect(fastgen.commands).toEqual(["resetPrefixCache", "resetPrefixCache"]);
});

test("/abort_request: by the id of a request or its reply, by several, or all", async () => {
  const { fastgen, post, send } = await start();
  await send("/v1/completions", { prompt: "a", request_id: "one" });
  const aborted = async (body: object) => (await send("/abort_request", body)).body;
  expect(await aborted({ request_id: "cmpl-one" })).toEqual({ status: "aborted", aborted: 1 });
  expect(await aborted({ rid: "two" })).toEqual({ status: "aborted", aborted: 0 });
  expect(await aborted({ rid: "", abort_all: true })).toEqual({ status: "aborted", aborted: 1 });
  await aborted({ request_ids: ["chatcmpl-a", "b", "b"] });
  await send("/abort_requests", { request_ids: [] });
  await post("/abort_request?request_ids=c&request_ids=d");
  const named = fastgen.commands.map((command) => (command as { abort: string | null }).abort);
  expect(named).toEqual(["one", "two", null, "a", "b", null, "c", "d"]);
});

test("/liveness needs no key, and is a 503 where the engine does not answer in time", async () => {
  const { fastgen, get, service } = await start({ apiKey: "key" });
  expect(await get("/liveness")).toEqual({ status: "ok" });
  fastgen.responds = false;
  const reply = await liveness(service, 0.01)();
  expect([reply.status, await json(reply)]).toEqual([503, { status: "engine_unresponsive" }]);
});

describe("who may", () => {
  const bearer = (key: string) => ({ authorization: `Bearer ${key}` });

  test("with an admin key, that key alone; it opens the other routes too", async () => {
    const { url, post } = await start({ apiKey: "users", adminApiKey: "admins" });
    expect((await post("/pause")).status).toBe(401);
    expect((await post("/pause", bearer("users"))).status).toBe(401);
    expect((await post("/pause", bearer("admins"))).status).toBe(200);
    const models = async (key: string) => (await fetch(`${url}/v1/models`, { headers: bearer(key) })).status;
    expect([await models("users"), await models("admins"), await models("others")]).toEqual([200, 200, 401]);
  });

  test("with an API key alone, that key", async () => {
    const { post } = await start({ apiKey: "users" });
    expect((await post("/resume")).status).toBe(401);
    expect((await post("/resume", bearer("users"))).status).toBe(200);
  });

  test("without any key, this machine alone", async () => {
    const guard = adminOnly({ apiKey: null, adminApiKey: null });
    const ask = (peer: string | null, mode?: string) =>
      guard({ env: { crowded: false, peer }, req: { path: "/pause", header: () => mode } } as never, async () => {});
    for (const peer of ["127.0.0.1", "::1", "::ffff:127.0.0.1"]) await ask(peer);
    for (const peer of ["192.168.0.7", "::ffff:10.0.0.1", "2001:db8::1", "", null]) {
      expect(() => ask(peer)).toThrow("answers only to programs on this machine");
    }
    // A link that a page opens in a tab.
    expect(() => ask("127.0.0.1", "navigate")).toThrow("answers only to programs on this machine");
  });
});
