import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { connectionReason, systemReason } from "./system-reason.ts";

function thrownBy(work: () => unknown): unknown {
  try {
    work();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}

test("a file's error has the reason and its code; a path only where it is another one", () => {
  const error = thrownBy(() => readFileSync("/none/x"));
  expect(systemReason(error, "/none/x")).toBe("no such file or directory (ENOENT)");
  expect(systemReason(error, "/none/../none/x")).toBe("no such file or directory (ENOENT)");
  expect(systemReason(error, "/none")).toBe("no such file or directory (ENOENT): /none/x");
  expect(systemReason(error)).toBe("no such file or directory (ENOENT): /none/x");
  expect(systemReason(new Error("a, b"), "/none")).toBe("a, b");
  expect(systemReason("text", "/none")).toBe("text");
});

test("a connection's error says what is not there", async () => {
  const server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response() });
  const url = server.url.href;
  await server.stop(true);
  const error = await fetch(url).catch((error) => error);
  expect(connectionReason(error)).toBe("nothing listens there (ECONNREFUSED)");
  expect(connectionReason(new Error("The socket closed. Is it there?"))).toBe("The socket closed");
  expect(connectionReason(new Error("Bad reply. For more information, pass `verbose`"))).toBe("Bad reply");
});
