/**
 * npm test [-- bun test's arguments]: set-up, then libfastgen's tests and bun's; with arguments, only bun's. The last line adds
 * up both: "N passed, N failed, N skipped". The exit code is 0 only if no test failed, both runs ended well, neither skipped all
 * of its tests, and no GPU of this machine went untested.
 */
import { spawn } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { bun, root, runCommand, runScript, setup } from "./setup.mjs";
import { countPrograms, countReport, findGpuFault, settle } from "./test-counts.mjs";

/** Per test. Tests of the executable start servers, also on machines with few cores. */
const TIMEOUT_MS = 60_000;

/** Runs libfastgen's tests. */
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
  return settle(countPrograms(output), code, "libfastgen's tests");
}

/** Runs `bun test` and reads its counts from the JUnit report. */
async function bunTests(args) {
  const report = path.join(root, "build", "junit.xml");
  fs.rmSync(report, { force: true });
  // biome-ignore format: one option a line would hide the command
  const code = await runCommand(bun, [
    "test", `--timeout=${TIMEOUT_MS}`, "--reporter=junit", `--reporter-outfile=${report}`, ...args,
  ]);
  const xml = fs.existsSync(report) ? fs.readFileSync(report, "utf8") : "";
  return settle(countReport(xml), code, "bun test");
}

/** Tests of the GPU skip where it cannot be used; on a machine that has one, that itself is a failure. */
function gpuCheck() {
  const fault = findGpuFault(root);
  if (fault !== null) console.error(fault);
  return { passed: 0, failed: fault === null ? 0 : 1, skipped: 0 };
}

await runScript(async () => {
  await setup();
  const args = process.argv.slice(2);
  const runs = args.length === 0 ? [await libraryTests()] : [];
  runs.push(await bunTests(args));
  if (args.length === 0 || args.some((arg) => arg.includes("gpu"))) runs.push(gpuCheck());
  const sum = (what) => runs.reduce((total, run) => total + run[what], 0);
  console.log(`${sum("passed")} passed, ${sum("failed")} failed, ${sum("skipped")} skipped`);
  return sum("failed") === 0 ? 0 : 1;
});
