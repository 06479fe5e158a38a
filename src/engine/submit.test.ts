import { expect, test } from "bun:test";
import { type ErrorKind, FastgenError } from "../errors.ts";
import { FG } from "../ffi/layout.ts";
import { failure } from "../testing.ts";
import { submitStep } from "./submit.ts";
import { config, prompt, Rig, request } from "./testing/scheduler-rig.ts";

/** A step of two sequences, and a library that refuses every step with an error of this kind. */
function refused(kind: ErrorKind, refusedSlot = -1) {
  const rig = new Rig(config);
  rig.expectedErrors = ["no"];
  rig.add(request(prompt(9), 3), request(prompt(9, 1), 3));
  expect(rig.scheduler.plan(rig.plan)).toBe(true);
  const refuse = (): never => {
    throw new FastgenError(kind, "no");
  };
  const submit = () => submitStep({ submit: refuse, refusedSlot }, rig.scheduler, rig.plan);
  return { rig, submit };
}

test("a step that is refused as a whole ends its sequences, and its copies are left for the next", () => {
  for (const kind of ["out_of_memory", "invalid_request"] as const) {
    const { rig, submit } = refused(kind);
    rig.plan.copyPage(0, 0, FG.TO_HOST);
    expect([submit(), rig.scheduler.stepsInFlight, rig.plan.copyCount]).toEqual([false, 0, 1]);
    expect([...rig.scheduler.takeMessage().errors!.values()].map(({ message }) => message)).toEqual(["no", "no"]);
  }
  const { submit } = refused("internal");
  expect(submit()).toBe(false);
});

test("a slot that is refused but not in the step counts as the whole step", () => {
  const { rig, submit } = refused("invalid_request", 77);
  expect([submit(), rig.scheduler.aliveCount]).toEqual([false, 0]);
});

test("a fault of the device, and copies that cannot be made, are thrown: no later step can run", () => {
  expect(failure(refused("device").submit).kind).toBe("device");
  const { rig, submit } = refused("internal");
  rig.plan.copyPage(0, 0, FG.TO_HOST);
  expect(failure(submit).kind).toBe("internal");
});
