/** The frames of a streamed generation of tokens. */
import type { FastgenError } from "../../src/errors.ts";
import type { Chunk } from "../../src/types.ts";
import { streamUsage } from "../body/fields.ts";
import { Rollouts } from "../reply/rollout.ts";
import { DONE, errorFrame, FrameEnds, type Frames } from "../reply/sse.ts";
import { type TokenFormat, tokenLogprobs } from "../reply/token-logprobs.ts";
import { changedVersionsJson } from "../reply/weight-versions.ts";
import type { Run } from "../run.ts";
import type { GenerateFields } from "./generate.ts";

export class GenerateFrames implements Frames {
  readonly #run: Run;
  readonly #envelope: string;
  readonly #format: TokenFormat;
  readonly #withLogprobs: boolean;
  readonly #rollouts: Rollouts | null;
  readonly #ends: FrameEnds;
  /** The first frame alone has the prompt's ids. */
  #promptIds: string;

  constructor(envelope: object, run: Run, fields: GenerateFields, format: TokenFormat) {
    this.#run = run;
    this.#envelope = JSON.stringify(envelope).slice(0, -1);
    this.#format = format;
    this.#withLogprobs = fields.sampling_params.logprobs !== null;
    this.#rollouts = Rollouts.asked(fields, run);
    this.#ends = new FrameEnds(run, streamUsage(fields));
    const ids = fields.return_token_ids ? JSON.stringify(Array.from(run.generations[0]!.prompt_token_ids)) : "";
    this.#promptIds = ids === "" ? "" : `,"prompt_token_ids":${ids}`;
  }

  chunk(chunk: Chunk): string {
    const { index, text, token_ids, logprobs, finish_reason, stop_reason } = chunk;
    this.#rollouts?.add(chunk);
    this.#ends.count(index, token_ids.length);
    if (token_ids.length === 0 && text === "" && finish_reason === null) return "";
    const probabilities =
      this.#withLogprobs && logprobs ? JSON.stringify(tokenLogprobs(logprobs, this.#format)) : "null";
    let out = `data: ${this.#envelope},"choices":[{"index":${index},"token_ids":${JSON.stringify(token_ids)}`;
    if (this.#format.asText) out += `,"text":${JSON.stringify(text)}`;
    out += `,"logprobs":${probabilities},"finish_reason":${JSON.stringify(finish_reason)}`;
    if (finish_reason !== null) {
      out += `,"stop_reason":${JSON.stringify(stop_reason)}${changedVersionsJson(chunk)}`;
      if (this.#rollouts) out += `,"rollout":${this.#rollouts.jsonOf(index)}`;
    }
    const extra = this.#promptIds;
    this.#promptIds = "";
    return out + this.#ends.after(index, extra);
  }

  end(): string {
    return this.#ends.last(this.#envelope, this.#run.usage()) + DONE;
  }

  failed(error: FastgenError): string {
    return errorFrame(error);
  }
}
