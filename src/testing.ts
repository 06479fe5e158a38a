/** What tests share. */
import type { SequenceEvent } from "./engine/front.ts";
import { FastgenError } from "./errors.ts";

/** What the engine tells of a sequence that goes on, but for its token. */
export const TOKEN_EVENT: Omit<SequenceEvent, "token"> = {
  finish: "",
  logprobs: null,
  promptLogprobs: null,
  cachedTokens: null,
  start: null,
  reason: null,
  weightVersion: "0",
  time: 0,
  error: null,
};

/** Numbers from 0 to 1 that depend on `seed` alone. */
export function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** The FastgenError that a call throws; whatever else happens is thrown. */
export function failure(call: () => unknown): FastgenError {
  try {
    call();
  } catch (error) {
    if (error instanceof FastgenError) return error;
    throw error;
  }
  throw new Error("the call did not fail");
}

/**
 * The first of `count` ports in a row of this machine that nobody listens on now. They are below those that the system gives to
 * connections, which a port could go to between this call and its use.
 */
export function freePort(count = 1): number {
  for (;;) {
    const first = 20_000 + Math.floor(Math.random() * 10_000);
    if (Array.from({ length: count }, (_, i) => first + i).every(isFree)) return first;
  }
}

function isFree(port: number): boolean {
  try {
    Bun.listen({ hostname: "::", port, socket: { data() {} } }).stop(true);
    return true;
  } catch {
    return false;
  }
}
