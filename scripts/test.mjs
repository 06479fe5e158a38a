/**
 * npm test [-- bun test's arguments]: set-up, then libfastgen's tests and bun's; with arguments, only bun's. The last line adds
 * up all: "N passed, N failed, N skipped". The exit code is 0 only if no test failed, every run ended well, none skipped all of
 * its tests (but those of programs that are not installed), and no GPU of this machine went untested.
 */
import { spawn } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { bun, root, runCommand, runScript } from "./commands.mjs";
import { setup } from "./setup.mjs";
import { countPrograms, countReport, findGpuFault, settle } from "./test-counts.mjs";

/** Per test. Tests of the executable start servers, also on machines with few cores. */
const TIMEOUT_MS = 60_000;

/** Builds and runs libfastgen's tests. */
async function libraryTests() {
  console.error("test: building and running libfastgen's tests");
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

/**
 * Tests that run other people's programs: Ray, clients, a trainer. Mostly they wait for these to start, so they run beside all
 * others. Where the programs are not installed, all of them skip.
 */
const PROGRAMS = ["test/clients", "test/ray.test.ts", "test/rl.test.ts"];

/** Runs `bun test` and reads its counts from the JUnit report. */
async function bunTests(args, { what = "bun test", report = "junit", maySkip = false, output = "inherit" } = {}) {
  const file = path.join(root, "build", `${report}.xml`);
  fs.rmSync(file, { force: true });
  // biome-ignore format: one option a line would hide the command
  const code = await runCommand(bun, [
    "test", `--timeout=${TIMEOUT_MS}`, "--reporter=junit", `--reporter-outfile=${file}`, ...args,
  ], { stdio: ["inherit", output, output] });
  const xml = fs.existsSync(file) ? fs.readFileSync(file, "utf8") : "";
  return settle(countReport(xml), code, what, { maySkip });
}

/** The tests of other people's programs. What they print comes when they have ended and the others, too. */
async function programTests(others) {
  const log = path.join(root, "build", "programs.log");
  const output = fs.openSync(log, "w");
  const what = "bun test of other people's programs";
  const counts = await bunTests(PROGRAMS, { what, report: "junit-programs", maySkip: true, output });
  fs.closeSync(output);
  await others;
  process.stdout.write(fs.readFileSync(log));
  return counts;
}

/** All tests; resolves with the counts of each run. */
async function allTests() {
  const ignored = PROGRAMS.map((name) => `--path-ignore-patterns=${name.endsWith(".ts") ? name : `${name}/**`}`);
  const library = libraryTests();
  const others = library.then(() => bunTests(ignored));
  return Promise.all([library, others, programTests(others)]);
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
  const runs = args.length === 0 ? await allTests() : [await bunTests(args)];
  if (args.length === 0 || args.some((arg) => arg.includes("gpu"))) runs.push(gpuCheck());
  const sum = (what) => runs.reduce((total, run) => total + run[what], 0);
  console.log(`${sum("passed")} passed, ${sum("failed")} failed, ${sum("skipped")} skipped`);
  return sum("failed") === 0 ? 0 : 1;
});
