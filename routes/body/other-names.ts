/** What fields of other servers and routes are called here, so that a refusal says what to send. */

/** The field that a request has in the place of another one, and what to do where sending it is not all. */
type OwnField = string | readonly [field: string, cure: string];

/** By field. Of several, the first that the request has counts. */
const IN_ITS_PLACE = new Map<string, readonly OwnField[]>([
  ["extra_body", [["model", "put its fields into the body itself"]]],
  ["functions", ["tools"]],
  ["function_call", ["tool_choice"]],
  ["messages", ["input", ["prompt", "send prompt, or send messages to /v1/chat/completions"]]],
  ["input", ["messages", "prompt"]],
  ["inputs", ["prompt", "messages"]],
  ["prompt", [["messages", "send messages, or send prompt to /v1/completions"], "input", "token_ids"]],
  ["content", ["prompt"]],
  [
    "response_format",
    [
      ["text", "send text.format"],
      ["output_config", "send output_config.format"],
    ],
  ],
  ["text", ["response_format", "prompt"]],
  ["n_predict", ["max_tokens", "max_output_tokens"]],
  ["max_new_tokens", ["max_tokens", "max_output_tokens"]],
  ["max_length", ["max_tokens", "max_output_tokens"]],
  ["max_tokens", ["max_output_tokens", "max_new_tokens"]],
  ["max_completion_tokens", ["max_output_tokens", "max_tokens"]],
  ["max_output_tokens", ["max_tokens"]],
  ["min_new_tokens", ["min_tokens"]],
  ["stop", ["stop_sequences"]],
  ["stop_sequences", ["stop"]],
  ["repeat_penalty", ["repetition_penalty"]],
  [
    "reasoning_effort",
    [
      ["output_config", "send output_config.effort"],
      ["reasoning", "send reasoning.effort"],
    ],
  ],
  ["instructions", [["messages", "send a message of the system"]]],
  ["system", ["instructions", ["messages", "send a message of the system"]]],
  ["ids", ["tokens"]],
  ["token_ids", ["tokens", "prompt"]],
]);

/** What to send in place of the field `name` to a request that has the fields of `shape`; null where nothing is known. */
export function whatToSend(name: string, shape: object): string | null {
  for (const own of IN_ITS_PLACE.get(name) ?? []) {
    const [field, cure] = typeof own === "string" ? [own, `send ${own}`] : own;
    if (Object.hasOwn(shape, field)) return cure;
  }
  return null;
}
