/** Parsers for the values of the benches' flags. */
import { type Command, InvalidArgumentError } from "commander";

export function count(text: string): number {
  if (!/^[1-9]\d*$/.test(text)) throw new InvalidArgumentError("It must be a whole number above 0.");
  return Number(text);
}

/** A parser for numbers that pass `check`; its error says that the value must be `what`. */
export const number = (check: (value: number) => boolean, what: string) => (text: string) => {
  const value = Number(text);
  if (text.trim() === "" || !check(value)) throw new InvalidArgumentError(`It must be ${what}.`);
  return value;
};
export const share = number((n) => n >= 0 && n < 1, "a number from 0 to below 1");

/** Adds the flags of LoadSizes (load.ts). */
export function loadSizes(command: Command): Command {
  return command
    .option("--prompts <n>", "requests", count, 512)
    .option("--input <tokens>", "mean length of a prompt", count, 1024)
    .option("--output <tokens>", "mean length of an answer", count, 128)
    .option("--spread <share>", "lengths vary by up to this share around their mean", share, 0);
}
