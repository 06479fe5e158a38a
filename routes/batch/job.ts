/**
 * A batch: the requests of a file, their results in two others. A result is written as soon as it is there, in the order in which
 * requests end. Whoever runs the same batch again goes on where it was broken off.
 */
import { SQLiteError } from "bun:sqlite";
import { randomBytes } from "node:crypto";
import { stat } from "node:fs/promises";
import { FastgenError } from "../../src/errors.ts";
import { MAX_BATCH_REPLY_BYTES, MAX_TOTAL_BODY_BYTES } from "../../src/limits.ts";
import { runBounded } from "../../src/run-bounded.ts";
import { withFileLock } from "../../src/system/file-lock.ts";
import { systemReason } from "../../src/system/system-reason.ts";
import { fieldText } from "../body/json-field.ts";
import { answer, type Reply, type Send } from "./answer.ts";
import { IdIndex } from "./id-index.ts";
import { type BatchInput, checkInput, openRequests } from "./input.ts";
import type { BatchRequest } from "./request-line.ts";
import { isSameFile, ResultFile, resultLine } from "./result-file.ts";

/** Milliseconds between two moments at which all results are on the disk. */
const SYNC_INTERVAL = 1000;

export interface BatchJob extends BatchInput {
  /** Paths: of the answers, and of what was refused or went wrong. */
  output: string;
  errors: string;
}

const BUSY_CURE = "wait until it has ended, or name another file for the results";

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
  /** Hears how many bytes of how many in the files have been checked. */
  onCheck?: (done: number, total: number) => void;
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

/**
 * Runs a batch to its end. Every request of the input gets one line in the output or in the file of errors; those that have one
 * from an earlier run are left alone. Nobody else can run it meanwhile. A file that is empty in the end is removed.
 * @throws BatchInputError before anything was done; FastgenError where a file cannot be read or written or the server cannot be
 *   reached; the signal's reason. Then the batch can be run again.
 */
export async function runBatch(job: BatchJob, options: BatchOptions): Promise<BatchProgress> {
  await requirePlainInput(job.input);
  // The lock makes the file, but does not say what is wrong with its path.
  await (await ResultFile.open(job.output)).close();
  const { signal } = options;
  const onWait = () =>
    Promise.reject(new FastgenError("invalid_request", `another process writes to '${job.output}': ${BUSY_CURE}`));
  return withFileLock(job.output, { signal, onWait }, () => runWithFiles(job, options));
}

/** A pipe can be read once only, and the check of its lines would take them. */
async function requirePlainInput(input: string): Promise<void> {
  const info = await stat(input).catch(() => null);
  if (info === null || info.isFile() || info.isDirectory()) return;
  const message = `'${input}' is no plain file, and a batch reads its input more than once: write it to a file first`;
  throw new FastgenError("invalid_request", message);
}

/** Opens the files of results, which nobody may replace or remove while they are open: the lock is held. */
async function runWithFiles(job: BatchJob, options: BatchOptions): Promise<BatchProgress> {
  const output = await ResultFile.open(job.output);
  const errors = await ResultFile.open(job.errors).catch(async (error) => {
    await output.close();
    throw error;
  });
  try {
    await requireThreeFiles(job);
    try {
      return await runWithIndex(job, output, errors, options);
    } finally {
      await output.removeIfEmpty();
      await errors.removeIfEmpty();
    }
  } finally {
    await output.close();
    await errors.close();
  }
}

async function runWithIndex(job: BatchJob, output: ResultFile, errors: ResultFile, options: BatchOptions) {
  const index = openIndex(`${job.output}.index`);
  try {
    const onRead = await readingOf([job.input, job.output, job.errors], options.onCheck);
    const total = await checkInput(job, index, options.signal, onRead(0));
    const known = (file: ResultFile) =>
      file.resume((id, line) => finish(index, id, job, `${file.path}, line ${line}`), onRead(file === output ? 1 : 2));
    const counts = { total, completed: await known(output), failed: await known(errors) };
    const progress = { ...counts, outputTokens: 0, promptTokens: 0 };
    options.onProgress?.(progress);
    if (progress.completed + progress.failed < total) {
      await new Run(job, index, { output, errors }, progress, options, await options.open()).run();
    }
    return progress;
  } catch (error) {
    if (!(error instanceof SQLiteError)) throw error;
    const message = `the index beside '${job.output}' cannot be written to: ${error.message}`;
    throw new FastgenError("unavailable", message, { code: "storage_error", cause: error });
  } finally {
    index.close();
  }
}

/** By number of a file: what is to hear how far it has been read, for `onCheck` to hear how far all are. */
async function readingOf(paths: string[], onCheck: BatchOptions["onCheck"]) {
  const sizes = await Promise.all(paths.map(async (path) => (await stat(path).catch(() => null))?.size ?? 0));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  return (file: number) => {
    const before = sizes.slice(0, file).reduce((sum, size) => sum + size, 0);
    return (bytes: number) => onCheck?.(before + bytes, total);
  };
}

async function requireThreeFiles({ input, output, errors }: BatchJob): Promise<void> {
  for (const [one, other] of [
    [input, output],
    [input, errors],
    [output, errors],
  ] as const) {
    if (!(await isSameFile(one, other))) continue;
    const message = `'${one}' and '${other}' are one file; the input, the output and the file of errors must be three`;
    throw new FastgenError("invalid_request", message);
  }
}

function openIndex(path: string): IdIndex {
  try {
    return new IdIndex(path);
  } catch (error) {
    throw new FastgenError(
      "invalid_request",
      `'${path}', needed while the batch runs, cannot be made: ${systemReason(error, path)}`,
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
    const { onProgress } = this.#options;
    const { atOnce } = this.#answerer;
    let synced = performance.now();
    for await (const { outcome } of runBounded(openRequests(this.#job, this.#index), atOnce, (request) =>
      this.#prepare(request),
    )) {
      if (outcome.status === "rejected") throw outcome.reason;
      await this.#write(outcome.value);
      onProgress?.(this.#progress);
      if (performance.now() - synced < SYNC_INTERVAL) continue;
      await this.#sync();
      synced = performance.now();
    }
    await this.#sync();
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
