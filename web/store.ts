/** The history: conversations in the browser's IndexedDB, and what the list shows of them. Nothing of it leaves the browser. */
import type { Conversation } from "./types.ts";

export type Summary = Pick<Conversation, "id" | "title" | "created" | "updated">;

const SUMMARIES = "summaries";
const CONVERSATIONS = "conversations";
const STORES = [SUMMARIES, CONVERSATIONS];

export class Store {
  /** Called when another tab has changed the history. */
  onChange: () => void = () => {};
  readonly #db: IDBDatabase;
  readonly #channel = new BroadcastChannel("fastgen-history");

  private constructor(db: IDBDatabase) {
    this.#db = db;
    this.#channel.onmessage = () => this.onChange();
  }

  /** @throws DOMException where the browser keeps nothing, as some do in private windows */
  static async open(): Promise<Store> {
    const request = indexedDB.open("fastgen", 1);
    request.onupgradeneeded = () => {
      for (const name of STORES) request.result.createObjectStore(name, { keyPath: "id" });
    };
    return new Store(await done(request));
  }

  /** The newest first. */
  async list(): Promise<Summary[]> {
    const all: Summary[] = await done(this.#store(SUMMARIES, "readonly").getAll());
    return all.sort((a, b) => b.updated - a.updated);
  }

  async load(id: string): Promise<Conversation | null> {
    return (await done(this.#store(CONVERSATIONS, "readonly").get(id))) ?? null;
  }

  async loadAll(): Promise<Conversation[]> {
    return done(this.#store(CONVERSATIONS, "readonly").getAll());
  }

  async save(...conversations: Conversation[]): Promise<void> {
    const transaction = this.#db.transaction(STORES, "readwrite");
    for (const conversation of conversations) {
      const { id, title, created, updated } = conversation;
      transaction.objectStore(CONVERSATIONS).put(conversation);
      transaction.objectStore(SUMMARIES).put({ id, title, created, updated });
    }
    await this.#committed(transaction);
  }

  async delete(id: string): Promise<void> {
    const transaction = this.#db.transaction(STORES, "readwrite");
    for (const name of STORES) transaction.objectStore(name).delete(id);
    await this.#committed(transaction);
  }

  #store(name: string, mode: IDBTransactionMode): IDBObjectStore {
    return this.#db.transaction(name, mode).objectStore(name);
  }

  async #committed(transaction: IDBTransaction): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error);
    });
    this.#channel.postMessage(null);
  }
}

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
