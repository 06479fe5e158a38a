/** The settings of a conversation: what a request asks for beside its messages. */

export interface Field {
  key: string;
  label: string;
  hint: string;
  /** A number's least and step; a list of values and their names; or the rows of a text. */
  number?: [min: number, step: number];
  choices?: [value: string, name: string][];
  rows?: number;
}

// biome-ignore format: one row a field
export const FIELDS = [
  { key: "system", label: "System prompt", hint: "What the model is told first", rows: 4 },
  { key: "temperature", label: "Temperature", hint: "0 always takes the likeliest token", number: [0, 0.05] },
  { key: "top_p", label: "Top p", hint: "Share of probability to draw from", number: [0, 0.01] },
  { key: "top_k", label: "Top k", hint: "Likeliest tokens to draw from", number: [0, 1] },
  { key: "min_p", label: "Min p", hint: "Least share of the likeliest token's probability", number: [0, 0.01] },
  { key: "max_tokens", label: "Greatest length", hint: "Tokens of an answer", number: [1, 1] },
  { key: "seed", label: "Seed", hint: "The same seed draws the same answer", number: [0, 1] },
  { key: "presence_penalty", label: "Presence penalty", hint: "Against tokens that were there", number: [-2, 0.1] },
  { key: "frequency_penalty", label: "Frequency penalty", hint: "Against tokens that were there often", number: [-2, 0.1] },
  { key: "repetition_penalty", label: "Repetition penalty", hint: "Above 1: against repetition", number: [0.1, 0.05] },
  { key: "thinking", label: "Thinking", hint: "If the model's template lets it be chosen", choices: [["", "As the model does"], ["on", "On"], ["off", "Off"]] },
  { key: "stop", label: "Stop strings", hint: "One a line; the answer ends before them", rows: 2 },
  { key: "format", label: "Form of answers", hint: "What an answer can be", choices: [["", "Text"], ["json", "A JSON object"], ["schema", "JSON of a schema"]] },
  { key: "schema", label: "JSON schema", hint: "For “JSON of a schema”", rows: 4 },
  { key: "tools", label: "Tools", hint: "A JSON list in OpenAI's shape; you give their results", rows: 4 },
] as const satisfies Field[];

/** Settings as typed; "" = the server's default. */
export type Settings = Record<(typeof FIELDS)[number]["key"], string>;

export const NO_SETTINGS = Object.fromEntries(FIELDS.map(({ key }) => [key, ""])) as Settings;
