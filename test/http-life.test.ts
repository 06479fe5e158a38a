/** The executable from start to end: wrong usage, a port in use, the API key, signals. */
import { afterEach, describe, expect, test } from "bun:test";
import { cpSync, mkdtempSync, readFileSync, rmSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { FakeHub } from "../src/model/fake-hub.ts";
import { missing, model, type RunningServer, spawnServer, startServer, until } from "./server.ts";

const started: RunningServer[] = [];
afterEach(async () => {
  for (const server of started.splice(0)) await server.stop();
});

async function start(args: string[] = []): Promise<RunningServer> {
  const server = await startServer(args);
  started.push(server);
  return server;
}

async function fail(args: string[]) {
  const { output, exited } = spawnServer(args);
  return { code: await exited, ...output };
}

function stream(server: RunningServer, max_tokens: number) {
  return fetch(`${server.url}/v1/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ prompt: "Once", max_tokens, ignore_eos: true, stream: true }),
  });
}

describe.skipIf(missing !== null)(`fgserve from start to end (${missing ?? "executable"})`, () => {
  test("--help names every flag with its default, and needs no model", async () => {
    const { code, stdout } = await fail(["--help"]);
    expect(code).toBe(0);
    for (const flag of ["--host", "--port", "--api-key", "--device", "--max-model-len", "--chat-template"]) {
      expect(stdout).toContain(flag);
    }
    expect(stdout.match(/\(default:|default: "/g)!.length).toBeGreaterThan(15);
  });

  test.each([
    [["--prot", "1"], 2, "--port"],
    [["--port", "70000"], 2, "65535"],
    [["no/such/folder"], 1, "no/such/folder"],
    [[model, "--max-model-len", "100000000", "--port", "0"], 2, "--max-model-len"],
    [[model, "--device", "cuda", "--tensor-parallel-size", "0"], 2, "--tensor-parallel-size"],
  ])("%p ends with exit code %d and says %s", async (args, code, says) => {
    const result = await fail(args);
    expect(result.stderr).toContain(says);
    expect(result.code).toBe(code);
    expect(result.stderr).not.toContain("    at ");
  });

  test("a port in use: exit code 1, and another port is suggested", async () => {
    const taken = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("") });
    const port = taken.port!;
    const { code, stderr } = await fail([model, "--port", String(port)]);
    taken.stop(true);
    expect(code).toBe(1);
    expect(stderr).toContain(`the port is in use; choose another with --port, such as ${port + 1}`);
  });

  test("a second fgserve on the same port: exit code 1, and the first one serves on", async () => {
    const first = await start();
    for (const host of ["127.0.0.1", "0.0.0.0"]) {
      const { code, stdout, stderr } = await fail(["--port", String(first.port), "--host", host]);
      expect({ host, code, stdout }).toEqual({ host, code: 1, stdout: "" });
      expect(stderr).toContain("the port is in use");
    }
    expect((await fetch(`${first.url}/health`)).status).toBe(200);
  });

  test.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)("%s while the model is being downloaded: exit code %d", async (signal, code) => {
    const hub = new FakeHub();
    for (const file of ["config.json", "tokenizer.json"]) hub.add(file, readFileSync(path.join(model, file)));
    hub.add("model.safetensors", new Uint8Array(1_000_000));
    hub.stalled = "model.safetensors";
    await hub.start();
    const { child, output, exited } = spawnServer(["org/tiny", "--port", "0"], { variables: { HF_ENDPOINT: hub.url } });
    await until(() => hub.requests.some((request) => request.startsWith("CDN model.safetensors")));
    child.kill(signal);
    expect(await exited).toBe(code);
    expect(output.stderr).not.toContain("    at ");
    hub.stop();
  });

  test("weights that are cut short while they are served end it in words", async () => {
    const folder = mkdtempSync(path.join(tmpdir(), "fastgen-cut-"));
    cpSync(model, folder, { recursive: true });
    const server = await startServer([], folder);
    started.push(server);
    truncateSync(path.join(folder, "model.safetensors"), 0);
    const lost = stream(server, 8).then((reply) => reply.text());
    expect(await lost.catch(() => "")).not.toContain("[DONE]");
    expect(await server.exited).toBe(1);
    expect(server.log()).toMatch(/^error: .*model\.safetensors has become shorter while it was served: .*renaming/m);
    rmSync(folder, { recursive: true });
  });

  test("--api-key protects the routes, --disable-log-requests turns the access log off", async () => {
    const server = await start(["--api-key", "secret", "--disable-log-requests"]);
    const models = (key?: string) =>
      fetch(`${server.url}/v1/models`, { headers: key === undefined ? {} : { authorization: `Bearer ${key}` } });
    expect((await models()).status).toBe(401);
    expect((await models("wrong")).status).toBe(401);
    expect((await models("secret")).status).toBe(200);
    expect((await fetch(`${server.url}/health`)).status).toBe(200);
    expect(server.banner).not.toContain("secret");
    expect(server.log()).not.toContain("request_id");
  });

  test("SIGTERM: running answers finish, new requests are refused, exit code 0", async () => {
    const server = await start();
    const running = stream(server, 64);
    await until(async () => /num_requests_running\S* 1$/m.test(await (await fetch(`${server.url}/metrics`)).text()));
    server.kill("SIGTERM");
    await until(() => server.log().includes("shutting down"));
    const refused = await stream(server, 1);
    expect(refused.status).toBe(503);
    expect(refused.headers.get("connection")).toBe("close");
    expect((await fetch(`${server.url}/health`)).status).toBe(503);
    const text = await (await running).text();
    // Where the machine is busy, tokens share events.
    expect(text).toContain('"finish_reason":"length"');
    expect(text).toEndWith("data: [DONE]\n\n");
    expect(await server.exited).toBe(0);
  });

  test("a second signal ends it at once", async () => {
    const server = await start();
    const running = stream(server, 4000).then((reply) => reply.text());
    running.catch(() => {});
    await until(async () => /num_requests_running\S* 1$/m.test(await (await fetch(`${server.url}/metrics`)).text()));
    server.kill("SIGINT");
    await until(() => server.log().includes("shutting down"));
    server.kill("SIGINT");
    expect(await server.exited).toBe(130);
  });

  test("an idle server ends at once", async () => {
    const server = await start();
    server.kill("SIGINT");
    expect(await server.exited).toBe(0);
  });
});
