/** Weights over NCCL and as pickles: refused in words that trainers show. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { FakeFastgen, json, startServer } from "../testing.ts";
import { LORA_PATHS, WEIGHT_TRANSFER_PATHS } from "./weight-transfer.ts";

const fastgen = new FakeFastgen({});
let server: Awaited<ReturnType<typeof startServer>>;
beforeAll(async () => {
  server = await startServer(fastgen);
});
afterAll(() => server.stop());

test.each([...WEIGHT_TRANSFER_PATHS])("%s, with and without a body", async (path) => {
  for (const body of [undefined, JSON.stringify({ init_info: {}, method: "update_weights_ipc", kwargs: {} })]) {
    const reply = await fetch(server.url + path, { method: "POST", body });
    expect(reply.status).toBe(400);
    const { error } = await json(reply);
    expect(error.message).toContain(`${path} is not supported`);
    expect(error.message).toContain("POST /update_weights with weight_dir");
    expect(error.code).toBe("weight_transfer_unsupported");
  }
});

test("an update of vLLM's kind changes nothing and names what there is instead", async () => {
  const reply = await server.post("/update_weights", { update_info: { names: [], dtype_names: [], shapes: [] } });
  expect(reply.status).toBe(400);
  const { error } = await json(reply);
  expect(error.param).toBe("update_info");
  expect(error.message).toContain("weight_dir");
  expect(fastgen.commands).toEqual([]);
});

test("where there is a key, a refusal needs it too", async () => {
  const guarded = await startServer(fastgen, { apiKey: "secret" });
  expect((await fetch(`${guarded.url}/collective_rpc`, { method: "POST" })).status).toBe(401);
  expect((await fetch(`${guarded.url}/liveness`)).status).toBe(200);
  await guarded.stop();
});

test.each([...LORA_PATHS])("%s", async (path) => {
  const reply = await server.post(path, { lora_name: "a", lora_path: "/a" });
  expect(reply.status).toBe(400);
  expect((await json(reply)).error).toMatchObject({
    code: "lora_unsupported",
    message: expect.stringContaining("merge the adapter"),
  });
});
