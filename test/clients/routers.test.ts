/**
 * Routers in front of two servers, one of which goes away under load. Every request that has not begun to stream is answered
 * by the other one, and its client notices nothing. docs/ray.md says what this takes.
 */
import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import * as path from "node:path";
import { freePort } from "../../src/testing.ts";
import { builtInModel, missing, type RunningServer, startServer, until } from "../server.ts";

const root = path.dirname(path.dirname(import.meta.dir));
/** Milliseconds. */
const PATIENCE = 60_000 * Math.max(1, 4 / availableParallelism());
/** Requests of a load, clients that send them one after the other, and tokens of each answer. */
const REQUESTS = 96;
const CLIENTS = 32;
const TOKENS = 64;
/** Sequences that a server runs at once: the other requests wait in it. */
const RUNNING = 4;

/** What stands in .cache/clients/ENVIRONMENT/bin. */
const ROUTERS = [
  { name: "vllm-router", environment: "vllm_router", args: [] },
  { name: "smg", environment: "smg", args: ["launch"] },
  // It may choose the server that has just failed for each of its five attempts.
  {
    name: "sglang-router",
    environment: "sglang_router",
    args: ["launch", "--retry-max-retries", "20", "--retry-backoff-multiplier", "1"],
  },
];
/** A server that has come back is asked again after a second or two, not after a minute. */
const SOON = [
  "--health-check-interval-secs",
  "1",
  "--health-success-threshold",
  "1",
  "--cb-timeout-duration-secs",
  "1",
];

interface Outcome {
  stream: boolean;
  status: number;
  /** Tokens of the answer that the client has seen. */
  tokens: number;
  /** The answer came to its end. */
  whole: boolean;
  /** What the router said in its place. */
  error: string;
}

/** Asks for an answer of TOKENS tokens and says what came of it. Never rejects. */
async function ask(url: string, prompt: string, stream: boolean): Promise<Outcome> {
  const outcome: Outcome = { stream, status: 0, tokens: 0, whole: false, error: "" };
  const body = { model: "tiny", prompt, max_tokens: TOKENS, ignore_eos: true, return_token_ids: true, stream };
  const tokensOf = (json: string): number => JSON.parse(json).choices?.[0]?.token_ids?.length ?? 0;
  try {
    const headers = { "content-type": "application/json" };
    const reply = await fetch(`${url}/v1/completions`, { method: "POST", headers, body: JSON.stringify(body) });
    outcome.status = reply.status;
    if (!reply.ok) {
      outcome.error = await reply.text();
      return outcome;
    }
    if (!stream) {
      outcome.tokens = tokensOf(await reply.text());
      outcome.whole = outcome.tokens === TOKENS;
      return outcome;
    }
    let rest = "";
    for await (const piece of reply.body!.pipeThrough(new TextDecoderStream())) {
      const events = (rest + piece).split("\n\n");
      rest = events.pop()!;
      for (const event of events) {
        if (event === "data: [DONE]") outcome.whole = outcome.tokens === TOKENS;
        else outcome.tokens += tokensOf(event.slice("data: ".length));
      }
    }
  } catch (error) {
    // The connection broke.
    outcome.error = String(error);
  }
  return outcome;
}

/** A gauge or counter of the server, summed over its labels. */
async function metric(server: RunningServer, name: string): Promise<number> {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  const values = [...text.matchAll(new RegExp(`^vllm:${name}\\{[^}]*\\} (\\S+)$`, "gm"))];
  return values.reduce((sum, [, value]) => sum + Number(value), 0);
}

/** Starts a router, and waits until it sends requests to all servers. */
async function startRouter(command: string[], servers: RunningServer[]) {
  const first = freePort(2);
  const [port, metrics] = [String(first), String(first + 1)];
  const workers = servers.map((server) => server.url);
  const where = ["--host", "127.0.0.1", "--port", port, "--prometheus-port", metrics, "--worker-urls", ...workers];
  const child = Bun.spawn([...command, ...where, "--policy", "round_robin", ...SOON], {
    stdout: "pipe",
    stderr: "pipe",
  });
  const log = Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  const url = `http://127.0.0.1:${port}`;
  const stop = async () => {
    child.kill("SIGKILL");
    await log;
  };
  try {
    await until(async () => {
      if (child.exitCode !== null) throw new Error(`the router ended: ${(await log).join("")}`);
      await ask(url, "Hello", false);
      const answered = await Promise.all(servers.map((server) => metric(server, "request_success_total")));
      return answered.every((count) => count > 0);
    }, PATIENCE / 2);
  } catch (error) {
    await stop();
    throw error;
  }
  return { url, stop };
}

/** Two servers behind a router, and a load; the first server gets `signal` while requests run and wait in it. */
async function losing(command: string[], signal: NodeJS.Signals) {
  const model = builtInModel("model-behind-routers", 8192);
  const flags = ["--served-model-name", "tiny", "--max-num-seqs", String(RUNNING), "--threads", "1"];
  const servers = await Promise.all([0, 1].map(() => startServer(flags, model)));
  const [first] = servers as [RunningServer, RunningServer];
  const stops = servers.map((server) => server.stop);
  try {
    const router = await startRouter(command, servers);
    stops.push(router.stop);
    let sent = 0;
    const outcomes: Outcome[] = [];
    const client = async () => {
      for (let i = sent++; i < REQUESTS; i = sent++) outcomes.push(await ask(router.url, `Request ${i}:`, i % 3 !== 0));
    };
    const load = Promise.all(Array.from({ length: CLIENTS }, client));
    await until(async () => (await metric(first, "num_requests_waiting")) >= RUNNING);
    first.kill(signal);
    await load;
    if (signal === "SIGTERM") expect(await first.exited).toBe(0);
    // It comes back under its old address, and gets requests again.
    const again = await startServer([...flags, "--port", String(first.port)], model);
    stops.push(again.stop);
    await until(async () => {
      expect(await ask(router.url, "Hello", true)).toMatchObject({ whole: true });
      return (await metric(again, "request_success_total")) > 0;
    }, PATIENCE / 2);
    return outcomes;
  } finally {
    await Promise.all(stops.map((stop) => stop()));
  }
}

describe.skipIf(missing !== null)(`routers (${missing ?? "executable"})`, () => {
  for (const { name, environment, args } of ROUTERS) {
    const program = path.join(root, ".cache/clients", environment, "bin", name);
    const installed = existsSync(program);
    const title = installed ? name : `${name} (needs scripts/fetch-clients.sh)`;
    describe.skipIf(!installed)(title, () => {
      test(
        "a server that is killed takes no request with it but those that have begun to stream",
        async () => {
          const outcomes = await losing([program, ...args], "SIGKILL");
          expect(outcomes).toHaveLength(REQUESTS);
          const broken = outcomes.filter(({ whole }) => !whole);
          expect(broken.filter(({ stream, tokens }) => !stream || tokens === 0)).toEqual([]);
          // Tokens of some that had ended may have been on their way.
          expect(broken.length).toBeLessThanOrEqual(2 * RUNNING);
        },
        PATIENCE,
      );

      test(
        "a server that is told to end takes none with it",
        async () => {
          const outcomes = await losing([program, ...args], "SIGTERM");
          expect(outcomes.filter(({ whole }) => !whole)).toEqual([]);
          expect(outcomes).toHaveLength(REQUESTS);
        },
        PATIENCE,
      );
    });
  }
});
