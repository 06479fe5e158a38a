/**
 * The table of a Precompiled normaliser, as SentencePiece writes it: a double-array trie over UTF-8, then the texts that
 * replace what it finds. `tokenizers` follows it without looking where it leads, and ends the process where it leads outside.
 */

/** Of its base64. SentencePiece's largest has 320,000. */
const MAX_LENGTH = 4_194_304;

/** Bytes of one replacement. NFKC's longest has 33. */
const MAX_REPLACEMENT_BYTES = 128;

/** @throws Error saying what is wrong with it. */
export function checkCharsmap(base64: string): void {
  if (base64.length > MAX_LENGTH) throw new Error(`it has more than ${MAX_LENGTH} characters`);
  const bytes = Buffer.from(base64, "base64");
  if (bytes.toString("base64") !== base64) throw new Error("it is not base64");
  if (bytes.length < 4) throw new Error("it is too short");
  const count = Math.floor(bytes.readUInt32LE(0) / 4);
  const end = 4 + count * 4;
  if (count === 0 || end > bytes.length) throw new Error(`${count} entries do not fit into its ${bytes.length} bytes`);
  const units = Uint32Array.from({ length: count }, (_, i) => bytes.readUInt32LE(4 + i * 4));
  walk(units, textStarts(bytes.subarray(end)));
}

/** Visits every state that a text can lead to. `starts`: where a replacement may begin. */
function walk(units: Uint32Array, starts: Uint8Array): void {
  const states = [offset(units[0]!)];
  const seen = new Set(states);
  for (let state = states.pop(); state !== undefined; state = states.pop()) {
    for (let byte = 1; byte < 256; byte++) {
      const at = state ^ byte;
      if (at >= units.length) throw new Error("it leads outside of its entries");
      const unit = units[at]!;
      if ((unit & 0x8000_00ff) >>> 0 !== byte) continue;
      const next = at ^ offset(unit);
      if ((unit & 0x100) !== 0 && starts[(units[next] ?? -1) & 0x7fff_ffff] !== 1) {
        throw new Error("it leads to a replacement that is not there, or is too long");
      }
      if (!seen.has(next)) states.push(next);
      seen.add(next);
    }
  }
}

function offset(unit: number): number {
  return (unit >>> 10) << ((unit & 0x200) >>> 6);
}

/** By byte of `texts`: 1 where a whole text begins that ends with a zero soon enough. */
function textStarts(texts: Uint8Array): Uint8Array {
  new TextDecoder("utf-8", { fatal: true }).decode(texts);
  const starts = new Uint8Array(texts.length);
  let left = 0;
  for (let i = texts.length - 1; i >= 0; i--) {
    left = texts[i] === 0 ? MAX_REPLACEMENT_BYTES : left - 1;
    const isContinuation = (texts[i]! & 0xc0) === 0x80;
    if (left > 0 && !isContinuation) starts[i] = 1;
  }
  return starts;
}
