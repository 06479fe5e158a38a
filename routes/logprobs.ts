/** Log probabilities in the three shapes that clients read: chat's, completions', and vLLM's prompt_logprobs. */
import type { PositionLogprobs, TokenLogprob } from "../src/types.ts";
import { JsonList } from "./long-json.ts";

/** JSON has no -Infinity; OpenAI's and vLLM's stand-in for it. */
function finite(logprob: number): number {
  return Math.max(logprob, -9999);
}

function chatToken({ token, logprob, bytes }: TokenLogprob) {
  return { token, logprob: finite(logprob), bytes };
}

function chatPosition(position: PositionLogprobs) {
  return { ...chatToken(position), top_logprobs: position.top.map(chatToken) };
}

/** For one piece of a stream. */
export function chatLogprobs(positions: readonly PositionLogprobs[]) {
  return { content: positions.map(chatPosition), refusal: null };
}

/** For a whole answer. */
export function longChatLogprobs(positions: readonly PositionLogprobs[] | null) {
  return positions && { content: new JsonList(each(positions, chatPosition)), refusal: null };
}

function* each<T>(items: Iterable<T>, make: (item: T) => unknown): Generator<unknown, void, void> {
  for (const item of items) yield make(item);
}

/** Parallel lists, in completions' shape. */
export interface CompletionLogprobs {
  tokens: string[];
  token_logprobs: (number | null)[];
  /** Text → log probability: the alternatives and the token itself. */
  top_logprobs: (Record<string, number> | null)[];
  /** Where the token begins, in UTF-16 code units of the choice's text, which includes an echoed prompt. */
  text_offset: number[];
}

/** Writes the lists of one choice, piece by piece and in order. */
export class CompletionLogprobsWriter {
  #offset = 0;

  /** null stands for a token that has no log probability: a prompt's first, whose text is `firstToken`. */
  write(positions: readonly (PositionLogprobs | null)[], firstToken = ""): CompletionLogprobs {
    const out: CompletionLogprobs = { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] };
    for (const position of positions) {
      const token = position?.token ?? firstToken;
      out.tokens.push(token);
      out.token_logprobs.push(position ? finite(position.logprob) : null);
      out.top_logprobs.push(position && topByText(position));
      out.text_offset.push(this.#offset);
      this.#offset += token.length;
    }
    return out;
  }
}

/** For a whole answer of some positions, which are iterated once for each of the lists. */
export function longCompletionLogprobs(positions: Iterable<PositionLogprobs | null>, firstToken = "") {
  const list = (key: keyof CompletionLogprobs) => {
    const writer = new CompletionLogprobsWriter();
    return new JsonList(each(positions, (position) => writer.write([position], firstToken)[key][0]));
  };
  return {
    tokens: list("tokens"),
    token_logprobs: list("token_logprobs"),
    top_logprobs: list("top_logprobs"),
    text_offset: list("text_offset"),
  };
}

function topByText(position: PositionLogprobs): Record<string, number> {
  const top = Object.create(null) as Record<string, number>;
  // Different ids may have one text; the more probable one stays.
  for (const { token, logprob } of position.top) top[token] ??= finite(logprob);
  top[position.token] ??= finite(position.logprob);
  return top;
}

/** vLLM's, by position: token id → its log probability, rank (1 = most probable, null = beyond the alternatives) and text. */
export function promptLogprobs(positions: Iterable<PositionLogprobs | null>): JsonList {
  return new JsonList(each(positions, promptPosition));
}

function promptPosition(position: PositionLogprobs | null) {
  if (!position) return null;
  const rank = position.top.findIndex(({ id }) => id === position.id) + 1;
  const own = { logprob: finite(position.logprob), rank: rank || null, decoded_token: position.token };
  const entries: [number, typeof own][] = [[position.id, own]];
  for (const [i, { id, logprob, token }] of position.top.entries()) {
    if (id !== position.id) entries.push([id, { logprob: finite(logprob), rank: i + 1, decoded_token: token }]);
  }
  return Object.fromEntries(entries);
}
