/**
 * Random templates through Jinja2 and through ours (src/text/jinja), on demand:
 *
 *   python3 -m venv venv && venv/bin/pip install jinja2==3.1.6
 *   PYTHON=venv/bin/python bun test/jinja-fuzz.ts [SEED] [COUNT]
 *
 * Prints what differs; the exit code is 1 where anything does.
 */
import { join } from "node:path";
import { difference, type JinjaCase } from "./jinja-case.ts";

const [seed = String(Date.now() % 1_000_000), count = "2000"] = process.argv.slice(2);
const script = join(import.meta.dir, "golden/jinja_fuzz.py");
const made = Bun.spawnSync([process.env.PYTHON ?? "python3", script, seed, count]);
if (made.exitCode !== 0) {
  console.error(made.stderr.toString());
  process.exit(2);
}
const cases = made.stdout
  .toString()
  .trimEnd()
  .split("\n")
  .map((line): JinjaCase => JSON.parse(line));
const different = cases.flatMap((found) => difference(found) ?? []);
for (const text of different) console.log(text);
console.log(`seed ${seed}: ${cases.length - different.length} of ${cases.length} templates as in Jinja2`);
process.exit(different.length === 0 ? 0 : 1);
