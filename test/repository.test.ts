/** Rules for the repository as a whole. */
import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import * as path from "node:path";
import { command as batch } from "../cli/batch.ts";
import { command as chat } from "../cli/chat.ts";
import { command as serve } from "../cli/serve.ts";
import * as limits from "../src/limits.ts";

const root = path.dirname(import.meta.dir);
const listed = Bun.spawnSync(["git", "ls-files", "-z"], { cwd: root });
const files = listed.stdout
  .toString()
  .split("\0")
  .filter((file) => file !== "" && existsSync(path.join(root, file)));
const read = (file: string) => readFileSync(path.join(root, file), "utf8");
/** What tools made, and the one header that is another project's. */
const isData = (file: string) =>
  /^(models|test\/golden|test\/data|bench\/results)\/|package-lock\.json$|^llguidance\/llguidance\.h$/.test(file);
const isText = (file: string) =>
  /\.(ts|mjs|js|json|toml|md|html|css|c|h|cu|cuh|cpp|hpp|py|sh)$|Makefile$|^\.ci\/run$|LICENSE$/.test(file);
/** llguidance's own header, as its package has it. */
const isForeign = (file: string) => file === "llguidance/llguidance.h";
const texts = files.filter((file) => isText(file) && !isData(file) && !isForeign(file));

/** The lines of all text files for which `wrong` is true, as "file:line: text". */
function findLines(wrong: (line: string, file: string) => boolean, among = texts): string[] {
  return among.flatMap((file) =>
    read(file)
      .split("\n")
      .flatMap((line, i) => (wrong(line, file) ? [`${file}:${i + 1}: ${line.trim().slice(0, 100)}`] : [])),
  );
}

test("the list of files is there", () => {
  expect(listed.exitCode).toBe(0);
  expect(texts).toContain("src/limits.ts");
  expect(texts).toContain("libfastgen/fastgen.h");
});

test("no file is over 600 lines, except kernels", () => {
  const isKernel = (file: string) => /^libfastgen\/(cpu|cuda)\//.test(file);
  const long = texts.filter((file) => !isKernel(file) && read(file).split("\n").length > 601);
  expect(long).toEqual([]);
});

test("every file of code begins with what it is for", () => {
  const isCode = (file: string) => /\.(ts|mjs|c|h|cu|cuh|cpp|css|sh|rs)$/.test(file) && !file.endsWith(".test.ts");
  const silent = texts.filter((file) => isCode(file) && !/^(#!.*\n)?(\/\*|\/\/|# )/.test(read(file)));
  expect(silent).toEqual([]);
});

test("packages are pinned to one version", () => {
  const { dependencies, devDependencies } = JSON.parse(read("package.json"));
  for (const [name, version] of Object.entries({ ...dependencies, ...devDependencies })) {
    expect(`${name}@${version}`).toMatch(/@\d+\.\d+\.\d+$/);
  }
  const python = findLines((line) => /pip3? install/.test(line) && /[a-z]([<>~]=|==[\d.]*\*)/.test(line));
  expect(python).toEqual([]);
});

test("package-lock.json holds every package for every platform, as npm ci demands", () => {
  const { packages } = JSON.parse(read("package-lock.json"));
  const named = Object.values<{ optionalDependencies?: object }>(packages).flatMap((entry) =>
    Object.keys(entry.optionalDependencies ?? {}),
  );
  expect(named.length).toBeGreaterThan(0);
  expect(named.filter((name) => !(`node_modules/${name}` in packages))).toEqual([]);
});

test("every script in bench explains its flags by --help", () => {
  const scripts = texts.filter((file) => /^bench\/[\w-]+\.ts$/.test(file) && read(file).startsWith("#!"));
  expect(scripts.length).toBeGreaterThan(15);
  expect(scripts.filter((file) => !read(file).includes(`new Command("bun ${file}")`))).toEqual([]);
});

test("every limit is used somewhere", () => {
  const sources = texts.filter(
    (file) => /^(cli|routes|src|web)\/.*\.ts$/.test(file) && !/limits\.ts$|\.test\.ts$/.test(file),
  );
  const code = sources.map(read).join("\n");
  const unused = Object.keys(limits).filter((name) => !new RegExp(`\\b${name}\\b`).test(code));
  expect(unused).toEqual([]);
});

test("limits that libfastgen also has agree with fastgen.h", () => {
  const header = read("libfastgen/fastgen.h");
  const constant = (name: string) => Number(header.match(new RegExp(`\\b${name} = (-?\\d+)`))?.[1]);
  expect(limits.MAX_LOGPROBS).toBe(constant("FG_MAX_LOGPROBS"));
  expect(limits.MAX_LOGIT_BIAS).toBe(constant("FG_MAX_LOGIT_BIAS"));
  expect(limits.MAX_STOP_TOKEN_IDS).toBeLessThan(constant("FG_MAX_STOP_IDS"));
});

test("no path of somebody's machine, and nothing outside the repository except CI's optional model", () => {
  const machine = new RegExp(
    ["/work", "/root", "/home/[a-z]+", "/Users/[a-z]+"].map((dir) => `(^|[^\\w.])${dir}/`).join("|"),
  );
  expect(findLines((line) => machine.test(line), texts)).toEqual([]);
  const outside = findLines((line, file) => line.includes(["..", "shared"].join("/")) && file !== ".ci/run");
  expect(outside).toEqual([]);
});

test("plain punctuation, no trailing space", () => {
  expect(findLines((line) => /\u2014/.test(line))).toEqual([]);
  expect(findLines((line, file) => /[ \t]$/.test(line) && !file.endsWith(".md"))).toEqual([]);
});

test("tests are skipped only for a reason that shows, and none runs alone", () => {
  const tests = texts.filter((file) => file.endsWith(".test.ts"));
  expect(findLines((line) => /\b(test|it|describe)\.(only|skip|todo)\(/.test(line), tests)).toEqual([]);
});

const readme = "README.md";
test("every flag in the README exists", () => {
  const help = [serve(), chat(), batch()].map((tool) => tool.helpInformation()).join("\n");
  const flags = new Set(read(readme).match(/(?<![\w-])--[a-z][a-z-]+/g) ?? []);
  const unknown = [...flags].filter((flag) => !new RegExp(`${flag}(?![\\w-])`).test(help));
  expect(unknown).toEqual([]);
});

test.each(["bench/report.ts", "bench/figure.ts"])("what %s makes of bench/results is in the pages", (script) => {
  expect(read(readme)).toContain("<!-- bench/report.ts: summary -->");
  expect(read(readme)).toContain("docs/throughput.svg");
  expect(read("BENCHMARKS.md")).toContain("<!-- bench/report.ts: loads -->");
  const check = Bun.spawnSync([process.execPath, script, "--check"], { cwd: root });
  expect(check.stderr.toString()).toBe("");
  expect(check.exitCode).toBe(0);
});
