/**
 * A model's tokenizer: `tokenizers` (the Rust library, as a native addon) turns text into ids on a thread of its own; a
 * table (token-table.ts) turns ids into text at once.
 */
import type { Tokenizer as NativeTokenizer } from "tokenizers";
import { FastgenError } from "../errors.ts";
import type { ModelFiles } from "../model/shape.ts";
import { Detokenizer, type DetokenizerOptions, detokenize, tokenBytes } from "./detokenizer.ts";
import { nativeTokenizers } from "./native-tokenizers.ts";
import { buildTokenTable, type TokenTable } from "./token-table.ts";

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

export class Tokenizer {
  readonly #native: NativeTokenizer;
  readonly table: TokenTable;
  /** Bytes of the longest token. */
  readonly longestToken: number;

  private constructor(native: NativeTokenizer, table: TokenTable) {
    this.#native = native;
    this.table = table;
    const { offsets, size } = table;
    let longest = 0;
    for (let id = 0; id < size; id++) longest = Math.max(longest, offsets[id + 1]! - offsets[id]!);
    this.longestToken = longest;
  }

  /**
   * Builds the tokenizer and checks its table against `tokenizers.decode` on a sample of the vocabulary.
   * @throws FastgenError "model" when tokenizer.json is damaged or of an unsupported kind.
   */
  static async load(files: Pick<ModelFiles, "tokenizer">): Promise<Tokenizer> {
    const table = buildTokenTable(files.tokenizer);
    let native: NativeTokenizer;
    try {
      native = nativeTokenizers().Tokenizer.fromString(files.tokenizer);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      throw new FastgenError("model", `tokenizer.json cannot be read: ${message}. Download the model again.`, {
        cause: error,
      });
    }
    // Files may carry the padding and truncation of whoever saved them; a prompt is encoded as it is.
    native.disableTruncation();
    native.disablePadding();
    const tokenizer = new Tokenizer(native, table);
    await tokenizer.#check();
    return tokenizer;
  }

  /** Ids of a text; special tokens written in it are recognised. Runs off the main thread. */
  async encode(text: string, addSpecialTokens: boolean): Promise<Int32Array> {
    if (text === "" && !addSpecialTokens) return new Int32Array(0);
    const encoding = await this.#native.encode(text, null, { addSpecialTokens });
    return Int32Array.from(encoding.getIds());
  }

  /** Highest id + 1. The model's own vocabulary may be larger (padded) or smaller. */
  get vocabSize(): number {
    return this.table.size;
  }

  /** The tokenizer's own spelling ("Ġhello"), or null where the id has no token. */
  idToToken(id: number): string | null {
    return this.table.tokens[id] ?? null;
  }

  tokenToId(token: string): number | null {
    return this.#native.tokenToId(token);
  }

  /** Empty where the id has no token. A view: not to be written to. */
  tokenBytes(id: number): Uint8Array {
    return tokenBytes(this.table, id);
  }

  /** The token alone; bytes that are not UTF-8 show as U+FFFD. */
  tokenText(id: number): string {
    return decoder.decode(tokenBytes(this.table, id));
  }

  isSpecial(id: number): boolean {
    return this.table.special[id] === 1;
  }

  /** A whole text (see DetokenizerOptions.wholeText). */
  decode(ids: ArrayLike<number>, options: { skipSpecialTokens?: boolean } = {}): string {
    return detokenize(this.table, ids, { wholeText: true, ...options });
  }

  detokenizer(options?: DetokenizerOptions): Detokenizer {
    return new Detokenizer(this.table, options);
  }

  /** The reference that the table stands in for: 20 to 50 microseconds per call, so for checks only. */
  nativeDecode(ids: number[], skipSpecialTokens: boolean): Promise<string> {
    return this.#native.decode(ids, skipSpecialTokens);
  }

  async #check(): Promise<void> {
    const { size, byteFallback, tokens } = this.table;
    const isByte = (id: number) => byteFallback && /^<0x[0-9A-Fa-f]{2}>$/.test(tokens[id] ?? "");
    const sample: number[] = [];
    const stride = Math.max(1, Math.floor(size / 512));
    for (let id = 0; id < size; id += stride) if (!isByte(id)) sample.push(id);
    for (let id = Math.max(0, size - 16); id < size; id++) if (!isByte(id)) sample.push(id);
    for (const skipSpecialTokens of [false, true]) {
      const expected = await this.nativeDecode(sample, skipSpecialTokens);
      if (this.decode(sample, { skipSpecialTokens }) !== expected) {
        throw new FastgenError(
          "model",
          "tokenizer.json: its decoder gives other text than its description says; please report the model as unsupported",
        );
      }
    }
  }
}
