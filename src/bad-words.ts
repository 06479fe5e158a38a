/** bad_words as token ids, in vLLM's way. */

/**
 * The token sequences that must not be generated: each word as it stands at the start of a text and after a space. The one
 * after a space counts where it is as long and begins with another token: elsewhere the space is a token of its own.
 */
export async function badWordIds(
  words: readonly string[],
  encode: (text: string) => Promise<Int32Array>,
): Promise<Int32Array[]> {
  const sequences: Int32Array[] = [];
  for (const word of words) {
    const bare = word.trimStart();
    const ids = await encode(bare);
    if (ids.length === 0) continue;
    sequences.push(ids);
    const spaced = await encode(` ${bare}`);
    if (spaced.length === ids.length && spaced[0] !== ids[0]) sequences.push(spaced);
  }
  return sequences;
}
