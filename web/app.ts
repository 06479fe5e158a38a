/** The conversation that is shown, the answers that are written, and what the reader does with both. */
import { listModels, type Model, ServerError, shortName } from "./api.ts";
import { ChatView, Composer } from "./chat-view.ts";
import { openConfirm } from "./dialogs.ts";
import { get } from "./dom.ts";
import { Generation } from "./generation.ts";
import { messagesOf, requestBody } from "./request.ts";
import { nameOf, servers } from "./servers.ts";
import { openServers } from "./servers-view.ts";
import type { Settings } from "./settings.ts";
import { openSettings } from "./settings-view.ts";
import type { Store } from "./store.ts";
import { settingsFrom } from "./transfer.ts";
import { append, newConversation, pathOf, remove, show, titleOf } from "./tree.ts";
import type { Conversation, Message } from "./types.ts";

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
    edit: (message, text) =>
      this.#answer(() => append(this.conversation, message.parent, { role: "user", content: text })),
    regenerate: (message) =>
      this.#answer(() => {
        this.conversation.leaf = message.parent;
      }),
    show: (message) => {
      this.#change(() => show(this.conversation, message));
      this.#view.focusBranches(message);
    },
    remove: (message) =>
      openConfirm("Delete this message and all that follows it?", "Delete", () =>
        this.#change(() => remove(this.conversation, message)),
      ),
    answerCalls: (message, results) => this.#answerCalls(message, results),
  });
  #retry = 0;
  /** Counts what was opened: what comes too late is not shown. */
  #openings = 0;

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
    const opening = ++this.#openings;
    const known = id === null ? null : (this.#running.get(id)?.conversation ?? (await this.#store?.load(id)) ?? null);
    if (opening !== this.#openings) return;
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
    const isShown = !get("chat").hidden;
    if (isShown) get("title").textContent = this.conversation.title || "New chat";
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
      ({ id, server }) => new Option(several ? `${shortName(id)} on ${nameOf(server.address)}` : shortName(id)),
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

  #send(text: string): Promise<void> {
    return this.#answer(() => {
      append(this.conversation, this.conversation.leaf, { role: "user", content: text.trimEnd() });
      this.#composer.clear();
    });
  }

  #answerCalls({ id: parent, calls }: Message, results: string[]): Promise<void> {
    return this.#answer(() => {
      this.conversation.leaf = parent;
      for (const [i, { id }] of calls.entries()) {
        append(this.conversation, this.conversation.leaf, { role: "tool", content: results[i]!, call: id });
      }
    });
  }

  /** Changes the conversation, and has the model answer what is then shown. Nothing changes where it cannot be asked. */
  async #answer(change: () => void): Promise<void> {
    const { conversation, model } = this;
    if (model === null) return this.loadModels();
    if (this.#running.has(conversation.id)) return;
    let body: object;
    try {
      body = requestBody(model.id, conversation.settings);
    } catch (error) {
      this.#composer.notice = (error as Error).message;
      return;
    }
    this.#composer.notice = "";
    change();
    const messages = messagesOf(pathOf(conversation), conversation.settings);
    const message = append(conversation, conversation.leaf, { role: "assistant", content: "" });
    const generation = new Generation(message, model);
    const { id } = conversation;
    this.#running.set(id, { generation, conversation });
    if (location.hash !== `#/c/${id}`) history.replaceState(null, "", `#/c/${id}`);
    this.draw();
    this.#view.toEnd();
    await this.#save(conversation);
    generation.onChange = () => {
      if (this.#current() === generation) this.#view.grow(generation);
    };
    const saving = setInterval(() => void this.#save(conversation), SAVE);
    const failure = await generation.run({ ...body, messages });
    clearInterval(saving);
    // The conversation may have been deleted meanwhile.
    if (!this.#running.delete(id)) return;
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

  /** Deletes a conversation, and stops what is written in it. */
  async delete(id: string): Promise<void> {
    this.#running.get(id)?.generation.stop();
    this.#running.delete(id);
    await this.#store?.delete(id);
    if (this.conversation.id === id) location.hash = "#/";
    this.onHistory();
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
