import { expect, spyOn, test } from "bun:test";
import { FakeFastgen } from "../routes/testing.ts";
import { FastgenError } from "../src/errors.ts";
import { LocalBackend } from "./chat-backend.ts";

test("a chat's profile is written when it ends, and its file is named; or why there is none", async () => {
  const said: string[] = [];
  const write = spyOn(process.stderr, "write").mockImplementation((text) => said.push(String(text)) > 0);
  try {
    const fastgen = new FakeFastgen();
    const backend = new LocalBackend(fastgen, {}, "/profiles");
    await backend.answer([{ role: "user", content: "hello" }], new AbortController().signal, () => {});
    expect(said).toEqual([]);
    await backend.close();
    expect(fastgen.commands).toEqual([{ startProfile: { directory: "/profiles" } }, "stopProfile"]);
    expect(fastgen.alive).toBe(false);
    const full = new FastgenError("invalid_request", "the disk is full");
    await new LocalBackend(new FakeFastgen({ profileError: full }), {}, "/profiles").close();
    await new LocalBackend(new FakeFastgen(), {}).close();
  } finally {
    write.mockRestore();
  }
  expect(said).toEqual([
    "fgchat: profile written to /profiles/one.json\n",
    "fgchat: no profile was written: the disk is full\n",
  ]);
});
