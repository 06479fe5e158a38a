/** What a conversation is made of, as it is kept in the browser and exported. */

/** A call of a tool as the model wrote it; `arguments` is JSON, or what there is of it. */
export interface ToolCall {
  id: string;
  name: string;
  arguments: string;
}

/** How an answer was given, as this browser saw it. */
export interface Timing {
  /** Milliseconds from sending the request to the first piece of the answer; null = none came. */
  first: number | null;
  /** Milliseconds from sending the request to its end. */
  total: number;
  /** Milliseconds of reasoning; null = there was none. */
  thinking: number | null;
  /** Tokens of the answer, and of the prompt, as the server counts them. */
  tokens: number;
  prompt: number;
  /** Tokens that came in each equal part of the time after the first. */
  pace: number[];
}

/** Why an answer ends. "stopped" = by the reader, "lost" = the page was closed meanwhile; null = it is being written. */
export const ENDS = ["stop", "length", "tool_calls", "stopped", "lost", "error"] as const;
export type End = (typeof ENDS)[number];

export const ROLES = ["user", "assistant", "tool"] as const;

export interface Message {
  id: string;
  /** The message that it follows; null = it begins the conversation. Messages with one parent are branches. */
  parent: string | null;
  role: (typeof ROLES)[number];
  content: string;
  /** Milliseconds since 1970. */
  time: number;
  reasoning: string;
  calls: ToolCall[];
  /** Of a tool's result: the call that it answers. */
  call: string | null;
  /** Of an answer: the model that gave it. */
  model: string | null;
  end: End | null;
  error: string | null;
  timing: Timing | null;
}

/** What a request asks for beside its messages. Numbers are as typed; "" = the server's default. */
export interface Settings {
  system: string;
  temperature: string;
  top_p: string;
  top_k: string;
  min_p: string;
  max_tokens: string;
  seed: string;
  presence_penalty: string;
  frequency_penalty: string;
  repetition_penalty: string;
  /** Stop strings, one a line. */
  stop: string;
  /** "" = the model's default, "on", "off". */
  thinking: string;
  /** "" = text, "json" = any JSON object, "schema" = what `schema` allows. */
  format: string;
  schema: string;
  /** JSON: a list of tools in OpenAI's shape. */
  tools: string;
}

export interface Conversation {
  id: string;
  title: string;
  created: number;
  updated: number;
  settings: Settings;
  messages: Message[];
  /** The last message of the branch that is shown; null = there is none yet. */
  leaf: string | null;
}

export const NO_SETTINGS: Settings = {
  system: "",
  temperature: "",
  top_p: "",
  top_k: "",
  min_p: "",
  max_tokens: "",
  seed: "",
  presence_penalty: "",
  frequency_penalty: "",
  repetition_penalty: "",
  stop: "",
  thinking: "",
  format: "",
  schema: "",
  tools: "",
};
