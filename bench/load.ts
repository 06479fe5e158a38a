/**
 * A load of random prompts for an OpenAI server: what is sent when, and what each request saw. Prompts are token ids, so
 * that their length is exact for any model; ignore_eos makes the output's length exact too.
 */

import { type EngineRequest, PLAIN } from "../src/engine/protocol.ts";
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
  /** Requests per second, Poisson arrivals; null = all at once. */
  rate: number | null;
  /** Most requests in flight at a time; null = no bound. */
  concurrency: number | null;
  stream: boolean;
  /** chat sends one word of text per id: its prompt lengths are approximate. */
  endpoint: "completions" | "chat";
  temperature: number;
  seed: number;
  /** Token ids are drawn from [1, vocab). */
  vocab: number;
  /** Ask for return_token_ids (fgserve, vLLM): then a token that yields no text is timed too. */
  tokenIds?: boolean;
  /** Which requests bring a JSON schema of their own (structured_outputs): every one, or every other one; none by default. */
  schemas?: Schemas;
  /** Loads with the same one bring the same schemas; the seed by default. */
  schemaNames?: string;
  apiKey?: string;
}

export type Schemas = "each" | "half";

/** Greedy completions of equal lengths, streamed, and sent together unless `given` says otherwise. */
export function greedyStreams(
  given: Pick<LoadOptions, "url" | "model" | "prompts" | "input" | "output" | "seed" | "vocab"> & Partial<LoadOptions>,
): LoadOptions {
  const how = {
    spread: 0,
    rate: null,
    concurrency: null,
    stream: true,
    endpoint: "completions",
    temperature: 0,
  } as const;
  return { ...how, ...given };
}

export interface PlannedRequest {
  promptIds: number[];
  maxTokens: number;
  /** What the answer must follow; null = any text. */
  schema: object | null;
  /** Seconds after the start of the load. */
  arrival: number;
}

export interface RequestOutcome {
  /** Its answer had to follow a schema. */
  constrained: boolean;
  promptTokens: number;
  outputTokens: number;
  /** Seconds since the request was sent; NaN without a stream. */
  firstToken: number;
  total: number;
  /** Seconds between successive pieces of a stream. */
  gaps: number[];
}

/** Time as the load sees it, in milliseconds. */
export interface Clock {
  now(): number;
  sleep(ms: number): Promise<void>;
}
const CLOCK: Clock = { now: () => performance.now(), sleep: Bun.sleep };

export interface LoadSummary {
  outcomes: RequestOutcome[];
  errors: string[];
  /** Seconds from the first request to the last answer. */
  seconds: number;
}

/** What the requests and their arrivals follow from. */
export type LoadPlan = Pick<
  LoadOptions,
  "prompts" | "input" | "output" | "spread" | "rate" | "seed" | "vocab" | "schemas" | "schemaNames"
>;

/** How much is sent. */
export type LoadSizes = Pick<LoadPlan, "prompts" | "input" | "output" | "spread">;

/** The requests of a load. The same options give the same requests. */
export function planLoad(options: LoadPlan): PlannedRequest[] {
  const random = randomFrom(options.seed);
  const length = (mean: number) => Math.max(1, Math.round(mean * (1 + options.spread * (2 * random() - 1))));
  let arrival = 0;
  return Array.from({ length: options.prompts }, (_, i) => {
    const promptIds = Array.from(
      { length: length(options.input) },
      () => 1 + Math.floor(random() * (options.vocab - 1)),
    );
    const maxTokens = length(options.output);
    if (options.rate !== null) arrival += -Math.log(1 - random()) / options.rate;
    const constrained = options.schemas === "each" || (options.schemas === "half" && i % 2 === 1);
    const schema = constrained ? endlessSchema(`${options.schemaNames ?? options.seed}_${i}`) : null;
    return { promptIds, maxTokens, schema, arrival };
  });
}

/**
 * A schema like those that programs send: a list of records with texts, numbers, choices and lists. `name` makes it differ
 * from every other. The list wants more records than any answer has room for, so that answers are as long as max_tokens.
 */
export function endlessSchema(name: string): object {
  const record = {
    type: "object",
    properties: {
      id: { type: "integer" },
      [`name_${name}`]: { type: "string", maxLength: 40 },
      kind: { enum: ["person", "place", "event", `thing_${name}`] },
      score: { type: "number" },
      checked: { type: "boolean" },
      tags: { type: "array", items: { type: "string", maxLength: 16 }, minItems: 1, maxItems: 5 },
      place: {
        type: "object",
        properties: { street: { type: "string", maxLength: 40 }, code: { type: "string", pattern: "^[0-9]{5}$" } },
        required: ["street", "code"],
        additionalProperties: false,
      },
    },
    required: ["id", `name_${name}`, "kind", "score", "checked", "tags", "place"],
    additionalProperties: false,
  };
  const records = { type: "array", items: record, minItems: 10_000 };
  return { type: "object", properties: { records }, required: ["records"], additionalProperties: false };
}

/** A load's requests as the engine takes them: all at once, greedy, each as long as maxTokens says. */
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
    ...PLAIN,
  }));
}

/** Sends the load and waits for every answer. A failed request is counted, never retried. */
export async function runLoad(options: LoadOptions, clock: Clock = CLOCK): Promise<LoadSummary> {
  const planned = planLoad(options);
  const outcomes: RequestOutcome[] = [];
  const errors: string[] = [];
  const start = clock.now();
  let next = 0;
  async function client(): Promise<void> {
    for (let request = planned[next++]; request; request = planned[next++]) {
      const wait = request.arrival * 1000 - (clock.now() - start);
      if (wait > 0) await clock.sleep(wait);
      try {
        outcomes.push(await send(options, request, clock));
      } catch (error) {
        errors.push(error instanceof Error ? error.message : String(error));
      }
    }
  }
  const clients = Math.min(options.concurrency ?? planned.length, planned.length);
  await Promise.all(Array.from({ length: clients }, client));
  return { outcomes, errors, seconds: (clock.now() - start) / 1000 };
}

interface Body {
  usage?: { prompt_tokens: number; completion_tokens: number } | null;
  choices?: { text?: string; delta?: { content?: string | null } }[];
  error?: { message: string };
}

async function send(options: LoadOptions, request: PlannedRequest, clock: Clock): Promise<RequestOutcome> {
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
    ...(request.schema ? { structured_outputs: { json: request.schema } } : {}),
  };
  const headers: Record<string, string> = { "content-type": "application/json" };
  if (options.apiKey) headers.authorization = `Bearer ${options.apiKey}`;
  const start = clock.now();
  const url = `${options.url.replace(/\/+$/, "")}/v1/${chat ? "chat/completions" : "completions"}`;
  const response = await fetch(url, { method: "POST", headers, body: JSON.stringify(body) });
  if (!response.ok) throw new Error(`HTTP ${response.status}: ${(await response.text()).slice(0, 200)}`);
  const since = () => (clock.now() - start) / 1000;
  const answer = stream ? await readStream(response.body!, since) : readWhole((await response.json()) as Body, since);
  return { ...answer, constrained: request.schema !== null };
}

/** What one answer brought. */
type Answer = Omit<RequestOutcome, "constrained">;

function readWhole({ usage }: Body, since: () => number): Answer {
  return outcome(usage, { firstToken: Number.NaN, gaps: [], total: since() });
}

/** Takes a streamed answer in; `since` gives the seconds since its request was sent. */
export async function readStream(body: ReadableStream<Uint8Array>, since: () => number): Promise<Answer> {
  let usage: Body["usage"] = null;
  let [firstToken, last] = [Number.NaN, Number.NaN];
  const gaps: number[] = [];
  for await (const event of serverSentEvents(body)) {
    const piece: Body = JSON.parse(event);
    if (piece.error) throw new Error(piece.error.message);
    usage = piece.usage ?? usage;
    const choice = piece.choices?.[0];
    if (!choice) continue;
    // A server may open a chat stream with the role alone, before any token.
    if (Number.isNaN(firstToken) && choice.delta && !choice.delta.content) continue;
    const now = since();
    if (Number.isNaN(firstToken)) firstToken = now;
    else gaps.push(now - last);
    last = now;
  }
  return outcome(usage, { firstToken, gaps, total: since() });
}

function outcome(usage: Body["usage"], times: Pick<Answer, "firstToken" | "gaps" | "total">): Answer {
  if (!usage) throw new Error("the answer has no usage: was it cut off?");
  return { promptTokens: usage.prompt_tokens, outputTokens: usage.completion_tokens, ...times };
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

/**
 * The figures of a load, in seconds and tokens per second. Where some answers follow a schema and others do not, the
 * latencies are those of the others.
 */
export function summarize(summary: LoadSummary, stream: boolean) {
  const { outcomes, seconds } = summary;
  const free = outcomes.filter(({ constrained }) => !constrained);
  const timed = free.length > 0 ? free : outcomes;
  const sum = (values: number[]) => values.reduce((a, b) => a + b, 0);
  const spread = (name: string, values: number[]) =>
    ([50, 90, 99] as const).map((p) => ({ metric: `${name} p${p}`, value: percentile(values, p / 100), unit: "s" }));
  const output = sum(outcomes.map((o) => o.outputTokens));
  const perToken = timed.filter((o) => o.outputTokens > 1).map((o) => (o.total - o.firstToken) / (o.outputTokens - 1));
  return [
    { metric: "output", value: output / seconds, unit: "tokens/s" },
    { metric: "total", value: (output + sum(outcomes.map((o) => o.promptTokens))) / seconds, unit: "tokens/s" },
    { metric: "requests", value: outcomes.length / seconds, unit: "requests/s" },
    ...(stream
      ? [
          ...spread(
            "TTFT",
            timed.map((o) => o.firstToken),
          ),
          ...spread("TPOT", perToken),
          ...spread(
            "ITL",
            timed.flatMap((o) => o.gaps),
          ),
        ]
      : []),
    ...spread(
      "E2E",
      timed.map((o) => o.total),
    ),
  ].filter((m) => Number.isFinite(m.value));
}
