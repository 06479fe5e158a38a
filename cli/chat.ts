/** fgchat: the command line of the chat. */
import { Command } from "commander";
import { FastgenError } from "../src/errors.ts";
import type { SamplingParams } from "../src/params.ts";
import { makeProfileFolder } from "../src/profile-folder.ts";
import { VERSION } from "../src/version.ts";
import { builtInNotice } from "./built-in.ts";
import { type ChatBackend, LocalBackend } from "./chat-backend.ts";
import { RemoteBackend } from "./chat-remote.ts";
import { ChatSession } from "./chat-session.ts";
import {
  addModelFlags,
  decimal,
  integer,
  loadModel,
  loadOptions,
  type ModelFlags,
  nonEmpty,
  parseFlags,
} from "./flags.ts";
import { checkSchema, readSchema } from "./json-schema.ts";
import { LineReader } from "./line-reader.ts";
import { ProgressBar } from "./progress.ts";

/** Used if neither a flag nor the model's generation_config.json says otherwise: varied answers that rarely go astray. */
const SAMPLING: SamplingParams = { temperature: 0.7, top_p: 0.95 };

interface ChatFlags extends ModelFlags {
  url?: string;
  apiKey?: string;
  system?: string;
  maxTokens?: number;
  temperature?: number;
  topP?: number;
  topK?: number;
  minP?: number;
  repetitionPenalty?: number;
  jsonSchema?: string;
  profile?: string;
}

/** fgchat's flags and its help. */
export function command(): Command {
  const { temperature, top_p } = SAMPLING;
  const command = new Command("fgchat")
    .description("Chats with a model in the terminal, loaded here or, with --url, on a running server.")
    .version(VERSION)
    .option("--url <url>", "chat with the server at this address; [model] is then its name for the model")
    .option("--api-key <key>", "key for --url (default: $FASTGEN_API_KEY or $OPENAI_API_KEY)")
    .option("--system <text>", "system prompt (default: none, or the model's own)")
    .option("--max-tokens <n>", "most tokens in one answer (default: up to the end of the context)", integer(1))
    .option(
      "--temperature <n>",
      `0 = always the most probable token (default: the model's, or ${temperature})`,
      decimal(0, 100),
    )
    .option(
      "--top-p <share>",
      `sample from the most probable tokens that make up this share of the probability (default: the model's, or ${top_p})`,
      decimal(0, 1, true),
    )
    .option("--top-k <n>", "sample from the n most probable tokens; 0 = all (default: the model's, or 0)", integer(0))
    .option(
      "--min-p <share>",
      "leave out tokens less probable than this share of the most probable one (default: the model's, or 0)",
      decimal(0, 1),
    )
    .option(
      "--repetition-penalty <n>",
      "above 1: avoid tokens that occurred before (default: the model's, or 1)",
      decimal(0, 100, true),
    )
    .option("--json-schema <file>", "answers are JSON that follows the JSON Schema in this file (default: any text)")
    .option("--profile <folder>", "write a profile of the whole chat to this folder at its end", nonEmpty);
  return addModelFlags(command);
}

/** Only what was given: a server has its own defaults. */
function sampling(flags: ChatFlags): SamplingParams {
  const params: SamplingParams = {
    max_tokens: flags.maxTokens,
    temperature: flags.temperature,
    top_p: flags.topP,
    top_k: flags.topK,
    min_p: flags.minP,
    repetition_penalty: flags.repetitionPenalty,
    structured_outputs: flags.jsonSchema === undefined ? undefined : { json: readSchema(flags.jsonSchema) },
  };
  return Object.fromEntries(Object.entries(params).filter(([, value]) => value !== undefined));
}

/** Chats until the user leaves. Resolves to the exit code. Throws FastgenError if there is no model to talk to. */
export async function run(args: string[]): Promise<number> {
  const parser = command();
  const code = parseFlags(parser, args);
  if (code !== null) return code;
  const flags = parser.opts<ChatFlags>();
  const backend = await connect(parser.args[0], flags);
  const reader = new LineReader();
  const onSignal = () => reader.interrupt();
  process.on("SIGINT", onSignal);
  // Whoever ends the program has the terminal as it was.
  for (const [signal, number] of Object.entries({ SIGHUP: 1, SIGTERM: 15 })) {
    process.on(signal, () => {
      reader.close();
      process.exit(128 + number);
    });
  }
  try {
    const session = new ChatSession({
      backend,
      reader,
      write: (text) => void process.stdout.write(text),
      isTerminal: process.stdout.isTTY === true,
      isTyped: process.stdin.isTTY === true,
      color: process.stdout.isTTY === true && !process.env.NO_COLOR,
      system: flags.system ?? null,
      maxTokens: flags.maxTokens ?? null,
    });
    return await session.run();
  } finally {
    process.off("SIGINT", onSignal);
    reader.close();
    await backend.close();
  }
}

async function connect(model: string | undefined, flags: ChatFlags): Promise<ChatBackend> {
  const params = sampling(flags);
  if (flags.url !== undefined) {
    if (flags.profile !== undefined) {
      const message = "--profile records what this program runs: with --url, start the server with it";
      throw new FastgenError("invalid_request", message);
    }
    const apiKey = flags.apiKey ?? process.env.FASTGEN_API_KEY ?? process.env.OPENAI_API_KEY ?? null;
    return RemoteBackend.connect({ url: flags.url, apiKey, model: model ?? null, params });
  }
  // A server says itself what it does not support.
  if (params.structured_outputs) checkSchema(params.structured_outputs, flags.jsonSchema!);
  if (flags.profile !== undefined) makeProfileFolder(flags.profile);
  if (model === undefined) process.stderr.write(builtInNotice("fgchat"));
  const bar = new ProgressBar();
  const fastgen = await loadModel(model, {
    ...loadOptions(flags),
    onProgress: (progress) => bar.update(progress),
    onWarning: (message) => {
      bar.breakLine();
      process.stderr.write(`fgchat: ${message}\n`);
    },
  }).finally(() => bar.end());
  // The model's own limit stays a default: it yields to the room that is left in the context.
  const { max_tokens: _, ...defaults } = fastgen.default_params;
  return new LocalBackend(fastgen, { ...SAMPLING, ...defaults, ...params }, flags.profile ?? null);
}
