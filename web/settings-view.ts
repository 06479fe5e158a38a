/** The settings of a conversation: system prompt, sampling, and the form of answers. Each counts from the next message on. */
import { openDialog } from "./dialogs.ts";
import { h } from "./dom.ts";
import type { Settings } from "./types.ts";

interface Field {
  key: keyof Settings;
  label: string;
  hint: string;
  /** A number's least, greatest and step; a list of values and their names; or the rows of a text. */
  number?: [min: number, max: number | null, step: number | "any"];
  choices?: [value: string, name: string][];
  rows?: number;
}

// biome-ignore format: one row a field
const FIELDS: Field[] = [
  { key: "system", label: "System prompt", hint: "What the model is told before the conversation", rows: 4 },
  { key: "temperature", label: "Temperature", hint: "0 always takes the likeliest token", number: [0, 2, 0.05] },
  { key: "top_p", label: "Top p", hint: "Share of probability to draw from", number: [0, 1, 0.01] },
  { key: "top_k", label: "Top k", hint: "Likeliest tokens to draw from", number: [0, null, 1] },
  { key: "min_p", label: "Min p", hint: "Least probability, as a share of the likeliest token's", number: [0, 1, 0.01] },
  { key: "max_tokens", label: "Greatest length", hint: "Tokens of an answer", number: [1, null, 1] },
  { key: "seed", label: "Seed", hint: "The same seed draws the same answer", number: [0, null, 1] },
  { key: "presence_penalty", label: "Presence penalty", hint: "Against words that were there", number: [-2, 2, 0.1] },
  { key: "frequency_penalty", label: "Frequency penalty", hint: "Against words that were there often", number: [-2, 2, 0.1] },
  { key: "repetition_penalty", label: "Repetition penalty", hint: "Above 1: against repetition", number: [0.1, 2, 0.05] },
  { key: "thinking", label: "Thinking", hint: "Of models whose template lets it be chosen", choices: [["", "As the model does"], ["on", "On"], ["off", "Off"]] },
  { key: "stop", label: "Stop strings", hint: "One a line; the answer ends before them", rows: 2 },
  { key: "format", label: "Form of answers", hint: "What an answer can be", choices: [["", "Text"], ["json", "A JSON object"], ["schema", "JSON of a schema"]] },
  { key: "schema", label: "JSON schema", hint: "For “JSON of a schema”", rows: 4 },
  { key: "tools", label: "Tools", hint: "A JSON list of functions in OpenAI's shape; you give their results", rows: 4 },
];

/** @param onChange called after each change of `settings` */
export function openSettings(settings: Settings, onChange: () => void): void {
  const rows = FIELDS.map((field) => {
    const control = controlOf(field);
    control.id = `set-${field.key}`;
    control.value = settings[field.key];
    control.setAttribute("aria-describedby", `hint-${field.key}`);
    control.addEventListener("input", () => {
      settings[field.key] = control.value;
      onChange();
    });
    const label = h("label", { for: control.id }, field.label);
    const hint = h("span", { id: `hint-${field.key}`, class: "about" }, field.hint);
    return h("div", { class: field.rows ? "field wide" : "field" }, label, control, hint);
  });
  openDialog("Settings of this chat", [h("div", { class: "fields" }, ...rows)]);
}

function controlOf({ number, choices, rows }: Field): HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement {
  if (choices) return h("select", {}, ...choices.map(([value, name]) => h("option", { value }, name)));
  if (!number) return h("textarea", { rows });
  const [min, max, step] = number;
  return h("input", { type: "number", inputmode: "decimal", min, max, step, placeholder: "default" });
}
