/** Fields of another request than the one that was made: the error says what to send in their place. */
import { expect, test } from "bun:test";
import { messageSchema } from "../anthropic/schema.ts";
import { responseSchema } from "../responses/schema.ts";
import { takeKnown } from "./other-fields.ts";
import { chatSchema, completionSchema } from "./schemas.ts";

const schemas = { chat: chatSchema, completion: completionSchema, response: responseSchema, message: messageSchema };

test.each([
  ["chat", "extra_body", "put its fields into the body itself"],
  ["response", "functions", "send tools"],
  ["response", "function_call", "send tool_choice"],
  ["chat", "input", "send messages"],
  ["chat", "max_output_tokens", "send max_tokens"],
  ["chat", "text", "send response_format"],
  ["completion", "messages", "send prompt, or send messages to /v1/chat/completions"],
  ["response", "messages", "send input"],
  ["response", "response_format", "send text.format"],
  ["response", "reasoning_effort", "send reasoning.effort"],
  ["response", "max_tokens", "send max_output_tokens"],
  ["message", "response_format", "send output_config.format"],
  ["message", "max_completion_tokens", "send max_tokens"],
  ["message", "stop", "send stop_sequences"],
  ["message", "reasoning_effort", "send output_config.effort"],
] as const)("a %s's %s: %s", (request, name, cure) => {
  const take = () => takeKnown({ [name]: { a: 1 } }, schemas[request].shape, false);
  expect(take).toThrow(`${name} is not supported: ${cure}`);
});

test("a field that no request has may be left out", () => {
  expect(() => takeKnown({ temprature: 1 }, chatSchema.shape, false)).toThrow(
    /^temprature is not supported, .*leave it out$/,
  );
});
