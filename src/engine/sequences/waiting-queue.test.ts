import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Sequence } from "./sequence.ts";
import { MOST_OVERTAKING, WaitingQueue } from "./waiting-queue.ts";

/** All of a sequence that the queue looks at. */
const sequence = (arrival: number, priority = 0) => ({ arrival, priority, awaitedKey: null }) as unknown as Sequence;

test("whatever is added, parked, unparked and removed, the oldest of the first priority that is not parked comes first", () => {
  const arrivals = fc.uniqueArray(fc.nat(100), { minLength: 1, maxLength: 30 });
  const action = fc.record({
    kind: fc.constantFrom("add", "take", "park", "unpark", "remove"),
    which: fc.nat(1000),
    key: fc.bigInt(0n, 3n),
  });
  fc.assert(
    fc.property(
      arrivals,
      fc.array(action, { maxLength: 100 }),
      fc.integer({ min: 1, max: 3 }),
      (order, actions, priorities) => {
        const queue = new WaitingQueue();
        const outside = order.map((arrival) => sequence(arrival, arrival % priorities));
        const inside = new Map<Sequence, bigint | null>();
        const oldest = (of: Iterable<Sequence>) =>
          [...of].toSorted((a, b) => a.priority - b.priority || a.arrival - b.arrival);
        const ready = () => oldest([...inside.keys()].filter((seq) => inside.get(seq) === null));
        for (const { kind, which, key } of actions) {
          const any = [...inside.keys()][which % Math.max(1, inside.size)];
          const first = ready()[0];
          if (kind === "add" && outside.length > 0) {
            const [seq] = outside.splice(which % outside.length, 1);
            queue.add(seq!);
            inside.set(seq!, null);
          } else if (kind === "park" && first) {
            queue.park(first, key);
            inside.set(first, key);
          } else if (kind === "unpark") {
            queue.unpark(key, null);
            for (const [seq, awaited] of inside) if (awaited === key) inside.set(seq, null);
          } else if (kind === "take" && first) {
            queue.remove(first);
            inside.delete(first);
            outside.push(first);
          } else if (kind === "remove" && any) {
            queue.remove(any);
            queue.remove(any);
            inside.delete(any);
            outside.push(any);
          }
          expect(queue.oldestReady()).toBe(ready()[0]);
          expect(queue.all).toEqual(oldest(inside.keys()));
          for (const seq of outside) expect(seq.awaitedKey).toBeNull();
        }
      },
    ),
    { numRuns: 300 },
  );
});

test("a sequence whose pages are cached goes before older ones of its priority, unless too many arrived in between", () => {
  const queue = new WaitingQueue();
  const [oldest, cached, later, urgent] = [
    sequence(0),
    sequence(MOST_OVERTAKING - 1),
    sequence(MOST_OVERTAKING),
    sequence(9, -1),
  ];
  for (const one of [later, cached, oldest]) queue.add(one);
  expect(queue.oldestCached((seq) => seq === cached)).toBe(cached);
  expect(queue.oldestCached((seq) => seq === later)).toBe(oldest);
  expect(queue.oldestCached(() => true)).toBe(oldest);
  queue.remove(oldest);
  expect(queue.oldestCached((seq) => seq === later)).toBe(later);
  queue.add(urgent);
  expect(queue.oldestCached((seq) => seq === cached)).toBe(urgent);
});
