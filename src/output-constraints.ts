/** What holds an output to a form, from a request to what the engine needs: its grammar, and the limit of its thinking. */
import type { EngineRequest, ThinkingBudget } from "./engine/protocol.ts";
import { FastgenError } from "./errors.ts";
import { type CompiledGrammar, GrammarCompiler } from "./grammar/compiler.ts";
import { Matcher } from "./grammar/matcher.ts";
import type { ResolvedParams } from "./params.ts";
import type { RequestExtras } from "./request.ts";
import { structuredRules } from "./structured-outputs.ts";
import type { Tokenizer } from "./text/tokenizer.ts";
import type { GenerateOptions, OutputGrammar, ThinkingLimit } from "./types.ts";

/** The caller calls release() once it has made its engine requests, or has failed to. */
export type OutputConstraint = Pick<RequestExtras, "grammar" | "thinking"> & { release(): void };

const LINE_ENDS = ["", "\n", "\n\n"];

export class OutputConstraints {
  readonly #tokenizer: Tokenizer;
  readonly #compiler: GrammarCompiler;

  /** `stopIds`: all that end the model's answers. */
  constructor(tokenizer: Tokenizer, vocabSize: number, stopIds: readonly number[]) {
    this.#tokenizer = tokenizer;
    this.#compiler = GrammarCompiler.open(tokenizer, vocabSize, [...stopIds]);
  }

  /** @throws FastgenError "invalid_request": the structure or the grammar is not supported; "overloaded", "aborted", "device". */
  async of(params: ResolvedParams, options: GenerateOptions): Promise<OutputConstraint> {
    const thinking = options.thinking ? await this.#thinking(options.thinking) : null;
    const asked = options.grammar ?? structuredGrammar(params);
    if (!asked) return { grammar: null, thinking, release() {} };
    const compiled = await this.#compile(asked, options.signal);
    const after = asked.after.map((text) => Int32Array.of(this.#tokenizer.tokenToId(text)!));
    const grammar = { newMatcher: () => compiled.newMatcher(), after };
    return { grammar, thinking, release: () => compiled.release() };
  }

  async #compile({ source, param }: OutputGrammar, signal?: AbortSignal): Promise<CompiledGrammar> {
    try {
      return await this.#compiler.compile(source, signal);
    } catch (error) {
      if (!(error instanceof FastgenError) || error.kind !== "invalid_request") throw error;
      throw new FastgenError(error.kind, `${param}: ${error.message}`, { param });
    }
  }

  async #thinking({ budget, begin, end }: ThinkingLimit): Promise<ThinkingBudget> {
    const idsOf = (texts: string[]) => Promise.all(texts.map((text) => this.#tokenizer.encode(text, false)));
    // A line end may share a token with a mark's last character.
    const isEnd = await idsOf(LINE_ENDS.map((lines) => end + lines));
    const isBegin = begin === null ? [] : await idsOf(LINE_ENDS.map((lines) => begin + lines));
    return { budget, isBegin, end: isEnd[0]!, isEnd };
  }

  /** Call it once the engine has ended. */
  close(): Promise<void> {
    return this.#compiler.close();
  }
}

function structuredGrammar({ structured_outputs: spec }: ResolvedParams): OutputGrammar | null {
  return spec && { source: { lark: structuredRules(spec) }, after: [], param: "structured_outputs" };
}

/** Frees what the engine would have freed of requests that it did not take. */
export function freeMatchers(requests: readonly EngineRequest[]): void {
  for (const { grammar } of requests) if (grammar) new Matcher(grammar.matcher).free();
}
