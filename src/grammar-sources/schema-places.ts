/** Where a schema's references lead: within the schema alone. */
import { isObject } from "../bounded-json.ts";
import { below } from "./keywords.ts";
import { refuse } from "./refusal.ts";

/** Keywords whose values are data, not schemas. */
const DATA = new Set(["const", "enum", "default", "examples", "example"]);

export class SchemaPlaces {
  readonly root: unknown;
  /** The root's own address, which references may begin with. */
  readonly #address: string;
  /** By the name of an $anchor: where it stands. Looked for when the first is asked for. */
  #anchors: Map<string, string> | null = null;

  constructor(root: unknown) {
    this.root = root;
    const id = isObject(root) ? (root.$id ?? root.id) : undefined;
    this.#address = typeof id === "string" ? id.replace(/#$/, "") : "";
  }

  /** The schema that `reference`, a $ref at `at`, leads to, and its JSON pointer. */
  find(reference: string, at: string): { pointer: string; schema: unknown } {
    let fragment = reference;
    if (this.#address !== "" && (reference === this.#address || reference.startsWith(`${this.#address}#`))) {
      fragment = reference.slice(this.#address.length) || "#";
    }
    if (!fragment.startsWith("#"))
      refuse(`$ref (at ${at}) must lead to a place in the schema itself, such as "#/$defs/name"`);
    const outer = this.#embedded(at);
    if (outer !== null) refuse(`$ref (at ${at}) is not supported below the $id at ${outer}; leave that $id out`);
    const name = decoded(fragment.slice(1));
    if (name === null) refuse(`$ref (at ${at}) is not a valid reference`);
    if (name === "" || name === "/") return { pointer: "", schema: this.root };
    const pointer = name.startsWith("/") ? name : this.#anchor(name);
    const schema = pointer === undefined ? undefined : this.#at(pointer);
    if (pointer === undefined || schema === undefined)
      refuse(`$ref (at ${at}) leads to ${reference}, which is not there`);
    return { pointer, schema };
  }

  /** The value at a JSON pointer; undefined = there is none. */
  #at(pointer: string): unknown {
    let value = this.root;
    for (const part of pointer.slice(1).split("/")) {
      const key = part.replaceAll("~1", "/").replaceAll("~0", "~");
      if (typeof value !== "object" || value === null || !Object.hasOwn(value, key)) return undefined;
      value = (value as Record<string, unknown>)[key];
    }
    return value;
  }

  /** The pointer of a schema around `at`, but for the root, that has an address of its own; null = there is none. */
  #embedded(at: string): string | null {
    const parts = at.split("/");
    for (let count = 2; count < parts.length; count++) {
      const pointer = parts.slice(0, count).join("/");
      const schema = this.#at(pointer);
      const inProperties = parts[count - 1] === "properties";
      if (!inProperties && isObject(schema) && typeof schema.$id === "string" && !schema.$id.startsWith("#")) {
        return pointer;
      }
    }
    return null;
  }

  #anchor(name: string): string | undefined {
    if (!this.#anchors) {
      this.#anchors = new Map();
      this.#gather(this.root, "", this.#anchors, 0);
    }
    return this.#anchors.get(name);
  }

  #gather(value: unknown, at: string, anchors: Map<string, string>, depth: number): void {
    if (typeof value !== "object" || value === null || depth > 256) return;
    if (isObject(value)) {
      for (const own of [value.$anchor, value.$dynamicAnchor]) {
        if (typeof own === "string" && !anchors.has(own)) anchors.set(own, at);
      }
      // Before draft 2019-09, an $id of "#name" was an anchor.
      if (typeof value.$id === "string" && value.$id.startsWith("#")) anchors.set(value.$id.slice(1), at);
    }
    for (const [key, inner] of Object.entries(value)) {
      if (!DATA.has(key)) this.#gather(inner, below(at, key), anchors, depth + 1);
    }
  }
}

/** Percent escapes undone; null = they are not valid. */
function decoded(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}
