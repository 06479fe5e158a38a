/** What npm test counts: passed, failed and skipped tests, and skips that would hide a fault. */
import { spawnSync } from "node:child_process";

/** Of libfastgen's tests: each program counts as one, and ends with a line "NAME: N checks, N failed". */
export function countPrograms(output) {
  const total = { passed: 0, failed: 0, skipped: 0 };
  for (const [, failed] of output.matchAll(/^\w+: \d+ checks, (\d+) failed$/gm)) {
    total[failed === "0" ? "passed" : "failed"]++;
  }
  return total;
}

/** Of bun's JUnit report. The hooks of a skipped block are in it too, without a name: they are no tests. */
export function countReport(xml) {
  const total = { passed: 0, failed: 0, skipped: 0 };
  for (const [, attributes, content = ""] of xml.matchAll(
    /<testcase ((?:[^>"]|"[^"]*")*?)(?:\/>|>([\s\S]*?)<\/testcase>)/g,
  )) {
    const isHook = /(^| )name="\(unnamed\)"/.test(attributes) && !/ line="/.test(attributes);
    if (/<(failure|error)\b/.test(content)) total.failed++;
    else if (!/<skipped\b/.test(content)) total.passed++;
    else if (!isHook) total.skipped++;
  }
  return total;
}

/**
 * A run that ended badly, ran nothing or skipped everything counts as one failure, if its own count has none. With maySkip it may
 * skip everything.
 */
export function settle(total, code, what, { maySkip = false } = {}) {
  if (total.failed > 0) return total;
  const { passed, skipped } = total;
  const problem =
    passed + skipped === 0
      ? "reported no test"
      : code !== 0
        ? "did not end well"
        : passed === 0 && !maySkip
          ? "skipped every test"
          : null;
  if (problem === null) return total;
  console.error(`${what} ${problem} (exit code ${code})`);
  return { ...total, failed: 1 };
}

/**
 * Why the tests of the GPU would skip on a machine that has one, or null: the CUDA library or the programs that test its ops
 * are not built from these sources. Where CUDA_HOME is "none", nobody wants them.
 */
export function findGpuFault(root, env = process.env) {
  if (env.CUDA_HOME === "none") return null;
  const list = spawnSync("nvidia-smi", ["--list-gpus"], { encoding: "utf8", env });
  if (list.status !== 0 || list.stdout.trim() === "") return null;
  // What make would do. Its own check for nvcc comes with every answer; a command that writes a file does not.
  const args = ["--no-print-directory", "-n", "-C", "libfastgen", "cuda", "cuda-tests"];
  const make = spawnSync("make", args, { cwd: root, encoding: "utf8", env });
  if (make.status === 0 && !/ -o /.test(make.stdout)) return null;
  return (
    "there is a GPU, and the CUDA library or its test programs are not built from these sources: run " +
    "'CUDA_HOME=$(scripts/fetch-cuda.sh) make -C libfastgen cuda cuda-tests' first, or set CUDA_HOME=none to test without the GPU"
  );
}
