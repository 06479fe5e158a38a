/** What a scheduler has to share out. */
import { FastgenError } from "../../errors.ts";
import { PAGE_TOKENS, type PageListener, pagesFor } from "../pages/page-cache.ts";

export interface SchedulerConfig {
  maxSeqs: number;
  /** Tokens in one step, at least maxSeqs. */
  maxStepTokens: number;
  /** Tokens in one sequence; at most pages * PAGE_TOKENS. */
  maxContext: number;
  pages: number;
  /** Those that can be used from the start; setHostPages() says when there are more. */
  hostPages: number;
  prefixCaching: boolean;
  /** Ids that can be sampled. */
  vocabSize: number;
  /** Hears what becomes of cached pages. */
  pageListener?: PageListener | null;
}

/** @throws FastgenError where it leaves no room for a sequence. */
export function checkConfig({ maxSeqs, maxStepTokens, maxContext, pages }: SchedulerConfig): void {
  if (maxStepTokens < maxSeqs) {
    throw new FastgenError(
      "invalid_request",
      `max_num_batched_tokens (${maxStepTokens}) must be at least max_num_seqs (${maxSeqs})`,
    );
  }
  if (pagesFor(maxContext) > pages) {
    throw new FastgenError(
      "out_of_memory",
      `the KV cache holds ${pages * PAGE_TOKENS} tokens, fewer than max_model_len (${maxContext}): lower max_model_len or give the KV cache more memory`,
    );
  }
}
