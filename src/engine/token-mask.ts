/** Which tokens a sequence may sample next: its allowed ids, without those that would complete one of its bad words. */
import type { EngineRequest } from "./protocol.ts";

function forbid(mask: Uint32Array, id: number): void {
  mask[id >> 5]! &= ~(1 << (id & 31));
}

export class TokenMask {
  /** Bit i of word i / 32 is set where token i is allowed, whatever came before. Null: all tokens are. */
  private readonly always: Uint32Array | null;
  /** Words of several tokens. */
  private readonly words: readonly Int32Array[];
  /** Of a mask, in 32-bit words. */
  private readonly size: number;

  /** Ids of `allowedIds` and `badWords` are below `vocabSize`; null allows every id. */
  constructor(vocabSize: number, allowedIds: Int32Array | null, badWords: readonly Int32Array[]) {
    this.size = Math.ceil(vocabSize / 32);
    this.words = badWords.filter((ids) => ids.length > 1);
    const single = badWords.filter((ids) => ids.length === 1);
    if (allowedIds === null && single.length === 0) {
      this.always = null;
      return;
    }
    const mask = new Uint32Array(this.size).fill(allowedIds === null ? 0xffffffff : 0);
    for (const id of allowedIds ?? []) mask[id >> 5]! |= 1 << (id & 31);
    for (const [id] of single) forbid(mask, id!);
    this.always = mask;
  }

  /** The mask of a request; null where it restricts nothing. */
  static of({ allowedIds, badWords }: EngineRequest, vocabSize: number): TokenMask | null {
    return allowedIds || badWords.length > 0 ? new TokenMask(vocabSize, allowedIds, badWords) : null;
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
      if (mask === this.always) mask = this.always?.slice() ?? new Uint32Array(this.size).fill(0xffffffff);
      forbid(mask!, word.at(-1)!);
    }
    return mask;
  }
}

/** Whether `tokens` ends with the first `count` ids of `word`. */
function endsWith(tokens: Int32Array, word: Int32Array, count: number): boolean {
  const from = tokens.length - count;
  if (from < 0) return false;
  for (let i = 0; i < count; i++) if (tokens[from + i] !== word[i]) return false;
  return true;
}
