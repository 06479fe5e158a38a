/** /start_profile, /stop_profile and the signal: from whom, with what, and what is said when there can be none. */
import { afterAll, afterEach, expect, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FastgenError } from "../../src/errors.ts";
import { MAX_PROFILE_STEPS } from "../../src/limits.ts";
import { FakeFastgen, type FakeOptions, json, startServer } from "../testing.ts";
import { Profiling } from "./profile.ts";

const folder = mkdtempSync(join(tmpdir(), "fastgen-profile-routes-"));
afterAll(() => rmSync(folder, { recursive: true }));
const started: Awaited<ReturnType<typeof startServer>>[] = [];
async function start(options: Parameters<typeof startServer>[1] = {}, fake: FakeOptions = {}) {
  const fastgen = new FakeFastgen(fake);
  const logged: string[] = [];
  const server = await startServer(fastgen, {
    profileDir: folder,
    errorLog: (line) => logged.push(line),
    ...options,
  });
  started.push(server);
  const post = async (path: string, body?: object, headers: Record<string, string> = {}) => {
    const type: Record<string, string> = body ? { "content-type": "application/json" } : {};
    const init = { method: "POST", headers: { ...type, ...headers }, body: body && JSON.stringify(body) };
    const reply = await fetch(server.url + path, init);
    return { status: reply.status, body: await json(reply) };
  };
  return { fastgen, logged, post };
}
afterEach(async () => {
  for (const server of started.splice(0)) await server.stop();
});

test("a profile is started and stopped, and the reply names its file", async () => {
  const { fastgen, logged, post } = await start();
  expect(await post("/start_profile")).toEqual({ status: 200, body: { status: "profiling", steps: null } });
  const again = await post("/start_profile");
  expect(again).toMatchObject({ status: 400, body: { error: { message: expect.stringContaining("stop it first") } } });
  const stopped = { status: "stopped", file: "/profiles/one.json", bytes: 123 };
  expect(await post("/v1/stop_profile")).toEqual({ status: 200, body: stopped });
  expect(fastgen.commands).toEqual([{ startProfile: { directory: folder } }, "stopProfile"]);
  expect(logged).toEqual(["fgserve: profile written to /profiles/one.json"]);
  const none = await post("/stop_profile");
  expect(none).toMatchObject({
    status: 400,
    body: { error: { message: expect.stringContaining("no profile is being") } },
  });
  // The next one may begin.
  expect((await post("/start_profile")).status).toBe(200);
});

test("steps come in a body or in the query, within bounds", async () => {
  const { fastgen, post } = await start();
  expect((await post("/start_profile", { steps: 20 })).body).toEqual({ status: "profiling", steps: 20 });
  await post("/stop_profile");
  expect((await post("/start_profile?steps=3")).body).toEqual({ status: "profiling", steps: 3 });
  expect(fastgen.commands.filter((command) => typeof command === "object")).toEqual([
    { startProfile: { directory: folder, steps: 20 } },
    { startProfile: { directory: folder, steps: 3 } },
  ]);
  await post("/stop_profile");
  for (const steps of [0, 1.5, MAX_PROFILE_STEPS + 1, "many", true, [5]]) {
    const reply = await post("/start_profile", { steps });
    expect(reply).toMatchObject({ status: 400, body: { error: { param: "steps" } } });
  }
  expect(await post("/start_profile?steps=many")).toMatchObject({
    body: { error: { message: 'steps must be a number, not "many"' } },
  });
  expect(await post("/start_profile", { setps: 3 })).toMatchObject({
    status: 400,
    body: { error: { param: "setps" } },
  });
  // What vLLM's benchmark sends.
  const bench = {
    model: "m",
    prompt: "p",
    temperature: 0,
    max_tokens: 9,
    stream: true,
    stream_options: { include_usage: true },
  };
  expect((await post("/start_profile", bench)).status).toBe(200);
  expect((await post("/stop_profile", bench)).status).toBe(200);
});

test("without a folder there are no profiles, and the cure is named", async () => {
  const { fastgen, post } = await start({ profileDir: null });
  const reply = await post("/start_profile");
  expect(reply).toMatchObject({ status: 400, body: { error: { message: expect.stringContaining("--profile DIR") } } });
  expect(fastgen.commands).toEqual([]);
});

test("where the folder cannot be made, no profile is said to have begun", async () => {
  const file = join(folder, "file");
  writeFileSync(file, "");
  const { fastgen, post } = await start({ profileDir: join(file, "below") });
  const reply = await post("/start_profile");
  expect(reply).toMatchObject({ status: 400, body: { error: { message: expect.stringContaining("(--profile)") } } });
  expect(fastgen.commands).toEqual([]);
  const made = join(folder, "a", "b");
  expect((await (await start({ profileDir: made })).post("/start_profile")).status).toBe(200);
  expect(existsSync(made)).toBe(true);
});

test("both are behind the admin key", async () => {
  const { post } = await start({ apiKey: "user", adminApiKey: "admin" });
  const as = (key: string) => ({ authorization: `Bearer ${key}` });
  for (const path of ["/start_profile", "/stop_profile"]) {
    expect((await post(path)).status).toBe(401);
    expect((await post(path, undefined, as("user"))).status).toBe(401);
    expect((await post(path, undefined, as("admin"))).status).toBe(200);
  }
});

test("a profile that cannot be written is told of: in the log, and to who stops it", async () => {
  const profileError = new FastgenError("invalid_request", "the disk is full");
  const { logged, post } = await start({}, { profileError });
  await post("/start_profile");
  expect(logged).toEqual(["fgserve: no profile was written: the disk is full"]);
  expect((await post("/start_profile")).status).toBe(200);
});

test("the signal starts a profile, then ends it, and never throws", async () => {
  const fastgen = new FakeFastgen();
  const logged: string[] = [];
  const profiling = new Profiling(folder, (line) => logged.push(line));
  const service = { fastgen };
  profiling.toggle(service);
  expect(logged.splice(0)).toEqual(["fgserve: a profile is being recorded; send SIGUSR2 again to write it"]);
  profiling.toggle(service);
  await profiling.close(fastgen);
  expect(fastgen.commands.slice(0, 2)).toEqual([{ startProfile: { directory: folder } }, "stopProfile"]);
  expect(logged.splice(0)).toEqual(["fgserve: profile written to /profiles/one.json"]);
  const nowhere = new Profiling(null, (line) => logged.push(line));
  nowhere.toggle(service);
  expect(logged.splice(0)[0]).toContain("start it with --profile DIR");
  nowhere.toggle({
    get fastgen(): FakeFastgen {
      throw new FastgenError("unavailable", "the model is loading");
    },
  });
  expect(logged).toEqual(["fgserve: no profile: the model is loading"]);
});

test("the end of the server writes the profile that is being recorded", async () => {
  const fastgen = new FakeFastgen();
  const logged: string[] = [];
  const profiling = new Profiling(folder, (line) => logged.push(line));
  profiling.start(fastgen);
  await profiling.close(fastgen);
  expect(logged).toEqual(["fgserve: profile written to /profiles/one.json"]);
});
