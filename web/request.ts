/** The body of a request: the messages that are shown, and the settings that are not the server's defaults. */
import type { Message, Settings } from "./types.ts";

/** Settings that are sent as numbers, under their own names. */
const NUMBERS = [
  "temperature",
  "top_p",
  "top_k",
  "min_p",
  "max_tokens",
  "seed",
  "presence_penalty",
  "frequency_penalty",
  "repetition_penalty",
] as const;

/**
 * @param path what the answer follows
 * @throws Error in words for the reader, where a setting cannot be read
 */
export function requestBody(model: string, path: Message[], settings: Settings): Record<string, unknown> {
  const body: Record<string, unknown> = {
    model,
    messages: [...systemMessage(settings), ...path.filter(isSent).map(toWire)],
    stream: true,
    stream_options: { include_usage: true, continuous_usage_stats: true },
  };
  for (const name of NUMBERS) {
    const text = settings[name].trim();
    if (text === "") continue;
    if (!Number.isFinite(Number(text))) throw new Error(`Settings: ${name} is “${text}”, which is no number.`);
    body[name] = Number(text);
  }
  const stop = settings.stop.split("\n").filter((line) => line !== "");
  if (stop.length > 0) body.stop = stop;
  if (settings.thinking !== "") body.chat_template_kwargs = { enable_thinking: settings.thinking === "on" };
  if (settings.format === "json") body.response_format = { type: "json_object" };
  if (settings.format === "schema") {
    const schema = parseJson(settings.schema, "the JSON schema");
    body.response_format = { type: "json_schema", json_schema: { name: "answer", schema } };
  }
  if (settings.tools.trim() !== "") body.tools = parseJson(settings.tools, "the list of tools");
  return body;
}

const systemMessage = ({ system }: Settings) => (system.trim() === "" ? [] : [{ role: "system", content: system }]);

/** An answer of which nothing came is no part of the conversation. */
const isSent = ({ role, content, calls }: Message) => role !== "assistant" || content !== "" || calls.length > 0;

function toWire({ role, content, calls, call }: Message): object {
  if (role === "tool") return { role, content, tool_call_id: call };
  if (calls.length === 0) return { role, content };
  const tool_calls = calls.map(({ id, name, arguments: written }) => {
    return { id, type: "function", function: { name, arguments: written } };
  });
  return { role, content: content === "" ? null : content, tool_calls };
}

function parseJson(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`Settings: ${what} is not JSON: ${(error as Error).message}`);
  }
}
