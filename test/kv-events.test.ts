/** KV events of the executable, read with ZeroMQ and msgspec as routers read them. */
import { afterAll, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import * as net from "node:net";
import * as path from "node:path";
import { freePort } from "../src/testing.ts";
import { builtInModel, missing, type RunningServer, spawnServer, startServer } from "./server.ts";

const root = path.dirname(import.meta.dir);
const python = path.join(root, ".cache/clients/kv_events/bin/python");
const skipped = missing ?? (existsSync(python) ? null : "needs scripts/fetch-clients.sh");

const servers: RunningServer[] = [];
afterAll(() => Promise.all(servers.map((server) => server.stop())));

describe.skipIf(skipped !== null)(`KV events (${skipped ?? "executable"})`, () => {
  test("who follows them knows what the prefix cache finds: stored, evicted to the host and from it, cleared", async () => {
    const port = freePort(2);
    const replayPort = port + 1;
    const config = {
      enable_kv_cache_events: true,
      endpoint: `tcp://*:${port}`,
      replay_endpoint: `tcp://127.0.0.1:${replayPort}`,
      topic: "kv@pod-0@tiny",
    };
    // Room for 16 pages on the device and 8 on the host.
    const page = 524_288;
    const memory = ["--kv-cache-memory-bytes", String(16 * page), "--swap-space", String((8 * page) / 2 ** 30)];
    const flags = ["--max-model-len", "1000", "--max-num-seqs", "2", "--served-model-name", "tiny"];
    const server = await startServer([...flags, ...memory, "--kv-events-config", JSON.stringify(config)], null);
    servers.push(server);
    const script = path.join(import.meta.dir, "kv_events_follow.py");
    const endpoints = [`tcp://127.0.0.1:${port}`, `tcp://127.0.0.1:${replayPort}`];
    const child = Bun.spawn([python, script, server.url, "tiny", ...endpoints], { stdout: "pipe", stderr: "pipe" });
    const [stdout, stderr, code] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ]);
    expect({ code, stderr, banner: server.banner }).toMatchObject({ code: 0, stderr: "" });
    expect(JSON.parse(stdout)).toMatchObject({ AllBlocksCleared: 2 });
  }, 120_000);

  test("engines of one server tell of themselves on ports of their own", async () => {
    const port = freePort(2);
    const config = { enable_kv_cache_events: true, endpoint: `tcp://*:${port}` };
    const engines = ["--data-parallel-size", "2", "--threads", "2", "--kv-cache-memory-bytes", "64M"];
    const server = await startServer([...engines, "--kv-events-config", JSON.stringify(config)], null);
    servers.push(server);
    const program = `
import sys, msgspec, zmq
socket = zmq.Context().socket(zmq.SUB)
socket.subscribe(b"")
for port in sys.argv[1:]: socket.connect(f"tcp://127.0.0.1:{port}")
print("ready", flush=True)
ranks = set()
while len(ranks) < 2: ranks.add(msgspec.msgpack.decode(socket.recv_multipart()[2])[2])
print(sorted(ranks))`;
    const child = Bun.spawn([python, "-c", program, String(port), String(port + 1)], { stdout: "pipe" });
    const output = new Response(child.stdout).text();
    let running = true;
    void child.exited.then(() => {
      running = false;
    });
    // Requests that have nothing in common go to whoever has less to do; the subscriptions may come after the first.
    for (let i = 0; running && i < 200; i++) {
      const body = (flavour: number) => JSON.stringify({ prompt: Array(70).fill(20 + flavour), max_tokens: 8 });
      const headers = { "content-type": "application/json" };
      const post = (flavour: number) =>
        fetch(`${server.url}/v1/completions`, { method: "POST", headers, body: body(flavour) });
      await Promise.all([post(2 * i), post(2 * i + 1)]);
    }
    child.kill();
    expect(await output).toBe("ready\n[0, 1]\n");
  }, 60_000);

  test("a port that is taken, and an endpoint that is none, are errors of the flag", async () => {
    const taken = net.createServer().listen(0, "::");
    await new Promise((resolve) => taken.once("listening", resolve));
    const { port } = taken.address() as net.AddressInfo;
    const run = async (endpoint: string, ...flags: string[]) => {
      const events = JSON.stringify({ enable_kv_cache_events: true, endpoint });
      const args = [builtInModel("kv-events-model", 512), "--port", "0", "--kv-events-config", events, ...flags];
      const { output, exited } = spawnServer([...args, "--device", "cpu"]);
      return { code: await exited, stderr: output.stderr };
    };
    const inUse = await run(`tcp://*:${port}`);
    taken.close();
    const reason = `--kv-events-config.endpoint: tcp://*:${port} cannot be listened on`;
    expect(inUse).toMatchObject({ code: 2, stderr: expect.stringContaining(reason) });
    expect((await run("ipc:///tmp/x")).stderr).toContain("--kv-events-config.endpoint must be a TCP endpoint");
    expect((await run("tcp://*:5557", "--no-enable-prefix-caching")).stderr).toContain(
      "set --enable-prefix-caching, or leave out --kv-events-config",
    );
  }, 60_000);
});
