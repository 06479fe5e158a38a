/** The package as a user gets it: npm pack, bun add into an empty folder, a strict compiler, and a program that runs. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";

const root = path.dirname(import.meta.dir);
const manifest = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8"));
const TYPES = `@types/bun@${manifest.devDependencies["@types/bun"]}`;
const bun = process.execPath;

/** The first time, some 100 MB are downloaded. */
const INSTALL_MS = 300_000;

/** The project's packages come from npm, or from Bun's cache if they were installed before. */
async function registryAnswers(): Promise<boolean> {
  const registry = process.env.npm_config_registry ?? "https://registry.npmjs.org/";
  const options = { method: "HEAD", signal: AbortSignal.timeout(5000) };
  return await fetch(new URL("zod", registry), options).then(
    ({ ok }) => ok,
    () => false,
  );
}
const offline = !(await registryAnswers());
const why = offline ? " (skipped: the npm registry cannot be reached)" : "";

/** Runs a command that must succeed; returns its output. */
function run(command: string[], cwd: string): string {
  // Nothing of this checkout may help: no library named in the environment, no path to its packages.
  const { FASTGEN_LIBRARY: _, NODE_PATH: __, ...env } = process.env;
  const child = Bun.spawnSync(command, { cwd, env });
  const output = child.stdout.toString();
  if (child.exitCode === 0) return output;
  throw new Error(`${command.join(" ")} ended with exit code ${child.exitCode}:\n${output}${child.stderr}`);
}

/** README's program under "As a library". */
function readmeExample(): string {
  const section = readFileSync(path.join(root, "README.md"), "utf8").split(/^## As a library$/m)[1];
  const code = section?.match(/^```ts\n([\s\S]*?)^```$/m)?.[1];
  if (code) return code;
  throw new Error('README.md has no TypeScript under "As a library"');
}

/** What a strict project may ask for, for either way of finding modules. */
const strict = (module: string, types: string[], files: string[]) => ({
  compilerOptions: {
    target: "esnext",
    module,
    moduleResolution: module === "nodenext" ? "nodenext" : "bundler",
    types,
    strict: true,
    noUncheckedIndexedAccess: true,
    exactOptionalPropertyTypes: true,
    noPropertyAccessFromIndexSignature: true,
    noImplicitOverride: true,
    verbatimModuleSyntax: true,
    isolatedModules: true,
    skipLibCheck: false,
    noEmit: true,
  },
  files,
});

const PROGRAM = `
import { type Completion, Fastgen, FastgenError, type LoadOptions, type SamplingParams } from "fastgen";

const options: LoadOptions = { device: "cpu", kv_cache_memory_bytes: 2 ** 26, swap_space: 0, max_model_len: 512 };
const params: SamplingParams = { max_tokens: 32, temperature: 0, logprobs: 1 };
await using fastgen = await Fastgen.load(undefined, options);
const completion: Completion = await fastgen.generate({ messages: [{ role: "user", content: "What is 2 plus 3?" }] }, params);
const refused = await fastgen.generate("x", { max_tokens: 1000 }).catch((error: unknown) => error);
console.log(completion.choices[0]?.text, fastgen.capacity.page_tokens, refused instanceof FastgenError && refused.kind);
`;

describe.skipIf(offline)(`the package${why}`, () => {
  let folder: string;
  const examples = readdirSync(path.join(root, "examples")).filter((name) => name.endsWith(".ts"));

  beforeAll(() => {
    folder = mkdtempSync(path.join(tmpdir(), "fastgen-package-"));
    run(["npm", "pack", "--silent", "--pack-destination", folder], root);
    const [tarball] = readdirSync(folder);
    writeFileSync(path.join(folder, "package.json"), '{ "type": "module" }\n');
    run([bun, "add", `./${tarball}`], folder);
    // A consumer's own choice, after the package: it must not be what brings the package's dependencies.
    run([bun, "add", "--dev", TYPES], folder);
    writeFileSync(path.join(folder, "program.ts"), PROGRAM);
    writeFileSync(path.join(folder, "readme.ts"), readmeExample());
    for (const name of examples) copyFileSync(path.join(root, "examples", name), path.join(folder, name));
  }, INSTALL_MS);
  afterAll(() => rmSync(folder, { recursive: true }));

  const compile = (module: string, types: string[], files: string[]) => {
    writeFileSync(path.join(folder, "tsconfig.json"), JSON.stringify(strict(module, types, files)));
    expect(run([path.join(root, "node_modules", ".bin", "tsc"), "-p", "."], folder)).toBe("");
  };

  test.each(["nodenext", "preserve"])("README's example and examples/ compile strictly, module %s", (module) => {
    compile(module, ["bun"], ["readme.ts", "program.ts", ...examples]);
  });

  test.each(["nodenext", "preserve"])("a program compiles without Bun's types, module %s", (module) => {
    compile(module, [], ["program.ts"]);
  });

  test("a compiler that finds an error says so", () => {
    writeFileSync(path.join(folder, "wrong.ts"), 'import { Fastgen } from "fastgen";\nawait Fastgen.load(1);\n');
    expect(() => compile("nodenext", ["bun"], ["wrong.ts"])).toThrow("wrong.ts(2,20)");
  });

  test("a program runs", () => {
    expect(run([bun, "program.ts"], folder)).toBe("2 + 3 = 5. 64 invalid_request\n");
  });

  test("README's example runs, on the built-in model", () => {
    const code = readmeExample();
    const builtIn = code.replace(/Fastgen\.load\("[^"]+"\)/, "Fastgen.load()");
    expect(builtIn).not.toBe(code);
    writeFileSync(path.join(folder, "readme.ts"), builtIn);
    expect(run([bun, "readme.ts"], folder)).toContain("Hello! I'm Tiny");
  });

  test("it brings what the library needs, and not what the executables are made of", () => {
    const installed = readdirSync(path.join(folder, "node_modules"));
    for (const name of Object.keys(manifest.dependencies)) expect(installed).toContain(name.split("/")[0]!);
    for (const name of ["hono", "commander", "prom-client", "bun"]) expect(installed).not.toContain(name);
    // .bun-tag is Bun's own.
    const shipped = readdirSync(path.join(folder, "node_modules", "fastgen")).filter((name) => !name.startsWith("."));
    expect(shipped.sort()).toEqual(["LICENSE", "README.md", "build", "dist", "llguidance", "models", "package.json"]);
  });
});
