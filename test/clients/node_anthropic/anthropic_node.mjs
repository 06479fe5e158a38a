/** Anthropic's client for JavaScript: whole and streamed messages, tools, counting, aborts; and what a coding agent sends. */
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [url, model, modules] = process.argv.slice(2);
const require = createRequire(`${modules}/package.json`);
const { default: Anthropic } = await import(pathToFileURL(require.resolve("@anthropic-ai/sdk")).href);

const client = new Anthropic({ baseURL: url, apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user", content: "What is the capital of France?" }];
const request = { model, max_tokens: 16, messages, temperature: 0 };

const whole = await client.messages.create(request);
assert.ok(whole.content[0].text);
const stream = client.messages.stream(request);
let pieces = "";
stream.on("text", (delta) => {
  pieces += delta;
});
assert.equal(await stream.finalText(), whole.content[0].text);
assert.equal(pieces, whole.content[0].text);
assert.equal((await stream.finalMessage()).usage.output_tokens, whole.usage.output_tokens);
const { input_tokens } = await client.messages.countTokens({ model, messages });
assert.equal(input_tokens, whole.usage.input_tokens + whole.usage.cache_read_input_tokens);

const endless = await client.messages.create({ ...request, max_tokens: 1000, stream: true });
for await (const event of endless) {
  assert.equal(event.type, "message_start");
  break;
}
assert.ok(endless.controller.signal.aborted);

// A coding agent's request: system blocks and tools that are cached, betas, thinking, results of tools, a reminder.
const cached = { cache_control: { type: "ephemeral" } };
const file_path = { type: "string", enum: ["README.md", "LICENSE"], description: "The path of the file." };
const tools = [
  {
    name: "Read",
    description: "Reads a file.",
    input_schema: {
      $schema: "http://json-schema.org/draft-07/schema#",
      type: "object",
      properties: { file_path },
      required: ["file_path"],
      additionalProperties: false,
    },
  },
  {
    name: "Write",
    description: "Writes a file.",
    input_schema: {
      type: "object",
      properties: { file_path, content: { type: "string" } },
      required: ["file_path", "content"],
    },
    ...cached,
  },
];
const turn = {
  model,
  max_tokens: 400,
  temperature: 1,
  metadata: { user_id: "user_0_account__session_0" },
  betas: ["interleaved-thinking-2025-05-14", "context-management-2025-06-27", "fine-grained-tool-streaming-2025-05-14"],
  context_management: { edits: [{ type: "clear_thinking_20251015", keep: "all" }] },
  system: [
    { type: "text", text: "You are an agent that writes code.", ...cached },
    { type: "text", text: "The project is called x.", ...cached },
  ],
  tools,
  thinking: { type: "enabled", budget_tokens: 64 },
};
const first = [
  {
    role: "user",
    content: [
      { type: "text", text: "<system-reminder>\nToday is a day.\n</system-reminder>" },
      { type: "text", text: "Read README.md.", ...cached },
    ],
  },
];
const called = await client.beta.messages
  .stream({ ...turn, messages: first, tool_choice: { type: "tool", name: "Read", disable_parallel_tool_use: true } })
  .finalMessage();
assert.equal(called.stop_reason, "tool_use");
const use = called.content.find(({ type }) => type === "tool_use");
assert.equal(use.name, "Read");
assert.equal(typeof use.input.file_path, "string");
const result = { type: "tool_result", tool_use_id: use.id, content: "     1\t# Project\n", is_error: false, ...cached };
const answered = await client.beta.messages
  .stream({
    ...turn,
    max_tokens: 32,
    messages: [...first, { role: "assistant", content: called.content }, { role: "user", content: [result] }],
  })
  .finalMessage();
assert.ok(["end_turn", "max_tokens", "tool_use"].includes(answered.stop_reason));

await assert.rejects(client.messages.create({ ...request, top_p: 2 }), (error) => {
  return error instanceof Anthropic.BadRequestError && error.error.error.message.startsWith("top_p");
});
console.log("anthropic for node", "done");
