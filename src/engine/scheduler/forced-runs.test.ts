/** Runs of forced tokens beside prompts: who waits for whom. */
import { expect, test } from "bun:test";
import type { StepPlan } from "../../ffi/step-plan.ts";
import type { EngineRequest } from "../protocol.ts";
import type { FakeGrammar } from "../testing/fake-grammar.ts";
import { constrained, endless, record } from "../testing/grammar-rig.ts";
import { config, internals, prompt, Rig, request } from "../testing/scheduler-rig.ts";

const RUN = [5, 6, 7, 8, 9, 10, 11];

/** Prompts that have nothing in common. */
function prompts(count: number, length: number): EngineRequest[] {
  return Array.from({ length: count }, (_, i) => request(prompt(length, i + 1), 1));
}

/** Notes from now on how many tokens each step of `rig` computes of its first sequence; 0 where none. */
function watch(rig: Rig): number[] {
  const counts: number[] = [];
  const { slot } = internals(rig.scheduler).running[0]!;
  const submit = rig.library.submit.bind(rig.library);
  rig.library.submit = (plan: StepPlan) => {
    const seqs = Array.from({ length: plan.seqCount }, (_, i) => plan.sequence(i));
    counts.push(seqs.find((seq) => seq.slot === slot)?.count ?? 0);
    submit(plan);
  };
  return counts;
}

/** When the first tokens of prompts come that are sent while four sequences with this grammar run, in steps. */
function firstTokens(grammar: FakeGrammar): number[] {
  const rig = new Rig(config);
  rig.add(...Array.from({ length: 4 }, () => constrained(grammar, 60)));
  rig.step();
  const sent = prompts(4, 300);
  rig.add(...sent);
  rig.finish();
  rig.checkEnd();
  return sent.map(({ id }) => rig.received.get(id)!.endedAt);
}

test("prompts have their first tokens no later beside forced runs than beside sequences that sample", () => {
  const free = firstTokens(endless);
  const forced = firstTokens(record([...RUN, ...RUN, ...RUN]));
  expect(forced.filter((at, i) => at > free[i]!)).toEqual([]);
});

test("a forced run goes on by a token a step while prompts wait, and then at once", () => {
  const rig = new Rig(config);
  rig.add(constrained(record(RUN), 60));
  rig.step();
  const counts = watch(rig);
  rig.add(...prompts(2, 100));
  rig.finish();
  rig.checkEnd();
  const atOnce = counts.findIndex((count) => count > 1);
  expect(atOnce).toBeGreaterThan(0);
  expect(counts.slice(0, atOnce + 1)).toEqual([...Array(atOnce).fill(1), RUN.length - atOnce]);
});

test("a forced run does not stand still beside a long prompt that goes first", () => {
  const rig = new Rig(config);
  rig.add(constrained(record(RUN), 60));
  rig.step();
  const counts = watch(rig);
  rig.add(...prompts(2, 620).map((long) => ({ ...long, priority: -1 })));
  rig.finish();
  rig.checkEnd();
  expect(counts.slice(0, RUN.length)).toEqual(RUN.map(() => 1));
});

test.each([
  [40, RUN.length],
  [63, 1],
])("beside %d others that decode, a forced run of seven takes %d tokens a step", (others, count) => {
  const rig = new Rig({ ...config, maxSeqs: 64, maxStepTokens: 2048, pages: 200 });
  rig.add(constrained(record(RUN), 60), ...Array.from({ length: others }, () => constrained(endless, 60)));
  rig.step();
  const counts = watch(rig);
  rig.finish();
  rig.checkEnd();
  expect(counts[0]).toBe(count);
});

test("what a preempted sequence has lost is computed like a prompt", () => {
  const rig = new Rig({ ...config, maxStepTokens: 32 });
  const one = constrained(endless, 60);
  rig.add(one);
  for (let i = 0; i < 30; i++) rig.step();
  const counts = watch(rig);
  rig.scheduler.pause(one.id);
  rig.step();
  rig.scheduler.clearCache(false);
  rig.scheduler.resume(one.id);
  rig.add(...prompts(3, 100));
  rig.finish();
  rig.checkEnd();
  const chunks = counts.filter((count) => count > 1);
  expect(chunks.reduce((sum, count) => sum + count, 0)).toBeGreaterThanOrEqual(20 + 29);
});
