/** layout.ts against the C compiler: every struct, field and enum value that fastgen.h declares, and no others. */
import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ROLES } from "../model/shape.ts";
import { DTYPES, FG, roleNumber, STRUCTS } from "./layout.ts";

const include = join(import.meta.dir, "../../libfastgen");
const header = readFileSync(join(include, "fastgen.h"), "utf8").replace(/\/\*[\s\S]*?\*\//g, "");

/** Struct name → field names, as the header declares them. */
function declaredStructs(): Map<string, string[]> {
  const structs = new Map<string, string[]>();
  for (const [, body, name] of header.matchAll(/typedef struct \{([^}]*)\} (\w+);/g)) {
    const fields = body!.split(";").map((line) => line.match(/(\w+)(\[\w+\])?\s*$/)?.[1]);
    structs.set(
      name!,
      fields.filter((field) => field !== undefined),
    );
  }
  return structs;
}

function declaredConstants(): string[] {
  return [...header.matchAll(/enum \{([^}]*)\}/g)].flatMap(([, body]) =>
    [...body!.matchAll(/(\w+)\s*=/g)].map(([, name]) => name!),
  );
}

/** What a C program that includes fastgen.h prints. */
function compileAndRun(body: string): string {
  const folder = mkdtempSync(join(tmpdir(), "fastgen-layout-"));
  try {
    const source = `#include <stddef.h>\n#include <stdio.h>\n#include "fastgen.h"\nint main(void) {\n${body}\nreturn 0;\n}\n`;
    writeFileSync(join(folder, "print.c"), source);
    const binary = join(folder, "print");
    const compiled = Bun.spawnSync([process.env.CC ?? "gcc", "-I", include, "-o", binary, join(folder, "print.c")]);
    if (compiled.exitCode !== 0) throw new Error(`the C compiler failed: ${compiled.stderr}`);
    return Bun.spawnSync([binary]).stdout.toString();
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** "a_b 12" lines as an object. */
function parse(lines: string): Record<string, number> {
  return Object.fromEntries(
    lines
      .trim()
      .split("\n")
      .map((line) => {
        const [name, value] = line.split(" ");
        return [name!, Number(value)];
      }),
  );
}

test("structs have the compiler's sizes and offsets", () => {
  const structs = declaredStructs();
  expect(structs.size).toBeGreaterThan(10);
  let program = "";
  for (const [name, fields] of structs) {
    program += `printf("${name} %zu\\n", sizeof(${name}));\n`;
    for (const field of fields) program += `printf("${name}.${field} %zu\\n", offsetof(${name}, ${field}));\n`;
  }
  const ours: Record<string, number> = {};
  for (const [name, struct] of Object.entries(STRUCTS)) {
    ours[name] = struct.size;
    for (const [field, offset] of Object.entries<number>(struct.at)) ours[`${name}.${field}`] = offset;
  }
  expect(ours).toEqual(parse(compileAndRun(program)));
});

test("constants have the header's values", () => {
  const names = declaredConstants();
  expect(names.length).toBeGreaterThan(30);
  const theirs = parse(compileAndRun(names.map((name) => `printf("${name} %d\\n", ${name});`).join("\n")));
  const ours: Record<string, number> = {};
  for (const [name, value] of Object.entries(FG)) ours[`FG_${name}`] = value;
  const dtypeNames = { float32: "F32", float16: "F16", bfloat16: "BF16", float8_e4m3: "FP8_E4M3" };
  for (const [name, value] of Object.entries(DTYPES)) ours[`FG_${dtypeNames[name as keyof typeof dtypeNames]}`] = value;
  for (const role of ROLES) ours[`FG_${role.replace(/[A-Z]/g, "_$&").toUpperCase()}`] = roleNumber(role);
  ours.FG_ROLES = ROLES.length;
  expect(ours).toEqual(theirs);
});
