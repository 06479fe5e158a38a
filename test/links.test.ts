/** What pages point to is there: files that links lead to, headings, and files that are named in code spans. The engine's files are all named. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import * as path from "node:path";

const root = path.dirname(import.meta.dir);
const listed = Bun.spawnSync(["git", "ls-files", "-z"], { cwd: root });
const files = new Set(listed.stdout.toString().split("\0").filter(Boolean));
const folders = new Set([...files].flatMap(foldersOf));
const pages = [...files].filter((file) => file.endsWith(".md") && file !== "llguidance/LICENSES.md");
/** Files of models, and of other projects: they are named and not here. */
const ELSEWHERE = /^(special_tokens_map|added_tokens|chat_template)\.json$|^utils\/client\.py$/;

function foldersOf(file: string): string[] {
  const folder = path.dirname(file);
  return folder === "." ? [folder] : [folder, ...foldersOf(folder)];
}

function read(page: string): string {
  return readFileSync(path.join(root, page), "utf8");
}

/** The anchors of a page's headings, as GitHub makes them. */
function anchors(page: string): Set<string> {
  const headings = read(page).matchAll(/^#+ (.*)$/gm);
  const slug = (heading: string) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-");
  return new Set([...headings].map(([, heading]) => slug(heading!)));
}

/** What is wrong with a link of `page`; null = nothing. */
function fault(page: string, link: string): string | null {
  if (/^[a-z]+:/.test(link)) return null;
  const [place = "", anchor] = link.split("#");
  const target = place === "" ? page : path.normalize(path.join(path.dirname(page), place)).replace(/\/$/, "");
  if (!files.has(target) && !folders.has(target)) return `${page}: ${link} is not there`;
  if (anchor && target.endsWith(".md") && !anchors(target).has(anchor)) return `${page}: ${link} has no such heading`;
  return null;
}

test("links between pages lead to files and headings that are there", () => {
  expect(pages).toContain("README.md");
  const links = pages.flatMap((page) =>
    [...read(page).matchAll(/\]\(([^)\s]+)\)|src(?:set)?="([^"]+)"/g)].map((match) => [page, match[1] ?? match[2]!]),
  );
  expect(links.length).toBeGreaterThan(100);
  expect(links.map(([page, link]) => fault(page!, link!)).filter((wrong) => wrong !== null)).toEqual([]);
});

test("files that pages name are there", () => {
  const endings = [...files].map((file) => `/${file}`);
  const isThere = (name: string) => endings.some((file) => file.endsWith(`/${name}`));
  const missing = pages.flatMap((page) =>
    [...read(page).matchAll(/`([^`\n]+)`/g)]
      .flatMap(
        ([, code]) => code!.match(/(?<![\w./*-])[\w-][\w./-]*\.(ts|c|h|cu|cuh|cpp|py|sh|mjs|json|svg|yaml)\b/g) ?? [],
      )
      // A word in capitals stands for a name that the reader chooses.
      .filter((name) => !/[A-Z]{3}/.test(name) && !ELSEWHERE.test(name) && !isThere(name))
      .map((name) => `${page}: ${name}`),
  );
  expect(missing).toEqual([]);
});

test("ARCHITECTURE.md has a place for every file of src/engine", () => {
  const [, table = ""] = read("ARCHITECTURE.md").split("### The files of src/engine");
  const names = [...table.split("\n\n")[1]!.matchAll(/`([\w*-]+\.ts)`/g)].map(([, name]) => name!);
  const engine = [...files].filter((file) => /^src\/engine\/[\w/-]+\.ts$/.test(file) && !file.endsWith(".test.ts"));
  expect(engine.length).toBeGreaterThan(40);
  const hasPlace = (file: string) => names.some((name) => new Bun.Glob(name).match(path.basename(file)));
  expect(engine.filter((file) => !hasPlace(file))).toEqual([]);
});
