/** The pages' tables of flags against --help: none is missing, none is made up, and every default is the same. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import * as path from "node:path";
import { command as batch } from "../cli/batch.ts";
import { command as chat } from "../cli/chat.ts";
import { command as serve } from "../cli/serve.ts";
import { type FlagRow, flagRows, flagsPage, PAGE } from "../scripts/flags-page.ts";
import * as limits from "../src/limits.ts";

const root = path.dirname(import.meta.dir);
const UPDATE = "run node_modules/.bin/bun scripts/flags-page.ts";
const served = flagRows(serve());
const all = [...served, ...flagRows(chat()), ...flagRows(batch())];

/** The rows of a page's tables whose first cell names flags of fgserve: those flags, and the default's cell. */
function tableRows(page: string): { flags: FlagRow[]; fallback: string }[] {
  const lines = readFileSync(path.join(root, page), "utf8").split("\n");
  return lines.flatMap((line) => {
    const [, first, second] = /^\| (`--.*?`) \| (.*?) \|/.exec(line) ?? [];
    if (first === undefined) return [];
    const names = first.match(/--[a-z][a-z-]*/g)!;
    const flags = names.map((name) => {
      const flag = served.find(({ long }) => long === name);
      if (!flag) throw new Error(`${page}: fgserve has no ${name}`);
      return flag;
    });
    return [{ flags, fallback: second! }];
  });
}

/** Those numbers and single words of a default that a page may not leave out or change. */
const essence = (fallback: string) =>
  /^\S+$/.test(fallback) ? [fallback] : (fallback.match(/\d[\d.]*[KMGT]?\b/g) ?? []);

test("docs/flags.md has every flag of --help with its default", () => {
  const page = readFileSync(PAGE, "utf8");
  const missing = all.filter(({ usage }) => !page.includes(`| \`${usage}\` |`)).map(({ long }) => long);
  expect({ missing, cure: UPDATE }).toEqual({ missing: [], cure: UPDATE });
  if (page !== flagsPage()) throw new Error(`docs/flags.md is not what --help says: ${UPDATE}`);
});

test("the page's defaults are in the words of --help", () => {
  for (const tool of [serve(), chat(), batch()]) {
    const help = tool.createHelp();
    const said = new Map(tool.options.map((option) => [option.long, help.optionDescription(option)]));
    for (const { long, fallback } of flagRows(tool)) {
      const text = said.get(long)!;
      const inHelp = text.includes(`default: ${fallback}`) || text.includes(`default: "${fallback}"`);
      expect({ long, fallback, text, inHelp: fallback === "" || inHelp }).toMatchObject({ inHelp: true });
    }
  }
});

test.each(["README.md", "SECURITY.md"])("%s: its flags exist, with the defaults of --help", (page) => {
  const rows = tableRows(page);
  expect(rows.length).toBeGreaterThan(5);
  for (const { flags, fallback } of rows) {
    const lacking = flags.flatMap((flag) => essence(flag.fallback).filter((word) => !fallback.includes(word)));
    expect({ flags: flags.map(({ long }) => long), fallback, lacking }).toMatchObject({ lacking: [] });
  }
});

test("README says where all flags are", () => {
  expect(readFileSync(path.join(root, "README.md"), "utf8")).toContain("(docs/flags.md)");
});

test("SECURITY.md has every limit of src/limits.ts with its value, and the flag of those that have one", () => {
  const [, section] = readFileSync(path.join(root, "SECURITY.md"), "utf8").split("## Limits");
  const source = readFileSync(path.join(root, "src/limits.ts"), "utf8");
  const flags = [...source.matchAll(/\((--[a-z-]+)\)/g)].map((match) => match[1]!);
  expect(flags.length).toBeGreaterThan(5);
  const unlisted = flags.filter((flag) => !section!.includes(`| \`${flag}\` |`));
  expect({ unlisted, cure: "give each a row in SECURITY.md" }).toMatchObject({ unlisted: [] });
  const values = Object.entries<number>(limits).map(([name, value]) => {
    const written = [
      value,
      value.toLocaleString("en-US"),
      `${value / 2 ** 10} KiB`,
      `${value / 2 ** 20} MiB`,
      `${value / 2 ** 20}M`,
    ];
    return { name, written: written.map(String) };
  });
  const isThere = (text: string) => new RegExp(`(?<![\\d,.])${text}(?![\\d,.]\\d)`).test(section!);
  const missing = values.filter(({ written }) => !written.some(isThere)).map(({ name }) => name);
  const cure = "give each a row in SECURITY.md's tables of limits, with its value";
  expect({ missing, cure }).toEqual({ missing: [], cure });
});
