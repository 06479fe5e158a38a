/** Blocks of code with a button to copy them, and JSON written out. */
import { copy, h, icon } from "./dom.ts";

/** @param language as the answer names it; "" = it does not */
export function codeBlock(text: string, language: string): HTMLElement {
  const code = h("code", {}, text);
  const button: HTMLButtonElement = h(
    "button",
    { type: "button", class: "copy", onclick: () => copy(code.textContent ?? "", button) },
    icon("copy"),
    "Copy",
  );
  const name = /^\S{0,30}/.exec(language)![0];
  return h(
    "figure",
    { class: "code" },
    h("figcaption", {}, h("span", {}, name || "text"), button),
    h("pre", { tabindex: 0, role: "region", "aria-label": name === "" ? "Code" : `Code in ${name}` }, code),
  );
}

/** JSON with a line for each value; what is none (yet) stays as it is. */
export function prettyJson(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** Is the whole text a JSON object or array? */
export function isJson(text: string): boolean {
  if (!/^\s*[[{]/.test(text)) return false;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
