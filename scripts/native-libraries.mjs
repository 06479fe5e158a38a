/** The native libraries of a checkout: libfastgen for the CPU, for CUDA where there is a GPU, and llguidance. */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import { availableParallelism } from "node:os";
import * as path from "node:path";
import { brotliDecompressSync } from "node:zlib";
import { BuildProgress } from "./build-progress.mjs";
import { mustRun, root, SetupError } from "./commands.mjs";

export async function buildLibrary() {
  for (const tool of ["make", "gcc"]) {
    if (spawnSync(tool, ["--version"], { stdio: "ignore" }).error) {
      throw new SetupError(`'${tool}' was not found: install a C compiler and make (Debian: apt-get install gcc make)`);
    }
  }
  await make("libfastgen", "cpu");
  try {
    await buildCudaLibrary();
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    console.error(`setup: going on without CUDA. ${error.message}`);
  }
}

/** Builds a target of libfastgen's Makefile, unless make itself, the only judge of its inputs, finds it up to date. */
async function make(what, target, env = process.env) {
  const args = ["--no-print-directory", "-C", "libfastgen", target];
  if (spawnSync("make", ["-q", ...args], { cwd: root, stdio: "ignore", env }).status === 0) return;
  const { stdout } = spawnSync("make", ["-n", ...args], { cwd: root, encoding: "utf8", env });
  const progress = new BuildProgress(`setup: building ${what}`, objectsOf(stdout));
  try {
    await mustRun("make", ["-s", `-j${availableParallelism()}`, ...args], "see the compiler's message above", { env });
  } finally {
    progress.end();
  }
}

/** The object files that make's dry run would compile: absolute paths. */
function objectsOf(commands) {
  const objects = [...commands.matchAll(/ -c -o (\S+\.o) /g)].map(([, object]) => object);
  return objects.map((object) => path.resolve(root, "libfastgen", object));
}

const hasCuda = () => Boolean(process.env.CUDA_HOME) || !spawnSync("nvcc", ["--version"], { stdio: "ignore" }).error;

/** The variables to run what was built with: on a machine without CUDA, cuBLASLt and NCCL are those that were fetched. */
export function runEnvironment() {
  const fetched = path.join(root, ".cache", "cuda", "nvidia", "cu13", "lib");
  if (process.env.FASTGEN_CUDA_LIBS || hasCuda() || !fs.existsSync(fetched)) return process.env;
  return { ...process.env, FASTGEN_CUDA_LIBS: fetched };
}

/** On a machine with an NVIDIA GPU: the CUDA library for that GPU, with the machine's own nvcc or one from PyPI. */
async function buildCudaLibrary() {
  const query = spawnSync("nvidia-smi", ["--query-gpu=compute_cap", "--format=csv,noheader"], { encoding: "utf8" });
  const capabilities = query.status === 0 ? query.stdout.trim().split(/\s+/) : [];
  if (capabilities.length === 0) return;
  // 9.0 is Hopper, whose own instructions need the "a".
  const archs = new Set(capabilities.map((capability) => capability.replace(".", "").replace(/^90$/, "90a")));
  const env = { ...process.env, CUDA_ARCHS: process.env.CUDA_ARCHS ?? [...archs].join(" ") };
  if (!hasCuda()) {
    const fetched = spawnSync(path.join(root, "scripts", "fetch-cuda.sh"), {
      encoding: "utf8",
      stdio: ["ignore", "pipe", 2],
    });
    if (fetched.status !== 0)
      throw new SetupError("CUDA's compiler could not be fetched: install CUDA and set CUDA_HOME");
    env.CUDA_HOME = fetched.stdout.trim();
  }
  await make("libfastgen for CUDA", "cuda", env);
}

/** The library of grammars, from the prebuilt one: few have what builds it (llguidance/build.sh). */
export function unpackLlguidance() {
  const prebuilt = path.join(root, "llguidance", `libllguidance-linux-${process.arch}.so`);
  if (!fs.existsSync(`${prebuilt}.br`)) throw new SetupError(`there is no ${prebuilt}.br: Fastgen runs on x86-64`);
  const target = path.join(root, "build", "libllguidance.so");
  const wanted = fs.readFileSync(`${prebuilt}.sha256`, "utf8").trim();
  const checksum = (bytes) => createHash("sha256").update(bytes).digest("hex");
  if (fs.existsSync(target) && checksum(fs.readFileSync(target)) === wanted) return;
  const library = decompress(`${prebuilt}.br`);
  if (library === null || checksum(library) !== wanted) {
    throw new SetupError(
      `${prebuilt}.br is damaged: its checksum is not that of ${prebuilt}.sha256. Clone the repository again`,
    );
  }
  fs.mkdirSync(path.dirname(target), { recursive: true });
  fs.writeFileSync(`${target}.new`, library, { mode: 0o755 });
  fs.renameSync(`${target}.new`, target);
}

function decompress(file) {
  try {
    return brotliDecompressSync(fs.readFileSync(file));
  } catch {
    return null;
  }
}
