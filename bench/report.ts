#!/usr/bin/env bun
/**
 * Tables of measurements, from results/*.jsonl: the newest value of each metric of each load. --write puts them between
 * the markers of README.md and BENCHMARKS.md, --check fails when a page says something else. Prints them otherwise.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { groupBy, percent, quantity, table } from "./format.ts";
import { type Result, readResultsFile } from "./record.ts";
import { cpuReport } from "./report-cpu.ts";
import { httpThreadReport } from "./report-http-thread.ts";
import { loadsReport, summaryReport } from "./report-loads.ts";
import { opsReport } from "./report-ops.ts";
import { schemasReport } from "./report-schemas.ts";
import { turnsReport } from "./report-turns.ts";

const ROOT = join(import.meta.dir, "..");
const PAGES = ["README.md", "BENCHMARKS.md"];

const loads = () => [...readResultsFile("serve"), ...readResultsFile("vllm")];

/** The tables by the names that the markers give them. */
const TABLES: Record<string, () => string> = {
  summary: () => summaryReport(loads(), readResultsFile("startup")),
  loads: () => loadsReport(loads()),
  startup: () => plainReport(readResultsFile("startup")),
  cpu: () => cpuReport(readResultsFile("cpu")),
  schemas: () => schemasReport(readResultsFile("constrained-cpu")),
  "first-tokens": () => plainReport(readResultsFile("first-tokens")),
  http: () => plainReport(readResultsFile("http")),
  "http-thread": () => httpThreadReport(readResultsFile("http-thread")),
  turns: () => turnsReport(readResultsFile("turns")),
  batch: () => plainReport(readResultsFile("batch")),
  ops: () => opsReport(readResultsFile("ops")),
};

/** A table of metrics for each machine, model, dtype and load. */
export function plainReport(results: readonly Result[]): string {
  const groups = groupBy(results, (r) => JSON.stringify([r.gpu, r.model, r.dtype, r.load]));
  return groups
    .map((group) => {
      // Results of a file are in the order of their making: the last one wins, in the first one's place.
      const newest = [...new Map(group.map((r) => [r.metric, r])).values()];
      const { gpu, driver, model, dtype, load, command, commit, date } = group.at(-1)!;
      const facts = Object.entries(load).map(([name, value]) => `${name} ${value}`);
      const floors = newest.some((r) => r.floor !== null);
      const rows = newest.map(({ metric, value, unit, floor }) => {
        const bound = floor === null ? ["", ""] : [quantity(floor, unit), percent(value / floor)];
        return [metric, quantity(value, unit), ...(floors ? bound : [])];
      });
      return [
        `### ${model} in ${dtype} on ${gpu}${driver ? `, driver ${driver}` : ""}: ${facts.join(", ")}`,
        table(["metric", "measured", ...(floors ? ["bound", "share"] : [])], rows),
        `\`${command}\`; ${commit}, ${date.slice(0, 10)}`,
      ].join("\n\n");
    })
    .join("\n\n");
}

/** `page` with the text between each pair of markers replaced by what `tables` makes of that name. */
export function fillPage(page: string, tables: Record<string, () => string>): string {
  return page.replace(
    /(<!-- bench\/report\.ts: (\S+) -->\n)[\s\S]*?(<!-- bench\/report\.ts: end -->)/g,
    (_, begin: string, name: string, end: string) => {
      if (!(name in tables)) throw new Error(`bench/report.ts makes no tables named "${name}"`);
      return `${begin}${tables[name]!()}\n${end}`;
    },
  );
}

if (import.meta.main) {
  const { write, check } = new Command("bun bench/report.ts")
    .option("--write", `into ${PAGES.join(" and ")}`)
    .option("--check", "fail when a page says something else")
    .parse()
    .opts();
  if (!write && !check) for (const make of Object.values(TABLES)) console.log(`${make()}\n`);
  else {
    for (const name of PAGES) {
      const path = join(ROOT, name);
      const page = readFileSync(path, "utf8");
      const wanted = fillPage(page, TABLES);
      if (write) writeFileSync(path, wanted);
      else if (wanted !== page) {
        console.error(`${name}'s measurements are not those of bench/results: bun bench/report.ts --write`);
        process.exitCode = 1;
      }
    }
  }
}
