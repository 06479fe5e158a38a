/**
 * Responses that later requests may name, in memory. It is bounded by number and by bytes: beyond them, the responses that were
 * longest unused go. Each is kept as JSON, so that its size is known.
 */
import { FastgenError } from "../../src/errors.ts";
import type { Item } from "./items.ts";
import { responseOf } from "./response.ts";

export interface StoredResponse {
  /** The Response object, without log probabilities. */
  response: { id: string; previous_response_id: string | null; output: object[]; [field: string]: unknown };
  /** The input of its own request. */
  input: Item[];
}

export interface StoreBounds {
  responses: number;
  /** Of all of them, as JSON. */
  bytes: number;
}

export class ResponseStore {
  readonly #bounds: StoreBounds;
  /** By id: JSON of a StoredResponse. The longest unused come first. */
  readonly #entries = new Map<string, Uint8Array>();
  #bytes = 0;

  constructor(bounds: StoreBounds) {
    this.#bounds = bounds;
  }

  /** How many there are, and their bytes. */
  get size(): StoreBounds {
    return { responses: this.#entries.size, bytes: this.#bytes };
  }

  /** One that is larger than the whole store is not kept. */
  put(stored: StoredResponse): void {
    const json = new TextEncoder().encode(JSON.stringify(stored));
    this.#entries.set(stored.response.id, json);
    this.#bytes += json.byteLength;
    for (const id of this.#entries.keys()) {
      if (this.#entries.size <= this.#bounds.responses && this.#bytes <= this.#bounds.bytes) return;
      this.delete(id);
    }
  }

  /** JSON of a StoredResponse; null where there is none. Counts as a use. */
  get(id: string): Uint8Array | null {
    const json = this.#entries.get(id);
    if (!json) return null;
    this.#entries.delete(id);
    this.#entries.set(id, json);
    return json;
  }

  delete(id: string): void {
    this.#bytes -= this.#entries.get(id)?.byteLength ?? 0;
    this.#entries.delete(id);
  }
}

/** What one request reads of the store: every response once, and no more bytes than a body may have. */
export class StoreReader {
  readonly #store: ResponseStore;
  readonly #most: number;
  readonly #read = new Map<string, StoredResponse>();
  #bytes = 0;

  /** `most`: bytes. */
  constructor(store: ResponseStore, most: number) {
    this.#store = store;
    this.#most = most;
  }

  /** null where there is none. Throws FastgenError "invalid_request" where the request has read too much. */
  get(id: string): StoredResponse | null {
    const known = this.#read.get(id);
    if (known) return known;
    const json = this.#store.get(id);
    if (!json) return null;
    this.#bytes += json.byteLength;
    if (this.#bytes > this.#most) {
      const message = `the stored responses that the request names have more than ${this.#most} bytes (--max-body-bytes); send a shorter conversation as input`;
      throw new FastgenError("invalid_request", message);
    }
    const stored: StoredResponse = JSON.parse(new TextDecoder().decode(json));
    this.#read.set(id, stored);
    return stored;
  }

  /**
   * The response and those that it continues, the first of the conversation first; null where any of them is gone. All count
   * as used together, and the first ones go first.
   */
  chain(id: string): StoredResponse[] | null {
    const chain: StoredResponse[] = [];
    for (let next: string | null = id; next !== null; ) {
      const stored = this.get(next);
      if (!stored) return null;
      chain.unshift(stored);
      next = stored.response.previous_response_id;
    }
    for (const { response } of chain) this.#store.get(response.id);
    return chain;
  }

  /** An item of a stored response's output; null where there is none. */
  item(id: string): object | null {
    const response = responseOf(id);
    const output = response === null ? [] : (this.get(response)?.response.output ?? []);
    return output.find((item) => "id" in item && item.id === id) ?? null;
  }
}
