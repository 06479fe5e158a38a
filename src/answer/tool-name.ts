/** Names of tools: what every format of calls can tell from the marks, spaces and brackets around it. */

/** A character of one, which is one UTF-16 code unit. */
export const NAME_CHARACTER = /[\p{L}\p{M}\p{N}_.:/-]/u;

/** Whether `name` is one that all formats can write and read. */
export function isToolName(name: string): boolean {
  return name.split("").every((character) => NAME_CHARACTER.test(character));
}
