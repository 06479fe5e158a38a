/** bad_words as token ids, in vLLM's way. */

type Encode = (text: string) => Promise<Int32Array>;

export class BadWords {
  /** The newest words, as text and as ids: a request of many prompts has the same for all of them. */
  private newest: { key: string; ids: Int32Array[] } = { key: "[]", ids: [] };

  /** `encode` adds no special tokens. */
  constructor(private readonly encode: Encode) {}

  /** The token sequences that must not be generated: each word as it stands at the start of a text and after a space. */
  async idsOf(words: readonly string[]): Promise<Int32Array[]> {
    const key = JSON.stringify(words);
    const { newest } = this;
    if (newest.key === key) return newest.ids;
    const ids: Int32Array[] = [];
    for (const word of words) ids.push(...(await this.sequencesOf(word.trimStart())));
    this.newest = { key, ids };
    return ids;
  }

  private async sequencesOf(word: string): Promise<Int32Array[]> {
    const bare = await this.encode(word);
    if (bare.length === 0) return [];
    const spaced = await this.encode(` ${word}`);
    // Where it is longer or begins alike, the space is a token of its own, and the bare word says it all.
    return spaced.length === bare.length && spaced[0] !== bare[0] ? [bare, spaced] : [bare];
  }
}
