/** How a sequence gets its next tokens, sampled or forced, and whether it ends with them. */
import { FastgenError } from "../../errors.ts";
import { FG } from "../../ffi/layout.ts";
import type { FinishReason } from "../protocol.ts";
import type { Sequence } from "./sequence.ts";

/** How a sequence ends, and what its grammar has to say about it. */
export interface Ending {
  finish: FinishReason;
  reason: string | null;
}

export const ABORT: Ending = { finish: "abort", reason: null };
export const LENGTH: Ending = { finish: "length", reason: null };
const STOP: Ending = { finish: "stop", reason: null };

const NOTHING_LEFT =
  "no token is left to sample: the grammar, allowed_token_ids, bad_words and min_tokens together exclude every one";

/** Appends a token, unless the grammar refuses it. Returns how the sequence ends here, or null. */
export function append(seq: Sequence, token: number): Ending | null {
  const { constraint, request } = seq;
  if (constraint && !constraint.accept(token, seq)) {
    return cutShort(constraint.error ?? "the grammar does not allow the token that was sampled");
  }
  seq.append(token);
  if (request.stopIds.includes(token)) return STOP;
  if (constraint?.stopped) return endOfGrammar(seq);
  return seq.outputs === request.maxTokens ? LENGTH : null;
}

/** Appends `forced`, what its constraint forces now. Returns how the sequence ends with them, or null. */
export function appendForced(seq: Sequence, forced: Int32Array): Ending | null {
  const { stopIds, minTokens } = seq.request;
  const constraint = seq.constraint!;
  const { forcesEnd } = constraint;
  for (const token of forced) {
    // Among what the grammar forces, the budget of thinking may be used up: then something else must follow.
    if (constraint.forcesEnd !== forcesEnd) break;
    // Where this is all that may come, nothing can be sampled.
    if (seq.outputs < minTokens && stopIds.includes(token)) break;
    const ending = append(seq, token);
    if (ending) return ending;
  }
  return null;
}

/** How a sequence ends before anything is sampled, or null. */
export function endsBefore(seq: Sequence): Ending | null {
  // The log probabilities of a prompt are there once it has been computed: nothing ends before.
  return seq.request.promptLogprobs < 0 ? endOfGrammar(seq) : null;
}

/** Appends what is forced before anything is sampled. Returns how the sequence ends before that, or null. */
export function begin(seq: Sequence): Ending | null {
  const { constraint } = seq;
  return constraint && (endsBefore(seq) ?? appendForced(seq, constraint.forced()));
}

/** How a sequence ends because its grammar has; null while it goes on. */
function endOfGrammar({ constraint }: Sequence): Ending | null {
  if (!constraint?.stopped) return null;
  const { error } = constraint;
  return error === null ? STOP : cutShort(error);
}

/** How a sequence ends for which nothing was sampled, for the reason `id`. Without a grammar that is an error. */
export function withoutToken({ constraint }: Sequence, id: number): Ending | FastgenError {
  const matcher = constraint?.computedBy;
  if (matcher) {
    const { error } = matcher;
    return id === FG.NO_TOKEN && error === null && matcher.accepting ? STOP : cutShort(error ?? NOTHING_LEFT);
  }
  if (constraint) {
    const reason = "no token is left to sample: allowed_token_ids, bad_words and min_tokens exclude every one";
    return new FastgenError("invalid_request", reason);
  }
  const reason = "no token could be sampled: every logit left is NaN or -inf. Are the model's weights damaged?";
  return new FastgenError("model", reason);
}

/** The end of a text that does not become whole. */
function cutShort(reason: string): Ending {
  return { finish: "length", reason };
}
