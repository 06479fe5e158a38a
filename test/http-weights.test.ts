/** The executable: weights that change while it serves, and who may change them. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { missing, type RunningServer, startServer, until } from "./server.ts";
import { modelFolder, weightsFolder } from "./weight-folders.ts";

const serverTest = test.skipIf(missing !== null);
const because = missing === null ? "" : ` (${missing})`;
const first = modelFolder();
const second = modelFolder((name) => name.includes("layers.1."));
const update = weightsFolder(second);
const ARGS = ["--dtype", "float32", "--threads", "1"];
const admin = { authorization: "Bearer trainer" };
let server: RunningServer;
let expected: number[];

async function complete({ url }: RunningServer) {
  const body = JSON.stringify({
    prompt: "Once",
    temperature: 0,
    ignore_eos: true,
    max_tokens: 20,
    return_token_ids: true,
  });
  const reply = await fetch(`${url}/v1/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body,
  });
  return reply.json() as Promise<{ weight_version: string; choices: { token_ids: number[] }[] }>;
}

beforeAll(async () => {
  if (missing !== null) return;
  const other = await startServer(ARGS, second);
  expected = (await complete(other)).choices[0]!.token_ids;
  await other.stop();
  server = await startServer([...ARGS, "--admin-api-key", "trainer"], first);
});
afterAll(async () => {
  await server?.stop();
  for (const folder of [first, second, update]) rmSync(folder, { recursive: true });
});

serverTest(`an update answers with the new weights; without the admin key it is a 401${because}`, async () => {
  const send = (headers: Record<string, string>) =>
    fetch(`${server.url}/update_weights?weight_dir=${encodeURIComponent(update)}&weight_version=two`, {
      method: "POST",
      headers,
    });
  const before = await complete(server);
  expect(before.weight_version).toBe("0");
  expect((await send({})).status).toBe(401);
  expect((await send(admin)).status).toBe(200);
  const after = await complete(server);
  expect(after.weight_version).toBe("two");
  expect(after.choices[0]!.token_ids).toEqual(expected);
  expect(before.choices[0]!.token_ids).not.toEqual(expected);
});

serverTest(`requests wait through a pause${because}`, async () => {
  const post = (path: string) => fetch(server.url + path, { method: "POST", headers: admin });
  await post("/pause?mode=keep");
  const waiting = complete(server);
  await until(
    async () => ((await (await fetch(`${server.url}/load`)).json()) as { server_load: number }).server_load === 1,
  );
  expect(await (await fetch(`${server.url}/is_paused`)).json()).toEqual({ is_paused: true });
  await post("/resume");
  expect((await waiting).choices[0]!.token_ids).toEqual(expected);
});
