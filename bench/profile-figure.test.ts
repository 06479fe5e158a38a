/** What a profile is summed up to, on one whose times are known; and the picture that is drawn of it. */
import { expect, test } from "bun:test";
import { drawProfiles, newestProfiles } from "./profile-figure.ts";
import { type Span, summarise } from "./profile-summary.ts";

/** Four steps of 100 us, 120 apart, with two layers of a 10 us norm, a 20 us product, and o and down of 5 and 7 us. */
function spans(): Span[] {
  const row = { ph: "X", pid: 2, tid: 100 };
  const list: Span[] = [];
  for (let step = 0; step < 4; step++) {
    const start = 1000 + 120 * step;
    list.push({ ...row, name: "step", ts: start, dur: 100, args: { step, tokens: 8, graph: step > 1 } });
    list.push({ ...row, tid: 1, name: "wait", ts: start, dur: 90, args: { step } });
    let ts = start;
    const op = (name: string, dur: number, layer: number) => {
      list.push({ ...row, name, ts, dur, args: { layer } });
      list.push({ ...row, tid: 102, name: `kernel of ${name}`, ts, dur });
      ts += dur;
    };
    op("embed", 1, -1);
    for (let layer = 0; layer < 2; layer++) {
      op("add_norm", 10, layer);
      op("linear", 20, layer);
      op("linear_add", 5, layer);
      op("linear_add", 7, layer);
    }
  }
  return list;
}

test("a profile's steps are summed up by part", () => {
  const summary = summarise(spans());
  expect(summary.step_ms).toBeCloseTo(0.12, 6);
  const near = (ms: number) => expect.closeTo(ms, 6);
  expect(summary.parts).toMatchObject({ norms: near(0.02), "q, k, v": near(0.04), o: near(0.01), down: near(0.014) });
  expect(summary.between_ops_ms).toBeCloseTo(0.1 - 0.085, 6);
  expect(summary.between_steps_ms).toBeCloseTo(0.02, 6);
  expect(summary).toMatchObject({
    steps: 2,
    tokens: 8,
    graphs: 1,
    kernels_per_step: 9,
    scheduler: { wait: near(0.09) },
  });
  expect(summary.layer.map(([name]) => name)).toEqual(["norms", "q, k, v", "o", "down"]);
  expect(() => summarise(spans().slice(0, 5))).toThrow("three are the least");
});

test("the picture has a bar for the newest profile of each title, and one layer", () => {
  const line = (title: string, model: string) =>
    JSON.stringify({ title, model, device: "D", summary: summarise(spans()) });
  const profiles = newestProfiles(`${line("one", "old")}\n${line("two", "m")}\n${line("one", "new")}\n`);
  expect(profiles.map(({ title, model }) => [title, model])).toEqual([
    ["one", "new"],
    ["two", "m"],
  ]);
  const svg = drawProfiles(profiles);
  expect(svg).toContain("one: 0.12 ms per step");
  expect(svg).toContain("one layer of two: 42 µs");
  // Of 120 us, products of q, k, v and o take 50.
  expect(svg).toContain(">42 %</text>");
  expect(svg.match(/<rect/g)).toHaveLength(6 + 2 * 6 + 4);
});
