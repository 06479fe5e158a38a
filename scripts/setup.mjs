/**
 * Everything between `git clone` and a runnable checkout: npm's packages, libfastgen, the executable. Plain Node without
 * dependencies, because node_modules may not exist yet. Nothing is done twice: each step first checks its own inputs.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import { createServer } from "node:net";
import * as path from "node:path";
import { fileURLToPath } from "node:url";
import { bun, mustRun, root, runScript, SetupError } from "./commands.mjs";
import { buildLibrary, unpackLlguidance } from "./native-libraries.mjs";

const WEIGHTS = "model.safetensors";

/**
 * One set-up at a time in one checkout. The lock is an abstract Unix socket: the kernel drops it with the process, so an
 * interrupted set-up leaves nothing behind.
 */
async function lock() {
  const name = `\0fastgen-setup-${createHash("sha256").update(fs.realpathSync(root)).digest("hex").slice(0, 32)}`;
  for (let waited = 0; ; waited++) {
    const server = createServer();
    const taken = await new Promise((resolve, reject) => {
      server.once("error", (error) => (error.code === "EADDRINUSE" ? resolve(true) : reject(error)));
      server.listen(name, () => resolve(false));
    });
    if (!taken) {
      server.unref();
      return () => server.close();
    }
    if (waited === 0) console.error("setup: waiting for another set-up of this checkout to end");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

const readJson = (file) => {
  try {
    return JSON.parse(fs.readFileSync(path.join(root, file), "utf8"));
  } catch {
    return null;
  }
};

/** Whether node_modules is what package-lock.json says. npm writes node_modules/.package-lock.json last of all. */
function packagesInstalled() {
  const wanted = readJson("package-lock.json")?.packages;
  const present = readJson("node_modules/.package-lock.json")?.packages;
  if (!wanted || !present) return false;
  return Object.entries(wanted).every(([name, entry]) => {
    if (name === "") return true;
    const have = present[name];
    return have ? have.version === entry.version && have.integrity === entry.integrity : entry.optional === true;
  });
}

const bunWorks = () => spawnSync(bun, ["--version"], { stdio: "ignore" }).status === 0;

async function installPackages() {
  if (!packagesInstalled()) {
    console.error("setup: installing packages (npm ci)");
    // What only the executable needs is bundled into it, so it is a development dependency. NODE_ENV must not leave it out.
    await mustRun(
      "npm",
      ["ci", "--include=dev", "--no-audit", "--no-fund", "--loglevel=error"],
      "see npm's message above",
    );
    // npm configured with ignore-scripts leaves Bun's own installer undone.
    if (!bunWorks()) await mustRun(process.execPath, ["node_modules/bun/install.js"], "Bun could not be installed");
  }
}

const PAGE = "build/page.html.gz";

/** The page at /, made of web/. It is made again when one of its sources is newer. */
async function buildPage() {
  const page = path.join(root, PAGE);
  const time = (file) => fs.statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const inputs = [...filesUnder("web"), "package-lock.json", "src/limits.ts", "routes/server/page-servers.ts"].map(
    (file) => path.join(root, file),
  );
  if (inputs.every((file) => time(file) < time(page))) return;
  console.error("setup: building the page");
  await mustRun(bun, ["web/build.ts", page], "see the message above");
}

function* filesUnder(directory) {
  if (!fs.existsSync(path.join(root, directory))) return;
  for (const entry of fs.readdirSync(path.join(root, directory), { withFileTypes: true })) {
    const file = path.posix.join(directory, entry.name);
    if (entry.isDirectory()) yield* filesUnder(file);
    else if (entry.isFile()) yield file;
  }
}

/** Files that travel inside the executable: their names for src/assets.ts, and where they are in the checkout. */
function assetFiles() {
  const exists = (file) => fs.existsSync(path.join(root, file));
  const libraries = ["build/libfastgen_cpu.so", "build/libfastgen_cuda.so", "build/libllguidance.so"].filter(exists);
  // A folder of models/ is a model once its weights are there; beside it lies what trained it.
  const models = [...filesUnder("models")].filter(
    (file) => /\.(json|jinja|safetensors)$/.test(file) && exists(path.posix.join(path.posix.dirname(file), WEIGHTS)),
  );
  const addon = `node_modules/tokenizers/tokenizers.linux-${process.arch}-gnu.node`;
  return new Map([...[...libraries, ...models, PAGE].sort().map((file) => [file, file]), ["tokenizers.node", addon]]);
}

const isSource = (file) => /\.(ts|json)$/.test(file) && !file.endsWith(".test.ts");

function inputsHash(assets) {
  const hash = createHash("sha256");
  const sources = ["cli", "routes", "src"].flatMap((folder) => [...filesUnder(folder)]).filter(isSource);
  for (const file of [
    ...sources.sort(),
    ...assets.values(),
    "package.json",
    "package-lock.json",
    "scripts/setup.mjs",
  ]) {
    const content = fs.readFileSync(path.join(root, file));
    hash.update(`${file}\0${content.length}\0`).update(content);
  }
  return hash.digest("hex");
}

const executables = ["fgserve", "fgchat", "fgbatch"];

/** ./fgserve, ./fgchat and ./fgbatch, one file with three names. Replaced by rename, so a running server keeps its own. */
async function buildExecutable() {
  const assets = assetFiles();
  const hash = inputsHash(assets);
  const stamp = path.join(root, "build", "executable.sha256");
  const built = fs.existsSync(stamp) && fs.readFileSync(stamp, "utf8") === hash;
  if (built && executables.every((name) => fs.existsSync(path.join(root, name)))) return;

  console.error("setup: building ./fgserve, ./fgchat and ./fgbatch");
  fs.rmSync(stamp, { force: true });
  const files = [...assets.values()];
  const imports = files.map((file, i) => `import asset${i} from "../${file}" with { type: "file" };`);
  const entries = [...assets.keys()].map((name, i) => `assets.set(${JSON.stringify(name)}, asset${i});`);
  const entry = [
    "// Made by scripts/setup.mjs: the executable's entry point, which carries the files below inside it.",
    'import { assets } from "../src/assets.ts";',
    ...imports,
    ...entries,
    'const { main } = await import("../cli/main.ts");',
    "await main();",
  ];
  fs.writeFileSync(path.join(root, "build", "entry.ts"), `${entry.join("\n")}\n`);
  // Bytecode halves the time to start. Names are kept, for the stack traces of bugs. Bun's own files (bunfig.toml, .env) in the
  // folder where the executable starts are not its user's choice: they are not read.
  // biome-ignore format: one option a line would hide the command
  await mustRun(bun, [
    "build", "--compile", "--no-compile-autoload-bunfig", "--no-compile-autoload-dotenv",
    "--no-compile-autoload-tsconfig", "--no-compile-autoload-package-json", "--bytecode", "--format=esm", "--minify-syntax", "--minify-whitespace", "--root", ".",
    "--outfile", "build/fgserve.new", "build/entry.ts", "src/engine/worker.ts", "src/grammar/worker.ts", "src/kv-cache-dir/thread.ts",
  ], "see the message above", { quiet: true });
  for (const name of executables) {
    const target = path.join(root, name);
    fs.rmSync(`${target}.new`, { force: true });
    fs.linkSync(path.join(root, "build", "fgserve.new"), `${target}.new`);
    fs.renameSync(`${target}.new`, target);
    // rename() of two links to one file does nothing, by POSIX: then the temporary name is still there.
    fs.rmSync(`${target}.new`, { force: true });
  }
  fs.rmSync(path.join(root, "build", "fgserve.new"));
  fs.writeFileSync(`${stamp}.new`, hash);
  fs.renameSync(`${stamp}.new`, stamp);
}

/** Brings the checkout up to date with its sources; `executable: false` leaves the executable out. Throws SetupError. */
export async function setup({ executable = true } = {}) {
  if (process.platform !== "linux") throw new SetupError(`Fastgen runs on Linux; this is ${process.platform}`);
  const unlock = await lock();
  try {
    await installPackages();
    await buildLibrary();
    unpackLlguidance();
    if (executable) {
      await buildPage();
      await buildExecutable();
    }
  } finally {
    unlock();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await runScript(setup);
