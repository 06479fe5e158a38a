/** One compile, in the thread that calls it. */
import { type Pointer, ptr } from "bun:ffi";
import { FastgenError } from "../errors.ts";
import { StructArray } from "../ffi/layout.ts";
import { cstring } from "../ffi/library.ts";
import { MAX_COMPILE_SECONDS } from "../limits.ts";
import { readableError } from "./grammar-error.ts";
import { LLG_STRUCTS } from "./layout.ts";
import type { Llguidance } from "./llguidance.ts";

/** What llguidance compiles: a Lark grammar (its dialect, `%json {...}` included). */
export interface GrammarSource {
  lark: string;
}

/** How a Lark grammar begins whose only rule is a schema (grammar-sources/json-rule.ts). */
const SCHEMA_RULE = "start: %json ";

/**
 * Compiles a grammar into an LlgMatcher at its start. The caller frees it by llg_free_matcher.
 * @param tokenizer an LlgTokenizer.
 * @throws FastgenError "invalid_request" with the reason; "overloaded" where compiles that took too long still run.
 */
export function newMatcher(
  library: Llguidance,
  tokenizer: Pointer,
  source: GrammarSource,
  seconds = MAX_COMPILE_SECONDS,
): Pointer {
  const { calls } = library;
  const init = new StructArray(LLG_STRUCTS.LlgConstraintInit);
  calls.llg_constraint_init_set_defaults(ptr(init.bytes), tokenizer);
  init.i32("log_stderr_level", 0);
  const { limits } = LLG_STRUCTS.LlgConstraintInit.at;
  init.view.setUint8(limits + LLG_STRUCTS.LlgParserLimits.at.verbose_errors, 0);
  const [kind, text] = formOf(source);
  const [kindBytes, textBytes] = [cstring(kind), cstring(text)];
  const milliseconds = seconds * 1000;
  const start = performance.now();
  const matcher = calls.fastgen_new_matcher(
    ptr(init.bytes),
    ptr(kindBytes),
    ptr(textBytes),
    BigInt(milliseconds),
  ) as Pointer | null;
  if (matcher === null) {
    if (performance.now() - start >= milliseconds)
      throw unusable(`it takes longer than ${seconds} s to compile; make it smaller`);
    throw new FastgenError("overloaded", "other grammars take too long to compile; try again later");
  }
  // Of a schema llguidance knows whether a value fits it.
  if (kind === "lark") tryFirstMask(library, matcher);
  const error = library.text(calls.llg_matcher_get_error(matcher));
  if (error === null) return matcher;
  calls.llg_free_matcher(matcher);
  throw unusable(readableError(error));
}

/** Computes the mask of the first token: a grammar that no text fits, or that is too hard to follow, fails here and not in an answer. */
function tryFirstMask({ calls }: Llguidance, matcher: Pointer): void {
  const mask = new Uint8Array(Number(calls.llg_matcher_get_mask_byte_size(matcher)));
  calls.fastgen_compute_mask(matcher, ptr(mask), BigInt(mask.byteLength));
}

/** A grammar that is one schema is given as that: reading Lark takes half as long as compiling a schema. */
function formOf({ lark }: GrammarSource): [kind: "json_schema" | "lark", text: string] {
  const isSchema = lark.startsWith(SCHEMA_RULE) && !lark.includes("\n");
  return isSchema ? ["json_schema", lark.slice(SCHEMA_RULE.length)] : ["lark", lark];
}

function unusable(reason: string): FastgenError {
  return new FastgenError("invalid_request", `the grammar cannot be used: ${reason}`);
}
