/** Elements made by code. No text is ever read as markup: the page's policy (Trusted Types) forbids it. */

type Child = Node | string | null | false;
type Listeners = { [K in keyof HTMLElementEventMap as `on${K}`]?: (event: HTMLElementEventMap[K]) => unknown };
type Attributes = Record<string, string | number | boolean | null | undefined>;

/**
 * An element: attributes (true = without a value; false, null and undefined = none), listeners ("onclick") and children
 * (null and false are left out).
 */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  given: Attributes | Listeners = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value as EventListener);
    else setAttribute(element, name, value as Attributes[string]);
  }
  element.append(...children.filter((child) => child !== null && child !== false));
  return element;
}

function setAttribute(element: Element, name: string, value: Attributes[string]): void {
  if (value !== false && value !== null && value !== undefined)
    element.setAttribute(name, value === true ? "" : `${value}`);
}

const SVG = "http://www.w3.org/2000/svg";

export function svg(tag: string, attributes: Attributes = {}, ...children: Child[]): SVGElement {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) setAttribute(element, name, value);
  element.append(...children.filter((child) => child !== null && child !== false));
  return element;
}

/** One of index.html's symbols; beside it there is always a text or a label. */
export function icon(name: string): SVGElement {
  return svg("svg", { class: "icon", "aria-hidden": "true" }, svg("use", { href: `#i-${name}` }));
}

/** A button with an icon; its label is shown as a tip. */
export function iconButton(name: string, label: string, onclick: (event: MouseEvent) => unknown): HTMLButtonElement {
  return h("button", { type: "button", class: "tool", "aria-label": label, title: label, onclick }, icon(name));
}

/** An element of index.html. */
export function get<T extends HTMLElement = HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

/** Tells a screen reader, and nobody else. */
export function announce(text: string): void {
  get("announcer").textContent = text;
}

/** Copies a text and says so on the button for a moment. */
export async function copy(text: string, button: HTMLButtonElement): Promise<void> {
  await navigator.clipboard.writeText(text);
  announce("Copied");
  button.dataset.done = "";
  setTimeout(() => delete button.dataset.done, 1500);
}

/** Hands a text to the reader as a file. */
export function download(name: string, text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
