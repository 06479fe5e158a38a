/** The structs of llguidance.h that Fastgen fills in. layout.test.ts compares them with the C compiler's. */
import { struct } from "../ffi/layout.ts";

/** A C bool is one byte. */
const bool = { chars: 1 };

const limits = struct({
  max_items_in_row: "u64",
  initial_lexer_fuel: "u64",
  step_lexer_fuel: "u64",
  step_max_items: "u64",
  max_lexer_states: "u64",
  max_grammar_size: "u64",
  precompute_large_lexemes: bool,
  verbose_errors: bool,
});

const constraintInit = struct({
  tokenizer: "ptr",
  log_buffer_level: "i32",
  log_stderr_level: "i32",
  ff_tokens_ok: bool,
  backtrack_ok: bool,
  limits,
});

const tokenizerInit = struct({
  struct_size: "u64",
  vocab_size: "i32",
  tok_eos: "i32",
  token_lens: "ptr",
  token_bytes: "ptr",
  tokenizer_json: "ptr",
  tokenize_assumes_string: bool,
  tokenize_fn: "ptr",
  use_approximate_greedy_tokenize_fn: bool,
  tokenize_user_data: "ptr",
  slices: "ptr",
  tok_eos_extra: "ptr",
  tok_eos_extra_count: "i32",
});

/** By the struct's name in llguidance.h. */
export const LLG_STRUCTS = {
  LlgParserLimits: limits,
  LlgConstraintInit: constraintInit,
  LlgTokenizerInitV2: tokenizerInit,
} as const;
