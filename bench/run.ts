/** Programs that the benches build and run. */
import { type StdioOptions, spawnSync } from "node:child_process";
import { join } from "node:path";

/** Where the benches keep what they build. */
export const BUILD = join(import.meta.dir, "..", "build", "bench");

/** What a program wrote to its standard output. Throws with its error messages when it fails. */
export function checked(program: string, args: string[], stderr: "pipe" | "inherit" = "pipe"): string {
  const stdio: StdioOptions = ["ignore", "pipe", stderr];
  const result = spawnSync(program, args, { encoding: "utf8", stdio });
  if (result.status !== 0) {
    throw new Error(`${[program, ...args].join(" ")}: ${result.error?.message ?? result.stderr ?? "failed"}`);
  }
  return result.stdout;
}
