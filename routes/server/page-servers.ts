/** What the address of a server may look like. The page and its route agree on it, since it becomes part of the page's policy. */

/** Is a text an origin as browsers write it, of HTTP, and without a character that means something in a policy? */
export function isServerOrigin(text: string): boolean {
  const isPlain = /^https?:\/\/([a-z0-9.-]+|\[[0-9a-f:.]+\])(:\d+)?$/.test(text);
  return isPlain && URL.parse(text)?.origin === text;
}
