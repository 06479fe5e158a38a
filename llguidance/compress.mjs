/** node llguidance/compress.mjs FILE: makes the prebuilt library that the repository carries, and its checksum. */
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import * as path from "node:path";
import { brotliCompressSync, constants } from "node:zlib";

const name = path.join(import.meta.dirname, "libllguidance-linux-x64.so");
const library = readFileSync(process.argv[2]);
const params = {
  [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY,
  [constants.BROTLI_PARAM_LGWIN]: constants.BROTLI_MAX_WINDOW_BITS,
  [constants.BROTLI_PARAM_SIZE_HINT]: library.length,
};
writeFileSync(`${name}.br`, brotliCompressSync(library, { params }));
writeFileSync(`${name}.sha256`, `${createHash("sha256").update(library).digest("hex")}\n`);
