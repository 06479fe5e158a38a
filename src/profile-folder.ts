/** The folder that profiles are written to. */
import { accessSync, constants, mkdirSync } from "node:fs";
import { asFastgenError, FastgenError } from "./errors.ts";

/** Makes the folder where it is missing. @throws FastgenError "invalid_request" where profiles cannot be written to it. */
export function makeProfileFolder(directory: string): void {
  try {
    mkdirSync(directory, { recursive: true });
    accessSync(directory, constants.W_OK | constants.X_OK);
  } catch (cause) {
    const message = `profiles cannot be written to ${directory}: ${asFastgenError(cause).message}; give another folder (--profile)`;
    throw new FastgenError("invalid_request", message, { cause });
  }
}
