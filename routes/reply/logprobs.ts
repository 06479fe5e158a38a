/** Log probabilities in the three shapes that clients read: chat's, completions', and vLLM's prompt_logprobs. */
import type { PositionLogprobs, TokenLogprob } from "../../src/types.ts";
import { JsonList, JsonText } from "./long-json.ts";

/** JSON has no -Infinity; OpenAI's and vLLM's stand-in for it. */
export function finite(logprob: number): number {
  return Math.max(logprob, -9999);
}

/** How tokens are written: as text, or as "token_id:5" (return_tokens_as_token_ids), which tells all of them apart. */
export type TokenNames = (token: Pick<TokenLogprob, "id" | "token">) => string;

export function tokenNames(asIds: boolean | undefined): TokenNames {
  return asIds ? ({ id }) => `token_id:${id}` : ({ token }) => token;
}

function chatPosition(position: PositionLogprobs, nameOf: TokenNames) {
  const chatToken = (one: TokenLogprob) => ({ token: nameOf(one), logprob: finite(one.logprob), bytes: one.bytes });
  return { ...chatToken(position), top_logprobs: position.top.map(chatToken) };
}

/** For one piece of a stream. */
export function chatLogprobs(positions: readonly PositionLogprobs[], nameOf: TokenNames) {
  return { content: positions.map((position) => chatPosition(position, nameOf)), refusal: null };
}

/** For a whole answer. */
export function longChatLogprobs(positions: readonly PositionLogprobs[] | null, nameOf: TokenNames) {
  return positions && { content: new JsonList(each(positions, (one) => chatPosition(one, nameOf))), refusal: null };
}

export function* each<T>(items: Iterable<T>, make: (item: T) => unknown): Generator<unknown, void, void> {
  for (const item of items) yield make(item);
}

/** The four parallel lists of completions. */
export interface CompletionLogprobs {
  tokens: string[];
  token_logprobs: (number | null)[];
  /** Text → log probability: the alternatives and the token itself. */
  top_logprobs: (Record<string, number> | null)[];
  /** Where the token begins in the choice's text, an echoed prompt included, in characters (Unicode code points). */
  text_offset: number[];
}

/** One position for these lists. */
export interface CompletionPosition {
  token: string;
  /** null: a prompt's first token has no log probability. */
  position: PositionLogprobs | null;
  offset: number;
}

/** The entries of the lists for one position. */
const ENTRIES = {
  tokens: ({ token }: CompletionPosition) => token,
  token_logprobs: ({ position }: CompletionPosition) => position && finite(position.logprob),
  top_logprobs: ({ position }: CompletionPosition, nameOf: TokenNames) => position && topByName(position, nameOf),
  text_offset: ({ offset }: CompletionPosition) => offset,
};

/** For one piece of a stream. */
export function completionLogprobs(positions: Iterable<CompletionPosition>, nameOf: TokenNames): CompletionLogprobs {
  const out: CompletionLogprobs = { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] };
  for (const one of positions) {
    out.tokens.push(ENTRIES.tokens(one));
    out.token_logprobs.push(ENTRIES.token_logprobs(one));
    out.top_logprobs.push(ENTRIES.top_logprobs(one, nameOf));
    out.text_offset.push(ENTRIES.text_offset(one));
  }
  return out;
}

/** For a whole answer, whose positions are iterated once for each of the lists. */
export function longCompletionLogprobs(positions: Iterable<CompletionPosition>, nameOf: TokenNames) {
  const list = (entry: (one: CompletionPosition, nameOf: TokenNames) => unknown) =>
    new JsonList(each(positions, (one) => entry(one, nameOf)));
  return {
    tokens: list(ENTRIES.tokens),
    token_logprobs: list(ENTRIES.token_logprobs),
    top_logprobs: list(ENTRIES.top_logprobs),
    text_offset: list(ENTRIES.text_offset),
  };
}

function topByName(position: PositionLogprobs, nameOf: TokenNames): Record<string, number> {
  const top = Object.create(null) as Record<string, number>;
  // Different ids may have one text; the more probable one stays.
  for (const one of position.top) top[nameOf(one)] ??= finite(one.logprob);
  top[nameOf(position)] ??= finite(position.logprob);
  return top;
}

/**
 * vLLM's, by position: token id → its log probability, its rank (1 = the most probable of all tokens) and its text. The prompt's
 * own token comes first: clients read it there.
 */
export function promptLogprobs(positions: Iterable<PositionLogprobs | null>): JsonList {
  return new JsonList(each(positions, promptPosition));
}

function promptPosition(position: PositionLogprobs | null) {
  if (!position) return null;
  const own = { logprob: finite(position.logprob), rank: position.rank, decoded_token: position.token };
  const entry = (id: number, value: typeof own) => `"${id}":${JSON.stringify(value)}`;
  let entries = entry(position.id, own);
  for (const [i, { id, logprob, token }] of position.top.entries()) {
    if (id !== position.id) entries += `,${entry(id, { logprob: finite(logprob), rank: i + 1, decoded_token: token })}`;
  }
  return new JsonText(`{${entries}}`);
}
