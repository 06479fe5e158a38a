/** The flags that all tools share: how a model is loaded, in vLLM's spelling where it has one. */
import { closeSync, existsSync, openSync, readSync } from "node:fs";
import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { isObject } from "../src/bounded-json.ts";
import { DEFAULTS } from "../src/device.ts";
import { asFastgenError, FastgenError } from "../src/errors.ts";
import { Fastgen } from "../src/fastgen.ts";
import { MAX_TEMPLATE_LENGTH } from "../src/limits.ts";
import { systemReason } from "../src/system/system-reason.ts";
import type { ChatContentFormat, Dtype, KvEventsConfig, LoadOptions, SchedulingPolicy } from "../src/types.ts";
import { inOwnFlags } from "./other-flags.ts";

/** A whole number within bounds. */
export function integer(least: number, most = Number.MAX_SAFE_INTEGER) {
  return (text: string): number => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= least && value <= most) return value;
    const range = most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`;
    throw new InvalidArgumentError(`It must be a whole number ${range}.`);
  };
}

const TOKEN_UNITS: Record<string, number> = { "": 1, k: 1000, m: 1e6, K: 1024, M: 2 ** 20 };

/** Tokens: a whole number of at least 1, or as vLLM takes it, 32k (32,000) or 32K (32,768). */
function tokens(text: string): number {
  const [, number, unit] = /^(\d+(?:\.\d+)?)([kmKM]?)$/.exec(text) ?? [];
  const value = number === undefined ? 0 : Number(number) * TOKEN_UNITS[unit!]!;
  if (Number.isSafeInteger(value) && value >= 1) return value;
  throw new InvalidArgumentError("It must be a whole number of at least 1; 32k means 32000, 32K means 32768.");
}

/** A length in tokens; -1 and auto, as in vLLM, are 0 here: the model and the memory decide. */
function lengthOrAuto(text: string): number {
  return text === "auto" || text === "-1" ? 0 : tokens(text);
}

/** A number within bounds; `above` excludes the lower one. */
export function decimal(least: number, most: number, above = false) {
  return (text: string): number => {
    const value = Number(text);
    if (text.trim() !== "" && Number.isFinite(value) && value <= most && (above ? value > least : value >= least)) {
      return value;
    }
    const from = above ? `above ${least}` : String(least);
    const unbounded = above ? from : `${least} or more`;
    const range = most === Number.POSITIVE_INFINITY ? unbounded : `${from} to ${most}`;
    throw new InvalidArgumentError(`It must be a number: ${range}.`);
  };
}

export function nonEmpty(text: string): string {
  if (text !== "") return text;
  throw new InvalidArgumentError("It must not be empty.");
}

const UNITS = ["", "k", "m", "g", "t"];

/** Bytes: "4G" is 4 GiB. */
export function bytes(text: string): number {
  const match = /^(\d+(?:\.\d+)?)([kmgt]?)(i?b)?$/i.exec(text);
  const value = match && Number(match[1]) * 1024 ** UNITS.indexOf(match[2]!.toLowerCase());
  if (value) return Math.floor(value);
  throw new InvalidArgumentError("It must be a number of bytes above 0, such as 4294967296, 512M or 4G.");
}

/** Several texts: a JSON list, as vLLM takes it, or words between commas. */
export function list(text: string): string[] {
  const words = text.trimStart().startsWith("[") ? parseJsonList(text) : text.split(",").map((word) => word.trim());
  if (words?.every((word) => typeof word === "string" && word !== "")) return words as string[];
  throw new InvalidArgumentError(`It must be a list, such as '["a", "b"]' or a,b.`);
}

/** A JSON object, such as `example`; what it may hold is checked where it is used. */
export function jsonObject(example: string) {
  return (text: string): Record<string, unknown> => {
    let value: unknown = null;
    try {
      value = JSON.parse(text);
    } catch {
      // Refused below.
    }
    if (isObject(value)) return value;
    throw new InvalidArgumentError(`It must be a JSON object, such as '${example}'.`);
  };
}

function parseJsonList(text: string): unknown[] | null {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

const DTYPES: Record<string, "auto" | Dtype> = {
  auto: "auto",
  bfloat16: "bfloat16",
  float16: "float16",
  half: "float16",
  float32: "float32",
  float: "float32",
};

/** What commander makes of the flags below. */
export interface ModelFlags {
  revision?: string;
  device: "auto" | "cpu" | "cuda";
  dtype: string;
  quantization?: "fp8";
  kvCacheDtype: "auto" | "bfloat16" | "fp8_e4m3" | "fp8";
  loadFormat: "auto" | "dummy";
  maxModelLen?: number;
  maxNumSeqs?: number;
  maxNumBatchedTokens?: number;
  enablePrefixCaching?: boolean;
  kvEventsConfig?: KvEventsConfig;
  schedulingPolicy: SchedulingPolicy;
  gpuMemoryUtilization: number;
  kvCacheMemoryBytes?: number;
  swapSpace?: number;
  kvCacheDir?: string;
  kvCacheDirSize?: number;
  tensorParallelSize?: number;
  tensorParallel?: number;
  dataParallelSize?: number;
  threads: number;
  seed: number;
  chatTemplate?: string;
  chatTemplateContentFormat: ChatContentFormat;
  generationConfig: LoadOptions["generation_config"];
  overrideGenerationConfig?: LoadOptions["override_generation_config"];
  logprobsMode: LoadOptions["logprobs_mode"];
}

/** Adds [model] and every flag of ModelFlags to a command. */
export function addModelFlags(command: Command): Command {
  const { max_num_seqs, max_num_batched_tokens, swap_space, kv_cache_memory_bytes, gpu_memory_utilization } = DEFAULTS;
  const { swap_space_of_dir, kv_cache_dir_size } = DEFAULTS;
  command.optionsGroup("Options of the model:");
  // A default that depends on the model or the device is described in words.
  const flag = (flags: string, description: string, parse?: (text: string) => unknown, fallback?: unknown) => {
    const option = new Option(flags, description);
    if (parse) option.argParser(parse);
    if (fallback !== undefined) option.default(fallback);
    command.addOption(option);
  };
  const choice = (flags: string, description: string, choices: string[]) =>
    command.addOption(new Option(flags, description).choices(choices).default(choices[0]));

  command.argument("[model]", 'a Hugging Face model directory, or "org/name" on the hub (default: the built-in model)');
  flag("--revision <name>", "branch, tag or commit of a hub model (default: main)");
  choice("--device <name>", "where to run; auto = a GPU if there is one", ["auto", "cpu", "cuda"]);
  choice(
    "--dtype <name>",
    "precision of activations and KV cache; auto = the checkpoint's, on a GPU bfloat16",
    Object.keys(DTYPES),
  );
  command.addOption(
    new Option(
      "--quantization <name>",
      "quantise the linear layers of a checkpoint while it loads, but for those of less than 2^20 weights, which gain nothing " +
        "(default: as the checkpoint is)",
    ).choices(["fp8"]),
  );
  choice("--kv-cache-dtype <name>", "precision of the KV cache; auto = as --dtype; FP8 holds twice the tokens", [
    "auto",
    "bfloat16",
    "fp8_e4m3",
    "fp8",
  ]);
  choice("--load-format <name>", "dummy = random weights of the model's shape", ["auto", "dummy"]);
  flag(
    "--max-model-len <tokens>",
    "most tokens in one sequence, prompt and output together (default: the model's context, or what fits)",
    lengthOrAuto,
  );
  const byDevice = ({ cuda, cpu }: { cuda: number; cpu: number }) => `default: ${cuda} on a GPU, ${cpu} on the CPU`;
  flag("--max-num-seqs <n>", `most sequences that run at once (${byDevice(max_num_seqs)})`, integer(1));
  const { cuda, cudaFp8, cpu } = max_num_batched_tokens;
  flag(
    "--max-num-batched-tokens <n>",
    `most tokens in one step (default: ${cuda} on a GPU, ${cudaFp8} there with FP8 weights, ${cpu} on the CPU)`,
    tokens,
  );
  flag("--enable-prefix-caching", "reuse the KV cache of prompts that begin alike (default: on)");
  flag("--no-enable-prefix-caching", "compute every prompt in full");
  flag(
    "--kv-events-config <json>",
    "publish what becomes of cached KV pages over ZeroMQ, for routers: '{\"enable_kv_cache_events\": true}', with vLLM's fields (default: nothing is published)",
    jsonObject('{"enable_kv_cache_events": true}'),
  );
  choice("--scheduling-policy <name>", "who runs first: who came first, or requests with a lower priority number", [
    "fcfs",
    "priority",
  ]);
  flag(
    "--gpu-memory-utilization <share>",
    "share of each GPU's memory to use",
    decimal(0, 1, true),
    gpu_memory_utilization,
  );
  flag(
    "--kv-cache-memory-bytes <bytes>",
    `size of the KV cache, such as 4G, on each GPU, or of each engine on the CPU (default: what is left of the GPU's share; on the CPU the lesser of ${kv_cache_memory_bytes / 2 ** 30}G and a quarter of the free memory, for all engines together)`,
    bytes,
  );
  flag(
    "--swap-space <GiB>",
    `host memory per GPU for KV pages evicted from it (default: ${swap_space.cuda}, at most a quarter of the free memory in all; ${swap_space.cpu} on the CPU, ${swap_space_of_dir} with --kv-cache-dir)`,
    decimal(0, Number.POSITIVE_INFINITY),
  );
  flag("--kv-cache-dir <folder>", "a folder where KV pages are kept for the next start (default: none)");
  flag(
    "--kv-cache-dir-size <GiB>",
    `size of the pages in --kv-cache-dir, for each engine that uses it (default: ${kv_cache_dir_size})`,
    decimal(0, Number.POSITIVE_INFINITY, true),
  );
  flag("--tensor-parallel-size <n>", "GPUs to split the model over; also --tensor-parallel (default: 1)", integer(1));
  command.addOption(new Option("--tensor-parallel <n>").argParser(integer(1)).hideHelp());
  flag(
    "--data-parallel-size <n>",
    "engines, each with all of the model, on GPUs of its own or with its share of the CPU's threads (default: 1)",
    integer(1),
  );
  flag("--threads <n>", "CPU threads of all engines together; 0 = one per core", integer(0), 0);
  flag("--seed <n>", "seed of the random weights of --load-format dummy", integer(0), 0);
  flag("--chat-template <file or text>", "a Jinja chat template (default: the model's own)");
  choice("--chat-template-content-format <name>", "how the template gets contents; auto = as it takes them", [
    "auto",
    "string",
    "openai",
  ]);
  choice(
    "--generation-config <name>",
    "sampling defaults of requests: auto = those of the model's generation_config.json; vllm = the API's own",
    ["auto", "vllm"],
  );
  flag(
    "--override-generation-config <json>",
    "sampling defaults in place of these, such as '{\"temperature\": 0.5}'; also top_p, top_k, min_p, repetition_penalty and max_new_tokens (default: none)",
    jsonObject('{"temperature": 0.5}'),
  );
  choice("--logprobs-mode <name>", "what log probabilities are of where a request has no logprobs_mode", [
    "raw_logprobs",
    "processed_logprobs",
  ]);
  return command;
}

/** The flags as load options. Reads the template's file. Throws FastgenError "invalid_request". */
export function loadOptions(flags: ModelFlags): LoadOptions {
  const { chatTemplate } = flags;
  return {
    revision: flags.revision,
    device: flags.device,
    dtype: DTYPES[flags.dtype],
    quantization: flags.quantization,
    kv_cache_dtype: flags.kvCacheDtype,
    load_format: flags.loadFormat,
    max_model_len: flags.maxModelLen || undefined,
    max_num_seqs: flags.maxNumSeqs,
    max_num_batched_tokens: flags.maxNumBatchedTokens,
    enable_prefix_caching: flags.enablePrefixCaching,
    kv_events_config: flags.kvEventsConfig,
    scheduling_policy: flags.schedulingPolicy,
    gpu_memory_utilization: flags.gpuMemoryUtilization,
    kv_cache_memory_bytes: flags.kvCacheMemoryBytes,
    swap_space: flags.swapSpace,
    kv_cache_dir: flags.kvCacheDir,
    kv_cache_dir_size: flags.kvCacheDirSize,
    tensor_parallel_size: flags.tensorParallelSize ?? flags.tensorParallel,
    data_parallel_size: flags.dataParallelSize,
    threads: flags.threads,
    seed: flags.seed,
    chat_template: chatTemplate === undefined ? undefined : readTemplate(chatTemplate),
    chat_template_content_format: flags.chatTemplateContentFormat,
    generation_config: flags.generationConfig,
    override_generation_config: flags.overrideGenerationConfig,
    logprobs_mode: flags.logprobsMode,
  };
}

/** Each load option with its flag: max_model_len → --max-model-len. */
const FLAGS = new Map(
  addModelFlags(new Command()).options.map(({ long }) => [long!.slice(2).replaceAll("-", "_"), long!]),
);

/**
 * An error of the library in the words of the command line. Names of options become flags where they cannot be mistaken:
 * at the start, if the error is about that option, and elsewhere those with an underscore, except in a path, in a file's name
 * and where it is a key of a file.
 */
export function withFlags(error: FastgenError): FastgenError {
  const { kind, message, param, code, cause } = error;
  // A bug is reported as it is, with its stack.
  if (kind === "internal") return error;
  const first = message.split(" ", 1)[0]!;
  const [name] = /^\w*/.exec(first)!;
  const isAbout = param === name || param?.startsWith(`${name}.`);
  const start = isAbout ? first.replace(name, FLAGS.get(name) ?? name) : first;
  const rest = message
    .replace(/(?<![\w/.-]|\.json: )[a-z]+(?:_[a-z]+)+(?![\w/-]|\.\w)/g, (word, at: number) =>
      at < first.length ? word : (FLAGS.get(word) ?? word),
    )
    .slice(first.length)
    // The one that has a value and no underscore.
    .replace(" quantization fp8", " --quantization fp8");
  return new FastgenError(kind, start + rest, { param, code, cause });
}

/** Fastgen.load, whose errors and warnings name flags. */
export async function loadModel(model: string | undefined, options: LoadOptions): Promise<Fastgen> {
  // Like an error, a warning may begin with the option that it is about.
  const about = (message: string) => ({ param: /^[a-z]+(?:_[a-z]+)+/.exec(message)?.[0] });
  const onWarning = (message: string) =>
    options.onWarning?.(withFlags(new FastgenError("device", message, about(message))).message);
  try {
    return await Fastgen.load(model, { ...options, onWarning });
  } catch (error) {
    throw withFlags(asFastgenError(error));
  }
}

/** The first `most` bytes of a file, a pipe or a device. */
function readStart(path: string, most: number): Buffer {
  const bytes = Buffer.alloc(most);
  const file = openSync(path, "r");
  let length = 0;
  try {
    for (let read = -1; read !== 0 && length < most; length += read)
      read = readSync(file, bytes, length, most - length, null);
  } finally {
    closeSync(file);
  }
  return bytes.subarray(0, length);
}

/** A template's text: the argument itself if it contains Jinja, else the content of the file that it names. */
function readTemplate(argument: string): string {
  const isText = /\{[{%#]/.test(argument);
  if (!isText && !existsSync(argument)) {
    throw new FastgenError(
      "invalid_request",
      `--chat-template: there is no file '${argument}', and it is not a template either: it contains no {{ }}, {% %} or {# #}`,
    );
  }
  let text = argument;
  try {
    // A character has at most 4 bytes; a device may have bytes without end.
    if (!isText) text = readStart(argument, 4 * MAX_TEMPLATE_LENGTH + 1).toString("utf8");
  } catch (error) {
    const why = systemReason(error, argument);
    throw new FastgenError("invalid_request", `--chat-template: '${argument}' cannot be read: ${why}`);
  }
  if (text.length <= MAX_TEMPLATE_LENGTH) return text;
  const has = `has more than the ${MAX_TEMPLATE_LENGTH} characters that are allowed`;
  throw new FastgenError("invalid_request", `--chat-template: ${isText ? "the template" : `'${argument}'`} ${has}`);
}

/**
 * Parses a command line, also in the words of vLLM, SGLang or llama-server. Returns null if there is something to run, else the
 * exit code: 0 after --help or --version, 2 after an error, which commander has written to stderr together with the closest
 * flag that exists.
 */
export function parseFlags(command: Command, args: string[]): number | null {
  try {
    const help = `${command.name()} --help lists the arguments and flags`;
    command.exitOverride().showHelpAfterError(help);
    const { args: own, without, refused } = inOwnFlags(command, args);
    if (refused !== null) command.error(`error: ${refused}`);
    command.parse(own, { from: "user" });
    const note = (text: string) => command.configureOutput().writeErr?.(`${command.name()}: ${text}\n`);
    if (without.length > 0) note(`nothing depends on ${without.join(", ")} here`);
    // With vLLM it is that of sampling.
    if (command.getOptionValueSource("seed") === "cli" && command.getOptionValue("loadFormat") !== "dummy") {
      note("--seed does nothing without --load-format dummy; the field seed of a request makes its answer repeatable");
    }
    return null;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    throw error;
  }
}
