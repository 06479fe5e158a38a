import { expect, test } from "bun:test";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { checkSchema, readSchema } from "./json-schema.ts";

const folder = mkdtempSync(path.join(tmpdir(), "fastgen-schema-"));
function file(text: string): string {
  const name = path.join(folder, "schema.json");
  writeFileSync(name, text);
  return name;
}

test("a schema is read from its file", () => {
  const schema = { type: "object", properties: { a: { type: "integer" } } };
  expect(readSchema(file(JSON.stringify(schema)))).toEqual(schema);
  expect(() => checkSchema({ json: schema }, "schema.json")).not.toThrow();
});

test("what is wrong is said with the file's name", () => {
  expect(() => readSchema(path.join(folder, "none.json"))).toThrow(
    /--json-schema .*none\.json: no such file or directory \(ENOENT\)$/,
  );
  expect(() => readSchema(file("{"))).toThrow(/schema\.json: JSON Parse error/);
  expect(() => readSchema(file("[]"))).toThrow("a JSON Schema must be an object");
  const unsupported = { properties: { a: { uniqueItems: true } } };
  expect(() => checkSchema({ json: unsupported }, "x.json")).toThrow(
    "--json-schema x.json: uniqueItems (at /properties/a/uniqueItems) is not supported",
  );
});
