/**
 * A batch: the requests of a file, their results in two others. A result is written as soon as it is there, in the order in which
 * requests end. Whoever runs the same batch again goes on where it was broken off.
 */
import { randomBytes } from "node:crypto";
import { runBounded } from "../../src/batch.ts";
import { FastgenError } from "../../src/errors.ts";
import { withFileLock } from "../../src/file-lock.ts";
import { MAX_BATCH_FAULTS, MAX_BATCH_REPLY_BYTES, MAX_TOTAL_BODY_BYTES } from "../../src/limits.ts";
import { fieldText } from "../json-field.ts";
import { answer, type Reply, type Send } from "./answer.ts";
import { IdIndex } from "./id-index.ts";
import { type FileLine, fileLines } from "./lines.ts";
import { type BatchRequest, type BatchUrl, isBlank, parseRequestLine } from "./request-line.ts";
import { isSameFile, ResultFile, reason, resultLine } from "./result-file.ts";

/** Milliseconds between two moments at which all results are on the disk. */
const SYNC_INTERVAL = 1000;

export interface BatchJob {
  /** Paths: of the requests, of the answers, and of what was refused or went wrong. */
  input: string;
  output: string;
  errors: string;
  /** The one url that requests may have; null = any of BATCH_URLS. */
  endpoint: BatchUrl | null;
  /** Bytes of a line. */
  maxLineBytes: number;
  /** Requests in the file. */
  maxRequests: number;
}

/** Who answers. */
export interface Answerer {
  send: Send;
  /** Sequences that are asked for at once. */
  atOnce: number;
}

export interface BatchOptions {
  /** Called once the files were checked, if there is anything to do. */
  open: () => Promise<Answerer>;
  /** Ends the batch. What has no result then gets none. */
  signal: AbortSignal;
  /** Hears of the file once it was checked, and of every result. */
  onProgress?: (progress: BatchProgress) => void;
  /** Called before a result is written. What it throws ends the batch. */
  beforeWrite?: (bytes: number) => void;
}

export interface BatchProgress {
  /** Requests: all, those with an answer, those with an error. */
  total: number;
  completed: number;
  failed: number;
  /** Tokens of the answers that came in this run. */
  outputTokens: number;
  promptTokens: number;
}

/** What is wrong with a line of the input, in OpenAI's words. */
export interface LineFault {
  code: string;
  line: number;
  message: string;
  param: string | null;
}

/** The input was refused: nothing was done. */
export class BatchInputError extends FastgenError {
  /** The first ones. */
  readonly faults: LineFault[];

  constructor(message: string, faults: LineFault[]) {
    super("invalid_request", message);
    this.faults = faults;
  }
}

/**
 * Runs a batch to its end. Every request of the input gets one line in the output or in the file of errors; those that have one
 * from an earlier run are left alone. The caller makes sure that nobody else runs it.
 * @throws BatchInputError before anything was done; FastgenError where a file cannot be read or written or the server cannot be
 *   reached; the signal's reason. Then the batch can be run again.
 */
export async function runBatch(job: BatchJob, options: BatchOptions): Promise<BatchProgress> {
  const output = await ResultFile.open(job.output);
  const errors = await ResultFile.open(job.errors).catch(async (error) => {
    await output.close();
    throw error;
  });
  const { signal } = options;
  const onWait = () => Promise.reject(new FastgenError("unavailable", `another process writes to '${job.output}'`));
  try {
    await requireThreeFiles(job);
    return await withFileLock(job.output, { signal, onWait }, () => runWith(job, output, errors, options));
  } finally {
    await Promise.all([output.close(), errors.close()]);
  }
}

async function runWith(job: BatchJob, output: ResultFile, errors: ResultFile, options: BatchOptions) {
  const index = openIndex(`${job.output}.index`);
  try {
    const total = await checkInput(job, index, options.signal);
    const known = (file: ResultFile) => file.resume((id, line) => finish(index, id, job, `${file.path}, line ${line}`));
    const counts = { total, completed: await known(output), failed: await known(errors) };
    const progress = { ...counts, outputTokens: 0, promptTokens: 0 };
    options.onProgress?.(progress);
    if (progress.completed + progress.failed < total) {
      await new Run(job, index, { output, errors }, progress, options, await options.open()).run();
    }
    return progress;
  } finally {
    index.close();
  }
}

async function requireThreeFiles({ input, output, errors }: BatchJob): Promise<void> {
  for (const [one, other] of [
    [input, output],
    [input, errors],
    [output, errors],
  ] as const) {
    if (!(await isSameFile(one, other))) continue;
    throw new FastgenError("invalid_request", `'${one}' and '${other}' are one file; a batch needs three`);
  }
}

function openIndex(path: string): IdIndex {
  try {
    return new IdIndex(path);
  } catch (error) {
    throw new FastgenError(
      "invalid_request",
      `'${path}', needed while the batch runs, cannot be made: ${reason(error)}`,
    );
  }
}

function finish(index: IdIndex, id: string, { input }: BatchJob, where: string): void {
  const outcome = index.finish(id);
  if (outcome === "done") return;
  const quoted = JSON.stringify(id.slice(0, 100));
  const what =
    outcome === "unknown"
      ? `is the result of the custom_id ${quoted}, which '${input}' does not have; name other files for the results`
      : `is another result of the custom_id ${quoted}; remove one of them`;
  throw new FastgenError("invalid_request", `${where} ${what}`);
}

/** The lines of the input. Throws FastgenError "invalid_request" where it cannot be read. */
async function* readable(input: string, maxLineBytes: number): AsyncGenerator<FileLine> {
  try {
    yield* fileLines(input, maxLineBytes);
  } catch (error) {
    throw new FastgenError("invalid_request", `'${input}' cannot be read: ${reason(error)}`);
  }
}

/** Puts every custom_id into the index. Returns how many there are. Throws BatchInputError where any line is no request. */
async function checkInput(job: BatchJob, index: IdIndex, signal: AbortSignal): Promise<number> {
  const { input, endpoint, maxLineBytes, maxRequests } = job;
  const faults: LineFault[] = [];
  let count = 0;
  let wrong = 0;
  const refuse = (line: number, error: FastgenError) => {
    wrong++;
    const { code, message, param } = error;
    if (faults.length < MAX_BATCH_FAULTS) faults.push({ code: code ?? "invalid_line", line, message, param });
  };
  for await (const line of readable(input, maxLineBytes)) {
    signal.throwIfAborted();
    if (isBlank(line)) continue;
    count++;
    try {
      const { custom_id } = parseRequestLine(line, endpoint);
      const first = index.add(custom_id, line.number);
      if (first !== null) {
        const message = `custom_id ${JSON.stringify(custom_id)} is that of line ${first}, too; each request needs its own`;
        throw new FastgenError("invalid_request", message, { code: "duplicate_custom_id", param: "custom_id" });
      }
    } catch (error) {
      if (!(error instanceof FastgenError)) throw error;
      refuse(line.number, error);
    }
    if (count > maxRequests) {
      const message = `the file has more than ${maxRequests} requests; split it`;
      refuse(line.number, new FastgenError("invalid_request", message, { code: "too_many_requests" }));
      break;
    }
  }
  if (count === 0) {
    refuse(1, new FastgenError("invalid_request", "the file has no requests", { code: "empty_file" }));
  }
  if (wrong === 0) return count;
  const [first] = faults;
  const more = wrong > 1 ? `; ${wrong - 1} more lines are wrong` : "";
  throw new BatchInputError(`${input}, line ${first!.line}: ${first!.message}${more}. Nothing was done`, faults);
}

/** The result of one request. */
interface Result {
  line: string;
  failed: boolean;
  usage: { promptTokens: number; outputTokens: number };
}

class Run {
  readonly #job: BatchJob;
  readonly #index: IdIndex;
  readonly #results: { output: ResultFile; errors: ResultFile };
  readonly #progress: BatchProgress;
  readonly #options: BatchOptions;
  readonly #answerer: Answerer;

  constructor(
    job: BatchJob,
    index: IdIndex,
    results: { output: ResultFile; errors: ResultFile },
    progress: BatchProgress,
    options: BatchOptions,
    answerer: Answerer,
  ) {
    this.#job = job;
    this.#index = index;
    this.#results = results;
    this.#progress = progress;
    this.#options = options;
    this.#answerer = answerer;
  }

  async run(): Promise<void> {
    const { onProgress, signal } = this.#options;
    const { atOnce } = this.#answerer;
    let synced = performance.now();
    for await (const { outcome } of runBounded(this.#pending(), atOnce, (request) => this.#prepare(request))) {
      signal.throwIfAborted();
      if (outcome.status === "rejected") throw outcome.reason;
      await this.#write(outcome.value);
      onProgress?.(this.#progress);
      if (performance.now() - synced < SYNC_INTERVAL) continue;
      await this.#sync();
      synced = performance.now();
    }
    signal.throwIfAborted();
    await this.#sync();
  }

  /** The requests that have no result. */
  async *#pending(): AsyncGenerator<BatchRequest> {
    const { input, endpoint, maxLineBytes } = this.#job;
    for await (const line of readable(input, maxLineBytes)) {
      if (isBlank(line)) continue;
      const request = parseRequestLine(line, endpoint);
      if (!this.#index.isDone(request.custom_id)) yield request;
    }
  }

  #prepare(request: BatchRequest) {
    const { atOnce, send } = this.#answerer;
    const { signal } = this.#options;
    const stop = new AbortController();
    const either = AbortSignal.any([signal, stop.signal]);
    // Long bodies count for more, so that those in memory are bounded.
    const weight = Math.max(request.sequences, Math.ceil((request.body.length * atOnce) / MAX_TOTAL_BODY_BYTES));
    const run = async () => {
      const id = `batch_req_${randomBytes(16).toString("hex")}`;
      return resultOf(id, request.custom_id, await answer(request, id, send, either));
    };
    return { weight, run, abort: () => stop.abort() };
  }

  async #write({ line, failed, usage }: Result): Promise<void> {
    this.#options.beforeWrite?.(Buffer.byteLength(line) + 1);
    await (failed ? this.#results.errors : this.#results.output).append(line);
    const progress = this.#progress;
    if (failed) progress.failed++;
    else progress.completed++;
    progress.promptTokens += usage.promptTokens;
    progress.outputTokens += usage.outputTokens;
  }

  async #sync(): Promise<void> {
    await this.#results.output.sync();
    await this.#results.errors.sync();
  }
}

function resultOf(id: string, customId: string, { status, requestId, body }: Reply): Result {
  const failed = status >= 300 || body === null;
  if (body === null) {
    const message = `the answer has more than ${MAX_BATCH_REPLY_BYTES} bytes; ask for fewer choices, tokens or log probabilities`;
    const error = JSON.stringify({ code: "answer_too_large", message });
    return { line: resultLine(id, customId, "null", error), failed, usage: NONE };
  }
  const response = `{"status_code":${status},"request_id":${JSON.stringify(requestId)},"body":${body}}`;
  return { line: resultLine(id, customId, response), failed, usage: failed ? NONE : usageOf(body) };
}

const NONE = { promptTokens: 0, outputTokens: 0 };

/** The tokens of an answer, in the words of any of the APIs. */
function usageOf(body: string): Result["usage"] {
  const usage = JSON.parse(fieldText(body, "usage") ?? "null") ?? {};
  return {
    promptTokens: usage.prompt_tokens ?? usage.input_tokens ?? 0,
    outputTokens: usage.completion_tokens ?? usage.output_tokens ?? 0,
  };
}
