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
  "text-cache",
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

/** From the lowest up: each folder of src/engine uses those before it, and of the files beside the folders only the messages. */
const ENGINE_FOLDERS = ["pages", "masks", "sequences", "offload", "scheduler"];

test("no folder of the engine reaches into one above it", async () => {
  const wrong: string[] = [];
  let imports = 0;
  for (const [file, text] of await sources()) {
    const floor = ENGINE_FOLDERS.indexOf(file.split("/")[2]!);
    if (!file.startsWith("src/engine/") || floor < 0 || file.endsWith(".test.ts")) continue;
    for (const imported of importsOf(file, text).filter((name) => name.startsWith("src/engine/"))) {
      imports++;
      const below = ENGINE_FOLDERS.indexOf(imported.split("/")[2]!);
      if (imported !== "src/engine/protocol.ts" && (below < 0 || below > floor))
        wrong.push(`${file} imports ${imported}`);
    }
  }
  expect(imports).toBeGreaterThan(50);
  expect(wrong).toEqual([]);
});

test("ARCHITECTURE.md has a place for every folder of routes and of src", async () => {
  const page = await Bun.file(path.join(root, "ARCHITECTURE.md")).text();
  const folders = new Set((await sources()).map(([file]) => file.split("/").slice(0, -1).slice(0, 2).join("/")));
  const named = (folder: string) => (folder.startsWith("routes/") ? folder.slice("routes/".length) : folder);
  expect(folders.size).toBeGreaterThan(20);
  expect([...folders].filter((folder) => !page.includes(`\`${named(folder)}/`))).toEqual([]);
});
