import { afterEach, expect, test } from "bun:test";
import { FastgenError } from "../src/errors.ts";
import type { SamplingParams } from "../src/params.ts";
import { RemoteBackend } from "./chat-remote.ts";

let server: ReturnType<typeof Bun.serve> | null = null;
let received: Record<string, unknown> | null = null;
afterEach(() => server?.stop(true));

const chunk = (content: string, finish: string | null = null) =>
  JSON.stringify({ choices: [{ index: 0, delta: { content }, finish_reason: finish }] });

/** A server that answers a chat with these bytes, split where `pieces` are. */
async function connect(
  pieces: string[],
  options: { status?: number; endless?: boolean; params?: SamplingParams } = {},
): Promise<RemoteBackend> {
  server = Bun.serve({
    port: 0,
    async fetch(request) {
      if (new URL(request.url).pathname === "/v1/models") {
        return Response.json({ object: "list", data: [{ id: "served", max_model_len: 512 }] });
      }
      received = (await request.json()) as Record<string, unknown>;
      const body = async function* () {
        for (const piece of pieces) {
          yield new TextEncoder().encode(piece);
          await Bun.sleep(1);
        }
        while (options.endless) {
          yield new TextEncoder().encode(`data: ${chunk(".")}\n\n`);
          await Bun.sleep(2);
        }
      };
      return new Response(body() as unknown as ReadableStream, { status: options.status ?? 200 });
    },
  });
  const url = `http://localhost:${server.port}`;
  return RemoteBackend.connect({ url, apiKey: "key", model: null, params: { temperature: 0, ...options.params } });
}

const ask = async (backend: RemoteBackend, signal = new AbortController().signal) => {
  let text = "";
  const answer = await backend.answer([{ role: "user", content: "hi" }], signal, (piece) => {
    text += piece;
  });
  return { text, ...answer };
};

test("an answer is streamed, however its events are cut, and counted by the server", async () => {
  const whole = `data: ${chunk("Héllo")}\n\n: comment\r\ndata: ${chunk(" there", "stop")}\r\n\r\ndata: ${JSON.stringify(
    {
      choices: [],
      usage: { completion_tokens: 7 },
    },
  )}\n\ndata: [DONE]\n\n`;
  const backend = await connect(whole.match(/[\s\S]{1,5}/g)!);
  expect(backend.maxContext).toBe(512);
  expect(await ask(backend)).toEqual({ text: "Héllo there", tokens: 7, finish: "stop" });
  expect(received).toMatchObject({ model: "served", temperature: 0, stream: true });
});

test("errors show what the server says", async () => {
  const refused = await connect(['{"error":{"message":"the prompt is too long"}}'], { status: 400 });
  await expect(ask(refused)).rejects.toThrow("the prompt is too long (HTTP 400)");
  server!.stop(true);
  const broken = await connect([`data: ${chunk("a")}\n\n`, 'data: {"error":{"message":"the device failed"}}\n\n']);
  await expect(ask(broken)).rejects.toThrow("the device failed");
  server!.stop(true);
  const cut = await connect([`data: ${chunk("a")}\n\n`]);
  await expect(ask(cut)).rejects.toThrow("broke off");
});

test("aborting ends the answer without an error", async () => {
  const backend = await connect([], { endless: true });
  const stop = new AbortController();
  setTimeout(() => stop.abort(), 30);
  const answer = await ask(backend, stop.signal);
  expect(answer.finish).toBe("abort");
  expect(answer.text).toStartWith(".");
});

test("no server, or not one of this kind, is said at once", async () => {
  const options = { apiKey: null, model: null, params: {} };
  server = Bun.serve({ port: 0, fetch: () => new Response("hello") });
  const url = `localhost:${server.port}`;
  await expect(RemoteBackend.connect({ ...options, url })).rejects.toThrow("does not answer as OpenAI's API does");
  await server.stop(true);
  const refused = RemoteBackend.connect({ ...options, url });
  await expect(refused).rejects.toBeInstanceOf(FastgenError);
  await expect(refused).rejects.toThrow("cannot reach");
  for (const [url, message] of [
    ["http://:bad", "is not a URL"],
    ["ftp://localhost", "must begin with http:// or https://"],
    ["http://localhost/v1?key=1", "must end with the path"],
    ["http://localhost/#v1", "must end with the path"],
  ] as const) {
    await expect(RemoteBackend.connect({ ...options, url })).rejects.toThrow(`--url ${url} ${message}`);
  }
});

test("an address that is wrong is said with what to do", async () => {
  const replies: Record<string, Response> = {
    "/v1/models": Response.json({ error: { message: "no key" } }, { status: 401 }),
    "/old/models": new Response("", { status: 308, headers: { location: "/v1/models" } }),
    "/none/models": new Response("nothing here", { status: 404 }),
  };
  server = Bun.serve({ port: 0, fetch: (request) => replies[new URL(request.url).pathname]! });
  const base = `http://localhost:${server.port}`;
  const said = (path: string) =>
    RemoteBackend.connect({ url: base + path, apiKey: null, model: null, params: {} }).catch((error) => error.message);
  expect(await said("")).toBe("no key (HTTP 401); give the server's key with --api-key");
  expect(await said("/old")).toBe(
    `${base}/old/models leads to ${base}/v1/models: give the address that requests end up at with --url (HTTP 308)`,
  );
  expect(await said("/none")).toBe(`${base}/none/models does not exist; check the address in --url (HTTP 404)`);
});

test("a schema goes to the server as response_format", async () => {
  const schema = { type: "object" };
  const backend = await connect([`data: ${chunk("{}", "stop")}\n\ndata: [DONE]\n\n`], {
    params: { structured_outputs: { json: schema } },
  });
  await ask(backend);
  expect(received).toMatchObject({ response_format: { type: "json_schema", json_schema: { schema, strict: true } } });
  expect(received).not.toHaveProperty("structured_outputs");
});
