/** Folders with other weights of the built-in model, for tests of weights that change while a model is served. */
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";

const BUILT_IN = path.join(path.dirname(import.meta.dir), "models/fastgen-tiny");

interface Entry {
  dtype: string;
  shape: number[];
  data_offsets: [from: number, to: number];
}

/** A safetensors file's header, and where its data begin. */
function header(bytes: Buffer): { entries: Record<string, Entry>; data: number } {
  const length = Number(bytes.readBigUInt64LE(0));
  const { __metadata__, ...entries } = JSON.parse(bytes.toString("utf8", 8, 8 + length));
  return { entries, data: 8 + length };
}

/**
 * A folder with the whole built-in model, whose weights differ from it in each tensor that `changes` says: every value has the
 * other sign.
 */
export function modelFolder(changes: (name: string) => boolean = () => false): string {
  const folder = mkdtempSync(path.join(tmpdir(), "weights-"));
  for (const file of readdirSync(BUILT_IN)) copyFileSync(path.join(BUILT_IN, file), path.join(folder, file));
  const file = path.join(folder, "model.safetensors");
  const bytes = readFileSync(file);
  const { entries, data } = header(bytes);
  for (const [name, { dtype, data_offsets }] of Object.entries(entries)) {
    if (!changes(name)) continue;
    const [from, to] = data_offsets;
    const size = dtype === "F32" ? 4 : 2;
    for (let at = data + from + size - 1; at < data + to; at += size) bytes[at]! ^= 0x80;
  }
  writeFileSync(file, bytes);
  return folder;
}

/** A folder that has only the weights of another one, without the tensors that `leaves` says. */
export function weightsFolder(of: string, leaves: (name: string) => boolean = () => false): string {
  const folder = mkdtempSync(path.join(tmpdir(), "weights-"));
  const bytes = readFileSync(path.join(of, "model.safetensors"));
  const { entries, data } = header(bytes);
  const kept = Object.entries(entries).filter(([name]) => !leaves(name));
  const pieces: Buffer[] = [];
  let length = 0;
  const places = kept.map(
    ([
      name,
      {
        data_offsets: [from, to],
        ...rest
      },
    ]) => {
      pieces.push(bytes.subarray(data + from, data + to));
      length += to - from;
      return [name, { ...rest, data_offsets: [length - (to - from), length] }];
    },
  );
  const text = Buffer.from(JSON.stringify(Object.fromEntries(places)));
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(text.length));
  writeFileSync(path.join(folder, "model.safetensors"), Buffer.concat([prefix, text, ...pieces]));
  // Trainers leave files of their own beside the weights.
  writeFileSync(path.join(folder, "READY"), "");
  return folder;
}
