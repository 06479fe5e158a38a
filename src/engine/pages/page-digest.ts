/**
 * What pages on disk are called: a SHA-256 over a page's tokens and the name of the page before it, the salt first of all. Nobody can
 * make two prompts meet in a page.
 */
import { PAGE_TOKENS } from "./page-cache.ts";

/** The digest before a prompt's first page. */
export function rootDigest(salt: string): string {
  return sha256("root", new TextEncoder().encode(salt));
}

/** The digest of the page that holds `tokens` and follows the page of digest `before`. */
export function pageDigest(before: string, tokens: Int32Array): string {
  return sha256(before, new Uint8Array(tokens.buffer, tokens.byteOffset, tokens.byteLength));
}

/** The first 52 bits of a digest, which a number holds exactly: for guesses, where the whole one would take ten times the memory. */
export function digestKey(digest: string): number {
  return Number.parseInt(digest.slice(0, 13), 16);
}

/** The digests of a prompt's whole pages, each computed once, when it or a later one is asked for. */
export class PromptDigests {
  private readonly digests: string[] = [];

  constructor(
    private readonly prompt: Int32Array,
    private readonly salt: string,
  ) {}

  /** Of a page that the prompt fills, counted from 0. */
  at(page: number): string {
    for (let i = this.digests.length; i <= page; i++) {
      const before = this.digests[i - 1] ?? rootDigest(this.salt);
      this.digests.push(pageDigest(before, this.prompt.subarray(i * PAGE_TOKENS, (i + 1) * PAGE_TOKENS)));
    }
    return this.digests[page]!;
  }
}

function sha256(before: string, bytes: Uint8Array): string {
  return new Bun.CryptoHasher("sha256").update(before).update(bytes).digest("hex");
}
