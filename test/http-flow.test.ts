/** The executable and clients that do not read: their sequences wait, nobody else does, and their time ends. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import * as net from "node:net";
import { missing, post, type RunningServer, startServer, until } from "./server.ts";

const PATH = "/v1/chat/completions";
const messages = [{ role: "user", content: "hello" }];
/** Many sequences with much to say about each token: the sockets' buffers are full after some hundred steps. */
const loud = { messages, n: 40, stream: true, ignore_eos: true, logprobs: true, top_logprobs: 20 };
const CLIENTS = 6;

describe.skipIf(missing !== null)(`unread streams (${missing ?? "executable"})`, () => {
  let server: RunningServer;
  beforeAll(async () => {
    server = await startServer(["--stream-write-timeout", "20", "--kv-cache-memory-bytes", "512M"], null);
  });
  afterAll(() => server?.stop());

  const gauge = async (name: string) => {
    const text = await (await fetch(`${server.url}/metrics`)).text();
    return Number(new RegExp(`^vllm:${name}\\S* (\\S+)$`, "m").exec(text)![1]);
  };
  const answer = (max_tokens: number) =>
    fetch(server.url + PATH, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ messages, max_tokens, ignore_eos: true }),
    });

  test("leave their slots to others, go on when read, and are ended when not", async () => {
    const sockets = Array.from({ length: CLIENTS }, () => {
      const socket = net.connect(server.port, "127.0.0.1", () => socket.write(post(PATH, loud)));
      socket.pause();
      socket.on("error", () => {});
      return socket;
    });
    await until(async () => (await gauge("num_requests_running")) > 0);
    // The kernel's buffers fill up in turns: all is quiet once nothing was generated for a while.
    let tokens = -1;
    await until(async () => {
      const before = tokens;
      tokens = await gauge("generation_tokens_total");
      await Bun.sleep(500);
      return tokens === before && (await gauge("num_requests_running")) === 0;
    }, 60_000);
    const open = await gauge("num_requests_waiting");
    expect(open).toBeGreaterThan(0);
    expect((await answer(8)).status).toBe(200);
    expect(await gauge("generation_tokens_total")).toBe(tokens + 8);
    // One of them is read to its end.
    const read = sockets.pop()!;
    let text = "";
    read.on("data", (bytes) => (text = (text + bytes.toString("latin1")).slice(-1000)));
    read.resume();
    await until(() => text.includes("[DONE]"), 60_000);
    // Nobody reads the others.
    await until(async () => (await gauge("num_requests_waiting")) === 0, 60_000);
    await until(() => server.log().match(/the client read nothing for 20 seconds/g)?.length === CLIENTS - 1);
    for (const socket of sockets) socket.destroy();
    expect((await answer(8)).status).toBe(200);
  }, 200_000);
});
