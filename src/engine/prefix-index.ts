/**
 * What one engine's prefix cache probably holds: the pages of the prompts that it was sent, newest last. It is a guess, since
 * the engine evicts by its own rules. A wrong guess costs a prompt that is computed again, never a wrong answer.
 */
import { PAGE_TOKENS, pageKey } from "./pages/page-cache.ts";

/** The keys of a prompt's whole pages, each chained to the one before it. Prompts of different salts have none in common. */
export function pageKeys(prompt: Int32Array, salt: string): bigint[] {
  let key = salt === "" ? 0n : Bun.hash.wyhash(salt, 1n);
  return Array.from({ length: Math.floor(prompt.length / PAGE_TOKENS) }, (_, i) => {
    key = pageKey(key, prompt.subarray(i * PAGE_TOKENS, (i + 1) * PAGE_TOKENS));
    return key;
  });
}

export class PrefixIndex {
  /** Least recently sent first. */
  private readonly known = new Set<bigint>();

  /** @param most keys that are kept: as many as the engine has pages */
  constructor(private readonly most: number) {}

  get size(): number {
    return this.known.size;
  }

  /** How many pages of a prompt are known or `isElsewhere`, from its beginning on. */
  match(keys: readonly bigint[], isElsewhere: (page: number) => boolean = () => false): number {
    const unknown = keys.findIndex((key, page) => !this.known.has(key) && !isElsewhere(page));
    return unknown < 0 ? keys.length : unknown;
  }

  /** Notes that a prompt is sent. Its end is forgotten before its beginning. */
  add(keys: readonly bigint[]): void {
    for (const key of keys.toReversed()) {
      this.known.delete(key);
      this.known.add(key);
    }
    for (const key of this.known) {
      if (this.known.size <= this.most) break;
      this.known.delete(key);
    }
  }

  clear(): void {
    this.known.clear();
  }
}
