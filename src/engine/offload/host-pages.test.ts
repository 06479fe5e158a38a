import { expect, test } from "bun:test";
import { HOST_PAGES_PATIENCE, HostPages } from "./host-pages.ts";

test("fewer pages than wanted are told once, when no more have come for a while", () => {
  const pages = new HostPages(10, 0, 0);
  expect(pages.update(0, HOST_PAGES_PATIENCE - 1)).toBeNull();
  expect(pages.update(4, HOST_PAGES_PATIENCE)).toBeNull();
  expect(pages.update(4, 2 * HOST_PAGES_PATIENCE - 1)).toBeNull();
  const warning = pages.update(4, 2 * HOST_PAGES_PATIENCE);
  expect(warning).toStartWith("swap_space asks for 10 host pages, and the system gives 4:");
  expect(pages.update(4, 9 * HOST_PAGES_PATIENCE)).toBeNull();
  expect([pages.count, pages.complete]).toEqual([4, false]);
});

test("all of them, however late, are no warning", () => {
  const pages = new HostPages(2, 1, 0);
  expect(pages.update(2, 5 * HOST_PAGES_PATIENCE)).toBeNull();
  expect([pages.count, pages.complete]).toEqual([2, true]);
  expect(new HostPages(0, 0, 0).update(0, HOST_PAGES_PATIENCE)).toBeNull();
});

test("the wait for pages begins with the first look, however long the engine took to start", () => {
  const late = 5 * HOST_PAGES_PATIENCE;
  const pages = new HostPages(10, 0, late);
  expect(pages.update(0, late + HOST_PAGES_PATIENCE - 1)).toBeNull();
  expect(pages.update(0, late + HOST_PAGES_PATIENCE)).not.toBeNull();
});
