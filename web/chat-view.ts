/** The messages of the conversation that is shown, and the box for the next one. */
import { announce, get, h } from "./dom.ts";
import type { Generation } from "./generation.ts";
import { type MessageActions, MessageView } from "./message-view.ts";
import { branchesOf, pathOf } from "./tree.ts";
import type { Conversation } from "./types.ts";

/** Pixels from the end within which the reader is held to follow it. */
const NEAR_END = 60;

export class ChatView {
  readonly #scroll = get("scroll");
  readonly #list = get("messages");
  readonly #newest = get("newest");
  readonly #actions: MessageActions;
  #views = new Map<string, MessageView>();
  /** Does the reader follow the end? */
  #follows = true;
  #grows = false;
  /** Where the page itself has scrolled to. */
  #top = 0;

  constructor(actions: MessageActions) {
    this.#actions = actions;
    // The keyboard scrolls what it can reach.
    this.#scroll.tabIndex = 0;
    this.#scroll.addEventListener("scroll", () => this.#onScroll(), { passive: true });
    this.#newest.addEventListener("click", () => this.toEnd());
  }

  /** Draws a conversation. @param welcome what stands there while it has no messages */
  draw(conversation: Conversation, running: Generation | null, welcome: string): void {
    const path = pathOf(conversation);
    const views = new Map<string, MessageView>();
    for (const [i, message] of path.entries()) {
      const view = this.#views.get(message.id) ?? new MessageView(message, this.#actions, () => this.#follow());
      const isRunning = running?.message.id === message.id;
      view.draw({ branches: branchesOf(conversation, message), isLast: i === path.length - 1, isRunning });
      views.set(message.id, view);
    }
    this.#views = views;
    const elements = [...views.values()].map(({ element }) => element);
    this.#list.replaceChildren(...(elements.length > 0 ? elements : [empty(welcome)]));
    this.#follow();
  }

  /** Draws what an answer has more of, with the next frame. */
  grow(generation: Generation): void {
    if (this.#grows) return;
    this.#grows = true;
    requestAnimationFrame(() => {
      this.#grows = false;
      // It may have ended meanwhile.
      if (generation.message.end === null) this.#views.get(generation.message.id)?.grow(generation.timing());
    });
  }

  /** Scrolls to the newest message, and follows it from now on. */
  toEnd(): void {
    this.#follows = true;
    this.#follow();
  }

  /** Another conversation is shown: views of the old one are of no use. */
  clear(): void {
    this.#views.clear();
    this.#follows = true;
  }

  #follow(): void {
    if (this.#follows) {
      this.#scroll.scrollTop = this.#scroll.scrollHeight;
      this.#top = this.#scroll.scrollTop;
    }
    this.#newest.hidden = this.#follows;
  }

  #onScroll(): void {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroll;
    const isNearEnd = scrollHeight - clientHeight - scrollTop < NEAR_END;
    // Only the reader scrolls up: an answer that grows leaves the position where it is.
    if (isNearEnd) this.#follows = true;
    else if (scrollTop < this.#top) this.#follows = false;
    this.#top = scrollTop;
    this.#newest.hidden = this.#follows;
  }
}

function empty(welcome: string): HTMLElement {
  return h("div", { class: "empty" }, h("h2", {}, "What shall we work on?"), h("p", {}, welcome));
}

/** The box for messages: Enter sends, and while an answer is written the button stops it. */
export class Composer {
  readonly #form = get<HTMLFormElement>("composer");
  readonly #prompt = get<HTMLTextAreaElement>("prompt");
  readonly #send = get<HTMLButtonElement>("send");
  readonly #notice = get("notice");
  #isRunning = false;

  constructor(send: (text: string) => void, stop: () => void) {
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.#isRunning) stop();
      else if (this.#prompt.value.trim() !== "") send(this.#prompt.value);
    });
    this.#prompt.addEventListener("input", () => this.#update());
    this.#prompt.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      if (!this.#isRunning) this.#form.requestSubmit();
    });
  }

  /** What is written so far. */
  get text(): string {
    return this.#prompt.value;
  }

  set text(text: string) {
    this.#prompt.value = text;
    this.#update();
  }

  set isRunning(isRunning: boolean) {
    if (this.#isRunning !== isRunning) announce(isRunning ? "The model answers" : "The answer has ended");
    this.#isRunning = isRunning;
    this.#update();
  }

  /** Tells the reader what is wrong; "" = nothing. */
  set notice(text: string) {
    this.#notice.textContent = text;
  }

  focus(): void {
    this.#prompt.focus();
  }

  #update(): void {
    this.#send.disabled = !this.#isRunning && this.#prompt.value.trim() === "";
    this.#send.setAttribute("aria-label", this.#isRunning ? "Stop" : "Send");
    this.#send.querySelector("use")!.setAttribute("href", this.#isRunning ? "#i-stop" : "#i-send");
  }
}
