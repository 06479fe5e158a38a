import { expect, test } from "bun:test";
import fc from "fast-check";
import { digestKey } from "../pages/page-digest.ts";
import { DiskIndex } from "./disk-index.ts";
import { DiskListing } from "./disk-listing.ts";

const digest = (n: number) => n.toString(16).padEnd(64, "0");
const keys = (...numbers: number[]) => Float64Array.from(numbers);

test("whatever becomes of an index, who hears of its changes knows what is in it", () => {
  const change = fc.oneof(
    fc.record({ do: fc.constantFrom("add", "remove"), page: fc.integer({ min: 1, max: 5 }) }),
    fc.record({ do: fc.constantFrom("clear", "makeRoom", "tell"), page: fc.constant(0) }),
  );
  fc.assert(
    fc.property(fc.array(change, { maxLength: 30 }), (changes) => {
      const index = new DiskIndex(null);
      index.capacity = 3;
      const listing = new DiskListing();
      const tell = () => {
        const news = index.takeChange();
        if (news) listing.change(news);
      };
      for (const one of changes) {
        if (one.do === "add") index.add(digest(one.page));
        else if (one.do === "remove") index.remove(digest(one.page));
        else if (one.do === "clear") index.clear();
        else if (one.do === "makeRoom") index.makeRoom(1);
        else tell();
      }
      tell();
      const pages = [1, 2, 3, 4, 5];
      expect(pages.map((page) => listing.has(digestKey(digest(page))))).toEqual(
        pages.map((page) => index.has(digest(page))),
      );
      expect(listing.size).toBe(index.size);
      expect(index.takeChange()).toBeNull();
    }),
    { numRuns: 1000 },
  );
});

test("a page that is used again is no news", () => {
  const index = new DiskIndex(null);
  index.add(digest(1));
  index.takeChange();
  index.add(digest(1));
  index.remove(digest(2));
  expect(index.takeChange()).toBeNull();
});

test("beyond its size, what was told of first is forgotten", () => {
  const listing = new DiskListing(3);
  listing.change({ cleared: false, added: keys(1, 2, 3, 4), removed: keys() });
  expect([1, 2, 3, 4].map((key) => listing.has(key))).toEqual([false, true, true, true]);
  listing.change({ cleared: true, added: keys(5), removed: keys() });
  expect([listing.size, listing.has(5)]).toEqual([1, true]);
});
