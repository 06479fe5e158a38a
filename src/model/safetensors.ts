/**
 * The header of a safetensors file, checked against the file that it describes. What comes out of here can be relied on.
 * Format: 8 bytes of little-endian header length, a JSON object, then the tensors' bytes without gaps.
 */
import { z } from "zod";
import { FastgenError } from "../errors.ts";
import { MAX_SAFETENSORS_HEADER_BYTES } from "../limits.ts";
import { LFS_POINTER, LFS_POINTER_START } from "./config-json.ts";

/** Bytes of one element. */
const DTYPE_BYTES: Record<string, number> = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U64: 8,
  U32: 4,
  U16: 2,
  U8: 1,
  BOOL: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
};

export interface StoredTensor {
  name: string;
  /** In the format's spelling: "BF16". */
  dtype: string;
  dims: number[];
  /** From the start of the file. */
  offset: number;
  bytes: number;
}

/** Reads [offset, offset + length) of a file; returns less at the end of the file. */
export type ReadAt = (offset: number, length: number) => Promise<Uint8Array>;

const count = z.int().min(0);
const entrySchema = z.object({
  dtype: z.string(),
  shape: z.array(count).max(8),
  data_offsets: z.tuple([count, count]),
});

/**
 * @param label names the file in errors.
 * @param fileBytes the size of the file.
 * @throws FastgenError "model"
 */
export async function readSafetensorsHeader(label: string, fileBytes: number, read: ReadAt): Promise<StoredTensor[]> {
  const damaged = (problem: string) =>
    new FastgenError("model", `${label}: ${problem}. The file is damaged or was cut short: replace it by a whole one.`);
  if (fileBytes < 8) throw damaged(`${fileBytes} bytes are too few for a safetensors file`);
  const prefix = await read(0, 8);
  if (prefix.length < 8) throw damaged("the file ended while its header was read");
  if (LFS_POINTER_START.startsWith(new TextDecoder().decode(prefix)))
    throw new FastgenError("model", `${label} ${LFS_POINTER}`);
  const declared = new DataView(prefix.buffer, prefix.byteOffset, 8).getBigUint64(0, true);
  if (declared > BigInt(MAX_SAFETENSORS_HEADER_BYTES)) {
    throw damaged(`its header claims ${declared} bytes; at most ${MAX_SAFETENSORS_HEADER_BYTES} are allowed`);
  }
  const headerBytes = Number(declared);
  if (8 + headerBytes > fileBytes) throw damaged(`its header claims ${headerBytes} bytes, the file has ${fileBytes}`);
  const header = await read(8, headerBytes);
  if (header.length < headerBytes) throw damaged("the file ended while its header was read");

  let text: string;
  let json: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(header);
    json = JSON.parse(text);
  } catch (error) {
    throw damaged(`its header is not valid JSON (${(error as Error).message})`);
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) throw damaged("its header is not an object");
  const names = Object.keys(json);
  if (countKeys(text) !== names.length) throw damaged("a name appears twice in its header");

  const tensors: StoredTensor[] = [];
  for (const name of names) {
    if (name === "__metadata__") continue;
    const entry = entrySchema.safeParse((json as Record<string, unknown>)[name]);
    if (!entry.success) {
      const issue = entry.error.issues[0]!;
      throw damaged(`${name}: ${issue.path.join(".")}: ${issue.message}`);
    }
    const { dtype, shape, data_offsets } = entry.data;
    const [begin, end] = data_offsets;
    const elementBytes = Object.hasOwn(DTYPE_BYTES, dtype) ? DTYPE_BYTES[dtype]! : null;
    if (elementBytes === null) throw new FastgenError("model", `${label}: ${name} has the unknown dtype ${dtype}`);
    const bytes = shape.reduce((product, dim) => product * dim, elementBytes);
    if (end < begin || bytes !== end - begin) {
      throw damaged(`${name}: ${dtype} [${shape}] takes ${bytes} bytes, its offsets [${begin}, ${end}] say otherwise`);
    }
    tensors.push({ name, dtype, dims: shape, offset: 8 + headerBytes + begin, bytes });
  }

  let at = 8 + headerBytes;
  for (const tensor of tensors.toSorted((a, b) => a.offset - b.offset || a.bytes - b.bytes)) {
    if (tensor.offset < at) throw damaged(`${tensor.name} overlaps another tensor`);
    if (tensor.offset > at) throw damaged(`there is a gap before ${tensor.name}`);
    at += tensor.bytes;
  }
  if (at > fileBytes) throw damaged(`it should have ${at} bytes and has ${fileBytes}`);
  if (at < fileBytes) throw damaged(`it has ${fileBytes - at} bytes after its last tensor`);
  return tensors;
}

/** The number of keys of the outermost object of valid JSON, duplicates included. JSON.parse keeps only the last of these. */
function countKeys(json: string): number {
  let depth = 0;
  let keys = 0;
  for (let i = 0; i < json.length; i++) {
    switch (json.charCodeAt(i)) {
      case 0x22: // a string: to its closing quote
        for (i++; json.charCodeAt(i) !== 0x22; i++) if (json.charCodeAt(i) === 0x5c) i++;
        break;
      case 0x7b:
      case 0x5b:
        depth++;
        break;
      case 0x7d:
      case 0x5d:
        depth--;
        break;
      case 0x3a:
        if (depth === 1) keys++;
    }
  }
  return keys;
}
