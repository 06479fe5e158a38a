/** Who runs first, and whose cached pages are found: priorities and salts. */
import { expect, test } from "bun:test";
import { PAGE_TOKENS, PageCache } from "../pages/page-cache.ts";
import { config, expectTooLittle, internals, prompt, Rig, request } from "../testing/scheduler-rig.ts";

const PAGE = PAGE_TOKENS;

test("of the waiting sequences, those of lower numbers start first, then older ones", () => {
  const rig = new Rig({ ...config, maxSeqs: 1 });
  const order: number[] = [];
  const made = [5, 0, -3, 0, 5].map((priority, i) => request(prompt(10, i), 2, { priority }));
  rig.add(...made);
  while (rig.scheduler.aliveCount > 0) {
    rig.step();
    const [now] = internals(rig.scheduler).running;
    if (now && order.at(-1) !== now.request.id) order.push(now.request.id);
  }
  expect(order).toEqual([2, 1, 3, 0, 4].map((i) => made[i]!.id));
});

test("when pages run out, the running sequence of the highest number gives its pages back, though it is the oldest", () => {
  const rig = new Rig({ ...config, pages: 10 });
  expectTooLittle(rig.scheduler, 1);
  const late = request(prompt(2 * PAGE, 1), 250, { priority: 9 });
  const others = [2, 3].map((flavour) => request(prompt(2 * PAGE, flavour), 250));
  rig.add(late, ...others);
  const preempted = new Set<number>();
  const started = new Set<number>();
  while (rig.scheduler.aliveCount > 0) {
    rig.step();
    const { running, queue } = internals(rig.scheduler);
    for (const { request } of running) started.add(request.id);
    for (const { request } of queue.all) if (started.has(request.id)) preempted.add(request.id);
  }
  expect(preempted.has(late.id)).toBe(true);
  expect(preempted.has(others[0]!.id)).toBe(false);
  rig.checkEnd();
});

test("who comes first by priority starts at once, although the one that was first does not fit", () => {
  const rig = new Rig({ ...config, pages: 10 });
  rig.add(request(prompt(4 * PAGE, 1), 200));
  for (let i = 0; i < 4; i++) rig.step();
  const large = request(prompt(6 * PAGE, 2), 100);
  rig.add(large);
  rig.step();
  rig.step();
  const urgent = request(prompt(10, 3), 5, { priority: -1 });
  rig.add(urgent);
  rig.step();
  const { running, queue } = internals(rig.scheduler);
  expect(running.map((seq) => seq.request.id)).toContain(urgent.id);
  expect(queue.all.map((seq) => seq.request.id)).toEqual([large.id]);
  rig.finish();
  rig.checkEnd();
});

test("cached pages are found by prompts of the same salt alone", () => {
  const rig = new Rig(config);
  const tokens = prompt(3 * PAGE);
  const cached: number[] = [];
  for (const cacheSalt of ["", "a", "b", "a", "", "b"]) {
    const one = request(tokens, 2, { cacheSalt });
    rig.add(one);
    rig.finish();
    cached.push(rig.received.get(one.id)!.cachedTokens ?? 0);
  }
  expect(cached).toEqual([0, 0, 0, 2 * PAGE, 2 * PAGE, 2 * PAGE]);
});

test("a prompt does not wait for the same one of another salt", () => {
  const rig = new Rig(config);
  rig.add(...["", "a"].map((cacheSalt) => request(prompt(3 * PAGE), 2, { cacheSalt })));
  rig.step();
  expect(internals(rig.scheduler).queue).toMatchObject({ parked: new Map() });
  rig.finish();
  rig.checkEnd();
});

test("no more salts are kept than there are pages", () => {
  const cache = new PageCache(3, 0);
  const first = cache.rootOf("first");
  expect(cache.rootOf("first")).toBe(first);
  for (const salt of ["a", "b"]) cache.rootOf(salt);
  expect(cache.rootOf("first")).toBe(first);
  for (const salt of ["c", "d", "e"]) cache.rootOf(salt);
  expect(cache.rootOf("first")).not.toBe(first);
  expect(cache.rootOf("")).toBe(cache.root);
});
