/** A profile of the built-in model on the CPU: a file that Perfetto takes, in which all that ran can be found again. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Fastgen } from "../src/fastgen.ts";
import { clockOffset } from "../src/profile/clock.ts";
import { PROCESS } from "../src/profile/events.ts";
import { faults, readProfile, type TraceEvent } from "../src/profile/testing.ts";

const folder = mkdtempSync(join(tmpdir(), "fastgen-profile-"));
const engine = PROCESS.engine;
const now = () => 1000 * performance.now() + clockOffset();
let fastgen: Fastgen;

beforeAll(async () => {
  fastgen = await Fastgen.load(undefined, { device: "cpu", max_num_seqs: 4, max_num_batched_tokens: 64, threads: 1 });
});
afterAll(async () => {
  await fastgen.close();
  rmSync(folder, { recursive: true });
});

const spansOf = (events: TraceEvent[], name: string) =>
  events.filter((event) => event.ph === "X" && event.name === name).toSorted((a, b) => a.ts - b.ts);

test("every request, step and op is there, on one clock, with flows between them", async () => {
  const from = now();
  // This one has begun before the profile.
  const earlier = await fastgen.start([1, 2, 3], { max_tokens: 100, ignore_eos: true });
  const profile = fastgen.startProfile({ directory: join(folder, "made") });
  expect(fastgen.is_profiling).toBe(true);
  const params = { max_tokens: 12, ignore_eos: true };
  const two = { ...params, n: 2 };
  await Promise.all([
    fastgen.generate("Once upon a time", params, { request_id: "once", arrived: performance.now() - 5 }),
    fastgen.generate(
      Array.from({ length: 150 }, (_, i) => i + 1),
      two,
      { request_id: "long" },
    ),
    fastgen.generate("a b c", params, { request_id: "abc" }),
  ]);
  await earlier.completion();
  fastgen.stopProfile();
  const { path, bytes } = await profile;
  const to = now();
  expect(fastgen.is_profiling).toBe(false);
  expect(statSync(path).size).toBe(bytes);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  const trace = readProfile(path);
  expect(faults(trace, from - 5000, to)).toEqual([]);
  expect(trace.otherData).toMatchObject({ model: "fastgen-tiny", device: expect.any(String) });
  const events = trace.traceEvents;

  const plans = spansOf(events, "plan");
  const steps = spansOf(events, "step");
  const numbers = plans.map(({ args }) => args!.step as number);
  expect(numbers).toEqual(numbers.map((_, i) => numbers[0]! + i));
  for (const name of ["submit", "wait", "commit", "step"]) {
    expect(spansOf(events, name).map(({ args }) => args!.step as number)).toEqual(numbers);
  }
  // A step is planned, submitted, run and committed in this order, and holds what it says.
  for (const [i, plan] of plans.entries()) {
    const [submit, wait, commit] = ["submit", "wait", "commit"].map((name) => spansOf(events, name)[i]!);
    expect(submit!.ts).toBeGreaterThanOrEqual(plan.ts);
    expect(steps[i]!.ts).toBeGreaterThanOrEqual(submit!.ts);
    expect(wait!.ts + wait!.dur!).toBeGreaterThanOrEqual(steps[i]!.ts + steps[i]!.dur!);
    expect(commit!.ts).toBeGreaterThanOrEqual(wait!.ts);
    const { tokens, prefill_tokens, decode_tokens, sequences } = plan.args as Record<string, number>;
    expect(prefill_tokens! + decode_tokens!).toBe(tokens!);
    expect(steps[i]!.args).toMatchObject({ tokens, sequences });
  }
  const computed = plans.reduce((sum, { args }) => sum + (args!.prefill_tokens as number), 0);
  expect(computed).toBeGreaterThanOrEqual(150);
  expect(Math.max(...plans.map(({ args }) => args!.sequences as number))).toBe(4);

  // Lanes: a request's parts follow one another, and its tokens and steps are counted.
  const lanes = events.filter(({ ph, args }) => ph === "X" && args?.sequence !== undefined);
  expect(lanes.map(({ name }) => name).sort()).toEqual([
    "abc",
    "long",
    "long",
    "once",
    `sequence ${sequenceOf(lanes)}`,
  ]);
  const stepsOf: number[] = [];
  for (const lane of lanes.filter(({ args }) => !args!.began_before)) {
    expect(lane.args).toMatchObject({ completion_tokens: 12, finish_reason: "length" });
    const inside = events.filter(
      ({ ph, pid, tid, ts, name }) =>
        ph === "X" &&
        pid === lane.pid &&
        tid === lane.tid &&
        name !== lane.name &&
        ts >= lane.ts &&
        ts <= lane.ts + lane.dur!,
    );
    const names = inside.toSorted((a, b) => a.ts - b.ts).map(({ name }) => name);
    expect(names.filter((name) => name !== "http")).toEqual(["tokenise", "queued", "prefill", "decode"]);
    expect(names.includes("http")).toBe(lane.name === "once");
    const id = (engine + (lane.args!.engine as number)) * 2 ** 32 + (lane.args!.sequence as number);
    const served = events.filter(({ cat, ph, id: flow }) => cat === "request" && ph === "t" && flow === id);
    stepsOf.push(served.length);
  }
  // The long prompt took three steps at least, and its second choice found most of it in the cache.
  expect(Math.min(...stepsOf)).toBeGreaterThanOrEqual(12);
  expect(Math.max(...stepsOf)).toBeGreaterThanOrEqual(14);
  expect(spansOf(events, "deliver").length).toBeGreaterThan(12);
  const about = events.filter(({ ph }) => ph === "i").map(({ name }) => name);
  expect(about.sort()).toEqual(["profile of requests", "profile of the scheduler"]);
  // Only the file is left.
  expect(readdirSync(join(folder, "made"))).toEqual([path.split("/").at(-1)!]);
});

function sequenceOf(lanes: TraceEvent[]) {
  return lanes.find(({ args }) => args!.began_before)!.args!.sequence;
}

test("a profile of some steps ends by itself, and a second one is refused meanwhile", async () => {
  const profile = fastgen.startProfile({ directory: folder, steps: 5 });
  const refused = await fastgen.startProfile({ directory: folder }).catch((thrown) => thrown);
  expect(refused.message).toContain("stop it first");
  const from = now() - 1e6;
  await fastgen.generate("Hello", { max_tokens: 20, ignore_eos: true });
  const trace = readProfile((await profile).path);
  expect(faults(trace, from, now())).toEqual([]);
  for (const name of ["plan", "commit", "step"]) expect(spansOf(trace.traceEvents, name)).toHaveLength(5);
  // Without one, nothing is recorded, and nothing has to be stopped.
  fastgen.stopProfile();
});

test("with two engines, a profile of some steps ends when one of them has run as many", async () => {
  const both = { device: "cpu", data_parallel_size: 2, threads: 2, max_num_seqs: 2 } as const;
  await using two = await Fastgen.load(undefined, both);
  const profile = two.startProfile({ directory: folder, steps: 5 });
  await two.generate("Hello", { max_tokens: 20, ignore_eos: true });
  const { traceEvents } = readProfile((await profile).path);
  expect(spansOf(traceEvents, "step")).toHaveLength(5);
  const names = traceEvents.filter(({ name }) => name === "process_name").map(({ args }) => args!.name);
  expect(names).toContain("engine 1");
});

test("a file of which nothing can be written is an error that says what to do, and leaves nothing behind", async () => {
  const gone = join(folder, "gone");
  const profile = fastgen.startProfile({ directory: gone });
  rmSync(gone, { recursive: true });
  fastgen.stopProfile();
  const error = await profile.catch((thrown) => thrown);
  // The reply shows the reason: it is no bug.
  expect(error.kind).toBe("unavailable");
  expect(error.message).toContain(`see whether ${gone} is there and has room`);
  // The next one is as good as any.
  const next = fastgen.startProfile({ directory: gone });
  fastgen.stopProfile();
  const { path } = await next;
  expect(readdirSync(gone)).toEqual([path.split("/").at(-1)!]);
});

test("a folder that cannot be written to is named", async () => {
  const error = await fastgen.startProfile({ directory: "/dev/null/profiles" }).catch((thrown) => thrown);
  expect(error.kind).toBe("invalid_request");
  expect(error.message).toContain("/dev/null/profiles");
  expect(fastgen.is_profiling).toBe(false);
});
