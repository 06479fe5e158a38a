/** What holds an output to a form, from a request to what the engine needs: its grammar, and the limit of its thinking. */
import type { EngineFront } from "../engine/front.ts";
import type { EngineRequest, ThinkingBudget } from "../engine/protocol.ts";
import { FastgenError } from "../errors.ts";
import { CompiledGrammar, GrammarCompiler } from "../grammar/compiler.ts";
import { llguidancePath } from "../grammar/llguidance.ts";
import { Matcher } from "../grammar/matcher.ts";
import type { ResolvedParams } from "../params.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type { GenerateOptions, OutputGrammar, ThinkingLimit } from "../types.ts";
import type { RequestExtras } from "./request.ts";
import { StructureRules } from "./structure-rules.ts";

export interface OutputConstraint extends Pick<RequestExtras, "grammar" | "thinking"> {
  /** The grammar while it is being compiled: its requests may begin without their matchers, which giveMatchers() brings. */
  compiling: Promise<CompiledGrammar> | null;
  /** The caller calls it once it has made its matchers, or has failed to. */
  release(): void;
}

const LINE_ENDS = ["", "\n", "\n\n"];

export class OutputConstraints {
  readonly #tokenizer: Tokenizer;
  readonly #compiler: GrammarCompiler;
  readonly #rules = new StructureRules();

  /** `stopIds`: all that end the model's answers. */
  constructor(tokenizer: Tokenizer, vocabSize: number, stopIds: readonly number[]) {
    this.#tokenizer = tokenizer;
    this.#compiler = GrammarCompiler.open(tokenizer, vocabSize, [...stopIds]);
  }

  /** @throws FastgenError "invalid_request": the structure or the grammar is not supported; "overloaded", "aborted", "device". */
  async of(params: ResolvedParams, options: GenerateOptions): Promise<OutputConstraint> {
    const thinking = options.thinking ? await this.#thinking(options.thinking) : null;
    const asked = options.grammar ?? this.#structured(params);
    if (!asked) return { grammar: null, thinking, compiling: null, release() {} };
    const after = asked.after.map((text) => Int32Array.of(this.#tokenizer.tokenToId(text)!));
    // No timer, and no news of other threads, is waited for: they come after all requests that arrived together.
    const compiling = this.#compile(asked, options.signal);
    if (compiling instanceof CompiledGrammar) {
      const grammar = { newMatcher: () => compiling.newMatcher(), after };
      return { grammar, thinking, compiling: null, release: () => compiling.release() };
    }
    const release = () =>
      void compiling.then(
        (late) => late.release(),
        () => {},
      );
    return { grammar: { newMatcher: () => null, after }, thinking, compiling, release };
  }

  #compile({ source, param }: OutputGrammar, signal?: AbortSignal): CompiledGrammar | Promise<CompiledGrammar> {
    const refuse = (error: unknown): never => {
      if (!(error instanceof FastgenError) || error.kind !== "invalid_request") throw error;
      throw new FastgenError(error.kind, `${param}: ${error.message}`, { param });
    };
    try {
      const begun = this.#compiler.begin(source, signal);
      return begun instanceof CompiledGrammar ? begun : begun.catch(refuse);
    } catch (error) {
      return refuse(error);
    }
  }

  #structured({ structured_outputs: spec }: ResolvedParams): OutputGrammar | null {
    return spec && { source: { lark: this.#rules.of(spec) }, after: [], param: "structured_outputs" };
  }

  async #thinking({ budget, begin, end }: ThinkingLimit): Promise<ThinkingBudget> {
    const idsOf = (texts: string[]) => Promise.all(texts.map((text) => this.#tokenizer.encode(text, false)));
    // A line end may share a token with a mark's last character.
    const isEnd = await idsOf(LINE_ENDS.map((lines) => end + lines));
    const isBegin = begin === null ? [] : await idsOf(LINE_ENDS.map((lines) => begin + lines));
    return { budget, isBegin, end: isEnd[0]!, isEnd };
  }

  /** Makes the first grammar as quick as later ones, in the background. A build without llguidance has none. */
  prepare(): void {
    if (llguidancePath() !== null) this.#compiler.prepare();
  }

  /** Call it once the engine has ended. */
  close(): Promise<void> {
    return this.#compiler.close();
  }
}

/** Frees what the engine would have freed of requests that it did not take. */
export function freeMatchers(requests: readonly EngineRequest[]): void {
  free(requests.flatMap(({ grammar }) => grammar?.matcher ?? []));
}

/** Brings the engine the matchers of `sequences` once their grammar is compiled. @throws what the compile does. */
export async function giveMatchers(
  front: Pick<EngineFront, "giveMatchers">,
  sequences: number[],
  compiling: Promise<CompiledGrammar>,
): Promise<void> {
  const grammar = await compiling;
  const matchers = sequences.map(() => grammar.newMatcher());
  try {
    front.giveMatchers(sequences, matchers);
  } catch (error) {
    free(matchers);
    throw error;
  }
}

function free(matchers: number[]): void {
  for (const matcher of matchers) new Matcher(matcher).free();
}
