#!/usr/bin/env bun
/**
 * A server under mixed traffic, for as long as one likes: seeded requests whose answers must be those they have alone, clients
 * that go away, bodies that are wrong, half sent, or anything at all. Ends with exit code 1 when an answer differs, a request
 * fails that must not, or memory, descriptors, pages or sequences do not go back to where they were.
 */
import { readdirSync, readFileSync } from "node:fs";
import { Command } from "commander";
import { randomFrom } from "../../bench/stats.ts";
import { fuzzRequest } from "./fuzz.ts";
import { type Answer, chance, makeRequest, pick, type Random, type Request, readAnswer } from "./requests.ts";

export interface SoakOptions {
  /** Seconds of traffic. */
  seconds: number;
  seed: number;
  /** Clients at once. */
  clients: number;
  /** Different seeded requests. */
  requests: number;
}

export interface SoakReport {
  /** Requests by what became of them. */
  counts: Record<string, number>;
  faults: string[];
  /** Milliseconds: the longest reply of /health. */
  longestHealth: number;
  /** Before and after the traffic. */
  before: Resources;
  after: Resources;
}

export interface Resources {
  /** Without those of connections that the clients keep alive. */
  descriptors: number;
  /** Resident memory in MiB. */
  memory: number;
  /** Sequences that run or wait. */
  sequences: number;
}

/** Memory may grow by this many MiB: pages of the KV cache and of the heap that were not touched before. */
const MEMORY_SLACK = 256;
/** Descriptors may differ by this many: a connection that is being closed. */
const DESCRIPTOR_SLACK = 4;
const MAX_FAULTS = 20;

/** Connections of `port` that both sides hold open, by the system's table. */
function establishedConnections(port: number): number {
  const local = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const lines = readFileSync("/proc/net/tcp", "utf8").split("\n");
  // sl, local address, remote address, state (01 = established), ...
  return lines.filter((line) => {
    const [, address, , state] = line.trim().split(/\s+/);
    return address?.endsWith(local) && state === "01";
  }).length;
}

/** Of the process `pid` that listens on `url`. */
async function resources(url: string, pid: number): Promise<Resources> {
  const metrics = await (await fetch(`${url}/metrics`)).text();
  const gauge = (name: string) => Number(new RegExp(`^vllm:${name}\\S* (\\S+)$`, "m").exec(metrics)?.[1]);
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return {
    descriptors: readdirSync(`/proc/${pid}/fd`).length - establishedConnections(Number(new URL(url).port)),
    memory: Math.round(Number(/^VmRSS:\s+(\d+)/m.exec(status)![1]) / 1024),
    sequences: gauge("num_requests_running") + gauge("num_requests_waiting"),
  };
}

class Soak {
  readonly #report: Pick<SoakReport, "counts" | "faults" | "longestHealth"> = {
    counts: {},
    faults: [],
    longestHealth: 0,
  };
  readonly #known: { request: Request; answer: Answer[] }[] = [];

  constructor(
    readonly url: string,
    readonly pid: number,
    readonly options: SoakOptions,
  ) {}

  async run(progress: (text: string) => void): Promise<SoakReport> {
    const { seconds, seed, clients, requests } = this.options;
    const random = randomFrom(seed);
    while (this.#known.length < requests) {
      const request = makeRequest(random);
      this.#known.push({ request, answer: await readAnswer(await this.#post(request), request) });
    }
    // Memory is compared between two busy times: the first touches what later ones use again.
    await this.#traffic(Math.min(seconds / 4, 30), clients, seed + 1);
    await this.#idle();
    const before = await resources(this.url, this.pid);
    const deadline = performance.now() + seconds * 1000;
    for (let round = 2; performance.now() < deadline && this.#report.faults.length < MAX_FAULTS; round++) {
      await this.#traffic(Math.min(60, (deadline - performance.now()) / 1000), clients, seed + round);
      progress(JSON.stringify({ ...(await resources(this.url, this.pid)), ...this.#report.counts }));
    }
    await this.#idle();
    const after = await resources(this.url, this.pid);
    for (const name of ["memory", "descriptors", "sequences"] as const) {
      const slack = { memory: MEMORY_SLACK, descriptors: DESCRIPTOR_SLACK, sequences: 0 }[name];
      if (!(after[name] <= before[name] + slack)) this.#fault(`${name}: ${before[name]} before, ${after[name]} after`);
    }
    for (const known of this.#known) await this.#seeded(known);
    return { ...this.#report, before, after };
  }

  async #traffic(seconds: number, clients: number, seed: number): Promise<void> {
    const deadline = performance.now() + seconds * 1000;
    const client = async (random: Random) => {
      while (performance.now() < deadline && this.#report.faults.length < MAX_FAULTS) await this.#act(random);
    };
    await Promise.all(Array.from({ length: clients }, (_, i) => client(randomFrom(seed * 1000 + i))));
  }

  async #act(random: Random): Promise<void> {
    const known = pick(random, this.#known);
    const choice = random();
    if (choice < 0.5) await this.#seeded(known);
    else if (choice < 0.65) await this.#leave(known.request, random);
    else if (choice < 0.9) await this.#fuzz(random);
    else if (choice < 0.95) await this.#halfSent(random);
    else await this.#health();
  }

  /** The answer must be the one it has alone. */
  async #seeded({ request, answer }: { request: Request; answer: Answer[] }): Promise<void> {
    const what = `${request.path} ${JSON.stringify(request.body).slice(0, 300)}`;
    try {
      const reply = await this.#post(request);
      this.#count(`seeded ${reply.status}`);
      if (reply.status === 429) return void (await reply.text());
      if (reply.status !== 200) return this.#fault(`${what}: ${reply.status} ${(await reply.text()).slice(0, 300)}`);
      const now = await readAnswer(reply, request);
      if (!Bun.deepEquals(now, answer)) this.#fault(`${what}: ${JSON.stringify(now)}, alone ${JSON.stringify(answer)}`);
    } catch (error) {
      this.#fault(`${what}: ${error}`);
    }
  }

  /** A client that goes away: at once, or after some bytes. */
  async #leave(request: Request, random: Random): Promise<void> {
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(), random() * 50);
    try {
      const body = { ...request.body, stream: true, ignore_eos: true, max_tokens: 200 };
      const reply = await this.#post({ ...request, body }, abort.signal);
      for await (const _ of reply.body ?? []) if (chance(random, 0.2)) break;
      this.#count("left early");
    } catch {
      this.#count("left at once");
    }
    clearTimeout(timer);
    abort.abort();
  }

  async #fuzz(random: Random): Promise<void> {
    const { method, path, headers, body } = fuzzRequest(random);
    const what = `${method} ${path} ${typeof body === "string" ? body.slice(0, 500) : "bytes"}`;
    try {
      const reply = await fetch(this.url + path, { method, headers, body, signal: AbortSignal.timeout(30_000) });
      const text = await reply.text();
      this.#count(`fuzzed ${reply.status}`);
      if (reply.status >= 500) this.#fault(`${what}: ${reply.status} ${text.slice(0, 300)}`);
      if (reply.status >= 400 && !JSON.parse(text).error?.message)
        this.#fault(`${what}: no error in ${text.slice(0, 300)}`);
    } catch (error) {
      this.#fault(`${what}: ${error}`);
    }
  }

  /** Headers and half a body, then silence, then gone. */
  async #halfSent(random: Random): Promise<void> {
    const { hostname, port } = new URL(this.url);
    const body = JSON.stringify({ prompt: "Hi", max_tokens: 3 });
    const head = `POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`;
    const text = head + body;
    const socket = await Bun.connect({ hostname, port: Number(port), socket: { data() {}, error() {} } }).catch(
      () => null,
    );
    socket?.write(text.slice(0, Math.floor(random() * text.length)));
    await Bun.sleep(random() * 100);
    socket?.terminate();
    this.#count("half sent");
  }

  async #health(): Promise<void> {
    const started = performance.now();
    try {
      const { status } = await fetch(`${this.url}/health`);
      if (status !== 200) this.#fault(`/health: ${status}`);
    } catch (error) {
      this.#fault(`/health: ${error}`);
    }
    this.#report.longestHealth = Math.max(this.#report.longestHealth, performance.now() - started);
    this.#count("health");
  }

  async #idle(): Promise<void> {
    for (let waited = 0; (await resources(this.url, this.pid)).sequences > 0; waited++) {
      if (waited === 300) return this.#fault("sequences still run or wait 30 seconds after the last request");
      await Bun.sleep(100);
    }
    // Connections that were cut are closed by then.
    await Bun.sleep(300);
  }

  #post({ path, body }: Request, signal?: AbortSignal): Promise<Response> {
    const headers = { "content-type": "application/json" };
    return fetch(this.url + path, { method: "POST", headers, body: JSON.stringify(body), signal });
  }

  #count(what: string): void {
    this.#report.counts[what] = (this.#report.counts[what] ?? 0) + 1;
  }

  #fault(what: string): void {
    this.#report.faults.push(what);
  }
}

export function soak(
  url: string,
  pid: number,
  options: SoakOptions,
  progress = (_: string) => {},
): Promise<SoakReport> {
  return new Soak(url, pid, options).run(progress);
}

/** So few slots and pages that sequences wait, are preempted and come back. */
export const CROWDED = [
  "--max-num-seqs",
  "8",
  "--kv-cache-memory-bytes",
  "6M",
  "--swap-space",
  "0.002",
  "--max-model-len",
  "1024",
];

if (import.meta.main) {
  const { startServer } = await import("../server.ts");
  const program = new Command("bun test/soak/soak.ts")
    .description("Runs mixed traffic against a server of its own (./fgserve with the built-in model).")
    .option("--seconds <n>", "how long", Number, 60)
    .option("--seed <n>", "of the traffic", Number, 1)
    .option("--clients <n>", "clients at once", Number, 24)
    .option("--requests <n>", "different seeded requests", Number, 60)
    .parse();
  const options = program.opts<SoakOptions>();
  const server = await startServer(["--disable-log-requests", ...CROWDED], null);
  const report = await soak(server.url, server.pid, options, (text) => console.log(text));
  await server.stop();
  console.log(JSON.stringify(report, null, 2));
  process.exit(report.faults.length > 0 ? 1 : 0);
}
