/**
 * A load of random prompts against an OpenAI server: who sends what when, and what each request saw. Prompts are token
 * ids, so that their length is exact for any model; ignore_eos makes the output's length exact too.
 */

import type { EngineRequest } from "../src/engine/protocol.ts";
import { GREEDY } from "../src/engine-config.ts";
import { percentile, randomFrom } from "./stats.ts";

export interface LoadOptions {
  /** Root of the server; "/v1/..." is appended. */
  url: string;
  model: string;
  prompts: number;
  /** Mean tokens in a prompt and in an answer. */
  input: number;
  output: number;
  /** Lengths are uniform in mean × [1 - spread, 1 + spread]. */
  spread: number;
  /** Requests a second, Poisson arrivals; null = all at once. */
  rate: number | null;
  /** Most requests out at a time; null = no bound. */
  concurrency: number | null;
  stream: boolean;
  /** chat sends the ids as text of that many words: its prompt lengths are approximate. */
  endpoint: "completions" | "chat";
  temperature: number;
  seed: number;
  /** Token ids are drawn from [1, vocab). */
  vocab: number;
  /** Ask for return_token_ids (fgserve, vLLM): a token that is no text by itself then still shows when it comes. */
  tokenIds?: boolean;
  apiKey?: string;
}

export interface PlannedRequest {
  promptIds: number[];
  maxTokens: number;
  /** Seconds after the start. */
  arrival: number;
}

export interface RequestOutcome {
  promptTokens: number;
  outputTokens: number;
  /** Seconds; from being sent. */
  firstToken: number;
  total: number;
  /** Seconds between successive pieces of a stream. */
  gaps: number[];
}

export interface LoadSummary {
  outcomes: RequestOutcome[];
  errors: string[];
  /** Seconds from the first request to the last answer. */
  seconds: number;
}

/** What is sent when. */
export type LoadPlan = Pick<LoadOptions, "prompts" | "input" | "output" | "spread" | "rate" | "seed" | "vocab">;

/** How much is sent. */
export type LoadSizes = Pick<LoadPlan, "prompts" | "input" | "output" | "spread">;

/** The requests of a load; depends on the options alone. */
export function planLoad(options: LoadPlan): PlannedRequest[] {
  const random = randomFrom(options.seed);
  const length = (mean: number) => Math.max(1, Math.round(mean * (1 + options.spread * (2 * random() - 1))));
  let arrival = 0;
  return Array.from({ length: options.prompts }, () => {
    const promptIds = Array.from(
      { length: length(options.input) },
      () => 1 + Math.floor(random() * (options.vocab - 1)),
    );
    const maxTokens = length(options.output);
    if (options.rate !== null) arrival += -Math.log(1 - random()) / options.rate;
    return { promptIds, maxTokens, arrival };
  });
}

/** A load's requests as the engine takes them: all at once, greedy, and none ends before max_tokens. */
export function engineRequests({ prompts, input, output, spread }: LoadSizes, vocab: number): EngineRequest[] {
  const planned = planLoad({ prompts, input, output, spread, rate: null, seed: 0, vocab });
  return planned.map(({ promptIds, maxTokens }, id) => ({
    id,
    prompt: Int32Array.from(promptIds),
    sampling: GREEDY,
    maxTokens,
    minTokens: 0,
    stopIds: new Int32Array(0),
    logprobs: -1,
    promptLogprobs: -1,
  }));
}

/** Sends the load and waits for every answer. A failed request is counted, never retried. */
export async function runLoad(options: LoadOptions): Promise<LoadSummary> {
  const planned = planLoad(options);
  const outcomes: RequestOutcome[] = [];
  const errors: string[] = [];
  const start = performance.now();
  let next = 0;
  async function client(): Promise<void> {
    for (let request = planned[next++]; request; request = planned[next++]) {
      const wait = request.arrival * 1000 - (performance.now() - start);
      if (wait > 0) await Bun.sleep(wait);
      try {
        outcomes.push(await send(options, request));
      } catch (error) {
        errors.push(error instanceof Error ? error.message : String(error));
      }
    }
  }
  const clients = Math.min(options.concurrency ?? planned.length, planned.length);
  await Promise.all(Array.from({ length: clients }, client));
  return { outcomes, errors, seconds: (performance.now() - start) / 1000 };
}

interface Body {
  usage?: { prompt_tokens: number; completion_tokens: number } | null;
  choices?: { text?: string; delta?: { content?: string | null } }[];
  error?: { message: string };
}

async function send(options: LoadOptions, request: PlannedRequest): Promise<RequestOutcome> {
  const { stream, temperature, model } = options;
  const chat = options.endpoint === "chat";
  const body = {
    model,
    ...(chat
      ? { messages: [{ role: "user", content: request.promptIds.map((id) => (id % 10).toString()).join(" ") }] }
      : { prompt: request.promptIds }),
    max_tokens: request.maxTokens,
    ignore_eos: true,
    temperature,
    stream,
    ...(stream ? { stream_options: { include_usage: true } } : {}),
    ...(options.tokenIds ? { return_token_ids: true } : {}),
  };
  const headers: Record<string, string> = { "content-type": "application/json" };
  if (options.apiKey) headers.authorization = `Bearer ${options.apiKey}`;
  const start = performance.now();
  const since = () => (performance.now() - start) / 1000;
  const url = `${options.url.replace(/\/+$/, "")}/v1/${chat ? "chat/completions" : "completions"}`;
  const response = await fetch(url, { method: "POST", headers, body: JSON.stringify(body) });
  if (!response.ok) throw new Error(`HTTP ${response.status}: ${(await response.text()).slice(0, 200)}`);

  let usage: Body["usage"] = null;
  let firstToken = Number.NaN;
  const gaps: number[] = [];
  if (stream) {
    let last = Number.NaN;
    for await (const event of serverSentEvents(response.body!)) {
      const piece: Body = JSON.parse(event);
      if (piece.error) throw new Error(piece.error.message);
      usage = piece.usage ?? usage;
      if (!piece.choices?.length) continue;
      const now = since();
      if (Number.isNaN(firstToken)) {
        // Servers may open a chat stream with the role alone, before any token.
        if (chat && !piece.choices[0]!.delta?.content) continue;
        firstToken = now;
      } else gaps.push(now - last);
      last = now;
    }
  } else {
    usage = ((await response.json()) as Body).usage ?? null;
  }
  const total = since();
  if (!usage) throw new Error("the answer says no usage: was it cut off?");
  return { promptTokens: usage.prompt_tokens, outputTokens: usage.completion_tokens, firstToken, total, gaps };
}

/** The data of each event, up to [DONE]. */
async function* serverSentEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let buffered = "";
  for await (const bytes of body) {
    buffered += decoder.decode(bytes, { stream: true });
    let end = buffered.indexOf("\n\n");
    for (let from = 0; ; end = buffered.indexOf("\n\n", from)) {
      if (end < 0) {
        buffered = buffered.slice(from);
        break;
      }
      const event = buffered.slice(from, end);
      from = end + 2;
      if (event === "data: [DONE]") return;
      if (event.startsWith("data: ")) yield event.slice(6);
    }
  }
  throw new Error("the stream ended without [DONE]");
}

/** The figures of a load, in seconds and tokens a second. */
export function summarize(summary: LoadSummary, stream: boolean) {
  const { outcomes, seconds } = summary;
  const sum = (values: number[]) => values.reduce((a, b) => a + b, 0);
  const spread = (name: string, values: number[]) =>
    ([50, 90, 99] as const).map((p) => ({ metric: `${name} p${p}`, value: percentile(values, p / 100), unit: "s" }));
  const output = sum(outcomes.map((o) => o.outputTokens));
  const perToken = outcomes
    .filter((o) => o.outputTokens > 1)
    .map((o) => (o.total - o.firstToken) / (o.outputTokens - 1));
  return [
    { metric: "output", value: output / seconds, unit: "tokens/s" },
    { metric: "total", value: (output + sum(outcomes.map((o) => o.promptTokens))) / seconds, unit: "tokens/s" },
    { metric: "requests", value: outcomes.length / seconds, unit: "requests/s" },
    ...(stream
      ? [
          ...spread(
            "TTFT",
            outcomes.map((o) => o.firstToken),
          ),
          ...spread("TPOT", perToken),
          ...spread(
            "ITL",
            outcomes.flatMap((o) => o.gaps),
          ),
        ]
      : []),
    ...spread(
      "E2E",
      outcomes.map((o) => o.total),
    ),
  ].filter((m) => Number.isFinite(m.value));
}
