/** The folder that profiles are written to. */
import { FastgenError } from "./errors.ts";
import { whyNotWritable } from "./system/writable-folder.ts";

/** Makes the folder where it is missing. @throws FastgenError "invalid_request" where profiles cannot be written to it. */
export function makeProfileFolder(directory: string): void {
  const reason = whyNotWritable(directory);
  if (reason === null) return;
  const message = `profiles cannot be written to ${directory}: ${reason}; give another folder (--profile)`;
  throw new FastgenError("invalid_request", message);
}
