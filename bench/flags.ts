/** Values of the benches' flags. */
import { InvalidArgumentError } from "commander";

export function count(text: string): number {
  if (!/^[1-9]\d*$/.test(text)) throw new InvalidArgumentError("A whole number above 0 is wanted.");
  return Number(text);
}
