/** The lines of a file of any size, a piece of it in memory at a time. */
import { createReadStream } from "node:fs";

const NEWLINE = 0x0a;

/** Bytes that are read at once. */
const PIECE = 256 * 1024;

export interface FileLine {
  /** From 1. */
  number: number;
  /** Without its line end; only the first `most` bytes of a longer line. */
  bytes: Uint8Array;
  /** Of the whole line, without its line end. */
  length: number;
  /** Where it begins in the file. */
  start: number;
  /** Has it a line end? Only the last line may have none. */
  ended: boolean;
}

/**
 * Each line in turn. Of a line longer than `most` bytes no more than that is kept. What is given out is good until the next line
 * is asked for. Rejects with the system's error where the file cannot be read.
 */
export async function* fileLines(path: string, most: number): AsyncGenerator<FileLine, void, void> {
  let pieces: Uint8Array[] = [];
  let kept = 0;
  let [number, start, length] = [1, 0, 0];
  const take = (piece: Uint8Array) => {
    length += piece.byteLength;
    const room = most - kept;
    if (room <= 0) return;
    pieces.push(piece.subarray(0, room));
    kept += Math.min(piece.byteLength, room);
  };
  const line = (ended: boolean): FileLine => {
    const bytes = pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
    return { number, bytes, length, start, ended };
  };
  for await (const chunk of createReadStream(path, { highWaterMark: PIECE })) {
    const piece = chunk as Buffer;
    let from = 0;
    for (let end = piece.indexOf(NEWLINE); end >= 0; end = piece.indexOf(NEWLINE, from)) {
      take(piece.subarray(from, end));
      yield line(true);
      from = end + 1;
      start += length + 1;
      number++;
      [pieces, kept, length] = [[], 0, 0];
    }
    if (from < piece.byteLength) take(piece.subarray(from));
  }
  if (length > 0) yield line(false);
}
