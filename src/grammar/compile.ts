/** One compile, in the thread that calls it. */
import { type Pointer, ptr } from "bun:ffi";
import { FastgenError } from "../errors.ts";
import { StructArray } from "../ffi/layout.ts";
import { cstring } from "../ffi/library.ts";
import { readableError } from "./grammar-error.ts";
import { LLG_STRUCTS } from "./layout.ts";
import type { Llguidance } from "./llguidance.ts";

/** What llguidance compiles: a Lark grammar (its dialect, `%json {...}` included). */
export interface GrammarSource {
  lark: string;
}

/**
 * Compiles a grammar into an LlgMatcher at its start. The caller frees it by llg_free_matcher.
 * @param tokenizer an LlgTokenizer, which must outlive the matcher and its clones.
 * @throws FastgenError "invalid_request" with the reason.
 */
export function newMatcher({ calls, text }: Llguidance, tokenizer: Pointer, source: GrammarSource): Pointer {
  const init = new StructArray(LLG_STRUCTS.LlgConstraintInit);
  calls.llg_constraint_init_set_defaults(ptr(init.bytes), tokenizer);
  init.i32("log_stderr_level", 0);
  const { limits } = LLG_STRUCTS.LlgConstraintInit.at;
  init.view.setUint8(limits + LLG_STRUCTS.LlgParserLimits.at.verbose_errors, 0);
  const matcher = calls.llg_new_matcher(ptr(init.bytes), ptr(cstring("lark")), ptr(cstring(source.lark)));
  const error = text(calls.llg_matcher_get_error(matcher));
  if (error === null) return matcher!;
  calls.llg_free_matcher(matcher);
  throw new FastgenError("invalid_request", `the grammar cannot be used: ${readableError(error)}`);
}
