/** Bugs planted in routes: tokens in, tokens out, scores and rollouts. */
import { inFile, type PlantedBug } from "./bugs.ts";

const GENERATE = ["routes/tokens/generate.test.ts"];

export const tokenBugs: PlantedBug[] = [
  ...inFile("routes/tokens/generate.ts", GENERATE, [
    ["max_tokens: _, logprobs_mode: __,", "logprobs_mode: __,", "the model's max_tokens is not heard"],
    ["logprobs_mode: __, ...replaced", "...replaced", "--logprobs-mode is not heard"],
    ["{ ...neutral, ...samplingParams(", "{ ...samplingParams(", "what is left out has the model's defaults"],
    ["askForRollout(params, fields);", "", "a rollout has no log probabilities"],
    ['sampling_params.max_tokens", "of 0', 'max_tokens", "of 0', "an error names a field of another request"],
    ["fields.sampling_params.logprobs === null ? null :", "", "a rollout brings log probabilities beside it"],
    ["...(format.asText && { text }),", "", "output_mode text brings no text"],
    ["rollouts?.add(choice);", "rollouts?.add({ ...choice, index: 0 });", "all rollouts are one"],
  ]),
  ...inFile("routes/tokens/generate-frames.ts", GENERATE, [
    ['this.#promptIds = "";\n', "", "every frame has the prompt's ids"],
    ["this.#withLogprobs && logprobs ?", "logprobs ?", "a streamed rollout brings log probabilities beside it"],
    ["this.#rollouts?.add(chunk);", "", "a streamed rollout is empty"],
    ["this.#ends.last(this.#envelope, this.#run.usage()) +", "", "a stream does not tell its usage"],
  ]),
  ...inFile("routes/reply/long-json.ts", GENERATE, [
    [
      'typeof value === "bigint" ? String(value)',
      'typeof value === "bigint" ? String(Number(value))',
      "a seed is rounded",
    ],
  ]),
  ...inFile("routes/responses/answer.ts", GENERATE, [
    ["    this.#rollouts?.add(piece.chunk);\n", "", "a response's rollout is empty"],
    [
      "  forStore() {\n    return this.#response(false)",
      "  forStore() {\n    return this.end()",
      "a rollout is stored",
    ],
  ]),
  ...inFile("routes/responses/response.ts", GENERATE, [
    ["return this.#withLogprobs ? ", "return true ? ", "a rollout brings log probabilities into the text"],
  ]),
  ...inFile("routes/anthropic/events.ts", GENERATE, [
    ["    this.#rollouts?.add(chunk);\n", "", "a streamed message's rollout is empty"],
  ]),
  ...inFile("routes/reply/rollout.ts", GENERATE, [
    ["generation.seeds[index % this.#run.n]!", "generation.seeds[0]!", "every choice has the first one's seed"],
    ["Array.from(generation.prompt_token_ids)", "[]", "a rollout has no prompt"],
    ["generation.params.logprobs_mode", '"raw_logprobs"', "a rollout's mode is always raw"],
  ]),
  ...inFile("routes/reply/token-logprobs.ts", GENERATE, [
    ["const top = [own];", "const top = [];", "the token itself is not among its alternatives"],
    ["if (one.id !== position.id) top.push", "top.push", "the token itself comes twice"],
    [
      "tokenNames(!format.asText);\n  return { content: new",
      "tokenNames(false);\n  return { content: new",
      "tokens have their texts for names",
    ],
  ]),
  ...inFile("routes/tokens/score.ts", GENERATE, [
    ["if (at++ >= start) yield", "if (at++ > start) yield", "the first scored token is left out"],
    ["[...prompt, ...tokens]", "[...tokens, ...prompt]", "prompts come last"],
    ["value.length > MAX_PROMPTS_PER_REQUEST", "false", "there may be any number of sequences"],
    ["({ rank }) => rank", "() => 0", "ranks are 0"],
  ]),
];
