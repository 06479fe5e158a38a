/**
 * A model's tokenizer: `tokenizers` (the Rust library, as a native addon) turns text into ids on a thread of its own; a
 * table (token-table.ts) turns ids into text at once.
 */
import type { Tokenizer as NativeTokenizer } from "tokenizers";
import { FastgenError } from "../errors.ts";
import type { ModelFiles } from "../model/shape.ts";
import { type CutRules, readCutRules } from "./cut-rules.ts";
import { Detokenizer, type DetokenizerOptions, detokenize, tokenBytes } from "./detokenizer.ts";
import { nativeTokenizers } from "./native-tokenizers.ts";
import { type EncodeOptions, encodeInPieces } from "./pieces.ts";
import { readTextEnds, type TextEnds } from "./text-ends.ts";
import { buildTokenTable, readTokenizerJson, type TableToken, type TokenTable } from "./token-table.ts";
import { checkParts } from "./tokenizer-parts.ts";
import { type AddedToken, readTokenizerSettings, type SettingsFiles, tokensToAdd } from "./tokenizer-settings.ts";

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

interface Parts {
  /** tokenizer.json. */
  json: string;
  /** Without a post-processor: it encodes a text and adds nothing. */
  native: NativeTokenizer;
  table: TokenTable;
  cutRules: CutRules;
  textEnds: TextEnds;
}

export class Tokenizer {
  readonly #parts: Parts;
  readonly table: TokenTable;
  /** Bytes of the longest token. */
  readonly longestToken: number;

  private constructor(parts: Parts) {
    this.#parts = parts;
    this.table = parts.table;
    const { offsets, size } = this.table;
    let longest = 0;
    for (let id = 0; id < size; id++) longest = Math.max(longest, offsets[id + 1]! - offsets[id]!);
    this.longestToken = longest;
  }

  /**
   * Builds the tokenizer and checks its table against `tokenizers.decode` on a sample of the vocabulary.
   * @throws FastgenError "model" when a file is damaged or of an unsupported kind.
   */
  static async load(files: Pick<ModelFiles, "tokenizer"> & SettingsFiles): Promise<Tokenizer> {
    const json = readTokenizerJson(files.tokenizer);
    const settings = readTokenizerSettings(files);
    const table = buildTokenTable(json);
    checkParts(json);
    const native = openNative(files.tokenizer);
    const added = addTokens(native, tokensToAdd(settings, json.added_tokens));
    const tokenizer = new Tokenizer({
      json: files.tokenizer,
      native,
      table: added.length === 0 ? table : buildTokenTable(json, added),
      cutRules: readCutRules({ ...json, added_tokens: [...json.added_tokens, ...added] }),
      textEnds: readTextEnds(json.post_processor, settings, (token) => native.tokenToId(token)),
    });
    await tokenizer.#check();
    return tokenizer;
  }

  /**
   * Ids of a text; special tokens written in it are recognised. Runs off the main thread, a long text in pieces.
   * @param addSpecialTokens whether those that the model expects around a text are added.
   */
  async encode(text: string, addSpecialTokens: boolean, options?: EncodeOptions): Promise<Int32Array> {
    const { native, cutRules, textEnds } = this.#parts;
    const ids = text === "" ? new Int32Array(0) : await encodeInPieces(native, cutRules, text, options);
    if (!addSpecialTokens) return ids;
    const { before, after } = textEnds;
    const all = new Int32Array(before.length + ids.length + after.length);
    all.set(before);
    all.set(ids, before.length);
    all.set(after, before.length + ids.length);
    return all;
  }

  /** tokenizer.json, for another library that reads it. */
  get json(): string {
    return this.#parts.json;
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
    return this.#parts.native.tokenToId(token);
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

  /** The special token that a text begins with, the longest of them; null where it begins with none. */
  leadingSpecial(text: string): number | null {
    const { special, tokens } = this.table;
    let found: number | null = null;
    for (let id = special.indexOf(1); id >= 0; id = special.indexOf(1, id + 1)) {
      const token = tokens[id]!;
      if (text.startsWith(token) && token.length > (tokens[found ?? -1] ?? "").length) found = id;
    }
    return found;
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
    return this.#parts.native.decode(ids, skipSpecialTokens);
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

/** @throws FastgenError "model" */
function openNative(tokenizerJson: string): NativeTokenizer {
  const { Tokenizer, templateProcessing } = nativeTokenizers();
  let native: NativeTokenizer;
  try {
    native = Tokenizer.fromString(tokenizerJson);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new FastgenError("model", `tokenizer.json cannot be read: ${message}. Download the model again.`, {
      cause: error,
    });
  }
  // Files may carry the padding and truncation of whoever saved them; a prompt is encoded as it is.
  native.disableTruncation();
  native.disablePadding();
  // A text is encoded in pieces, so what goes around it is added here and not there.
  native.setPostProcessor(templateProcessing("$A", "$A $B", []));
  return native;
}

/** Adds tokens to the tokenizer. It gives those that its vocabulary lacks the next free ids. */
function addTokens(native: NativeTokenizer, tokens: readonly AddedToken[]): (AddedToken & TableToken)[] {
  const { AddedToken } = nativeTokenizers();
  native.addAddedTokens(
    tokens.map(
      ({ content, special, single_word, lstrip, rstrip, normalized }) =>
        new AddedToken(content, special, {
          singleWord: single_word,
          leftStrip: lstrip,
          rightStrip: rstrip,
          normalized,
        }),
    ),
  );
  return tokens.flatMap((token) => {
    const id = native.tokenToId(token.content);
    return id === null ? [] : [{ ...token, id }];
  });
}
