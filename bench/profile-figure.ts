#!/usr/bin/env bun
/**
 * Draws docs/profile.svg from results/profile.jsonl (bench/profile.ts): where a step's time goes, a bar for each profile, and
 * one layer of one of them. --check fails when the file is another one. The colours follow the reader's light or dark scheme.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import type { ProfileSummary } from "./profile-summary.ts";

const RESULTS = join(import.meta.dir, "results", "profile.jsonl");
const FILE = join(import.meta.dir, "..", "docs", "profile.svg");
const WIDTH = 800;
const [LEFT, RIGHT] = [16, 784];
const [BAR, GAP] = [26, 26];

export interface Profiled {
  title: string;
  device: string;
  model: string;
  summary: ProfileSummary;
}

/** What is drawn in one colour: the parts of PARTS in it. What takes less than that share of the step has no text. */
const GROUPS: [name: string, style: string, parts: string[]][] = [
  ["q, k, v and o", "a", ["q, k, v", "o"]],
  ["gate, up and down", "b", ["gate and up", "down"]],
  ["attention", "c", ["attention"]],
  ["norms, RoPE", "d", ["norms", "RoPE", "sum of ranks"]],
  ["logits, sampling", "e", ["logits", "sampling", "other"]],
];
const IDLE = "nothing runs";
const LEAST_SHARE = 0.06;

const STYLE = `
    text { font: 13px system-ui, sans-serif; fill: var(--text) }
    text.in { fill: var(--in) }
    .title { font-size: 15px; font-weight: 600 }
    .a { fill: var(--a) } .b { fill: var(--b) } .c { fill: var(--c) } .d { fill: var(--d) } .e { fill: var(--e) } .idle { fill: var(--idle) }
    :root { --text: #24292f; --in: #fff; --a: #0969da; --b: #0a4a94; --c: #bc4c00; --d: #1a7f37; --e: #8250df; --idle: #d0d7de }
    @media (prefers-color-scheme: dark) {
      :root { --text: #c9d1d9; --in: #0d1117; --a: #58a6ff; --b: #79c0ff; --c: #f0883e; --d: #3fb950; --e: #bc8cff; --idle: #30363d }
    }`;

const at = (n: number) => n.toFixed(1);

/** Rectangles side by side from LEFT to RIGHT, with their share as text where there is room. */
function bar(y: number, pieces: readonly [style: string, value: number][]): string[] {
  const total = pieces.reduce((sum, [, value]) => sum + value, 0);
  const parts: string[] = [];
  let x = LEFT;
  for (const [style, value] of pieces) {
    const width = (value / total) * (RIGHT - LEFT);
    parts.push(`<rect class="${style}" x="${at(x)}" y="${y}" width="${at(width)}" height="${BAR}"/>`);
    if (value / total >= LEAST_SHARE && style !== "idle") {
      const percent = Math.round((100 * value) / total);
      parts.push(`<text class="in" x="${at(x + width / 2)}" y="${y + 18}" text-anchor="middle">${percent} %</text>`);
    }
    x += width;
  }
  return parts;
}

function piecesOf({ parts, between_ops_ms, between_steps_ms }: ProfileSummary): [style: string, value: number][] {
  const sum = (names: string[]) => names.reduce((total, name) => total + (parts[name] ?? 0), 0);
  const idle: [string, number] = ["idle", Math.max(0, between_ops_ms) + Math.max(0, between_steps_ms)];
  return [...GROUPS.map(([, style, names]): [string, number] => [style, sum(names)]), idle];
}

/** The ops of one layer as they follow each other. */
function timeline(y: number, { title, summary }: Profiled): string[] {
  const { layer } = summary;
  const end = Math.max(...layer.map(([, start, length]) => start + length));
  const x = (time: number) => LEFT + (time / end) * (RIGHT - LEFT);
  const styleOf = (part: string) => GROUPS.find(([, , names]) => names.includes(part))?.[1] ?? "e";
  return [
    `<text x="${LEFT}" y="${y - 8}">one layer of ${title}: ${Math.round(end)} µs</text>`,
    ...layer.map(([part, start, length]) => {
      const width = Math.max(1, x(start + length) - x(start) - 0.5);
      const label =
        length / end >= LEAST_SHARE
          ? `<text class="in" x="${at(x(start + length / 2))}" y="${y + 18}" text-anchor="middle">${part}</text>`
          : "";
      return `<rect class="${styleOf(part)}" x="${at(x(start))}" y="${y}" width="${at(width)}" height="${BAR}"/>${label}`;
    }),
  ];
}

/** `shown`: whose layer is drawn, by its place among the profiles. */
export function drawProfiles(profiles: readonly Profiled[], shown = Math.min(1, profiles.length - 1)): string {
  const parts: string[] = [];
  let y = 64;
  let x = LEFT;
  for (const [name, style] of [...GROUPS, [IDLE, "idle"] as const]) {
    parts.push(`<rect class="${style}" x="${at(x)}" y="${y - 11}" width="12" height="12"/>`);
    parts.push(`<text x="${at(x + 17)}" y="${y}">${name}</text>`);
    x += 36 + 7 * name.length;
  }
  y += GAP + 12;
  for (const { title, summary } of profiles) {
    parts.push(`<text x="${LEFT}" y="${y - 8}">${title}: ${summary.step_ms.toFixed(2)} ms per step</text>`);
    parts.push(...bar(y, piecesOf(summary)));
    y += BAR + GAP;
  }
  parts.push(...timeline(y + 12, profiles[shown]!));
  const { model, device } = profiles[0]!;
  const height = y + BAR + GAP + 8;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img">
  <title>Where the time of a step goes</title>
  <style>${STYLE}
  </style>
  <text class="title" x="${LEFT}" y="26">Where a step's time goes: ${model}, ${device}</text>
  ${parts.join("\n  ")}
</svg>
`;
}

/** The newest profile of each title. */
export function newestProfiles(text: string): Profiled[] {
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  return [...new Map(lines.map((line) => JSON.parse(line)).map((one: Profiled) => [one.title, one])).values()];
}

if (import.meta.main) {
  const { check } = new Command("bun bench/profile-figure.ts")
    .option("--check", "fail when the file is another one")
    .parse()
    .opts();
  if (existsSync(RESULTS)) {
    const svg = drawProfiles(newestProfiles(readFileSync(RESULTS, "utf8")));
    if (!check) writeFileSync(FILE, svg);
    else if (!existsSync(FILE) || readFileSync(FILE, "utf8") !== svg) {
      console.error("docs/profile.svg is not what bench/results/profile.jsonl gives: bun bench/profile-figure.ts");
      process.exitCode = 1;
    }
  } else console.error("there is no bench/results/profile.jsonl yet: bun bench/profile.ts --results FILE");
}
