/**
 * Which tokens a sequence may sample next: its allowed ids, without those that would complete one of its bad words. A mask
 * has a bit for each id, in words of 32: bit i % 32 of word i / 32 is set where id i is allowed.
 */
import type { EngineRequest } from "../protocol.ts";

/** The mask that allows `ids`, all below `vocabSize`. */
export function maskOf(ids: Iterable<number>, vocabSize: number): Uint32Array {
  const mask = new Uint32Array(Math.ceil(vocabSize / 32));
  for (const id of ids) mask[id >> 5]! |= 1 << (id & 31);
  return mask;
}

function forbid(mask: Uint32Array, id: number): void {
  mask[id >> 5]! &= ~(1 << (id & 31));
}

export class TokenMask {
  /** What is allowed whatever came before; null = every id. */
  private readonly always: Uint32Array | null;
  /** Words of several tokens. */
  private readonly words: readonly Int32Array[];
  /** Of a mask, in 32-bit words. */
  private readonly size: number;

  /** `allowed`: a mask over the vocabulary; null allows every id. Ids of `badWords` are below `vocabSize`. */
  constructor(vocabSize: number, allowed: Uint32Array | null, badWords: readonly Int32Array[]) {
    this.size = Math.ceil(vocabSize / 32);
    this.words = badWords.filter((ids) => ids.length > 1);
    const single = badWords.filter((ids) => ids.length === 1);
    this.always = single.length === 0 ? allowed : this.copy(allowed);
    for (const [id] of single) forbid(this.always!, id!);
  }

  /** The mask of a request; null where it restricts nothing. */
  static of({ allowed, badWords }: EngineRequest, vocabSize: number): TokenMask | null {
    return allowed || badWords.length > 0 ? new TokenMask(vocabSize, allowed, badWords) : null;
  }

  /** Whether it depends on the tokens before: the next one cannot be sampled while the last one is not known. */
  get needsLastToken(): boolean {
    return this.words.length > 0;
  }

  /** The mask after `outputs`, the tokens generated so far; null = every token is allowed. Not to be written to. */
  after(outputs: Int32Array): Uint32Array | null {
    let mask = this.always;
    for (const word of this.words) {
      if (!endsWith(outputs, word, word.length - 1)) continue;
      if (mask === this.always) mask = this.copy(mask);
      forbid(mask!, word.at(-1)!);
    }
    return mask;
  }

  private copy(mask: Uint32Array | null): Uint32Array {
    return mask?.slice() ?? new Uint32Array(this.size).fill(0xffffffff);
  }
}

/** Whether `tokens` ends with the first `count` ids of `word`. */
export function endsWith(tokens: Int32Array, word: Int32Array, count: number): boolean {
  const from = tokens.length - count;
  if (from < 0) return false;
  for (let i = 0; i < count; i++) if (tokens[from + i] !== word[i]) return false;
  return true;
}
