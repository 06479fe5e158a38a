/** layout.ts against the C compiler, and against what llguidance itself puts into the structs. */

import { type Pointer, ptr } from "bun:ffi";
import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { StructArray } from "../ffi/layout.ts";
import { LLG_STRUCTS } from "./layout.ts";
import { Llguidance } from "./llguidance.ts";

const folder = join(import.meta.dir, "../../llguidance");
const header = readFileSync(join(folder, "llguidance.h"), "utf8").replace(/\/\*[\s\S]*?\*\//g, "");

/** The names of a struct's fields, as the header declares them. */
function declaredFields(struct: string): string[] {
  const body = new RegExp(`typedef struct ${struct} \\{([^}]*)\\} ${struct};`).exec(header)![1]!;
  return [...body.matchAll(/(\w+);/g)].map(([, name]) => name!);
}

/** Name → number, as a C program that includes the header prints them. */
function compileAndRun(body: string): Record<string, number> {
  const work = mkdtempSync(join(tmpdir(), "fastgen-llguidance-"));
  try {
    writeFileSync(join(work, "print.c"), `#include <stdio.h>\n#include "llguidance.h"\nint main(void) {\n${body}}\n`);
    const program = join(work, "print");
    const compiled = Bun.spawnSync([process.env.CC ?? "gcc", "-I", folder, "-o", program, join(work, "print.c")]);
    if (compiled.exitCode !== 0) throw new Error(`the C compiler failed: ${compiled.stderr}`);
    const lines = Bun.spawnSync([program]).stdout.toString().trim().split("\n");
    return Object.fromEntries(lines.map((line) => [line.split(" ")[0]!, Number(line.split(" ")[1])]));
  } finally {
    rmSync(work, { recursive: true });
  }
}

test("structs have the compiler's sizes and offsets", () => {
  let program = "";
  const ours: Record<string, number> = {};
  for (const [name, struct] of Object.entries(LLG_STRUCTS)) {
    program += `printf("${name} %zu\\n", sizeof(${name}));\n`;
    ours[name] = struct.size;
    for (const field of declaredFields(name)) {
      program += `printf("${name}.${field} %zu\\n", offsetof(${name}, ${field}));\n`;
    }
    for (const [field, offset] of Object.entries<number>(struct.at)) ours[`${name}.${field}`] = offset;
  }
  expect(ours).toEqual(compileAndRun(program));
});

test("the library's own defaults lie where the layout says", () => {
  const init = new StructArray(LLG_STRUCTS.LlgConstraintInit);
  init.bytes.fill(0xee);
  Llguidance.open().calls.llg_constraint_init_set_defaults(ptr(init.bytes), 4096 as Pointer);
  expect(init.getU64("tokenizer")).toBe(4096);
  expect(init.getI32("log_buffer_level")).toBe(0);
  expect(init.getI32("log_stderr_level")).toBe(1);
  const limits = LLG_STRUCTS.LlgConstraintInit.at.limits;
  const limit = (name: keyof typeof LLG_STRUCTS.LlgParserLimits.at) =>
    Number(init.view.getBigUint64(limits + LLG_STRUCTS.LlgParserLimits.at[name], true));
  expect(limit("max_items_in_row")).toBe(2000);
  expect(limit("initial_lexer_fuel")).toBe(1_000_000);
  expect(limit("max_grammar_size")).toBe(500_000);
  expect(init.bytes[limits + LLG_STRUCTS.LlgParserLimits.at.verbose_errors]).toBe(1);
});
