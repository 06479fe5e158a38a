/**
 * How many tokens a step takes. Matrix products are computed in tiles of tokens, so a step's time rises in stairs: a step
 * that ends a little past a tile's edge pays for a whole tile that is almost empty. Pure: numbers in, numbers out.
 */

/** Tokens in a tile. */
export const STEP_TILE = 256;
/** The fewest tokens that make the last tile worth its time. */
export const WORTH_A_TILE = Math.ceil(STEP_TILE / 3);
/** Beside decoding sequences, a step takes this share of the backlog of prompt tokens. */
const BACKLOG_SHARE = 0.45;
/** It takes at least this share of its budget, or so many tokens. */
const [LEAST_CHUNK, LEAST_CHUNK_TOKENS] = [1 / 4, 512];
/** To end at a tile's edge, a step gives up prompt tokens, but keeps at least this share of them. */
const LEAST_KEPT = 1 / 3;

/** Tokens in a tile of products with few tokens, as those of steps that only decode. */
const DECODE_TILE = 64;

/** The backlog of prompt tokens from which on a step takes as many as it can hold. */
export function backlogForAll(maxStepTokens: number): number {
  return maxStepTokens / BACKLOG_SHARE;
}

/**
 * Prompt tokens for a step in which `decodes` sequences decode. These wait longer for their next token the more prompt tokens
 * the step takes. So it takes few while the backlog is short and more as it grows, and ends at a tile's edge where that
 * leaves enough of them.
 */
export function chunkTokens(maxStepTokens: number, decodes: number, backlog: number): number {
  const least = Math.min(maxStepTokens * LEAST_CHUNK, LEAST_CHUNK_TOKENS);
  const wanted = Math.ceil(Math.max(least, backlog * BACKLOG_SHARE));
  const most = Math.min(wanted, maxStepTokens - decodes);
  const total = decodes + Math.min(most, backlog);
  const toEdge = total - (total % STEP_TILE) - decodes;
  return toEdge >= most * LEAST_KEPT ? toEdge : most;
}

/**
 * How many of `wanted` forced tokens a step takes that has `tokens` others. Each could also be computed in a later step, so they
 * fill the last tile, and open another one only where they fill half of it: decoding sequences would pay for it.
 */
export function forcedTokens(tokens: number, wanted: number): number {
  const tilesOf = (count: number) => Math.ceil(count / DECODE_TILE);
  const total = tokens + wanted;
  const inLast = total - (tilesOf(total) - 1) * DECODE_TILE;
  const opensAnother = tilesOf(total) > tilesOf(tokens);
  return opensAnother && inLast < DECODE_TILE / 2 ? wanted - inLast : wanted;
}
