/** Rules that are kept: the same as new ones, and within their bounds. */
import { expect, test } from "bun:test";
import { structuredOutputsSchema, structuredRules } from "../structured-outputs.ts";
import { StructureRules } from "./structure-rules.ts";

const spec = (fields: Record<string, unknown>) => structuredOutputsSchema.parse(fields)!;
const named = (name: string) => spec({ json: { type: "object", properties: { [name]: { type: "string" } } } });

test("whoever asks again gets the same rules, and others get theirs", () => {
  const rules = new StructureRules();
  const asked = [
    named("a"),
    named("b"),
    spec({ regex: "a+" }),
    spec({ json: named("a").json, disable_any_whitespace: true }),
  ];
  for (const one of [...asked, ...asked]) expect(rules.of(one)).toBe(structuredRules(one));
  expect(rules.size).toBe(asked.length);
  // The text of a schema is another question than the schema.
  expect(rules.of(spec({ json: JSON.stringify(named("a").json) }))).toBe(rules.of(named("a")));
});

test("what is refused is refused each time, and not kept", () => {
  const rules = new StructureRules();
  const bad = spec({ json: { type: "no such type" } });
  for (let i = 0; i < 2; i++) expect(() => rules.of(bad)).toThrow("/type must be one of");
  expect(rules.size).toBe(0);
});

test("the oldest make room: by number, by length, and one that is too long at once", () => {
  const few = new StructureRules(2);
  for (const name of ["a", "b", "c"]) few.of(named(name));
  expect(few.size).toBe(2);
  const short = new StructureRules(100, 1000);
  for (let i = 0; i < 20; i++) short.of(named(`property_${i}`));
  expect(short.size).toBeWithin(1, 10);
  expect(short.of(named("x".repeat(2000)))).toContain("x".repeat(2000));
  expect(short.size).toBe(0);
  expect(short.of(named("a"))).toBe(structuredRules(named("a")));
  expect(short.size).toBe(1);
});
