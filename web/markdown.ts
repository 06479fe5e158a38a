/** Markdown as elements: marked reads it, and each of its tokens becomes an element made by code. HTML in a text stays text. */
import type { MarkedToken, Token, Tokens } from "marked";
import { codeBlock } from "./code.ts";
import { h } from "./dom.ts";

/** Entities that models write. Others stay as they are. */
const ENTITIES: Record<string, string> = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  apos: "'",
  nbsp: "\u00a0",
  copy: "©",
  reg: "®",
  deg: "°",
  times: "×",
  middot: "·",
  bull: "•",
  hellip: "…",
  ndash: "\u2013",
  mdash: "\u2014",
  larr: "←",
  rarr: "→",
  le: "≤",
  ge: "≥",
  ne: "≠",
  euro: "€",
};

function decode(text: string): string {
  return text.replace(/&(?:#(\d{1,7})|#x([\da-f]{1,6})|([a-z]{2,8}));/gi, (all, decimal, hexadecimal, name) => {
    if (name !== undefined) return Object.hasOwn(ENTITIES, name) ? ENTITIES[name]! : all;
    const code = decimal === undefined ? Number.parseInt(hexadecimal, 16) : Number(decimal);
    return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : "\ufffd";
  });
}

/** A block's element; null for tokens that show nothing. */
export function blockElement(token: Token): Node | null {
  const block = token as MarkedToken;
  switch (block.type) {
    case "paragraph":
      return h("p", {}, ...inline(block.tokens));
    case "heading":
      // The page itself has the levels above.
      return h(
        `h${Math.min(6, block.depth + 2)}` as "h3",
        { class: `heading h${block.depth}` },
        ...inline(block.tokens),
      );
    case "code":
      return codeBlock(block.text, block.lang ?? "");
    case "blockquote":
      return h("blockquote", {}, ...blocks(block.tokens));
    case "list":
      return list(block);
    case "table":
      return table(block);
    case "hr":
      return h("hr");
    case "html":
      return block.text.trim() === "" ? null : h("p", { class: "raw" }, block.text.trimEnd());
    case "space":
    case "def":
      return null;
    default:
      return h("p", {}, ...inline([token]));
  }
}

const blocks = (tokens: Token[]): Node[] => tokens.map(blockElement).filter((node) => node !== null);

function list({ ordered, start, items, loose }: Tokens.List): HTMLElement {
  const rows = items.map(({ tokens, task }) => {
    // In a tight list, a text is no paragraph.
    const isBare = ({ type }: Token) => !loose && (type === "text" || type === "paragraph");
    const children = tokens.flatMap((token) => (isBare(token) || isInline(token) ? inline([token]) : blocks([token])));
    return h("li", { class: task && "task" }, ...children);
  });
  return ordered ? h("ol", { start: start === "" || start === 1 ? null : start }, ...rows) : h("ul", {}, ...rows);
}

const isInline = ({ type }: Token) => type === "text" || type === "checkbox";

function table({ header, rows, align }: Tokens.Table): HTMLElement {
  const cells = (tag: "th" | "td", row: Tokens.TableCell[]) =>
    row.map(({ tokens }, i) => h(tag, { class: align[i] && `align-${align[i]}` }, ...inline(tokens)));
  const body = rows.map((row) => h("tr", {}, ...cells("td", row)));
  const whole = h("table", {}, h("thead", {}, h("tr", {}, ...cells("th", header))), h("tbody", {}, ...body));
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Table" }, whole);
}

function inline(tokens: Token[]): (Node | string)[] {
  return tokens.flatMap((token): (Node | string)[] => {
    const one = token as MarkedToken;
    switch (one.type) {
      case "text":
      case "paragraph":
        return one.tokens ? inline(one.tokens) : [decode(one.type === "text" ? one.text : one.raw)];
      case "escape":
        return [one.text];
      case "strong":
      case "em":
      case "del":
        return [h(one.type, {}, ...inline(one.tokens))];
      case "codespan":
        return [h("code", {}, one.text)];
      case "br":
        return [h("br")];
      case "link":
        return [link(one.href, inline(one.tokens), one.raw)];
      case "image":
        // An image would be fetched from elsewhere: nothing leaves this machine unless the reader follows a link.
        return [link(one.href, [one.text || "image"], one.raw)];
      case "checkbox":
        return [h("span", { role: "img", "aria-label": one.checked ? "done" : "to do" }, one.checked ? "☑ " : "☐ ")];
      case "html":
        return /^<br\s*\/?>$/i.test(one.raw) ? [h("br")] : [one.raw];
      default:
        return [one.raw];
    }
  });
}

/** A link to a page or a mail address; of any other kind, such as javascript:, only its source as text. */
function link(href: string, children: (Node | string)[], raw: string): Node | string {
  const url = URL.parse(href);
  if (!url || !/^(https?|mailto):$/.test(url.protocol)) return raw;
  return h("a", { href: url.href, target: "_blank", rel: "noopener noreferrer", title: url.href }, ...children);
}
