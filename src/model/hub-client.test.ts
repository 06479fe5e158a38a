/** The hub's client alone: redirects, tokens, and where they are read from. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hubClient, hubHome, TransientError } from "./hub-client.ts";

const VARIABLES = [
  "HF_ENDPOINT",
  "HF_HOME",
  "HF_TOKEN",
  "HF_TOKEN_PATH",
  "HUGGING_FACE_HUB_TOKEN",
  "XDG_CACHE_HOME",
] as const;
const saved = VARIABLES.map((name) => [name, process.env[name]] as const);

let answer: (request: Request, path: string) => Response;
let server: ReturnType<typeof Bun.serve>;
let folder: string;
let paths: string[];
let tokens: (string | null)[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "fastgen-hub-client-"));
  paths = [];
  tokens = [];
  server = Bun.serve({
    port: 0,
    fetch(request) {
      const { pathname } = new URL(request.url);
      paths.push(pathname);
      tokens.push(request.headers.get("authorization"));
      return answer(request, pathname);
    },
  });
  for (const name of VARIABLES) delete process.env[name];
  process.env.HF_ENDPOINT = server.url.href;
  process.env.HF_HOME = folder;
});

afterEach(async () => {
  await server.stop(true);
  rmSync(folder, { recursive: true, force: true });
  for (const [name, value] of saved) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
});

const get = (path: string) => hubClient("org/tiny", "main").fetch(`${server.url.origin}${path}`);
const redirect = (location: string) => new Response(null, { status: 302, headers: { location } });

test("a redirect may be relative to the address that gave it", async () => {
  answer = (_, path) => (path === "/a/b" ? redirect("c?x=1") : new Response("there"));
  expect(await (await get("/a/b")).text()).toBe("there");
  expect(paths).toEqual(["/a/b", "/a/c"]);
});

test("redirects in a circle end", async () => {
  answer = () => redirect("/again");
  await expect(get("/a")).rejects.toThrow(/redirects in a circle/);
  expect(paths.length).toBeLessThan(20);
});

test("a 416 is an answer: the caller asked for the rest of a whole file", async () => {
  answer = () => new Response(null, { status: 416 });
  expect((await get("/a")).status).toBe(416);
});

test("what may go away is told apart from what stays", async () => {
  for (const status of [429, 500, 503]) {
    answer = () => new Response(null, { status });
    await expect(get("/a")).rejects.toBeInstanceOf(TransientError);
  }
  answer = () => new Response(null, { status: 418 });
  await expect(get("/a")).rejects.toMatchObject({ kind: "model", message: expect.stringContaining("status 418") });
});

test("the token: HF_TOKEN, its older name, the file that is named, the file at its usual place", async () => {
  answer = () => new Response("");
  const sent = async () => {
    await get("/a");
    return tokens.at(-1)!;
  };
  expect(await sent()).toBeNull();
  writeFileSync(join(folder, "token"), "usual\n");
  expect(await sent()).toBe("Bearer usual");
  writeFileSync(join(folder, "other"), " named \n");
  process.env.HF_TOKEN_PATH = join(folder, "other");
  expect(await sent()).toBe("Bearer named");
  process.env.HUGGING_FACE_HUB_TOKEN = "older";
  expect(await sent()).toBe("Bearer older");
  process.env.HF_TOKEN = "newer\n";
  expect(await sent()).toBe("Bearer newer");
});

test("the cache's folder is HF_HOME, else below XDG_CACHE_HOME", () => {
  expect(hubHome()).toBe(folder);
  delete process.env.HF_HOME;
  mkdirSync(join(folder, "xdg"));
  process.env.XDG_CACHE_HOME = join(folder, "xdg");
  expect(hubHome()).toBe(join(folder, "xdg", "huggingface"));
});
