#!/usr/bin/env bun
/**
 * MaskBench, or the JSON Schema Test Suite, through the product.
 *
 * Every schema becomes a grammar as a request's would and is compiled in the compiler's thread. Every document is written as JSON,
 * tokenised by the model's own tokenizer, and goes through a matcher token by token: its mask must allow each token, and a stop id
 * at the end. Prints what was refused, rejected though valid, accepted though invalid, and the times of compiles and masks.
 */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import * as path from "node:path";
import { Command } from "commander";
import { asFastgenError } from "../src/errors.ts";
import { GrammarCompiler } from "../src/grammar/compiler.ts";
import { Matcher } from "../src/grammar/matcher.ts";
import { structuredRules } from "../src/structured-outputs.ts";
import { Tokenizer } from "../src/text/tokenizer.ts";
import { count } from "./flags.ts";

interface Schema {
  name: string;
  group: string;
  schema: unknown;
  tests: { description: string; valid: boolean; data: unknown }[];
}

/** MaskBench has a schema in each file, whose name begins with its set's; the test suite has a list of schemas. */
function readSchemas(file: string): Schema[] {
  const text = readFileSync(file, "utf8");
  const json = JSON.parse(text);
  const name = path.basename(file, ".json");
  if (!Array.isArray(json)) {
    const { tests } = JSON.parse(text, asWritten as never);
    return [{ name, group: name.replace(/(---|_\d).*/, ""), schema: json.schema, tests: tests ?? [] }];
  }
  return json.map((entry) => ({ ...entry, name: `${name}: ${entry.description}`, group: name }));
}

/** Keeps how a number of a document is written: to the older drafts 12.0 is no integer. */
function asWritten(_key: string, value: unknown, { source }: { source: string }): unknown {
  return typeof value === "number" ? (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(source) : value;
}

function quantiles(values: number[]): string {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
  const shown = [0.5, 0.9, 0.99, 0.999, 1].map((share) => at(share).toFixed(3));
  return `median ${shown[0]}, p90 ${shown[1]}, p99 ${shown[2]}, p99.9 ${shown[3]}, worst ${shown[4]}`;
}

const program = new Command("bun bench/maskbench.ts")
  .description("Counts what of many JSON schemas answers can be held to, and times compiles and masks.")
  .argument(
    "<data>",
    "maskbench/data of github.com/guidance-ai/jsonschemabench, or tests/draft2020-12 of github.com/json-schema-org/JSON-Schema-Test-Suite",
  )
  .option("--model <folder>", "whose tokenizer is used", ".cache/models/SmolLM2-135M-Instruct")
  .option("--sample <n>", "files, drawn by the seed, that stand for all", count)
  .option("--seed <text>", "of the sample", "1")
  .option("--failures <file>", "where to write, a JSON object a line, what is not wholly right");

program.parse();
const flags = program.opts<{ model: string; sample?: number; seed: string; failures?: string }>();
const [data] = program.args as [string];
const read = (name: string) => readFileSync(path.join(flags.model, name), "utf8");
const tokenizer = await Tokenizer.load({ tokenizer: read("tokenizer.json") });
const { vocab_size, eos_token_id } = JSON.parse(read("config.json"));
const stopIds: number[] = [eos_token_id].flat();
const compiler = GrammarCompiler.open(tokenizer, vocab_size, stopIds);
const mask = new Uint32Array(Math.ceil(vocab_size / 32));

const times = { compile: [] as number[], clone: [] as number[], mask: [] as number[], consume: [] as number[] };
const forced = { tokens: 0, canonical: 0, total: 0 };
const failures: object[] = [];
const groups = new Map<
  string,
  { schemas: number; right: number; refused: number; rejected: number; accepted: number }
>();

function timed<T>(list: number[], body: () => T): T {
  const start = performance.now();
  const value = body();
  list.push(performance.now() - start);
  return value;
}

/** Whether the grammar allows the document. The masks decide, as they do in the engine. */
function allows(matcher: Matcher, ids: Int32Array): boolean {
  for (let at = 0; at < ids.length; ) {
    const must = matcher.forcedTokens();
    forced.tokens += must.length;
    for (let i = 0; i < must.length; i++) if (must[i] === ids[at + i]) forced.canonical++;
    if (!timed(times.mask, () => matcher.fillMask(mask))) return false;
    const id = ids[at++]!;
    forced.total++;
    if (!((mask[id >> 5]! >>> (id & 31)) & 1)) return false;
    if (!timed(times.consume, () => matcher.consume(id))) return false;
    // What is forced after this token is consumed without a mask, as in the engine.
    if (matcher.stopped) return at === ids.length && matcher.error === null;
  }
  return matcher.accepting;
}

async function tryDocument(schema: Schema, grammar: { newMatcher(): number }, test: Schema["tests"][number]) {
  const ids = await tokenizer.encode(JSON.stringify(test.data), false);
  const matcher = new Matcher(timed(times.clone, () => grammar.newMatcher()));
  const allowed = allows(matcher, ids);
  const error = matcher.error;
  matcher.free();
  if (allowed !== test.valid) failures.push({ schema: schema.name, test: test.description, valid: test.valid, error });
  return allowed === test.valid ? "right" : test.valid ? "rejected" : "accepted";
}

async function trySchema(schema: Schema) {
  const group = groups.get(schema.group) ?? { schemas: 0, right: 0, refused: 0, rejected: 0, accepted: 0 };
  groups.set(schema.group, group);
  group.schemas++;
  const start = performance.now();
  let grammar: Awaited<ReturnType<GrammarCompiler["compile"]>>;
  try {
    grammar = await compiler.compile({ lark: structuredRules({ json: schema.schema } as never) });
  } catch (error) {
    group.refused++;
    failures.push({ schema: schema.name, refused: asFastgenError(error).message });
    return;
  }
  times.compile.push(performance.now() - start);
  let right = true;
  for (const test of schema.tests) {
    const outcome = await tryDocument(schema, grammar, test);
    if (outcome !== "right") {
      group[outcome]++;
      right = false;
    }
  }
  if (right) group.right++;
  grammar.release();
}

/** The files whose hashes with the seed are lowest: the same ones on every machine. */
function sample(files: string[], count: number): string[] {
  const order = (name: string) => createHash("sha256").update(`${flags.seed}/${name}`).digest("hex");
  return files.toSorted((a, b) => (order(a) < order(b) ? -1 : 1)).slice(0, count);
}

const files = readdirSync(data).filter((name) => name.endsWith(".json"));
for (const name of sample(files, flags.sample ?? files.length).sort()) {
  for (const schema of readSchemas(path.join(data, name))) await trySchema(schema);
}
await compiler.close();
const sum = { schemas: 0, right: 0, refused: 0, rejected: 0, accepted: 0 };
for (const group of groups.values()) for (const key of Object.keys(sum) as (keyof typeof sum)[]) sum[key] += group[key];
console.log("| group | schemas | wholly right | refused | valid documents rejected | invalid documents accepted |");
console.log("| --- | --- | --- | --- | --- | --- |");
for (const [name, group] of [...groups, ["all", sum] as const])
  console.log(`| ${[name, ...Object.values(group)].join(" | ")} |`);
for (const [name, list] of Object.entries(times)) console.log(`${name}: ${list.length}, ms: ${quantiles(list)}`);
console.log(`forced tokens: ${forced.tokens}, of which the document has ${forced.canonical} in their places`);
if (flags.failures) writeFileSync(flags.failures, failures.map((line) => JSON.stringify(line)).join("\n"));
