/** The messages of the conversation that is shown, and the box for the next one. */
import { announce, get, h } from "./dom.ts";
import type { Generation } from "./generation.ts";
import { type MessageActions, MessageView } from "./message-view.ts";
import { branchesOf, pathOf } from "./tree.ts";
import type { Conversation, Message } from "./types.ts";

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
    if (elements.length === 0) elements.push(empty(welcome));
    // What stays is not touched: to put it in again would cost the time of a layout.
    for (const [i, element] of elements.entries()) {
      const there = this.#list.children[i];
      if (there !== element) this.#list.insertBefore(element, there ?? null);
    }
    while (this.#list.children.length > elements.length) this.#list.lastElementChild!.remove();
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

  /** Puts the focus on a message's arrows: those that were pressed are gone with the other branch. */
  focusBranches(message: Message): void {
    this.#views.get(message.id)?.element.querySelector<HTMLElement>(".branches button:enabled")?.focus();
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
  return h("div.empty", {}, h("h2", {}, "What shall we work on?"), h("p", {}, welcome));
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

  /** What was written is sent. */
  clear(): void {
    this.#prompt.value = "";
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
