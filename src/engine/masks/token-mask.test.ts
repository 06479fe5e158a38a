import { expect, test } from "bun:test";
import fc from "fast-check";
import { FG } from "../../ffi/layout.ts";
import { StepPlan } from "../../ffi/step-plan.ts";
import { Scheduler } from "../scheduler/scheduler.ts";
import { submitStep } from "../submit.ts";
import { FakeLibrary } from "../testing/fake-library.ts";
import { config, prompt, Rig, request } from "../testing/scheduler-rig.ts";
import { maskOf, TokenMask } from "./token-mask.ts";

const VOCAB = 70;

const isAllowed = (mask: Uint32Array | null, id: number) => mask === null || ((mask[id >> 5]! >>> (id & 31)) & 1) === 1;

test("a mask allows the allowed ids, but not the last id of a bad word whose other ids came last", () => {
  const ids = fc.array(fc.nat(3), { maxLength: 6 });
  const words = fc.array(fc.array(fc.nat(3), { minLength: 1, maxLength: 3 }), { maxLength: 4 });
  const allowed = fc.option(fc.uniqueArray(fc.nat(VOCAB - 1), { minLength: 1 }));
  fc.assert(
    fc.property(ids, words, allowed, (outputs, badWords, allowedIds) => {
      const mask = new TokenMask(
        VOCAB,
        allowedIds && maskOf(allowedIds, VOCAB),
        badWords.map((word) => Int32Array.from(word)),
      ).after(Int32Array.from(outputs));
      for (let id = 0; id < VOCAB; id++) {
        const after = ` ${[...outputs, id].join(" ")}`;
        const isBad = badWords.some((word) => after.endsWith(` ${word.join(" ")}`));
        expect(isAllowed(mask, id)).toBe((allowedIds?.includes(id) ?? true) && !isBad);
      }
    }),
  );
});

test("a mask is made once where nothing changes it", () => {
  const mask = new TokenMask(VOCAB, maskOf([1, 2], VOCAB), [Int32Array.of(5, 2)]);
  const plain = mask.after(Int32Array.of(1));
  expect(mask.after(Int32Array.of(1, 1))).toBe(plain!);
  const after5 = mask.after(Int32Array.of(5));
  expect([isAllowed(plain, 2), isAllowed(after5, 2), isAllowed(after5, 1)]).toEqual([true, false, true]);
  expect(isAllowed(mask.after(Int32Array.of(1)), 2)).toBe(true);
  expect(mask.needsLastToken).toBe(true);
  expect(new TokenMask(VOCAB, maskOf([1], VOCAB), [Int32Array.of(5)]).needsLastToken).toBe(false);
  expect(new TokenMask(VOCAB, null, [Int32Array.of(5, 2)]).after(Int32Array.of(1))).toBeNull();
});

test("a word of several tokens holds nobody back, its own sequence included", () => {
  const library = new FakeLibrary(config);
  const scheduler = new Scheduler(config, library);
  const plan = new StepPlan(config.maxSeqs, config.maxStepTokens);
  const word = request(prompt(3, 1), 40, { badWords: [Int32Array.of(1, 2)] });
  const single = request(prompt(3, 2), 40, {
    badWords: [Int32Array.of(3)],
    allowed: maskOf([3, 4, 5], config.vocabSize),
  });
  const free = request(prompt(3, 3), 40);
  for (const one of [word, single, free]) scheduler.add(one);
  const sizes: number[] = [];
  while (scheduler.aliveCount > 0) {
    while (scheduler.stepsInFlight < FG.STEPS_IN_FLIGHT && scheduler.plan(plan)) {
      sizes.push(plan.seqCount);
      submitStep(library, scheduler, plan);
    }
    scheduler.commit(library.wait());
    scheduler.takeMessage();
  }
  expect(sizes).toEqual(Array(40).fill(3));
});

test("a request that leaves no token ends with an error that says why; the others go on", () => {
  const rig = new Rig(config);
  const none = request(prompt(3, 1), 5, { allowed: maskOf([7], config.vocabSize), badWords: [Int32Array.of(7)] });
  const other = request(prompt(3, 2), 5);
  rig.add(none, other);
  rig.finish();
  expect(rig.received.get(none.id)).toMatchObject({
    finish: "error",
    error: expect.stringContaining("allowed_token_ids"),
  });
  expect(rig.received.get(other.id)!.finish).toBe("length");
});
