/** The executables record profiles: over HTTP, on a signal, at the end of the server, and of a chat. */
import { afterAll, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { faults, readProfile } from "../src/profile/testing.ts";
import { missing, startServer, until } from "./server.ts";

const folder = mkdtempSync(path.join(tmpdir(), "fastgen-profiles-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Checks the profiles in a folder. Returns how many there are, and the names of the lanes of all of them. */
function profilesIn(directory: string) {
  const files = readdirSync(directory).filter((name) => !name.startsWith("."));
  const lanes: string[] = [];
  for (const file of files) {
    const trace = readProfile(path.join(directory, file));
    expect(faults(trace, 0, Number.MAX_SAFE_INTEGER)).toEqual([]);
    lanes.push(...trace.traceEvents.filter(({ args }) => args?.sequence !== undefined).map(({ name }) => name));
  }
  return { count: files.length, lanes };
}

describe.skipIf(missing !== null)(`profiles (${missing ?? "executable"})`, () => {
  test("by a route, by a signal twice, and by the end of the server", async () => {
    const directory = path.join(folder, "server");
    const server = await startServer(["--profile", directory], null);
    const post = async (route: string, body: object, id = "") => {
      const headers = { "content-type": "application/json", ...(id && { "x-request-id": id }) };
      const reply = await fetch(server.url + route, { method: "POST", headers, body: JSON.stringify(body) });
      expect(reply.status).toBe(200);
      return reply.json();
    };
    const ask = (id: string) => post("/v1/completions", { prompt: "a b c", max_tokens: 8, ignore_eos: true }, id);
    await post("/start_profile", { steps: 4 });
    await ask("by-steps");
    await until(() => profilesIn(directory).count === 1);
    await post("/start_profile", {});
    await ask("by-route");
    const { file } = (await post("/stop_profile", {})) as { file: string };
    expect(profilesIn(directory)).toMatchObject({ count: 2 });
    expect(path.dirname(file)).toBe(directory);
    server.kill("SIGUSR2");
    await ask("by-signal");
    server.kill("SIGUSR2");
    await until(() => profilesIn(directory).count === 3);
    await post("/start_profile", {});
    await ask("by-the-end");
    server.kill("SIGTERM");
    expect(await server.exited).toBe(0);
    const { count, lanes } = profilesIn(directory);
    expect(count).toBe(4);
    expect(lanes.sort()).toEqual(["by-route", "by-signal", "by-steps", "by-the-end"]);
  });

  test("of a chat, at its end; and not of a server's", () => {
    const directory = path.join(folder, "chat");
    const chat = path.join(import.meta.dir, "..", "fgchat");
    const run = (...args: string[]) =>
      spawnSync(chat, args, { input: "hello\n/q\n", encoding: "utf8", timeout: 60_000 });
    const { status, stderr } = run("--profile", directory, "--device", "cpu", "--max-tokens", "8");
    expect(status).toBe(0);
    expect(stderr).toContain(`fgchat: profile written to ${directory}`);
    expect(profilesIn(directory)).toMatchObject({ count: 1, lanes: [expect.stringContaining("sequence")] });
    const refused = run("--profile", directory, "--url", "http://localhost:1");
    expect(refused.status).not.toBe(0);
    expect(refused.stderr).toContain("start the server with it");
  });
});
