/** What tests share. */
import { FastgenError } from "./errors.ts";

/** The FastgenError that a call throws; whatever else happens is thrown. */
export function failure(call: () => unknown): FastgenError {
  try {
    call();
  } catch (error) {
    if (error instanceof FastgenError) return error;
    throw error;
  }
  throw new Error("the call did not fail");
}
