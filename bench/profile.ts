#!/usr/bin/env bun
/**
 * Where a step's time goes, by op: decode steps of several batch sizes and steps of prefill, with random weights of a
 * model's shape. Also times the same steps untraced, as a server runs them (on CUDA: as a graph), and the gaps between
 * them.
 */
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command, Option } from "commander";
import { pageBytes } from "../src/device.ts";
import type { DeviceKind } from "../src/engine-config.ts";
import { FG } from "../src/ffi/layout.ts";
import { greedyFill, StepPlan } from "../src/ffi/step-plan.ts";
import { openModel } from "../src/model/load.ts";
import { count } from "./flags.ts";
import { openLibrary } from "./library.ts";
import { median } from "./stats.ts";

const TRACED_STEPS = 5;
const TIMED_STEPS = 40;

const counts = (text: string) => text.split(",").map(count);

const program = new Command("bun bench/profile.ts")
  .description("Times the ops of a step.")
  .argument("<model>", "directory or org/name; its weights are not read")
  .addOption(new Option("--device <name>").choices(["cpu", "cuda"]).default("cuda"))
  .option("--batch <n,...>", "sequences in a decode step", counts, [1, 16, 64, 256])
  .option("--context <tokens>", "tokens in each of them", Number, 1024)
  .option("--prefill <n,...>", "tokens in a step of one prompt", counts, [1024, 2048]);

program.parse();
const { device, batch, context, prefill } = program.opts<{
  device: DeviceKind;
  batch: number[];
  context: number;
  prefill: number[];
}>();
const { shape } = await openModel(program.args[0]!, { loadFormat: "dummy" });
const maxSeqs = Math.max(...batch);
const maxStepTokens = Math.max(maxSeqs, ...prefill);
const maxContext = Math.max(context + TIMED_STEPS + TRACED_STEPS + 8, ...prefill);
const pagesEach = Math.ceil(maxContext / FG.PAGE_TOKENS);
const engine = openLibrary(shape, device, "bfloat16", {
  maxSeqs,
  maxStepTokens,
  maxContext,
  kvBytes: maxSeqs * pagesEach * pageBytes(shape, "bfloat16"),
});
engine.loadRandom(0);
engine.ready();
const plan = new StepPlan(maxSeqs, maxStepTokens);

/** Fills the slots from 0 to below n, and gives each all its pages. */
function place(n: number): void {
  for (let slot = 0; slot < n; slot++) {
    plan.fills.push(greedyFill(slot));
    for (let i = 0; i < pagesEach; i++) plan.setPage(slot, i, slot * pagesEach + i);
  }
}

/** Submits step after step, two in flight. Returns the seconds that each ran, and that the device was idle before it. */
function run(steps: number, add: (at: number) => void): { run: number[]; idle: number[] } {
  const times = { run: [] as number[], idle: [] as number[] };
  const collect = () => {
    const { runSeconds, idleSeconds } = engine.wait();
    times.run.push(runSeconds);
    times.idle.push(idleSeconds);
  };
  for (let at = 0; at < steps; at++) {
    add(at);
    engine.submit(plan);
    plan.clear();
    if (at > 0) collect();
  }
  collect();
  return times;
}

/** Milliseconds per step, by op. */
function traced(add: (at: number) => void): Map<string, number> {
  const file = join(mkdtempSync(join(tmpdir(), "fastgen-profile-")), "trace.json");
  engine.traceStart(0, 0);
  run(TRACED_STEPS, add);
  engine.traceStop(file);
  const { traceEvents } = JSON.parse(readFileSync(file, "utf8")) as { traceEvents: { name: string; dur: number }[] };
  const sums = new Map<string, number>();
  for (const { name, dur } of traceEvents) sums.set(name, (sums.get(name) ?? 0) + dur / 1000 / TRACED_STEPS);
  return sums;
}

function show(title: string, add: (at: number) => void): void {
  const { run: ran, idle } = run(TIMED_STEPS, add);
  const ops = traced((at) => add(TIMED_STEPS + at));
  const step = ops.get("step")!;
  const settled = (values: number[]) => 1000 * median(values.slice(values.length / 2));
  const gap = settled(idle) / (settled(ran) + settled(idle));
  console.log(`\n${title}: ${settled(ran).toFixed(3)} ms per step, idle ${(100 * gap).toFixed(1)} %`);
  for (const [name, ms] of [...ops].sort((a, b) => b[1] - a[1])) {
    if (name !== "step")
      console.log(
        `  ${name.padEnd(12)} ${ms.toFixed(3).padStart(9)} ms ${((100 * ms) / step).toFixed(1).padStart(6)} %`,
      );
  }
}

for (const n of batch) {
  place(n);
  show(`decode, ${n} sequences of ${context}`, (at) => {
    const token = at === 0 ? 1 : FG.LAST_SAMPLED;
    for (let slot = 0; slot < n; slot++) plan.add({ slot, context: context + at, flags: FG.SAMPLE }, [token], 0, 1);
  });
}
for (const n of prefill) {
  place(1);
  const prompt = Int32Array.from({ length: n }, (_, i) => 1 + ((i * 7919) % (shape.vocabSize - 1)));
  show(`prefill of ${n}`, () => plan.add({ slot: 0, context: n, flags: FG.SAMPLE }, prompt, 0, n));
}
engine.close();
