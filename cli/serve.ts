/** fgserve: the command line of the server, and its life from the open port to the last answer. */
import { Command, InvalidArgumentError, Option } from "commander";
import { BatchStore } from "../routes/batch/store.ts";
import type { RequestTracer } from "../routes/metrics/tracing.ts";
import { type Listener, listen } from "../routes/server/listen.ts";
import { Service } from "../routes/service.ts";
import { asFastgenError } from "../src/errors.ts";
import * as limits from "../src/limits.ts";
import { makeProfileFolder } from "../src/profile-folder.ts";
import type { FastgenApi } from "../src/types.ts";
import { VERSION } from "../src/version.ts";
import { type AccessFlags, accessOptions, addAccessFlags } from "./access-flags.ts";
import { type AddressFlags, addAddressFlags } from "./address-flags.ts";
import { type AnswerFlags, addAnswerFlags, answerOptions } from "./answer-flags.ts";
import { builtInNotice } from "./built-in.ts";
import { maxConnections } from "./descriptors.ts";
import {
  addModelFlags,
  bytes,
  integer,
  loadModel,
  loadOptions,
  type ModelFlags,
  nonEmpty,
  parseFlags,
} from "./flags.ts";
import { Log } from "./log.ts";
import { watchParent } from "./parent.ts";
import { ProgressBar } from "./progress.ts";
import { outliveReaders } from "./readers.ts";
import { exitCodeOf, onSignals } from "./signals.ts";
import { showStatus } from "./status-line.ts";
import { unheardVariables, vllmKey } from "./vllm-variables.ts";

interface ServeFlags extends ModelFlags, AddressFlags, AccessFlags, AnswerFlags {
  apiKey?: string;
  adminApiKey?: string;
  disableLogRequests?: boolean;
  maxBodyBytes?: number;
  maxTotalBodyBytes?: number;
  maxConnections?: number;
  maxStoredResponses: number;
  maxStoredResponseBytes?: number;
  batchDir?: string;
  maxBatchBytes?: number;
  maxQueuedSeqs: number;
  streamWriteTimeout: number;
  timeoutKeepAlive: number;
  shutdownTimeout: number;
  stopWithStdin?: boolean;
  enableTokenizerInfoEndpoint?: boolean;
  enableForceIncludeUsage?: boolean;
  ui: boolean;
  otlpTracesEndpoint?: string;
  profile?: string;
}

/** Milliseconds that the end waits for the log's reader. */
const LOG_PATIENCE = 1000;

/** setTimeout takes at most 2^31 milliseconds. */
const MAX_TIMER_SECONDS = 2_000_000;

/** fgserve's flags and its help. */
export function command(): Command {
  const command = new Command("fgserve").description("Serves a model over OpenAI's API.").version(VERSION);
  addAddressFlags(command);
  command
    .addOption(
      new Option(
        "--api-key <key>",
        "key that every request must carry, except /health, /ping, /liveness, /load, /metrics and /version; also $VLLM_API_KEY (default: none)",
      )
        .env("FASTGEN_API_KEY")
        .argParser(nonEmpty),
    )
    .addOption(
      new Option(
        "--admin-api-key <key>",
        "key of the routes that pause the server and change its weights (default: that of --api-key; without any, they answer only to this machine)",
      )
        .env("FASTGEN_ADMIN_API_KEY")
        .argParser(nonEmpty),
    )
    .option("--disable-log-requests", "no access log (default: one JSON line per request on stderr)")
    .option("--enable-auto-tool-choice", "accepted for vLLM's sake: models may always call tools")
    .option("--enable-tokenizer-info-endpoint", "answer /tokenizer_info with the model's tokenizer_config.json")
    .option(
      "--enable-force-include-usage",
      "end every stream with its usage (default: where stream_options asks for it)",
    )
    .option("--no-ui", "no page to chat on at / (default: there is one)")
    .option(
      "--otlp-traces-endpoint <url>",
      "send a trace of every request to this OTLP collector, over HTTP; such as http://localhost:4318 (default: no traces)",
      tracesEndpoint,
    )
    .option(
      "--profile <folder>",
      "folder for profiles, which POST /start_profile and SIGUSR2 record (default: none can be)",
      nonEmpty,
    )
    .option(
      "--stop-with-stdin",
      "shut down, as after SIGTERM, when standard input closes: for a program that starts a server and leaves none behind",
    );
  addAnswerFlags(command);
  addAccessFlags(command);
  addLimitFlags(command);
  return addModelFlags(command).addHelpText(
    "after",
    `
The server answers /v1/chat/completions and /v1/completions (with /render after it: what the model would be given),
/v1/responses (also /ID and /ID/input_items), Anthropic's /v1/messages and /v1/messages/count_tokens, /v1/models, /v1/files and
/v1/batches, /inference/v1/generate and /inference/v1/score (tokens in, tokens and log probabilities out), /tokenize,
/detokenize, /server_info, /version, /health, /ping, /load and /metrics; a page to chat on at /; for those who train the model, /pause, /resume,
/update_weights, /sleep, /wake_up, /reset_prefix_cache, /abort_request, /is_paused, /is_sleeping and /weight_version;
/start_profile and /stop_profile; each with and without /v1. After SIGTERM or SIGINT, running requests may finish, for at most the seconds of
--shutdown-timeout; a second signal ends the server at once.`,
  );
}

/** A collector's URL, with the path that collectors take traces at unless there is another. */
function tracesEndpoint(text: string): string {
  const url = URL.parse(text);
  if (!url || !/^https?:$/.test(url.protocol)) {
    throw new InvalidArgumentError("It must be an http:// or https:// URL, such as http://localhost:4318.");
  }
  if (url.pathname === "/") url.pathname = "/v1/traces";
  return url.href;
}

function addLimitFlags(command: Command): void {
  const mebibytes = (value: number) => `default: ${value / 2 ** 20}M`;
  command
    .option("--max-body-bytes <bytes>", `largest body of a request (${mebibytes(limits.MAX_BODY_BYTES)})`, bytes)
    .option(
      "--max-total-body-bytes <bytes>",
      `bodies being read, parsed and tokenised at once (${mebibytes(limits.MAX_TOTAL_BODY_BYTES)})`,
      bytes,
    )
    .option(
      "--max-connections <n>",
      `connections at once (default: ${limits.MAX_CONNECTIONS}, or what ulimit -n allows)`,
      integer(1),
    )
    .option(
      "--max-stored-responses <n>",
      "responses of /v1/responses kept in memory for later requests; 0 = none",
      integer(0),
      limits.MAX_STORED_RESPONSES,
    )
    .option(
      "--max-stored-response-bytes <bytes>",
      `bytes of them (${mebibytes(limits.MAX_STORED_RESPONSE_BYTES)})`,
      bytes,
    )
    .option(
      "--batch-dir <folder>",
      "folder for files and batches, which outlive the server there (default: a private one that goes with the server)",
      nonEmpty,
    )
    .option(
      "--max-batch-bytes <bytes>",
      `bytes of files and results in it (${mebibytes(limits.MAX_BATCH_BYTES)})`,
      bytes,
    )
    .option("--max-queued-seqs <n>", "sequences that may wait for a slot", integer(1), limits.MAX_QUEUED_SEQUENCES)
    .option(
      "--stream-write-timeout <seconds>",
      "close a stream whose client has read nothing for this long",
      integer(1, MAX_TIMER_SECONDS),
      limits.STREAM_WRITE_SECONDS,
    )
    .option(
      "--timeout-keep-alive <seconds>",
      "close a connection that is idle, or whose headers have not arrived, for this long",
      integer(1, MAX_TIMER_SECONDS),
      limits.IDLE_SECONDS,
    )
    .option(
      "--shutdown-timeout <seconds>",
      "time that running requests have to finish after SIGTERM",
      integer(0, MAX_TIMER_SECONDS),
      limits.DRAIN_SECONDS,
    );
}

/**
 * Serves until a signal. Resolves to the exit code: 0 after a signal or --help, 128 + the signal's number where it came before
 * the model was loaded, 2 for wrong usage. Throws FastgenError if the port is taken or the model cannot be loaded.
 */
export async function run(args: string[]): Promise<number> {
  const parser = command();
  const code = parseFlags(parser, args);
  if (code !== null) return code;
  const flags = parser.opts<ServeFlags>();
  const keyFrom = parser.getOptionValueSource("apiKey") ?? "vllm";
  flags.apiKey ??= vllmKey();
  const options = loadOptions(flags);
  if (flags.profile !== undefined) makeProfileFolder(flags.profile);
  const log = new Log();
  const bar = new ProgressBar();
  const write = (line: string) => {
    bar.breakLine();
    log.line(line);
  };
  outliveReaders();
  for (const line of unheardVariables()) write(line);
  const batchStore = openBatchStore(flags);
  const tracer = await openTracer(flags.otlpTracesEndpoint, write);
  const service = new Service({
    apiKey: flags.apiKey ?? null,
    adminApiKey: flags.adminApiKey ?? null,
    host: flags.uds === undefined ? flags.host : null,
    ...accessOptions(flags),
    ...answerOptions(flags),
    accessLog: flags.disableLogRequests ? null : write,
    errorLog: write,
    profileDir: flags.profile ?? null,
    tracer,
    batchStore,
    tokenizerInfo: flags.enableTokenizerInfoEndpoint ?? false,
    forceIncludeUsage: flags.enableForceIncludeUsage ?? false,
    rootPath: flags.rootPath ?? "",
    ui: flags.ui,
    maxConnections: maxConnections(flags.maxConnections),
    maxQueued: flags.maxQueuedSeqs,
    maxBodyBytes: flags.maxBodyBytes,
    maxTotalBodyBytes: flags.maxTotalBodyBytes,
    maxStoredResponses: flags.maxStoredResponses,
    maxStoredResponseBytes: flags.maxStoredResponseBytes,
    streamWriteSeconds: flags.streamWriteTimeout,
    idleSeconds: flags.timeoutKeepAlive,
  });
  // The port opens before the model loads: /health can say so, and a port in use is reported at once.
  const server = await listen(service, flags.host, flags.port, flags.uds);
  const stopping = new AbortController();
  const unhook = onSignals(stopping);
  const onProfile = () => service.profiling.toggle(service);
  process.on("SIGUSR2", onProfile);
  const unwatch = flags.stopWithStdin ? watchParent(() => stopping.abort("SIGTERM")) : () => {};
  // With --port 0 nobody knows the address yet, and /health tells how far the model is.
  log.line(`fgserve: listening on ${baseUrl(server)}`);
  let fastgen: FastgenApi | null = null;
  try {
    if (parser.args[0] === undefined) process.stderr.write(builtInNotice("fgserve"));
    fastgen = await load(parser.args[0], options, service, stopping.signal, bar, write);
    if (fastgen) {
      process.stdout.write(banner(fastgen, service.modelName, baseUrl(server), flags, KEYS[keyFrom]!));
      const hideStatus = process.stderr.isTTY ? showStatus(log, () => fastgen!.stats) : () => {};
      const failure = await Promise.race([aborted(stopping.signal), fastgen.failed]);
      hideStatus();
      await drain(service, fastgen, flags.shutdownTimeout, write);
      // The exit code tells a supervisor to start the server again.
      if (failure) throw failure;
    }
    // An interrupted start is no success, an ended server is.
    return fastgen ? 0 : exitCodeOf(stopping.signal.reason)!;
  } finally {
    unhook();
    process.off("SIGUSR2", onProfile);
    unwatch();
    await server.stop();
    await service.batches.runner.stop();
    batchStore.close();
    const traced = (await tracer?.close()) ?? true;
    const logged = await log.flush(LOG_PATIENCE);
    // A log that nobody reads, a dead collector, or a pipe that is open as standard input may keep the program alive. main.ts
    // sets the exit code before this.
    if (!logged || !traced || flags.stopWithStdin) setTimeout(() => process.exit(), 100);
  }
}

function openBatchStore({ batchDir, maxBatchBytes }: ServeFlags): BatchStore {
  return batchDir === undefined ? new BatchStore(maxBatchBytes) : BatchStore.open(batchDir, maxBatchBytes);
}

/** OpenTelemetry's SDK is loaded only where traces are wanted. */
async function openTracer(endpoint: string | undefined, log: (line: string) => void): Promise<RequestTracer | null> {
  if (endpoint === undefined) return null;
  const { otlpTracer } = await import("../routes/metrics/otlp.ts");
  return otlpTracer(endpoint, (message) => log(`fgserve: ${message}`));
}

/** The loaded model, or null if a signal came first. */
async function load(
  model: string | undefined,
  options: ReturnType<typeof loadOptions>,
  service: Service,
  signal: AbortSignal,
  bar: ProgressBar,
  log: (line: string) => void,
): Promise<FastgenApi | null> {
  const onProgress: typeof options.onProgress = (progress) => {
    service.progress = progress;
    bar.update(progress);
  };
  try {
    const onWarning = (message: string) => log(`fgserve: ${message}`);
    const fastgen = await loadModel(model, { ...options, onProgress, onWarning, signal });
    service.ready(fastgen);
    return fastgen;
  } catch (error) {
    if (signal.aborted && asFastgenError(error).kind === "aborted") return null;
    throw error;
  } finally {
    bar.end();
  }
}

function aborted(signal: AbortSignal): Promise<null> {
  if (signal.aborted) return Promise.resolve(null);
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(null), { once: true }));
}

async function drain(service: Service, fastgen: FastgenApi, seconds: number, log: (line: string) => void) {
  const { running, waiting, paused } = fastgen.stats;
  const count = running + waiting + paused;
  const patience = `for at most ${seconds} seconds; a second signal ends the server at once`;
  log(`fgserve: shutting down${count > 0 ? `; running requests may finish (sequences: ${count}), ${patience}` : ""}`);
  const finished = await service.drain(seconds);
  if (!finished) log(`fgserve: requests still running after ${seconds} seconds are cut off`);
  await service.profiling.close(fastgen);
  await fastgen.close();
  // Clients that were cut off get an error before their connections close.
  if (!finished) await service.drain(1);
}

/** The server's URL on this machine. */
function baseUrl({ url, port }: Listener): string {
  if (url.protocol === "unix:") return url.href;
  const host = ["0.0.0.0", "[::]"].includes(url.hostname) ? "127.0.0.1" : url.hostname;
  return `http://${host}:${port}`;
}

/** How a command in the same shell says the key, which is never printed: by where it came from. */
const KEYS: Record<string, string> = { cli: "KEY", env: "$FASTGEN_API_KEY", vllm: "$VLLM_API_KEY" };

/** What is served, the size of its KV cache, its address, and a first request, which says the key as `shellKey`. */
function banner(fastgen: FastgenApi, name: string, base: string, flags: ServeFlags, shellKey: string): string {
  const { model, capacity, load_seconds } = fastgen;
  const count = (value: number) => value.toLocaleString("en-US");
  const key = flags.apiKey === undefined ? "" : ` -H "Authorization: Bearer ${shellKey}"`;
  const curl = flags.uds === undefined ? `curl ${base}` : `curl --unix-socket '${flags.uds}' http://localhost`;
  const page = flags.ui && flags.uds === undefined ? "Open it in a browser for a page to chat on.\n" : "";
  const hostPages = capacity.host_pages > 0 ? `, ${count(capacity.host_pages)} more on the host` : "";
  const { data_parallel_size: engines } = capacity;
  const [many, each] = engines > 1 ? [`${engines} engines, each on `, " in each"] : ["", ""];
  return `fgserve ${VERSION}: ${name} (${model.architecture}, ${model.dtype}) on ${many}${capacity.device_name}, loaded in ${load_seconds.toFixed(1)} s
KV cache: ${count(capacity.pages * capacity.page_tokens)} tokens in ${count(capacity.pages)} pages${hostPages}${each}; up to ${count(model.max_model_len)} tokens per sequence
Ready: ${base}
${page}
  ${curl}/v1/chat/completions -H 'Content-Type: application/json'${key} \\
    -d '{"messages": [{"role": "user", "content": "Write a haiku about recursion in programming."}]}'

`;
}
