/** The fake library's model in TypeScript, and what a request must generate with it when it runs alone: for tests. */
import type { SlotFill } from "../../ffi/step-plan.ts";
import type { EngineRequest } from "../protocol.ts";
import { type FakeState, grammarOf, STOPPED } from "./fake-grammar.ts";

/** The fake model: the token that follows `tokens[0, length)` when nothing is asked for. */
export function nextToken(tokens: ArrayLike<number>, length: number, seed: bigint, vocabSize: number) {
  let hash = Number(BigInt.asUintN(32, seed)) | 0;
  for (let i = 0; i < length; i++) hash = mix(hash, tokens[i]!);
  return (hash >>> 0) % vocabSize;
}

/** Stop ids are held back below minContext. */
export function isHeldBack(fill: Pick<SlotFill, "stopIds" | "minContext">, length: number, id: number): boolean {
  return length < fill.minContext && fill.stopIds.includes(id);
}

/** A penalty makes the token depend on the history, so that a wrong history shows. */
export function penalised(token: number, history: readonly number[] | null, vocabSize: number): number {
  return history === null ? token : (token + history.reduce((sum, id) => sum + id, 0)) % vocabSize;
}

function mix(hash: number, value: number): number {
  return Math.imul(hash ^ (value + 0x9e3779b9), 0x85ebca6b) ^ (hash >>> 13);
}

/** The next token that a mask allows; -1 when it allows none. */
export function allowed(token: number, vocabSize: number, isAllowed: (id: number) => boolean): number {
  for (let i = 0; i < vocabSize; i++) if (isAllowed((token + i) % vocabSize)) return (token + i) % vocabSize;
  return -1;
}

/** Whether a request may generate `id` after `tokens`, of which the first are its prompt. */
function mayFollow({ prompt, allowed, badWords }: EngineRequest, tokens: readonly number[], id: number): boolean {
  if (allowed && !hasBit(allowed, id)) return false;
  const text = [...tokens.slice(prompt.length), id].join(" ");
  return !badWords.some((word) => ` ${text}`.endsWith(` ${word.join(" ")}`));
}

/** Log probability of `token` after `length` tokens. Any function of both will do. */
export function logprob(token: number, length: number): number {
  return -token - length / 1024;
}

/** What is left to sample after `tokens` by the request's sampling parameters alone; -1 = nothing. */
function expectedToken(request: EngineRequest, tokens: number[], vocabSize: number, mayCome: (id: number) => boolean) {
  const fill = { stopIds: request.stopIds, minContext: request.prompt.length + request.minTokens };
  const history = request.sampling.presencePenalty !== 0 ? tokens : null;
  const free = penalised(nextToken(tokens, tokens.length, request.sampling.seed, vocabSize), history, vocabSize);
  const isLeft = (id: number) => mayFollow(request, tokens, id) && !isHeldBack(fill, tokens.length, id) && mayCome(id);
  return allowed(free, vocabSize, isLeft);
}

export interface Expected {
  tokens: number[];
  finish: "stop" | "length" | "error";
  /** Whether the grammar is why it ended before its text was whole. */
  fails: boolean;
}

/** What a request must generate: token by token, without engine, pages or anything forced. */
export function expectedOutput(request: EngineRequest, vocabSize: number): Expected {
  const { maxTokens, stopIds } = request;
  const grammar = request.grammar && grammarOf(request.grammar.matcher!);
  const all = [...request.prompt];
  const tokens: number[] = [];
  const after = (words: readonly Int32Array[]) => words.some((word) => endsWith(tokens, word));
  let state: FakeState | undefined = request.grammar?.after.length === 0 ? grammar!.states[0] : undefined;
  let { thinking } = request;
  let from = thinking?.isBegin.length === 0 ? 0 : -1;
  let end: number[] = [];
  const ended = (finish: Expected["finish"], fails = false) => ({ tokens, finish, fails });
  if (maxTokens === 0) return ended("length");
  const isEnding = (id: number) => state?.accepting === true && grammar!.stopIds.includes(id);
  const mayCome = (id: number) => !state || state.next.has(id) || isEnding(id);
  for (;;) {
    if (thinking && from >= 0 && tokens.length >= from + thinking.budget) {
      const first = thinking.end[0];
      if (state?.maskFails && first !== undefined) return ended("length", true);
      if (!state) {
        end = [...thinking.end];
        if (first === undefined) state = grammar?.states[0];
      } else if (first !== undefined && !state.breaks && mayCome(first)) end = [...thinking.end];
      thinking = null;
    }
    if (state?.breaks) return ended("length", true);
    if (state?.stopped) return ended("stop");
    if (tokens.length === maxTokens) return ended("length");
    if (state?.maskFails && end.length === 0) return ended("length", true);
    const token = end[0] ?? expectedToken(request, all, vocabSize, mayCome);
    if (token < 0 && !state) return ended("error");
    if (token < 0) return state!.accepting ? ended("stop") : ended("length", true);
    if (state?.refuses || !mayCome(token)) return ended("length", true);
    tokens.push(token);
    all.push(token);
    if (stopIds.includes(token)) return ended("stop");
    const [isForced, held] = [end.length > 0, state !== undefined];
    end.shift();
    if (state) state = isEnding(token) ? STOPPED : grammar!.states[state.next.get(token)!];
    else if (isForced && end.length === 0) state = grammar?.states[0];
    if (isForced) continue;
    if (!held && grammar && after(request.grammar!.after)) {
      thinking = null;
      state = grammar.states[0];
    } else if (thinking && from >= 0) {
      if (after(thinking.isEnd)) thinking = null;
    } else if (thinking?.isBegin.some((word) => tokens.length <= word.length + 1 && endsWith(tokens, word))) {
      from = tokens.length;
    }
  }
}

function endsWith(tokens: readonly number[], word: Int32Array): boolean {
  return ` ${tokens.join(" ")}`.endsWith(` ${word.join(" ")}`);
}

/** What a request with promptLogprobs must get, for every prompt token but the first. */
export function expectedPromptLogprobs(request: EngineRequest): { ids: number[]; logprobs: number[] } {
  const ids = [...request.prompt.subarray(1)];
  return { ids, logprobs: ids.map((id, i) => Math.fround(logprob(id, i + 1))) };
}

export function expectedLogprob(token: number, length: number): number {
  return Math.fround(logprob(token, length));
}

/** Of every row that asks for log probabilities. */
export function expectedRank(token: number): number {
  return 1 + (token % 5);
}

export function hasBit(mask: Uint32Array, id: number): boolean {
  return ((mask[id >> 5]! >>> (id & 31)) & 1) === 1;
}
