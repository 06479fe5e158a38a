/**
 * What the container holds and may do, without a container runtime: the executable with the C library alone, on a read-only root file
 * system, as a user without rights. deploy/Containerfile builds it so, and the manifests run it so.
 */
import { afterAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { missing } from "./server.ts";

const root = path.dirname(import.meta.dir);
const USER = "65532";
/** What distroless/cc has for programs in C and C++. */
const LIBRARIES = /^(ld-linux-x86-64\.so\.2|lib(c|m|dl|pthread|rt|gcc_s|stdc\+\+)\.so\.\d+)$/;

/** The executable, and what it carries and opens. */
const BUILT = [
  "fgserve",
  "build/libfastgen_cpu.so",
  "build/libllguidance.so",
  "node_modules/tokenizers/tokenizers.linux-x64-gnu.node",
];

/** Namespaces of its own need a root user, or a kernel that gives them to everybody. */
const isRoot = process.getuid?.() === 0;
const unshare = [
  "unshare",
  ...(isRoot ? [] : ["--user", "--map-root-user"]),
  "--mount",
  "--pid",
  "--fork",
  "--kill-child",
];
const works = Bun.spawnSync([...unshare, "true"], { stdout: "ignore", stderr: "ignore" }).exitCode === 0;
const skipped = missing ?? (works ? null : "needs namespaces: unshare");

const cleanUps: (() => unknown)[] = [];
afterAll(async () => {
  for (const cleanUp of cleanUps.reverse()) await cleanUp();
});

/** The libraries that a program or a library is linked with, by their names. */
function linked(file: string): Map<string, string> {
  const { stdout } = Bun.spawnSync(["ldd", file]);
  const lines = stdout.toString().matchAll(/^\s*(?:(\S+) => )?(\/\S+)/gm);
  return new Map(Array.from(lines, ([, name, place]) => [path.basename(name ?? place!), place!]));
}

/** A root file system as the container's: programs, libraries, certificates none; empty places for what is mounted. */
function makeRoot(): string {
  const folder = mkdtempSync(path.join(tmpdir(), "fgserve-container-"));
  cleanUps.push(() => rmSync(folder, { recursive: true, force: true }));
  chmodSync(folder, 0o755);
  for (const place of ["usr/bin", "lib64", "lib/x86_64-linux-gnu", "proc", "dev", "tmp", "data", "etc"]) {
    mkdirSync(path.join(folder, place), { recursive: true });
  }
  for (const device of ["null", "urandom"]) writeFileSync(path.join(folder, "dev", device), "");
  copyFileSync(path.join(root, "fgserve"), path.join(folder, "usr/bin/fgserve"));
  const libraries = BUILT.flatMap((file) => [...linked(path.join(root, file))]);
  for (const [name, place] of new Map(libraries)) {
    const target = name.startsWith("ld-") ? "lib64" : "lib/x86_64-linux-gnu";
    copyFileSync(realpathSync(place), path.join(folder, target, name));
  }
  writeFileSync(path.join(folder, "etc/passwd"), `nonroot:x:${USER}:${USER}::/data:/sbin/nologin\n`);
  return folder;
}

/** Mounts what a runtime mounts, drops every right, and becomes the entry point with the arguments that follow. */
const START = `
set -eu
root=$1; shift
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
for device in null urandom; do mount --bind /dev/$device "$root/dev/$device"; done
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=1777 tmpfs "$root/data"
mount -o remount,bind,ro "$root"
exec env -i HOME=/data PATH="$PATH" "$@"
`;

async function startContainer(args: string[]) {
  const folder = makeRoot();
  // A root user becomes another one. Elsewhere the user is the caller, whom the namespace calls root.
  const inside = ["chroot", ...(isRoot ? [`--userspec=${USER}:${USER}`, "--groups="] : []), folder];
  const child = Bun.spawn(
    [
      ...[...unshare, "sh", "-c", START, "sh", folder],
      ...["setpriv", "--no-new-privs", ...inside],
      ...["/usr/bin/fgserve", "--host", "127.0.0.1", "--port", "0", ...args],
    ],
    { stdin: "ignore", stdout: "pipe", stderr: "pipe" },
  );
  const log = { text: "" };
  const ended = (async () => {
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) log.text += text;
  })();
  cleanUps.push(async () => {
    child.kill("SIGKILL");
    await child.exited;
    await ended;
  });
  const deadline = performance.now() + 30_000;
  let url: string | null = null;
  while (!url) {
    if (child.exitCode !== null || performance.now() > deadline) throw new Error(`it did not start:\n${log.text}`);
    url = /listening on (http:\S+)/.exec(log.text)?.[1] ?? null;
    await Bun.sleep(20);
  }
  const status = () => fetch(`${url}/health`).then((reply) => reply.status);
  while ((await status().catch(() => 0)) !== 200) {
    if (child.exitCode !== null || performance.now() > deadline) throw new Error(`it is not healthy:\n${log.text}`);
    await Bun.sleep(20);
  }
  return { child, url, log };
}

test("the executable and its libraries need nothing that the image lacks", () => {
  for (const file of BUILT) {
    const names = [...linked(path.join(root, file)).keys()];
    expect({ file, lacking: names.filter((name) => !LIBRARIES.test(name)) }).toEqual({ file, lacking: [] });
  }
});

describe.skipIf(skipped !== null)(`container (${skipped ?? "namespaces"})`, () => {
  test("it serves on a read-only root, without rights, and ends by SIGTERM once its requests have", async () => {
    const { child, url, log } = await startContainer(["--max-model-len", "512"]);
    const status = (pid: number) => readFileSync(`/proc/${pid}/status`, "utf8");
    const children = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "utf8").trim().split(" ");
    const server = Number(children[0]);
    const fields = new Map(Array.from(status(server).matchAll(/^(\w+):\t(.*)$/gm), ([, name, value]) => [name, value]));
    expect(fields.get("NoNewPrivs")).toBe("1");
    if (isRoot) {
      expect(fields.get("Uid")).toBe([USER, USER, USER, USER].join("\t"));
      expect(fields.get("CapEff")).toMatch(/^0+$/);
    }
    // The root is read-only, and so is everything but two folders.
    const mounts = readFileSync(`/proc/${server}/mountinfo`, "utf8").trim().split("\n");
    const rights = new Map(mounts.map((line) => [line.split(" ")[4], line.split(" ")[5]]));
    expect(rights.get("/")).toStartWith("ro");
    const chat = await fetch(`${url}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({
        messages: [{ role: "user", content: "hello" }],
        response_format: { type: "json_object" },
      }),
    });
    expect(chat.status).toBe(200);
    // A batch writes files; they go to /tmp.
    const form = new FormData();
    form.set("purpose", "batch");
    form.set("file", new File(["{}\n"], "in.jsonl"));
    expect((await fetch(`${url}/v1/files`, { method: "POST", body: form })).status).toBe(200);
    const running = fetch(`${url}/v1/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ prompt: "a", max_tokens: 300, ignore_eos: true, stream: true }),
    });
    const stream = (await running).body!.pipeThrough(new TextDecoderStream());
    process.kill(server, "SIGTERM");
    let text = "";
    for await (const piece of stream) text += piece;
    expect(text).toEndWith("data: [DONE]\n\n");
    expect(await child.exited).toBe(0);
    expect(log.text).toContain("shutting down; running requests may finish (sequences: 1), for at most");
  }, 60_000);
});
