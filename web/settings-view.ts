/** The settings of a conversation: system prompt, sampling, and the form of answers. Each counts from the next message on. */
import { openDialog } from "./dialogs.ts";
import { h } from "./dom.ts";
import { FIELDS, type Field, type Settings } from "./settings.ts";

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
    return h("div", { class: "rows" in field ? "field wide" : "field" }, label, control, hint);
  });
  openDialog("Settings of this chat", [h("div.fields", {}, ...rows)]);
}

function controlOf({ number, choices, rows }: Field): HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement {
  if (choices) return h("select", {}, ...choices.map(([value, name]) => h("option", { value }, name)));
  if (!number) return h("textarea", { rows });
  const [min, step] = number;
  return h("input", { type: "number", inputmode: "decimal", min, step, placeholder: "default" });
}
