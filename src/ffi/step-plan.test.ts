import { expect, test } from "bun:test";
import fc from "fast-check";
import { FG, STRUCTS } from "./layout.ts";
import { greedyFill, LATE_MASK, StepPlan } from "./step-plan.ts";

const planned = fc.record({
  count: fc.integer({ min: 1, max: 9 }),
  flags: fc.integer({ min: 0, max: 7 }),
  pages: fc.nat(40),
  isFilled: fc.boolean(),
  mask: fc.oneof(fc.constantFrom(null, LATE_MASK), fc.nat(3)),
});

const SEQ_INTS = STRUCTS.fg_step_seq.size / 4;
const MASK = STRUCTS.fg_step_seq.at.mask / 4;

const MASKS = Array.from({ length: 4 }, (_, i) => Uint32Array.of(i, 10 * i, 100 * i));

type Planned = typeof planned extends fc.Arbitrary<infer T> ? T : never;

/** A plan of these sequences but the one at index `without`. Slots and tokens tell them apart. */
function build(list: Planned[], without: number): StepPlan {
  const plan = new StepPlan(list.length, 9 * list.length);
  plan.copyPage(4, 5, FG.TO_HOST);
  const rest = [...list.entries()].filter(([i]) => i !== without);
  // The order of the page updates does not follow the sequences'.
  for (const [i, { pages }] of rest.toReversed()) for (let j = 0; j < pages; j++) plan.setPage(i, j, 100 * i + j);
  for (const [i, { count, flags, isFilled, mask }] of rest) {
    if (isFilled) plan.fills.push(greedyFill(i));
    const tokens = Array.from({ length: count }, (_, j) => 10 * i + j);
    const row = mask === LATE_MASK ? mask : plan.addMask(mask === null ? null : MASKS[mask]!);
    plan.add({ slot: i, context: 20 + i, flags, logprobs: i, mask: row }, tokens, 0, count);
  }
  return plan;
}

function contents(plan: StepPlan) {
  return {
    sequences: Array.from({ length: plan.seqCount }, (_, i) => {
      const { mask, ...sequence } = plan.sequence(i);
      return { ...sequence, mask: mask < 0 ? mask : plan.masks.slice(3 * mask, 3 * mask + 3) };
    }),
    masks: [plan.maskCount, plan.lateMaskCount],
    late: Array.from(
      { length: plan.seqCount },
      (_, i) => plan.numberedSeqs()[i * SEQ_INTS + MASK]! - plan.maskCount,
    ).filter((row) => row >= 0),
    tokens: plan.tokens.slice(0, plan.tokenCount),
    pageUpdates: plan.pageUpdates.slice(0, 3 * plan.pageUpdateCount),
    copies: plan.copies.slice(0, 3 * plan.copyCount),
    fills: plan.fills,
    rows: [plan.rowCount, plan.logitsRowCount],
  };
}

test("a plan from which a sequence is removed is the plan without it", () => {
  fc.assert(
    fc.property(fc.array(planned, { minLength: 1, maxLength: 8 }), fc.nat(), (list, any) => {
      const index = any % list.length;
      const plan = build(list, -1);
      plan.remove(index);
      expect(contents(plan)).toEqual(contents(build(list, index)));
    }),
  );
});

test("copies stay in the plan until a step takes them along", () => {
  const plan = new StepPlan(1, 1);
  plan.copyPage(1, 2, FG.TO_HOST);
  plan.clear();
  plan.copyPage(3, 4, FG.TO_DEVICE);
  expect([...plan.copies.subarray(0, 3 * plan.copyCount)]).toEqual([1, 2, FG.TO_HOST, 3, 4, FG.TO_DEVICE]);
  // A step that did not take it along leaves it to the next one, which may use the page.
  plan.copyPage(5, 6, FG.TO_DEVICE_BESIDE);
  plan.clear();
  expect([...plan.copies.subarray(6, 9)]).toEqual([5, 6, FG.TO_DEVICE]);
  plan.submitted();
  expect(plan.copyCount).toBe(0);
});
