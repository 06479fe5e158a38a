/**
 * Token id → bytes, built once from tokenizer.json. It does what the tokenizer's decoder does to one token, so that text
 * can be made token by token without a call into the tokenizer: the bytes of consecutive tokens, one after the other, are
 * the UTF-8 of the text. Only the start of a text is special in some decoders (the space that the tokenizer itself put
 * there is removed): `start` says how.
 *
 * One difference from `tokenizers`: where a run of <0xNN> tokens is not valid UTF-8 as a whole, `tokenizers` shows U+FFFD for
 * every byte of the run; here the valid characters in it stay, since a stream cannot wait for a run to end.
 */
import { z } from "zod";
import { FastgenError } from "../errors.ts";

/** What happens to the first bytes of a text that starts with these tokens and continues no other. */
type StartRule =
  | { kind: "keep" }
  /** Up to `count` bytes `byte` are dropped from the start of the text. */
  | { kind: "strip"; byte: number; count: number }
  /** Every `replacement` character of the first token is dropped. */
  | { kind: "metaspace"; replacement: string };

export interface TokenTable {
  /** Highest id + 1; ids without a token have no bytes. */
  size: number;
  /** Token i is bytes[offsets[i] .. offsets[i + 1]). */
  offsets: Uint32Array; // [size + 1]
  bytes: Uint8Array;
  /** 1 = a special token: control, not text. */
  special: Uint8Array; // [size]
  /** The tokenizer's own spelling; undefined where an id has no token. */
  tokens: (string | undefined)[]; // [size]
  start: StartRule;
  /** Is the decoder's byte fallback on? */
  byteFallback: boolean;
}

/** A token with its id. */
export interface TableToken {
  id: number;
  content: string;
  special: boolean;
}

/** Real vocabularies stay under 300k; this bounds the memory that a damaged file can ask for. */
const MAX_ID = 1 << 22;

const SUPPORTED = "ByteLevel, Metaspace, or a Sequence of Replace, ByteFallback, Fuse and Strip";

const flag = z.boolean().default(false);

const addedTokenSchema = z.object({
  id: z.int().min(0).max(MAX_ID),
  content: z.string(),
  special: z.boolean(),
  single_word: flag,
  lstrip: flag,
  rstrip: flag,
  normalized: flag,
});

type DecoderJson = { type: string; [key: string]: unknown };

const decoderSchema: z.ZodType<DecoderJson> = z.looseObject({ type: z.string() });

/** tokenizer.json, as far as the table reads it. */
export type TokenizerJson = z.output<typeof tokenizerSchema>;

const tokenizerSchema = z.looseObject({
  added_tokens: z.array(addedTokenSchema).default([]),
  decoder: decoderSchema.nullish(),
  model: z.looseObject({
    type: z.string().nullish(),
    vocab: z.union([z.custom<Vocab>(isObject), z.array(z.unknown())]),
  }),
});

type Vocab = Record<string, unknown>;

function isObject(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function damaged(message: string): FastgenError {
  return new FastgenError("model", `tokenizer.json: ${message}. The file is damaged: replace it by the model's own.`);
}

/** @throws FastgenError "model": not a tokenizer.json. */
export function readTokenizerJson(text: string): TokenizerJson {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw damaged(`not valid JSON (${(error as Error).message})`);
  }
  const parsed = tokenizerSchema.safeParse(json);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    throw damaged(`${issue.path.join(".") || "the file"}: ${issue.message}`);
  }
  return parsed.data;
}

/**
 * @param added tokens that the tokenizer has beside those of tokenizer.json.
 * @throws FastgenError "model": ids that cannot be, or a decoder this table cannot stand in for.
 */
export function buildTokenTable(json: TokenizerJson, added: readonly TableToken[] = []): TokenTable {
  const { model, added_tokens, decoder } = json;
  const { tokens, special } = readVocabulary(model.vocab, [...added_tokens, ...added]);
  const rule = readDecoder(decoder ?? null);
  return {
    size: tokens.length,
    tokens,
    special,
    start: rule.start,
    byteFallback: rule.byteFallback,
    ...encodeAll(tokens, rule),
  };
}

function readVocabulary(vocab: Vocab | unknown[], added: readonly TableToken[]) {
  const tokens: (string | undefined)[] = [];
  const set = (id: unknown, token: unknown) => {
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id > MAX_ID || typeof token !== "string") {
      throw damaged(`model.vocab: ${JSON.stringify(token)} has the id ${JSON.stringify(id)}`);
    }
    while (tokens.length < id) tokens.push(undefined);
    tokens[id] = token;
  };
  if (Array.isArray(vocab)) {
    vocab.forEach((entry, id) => {
      set(id, Array.isArray(entry) ? entry[0] : entry);
    });
  } else {
    for (const token of Object.keys(vocab)) set(vocab[token], token);
  }
  for (const token of added) set(token.id, token.content);
  if (tokens.length === 0) throw damaged("model.vocab is empty");
  const special = new Uint8Array(tokens.length);
  for (const token of added) if (token.special) special[token.id] = 1;
  return { tokens, special };
}

/** How one token becomes bytes. */
interface DecodeRule {
  byteLevel: boolean;
  replacements: { from: string; to: string }[];
  byteFallback: boolean;
  start: StartRule;
}

/** Characters of a replacement, of a token after all of them, and of all tokens together. */
const MAX_REPLACEMENT = 64;
const MAX_TOKEN_TEXT = 1 << 20;
const MAX_TEXT = 1 << 27;

const replaceSchema = z.looseObject({
  pattern: z.object({ String: z.string().min(1) }),
  content: z.string().max(MAX_REPLACEMENT),
});
const stripSchema = z.looseObject({ content: z.string().length(1), start: z.int().min(0), stop: z.literal(0) });
const metaspaceSchema = z.looseObject({
  replacement: z.string().min(1).default("▁"),
  prepend_scheme: z.enum(["always", "first", "never"]).optional(),
  add_prefix_space: z.boolean().optional(),
});

function unsupported(what: string): FastgenError {
  return new FastgenError("model", `tokenizer.json: the decoder ${what} is not supported; supported are ${SUPPORTED}`);
}

function readDecoder(decoder: DecoderJson | null): DecodeRule {
  const rule: DecodeRule = { byteLevel: false, replacements: [], byteFallback: false, start: { kind: "keep" } };
  if (decoder === null) throw unsupported("null (tokens joined by spaces)");
  const parts = decoder.type === "Sequence" ? z.array(decoderSchema).safeParse(decoder.decoders).data : [decoder];
  if (!parts || parts.length === 0) throw unsupported("Sequence without decoders");
  let fused = false;
  for (const part of parts) {
    const alone = parts.length === 1;
    if (part.type === "ByteLevel" && alone) {
      rule.byteLevel = true;
    } else if (part.type === "Metaspace" && alone) {
      const { data } = metaspaceSchema.safeParse(part);
      if (!data) throw unsupported(JSON.stringify(part));
      rule.replacements.push({ from: data.replacement, to: " " });
      const never = (data.prepend_scheme ?? (data.add_prefix_space === false ? "never" : "always")) === "never";
      if (!never) rule.start = { kind: "metaspace", replacement: data.replacement };
    } else if (part.type === "Replace" && !fused && !rule.byteFallback) {
      const { data } = replaceSchema.safeParse(part);
      if (!data) throw unsupported(JSON.stringify(part));
      rule.replacements.push({ from: data.pattern.String, to: data.content });
    } else if (part.type === "ByteFallback" && !fused) {
      rule.byteFallback = true;
    } else if (part.type === "Fuse") {
      fused = true;
    } else if (part.type === "Strip" && fused && rule.start.kind === "keep") {
      const { data } = stripSchema.safeParse(part);
      if (!data || data.content.charCodeAt(0) > 0x7f) throw unsupported(JSON.stringify(part));
      if (data.start > 0) rule.start = { kind: "strip", byte: data.content.charCodeAt(0), count: data.start };
    } else {
      throw unsupported(alone ? part.type : `Sequence of ${parts.map((p) => p.type).join(", ")}`);
    }
  }
  return rule;
}

/** GPT-2's printable stand-ins for bytes: code point → byte, or -1. */
const BYTE_OF_CHAR = (() => {
  const printable = (b: number) => (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
  const table = new Int16Array(256 + 68).fill(-1);
  let next = 256;
  for (let b = 0; b < 256; b++) table[printable(b) ? b : next++] = b;
  return table;
})();

const utf8 = new TextEncoder();

function encodeAll(tokens: (string | undefined)[], rule: DecodeRule) {
  const offsets = new Uint32Array(tokens.length + 1);
  let room = 0;
  const texts = tokens.map((token) => {
    let text = token ?? "";
    for (const { from, to } of rule.replacements) {
      text = text.replaceAll(from, to);
      if (text.length > Math.min(MAX_TOKEN_TEXT, MAX_TEXT - room / 3))
        throw unsupported("that makes long texts of tokens");
    }
    room += text.length * 3; // the most UTF-8 bytes that a UTF-16 unit can take
    return text;
  });
  const bytes = new Uint8Array(room);
  let end = 0;
  for (let id = 0; id < texts.length; id++) {
    offsets[id] = end;
    const text = texts[id]!;
    if (rule.byteLevel) {
      end = writeByteLevel(text, bytes, end);
    } else {
      const byte = rule.byteFallback ? /^<0x([0-9A-Fa-f]{2})>$/.exec(text)?.[1] : undefined;
      if (byte !== undefined) bytes[end++] = Number.parseInt(byte, 16);
      else end += utf8.encodeInto(text, bytes.subarray(end)).written;
    }
  }
  offsets[texts.length] = end;
  return { offsets, bytes: bytes.slice(0, end) };
}

/** A token with any character outside the byte alphabet stands for its own UTF-8, as in tokenizers. */
function writeByteLevel(text: string, bytes: Uint8Array, start: number): number {
  let end = start;
  for (let i = 0; i < text.length; i++) {
    const byte = BYTE_OF_CHAR[text.charCodeAt(i)] ?? -1;
    if (byte < 0) return start + utf8.encodeInto(text, bytes.subarray(start)).written;
    bytes[end++] = byte;
  }
  return end;
}
