/** Models that a Python script makes for a GPU test in a temporary folder. Needs a python3 with torch, transformers and safetensors. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeShapes } from "../../bench/shapes.ts";
import { skipped as noDevice } from "./device.ts";

/** Why python3 cannot make the models, or null. */
function pythonProblem(): string | null {
  const needs = 'import safetensors, transformers, torch; assert torch.cuda.is_available(), "torch finds no GPU"';
  const { exitCode, stderr } = Bun.spawnSync(["python3", "-c", needs]);
  return exitCode === 0 ? null : `python3: ${stderr.toString().trim().split("\n").at(-1)}`;
}

/** Why tests of `what` cannot run, or null. Says so, unless device.ts has already reported that there is no device. */
export function skipReason(what: string): string | null {
  if (noDevice !== null) return noDevice;
  const problem = Bun.which("python3") ? pythonProblem() : "no python3";
  if (problem !== null) console.log(`skipped: ${what}: ${problem}`);
  return problem;
}

/** A folder with bench/shapes.ts's models, and what test/gpu/`script` has made of them. */
export class PythonModels {
  #folder: string | null = null;

  async make(script: string, names: string[]): Promise<string> {
    const folder = mkdtempSync(join(tmpdir(), "fastgen-full-width-"));
    this.#folder = folder;
    writeShapes(folder);
    const python = Bun.spawn(["python3", join(import.meta.dir, script), folder, ...names], {
      stdout: "inherit",
      stderr: "pipe",
    });
    const errors = await python.stderr.text();
    if ((await python.exited) !== 0) throw new Error(`${script}: ${errors}`);
    return folder;
  }

  remove(): void {
    if (this.#folder !== null) rmSync(this.#folder, { recursive: true });
  }
}
