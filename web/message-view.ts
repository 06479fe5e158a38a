/** One message of the conversation: what is said, its branches, its figures, and what may be done with it. */
import { codeBlock, isJson, prettyJson } from "./code.ts";
import { copy, h, iconButton, svg } from "./dom.ts";
import { speedOf } from "./generation.ts";
import { MarkdownView } from "./markdown-view.ts";
import type { End, Message, Timing, ToolCall } from "./types.ts";

export interface MessageActions {
  /** Asks once more with another text. */
  edit: (message: Message, text: string) => void;
  /** Another answer beside this one. */
  regenerate: (message: Message) => void;
  /** Shows the branch that begins with this message. */
  show: (message: Message) => void;
  remove: (message: Message) => void;
  /** The results of an answer's calls, in their order. */
  answerCalls: (message: Message, results: string[]) => void;
}

/** What is known of a message beside itself. */
export interface Place {
  branches: Message[];
  isLast: boolean;
  isRunning: boolean;
}

/** What the reader should know of an answer's end. */
const ENDINGS: Partial<Record<End, string>> = {
  length: "The answer ends here because it has reached its greatest length.",
  stopped: "You stopped this answer.",
  lost: "The page was closed before this answer was whole.",
};

export class MessageView {
  readonly element = h("article");
  readonly #message: Message;
  readonly #actions: MessageActions;
  readonly #text = h("div", { class: "markdown" });
  readonly #markdown = new MarkdownView(this.#text);
  readonly #thought = h("div");
  #thoughtLength = 0;
  readonly #summary = h("summary");
  readonly #thinking = h("details", { class: "thinking" }, this.#summary, this.#thought);
  readonly #calls = h("div");
  readonly #waiting = h("span", { class: "waiting" }, h("i"), h("i"), h("i"));
  readonly #figures = h("span", { class: "figures" });

  /** @param onDrawn called when a growing answer was drawn */
  constructor(message: Message, actions: MessageActions, onDrawn: () => void) {
    this.#message = message;
    this.#actions = actions;
    this.#markdown.onDrawn = onDrawn;
  }

  /** Draws all of it. */
  draw(place: Place): void {
    const { role, model } = this.#message;
    const speaker = role === "user" ? "You" : role === "tool" ? "Tool" : (model?.split("/").at(-1) ?? "Answer");
    this.element.className = `message ${role}`;
    this.element.setAttribute("aria-busy", String(place.isRunning));
    const body = role === "assistant" ? this.#answer(place) : [this.#said()];
    this.element.replaceChildren(
      h("header", {}, h("h2", { title: model }, speaker)),
      h("div", {}, ...body, this.#footer(place)),
    );
  }

  /** Draws what an answer that goes on has more of. */
  grow(timing: Timing): void {
    const { content, reasoning, calls } = this.#message;
    this.#waiting.hidden = content !== "" || reasoning !== "" || calls.length > 0;
    this.#markdown.grow(content);
    this.#think(timing, content === "" && calls.length === 0);
    if (calls.length > 0) this.#calls.replaceChildren(...calls.map(callCard));
    this.#figures.replaceChildren(...figures(timing));
  }

  #answer({ isRunning, isLast }: Place): Node[] {
    const { content, calls, end, error, timing } = this.#message;
    this.#waiting.hidden = !isRunning;
    this.#think(timing, isRunning);
    this.#calls.replaceChildren(...calls.map(callCard));
    const isJsonAnswer = !isRunning && isJson(content);
    if (isJsonAnswer) this.#text.replaceChildren(codeBlock(prettyJson(content), "json"));
    else this.#markdown.set(content);
    const ending = isRunning ? undefined : ENDINGS[end ?? "lost"];
    return [
      this.#thinking,
      this.#text,
      this.#calls,
      this.#waiting,
      ...(!isRunning && isLast && calls.length > 0 ? [this.#resultForm(calls)] : []),
      ...(error === null ? [] : [h("p", { class: "failure" }, error)]),
      ...(ending === undefined ? [] : [h("p", { class: "ended" }, ending)]),
    ];
  }

  #think(timing: Timing | null, goesOn: boolean): void {
    const { reasoning } = this.#message;
    this.#thinking.hidden = reasoning === "";
    this.#thought.append(reasoning.slice(this.#thoughtLength));
    this.#thoughtLength = reasoning.length;
    const seconds = timing?.thinking == null ? "" : ` for ${(timing.thinking / 1000).toFixed(1)} s`;
    this.#summary.textContent = goesOn ? "Thinking…" : `Thought${seconds}`;
  }

  #said(): HTMLElement {
    const { role, content } = this.#message;
    if (role === "tool" && isJson(content)) return codeBlock(prettyJson(content), "json");
    return h("div", { class: "said" }, content);
  }

  #footer(place: Place): HTMLElement {
    const message = this.#message;
    if (place.isRunning) return h("footer", {}, this.#figures);
    const tools = [
      iconButton("copy", "Copy", (event) => copy(message.content, event.currentTarget as HTMLButtonElement)),
      message.role === "user" && iconButton("edit", "Edit", () => this.#edit(place)),
      message.role === "assistant" && iconButton("redo", "Answer again", () => this.#actions.regenerate(message)),
      iconButton("trash", "Delete from here", () => this.#actions.remove(message)),
    ];
    this.#figures.replaceChildren(...(message.timing ? figures(message.timing) : []));
    return h("footer", {}, this.#branches(place), ...tools, this.#figures);
  }

  #branches({ branches }: Place): HTMLElement | null {
    if (branches.length < 2) return null;
    const at = branches.indexOf(this.#message);
    const step = (name: string, label: string, to: Message | undefined) => {
      const button = iconButton(name, label, () => to && this.#actions.show(to));
      button.disabled = to === undefined;
      return button;
    };
    return h(
      "span",
      { class: "branches", role: "group", "aria-label": "Branches" },
      step("left", "Branch before", branches[at - 1]),
      h("span", {}, `${at + 1}/${branches.length}`),
      step("right", "Next branch", branches[at + 1]),
    );
  }

  #edit(place: Place): void {
    const area = h("textarea", { "aria-label": "Edit the message", rows: 3 });
    area.value = this.#message.content;
    const save = () => {
      if (area.value.trim() !== "") this.#actions.edit(this.#message, area.value);
    };
    const cancel = () => {
      this.draw(place);
      this.element.querySelector<HTMLElement>("[aria-label=Edit]")?.focus();
    };
    const onkeydown = (event: KeyboardEvent) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        save();
      }
      if (event.key !== "Escape") return;
      event.stopPropagation();
      cancel();
    };
    const buttons = h(
      "p",
      {},
      h("button", { type: "button", class: "primary", onclick: save }, "Send as a new branch"),
      h("button", { type: "button", class: "plain", onclick: cancel }, "Cancel"),
    );
    this.element.lastElementChild!.replaceChildren(h("div", { class: "edit", onkeydown }, area, buttons));
    area.style.height = `${area.scrollHeight + 4}px`;
    area.focus();
  }

  #resultForm(calls: ToolCall[]): HTMLElement {
    const areas = calls.map(({ name }) => h("textarea", { rows: 2, "aria-label": `Result of ${name}` }));
    const cards = calls.map(({ name }, i) =>
      h("div", { class: "call" }, h("h3", {}, h("span", {}, "Result of "), name), areas[i]!),
    );
    const onsubmit = (event: Event) => {
      event.preventDefault();
      this.#actions.answerCalls(
        this.#message,
        areas.map(({ value }) => value),
      );
    };
    const send = h("button", { class: "primary" }, calls.length === 1 ? "Send the result" : "Send the results");
    return h("form", { onsubmit }, ...cards, h("p", { class: "results" }, send));
  }
}

function callCard({ name, arguments: written }: ToolCall): HTMLElement {
  const title = h("h3", {}, h("span", {}, "Calls "), name);
  return h("div", { class: "call" }, title, codeBlock(prettyJson(written), "json"));
}

/** Tokens, their speed, the wait for the first one, and how evenly they came. */
function figures(timing: Timing): Node[] {
  const { tokens, first, pace } = timing;
  if (first === null) return [];
  const speed = speedOf(timing);
  const texts = [
    `${tokens.toLocaleString("en-US")} tokens`,
    ...(speed === null ? [] : [`${speed.toFixed(1)} tokens/s`]),
    `first after ${first < 1000 ? `${first.toFixed(0)} ms` : `${(first / 1000).toFixed(1)} s`}`,
  ];
  return [...texts.map((text) => h("span", {}, text)), ...(pace.length > 0 ? [paceChart(pace)] : [])];
}

/** A bar for each part of an answer's time: the tokens that came in it. */
function paceChart(pace: number[]): SVGElement {
  const top = Math.max(...pace, 1);
  const bars = pace.map((tokens, i) => {
    const height = (tokens / top) * 10;
    return svg("rect", { x: i * 2, y: 10 - height, width: 1.4, height });
  });
  const label = "Tokens over the time of this answer";
  const box = `0 0 ${pace.length * 2} 10`;
  return svg(
    "svg",
    { class: "pace", viewBox: box, preserveAspectRatio: "none", role: "img", "aria-label": label },
    ...bars,
  );
}
