/** What npm test makes of reports, exit codes and machines (scripts/test-counts.mjs). */
import { afterAll, beforeAll, describe, expect, spyOn, test } from "bun:test";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

interface TestCounts {
  countPrograms(output: string): Counts;
  countReport(xml: string): Counts;
  settle(total: Counts, code: number, what: string, options?: { maySkip: boolean }): Counts;
  findGpuFault(root: string, env: Record<string, string>): string | null;
}

const root = path.dirname(import.meta.dir);
const { countPrograms, countReport, findGpuFault, settle }: TestCounts = await import(
  `${root}/scripts/test-counts.mjs`
);

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), "fastgen-counts-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

test("a program of libfastgen is one test", () => {
  const output = "engine_test: 12 checks, 0 failed\n  a remark\nload_test: 5 checks, 2 failed\nnot_a_test: done\n";
  expect(countPrograms(output)).toEqual({ passed: 1, failed: 1, skipped: 0 });
  expect(countPrograms("")).toEqual({ passed: 0, failed: 0, skipped: 0 });
});

describe("bun's report", () => {
  /** The report of a real run of this file of tests. */
  function report(source: string): string {
    const file = path.join(folder, "some.test.ts");
    writeFileSync(file, `import { afterAll, beforeAll, describe, expect, test } from "bun:test";\n${source}`);
    const xml = path.join(folder, "report.xml");
    rmSync(xml, { force: true });
    const args = ["test", "--reporter=junit", `--reporter-outfile=${xml}`, file];
    Bun.spawnSync([process.execPath, ...args], { cwd: folder });
    return readFileSync(xml, "utf8");
  }

  test("tests that pass, fail, are skipped or still to do", () => {
    const xml = report(`
      test("a > b & \\"c\\"", () => {});
      test("no", () => { expect("<skipped />").toBe("<testcase>"); });
      test.skipIf(true)("later", () => {});
      test["todo"]("one day");
      describe("of", () => { test("yes", () => {}); });
    `);
    expect(countReport(xml)).toEqual({ passed: 2, failed: 1, skipped: 2 });
  });

  test("hooks are no tests; one that fails is a failure", () => {
    const hooks = "beforeAll(() => {}); afterAll(() => {});";
    const skipped = `describe.skipIf(true)("x", () => { ${hooks} test("one", () => {}); test("two", () => {}); });`;
    expect(countReport(report(`${skipped} ${hooks} test("yes", () => {});`))).toEqual({
      passed: 1,
      failed: 0,
      skipped: 2,
    });
    const failing = `describe("x", () => { beforeAll(() => { throw new Error("no"); }); test("one", () => {}); });`;
    expect(countReport(report(failing)).failed).toBe(1);
  });
});

test("a run that ended badly, ran nothing or skipped everything has failed", () => {
  const log = spyOn(console, "error").mockImplementation(() => {});
  try {
    const failed = (total: Counts, code: number) => settle(total, code, "the run").failed;
    expect(failed({ passed: 3, failed: 0, skipped: 2 }, 0)).toBe(0);
    expect(failed({ passed: 3, failed: 2, skipped: 2 }, 1)).toBe(2);
    expect(failed({ passed: 3, failed: 0, skipped: 0 }, 1)).toBe(1);
    expect(failed({ passed: 0, failed: 0, skipped: 0 }, 0)).toBe(1);
    expect(failed({ passed: 0, failed: 0, skipped: 78 }, 0)).toBe(1);
    const optional = (total: Counts, code: number) =>
      settle(total, code, "what may be missing", { maySkip: true }).failed;
    expect(optional({ passed: 0, failed: 0, skipped: 78 }, 0)).toBe(0);
    expect(optional({ passed: 0, failed: 0, skipped: 78 }, 1)).toBe(1);
    expect(optional({ passed: 0, failed: 0, skipped: 0 }, 0)).toBe(1);
    expect(log.mock.calls.map(([line]) => line)).toEqual([
      "the run did not end well (exit code 1)",
      "the run reported no test (exit code 0)",
      "the run skipped every test (exit code 0)",
      "what may be missing did not end well (exit code 1)",
      "what may be missing reported no test (exit code 0)",
    ]);
  } finally {
    log.mockRestore();
  }
});

describe("a machine with a GPU", () => {
  /** A folder of commands in front of the others: each prints what it is given and ends with a code. */
  function machine(commands: Record<string, { prints: string; code?: number }>): Record<string, string> {
    const bin = mkdtempSync(path.join(folder, "bin-"));
    for (const [name, { prints, code = 0 }] of Object.entries(commands)) {
      writeFileSync(path.join(bin, name), `#!/bin/sh\ncat <<'END'\n${prints}\nEND\nexit ${code}\n`);
      chmodSync(path.join(bin, name), 0o755);
    }
    return { PATH: `${bin}:/usr/bin:/bin` };
  }
  const gpu = { prints: "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-0)" };
  const nvcc = 'test -n "/usr/local/cuda/bin/nvcc" || { echo "error: no nvcc"; exit 1; }';

  test("needs its programs built from these sources", () => {
    const stale = machine({
      "nvidia-smi": gpu,
      make: { prints: `${nvcc}\nnvcc -O3 -c -o ../build/obj/cuda/step.o cuda/step.cu` },
    });
    expect(findGpuFault(root, stale)).toMatch(/not built from these sources: run .*make -C libfastgen cuda cuda-tests/);
    const broken = machine({ "nvidia-smi": gpu, make: { prints: "make: *** No rule", code: 2 } });
    expect(findGpuFault(root, broken)).toContain("not built");
    const fresh = machine({ "nvidia-smi": gpu, make: { prints: nvcc } });
    expect(findGpuFault(root, fresh)).toBeNull();
  });

  test("the real make says so of a checkout in which nothing is built", () => {
    const commands = machine({ "nvidia-smi": gpu });
    expect(findGpuFault(root, { ...commands, BUILD: path.join(folder, "nothing") })).toContain("not built");
  });

  test("may be told to do without", () => {
    const commands = machine({ "nvidia-smi": gpu, make: { prints: "nvcc -o x" } });
    expect(findGpuFault(root, { ...commands, CUDA_HOME: "none" })).toBeNull();
  });

  test("is one where nvidia-smi lists a GPU", () => {
    const make = { prints: "nvcc -o x" };
    expect(findGpuFault(root, machine({ make, "nvidia-smi": { prints: "" } }))).toBeNull();
    expect(findGpuFault(root, machine({ make, "nvidia-smi": { prints: "no driver", code: 9 } }))).toBeNull();
  });
});
