/**
 * An element that shows a Markdown text while it grows. Only the last block can change when a text is added to: the blocks before
 * it are read and made once. A text is drawn at most once in a frame, and less often where drawing takes long.
 */
import { Lexer, type Token } from "marked";
import { blockElement } from "./markdown.ts";

/** Drawing may take this share of the time. */
const SHARE = 0.25;

/** A line that a model ends is a line: verses are not run together, as CommonMark would. */
function read(text: string): Token[] {
  return new Lexer({ gfm: true, breaks: true }).lex(text);
}

/** What a block is, and the nodes that show it. */
interface Block {
  raw: string;
  node: Node | null;
}

export class MarkdownView {
  readonly element: HTMLElement;
  /** Called after the text was drawn. */
  onDrawn: () => void = () => {};
  #text = "";
  #drawn = "";
  /** The text that was last read as a whole. */
  #whole = "";
  #blocks: Block[] = [];
  /** Characters of the text that are in blocks which cannot change. */
  #settled = 0;
  #settledBlocks = 0;
  #scheduled = false;
  /** When drawing may begin again. */
  #free = 0;

  constructor(element: HTMLElement) {
    this.element = element;
  }

  /** Shows a text that goes on. It is drawn soon. */
  grow(text: string): void {
    this.#text = text;
    this.#whole = "";
    if (this.#scheduled) return;
    this.#scheduled = true;
    const wait = this.#free - performance.now();
    const draw = () => requestAnimationFrame(() => this.#draw());
    if (wait > 0) setTimeout(draw, wait);
    else draw();
  }

  /** Shows a whole text at once. */
  set(text: string): void {
    if (text === this.#whole) return;
    this.#whole = text;
    this.#text = text;
    this.#settled = 0;
    this.#settledBlocks = 0;
    this.#replace(0, read(text));
    this.#drawn = text;
  }

  #draw(): void {
    this.#scheduled = false;
    const begun = performance.now();
    if (this.#text !== this.#drawn) {
      if (!this.#text.startsWith(this.#drawn)) this.set(this.#text);
      else this.#extend();
      this.onDrawn();
    }
    this.#free = begun + (performance.now() - begun) / SHARE;
  }

  #extend(): void {
    const tokens = read(this.#text.slice(this.#settled));
    this.#drawn = this.#text;
    this.#replace(this.#settledBlocks, tokens);
    // All but the last block, and the space behind it, are settled.
    const last = tokens.findLastIndex(({ type }) => type !== "space");
    for (const { raw } of tokens.slice(0, Math.max(0, last))) {
      this.#settled += raw.length;
      this.#settledBlocks++;
    }
  }

  /** Makes the blocks from `first` on those of `tokens`. Blocks that stay the same keep their nodes. */
  #replace(first: number, tokens: Token[]): void {
    let at = first;
    for (const token of tokens) {
      const old = this.#blocks[at];
      if (old?.raw !== token.raw) {
        if (!(old && growCode(old, token))) this.#put(at, { raw: token.raw, node: blockElement(token) });
      }
      at++;
    }
    for (const { node } of this.#blocks.splice(at)) node?.parentNode?.removeChild(node);
  }

  #put(at: number, block: Block): void {
    const old = this.#blocks[at]?.node;
    if (old && block.node) old.parentNode!.replaceChild(block.node, old);
    else if (old) old.parentNode!.removeChild(old);
    else if (block.node) {
      const next = this.#blocks.slice(at + 1).find(({ node }) => node !== null)?.node ?? null;
      this.element.insertBefore(block.node, next);
    }
    this.#blocks[at] = block;
  }
}

/** Adds to a block of code what is new of it: a long one is not made again for every line. */
function growCode(block: Block, token: Token): boolean {
  if (token.type !== "code" || !(block.node instanceof HTMLElement)) return false;
  const code = block.node.querySelector("pre > code");
  const text = code?.textContent ?? "";
  // The line of the language may still have been growing.
  if (!code || text === "" || !token.text.startsWith(text)) return false;
  code.append(token.text.slice(text.length));
  block.raw = token.raw;
  return true;
}
