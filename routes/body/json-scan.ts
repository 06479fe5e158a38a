/**
 * Bounds a JSON text before it is parsed: JSON.parse recurses, cannot be stopped, and spends most of its time on objects.
 * One linear scan of the bytes, piece by piece as they arrive. It does not check the syntax; JSON.parse does.
 */
import { FastgenError } from "../../src/errors.ts";
import { MAX_JSON_CONTAINERS, MAX_JSON_DEPTH, MAX_JSON_KEYS, MAX_JSON_VALUES } from "../../src/limits.ts";
import { BACKSLASH, CLOSE_ARRAY, CLOSE_OBJECT, COLON, COMMA, OPEN_ARRAY, OPEN_OBJECT, QUOTE } from "./json-signs.ts";

export class JsonScan {
  #depth = 0;
  #containers = 0;
  #keys = 0;
  #values = 1;
  #inString = false;
  /** The last byte was a backslash in a string: the next one is part of its escape. */
  #escaped = false;

  /** Reads the next bytes. Throws FastgenError "invalid_request" as soon as a bound is passed. */
  push(bytes: Uint8Array): void {
    for (let i = this.#escaped ? 1 : 0; i < bytes.length; i++) {
      const byte = bytes[i]!;
      if (this.#inString) {
        if (byte === QUOTE) this.#inString = false;
        else if (byte === BACKSLASH) i++;
        if (i >= bytes.length) {
          this.#escaped = true;
          return;
        }
      } else if (byte === QUOTE) this.#inString = true;
      else if (byte === COMMA) bound(++this.#values, MAX_JSON_VALUES, "values");
      else if (byte === COLON) bound(++this.#keys, MAX_JSON_KEYS, "keys of objects");
      else if (byte === OPEN_ARRAY || byte === OPEN_OBJECT) {
        bound(++this.#containers, MAX_JSON_CONTAINERS, "arrays and objects");
        bound(++this.#depth, MAX_JSON_DEPTH, "levels of nesting");
      } else if (byte === CLOSE_ARRAY || byte === CLOSE_OBJECT) this.#depth--;
    }
    if (bytes.length > 0) this.#escaped = false;
  }
}

function bound(count: number, most: number, what: string): void {
  if (count <= most) return;
  throw new FastgenError(
    "invalid_request",
    `the body is refused: its JSON has more than ${most} ${what}; send less per request`,
  );
}
