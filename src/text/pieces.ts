/**
 * A long text is tokenised piece by piece, so that it can be given up in between and holds nobody up.
 *
 * Each piece begins a little before the end of the one before it. Where both have a boundary, and the same token after it,
 * the first is left and the second gone on with. The rules (cut-rules.ts) say which boundaries the whole text has too:
 *
 * - The start of a word, as the pre-tokenizer makes them, except the last word that a piece shows: later text cannot move
 *   it, and the pre-tokenizer's pattern starts afresh there.
 * - A boundary within a word, where words do not depend on the place of a cut, or the word has characters of one kind. Byte
 *   pair encoding gives those tokens of which any two neighbours stay apart when only they are encoded; and all neighbours
 *   in the result are neighbours in a piece.
 *
 * A piece without such a boundary grows until it has one. Pieces that do not meet, as beside an added token that takes all the
 * spaces before it, are given up for the text as one piece.
 */
import type { Encoding, Tokenizer as NativeTokenizer } from "tokenizers";
import { FastgenError } from "../errors.ts";
import { MAX_PIECE_LENGTH } from "../limits.ts";
import type { CutRules } from "./cut-rules.ts";

/** UTF-16 units of a piece: some 20 ms of work on another thread, and 2 ms on this one. */
export const PIECE_LENGTH = 32_768;

/** Characters before a piece's last boundary in which the next piece begins. */
const OVERLAP = 256;

/** Tokens of a piece that are looked at for boundaries. */
const MOST_SCANNED = 8192;

/** A longer piece is encoded only when no other long one is, so that threads are left for everybody else. */
const LONG_PIECE = 4 * PIECE_LENGTH;

/** Stands before a piece where the tokenizer puts a space before a text: the space meets this, and not the piece. */
const leadBefore = (text: string) => (/^\s/.test(text) ? "a" : "\n");

export interface EncodeOptions {
  /** Aborting rejects with FastgenError "aborted" before the next piece. */
  signal?: AbortSignal;
  /** Ends early once there are more ids than this. */
  most?: number;
}

interface Piece {
  text: string;
  encoding: Encoding;
  ids: number[];
}

/** A place where the text may be cut. */
interface Boundary {
  /** Characters (code points) and UTF-16 units from the piece's start. */
  position: number;
  offset: number;
  /** Index of the token that begins there. */
  token: number;
  /** Must the next piece begin a word there? */
  word: boolean;
}

/** A piece whose end is not settled. */
interface Left {
  ids: number[];
  /** Its first token that counts. */
  head: number;
  /** Ascending; the next piece begins at the first. */
  boundaries: Boundary[];
}

/**
 * The ids of the whole text, and no special tokens that it does not contain; of more than `most`, the first ones only.
 * @param pieceLength UTF-16 units of a piece; of several times OVERLAP.
 */
export async function encodeInPieces(
  native: NativeTokenizer,
  rules: CutRules,
  text: string,
  options: EncodeOptions = {},
  pieceLength = PIECE_LENGTH,
): Promise<Int32Array> {
  const { signal, most = Number.POSITIVE_INFINITY } = options;
  const encode = (part: string) => encodePiece(native, part, signal);
  const out: number[][] = [];
  let count = 0;
  const push = (ids: number[]) => {
    out.push(ids);
    count += ids.length;
  };
  let left: Left | null = null;
  let start = 0;
  let length = rules.cuts ? pieceLength : text.length;
  while (true) {
    const end = pieceEnd(text, start + length);
    const part = text.slice(start, end);
    const lead = start > 0 && rules.prefixes ? leadBefore(part) : "";
    const piece = await encode(lead + part);
    const join: Join | null = left === null ? { left: 0, right: 0 } : findJoin(left, piece, lead.length);
    if (join === null) return Int32Array.from((await encode(text)).ids);
    const boundaries: Boundary[] = end === text.length ? [] : findBoundaries(piece, rules, join.right);
    if (boundaries.length === 0 && end < text.length) {
      length *= 2;
      continue;
    }
    if (left !== null) push(left.ids.slice(left.head, join.left));
    if (end === text.length) push(piece.ids.slice(join.right));
    if (end === text.length || count > most) return joined(out, count);
    left = { ids: piece.ids, head: join.right, boundaries };
    start += boundaries[0]!.offset - lead.length;
    length = pieceLength;
  }
}

/** An end near `wanted` that does not part the halves of a character. */
function pieceEnd(text: string, wanted: number): number {
  if (wanted >= text.length) return text.length;
  return (text.codePointAt(wanted - 1) ?? 0) > 0xffff ? wanted + 1 : wanted;
}

function joined(parts: number[][], count: number): Int32Array {
  const ids = new Int32Array(count);
  let at = 0;
  for (const part of parts) {
    ids.set(part, at);
    at += part.length;
  }
  return ids;
}

let longPieces: Promise<unknown> = Promise.resolve();

async function encodePiece(native: NativeTokenizer, text: string, signal?: AbortSignal): Promise<Piece> {
  const encode = async () => {
    if (signal?.aborted) throw new FastgenError("aborted", "the request was aborted while its prompt was tokenised");
    // A tokenizer without a token for what it does not know.
    return native.encode(text, null, { addSpecialTokens: false }).catch((cause: Error) => {
      const message = `the prompt has characters that the model's tokenizer does not know (${cause.message}): leave them out`;
      throw new FastgenError("invalid_request", message, { cause });
    });
  };
  if (text.length > MAX_PIECE_LENGTH) {
    const message = `the prompt has more than ${MAX_PIECE_LENGTH} characters in a row that the tokenizer cannot take one by one: shorten it, or put line breaks in`;
    throw new FastgenError("invalid_request", message);
  }
  let encoding: Encoding;
  if (text.length <= LONG_PIECE) encoding = await encode();
  else {
    const turn = longPieces.then(encode);
    longPieces = turn.catch(() => {});
    encoding = await turn;
  }
  return { text, encoding, ids: encoding.getIds() };
}

/** The last boundaries of a piece, after its token `head`. */
function findBoundaries(piece: Piece, rules: CutRules, head: number): Boundary[] {
  const { text, encoding, ids } = piece;
  const back = new Backwards(text);
  const lastWord = encoding.tokenToWord(ids.length - 1);
  const withinFrom = firstWithinWords(piece, rules, lastWord);
  const [lastWordBegins] = (lastWord !== null && encoding.wordToTokens(lastWord)) || [0];
  const from = withinFrom === Number.POSITIVE_INFINITY ? lastWordBegins : ids.length;
  const found: Boundary[] = [];
  for (let token = from - 1; token > Math.max(head, from - MOST_SCANNED); token--) {
    const position = beginning(encoding, token);
    if (position === null) continue;
    const offset = back.to(position);
    if (offset > text.length - rules.guard || (rules.joinsCharacters && joinsTo(text, offset))) continue;
    const within = position >= withinFrom;
    if (!within && encoding.tokenToWord(token) === encoding.tokenToWord(token - 1)) continue;
    found.push({ position, offset, token, word: !within });
    if (found[0]!.position - position >= OVERLAP) break;
  }
  return found.reverse();
}

/** A word of characters of one kind: wherever it is cut, the rest of it is such a word, with the same end. */
const ONE_KIND = /^ ?(?:(.)\1*|\p{Ll}+|\p{Lu}+|\p{Lo}+|\p{M}+)$/su;

/** The character from which on cuts may be within words; infinity for none. */
function firstWithinWords({ text, encoding }: Piece, rules: CutRules, lastWord: number | null): number {
  if (!rules.withinWords) return Number.POSITIVE_INFINITY;
  if (rules.sameWordsAnywhere) return 0;
  const [begins, ends] = (lastWord !== null && encoding.wordToChars(lastWord)) || [0, 0];
  if (ends - begins < OVERLAP) return Number.POSITIVE_INFINITY;
  const offset = new Backwards(text).to(begins);
  // Where the word before has such characters too, later text may make the two one word.
  if (offset > 0 && kindBefore(text, offset) === kindBefore(text, text.length)) {
    return Number.POSITIVE_INFINITY;
  }
  // Past the space, and not before the first character after it.
  return ONE_KIND.test(text.slice(offset)) ? begins + 2 : Number.POSITIVE_INFINITY;
}

/** What the patterns of pre-tokenizers tell apart: spaces, letters with their marks, numbers, and all else. */
function kindBefore(text: string, offset: number): number {
  const character = text.slice(offset - widthBefore(text, offset), offset);
  return [/\s/, /[\p{L}\p{M}]/u, /\p{N}/u].findIndex((pattern) => pattern.test(character));
}

/** Turns positions in characters into offsets in UTF-16 units, from the end of a text backwards. */
class Backwards {
  readonly #text: string;
  #offset: number;
  #position = 0;

  constructor(text: string) {
    this.#text = text;
    this.#offset = text.length;
    for (let offset = text.length; offset > 0; offset -= widthBefore(text, offset)) this.#position++;
  }

  /** The offset of a character; never one after that of the call before. */
  to(position: number): number {
    for (; this.#position > position; this.#position--) this.#offset -= widthBefore(this.#text, this.#offset);
    return this.#offset;
  }
}

/** UTF-16 units of the character that ends at `offset`. */
function widthBefore(text: string, offset: number): 1 | 2 {
  return (text.codePointAt(offset - 2) ?? 0) > 0xffff ? 2 : 1;
}

/** The character at which a token begins, if the token before it ends there or earlier. */
function beginning(encoding: Encoding, token: number): number | null {
  const [begins] = encoding.tokenToChars(token) ?? [0, 0];
  if (token === 0) return begins;
  const [, ends] = encoding.tokenToChars(token - 1) ?? [0, 0];
  return ends <= begins ? begins : null;
}

/** Marks, and the Hangul vowels and finals: what a normaliser may join to the character before, or move before another. */
const JOINING = /[\p{M}\u1160-\u11ff\ud7b0-\ud7ff]/uy;

function joinsTo(text: string, offset: number): boolean {
  JOINING.lastIndex = offset;
  return JOINING.test(text);
}

/** Where two pieces meet: the token of the left one that is its first no more, and the first of the right one. */
interface Join {
  left: number;
  right: number;
}

/** @param lead characters in front of the right piece that the text does not have. */
function findJoin(left: Left, { encoding, ids }: Piece, lead: number): Join | null {
  const first = left.boundaries[0]!.position - lead;
  const last = left.boundaries.at(-1)!.position - first;
  const byPosition = new Map(left.boundaries.map((boundary) => [boundary.position - first, boundary]));
  for (let token = 0; token < ids.length; token++) {
    const begins = beginning(encoding, token);
    if (begins === null) continue;
    if (begins > last) return null;
    const boundary = byPosition.get(begins);
    if (!boundary || left.ids[boundary.token] !== ids[token]) continue;
    const isWord = token === 0 || encoding.tokenToWord(token) !== encoding.tokenToWord(token - 1);
    if (isWord || !boundary.word) return { left: boundary.token, right: token };
  }
  return null;
}
