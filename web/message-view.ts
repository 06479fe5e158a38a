/** One message of the conversation: what is said, its branches, its figures, and what may be done with it. */
import { shortName } from "./api.ts";
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
  readonly #text = h("div.markdown", {});
  readonly #markdown = new MarkdownView(this.#text);
  readonly #thought = h("div");
  #thoughtLength = 0;
  readonly #summary = h("summary");
  readonly #thinking = h("details.thinking", {}, this.#summary, this.#thought);
  readonly #calls = h("div");
  readonly #waiting = h("span.waiting", {}, h("i"), h("i"), h("i"));
  /** What is told below an answer: where results are wanted, what went wrong, how it ended. */
  readonly #end = h("div");
  readonly #figures = h("span.figures", {});
  readonly #footer = h("footer");
  readonly #body = h("div");
  readonly #parts: Node[];

  /** @param onDrawn called when a growing answer was drawn */
  constructor(message: Message, actions: MessageActions, onDrawn: () => void) {
    const { role, model } = message;
    this.#message = message;
    this.#actions = actions;
    this.#markdown.onDrawn = onDrawn;
    const isAnswer = role === "assistant";
    const answer = [this.#thinking, this.#text, this.#calls, this.#waiting, this.#end, this.#footer];
    this.#parts = isAnswer ? answer : [said(message), this.#footer];
    const speaker = isAnswer ? shortName(model ?? "Answer") : role === "user" ? "You" : "Tool";
    this.element.append(h("header", {}, h("h2", { title: model }, speaker)), this.#body);
  }

  /** Draws what can change. What a long answer has of elements stays where it is: to move them would cost the time of a layout. */
  draw(place: Place): void {
    const { role } = this.#message;
    this.element.className = `message ${role === "tool" ? "result" : role}`;
    this.element.setAttribute("aria-busy", String(place.isRunning));
    if (role === "assistant") this.#drawAnswer(place);
    this.#drawFooter(place);
    if (this.#body.firstChild !== this.#parts[0]) this.#body.replaceChildren(...this.#parts);
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

  #drawAnswer({ isRunning, isLast }: Place): void {
    const { content, calls, end, error, timing } = this.#message;
    this.#waiting.hidden = !isRunning;
    this.#think(timing, isRunning);
    this.#calls.replaceChildren(...calls.map(callCard));
    if (!isRunning && isJson(content)) this.#text.replaceChildren(codeBlock(prettyJson(content), "json"));
    else this.#markdown.set(content);
    const ending = ENDINGS[end ?? "lost"];
    this.#end.replaceChildren(
      ...(!isRunning && isLast && calls.length > 0 ? [this.#resultForm(calls)] : []),
      ...(error === null ? [] : [h("p.failure", {}, error)]),
      ...(isRunning || ending === undefined ? [] : [h("p.ended", {}, ending)]),
    );
  }

  #think(timing: Timing | null, goesOn: boolean): void {
    const { reasoning } = this.#message;
    this.#thinking.hidden = reasoning === "";
    this.#thought.append(reasoning.slice(this.#thoughtLength));
    this.#thoughtLength = reasoning.length;
    const seconds = timing?.thinking == null ? "" : ` for ${(timing.thinking / 1000).toFixed(1)} s`;
    this.#summary.textContent = goesOn ? "Thinking…" : `Thought${seconds}`;
  }

  #drawFooter(place: Place): void {
    const message = this.#message;
    if (place.isRunning) {
      this.#footer.replaceChildren(this.#figures);
      return;
    }
    const tools = [
      iconButton("copy", "Copy", (event) => copy(message.content, event.currentTarget as HTMLButtonElement)),
      ...(message.role === "user" ? [iconButton("edit", "Edit", () => this.#edit(place))] : []),
      ...(message.role === "assistant"
        ? [iconButton("redo", "Answer again", () => this.#actions.regenerate(message))]
        : []),
      iconButton("trash", "Delete from here", () => this.#actions.remove(message)),
    ];
    this.#figures.replaceChildren(...(message.timing ? figures(message.timing) : []));
    this.#footer.replaceChildren(...this.#branches(place), this.#figures, ...tools);
  }

  #branches({ branches }: Place): Node[] {
    if (branches.length < 2) return [];
    const at = branches.indexOf(this.#message);
    const step = (name: string, label: string, to: Message | undefined) => {
      const button = iconButton(name, label, () => to && this.#actions.show(to));
      button.disabled = to === undefined;
      return button;
    };
    const count = h("span", {}, `${at + 1}/${branches.length}`);
    const [before, next] = [
      step("left", "Branch before", branches[at - 1]),
      step("right", "Next branch", branches[at + 1]),
    ];
    return [h("span.branches", { role: "group", "aria-label": "Branches" }, before, count, next)];
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
    this.#body.replaceChildren(h("div.edit", { onkeydown }, area, buttons));
    area.style.height = `${area.scrollHeight + 4}px`;
    area.focus();
  }

  #resultForm(calls: ToolCall[]): HTMLElement {
    const areas = calls.map(({ name }) => h("textarea", { rows: 2, "aria-label": `Result of ${name}` }));
    const cards = calls.map(({ name }, i) =>
      h("div.call", {}, h("h3", {}, h("span", {}, "Result of "), name), areas[i]!),
    );
    const onsubmit = (event: Event) => {
      event.preventDefault();
      this.#actions.answerCalls(
        this.#message,
        areas.map(({ value }) => value),
      );
    };
    const send = h("button.primary", {}, calls.length === 1 ? "Send the result" : "Send the results");
    return h("form", { onsubmit }, ...cards, h("p.results", {}, send));
  }
}

function said({ role, content }: Message): HTMLElement {
  return role === "tool" && isJson(content) ? codeBlock(prettyJson(content), "json") : h("div.said", {}, content);
}

function callCard({ name, arguments: written }: ToolCall): HTMLElement {
  const title = h("h3", {}, h("span", {}, "Calls "), name);
  return h("div.call", {}, title, codeBlock(prettyJson(written), "json"));
}

/** Tokens, their speed, the wait for the first one, and how evenly they came. */
function figures(timing: Timing): Node[] {
  const { tokens, first, pace } = timing;
  if (first === null) return [];
  const speed = speedOf(timing);
  const texts = [
    `${tokens.toLocaleString("en-US")} tokens`,
    ...(speed === null
      ? []
      : [`${speed < 100 ? speed.toFixed(1) : Math.round(speed).toLocaleString("en-US")} tokens/s`]),
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
