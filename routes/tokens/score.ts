/**
 * POST /inference/v1/score: the log probability of each token of given sequences after their prompts, in the model's own
 * distribution. A trainer compares with it what was sampled, by this server or by another.
 */
import type { Context } from "hono";
import { FastgenError } from "../../src/errors.ts";
import { MAX_PROMPTS_PER_REQUEST } from "../../src/limits.ts";
import type { Generation, PositionLogprobs, Prompt } from "../../src/types.ts";
import { readBody } from "../body/body.ts";
import { freshId, generateOptions } from "../body/fields.ts";
import { tokenIds } from "../body/prompts.ts";
import { scoreSchema } from "../body/schemas.ts";
import type { Env } from "../context.ts";
import { each, finite } from "../reply/logprobs.ts";
import { JsonList, longJson } from "../reply/long-json.ts";
import { Run } from "../run.ts";
import type { Service } from "../service.ts";

export function score(service: Service) {
  return async (c: Context<Env>): Promise<Response> => {
    const { fields } = await readBody(c, service, scoreSchema);
    const { request_id = freshId(), top_logprobs = 0 } = fields;
    c.get("record").nameBy(request_id);
    const sequences = sequenceList(fields.sequences);
    const prompts = sequences.map(({ prompt, tokens }) => [...prompt, ...tokens]);
    const starts = new Map<Prompt, number>(prompts.map((ids, i) => [ids, sequences[i]!.prompt.length]));
    // Prompts that several sequences have in common are computed once.
    const prepare = async (prompt: Prompt) => ({ prompt, options: { first_scored_token: starts.get(prompt) } });
    const params = { max_tokens: 0, prompt_logprobs: top_logprobs };
    const run = await Run.start(c, service, prompts, params, generateOptions(fields), prepare).catch((error) => {
      throw inSequences(error);
    });
    await run.collect();
    const data = sequences.map(({ prompt }, index) => {
      const scored = positionsFrom(run.generations[index]!, prompt.length);
      return {
        index,
        logprobs: new JsonList(each(scored, ({ logprob }) => finite(logprob))),
        ranks: new JsonList(each(scored, ({ rank }) => rank)),
        ...(top_logprobs > 0 && { top_logprobs: new JsonList(each(scored, alternatives)) }),
      };
    });
    const created = Math.floor(Date.now() / 1000);
    return longJson(run.record, {
      request_id,
      object: "list",
      model: service.modelName,
      created,
      data,
      weight_version: run.weightVersion,
      usage: run.usage(),
    });
  };
}

/** The library calls a sequence a prompt; which one it means is not known here. */
function inSequences(error: unknown): unknown {
  if (!(error instanceof FastgenError) || error.param !== "prompt") return error;
  const message = error.message.replace(/^prompt\b/, "sequences");
  return new FastgenError(error.kind, message, { param: "sequences", code: error.code });
}

/** The positions from `start` on, which all have log probabilities; may be iterated again. */
function positionsFrom({ prompt_logprobs }: Generation, start: number): Iterable<PositionLogprobs> {
  return {
    *[Symbol.iterator]() {
      let at = 0;
      for (const position of prompt_logprobs ?? []) if (at++ >= start) yield position!;
    },
  };
}

function alternatives({ top }: PositionLogprobs) {
  return top.map(({ id, logprob }) => ({ token_id: id, logprob: finite(logprob) }));
}

/** Checked by hand, as prompts are: there may be a million ids. */
function sequenceList(value: unknown): { prompt: number[]; tokens: number[] }[] {
  const refuse = (message: string) =>
    new FastgenError("invalid_request", `sequences ${message}`, { param: "sequences" });
  if (!Array.isArray(value) || value.length === 0) {
    throw refuse("must be a non-empty array of {prompt_token_ids, token_ids}");
  }
  if (value.length > MAX_PROMPTS_PER_REQUEST) {
    throw refuse(`has ${value.length} sequences; at most ${MAX_PROMPTS_PER_REQUEST} are allowed; split it`);
  }
  return value.map((item: Record<string, unknown> | null, i) => ({
    prompt: tokenIds(item?.prompt_token_ids, `sequences[${i}].prompt_token_ids`),
    tokens: tokenIds(item?.token_ids, `sequences[${i}].token_ids`),
  }));
}
