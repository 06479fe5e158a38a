/**
 * Token ids → text, as the ids come. What is returned never ends within a character: the first bytes of one are held back
 * until the rest arrives, and become U+FFFD only when they turn out not to be UTF-8. Well under a microsecond per token.
 */
import type { TokenTable } from "./token-table.ts";

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/**
 * Bytes at the end of b[0 .. length) that may yet become a character: 0 to 3. They start with a lead byte, so text cut
 * before them decodes to the same as text left whole.
 */
export function incompleteSuffix(b: Uint8Array, length: number): number {
  for (let n = 1; n <= 3 && n <= length; n++) {
    const lead = b[length - n]!;
    if (lead < 0x80) return 0;
    if (lead < 0xc0) continue;
    const width = lead < 0xc2 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 1;
    if (width <= n) return 0;
    if (n === 1) return 1;
    // The second byte excludes overlong forms, surrogates and code points past U+10FFFF.
    const second = b[length - n + 1]!;
    if (lead === 0xe0 && second < 0xa0) return 0;
    if (lead === 0xed && second > 0x9f) return 0;
    if (lead === 0xf0 && second < 0x90) return 0;
    if (lead === 0xf4 && second > 0x8f) return 0;
    return n;
  }
  return 0;
}

/** Text of every id whose bytes end on a character boundary, null for the others; filled in as ids are met. */
const textCaches = new WeakMap<TokenTable, (string | null | undefined)[]>();

function textCache(table: TokenTable): (string | null | undefined)[] {
  let cache = textCaches.get(table);
  if (!cache) {
    cache = new Array<string | null | undefined>(table.size).fill(undefined);
    textCaches.set(table, cache);
  }
  return cache;
}

export function tokenBytes(table: TokenTable, id: number): Uint8Array {
  if (!(id >= 0 && id < table.size)) return new Uint8Array(0);
  return table.bytes.subarray(table.offsets[id]!, table.offsets[id + 1]!);
}

export interface DetokenizerOptions {
  /** Leave special tokens out; default true. */
  skipSpecialTokens?: boolean;
  /** Special tokens that are shown all the same. */
  shownIds?: ReadonlySet<number>;
  /**
   * The ids are a whole text, not the continuation of one; default false. Decoders that remove the space which the
   * tokenizer put before a text (Llama 2, Mistral v0.3) do so only then.
   */
  wholeText?: boolean;
}

const NONE: ReadonlySet<number> = new Set();

export class Detokenizer {
  readonly #table: TokenTable;
  readonly #texts: (string | null | undefined)[];
  readonly #skipSpecial: boolean;
  readonly #shown: ReadonlySet<number>;
  #pending = new Uint8Array(0);
  /** Is the first byte of a whole text still to come? */
  #atStart: boolean;
  #toStrip: number;

  constructor(table: TokenTable, options: DetokenizerOptions = {}) {
    this.#table = table;
    this.#texts = textCache(table);
    this.#skipSpecial = options.skipSpecialTokens ?? true;
    this.#shown = options.shownIds ?? NONE;
    this.#atStart = (options.wholeText ?? false) && table.start.kind !== "keep";
    this.#toStrip = table.start.kind === "strip" ? table.start.count : 0;
  }

  /** The text that these ids complete. Ids outside the vocabulary have none. */
  push(ids: ArrayLike<number>): string {
    let text = "";
    for (let i = 0; i < ids.length; i++) text += this.pushOne(ids[i]!);
    return text;
  }

  pushOne(id: number): string {
    const table = this.#table;
    if (!(id >= 0 && id < table.size)) return "";
    if (this.#skips(id)) return "";
    if (this.#atStart) return this.#append(this.#startBytes(id));
    if (this.#pending.length === 0) {
      let text = this.#texts[id];
      if (text === undefined) {
        const bytes = tokenBytes(table, id);
        text = incompleteSuffix(bytes, bytes.length) === 0 ? decoder.decode(bytes) : null;
        this.#texts[id] = text;
      }
      if (text !== null) return text;
    }
    return this.#append(tokenBytes(table, id));
  }

  /** Whether what is held back is no UTF-8 if `id` comes next: U+FFFD stands for it then, before the token's own text. */
  breaksOff(id: number): boolean {
    if (this.#pending.length === 0 || this.#skips(id)) return false;
    const [first] = tokenBytes(this.#table, id);
    return first !== undefined && (first < 0x80 || first > 0xbf);
  }

  /** What is held back, as U+FFFD: the text ends here. */
  flush(): string {
    const text = decoder.decode(this.#pending);
    this.#pending = new Uint8Array(0);
    return text;
  }

  #skips(id: number): boolean {
    return this.#skipSpecial && this.#table.special[id] === 1 && !this.#shown.has(id);
  }

  #append(bytes: Uint8Array): string {
    let all = bytes;
    if (this.#pending.length > 0) {
      all = new Uint8Array(this.#pending.length + bytes.length);
      all.set(this.#pending);
      all.set(bytes, this.#pending.length);
    }
    const end = all.length - incompleteSuffix(all, all.length);
    this.#pending = all.slice(end);
    return decoder.decode(all.subarray(0, end));
  }

  #startBytes(id: number): Uint8Array {
    const { start, tokens } = this.#table;
    const bytes = tokenBytes(this.#table, id);
    if (start.kind === "metaspace") {
      this.#atStart = false;
      const token = tokens[id];
      return token === undefined ? bytes : new TextEncoder().encode(token.replaceAll(start.replacement, ""));
    }
    let cut = 0;
    if (start.kind === "strip") {
      while (this.#toStrip > 0 && cut < bytes.length && bytes[cut] === start.byte) {
        cut++;
        this.#toStrip--;
      }
    }
    if (cut < bytes.length || this.#toStrip === 0) this.#atStart = false;
    return bytes.subarray(cut);
  }
}

/** All ids at once. */
export function detokenize(table: TokenTable, ids: ArrayLike<number>, options: DetokenizerOptions = {}): string {
  const detokenizer = new Detokenizer(table, options);
  return detokenizer.push(ids) + detokenizer.flush();
}
