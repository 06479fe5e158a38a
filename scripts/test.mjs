/**
 * npm test [-- bun test's arguments]: set-up, then libfastgen's tests and bun's; with arguments, only bun's. The last line adds
 * up both: "N passed, N failed, N skipped". The exit code is 0 only if no test failed and both runs ended well.
 */
import { spawn } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { bun, root, runCommand, runScript, setup } from "./setup.mjs";

/** Per test. Tests of the executable start servers, also on machines with few cores. */
const TIMEOUT_MS = 60_000;

/** Runs libfastgen's tests. Each program counts as one test; it ends with a line "NAME: N checks, N failed". */
async function libraryTests() {
  const child = spawn("make", ["-s", "--no-print-directory", "-C", "libfastgen", "test"], {
    cwd: root,
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text) => {
    process.stdout.write(text);
    output += text;
  });
  const code = await new Promise((resolve) => child.on("close", resolve));
  const total = { passed: 0, failed: 0, skipped: 0 };
  for (const [, failed] of output.matchAll(/^\w+: \d+ checks, (\d+) failed$/gm)) {
    total[failed === "0" ? "passed" : "failed"]++;
  }
  return settle(total, code, "libfastgen's tests");
}

/** Runs `bun test` and reads its counts from the JUnit report. */
async function bunTests(args) {
  const report = path.join(root, "build", "junit.xml");
  fs.rmSync(report, { force: true });
  // biome-ignore format: one option a line would hide the command
  const code = await runCommand(bun, [
    "test", `--timeout=${TIMEOUT_MS}`, "--reporter=junit", `--reporter-outfile=${report}`, ...args,
  ]);
  const head = fs.existsSync(report) ? (fs.readFileSync(report, "utf8").match(/<testsuites [^>]*>/)?.[0] ?? "") : "";
  const count = (name) => Number(head.match(new RegExp(` ${name}="(\\d+)"`))?.[1] ?? 0);
  const [tests, failed, skipped] = [count("tests"), count("failures") + count("errors"), count("skipped")];
  return settle({ passed: tests - failed - skipped, failed, skipped }, code, "bun test");
}

/** A run that ended badly or ran nothing counts as one failure, if its own count has none. */
function settle(total, code, what) {
  const nothing = total.passed + total.failed + total.skipped === 0;
  if ((code !== 0 || nothing) && total.failed === 0) {
    console.error(`${what} ${nothing ? "reported no test" : "did not end well"} (exit code ${code})`);
    total.failed = 1;
  }
  return total;
}

await runScript(async () => {
  await setup();
  const args = process.argv.slice(2);
  const runs = args.length === 0 ? [await libraryTests()] : [];
  runs.push(await bunTests(args));
  const sum = (what) => runs.reduce((total, run) => total + run[what], 0);
  console.log(`${sum("passed")} passed, ${sum("failed")} failed, ${sum("skipped")} skipped`);
  return sum("failed") === 0 ? 0 : 1;
});
