/** Log probabilities in the shape of vLLM's route for tokens: ids beside names, the token itself first among its alternatives. */
import type { PositionLogprobs, TokenLogprob } from "../../src/types.ts";
import { each, finite, type TokenNames, tokenNames } from "./logprobs.ts";
import { JsonList } from "./long-json.ts";

export interface TokenFormat {
  /** Name tokens by their texts, with their bytes, rather than as "token_id:5". */
  asText: boolean;
  /** Alternatives are the most probable tokens in order, so that their places are their ranks. */
  ranked: boolean;
}

function tokenPosition(position: PositionLogprobs, { asText, ranked }: TokenFormat, nameOf: TokenNames) {
  const token = (one: TokenLogprob, rank: number | undefined) => ({
    token: nameOf(one),
    token_id: one.id,
    logprob: finite(one.logprob),
    rank,
    ...(asText && { bytes: one.bytes }),
  });
  const own = token(position, position.rank);
  const top = [own];
  for (const [i, one] of position.top.entries()) {
    if (one.id !== position.id) top.push(token(one, ranked ? i + 1 : undefined));
  }
  return { ...own, top_logprobs: top };
}

/** For one piece of a stream. */
export function tokenLogprobs(positions: readonly PositionLogprobs[], format: TokenFormat) {
  const nameOf = tokenNames(!format.asText);
  return { content: positions.map((one) => tokenPosition(one, format, nameOf)) };
}

/** For a whole answer. */
export function longTokenLogprobs(positions: readonly PositionLogprobs[], format: TokenFormat) {
  const nameOf = tokenNames(!format.asText);
  return { content: new JsonList(each(positions, (one) => tokenPosition(one, format, nameOf))) };
}
