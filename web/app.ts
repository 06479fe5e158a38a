/** The conversation that is shown, the answers that are written, and what the reader does with both. */
import { listModels, type Model, ServerError } from "./api.ts";
import { ChatView, Composer } from "./chat-view.ts";
import { get } from "./dom.ts";
import { Generation } from "./generation.ts";
import { requestBody } from "./request.ts";
import { nameOf, servers } from "./servers.ts";
import { openServers } from "./servers-view.ts";
import { openSettings } from "./settings-view.ts";
import type { Store } from "./store.ts";
import { settingsFrom } from "./transfer.ts";
import { append, newConversation, pathOf, remove, show, titleOf } from "./tree.ts";
import type { Conversation, Message, Settings } from "./types.ts";

const SETTINGS = "fastgen.settings";
const MODEL = "fastgen.model";
/** Milliseconds between two looks at a server that is not ready, and between two savings of an answer that goes on. */
const RETRY = 2000;
const SAVE = 1000;

export class App {
  /** Called when the list of conversations, or which of them is shown, has changed. */
  onHistory: () => void = () => {};
  /** Called when a server or a key was added. */
  onServers: () => void = () => {};
  conversation: Conversation = newConversation(storedSettings());
  model: Model | null = null;
  #models: Model[] = [];
  readonly #store: Store | null;
  /** The answers that are being written, with their conversations, by their conversations' ids. */
  readonly #running = new Map<string, { generation: Generation; conversation: Conversation }>();
  readonly #select = get<HTMLSelectElement>("model");
  readonly #composer = new Composer(
    (text) => void this.#send(text),
    () => this.stop(),
  );
  readonly #view = new ChatView({
    edit: (message, text) => {
      append(this.conversation, message.parent, { role: "user", content: text });
      void this.#answer();
    },
    regenerate: (message) => {
      this.conversation.leaf = message.parent;
      void this.#answer();
    },
    show: (message) => this.#change(() => show(this.conversation, message)),
    remove: (message) => this.#change(() => remove(this.conversation, message)),
    answerCalls: (message, results) => this.#answerCalls(message, results),
  });
  #retry = 0;

  /** @param store null = the browser keeps no history */
  constructor(store: Store | null) {
    this.#store = store;
    this.#select.addEventListener("change", () => this.#choose(this.#models[this.#select.selectedIndex] ?? null));
    addEventListener("beforeunload", () => {
      for (const { conversation } of this.#running.values()) void this.#save(conversation);
    });
  }

  /** Shows a conversation; null = a new one. */
  async open(id: string | null): Promise<void> {
    const known = id === null ? null : (this.#running.get(id)?.conversation ?? (await this.#store?.load(id)) ?? null);
    this.conversation = known ?? newConversation(storedSettings());
    this.#view.clear();
    this.#composer.notice = id !== null && known === null ? "This conversation is not in this browser." : "";
    this.draw();
    this.onHistory();
    this.#view.toEnd();
  }

  draw(): void {
    const running = this.#current();
    this.#view.draw(this.conversation, running, this.#welcome());
    this.#composer.isRunning = running !== null;
    get("title").textContent = this.conversation.title || "New chat";
  }

  stop(): void {
    this.#current()?.stop();
  }

  focus(): void {
    this.#composer.focus();
  }

  openSettings(): void {
    openSettings(this.conversation.settings, () => {
      localStorage.setItem(SETTINGS, JSON.stringify(this.conversation.settings));
      if (this.conversation.messages.length > 0) void this.#save(this.conversation);
    });
  }

  /** Asks every server for its models. What does not answer is told, and asked again where it only needs time. */
  async loadModels(): Promise<void> {
    clearTimeout(this.#retry);
    const replies = await Promise.allSettled(servers().map(listModels));
    this.#models = replies.flatMap((reply) => (reply.status === "fulfilled" ? reply.value : []));
    const failures = replies.flatMap((reply) => (reply.status === "rejected" ? [reply.reason as Error] : []));
    this.#drawModels();
    this.#composer.notice = failures.map(({ message }) => message).join(" ");
    const locked = failures.find((error) => error instanceof ServerError && error.status === 401);
    if (locked && document.querySelector("dialog") === null) this.#askForKey(locked as ServerError);
    else if (failures.some((error) => !(error instanceof ServerError) || error.status === 503 || error.status === 0)) {
      this.#retry = window.setTimeout(() => void this.loadModels(), RETRY);
    }
    this.draw();
  }

  #drawModels(): void {
    const several = servers().length > 1;
    const options = this.#models.map(
      ({ id, server }) => new Option(several ? `${id} on ${nameOf(server.address)}` : id),
    );
    this.#select.replaceChildren(...(options.length > 0 ? options : [new Option("No model")]));
    const chosen = localStorage.getItem(MODEL);
    const at = Math.max(
      0,
      this.#models.findIndex((model) => keyOf(model) === chosen),
    );
    this.#select.selectedIndex = at;
    this.model = this.#models[at] ?? null;
  }

  #choose(model: Model | null): void {
    this.model = model;
    if (model) localStorage.setItem(MODEL, keyOf(model));
    this.draw();
  }

  #askForKey({ address, message }: ServerError): void {
    openServers(this.onServers, `${nameOf(address)}: ${message}`);
  }

  #welcome(): string {
    if (this.model === null) return "The model is not ready yet.";
    const { id, context } = this.model;
    const length = context === null ? "" : `, up to ${context.toLocaleString("en-US")} tokens`;
    return `${id}${length}. What you write goes to this server alone, and stays in this browser.`;
  }

  #current(): Generation | null {
    return this.#running.get(this.conversation.id)?.generation ?? null;
  }

  async #send(text: string): Promise<void> {
    if (this.model === null) return void this.loadModels();
    append(this.conversation, this.conversation.leaf, { role: "user", content: text.trimEnd() });
    this.#composer.text = "";
    this.#view.toEnd();
    await this.#answer();
  }

  #answerCalls(message: Message, results: string[]): void {
    for (const [i, { id }] of message.calls.entries()) {
      append(this.conversation, i === 0 ? message.id : this.conversation.leaf, {
        role: "tool",
        content: results[i]!,
        call: id,
      });
    }
    void this.#answer();
  }

  /** Has the model answer what is shown. */
  async #answer(): Promise<void> {
    const { conversation, model } = this;
    if (model === null || this.#running.has(conversation.id)) return;
    this.#composer.notice = "";
    let body: object;
    try {
      body = requestBody(model.id, pathOf(conversation), conversation.settings);
    } catch (error) {
      this.#composer.notice = (error as Error).message;
      return this.#change(() => {});
    }
    const message = append(conversation, conversation.leaf, { role: "assistant", content: "" });
    const generation = new Generation(message, model);
    this.#running.set(conversation.id, { generation, conversation });
    if (location.hash !== `#/c/${conversation.id}`) history.replaceState(null, "", `#/c/${conversation.id}`);
    this.draw();
    this.#view.toEnd();
    await this.#save(conversation);
    generation.onChange = () => {
      if (this.#current() === generation) this.#view.grow(generation);
    };
    const saving = setInterval(() => void this.#save(conversation), SAVE);
    const failure = await generation.run(body);
    clearInterval(saving);
    this.#running.delete(conversation.id);
    if (this.conversation === conversation) this.draw();
    await this.#save(conversation);
    if (failure?.status === 401) this.#askForKey(failure);
  }

  #change(change: () => void): void {
    // What is written goes on in its own branch, which stays where it is.
    if (this.#current() !== null) return;
    change();
    this.draw();
    void this.#save(this.conversation);
  }

  /** Gives a conversation another title. */
  async rename(id: string, title: string): Promise<void> {
    const running = this.#running.get(id)?.conversation;
    const shown = this.conversation.id === id ? this.conversation : null;
    const conversation = running ?? shown ?? (await this.#store?.load(id));
    if (!conversation) return;
    conversation.title = titleOf(title);
    this.draw();
    await this.#save(conversation);
  }

  /** Stops what is written in a conversation that goes. */
  forget(id: string): void {
    this.#running.get(id)?.generation.stop();
    if (this.conversation.id === id) location.hash = "#/";
  }

  async #save(conversation: Conversation): Promise<void> {
    try {
      await this.#store?.save(conversation);
    } catch (error) {
      this.#composer.notice = `The browser cannot keep this conversation: ${(error as Error).message}`;
    }
    this.onHistory();
  }
}

const keyOf = ({ server, id }: Model) => `${server.address} ${id}`;

function storedSettings(): Settings {
  try {
    return settingsFrom(JSON.parse(localStorage.getItem(SETTINGS) ?? "{}"));
  } catch {
    return settingsFrom({});
  }
}
