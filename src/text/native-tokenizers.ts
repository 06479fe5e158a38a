/** The native addon of `tokenizers`, from its package or, in the executable, from the file carried along. */
import { createRequire } from "node:module";
import { assets, libraryPath } from "../assets.ts";
import { asFastgenError, FastgenError } from "../errors.ts";

/** Its name among the assets. */
const ADDON = "tokenizers.node";

type Tokenizers = typeof import("tokenizers");
let loaded: Tokenizers | null = null;

/** @throws FastgenError "device" when the addon cannot be opened. */
export function nativeTokenizers(): Tokenizers {
  loaded ??= load();
  return loaded;
}

function load(): Tokenizers {
  // The executable must not look for a package: it would find one in the folder where it was started.
  if (assets.size === 0) return createRequire(import.meta.url)("tokenizers");
  const addon = libraryPath(ADDON);
  if (addon === null) throw new FastgenError("internal", "this build lacks the tokenizers addon");
  const module = { exports: {} as Tokenizers };
  try {
    process.dlopen(module, addon);
  } catch (cause) {
    const why = asFastgenError(cause).message;
    throw new FastgenError(
      "device",
      `the tokenizer's library cannot be opened (${why}): set TMPDIR to a folder that can be written to and run from`,
      { cause },
    );
  }
  return module.exports;
}
