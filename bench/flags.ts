/** Values of the benches' flags. */
import { type Command, InvalidArgumentError } from "commander";

export function count(text: string): number {
  if (!/^[1-9]\d*$/.test(text)) throw new InvalidArgumentError("A whole number above 0 is wanted.");
  return Number(text);
}

/** Of any number that passes `check`; `what` is wanted otherwise. */
export const number = (check: (value: number) => boolean, what: string) => (text: string) => {
  const value = Number(text);
  if (text.trim() === "" || !check(value)) throw new InvalidArgumentError(`${what} is wanted.`);
  return value;
};
export const share = number((n) => n >= 0 && n < 1, "A number in [0, 1)");

/** Adds the flags of LoadSizes (load.ts). */
export function loadSizes(command: Command): Command {
  return command
    .option("--prompts <n>", "", count, 512)
    .option("--input <tokens>", "mean length of a prompt", count, 1024)
    .option("--output <tokens>", "mean length of an answer", count, 128)
    .option("--spread <share>", "lengths vary by this share around their mean", share, 0);
}
