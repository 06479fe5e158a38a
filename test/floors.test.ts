/** Imports run one way: from the two faces (cli, routes) down to the library, and in the library down to the model. */
import { expect, test } from "bun:test";
import * as path from "node:path";

const root = path.dirname(import.meta.dir);

/** Files straight below src/ that every room may use. The other files there are the library's own top floor. */
const COMMON = [
  "assets",
  "bounded-json",
  "engine-config",
  "engine-info",
  "errors",
  "limits",
  "load-options",
  "params",
  "profile-folder",
  "schema-error",
  "structured-outputs",
  "types",
  "units",
  "version",
];

/** Folders of src/ that belong to the same rooms. */
const ROOM_OF_FOLDER: Record<string, string> = { request: "library", generation: "library", system: "common" };

/** Each room, and the rooms it may import from beside itself. */
const MAY_IMPORT: Record<string, string[]> = {
  cli: ["routes", "library", "answer", "common"],
  routes: ["library", "answer", "common"],
  library: ["engine", "kv-events", "grammar", "ffi", "profile", "answer", "text", "model", "common"],
  answer: ["grammar", "grammar-sources", "common"],
  engine: ["kv-cache-dir", "grammar", "ffi", "profile", "model", "common"],
  "kv-cache-dir": ["model", "common"],
  "kv-events": ["common"],
  profile: ["common"],
  grammar: ["ffi", "text", "model", "common"],
  ffi: ["model", "common"],
  text: ["model", "common"],
  model: ["common"],
  // What a request asks for is checked where its fields are.
  "grammar-sources": ["common"],
  // Common types speak of dtypes and tensors.
  common: ["model", "grammar-sources"],
};

function roomOf(file: string): string {
  const [top, second, ...rest] = file.split("/");
  if (top !== "src") return top!;
  if (rest.length > 0) return ROOM_OF_FOLDER[second!] ?? second!;
  return COMMON.includes(path.basename(file, ".ts")) ? "common" : "library";
}

function importsOf(file: string, text: string): string[] {
  const specifiers = [...text.matchAll(/\b(?:from|import\()\s*"(\.[^"]+)"/g)].map((match) => match[1]!);
  return specifiers.map((specifier) => path.posix.join(path.posix.dirname(file), specifier));
}

async function sources(): Promise<[file: string, text: string][]> {
  const files = [...new Bun.Glob("{cli,routes,src}/**/*.ts").scanSync({ cwd: root })];
  return Promise.all(files.map(async (file) => [file, await Bun.file(path.join(root, file)).text()]));
}

test("the floors are known", async () => {
  const rooms = new Set((await sources()).map(([file]) => roomOf(file)));
  expect([...rooms].sort()).toEqual(Object.keys(MAY_IMPORT).sort());
});

test("no room reaches into one above it", async () => {
  const wrong: string[] = [];
  let imports = 0;
  for (const [file, text] of await sources()) {
    if (file.endsWith(".test.ts")) continue;
    const room = roomOf(file);
    for (const imported of importsOf(file, text).filter((name) => name.endsWith(".ts"))) {
      imports++;
      const other = roomOf(imported);
      if (other !== room && !MAY_IMPORT[room]!.includes(other)) wrong.push(`${file} imports ${imported}`);
    }
  }
  expect(imports).toBeGreaterThan(100);
  expect(wrong).toEqual([]);
});
