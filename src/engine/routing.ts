/** Which of several engines gets a request. */

/**
 * Tokens of load that one token found in a cache outweighs. Computing a token of a prompt takes an H100 about 25 µs; a token
 * more beside it costs a sequence 0.04 µs in each of its steps, 8 µs in 200. Three would be even for the sequence itself. More
 * than that, since what is computed twice is lost for everybody, and loads differ by chance.
 */
const CACHED_TOKEN_WEIGHT = 8;

/** An engine as one request sees it. */
export interface Candidate {
  /** Tokens of the sequences that it has: of prompts, and generated so far. */
  load: number;
  /** Tokens of the request's prompt that its cache holds. */
  cachedTokens: number;
}

/**
 * The index of the one to take: where most of the prompt is cached, unless others have so much less to do that it is worth
 * computing again. Of equals, the one with less load, then the first behind `last`, the one that was taken before.
 */
export function route(candidates: readonly Candidate[], last: number): number {
  const n = candidates.length;
  const cost = ({ load, cachedTokens }: Candidate) => load - CACHED_TOKEN_WEIGHT * cachedTokens;
  let best = (last + 1) % n;
  for (let i = 2; i <= n; i++) {
    const at = (last + i) % n;
    const [one, other] = [candidates[at]!, candidates[best]!];
    const less = cost(one) - cost(other) || one.load - other.load;
    if (less < 0) best = at;
  }
  return best;
}
