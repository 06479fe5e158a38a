/** fgbatch: the command line that answers a file of requests. */
import { Command, Option } from "commander";
import { createApp } from "../routes/app.ts";
import type { Send } from "../routes/batch/answer.ts";
import { BatchInputError } from "../routes/batch/input.ts";
import { type Answerer, type BatchJob, runBatch } from "../routes/batch/job.ts";
import { Service } from "../routes/service.ts";
import { asFastgenError, FastgenError } from "../src/errors.ts";
import { MAX_BODY_BYTES } from "../src/limits.ts";
import type { FastgenApi } from "../src/types.ts";
import { VERSION } from "../src/version.ts";
import { type AnswerFlags, addAnswerFlags, answerOptions } from "./answer-flags.ts";
import { BatchBar } from "./batch-bar.ts";
import { REMOTE_CONCURRENCY, RemoteAnswerer } from "./batch-remote.ts";
import { builtInNotice } from "./built-in.ts";
import { addModelFlags, bytes, integer, loadModel, loadOptions, type ModelFlags, parseFlags } from "./flags.ts";
import { ProgressBar } from "./progress.ts";
import { outliveReaders } from "./readers.ts";
import { exitCodeOf, onSignals } from "./signals.ts";

interface BatchFlags extends ModelFlags, AnswerFlags {
  errors?: string;
  url?: string;
  apiKey?: string;
  maxConcurrency?: number;
  maxBodyBytes: number;
}

/** Wrong lines of the input that are shown. */
const SHOWN_FAULTS = 10;

/** fgbatch's flags and its help. */
export function command(): Command {
  const command = new Command("fgbatch")
    .description(
      "Answers the requests of a file, in OpenAI's format of batches, by a model loaded here or by a server.",
    )
    .version(VERSION)
    .argument("<in>", "file of requests, one JSON object a line: custom_id, method, url, body")
    .argument("<out>", "file that each answer is added to as a line; what it holds already is not done again")
    .option("--errors <file>", "file for requests that fail (default: OUT with .errors before its ending)")
    .option("--url <url>", "let the server at this address answer, rather than a model loaded here")
    .option("--api-key <key>", "key for --url (default: $FASTGEN_API_KEY or $OPENAI_API_KEY)")
    .option(
      "--max-concurrency <n>",
      `sequences that are asked for at once (default: twice --max-num-seqs; with --url ${REMOTE_CONCURRENCY})`,
      integer(1),
    )
    .addOption(
      new Option("--max-body-bytes <bytes>", "longest line of the input")
        .argParser(bytes)
        .default(MAX_BODY_BYTES, `${MAX_BODY_BYTES / 2 ** 20}M`),
    );
  addAnswerFlags(command);
  return addModelFlags(command).addHelpText(
    "after",
    `
The same command again goes on where it was broken off, also by kill -9: every custom_id gets one line, in OUT or in the file
of errors. Remove the file of errors to try the failed requests again.

Exit codes: 0 every request has its answer; 3 some requests failed; 2 wrong usage, or an input, a file, a model, an address or
a key that cannot be used: the same command would fail again; 1 broken off, and 128 + n ended by signal n: the same command
goes on.`,
  );
}

/** Answers a file. Resolves to the exit code. Throws FastgenError where the batch is broken off, or a file cannot be used. */
export async function run(args: string[]): Promise<number> {
  const parser = command();
  const code = parseFlags(parser, args);
  if (code !== null) return code;
  const flags = parser.opts<BatchFlags>();
  const [input, output, model] = parser.args as [string, string, string | undefined];
  if (flags.url !== undefined && model !== undefined) {
    const message = `with --url the requests name the model, and '${model}' is not loaded; leave it out`;
    throw new FastgenError("invalid_request", message);
  }
  if ([input, output].includes("-")) {
    const message =
      "standard input and output cannot be gone on with: name a file in place of -, or ./- for one of that name";
    throw new FastgenError("invalid_request", message);
  }
  const errors = flags.errors ?? errorsBeside(output);
  const job = { input, output, errors, endpoint: null, maxLineBytes: flags.maxBodyBytes, maxRequests: Infinity };
  const stopping = new AbortController();
  const bar = new BatchBar();
  const server = remote(flags, (why) => bar.tell(why));
  let fastgen: FastgenApi | null = null;
  let opened = false;
  const open = async () => {
    if (flags.url === undefined) fastgen = await loadHere(model, flags, stopping);
    opened = true;
    bar.begin();
    return fastgen ? answerer(fastgen, flags) : server!;
  };
  const onCheck = (done: number, total: number) => bar.check(done, total);
  // Whoever reads what is said may leave: the work goes on.
  outliveReaders();
  const unhook = onSignals(stopping);
  try {
    const { failed } = await runBatch(job, {
      open,
      signal: stopping.signal,
      onCheck,
      onProgress: (now) => bar.update(now),
    });
    process.stderr.write(bar.end(job));
    return failed > 0 ? 3 : 0;
  } catch (error) {
    process.stderr.write(bar.end(job));
    if (error instanceof BatchInputError) throw showFaults(error, job);
    const code = stopping.signal.aborted ? exitCodeOf(stopping.signal.reason) : null;
    if (code === null) throw brokenOff(error, opened);
    process.stderr.write("Run the same command again to go on.\n");
    return code;
  } finally {
    unhook();
    await (fastgen as FastgenApi | null)?.close();
  }
}

/** answers.jsonl → answers.errors.jsonl */
function errorsBeside(output: string): string {
  return output.replace(/(\.[^./]*)?$/, (ending) => `.errors${ending || ".jsonl"}`);
}

/** Shows the wrong lines but the first, which the error names. */
function showFaults(error: BatchInputError, { input }: BatchJob): BatchInputError {
  const [, ...others] = error.faults;
  for (const { line, message } of others.slice(0, SHOWN_FAULTS - 1)) {
    process.stderr.write(`${input}, line ${line}: ${message}\n`);
  }
  return error;
}

/** The error to end with: exit code 2 where the same command would fail again, else 1 and what to do. `opened`: requests were made. */
function brokenOff(thrown: unknown, opened: boolean): FastgenError {
  const error = asFastgenError(thrown);
  const { kind, message, cause } = error;
  if (kind === "internal" || kind === "invalid_request") return error;
  const transient = opened || kind === "unavailable";
  if (!transient) return new FastgenError("invalid_request", message, { cause });
  return new FastgenError(kind, `${message}. Once that is mended, run the same command again to go on`, { cause });
}

async function loadHere(model: string | undefined, flags: BatchFlags, stopping: AbortController): Promise<FastgenApi> {
  if (model === undefined) process.stderr.write(builtInNotice("fgbatch"));
  const bar = new ProgressBar();
  const fastgen = await loadModel(model, {
    ...loadOptions(flags),
    signal: stopping.signal,
    onProgress: (progress) => bar.update(progress),
    onWarning: (message) => {
      bar.breakLine();
      process.stderr.write(`fgbatch: ${message}\n`);
    },
  }).finally(() => bar.end());
  void fastgen.failed.then((error) => stopping.abort(error));
  return fastgen;
}

/** Requests go through the server's own app, without a port: a line of a file and a request over HTTP are one code. */
function answerer(fastgen: FastgenApi, flags: BatchFlags): Answerer {
  const any = Number.MAX_SAFE_INTEGER;
  const service = new Service({
    ...answerOptions(flags),
    errorLog: (text) => void process.stderr.write(`fgbatch: ${text}\n`),
    maxBodyBytes: flags.maxBodyBytes,
    // The batch bounds what is open.
    maxRequests: any,
    maxQueued: any,
    maxStoredResponses: 0,
  });
  service.ready(fastgen);
  const app = createApp(service);
  const send: Send = (url, init) => app.fetch(new Request(`http://localhost${url}`, init));
  const { max_num_seqs, data_parallel_size } = fastgen.capacity;
  return { send, atOnce: flags.maxConcurrency ?? 2 * max_num_seqs * data_parallel_size };
}

/** The server of --url, or null. */
function remote({ url, apiKey, maxConcurrency }: BatchFlags, tell: (why: string) => void): RemoteAnswerer | null {
  if (url === undefined) return null;
  const key = apiKey ?? process.env.FASTGEN_API_KEY ?? process.env.OPENAI_API_KEY;
  return new RemoteAnswerer({ url, apiKey: key, atOnce: maxConcurrency ?? REMOTE_CONCURRENCY, tell });
}
