/** A copy of the tree in which bugs are planted and tests run. */
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { isStale, type PlantedBug } from "./bugs.ts";

/** "stale": the code that the bug changes is not there any more, or more than once. */
export type Outcome = "caught" | "survived" | "stale";

const LIBRARY = "libfastgen";
const BUILD_TIMEOUT_MS = 600_000;
/** Programs that take minutes under the sanitizers. */
const PLAIN = ["forward_test", "kernels_test"];
/** The others run under them, as in CI: a leak or a stray write is noticed too. */
const SANITIZE = "-fsanitize=address,undefined -fno-sanitize-recover=all";

export class TreeCopy {
  /** The tests that were found to pass without a bug, by their names joined. */
  readonly #sound = new Set<string>();

  private constructor(
    readonly folder: string,
    readonly timeoutMs: number,
  ) {}

  /** Copies what git lists or would list. Packages and the built libraries are shared with the tree at `root`. */
  static async make(root: string, timeoutMs: number): Promise<TreeCopy> {
    const list = Bun.spawnSync(["git", "ls-files", "-coz", "--exclude-standard"], { cwd: root });
    if (list.exitCode !== 0) throw new Error(`git ls-files failed in ${root}: ${list.stderr}`);
    const folder = mkdtempSync(path.join(tmpdir(), "fastgen-mutants-"));
    for (const file of list.stdout.toString().split("\0").filter(Boolean)) {
      const from = path.join(root, file);
      if (!existsSync(from)) continue;
      mkdirSync(path.join(folder, path.dirname(file)), { recursive: true });
      cpSync(from, path.join(folder, file), { preserveTimestamps: true });
    }
    for (const shared of ["node_modules", "build/libfastgen_cpu.so", "build/libllguidance.so", "build/page.html.gz"]) {
      if (!existsSync(path.join(root, shared))) continue;
      mkdirSync(path.join(folder, path.dirname(shared)), { recursive: true });
      rmSync(path.join(folder, shared), { force: true });
      symlinkSync(path.resolve(root, shared), path.join(folder, shared));
    }
    return new TreeCopy(folder, timeoutMs);
  }

  /** Plants a bug, runs its tests, and mends the file again. Throws when the tests fail without it. */
  async plant(bug: PlantedBug): Promise<Outcome> {
    const { file, find, replace, tests } = bug;
    const place = path.join(this.folder, file);
    const text = existsSync(place) ? readFileSync(place, "utf8") : "";
    if (isStale(bug, text)) return "stale";
    const key = tests.join(" ");
    if (!this.#sound.has(key)) {
      const { passed, output } = await this.#run(tests);
      if (!passed) throw new Error(`${key} fails without a bug:\n${output}`);
      this.#sound.add(key);
    }
    // Written, not copied back: make goes by the time of the change.
    writeFileSync(
      place,
      text.replace(find, () => replace),
    );
    try {
      return (await this.#run(tests)).passed ? "survived" : "caught";
    } finally {
      writeFileSync(place, text);
    }
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #run(tests: string[]): Promise<{ passed: boolean; output: string }> {
    const programs = tests.filter((name) => !name.endsWith(".ts"));
    const files = tests.filter((name) => name.endsWith(".ts")).map((name) => `./${name}`);
    let output = "";
    const step = async (command: string[], timeoutMs = this.timeoutMs) => {
      // A group of its own, so that a hanging test leaves no process behind.
      const child = Bun.spawn(command, { cwd: this.folder, stdout: "pipe", stderr: "pipe", detached: true });
      const timer = setTimeout(() => process.kill(-child.pid, "SIGKILL"), timeoutMs);
      const [out, err, code] = await Promise.all([
        new Response(child.stdout).text(),
        new Response(child.stderr).text(),
        child.exited,
      ]);
      clearTimeout(timer);
      output += out + err;
      return code === 0;
    };
    if (files.length > 0 && !(await step([process.execPath, "test", "--bail", "--timeout=20000", ...files]))) {
      return { passed: false, output };
    }
    for (const name of programs) {
      const plain = PLAIN.includes(name);
      const build = plain ? "../build/plain" : "../build/sanitized";
      const program = `${build}/obj/${name}`;
      const flags = plain ? [] : [`CFLAGS=-O1 -g1 ${SANITIZE}`, `LDFLAGS=${SANITIZE}`];
      const made = await step(["make", "-s", "-C", LIBRARY, `BUILD=${build}`, ...flags, program], BUILD_TIMEOUT_MS);
      if (!made || !(await step([path.join(this.folder, LIBRARY, program)]))) return { passed: false, output };
    }
    return { passed: true, output };
  }
}
