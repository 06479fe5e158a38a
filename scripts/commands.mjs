/** Commands that the scripts run in the checkout, and how their failures are told. */
import { spawn } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { fileURLToPath } from "node:url";

export const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
export const bun = path.join(root, "node_modules", ".bin", "bun");

/** A failure that the user can act on: printed as one line, without a stack trace. */
export class SetupError extends Error {}

/** Runs `body` and turns its outcome into the process's exit code. */
export async function runScript(body) {
  try {
    process.exitCode = (await body()) ?? 0;
  } catch (error) {
    console.error(error instanceof SetupError ? `error: ${error.message}` : error);
    process.exitCode = 1;
  }
}

/**
 * Runs a command in the checkout with the terminal as its own; resolves with its exit code. Signals sent to this
 * process alone are passed on; Ctrl-C in a terminal reaches the whole process group by itself.
 */
export function runCommand(command, args, options = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, stdio: "inherit", ...options });
    const forward = (signal) => {
      if (signal !== "SIGINT" || !process.stdin.isTTY) child.kill(signal);
    };
    const signals = ["SIGINT", "SIGTERM", "SIGHUP"];
    for (const signal of signals) process.on(signal, forward);
    // npm runs scripts through a shell, which does not pass signals on: when it is gone, this run is over too.
    const parent = process.ppid;
    const watch = setInterval(() => process.ppid !== parent && child.kill("SIGTERM"), 250);
    const done = () => {
      clearInterval(watch);
      for (const signal of signals) process.off(signal, forward);
    };
    child.on("error", (error) => {
      done();
      const missing = error.code === "ENOENT";
      reject(missing ? new SetupError(`'${command}' was not found: install it and run this again`) : error);
    });
    child.on("close", (code, signal) => {
      done();
      resolve(code ?? (signal === "SIGINT" ? 130 : 143));
    });
  });
}

/** With `quiet` the command's output is shown only if it fails. */
export async function mustRun(command, args, cure, { quiet = false, env = process.env } = {}) {
  const log = quiet ? path.join(root, "build", "setup.log") : null;
  const output = log ? fs.openSync(log, "w") : "inherit";
  const code = await runCommand(command, args, { stdio: ["ignore", output, output], env });
  if (log) fs.closeSync(output);
  if (log && code !== 0) process.stderr.write(fs.readFileSync(log));
  if (code !== 0) throw new SetupError(`'${[command, ...args].join(" ")}' failed with exit code ${code}: ${cure}`);
}
