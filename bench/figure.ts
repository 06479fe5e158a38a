#!/usr/bin/env bun
/**
 * Draws docs/throughput.svg from results/*.jsonl: tokens per second by the length of the answers, for each server, and what the
 * GPU allows. --check fails when the file is another one. The colours follow the reader's light or dark scheme.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { FIGURE_OUTPUTS, nameOf } from "./named-loads.ts";
import { type Result, readResultsFile } from "./record.ts";

const FILE = join(import.meta.dir, "..", "docs", "throughput.svg");
const [WIDTH, HEIGHT] = [800, 440];
/** Of the plot within the picture. */
const [LEFT, RIGHT, TOP, BOTTOM] = [64, 660, 64, 384];
const LABEL_HEIGHT = 17;

interface Curve {
  name: string;
  /** A class of the style sheet. */
  style: string;
  /** Tokens per second for each of FIGURE_OUTPUTS; null where it was not measured. */
  values: (number | null)[];
}

const STYLE = `
    text { font: 13px system-ui, sans-serif; fill: var(--text) }
    .title { font-size: 15px; font-weight: 600 }
    .grid { stroke: var(--grid) }
    .own { stroke: var(--own); fill: var(--own) }
    .vllm { stroke: var(--vllm); fill: var(--vllm) }
    .older { stroke: var(--older); fill: var(--older); stroke-dasharray: 6 3 }
    .fastgen { stroke: var(--fastgen); fill: var(--fastgen) }
    .floor { stroke: var(--text); fill: var(--text); stroke-dasharray: 2 4 }
    path.own, path.vllm, path.older, path.fastgen, path.floor { fill: none; stroke-width: 2 }
    text.own, text.vllm, text.older, text.fastgen, text.floor { stroke: none }
    :root { --text: #24292f; --grid: #d0d7de; --own: #0969da; --vllm: #bc4c00; --older: #8a6d00; --fastgen: #8250df }
    @media (prefers-color-scheme: dark) {
      :root { --text: #c9d1d9; --grid: #30363d; --own: #58a6ff; --vllm: #f0883e; --older: #d4b106; --fastgen: #bc8cff }
    }`;

/** The curves of one model, by the newest result of each load. */
export function curvesOf(results: readonly Result[]): Curve[] {
  const gpu = results.find((r) => r.server !== undefined)!.gpu;
  const newest = (output: number, server: string | undefined) =>
    results.findLast(
      (r) =>
        r.model === "mistral-7b" &&
        r.dtype === "bfloat16" &&
        r.gpu === gpu &&
        (r.gpus ?? 1) === 1 &&
        r.metric === "output" &&
        r.server === server &&
        nameOf(r.load) === `figure-${output}` &&
        !r.load.temperature,
    );
  const curve = (name: string, style: string, server: string | undefined, of: "value" | "floor" = "value"): Curve => ({
    name,
    style,
    values: FIGURE_OUTPUTS.map((output) => newest(output, server)?.[of] ?? null),
  });
  return [
    curve("the GPU's limit", "floor", undefined, "floor"),
    curve("Fastgen", "own", undefined),
    curve("vLLM 0.26", "vllm", "vLLM 0.26"),
    curve("FastGen (Python)", "fastgen", "FastGen"),
    curve("vLLM 0.8.4", "older", "vLLM 0.8.4"),
  ];
}

/** Moves labels apart that would overlap, keeping their order. `wanted`: their y, from the top down. */
function spread(wanted: number[]): number[] {
  const placed: number[] = [];
  for (const y of wanted) placed.push(Math.max(y, (placed.at(-1) ?? Number.NEGATIVE_INFINITY) + LABEL_HEIGHT));
  return placed;
}

export function drawFigure(curves: readonly Curve[]): string {
  const most = Math.ceil(Math.max(...curves.flatMap((c) => c.values.map((v) => v ?? 0))) / 2000) * 2000;
  const [low, high] = [Math.log(FIGURE_OUTPUTS[0]!), Math.log(FIGURE_OUTPUTS.at(-1)!)];
  const x = (output: number) => LEFT + ((Math.log(output) - low) / (high - low)) * (RIGHT - LEFT);
  const y = (value: number) => BOTTOM - (value / most) * (BOTTOM - TOP);
  const at = (n: number) => n.toFixed(1);
  const parts: string[] = [];
  for (let value = 0; value <= most; value += 2000) {
    parts.push(`<line class="grid" x1="${LEFT}" x2="${RIGHT}" y1="${at(y(value))}" y2="${at(y(value))}"/>`);
    parts.push(
      `<text x="${LEFT - 8}" y="${at(y(value) + 4)}" text-anchor="end">${value.toLocaleString("en-US")}</text>`,
    );
  }
  for (const output of FIGURE_OUTPUTS) {
    parts.push(`<text x="${at(x(output))}" y="${BOTTOM + 20}" text-anchor="middle">${output}</text>`);
  }
  for (const { style, values } of curves) {
    const points = values.flatMap((value, i) => (value === null ? [] : [[x(FIGURE_OUTPUTS[i]!), y(value)] as const]));
    const path = points.map(([px, py], i) => `${i === 0 ? "M" : "L"}${at(px)} ${at(py)}`).join("");
    parts.push(`<path class="${style}" d="${path}"/>`);
    if (style === "floor") continue;
    for (const [px, py] of points) parts.push(`<circle class="${style}" cx="${at(px)}" cy="${at(py)}" r="2.5"/>`);
  }
  const labelled = curves
    .filter((c) => c.values.at(-1) != null)
    .toSorted((a, b) => b.values.at(-1)! - a.values.at(-1)!);
  const places = spread(labelled.map((c) => y(c.values.at(-1)!) + 4));
  for (const [i, { name, style }] of labelled.entries()) {
    parts.push(`<text class="${style}" x="${RIGHT + 10}" y="${at(places[i]!)}">${name}</text>`);
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" role="img">
  <title>Tokens per second by the length of the answers: Mistral 7B on one H100, 512 prompts of 1024 tokens</title>
  <style>${STYLE}
  </style>
  <text class="title" x="${LEFT - 48}" y="26">Mistral 7B in bfloat16 on one H100: 512 prompts of 1024 tokens, sent together</text>
  <text x="${LEFT - 48}" y="48">tokens per second</text>
  ${parts.join("\n  ")}
  <text x="${(LEFT + RIGHT) / 2}" y="${BOTTOM + 44}" text-anchor="middle">tokens in each answer</text>
</svg>
`;
}

if (import.meta.main) {
  const { check } = new Command("bun bench/figure.ts")
    .option("--check", "fail when the file is another one")
    .parse()
    .opts();
  const svg = drawFigure(curvesOf([...readResultsFile("serve"), ...readResultsFile("vllm")]));
  if (!check) writeFileSync(FILE, svg);
  else if (readFileSync(FILE, "utf8") !== svg) {
    console.error("docs/throughput.svg is not what bench/results give: bun bench/figure.ts");
    process.exitCode = 1;
  }
}
