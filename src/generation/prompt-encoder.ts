/** From a prompt in any of its forms to token ids. */
import { FastgenError } from "../errors.ts";
import { checkPrompt, checkTextLength, type ModelLimits, mostCharacters } from "../request/request.ts";
import type { ChatTemplate } from "../text/chat-template.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type { Conversation, GenerateOptions, Prompt, RenderedPrompt } from "../types.ts";

function isConversation(prompt: Prompt): prompt is Conversation {
  return typeof prompt === "object" && "messages" in prompt;
}

function isRendered(prompt: Prompt): prompt is RenderedPrompt {
  return typeof prompt === "object" && "rendered" in prompt;
}

/** The request field that a prompt's error names. */
export function promptField(prompt: Prompt): string {
  return isConversation(prompt) || isRendered(prompt) ? "messages" : "prompt";
}

/** Which part of a prompt's ids is used: the first `most`, or the last. */
interface Part {
  most: number;
  fromStart: boolean;
  /** Ids from the start that suffice; null where the last ones count, or all do. */
  enough: number | null;
}

/** truncate_prompt_tokens, where -1 stands for `room`. Throws FastgenError "invalid_request". */
function usedPart(options: GenerateOptions, room: number, enough: number | null): Part {
  const { truncate_prompt_tokens: wanted, truncation_side } = options;
  const fromStart = truncation_side === "right";
  const part = (most: number) => ({ most, fromStart, enough: fromStart ? most : null });
  if (wanted === undefined) return { most: Number.POSITIVE_INFINITY, fromStart, enough };
  if (wanted === -1) return part(Math.max(room, 1));
  if (Number.isInteger(wanted) && wanted > 0) return part(wanted);
  const message = `truncate_prompt_tokens must be a whole number above 0, or -1, not ${wanted}`;
  throw new FastgenError("invalid_request", message, { param: "truncate_prompt_tokens" });
}

export class PromptEncoder {
  constructor(
    private readonly template: ChatTemplate,
    private readonly tokenizer: Tokenizer,
    private readonly limits: ModelLimits,
  ) {}

  /**
   * The ids of `prompt`, cut to truncate_prompt_tokens, where -1 stands for `room`; and whether they are all of them.
   * @param enough ids: of a text that has more there need not be all. null = all are wanted.
   * @throws FastgenError "invalid_request", "aborted".
   */
  async encode(
    prompt: Prompt,
    options: GenerateOptions,
    room: number,
    enough: number | null,
  ): Promise<{ ids: Int32Array; isWhole: boolean }> {
    const part = usedPart(options, room, enough);
    const all = await this.allIds(prompt, options, part);
    // Nothing can be generated from nothing, but its tokens can be counted.
    if (all.length === 0 && enough === null) return { ids: new Int32Array(0), isWhole: true };
    const ids = checkPrompt(all, this.limits, promptField(prompt));
    if (ids.length <= part.most) return { ids, isWhole: true };
    return { ids: part.fromStart ? ids.slice(0, part.most) : ids.slice(-part.most), isWhole: false };
  }

  private async allIds(prompt: Prompt, options: GenerateOptions, part: Part) {
    const { signal, add_special_tokens } = options;
    if (typeof prompt === "string") return this.textIds(prompt, add_special_tokens ?? true, part, "prompt", signal);
    if (!isConversation(prompt) && !isRendered(prompt)) return prompt;
    const { rendered } = isRendered(prompt) ? prompt : await this.render(prompt, signal);
    // The template writes the special tokens itself.
    return this.textIds(rendered, add_special_tokens ?? false, part, "messages", signal);
  }

  /** @throws FastgenError "invalid_request": the template refuses the conversation; "aborted". */
  async render({ messages, ...chat }: Conversation, signal?: AbortSignal): Promise<RenderedPrompt> {
    return { rendered: await this.template.render(messages, chat, signal) };
  }

  /** Of a text far longer than the part that is used, no more is tokenised than that part can need. */
  private textIds(whole: string, addSpecialTokens: boolean, part: Part, field: string, signal?: AbortSignal) {
    const { tokenizer, limits } = this;
    const { most, fromStart, enough } = part;
    const characters = mostCharacters(most, tokenizer.longestToken);
    const text = fromStart ? whole.slice(0, characters) : whole.slice(-characters);
    checkTextLength(text, tokenizer.longestToken, limits, field);
    return tokenizer.encode(text, addSpecialTokens, { signal, most: enough ?? undefined });
  }
}

/** The ids of special tokens that go by these texts. Texts that are no special token's have none. */
export function specialIds(texts: readonly string[], tokenizer: Tokenizer): Set<number> {
  return new Set(specialStops(texts, tokenizer).keys());
}

/** Stop strings that are a special token's text, by its id: such a token is left out of the text where they are looked for. */
export function specialStops(stops: readonly string[], tokenizer: Tokenizer): Map<number, string> {
  const byId = new Map<number, string>();
  for (const stop of stops) {
    const id = tokenizer.tokenToId(stop);
    if (id !== null && tokenizer.isSpecial(id)) byId.set(id, stop);
  }
  return byId;
}
