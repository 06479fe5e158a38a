/** Where fgchat's answers come from: a model loaded here, or a running server (chat-remote.ts). */
import { asFastgenError, FastgenError } from "../src/errors.ts";
import type { SamplingParams } from "../src/params.ts";
import type { ChatMessage, FastgenApi } from "../src/types.ts";

export interface Answer {
  tokens: number;
  /** abort: stopped by the caller. */
  finish: "stop" | "length" | "abort";
}

export interface ChatBackend {
  /** Tokens of the context, null where unknown. */
  readonly maxContext: number | null;
  /** False once no answer can come any more. */
  readonly alive: boolean;
  /** Streams one answer into `onText`. Aborting `signal` ends it early, without an error. Rejects with FastgenError. */
  answer(messages: ChatMessage[], signal: AbortSignal, onText: (text: string) => void): Promise<Answer>;
  close(): Promise<void>;
}

export class LocalBackend implements ChatBackend {
  readonly #fastgen: FastgenApi;
  readonly #params: SamplingParams;
  /** Settles when there is none any more. */
  readonly #profile: Promise<void> | null;

  /** @param profileDir the folder for a profile of everything until close(); null = none */
  constructor(fastgen: FastgenApi, params: SamplingParams, profileDir: string | null = null) {
    this.#fastgen = fastgen;
    this.#params = params;
    this.#profile = profileDir === null ? null : profiled(fastgen, profileDir);
  }

  get maxContext(): number {
    return this.#fastgen.model.max_model_len;
  }

  get alive(): boolean {
    return this.#fastgen.alive;
  }

  async answer(messages: ChatMessage[], signal: AbortSignal, onText: (text: string) => void): Promise<Answer> {
    let finish: Answer["finish"] = "abort";
    let tokens = 0;
    try {
      const generation = await this.#fastgen.start({ messages }, this.#params, { signal });
      for await (const chunk of generation) {
        onText(chunk.text);
        tokens += chunk.token_ids.length;
        finish = chunk.finish_reason ?? finish;
      }
    } catch (error) {
      if (!(error instanceof FastgenError && error.kind === "aborted" && signal.aborted)) throw error;
    }
    return { tokens, finish };
  }

  async close(): Promise<void> {
    this.#fastgen.stopProfile();
    await this.#profile;
    await this.#fastgen.close();
  }
}

/** Says on stderr where the profile is, or why there is none. */
async function profiled(fastgen: FastgenApi, directory: string): Promise<void> {
  const said = await fastgen.startProfile({ directory }).then(
    ({ path }) => `profile written to ${path}`,
    (error) => `no profile was written: ${asFastgenError(error).message}`,
  );
  process.stderr.write(`fgchat: ${said}\n`);
}
