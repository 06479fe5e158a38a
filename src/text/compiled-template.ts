/** One chat template, compiled: renders under its budget, and knows which contents it takes. */
import { FastgenError } from "../errors.ts";
import { MAX_REQUEST_TEMPLATE_LENGTH, MAX_TEMPLATE_LENGTH } from "../limits.ts";
import type { ChatMessage } from "../types.ts";
import type { ContentShape } from "./chat-messages.ts";
import { BudgetError } from "./jinja/budget.ts";
import { TemplateError, TemplateRefusal } from "./jinja/errors.ts";
import { JinjaTemplate } from "./jinja/template.ts";
import { turn } from "./turns.ts";

type Variables = Record<string, unknown>;

/** A text that no template writes by itself. */
export const MARK = "fgprobe";

/** Steps of a probe, which is short. */
const PROBE_STEPS = 1_000_000;

const user = (content: ChatMessage["content"]): ChatMessage => ({ role: "user", content });
const assistant = (content: ChatMessage["content"]): ChatMessage => ({ role: "assistant", content });
const parts = (text: string) => [{ type: "text", text }];

/** Conversations that every chat template should take, unless it refuses them in its own words. */
const PROBES: Record<string, ChatMessage[]> = {
  "one message": [user(MARK)],
  "a system message": [{ role: "system", content: MARK }, user(MARK)],
  "several turns": [user(MARK), assistant(MARK), user(MARK)],
};

/** A template that compares roles with this text has a place for developers. */
const DEVELOPER = /(["'])developer\1/;

/** Mistral's templates refuse ids of calls that are longer or shorter. */
const SHORT_IDS = /\|\s*length\s*!=\s*9\b/;

export class CompiledTemplate {
  /** Does the template know the role "developer"? */
  readonly takesDeveloper: boolean;
  /** Must ids of calls have 9 characters? */
  readonly needsShortIds: boolean;
  readonly #template: JinjaTemplate;
  readonly #probeVariables: Variables;
  #shape: Promise<ContentShape> | null = null;

  /**
   * @param kind of the error where it does not parse: "model", or "invalid_request" where it came with a request.
   * @param probeVariables what probes are rendered with, beside their messages.
   */
  constructor(source: string, kind: "model" | "invalid_request", probeVariables: Variables) {
    this.#probeVariables = probeVariables;
    this.takesDeveloper = DEVELOPER.test(source);
    this.needsShortIds = SHORT_IDS.test(source);
    const param = kind === "invalid_request" ? "chat_template" : null;
    const most = kind === "model" ? MAX_TEMPLATE_LENGTH : MAX_REQUEST_TEMPLATE_LENGTH;
    if (source.length > most) {
      const message = `the chat template has ${source.length} characters; at most ${most} are allowed`;
      throw new FastgenError(kind, message, { param });
    }
    try {
      this.#template = new JinjaTemplate(source);
    } catch (error) {
      if (!(error instanceof TemplateError)) throw error;
      throw new FastgenError(kind, `the chat template does not parse: ${error.message}`, { param, cause: error });
    }
  }

  /**
   * The text that the template makes of `variables`. Pauses for others every few milliseconds.
   * @throws FastgenError "invalid_request": the template refuses, in its own words; fails; or spends its budget.
   */
  async render(variables: Variables, options: { signal?: AbortSignal; maxSteps?: number } = {}): Promise<string> {
    const { signal, maxSteps } = options;
    try {
      const run = this.#template.start(variables, { maxSteps });
      for (let text = run(); ; text = run()) {
        if (text !== null) return text;
        await turn();
        if (signal?.aborted) throw new FastgenError("aborted", "the request was aborted while its prompt was made");
      }
    } catch (error) {
      throw asRequestError(error);
    }
  }

  /** How the template takes contents. Found by trying, once. */
  contentShape(): Promise<ContentShape> {
    this.#shape ??= this.#findShape();
    return this.#shape;
  }

  async #findShape(): Promise<ContentShape> {
    const prompt = await this.#probe([user(parts(`${MARK}1`)), assistant(parts(`${MARK}2`)), user(parts(`${MARK}3`))]);
    const takesParts = prompt !== null && [1, 2, 3].every((i) => isContent(prompt, `${MARK}${i}`));
    if (!takesParts) return { text: "text", parts: "text" };
    const plain = await this.#probe([user(MARK)]);
    return { text: plain?.includes(MARK) ? "text" : "parts", parts: "parts" };
  }

  /** Null where the template fails. */
  #probe(messages: ChatMessage[]): Promise<string | null> {
    return this.#renderProbe(messages).catch(() => null);
  }

  #renderProbe(messages: ChatMessage[]): Promise<string> {
    return this.render({ ...this.#probeVariables, messages }, { maxSteps: PROBE_STEPS });
  }

  /** Why the template fails on simple conversations; null where it does not. To refuse one is no failure. */
  async fault(): Promise<string | null> {
    const { text } = await this.contentShape();
    for (const [name, messages] of Object.entries(PROBES)) {
      const shaped = messages.map((message) => (text === "text" ? message : { ...message, content: parts(MARK) }));
      try {
        await this.#renderProbe(shaped);
      } catch (error) {
        const { cause, message } = error as FastgenError;
        if (!(cause instanceof TemplateRefusal)) return `${message} (tried with ${name})`;
      }
    }
    return null;
  }
}

/** Is `text` there as a content? A template that knows no parts prints them as Python's dicts. */
function isContent(prompt: string, text: string): boolean {
  return prompt.includes(text) && !prompt.includes("{'type'");
}

function asRequestError(error: unknown): unknown {
  if (error instanceof FastgenError || !(error instanceof Error)) return error;
  const failed = error instanceof TemplateError;
  const message = failed ? `the chat template failed on these messages: ${error.message}` : error.message;
  const known = failed || error instanceof TemplateRefusal || error instanceof BudgetError;
  return known ? new FastgenError("invalid_request", message, { param: "messages", cause: error }) : error;
}
