/** The vocabulary as llguidance wants it (its LlgTokenizer), and the tokenizer that writes the text which a grammar forces. */
import { type Pointer, ptr } from "bun:ffi";
import { FastgenError } from "../errors.ts";
import { StructArray } from "../ffi/layout.ts";
import type { TokenTable } from "../text/token-table.ts";
import { LLG_STRUCTS } from "./layout.ts";
import type { Llguidance } from "./llguidance.ts";

/** The first byte of a token that is control and not text. No UTF-8 holds it, so no text of a grammar matches such a token. */
const SPECIAL_MARK = 0xff;

export interface Vocabulary {
  table: Pick<TokenTable, "size" | "offsets" | "bytes" | "special">;
  /** Of the model: masks have a bit for each of its ids. Those without a token are never allowed. */
  vocabSize: number;
  /** What may follow where a grammar may end. */
  stopIds: number[];
  /** tokenizer.json. */
  tokenizerJson: string;
}

/** The bytes of each id, one after the other, and their lengths. */
function markedTokens(vocabulary: Vocabulary): { lengths: Uint32Array; bytes: Uint8Array } {
  const { table, vocabSize, stopIds } = vocabulary;
  const stops = new Set(stopIds);
  const lengths = new Uint32Array(new ArrayBuffer(vocabSize * 4));
  const bytes = new Uint8Array(new ArrayBuffer(table.bytes.length + table.size));
  let end = 0;
  for (let id = 0; id < Math.min(vocabSize, table.size); id++) {
    const token = table.bytes.subarray(table.offsets[id], table.offsets[id + 1]);
    if (token.length === 0) continue;
    const start = end;
    if (table.special[id] === 1 || stops.has(id)) bytes[end++] = SPECIAL_MARK;
    bytes.set(token, end);
    end += token.length;
    lengths[id] = end - start;
  }
  return { lengths, bytes };
}

export class GrammarTokenizer {
  /** An LlgTokenizer. Any thread may use it. */
  readonly pointer: Pointer;
  /** Null where the tokenizer cannot write every text: then no tokens are forced, and masks allow every way to write a text. */
  private readonly encoder: Pointer | null;

  /**
   * Takes up to half a second for large vocabularies, so it is not for the main thread.
   * @throws FastgenError "invalid_request": the model has no stop id. "model": llguidance cannot use the vocabulary.
   */
  constructor(
    private readonly library: Llguidance,
    vocabulary: Vocabulary,
  ) {
    const { calls } = library;
    const { lengths, bytes } = markedTokens(vocabulary);
    const [stop, ...otherStops] = vocabulary.stopIds.filter((id) => id < vocabulary.vocabSize);
    if (stop === undefined) {
      throw new FastgenError("invalid_request", "the model has no stop id, so a grammar could not end its answers");
    }
    const json = new TextEncoder().encode(vocabulary.tokenizerJson);
    const size = BigInt(vocabulary.vocabSize);
    const encoder = calls.fastgen_encoder_new(ptr(json), BigInt(json.length), size, ptr(lengths), ptr(bytes));
    this.encoder = encoder as Pointer | null;

    const init = new StructArray(LLG_STRUCTS.LlgTokenizerInitV2);
    init.u64("struct_size", LLG_STRUCTS.LlgTokenizerInitV2.size);
    init.i32("vocab_size", vocabulary.vocabSize);
    init.u64("token_lens", ptr(lengths));
    init.u64("token_bytes", ptr(bytes));
    init.i32("tok_eos", stop);
    const others = Uint32Array.from(otherStops);
    if (others.length > 0) init.u64("tok_eos_extra", ptr(others));
    init.i32("tok_eos_extra_count", others.length);
    if (this.encoder) {
      init.u64("tokenize_fn", library.addressOf("fastgen_encoder_encode"));
      init.u64("tokenize_user_data", this.encoder);
    } else {
      init.flag("use_approximate_greedy_tokenize_fn", true);
    }
    const message = new Uint8Array(new ArrayBuffer(1024));
    const pointer = calls.llg_new_tokenizer_v2(ptr(init.bytes), ptr(message), BigInt(message.length)) as Pointer | null;
    if (!pointer) {
      calls.fastgen_encoder_free(this.encoder);
      const reason = new TextDecoder().decode(message.subarray(0, message.indexOf(0)));
      throw new FastgenError("model", `grammars cannot be used with this model's vocabulary: ${reason}`);
    }
    this.pointer = pointer;
  }

  /** Whether tokens that a grammar forces are known. */
  get forces(): boolean {
    return this.encoder !== null;
  }

  /** All matchers must be gone. A compile that took too long may still run: then the encoder stays, because it is used. */
  free(): void {
    const { calls } = this.library;
    calls.fastgen_free_released();
    calls.llg_free_tokenizer(this.pointer);
    if (calls.fastgen_running_compiles() === 0n) calls.fastgen_encoder_free(this.encoder);
  }
}
