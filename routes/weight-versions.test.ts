import { expect, test } from "bun:test";
import { changedVersions, changedVersionsJson, versionFields } from "./weight-versions.ts";

const one = [{ start: 0, version: "1" }];
const two = [...one, { start: 5, version: "2" }];

test("a choice has spans where the reply's version does not say it all", () => {
  expect(changedVersions({ weight_versions: one }, "1")).toEqual({});
  expect(changedVersions({ weight_versions: one }, "2")).toEqual({ weight_versions: one });
  expect(changedVersions({ weight_versions: two }, "2")).toEqual({ weight_versions: two });
});

test("a reply of one choice, and the last frame of one", () => {
  expect(versionFields(one)).toEqual({ weight_version: "1" });
  expect(versionFields(two)).toEqual({ weight_version: "2", weight_versions: two });
  expect(versionFields([])).toEqual({ weight_version: undefined });
  expect([
    changedVersionsJson({ weight_versions: one }),
    JSON.parse(`{"a":1${changedVersionsJson({ weight_versions: two })}}`),
  ]).toEqual(["", { a: 1, weight_versions: two }]);
});
