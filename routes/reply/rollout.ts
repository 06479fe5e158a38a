/** With `return_rollout`: one record of each choice that holds all that a trainer needs of it. */
import type { Chunk, Generation, WeightSpan } from "../../src/types.ts";
import type { Run } from "../run.ts";
import { finite } from "./logprobs.ts";
import { jsonText } from "./long-json.ts";

/** One choice, from its prompt to its end. */
export interface Rollout {
  prompt_token_ids: number[];
  /** What was generated, the id that ended it included. */
  token_ids: number[];
  /** By generated token, of the distribution that logprobs_mode names. */
  logprobs: number[];
  logprobs_mode: string;
  finish_reason: Chunk["finish_reason"];
  stop_reason: Chunk["stop_reason"];
  /** Which weights made its tokens, from `start` on. One entry where they did not change meanwhile. */
  weight_versions: readonly WeightSpan[];
  /** The same request with this seed and n = 1 draws the same. An integer of 64 bits. */
  seed: bigint;
}

/** What is kept of a choice until its record is made. */
type Kept = Pick<Rollout, "token_ids" | "logprobs" | "finish_reason" | "stop_reason" | "weight_versions">;

/** The rollouts of a run whose sampling parameters ask for log probabilities. */
export class Rollouts {
  readonly #run: Run;
  /** By choice. */
  readonly #kept: Kept[] = [];

  private constructor(run: Run) {
    this.#run = run;
  }

  /** Null where the request asks for none. */
  static asked({ return_rollout }: { return_rollout?: boolean }, run: Run): Rollouts | null {
    return return_rollout ? new Rollouts(run) : null;
  }

  /** Takes the next piece of a choice, or all of it. */
  add({ index, token_ids, logprobs, finish_reason, stop_reason, weight_versions }: Chunk): void {
    this.#kept[index] ??= { token_ids: [], logprobs: [], finish_reason, stop_reason, weight_versions };
    const kept = this.#kept[index];
    for (const id of token_ids) kept.token_ids.push(id);
    for (const { logprob } of logprobs ?? []) kept.logprobs.push(finite(logprob));
    kept.finish_reason = finish_reason;
    kept.stop_reason = stop_reason;
    kept.weight_versions = weight_versions;
  }

  /** The record of the choice `index`, which has ended. */
  of(index: number): Rollout {
    const generation: Generation = this.#run.generationOf(index);
    const { token_ids, logprobs, ...ending } = this.#kept[index]!;
    return {
      prompt_token_ids: Array.from(generation.prompt_token_ids),
      token_ids,
      logprobs,
      logprobs_mode: generation.params.logprobs_mode,
      ...ending,
      seed: generation.seeds[index % this.#run.n]!,
    };
  }

  /** The same as JSON, for one frame of a stream. */
  jsonOf(index: number): string {
    return jsonText(this.of(index));
  }
}
