import { beforeEach, describe, expect, test } from "bun:test";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import type { LoadProgress } from "../types.ts";
import { COMMIT, type FakeHub } from "./fake-hub.ts";
import { type HubOptions, resolveModel } from "./hub.ts";
import { TINY_CONFIG } from "./test-files.ts";
import { useFakeHub } from "./test-hub.ts";

const CONFIG = JSON.stringify(TINY_CONFIG);
const WEIGHTS = new Uint8Array(300_000).map((_, i) => (i * 7919) >> 3);
const fixture = useFakeHub();
let hub: FakeHub;
let home: string;
let cache: string;

beforeEach(() => {
  ({ hub, home, cache } = fixture);
  hub.add("config.json", CONFIG);
  hub.add("tokenizer.json", '{"a":1}');
  hub.add("README.md", "# no");
  hub.add("pytorch_model.bin", "no");
  hub.add("model.safetensors", WEIGHTS);
});

const get = (options: HubOptions = {}, name = "org/tiny") => resolveModel(name, { retryDelayMs: 1, ...options });
const repo = () => join(cache, "models--org--tiny");
const weightRequests = () => hub.requests.filter((request) => request.startsWith("CDN"));

/** Another process that holds the lock on `path`, as Python's filelock does. */
async function holdLock(path: string) {
  const script =
    "import fcntl, sys, time; f = open(sys.argv[1], 'a'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); time.sleep(60)";
  const child = Bun.spawn(["python3", "-c", script, path], { stdout: "pipe" });
  await child.stdout.getReader().read();
  return child;
}

describe("download", () => {
  test("fills the cache as huggingface_hub lays it out, and is not repeated", async () => {
    const seen: LoadProgress[] = [];
    const directory = await get({ onProgress: (progress) => seen.push({ ...progress }) });
    expect(directory).toBe(join(repo(), "snapshots", COMMIT));
    expect(readdirSync(directory).sort()).toEqual(["config.json", "model.safetensors", "tokenizer.json"]);
    expect(readFileSync(join(directory, "model.safetensors"))).toEqual(Buffer.from(WEIGHTS));
    expect(lstatSync(join(directory, "config.json")).isSymbolicLink()).toBe(true);
    const blobs = ["config.json", "model.safetensors", "tokenizer.json"].map((file) => hub.etag(file));
    expect(readdirSync(join(repo(), "blobs")).sort()).toEqual(blobs.sort());
    expect(readFileSync(join(repo(), "refs/main"), "utf8")).toBe(COMMIT);

    const total = WEIGHTS.length + CONFIG.length + 7;
    expect(seen.at(-1)).toEqual({ stage: "download", done: total, total });
    for (let i = 1; i < seen.length; i++) expect(seen[i]!.done).toBeGreaterThanOrEqual(seen[i - 1]!.done);

    const before = hub.requests.length;
    expect(await get()).toBe(directory);
    expect(await get({ revision: COMMIT })).toBe(directory);
    expect(hub.requests.length).toBe(before);
  });

  test("files with the same content share a blob, and two downloads at once do not disturb each other", async () => {
    hub.add("tokenizer_config.json", "{}");
    hub.add("generation_config.json", "{}");
    const [directory, same] = await Promise.all([get(), get()]);
    expect(same).toBe(directory);
    for (const file of ["tokenizer_config.json", "generation_config.json"]) {
      expect(readFileSync(join(directory, file), "utf8")).toBe("{}");
    }
    expect(readFileSync(join(directory, "model.safetensors"))).toEqual(Buffer.from(WEIGHTS));
    expect(readdirSync(join(repo(), "blobs")).length).toBe(4);
  });

  test("a tag, and a commit", async () => {
    const directory = await get({ revision: "v1.0" });
    expect(readFileSync(join(repo(), "refs/v1.0"), "utf8")).toBe(COMMIT);
    expect(existsSync(join(repo(), "refs/main"))).toBe(false);
    expect(await get({ revision: COMMIT })).toBe(directory);
  });

  test("dummy weights need no weights; asking for them later fetches only them", async () => {
    const directory = await get({ loadFormat: "dummy" });
    expect(readdirSync(directory).sort()).toEqual(["config.json", "tokenizer.json"]);
    hub.requests = [];
    await get();
    expect(hub.requests.filter((request) => request.includes("resolve"))).toEqual([
      `GET /org/tiny/resolve/${COMMIT}/model.safetensors`,
    ]);
  });

  test("shards by the index, and no second copy of the weights", async () => {
    hub.files.delete("model.safetensors");
    hub.add("model-00001-of-00002.safetensors", WEIGHTS.subarray(0, 1000));
    hub.add("model-00002-of-00002.safetensors", WEIGHTS.subarray(1000, 3000));
    hub.add("consolidated.safetensors", WEIGHTS);
    const weight_map = { a: "model-00001-of-00002.safetensors", b: "model-00002-of-00002.safetensors" };
    hub.add("model.safetensors.index.json", JSON.stringify({ weight_map }));
    const directory = await get();
    expect(
      readdirSync(directory)
        .filter((file) => file.includes("safetensors"))
        .sort(),
    ).toEqual(["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"]);
    // A shard that got lost is fetched again.
    rmSync(join(directory, "model-00002-of-00002.safetensors"));
    rmSync(join(repo(), "blobs", hub.etag("model-00002-of-00002.safetensors")));
    await get();
    expect(readFileSync(join(directory, "model-00002-of-00002.safetensors")).length).toBe(2000);
  });

  test("of two copies of the weights the one by its usual name is taken", async () => {
    hub.add("consolidated.safetensors", WEIGHTS);
    hub.add("model.safetensors.index.json", JSON.stringify({ weight_map: { a: "consolidated.safetensors" } }));
    const directory = await get();
    expect(readdirSync(directory).filter((file) => file.includes("safetensors"))).toEqual(["model.safetensors"]);
  });

  test("the token goes to the hub and to nobody else", async () => {
    process.env.HF_TOKEN = "hf_secret";
    await get();
    expect(new Set(hub.tokens)).toEqual(new Set(["Bearer hf_secret"]));
    expect(hub.cdnTokens).toEqual([undefined]);
  });

  test("the token file", async () => {
    writeFileSync(join(home, "token"), "hf_from_file\n");
    await get();
    expect(hub.tokens[0]).toBe("Bearer hf_from_file");
  });
});

describe("interruption", () => {
  test("a cut connection is resumed where it broke", async () => {
    hub.cuts = [100_000, 50_000];
    const directory = await get();
    expect(weightRequests()).toEqual([
      "CDN model.safetensors from 0",
      "CDN model.safetensors from 100000",
      "CDN model.safetensors from 150000",
    ]);
    expect(readFileSync(join(directory, "model.safetensors"))).toEqual(Buffer.from(WEIGHTS));
  });

  test("only attempts that bring nothing count", async () => {
    hub.cuts = Array(9).fill(30_000);
    const directory = await get();
    expect(readFileSync(join(directory, "model.safetensors"))).toEqual(Buffer.from(WEIGHTS));
    expect(weightRequests()).toHaveLength(10);
  });

  test("five attempts that bring nothing are enough", async () => {
    hub.cuts = Array(9).fill(0);
    await expect(get()).rejects.toThrow(/model.safetensors could not be downloaded.* from 0 of 300000 bytes/);
    expect(weightRequests()).toHaveLength(5);
  });

  test("an answer that ends early without a fault is a cut connection too", async () => {
    hub.empty = true;
    await expect(get()).rejects.toThrow(/could not be downloaded: the connection was cut/);
  });

  test("a partial file longer than the whole is begun anew", async () => {
    const blobs = join(repo(), "blobs");
    mkdirSync(blobs, { recursive: true });
    writeFileSync(join(blobs, `${hub.etag("model.safetensors")}.incomplete`), new Uint8Array(WEIGHTS.length + 1));
    let most = 0;
    const directory = await get({ onProgress: ({ done, total }) => (most = Math.max(most, done / total)) });
    expect(most).toBe(1);
    expect(readFileSync(join(directory, "model.safetensors"))).toEqual(Buffer.from(WEIGHTS));
  });

  test("a file that cannot be had stops the others", async () => {
    hub.files.delete("model.safetensors");
    hub.add("model-1.safetensors", WEIGHTS);
    hub.add("model-2.safetensors", WEIGHTS.subarray(1));
    hub.add("model.safetensors.index.json", '{"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}}');
    hub.stalled = "model-1.safetensors";
    hub.listedSize.set("model-2.safetensors", 1000);
    await expect(get()).rejects.toThrow(/model-2.safetensors is longer/);
  });

  test("aborting ends the wait for another process", async () => {
    const locks = join(cache, ".locks", "models--org--tiny");
    mkdirSync(locks, { recursive: true });
    const other = await holdLock(join(locks, `${hub.etag("model.safetensors")}.lock`));
    const abort = new AbortController();
    const running = get({ signal: abort.signal });
    setTimeout(() => abort.abort(), 300);
    await expect(running).rejects.toMatchObject({ kind: "aborted" });
    other.kill();
    await other.exited;
  });

  test("a download given up is resumed by the next run, progress included", async () => {
    hub.cuts = [200_000, 0, 0, 0, 0, 0, 0];
    await expect(get()).rejects.toThrow(/model.safetensors could not be downloaded.*200000 of 300000 bytes/);
    expect(existsSync(join(repo(), "refs/main"))).toBe(false);
    const partial = join(repo(), "blobs", `${hub.etag("model.safetensors")}.incomplete`);
    expect(lstatSync(partial).size).toBe(200_000);

    hub.cuts = [];
    hub.requests = [];
    let last: LoadProgress | undefined;
    const directory = await get({ onProgress: (progress) => (last = { ...progress }) });
    expect(weightRequests()).toEqual(["CDN model.safetensors from 200000"]);
    expect(readFileSync(join(directory, "model.safetensors"))).toEqual(Buffer.from(WEIGHTS));
    expect(last!.done).toBe(last!.total);
    expect(readdirSync(join(repo(), "blobs")).filter((file) => file.includes("incomplete"))).toEqual([]);
  });

  test("a file that another process downloads is waited for, with its progress, and taken as it is", async () => {
    const [blobs, locks] = [join(repo(), "blobs"), join(cache, ".locks", "models--org--tiny")];
    for (const folder of [blobs, locks]) mkdirSync(folder, { recursive: true });
    const etag = hub.etag("model.safetensors");
    const other = await holdLock(join(locks, `${etag}.lock`));
    writeFileSync(join(blobs, `${etag}.incomplete`), WEIGHTS.subarray(0, 200_000));
    let most = 0;
    let last: LoadProgress | undefined;
    const onProgress = (progress: LoadProgress) => {
      last = { ...progress };
      most = Math.max(most, progress.done);
    };
    const done = get({ onProgress });
    while (most < 200_000) await Bun.sleep(5);
    expect(weightRequests()).toEqual([]);
    writeFileSync(join(blobs, etag), WEIGHTS);
    rmSync(join(blobs, `${etag}.incomplete`));
    other.kill();
    const directory = await done;
    expect(readFileSync(join(directory, "model.safetensors"))).toEqual(Buffer.from(WEIGHTS));
    expect(weightRequests()).toEqual([]);
    expect(last!.done).toBe(last!.total);
  });

  test("what a killed process has left is gone on with: its lock died with it, whatever its process id", async () => {
    const [blobs, locks] = [join(repo(), "blobs"), join(cache, ".locks", "models--org--tiny")];
    for (const folder of [blobs, locks]) mkdirSync(folder, { recursive: true });
    const etag = hub.etag("model.safetensors");
    const other = await holdLock(join(locks, `${etag}.lock`));
    writeFileSync(join(blobs, `${etag}.incomplete`), WEIGHTS.subarray(0, 1234));
    other.kill("SIGKILL");
    await other.exited;
    await get();
    expect(weightRequests()).toEqual(["CDN model.safetensors from 1234"]);
  });

  test("several processes at once leave one whole blob under its hash", async () => {
    hub.cuts = [100_000, 50_000, 70_000];
    const script = `import { resolveModel } from ${JSON.stringify(join(import.meta.dir, "hub.ts"))};
      await resolveModel("org/tiny", { retryDelayMs: 1 });`;
    const processes = Array.from({ length: 4 }, () =>
      Bun.spawn([process.execPath, "-e", script], { env: { ...process.env }, stderr: "pipe" }),
    );
    for (const child of processes) {
      expect(await new Response(child.stderr).text()).toBe("");
      expect(await child.exited).toBe(0);
    }
    const blobs = join(repo(), "blobs");
    expect(readdirSync(blobs).filter((file) => file.includes("incomplete"))).toEqual([]);
    expect(readFileSync(join(blobs, hub.etag("model.safetensors")))).toEqual(Buffer.from(WEIGHTS));
    // Each byte was fetched once: whoever came later waited.
    expect(weightRequests().filter((request) => request.endsWith("from 0"))).toHaveLength(1);
  });

  test("bytes that somebody else wrote into the partial file do not pass", async () => {
    hub.cuts = [100_000];
    let spoiled = false;
    const partial = join(repo(), "blobs", `${hub.etag("model.safetensors")}.incomplete`);
    const onProgress = ({ done }: LoadProgress) => {
      if (spoiled || done < 100_000) return;
      spoiled = true;
      const bytes = readFileSync(partial);
      bytes[50_000]! ^= 1;
      writeFileSync(partial, bytes);
    };
    await expect(get({ onProgress })).rejects.toThrow(/damaged on its way/);
    expect(spoiled).toBe(true);
    expect(existsSync(join(repo(), "blobs", hub.etag("model.safetensors")))).toBe(false);
    await get();
  });

  test("a server without ranges starts again", async () => {
    hub.ranges = false;
    hub.cuts = [100_000];
    let last: LoadProgress | undefined;
    const directory = await get({ onProgress: (progress) => (last = { ...progress }) });
    expect(readFileSync(join(directory, "model.safetensors"))).toEqual(Buffer.from(WEIGHTS));
    expect(last!.done).toBe(last!.total);
  });

  test("a part of the file other than the one asked for is not taken", async () => {
    hub.cuts = [100_000];
    hub.wrongRanges = 1;
    const directory = await get();
    expect(readFileSync(join(directory, "model.safetensors"))).toEqual(Buffer.from(WEIGHTS));
    expect(hub.wrongRanges).toBe(0);
  });

  test("a damaged beginning is found out and thrown away", async () => {
    const blobs = join(repo(), "blobs");
    mkdirSync(blobs, { recursive: true });
    writeFileSync(join(blobs, `${hub.etag("model.safetensors")}.incomplete`), new Uint8Array(1000).fill(1));
    let last: LoadProgress | undefined;
    const directory = await get({ onProgress: (progress) => (last = { ...progress }) });
    expect(weightRequests()).toEqual(["CDN model.safetensors from 1000", "CDN model.safetensors from 0"]);
    expect(readFileSync(join(directory, "model.safetensors"))).toEqual(Buffer.from(WEIGHTS));
    expect(last!.done).toBe(last!.total);
  });

  test("a file longer than listed is refused", async () => {
    hub.listedSize.set("model.safetensors", 1000);
    await expect(get()).rejects.toThrow(/longer than the 1000 bytes/);
    const partial = join(repo(), "blobs", `${hub.etag("model.safetensors")}.incomplete`);
    expect(lstatSync(partial).size).toBeLessThanOrEqual(1000);
  });

  test("aborting ends it", async () => {
    const abort = new AbortController();
    const running = get({ signal: abort.signal, onProgress: () => abort.abort() });
    await expect(running).rejects.toMatchObject({ kind: "aborted" });
    expect(existsSync(join(repo(), "refs/main"))).toBe(false);
    await expect(get({ signal: AbortSignal.abort() })).rejects.toMatchObject({ kind: "aborted" });
  });

  test("a busy hub is asked again", async () => {
    hub.refusals = [{ status: 503 }, { status: 429 }];
    const directory = await get();
    expect(hub.refusals).toEqual([]);
    expect(readFileSync(join(directory, "config.json"), "utf8")).toBe(CONFIG);
    expect(hub.requests.slice(0, 3)).toEqual(Array(3).fill("GET /api/models/org/tiny/revision/main"));
  });

  test("a hub that stays busy is given up after three attempts", async () => {
    hub.refusals = Array.from({ length: 9 }, () => ({ status: 503 }));
    await expect(get()).rejects.toThrow(/not in the local cache, and .* answers with status 503/);
    expect(hub.refusals).toHaveLength(6);
  });
});

describe("refusals name cause and cure", () => {
  const refusal = async (status: number, code?: string) => {
    hub.refusals = [{ status, code }];
    return get().then(
      () => "",
      (error: Error) => error.message,
    );
  };

  test("not found", async () => {
    expect(await get({}, "org/none").catch((error: Error) => error.message)).toMatch(
      /org\/none is not a model on .*, nor a directory here: check its spelling, or set HF_TOKEN/,
    );
    expect(existsSync(join(cache, "models--org--none"))).toBe(false);
    expect(await refusal(401, "RepoNotFound")).toMatch(/org\/tiny is not a model/);
    await expect(get({ revision: "v2" })).rejects.toThrow(/has no revision "v2"/);
    await expect(get({}, "no such/folder/here")).rejects.toThrow(/neither a directory nor the name of a hub model/);
    await expect(get({}, "../no-such-folder")).rejects.toThrow(/neither a directory nor/);
    await expect(get({ revision: "../../x" })).rejects.toThrow(/is not a branch, tag or commit/);
  });

  test("gated, private, forbidden", async () => {
    expect(await refusal(401, "GatedRepo")).toMatch(
      /is gated: accept its licence at https.*org\/tiny, then set HF_TOKEN/,
    );
    expect(await refusal(403)).toMatch(/does not exist, is private, or is gated: check its spelling, set HF_TOKEN/);
    process.env.HF_TOKEN = "hf_x";
    expect(await refusal(403, "GatedRepo")).toMatch(/your token has no access to it: accept its licence/);
    expect(await refusal(401)).toMatch(/refuses your token.*check HF_TOKEN/);
  });

  test("no network", async () => {
    hub.stop();
    const error = await get().catch((error) => error);
    expect(error.kind).toBe("unavailable");
    expect(error.message).toMatch(/not in the local cache, and .* cannot be reached.*check the network.*HF_ENDPOINT/);
    await hub.start();
  });

  test("offline", async () => {
    process.env.HF_HUB_OFFLINE = "1";
    await expect(get()).rejects.toThrow(/not in the cache.*HF_HUB_OFFLINE forbids/);
    delete process.env.HF_HUB_OFFLINE;
    process.env.TRANSFORMERS_OFFLINE = "1";
    await expect(get()).rejects.toThrow(/HF_HUB_OFFLINE forbids/);
    expect(hub.requests).toEqual([]);
  });

  test("not a hub at all", async () => {
    process.env.HF_ENDPOINT = "nonsense";
    await expect(get()).rejects.toThrow(/HF_ENDPOINT is "nonsense"/);
  });

  test("what is no model that can be served: before its weights are downloaded", async () => {
    const refused = async (message: RegExp) => {
      await expect(get()).rejects.toThrow(message);
      expect(hub.requests.filter((request) => /resolve.*(safetensors|tokenizer|bin)/.test(request))).toEqual([]);
      expect(existsSync(join(repo(), "refs/main"))).toBe(false);
    };
    hub.add("modules.json", "[]");
    await refused(/org\/tiny \(main\) is an embedding model of sentence-transformers/);
    hub.files.delete("modules.json");
    hub.add("config.json", JSON.stringify({ ...TINY_CONFIG, architectures: ["T5ForConditionalGeneration"] }));
    await refused(/T5ForConditionalGeneration is not supported/);
    hub.add("config.json", JSON.stringify({ ...TINY_CONFIG, quantization_config: { quant_method: "awq" } }));
    await refused(/quantization_config \(quant_method "awq"\)/);
    hub.add("config.json", CONFIG);
    hub.files.delete("model.safetensors");
    await refused(/has its weights as PyTorch pickles alone \(pytorch_model.bin\).*choose a revision/);
    hub.files.delete("pytorch_model.bin");
    hub.add("model.Q4_K_M.gguf", "GGUF");
    await refused(/org\/tiny \(main\) holds GGUF/);
    hub.add("model.safetensors", WEIGHTS);
    hub.files.delete("tokenizer.json");
    await refused(/has no tokenizer.json/);
    hub.files.clear();
    hub.add("adapter_config.json", JSON.stringify({ base_model_name_or_path: "org/base" }));
    hub.add("adapter_model.safetensors", WEIGHTS);
    await refused(/holds an adapter such as LoRA.*Its base model is org\/base/);
  });

  test("a cache that cannot be written", async () => {
    // A file where the folder should be: permission bits do not bind root.
    writeFileSync(join(home, "file"), "");
    process.env.HF_HUB_CACHE = join(home, "file", "hub");
    const error = await get().catch((error) => error);
    expect(error.kind).toBe("model");
    expect(error.message).toMatch(
      /cannot be stored in the cache at .*\(ENOTDIR\): set HF_HOME to a directory that you may write/,
    );
  });

  test("a disk too small", async () => {
    hub.listedSize.set("model.safetensors", 1e15);
    await expect(get()).rejects.toThrow(/is too full: 909.5 TiB to download, .* [KMGT]iB free/);
    expect(weightRequests()).toEqual([]);
  });

  test("what is there already need not fit the disk again", async () => {
    const { bavail, bsize } = statfsSync(home);
    const listed = bavail * bsize + 1e9;
    hub.listedSize.set("model.safetensors", listed);
    mkdirSync(join(repo(), "blobs"), { recursive: true });
    const partial = join(repo(), "blobs", `${hub.etag("model.safetensors")}.incomplete`);
    writeFileSync(partial, "");
    truncateSync(partial, listed - 1000); // sparse: it takes no space
    hub.empty = true;
    await expect(get()).rejects.toThrow(/could not be downloaded/);
  });

  test("an index that names a shard that is not there", async () => {
    hub.files.delete("model.safetensors");
    hub.add("model.safetensors.index.json", '{"weight_map":{"a":"model-1.safetensors"}}');
    await expect(get()).rejects.toThrow(/names model-1.safetensors, which is not in the repository/);
  });

  test("an index that points outside the model", async () => {
    hub.files.delete("model.safetensors");
    hub.add("model.safetensors.index.json", '{"weight_map":{"a":"../../x.safetensors"}}');
    await expect(get()).rejects.toThrow(/is not the name of a safetensors file/);
  });
});

test("a folder has no revisions: one that is asked for is told of", async () => {
  const warnings: string[] = [];
  const onWarning = (warning: string) => warnings.push(warning);
  expect(await resolveModel(import.meta.dir, { onWarning })).toBe(import.meta.dir);
  expect(await resolveModel(import.meta.dir, { revision: "v2", onWarning })).toBe(import.meta.dir);
  expect(warnings).toEqual([`${import.meta.dir} is a folder, so the revision v2 is ignored`]);
});

test("a leading ~ is the home folder", async () => {
  const parent = process.env.HOME;
  process.env.HOME = home;
  process.env.HF_HOME = "~/elsewhere";
  try {
    expect(await get()).toBe(join(homedir(), "elsewhere/hub/models--org--tiny/snapshots", COMMIT));
    expect(existsSync("~")).toBe(false);
  } finally {
    process.env.HOME = parent;
  }
});

test("the cache's older name", async () => {
  process.env.HUGGINGFACE_HUB_CACHE = join(home, "older");
  expect(await get()).toBe(join(home, "older/models--org--tiny/snapshots", COMMIT));
  process.env.HF_HUB_CACHE = join(home, "newer");
  expect(await get()).toBe(join(home, "newer/models--org--tiny/snapshots", COMMIT));
});
