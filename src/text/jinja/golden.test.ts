/** Templates as in Jinja2 with transformers' settings (test/golden/make_jinja.py). */
import { expect, test } from "bun:test";
import { difference, GOLDEN } from "../../../test/jinja-case.ts";

const { groups } = GOLDEN;

test("there are cases of every kind", () => {
  expect(Object.keys(groups).length).toBeGreaterThan(15);
  expect(Object.values(groups).every((cases) => cases.length >= 5)).toBe(true);
});

for (const [name, cases] of Object.entries(groups)) {
  test(name, () => {
    expect(cases.flatMap((found) => difference(found) ?? [])).toEqual([]);
  });
}
