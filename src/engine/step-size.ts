/**
 * How many tokens a step takes in. Matrix products are made in tiles of tokens, so that a step's time rises in stairs: one
 * that ends a little past a tile's edge pays for a whole tile that is almost empty. Pure: numbers in, numbers out.
 */

/** Tokens in a tile. */
export const STEP_TILE = 256;
/** Tokens in the last tile from which on it is worth its time. */
export const WORTH_A_TILE = Math.ceil(STEP_TILE / 3);
/** A step beside decoding sequences takes this share of the prompt tokens to compute, and at least that of its budget. */
const [BACKLOG_SHARE, LEAST_CHUNK] = [0.45, 1 / 4];
/** To end at a tile's edge, a step gives up prompt tokens as long as it keeps this share of them. */
const LEAST_KEPT = 1 / 3;

/** Prompt tokens to compute from which on a step takes all that it can hold. */
export function backlogForAll(maxStepTokens: number): number {
  return maxStepTokens / BACKLOG_SHARE;
}

/**
 * Prompt tokens for a step in which `decodes` sequences decode, who wait that much longer for their next token: few while
 * few are to be computed, the more the longer the backlog, and up to a tile's edge where that leaves enough of them.
 */
export function chunkTokens(maxStepTokens: number, decodes: number, backlog: number): number {
  const wanted = Math.ceil(Math.max(maxStepTokens * LEAST_CHUNK, backlog * BACKLOG_SHARE));
  const most = Math.min(wanted, maxStepTokens - decodes);
  const total = decodes + Math.min(most, backlog);
  const toEdge = total - (total % STEP_TILE) - decodes;
  return toEdge >= most * LEAST_KEPT ? toEdge : most;
}
