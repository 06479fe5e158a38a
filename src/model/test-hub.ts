/** For tests: a FakeHub and an empty cache for each test of a file, named by the environment as a user would. */
import { afterAll, afterEach, beforeEach } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FakeHub } from "./fake-hub.ts";

const VARIABLES = [
  "HF_HOME",
  "HF_HUB_CACHE",
  "HUGGINGFACE_HUB_CACHE",
  "HF_ENDPOINT",
  "HF_TOKEN",
  "HF_HUB_OFFLINE",
  "HUGGING_FACE_HUB_TOKEN",
  "HF_TOKEN_PATH",
  "TRANSFORMERS_OFFLINE",
];

export interface HubFixture {
  hub: FakeHub;
  /** HF_HOME. */
  home: string;
  /** The cache in it. */
  cache: string;
}

/** Call it at the top of a test file. The fixture is filled anew before each test. */
export function useFakeHub(): HubFixture {
  const saved = Object.fromEntries(VARIABLES.map((name) => [name, process.env[name]]));
  const fixture = {} as HubFixture;
  beforeEach(async () => {
    const home = mkdtempSync(join(tmpdir(), "fastgen-hub-"));
    const hub = new FakeHub();
    await hub.start();
    Object.assign(fixture, { hub, home, cache: join(home, "hub") });
    for (const name of VARIABLES) delete process.env[name];
    process.env.HF_HOME = home;
    process.env.HF_ENDPOINT = `${hub.url}/`;
  });
  afterEach(() => {
    fixture.hub.stop();
    rmSync(fixture.home, { recursive: true, force: true });
  });
  afterAll(() => {
    for (const name of VARIABLES) {
      if (saved[name] === undefined) delete process.env[name];
      else process.env[name] = saved[name];
    }
  });
  return fixture;
}
