/** Folders that the user names for what Fastgen writes. */
import { accessSync, constants, mkdirSync } from "node:fs";
import { systemReason } from "./system-reason.ts";

/** Makes `folder` where it is missing. Returns null, or why files cannot be written to it. @param mode of a folder that is made. */
export function whyNotWritable(folder: string, mode = 0o777): string | null {
  try {
    mkdirSync(folder, { recursive: true, mode });
    accessSync(folder, constants.W_OK | constants.X_OK);
    return null;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === "EEXIST" || code === "ENOTDIR" ? "a file is where a folder should be" : systemReason(error, folder);
  }
}
