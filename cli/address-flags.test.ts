import { expect, test } from "bun:test";
import { rootPath } from "./address-flags.ts";

test("a proxy's path has no slash at its end", () => {
  expect(["/", "/llm/", "/a/b.c"].map(rootPath)).toEqual(["", "/llm", "/a/b.c"]);
  for (const wrong of ["llm", "/a b", "http://x/llm", "/a//b"]) expect(() => rootPath(wrong)).toThrow("must be a path");
});
