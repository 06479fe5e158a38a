/** Snapshots that are in the cache already: checked, completed, mended, or served as they are with a warning. */
import { beforeEach, describe, expect, test } from "bun:test";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { COMMIT, type FakeHub } from "./fake-hub.ts";
import { type HubOptions, resolveModel } from "./hub.ts";
import { TINY_CONFIG } from "./test-files.ts";
import { useFakeHub } from "./test-hub.ts";

const WEIGHTS = new Uint8Array(300_000).map((_, i) => (i * 7919) >> 3);
const fixture = useFakeHub();
let hub: FakeHub;
let folder: string;
let snapshot: string;
let warnings: string[];

beforeEach(() => {
  ({ hub } = fixture);
  folder = join(fixture.cache, "models--org--tiny");
  snapshot = join(folder, "snapshots", COMMIT);
  warnings = [];
  hub.add("config.json", JSON.stringify(TINY_CONFIG));
  hub.add("generation_config.json", '{"eos_token_id": 2}');
  hub.add("tokenizer_config.json", '{"chat_template": ""}');
  hub.add("tokenizer.json", '{"a":1}');
  hub.add("special_tokens_map.json", '{"eos_token": "x"}');
  hub.add("chat_template.jinja", "{{ messages }}");
  hub.add("chat_template.json", "{ }");
  hub.add("additional_chat_templates/tool_use.jinja", "{{ tools }}");
  hub.add("model.safetensors", WEIGHTS);
  hub.add("README.md", "# no");
  hub.add("onnx/model.onnx", "no");
});

const get = (options: HubOptions = {}) =>
  resolveModel("org/tiny", { retryDelayMs: 1, onWarning: (warning) => warnings.push(warning), ...options });

/** The names of the files that were asked for since the last call. */
function fetched(): string[] {
  const prefix = `GET /org/tiny/resolve/${COMMIT}/`;
  const names = hub.requests.filter((request) => request.startsWith(prefix)).map((name) => name.slice(prefix.length));
  hub.requests = [];
  return [...new Set(names)].sort();
}

const isWanted = (file: string) => !/^README|^onnx/.test(file);
const content = (file: string) => readFileSync(join(snapshot, file));

/** A cache as Python's huggingface_hub leaves it; `cut` files have so many bytes only, `without` are not there. */
function fill({ without = [] as string[], cut = {} as Record<string, number>, links = true } = {}): void {
  mkdirSync(join(folder, "blobs"), { recursive: true });
  mkdirSync(join(folder, "refs"), { recursive: true });
  writeFileSync(join(folder, "refs/main"), COMMIT);
  for (const [file, bytes] of hub.files) {
    if (!isWanted(file) || without.includes(file)) continue;
    const path = join(snapshot, file);
    mkdirSync(dirname(path), { recursive: true });
    const blob = links ? join(folder, "blobs", hub.etag(file)) : path;
    writeFileSync(blob, bytes.subarray(0, cut[file]));
    if (links) symlinkSync(blob, path);
  }
}

function expectWhole(): void {
  for (const [file, bytes] of hub.files) {
    if (isWanted(file)) expect([file, content(file)]).toEqual([file, Buffer.from(bytes)]);
    else expect(existsSync(join(snapshot, file))).toBe(false);
  }
}

describe("a hub in reach", () => {
  const OPTIONAL = [
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates/tool_use.jinja",
  ];

  test("is asked once whether a whole snapshot is one", async () => {
    fill();
    expect(await get()).toBe(snapshot);
    expect(hub.requests).toEqual([
      `GET /api/models/org/tiny/tree/${COMMIT}`,
      `GET /api/models/org/tiny/tree/${COMMIT}/additional_chat_templates`,
    ]);
    hub.requests = [];
    expect(await get()).toBe(snapshot);
    expect(await get({ revision: COMMIT })).toBe(snapshot);
    expect(hub.requests).toEqual([]);
    expect(warnings).toEqual([]);
  });

  for (const file of OPTIONAL) {
    test(`brings a missing ${file}, and nothing else`, async () => {
      fill({ without: [file] });
      expect(await get()).toBe(snapshot);
      expect(fetched()).toEqual([file]);
      expectWhole();
      expect(lstatSync(join(snapshot, file)).isSymbolicLink()).toBe(true);
    });
  }

  test("brings all that is missing", async () => {
    fill({ without: OPTIONAL });
    await get();
    expect(fetched()).toEqual(OPTIONAL.toSorted());
    expectWhole();
    expect(readFileSync(join(folder, "refs/main"), "utf8")).toBe(COMMIT);
  });

  for (const links of [true, false]) {
    test(`mends files that were cut short (${links ? "blobs" : "copies"})`, async () => {
      const cut = { "tokenizer.json": 3, "generation_config.json": 0, "config.json": 10, "model.safetensors": 200_000 };
      fill({ cut, links });
      await get();
      expectWhole();
      // Of a blob, the rest is enough.
      expect(hub.requests).toContain(`CDN model.safetensors from ${links ? 200_000 : 0}`);
      expect(fetched()).toEqual(Object.keys(cut).sort());
      expect(readdirSync(join(folder, "blobs")).filter((name) => name.includes("incomplete"))).toEqual([]);
    });
  }

  test("mends what is lost or cut later, and asks no more for what is whole", async () => {
    await get();
    expectWhole();
    fetched();
    unlinkSync(join(snapshot, "chat_template.jinja"));
    truncateSync(join(snapshot, "model.safetensors"), 1000);
    writeFileSync(join(snapshot, "tokenizer_config.json"), "{}");
    await get();
    expectWhole();
    // The template's blob was still there.
    expect(fetched()).toEqual(["model.safetensors", "tokenizer_config.json"]);
    await get();
    expect(hub.requests).toEqual([]);
  });

  test("mends a small file with other bytes, which only its hash tells", async () => {
    fill();
    writeFileSync(join(snapshot, "tokenizer.json"), '{"a":2}');
    await get();
    expect(fetched()).toEqual(["tokenizer.json"]);
    expectWhole();
  });

  test("mends a blob that is not the beginning of its file", async () => {
    fill();
    writeFileSync(join(snapshot, "model.safetensors"), new Uint8Array(1000).fill(1));
    await get();
    expectWhole();
  });

  test("mends a link to the blob of another file", async () => {
    fill();
    unlinkSync(join(snapshot, "tokenizer_config.json"));
    symlinkSync(join(folder, "blobs", hub.etag("config.json")), join(snapshot, "tokenizer_config.json"));
    await get();
    expectWhole();
    expect(fetched()).toEqual([]);
  });

  test("asks for no file whose listed name or hash would be a path to elsewhere", async () => {
    const entry = { type: "file", path: "tokenizer_more.json", size: 3, oid: "a".repeat(40) };
    const evil = "tokenizer/../../../../../evil.json";
    hub.listed = [
      { ...entry, path: evil },
      { ...entry, oid: "../../evil" },
      { ...entry, oid: "0", lfs: { oid: `${"b".repeat(60)}/../evil`, size: 3 } },
    ];
    await get();
    expect(fetched().filter((name) => /evil|more/.test(name))).toEqual([]);
    expectWhole();
  });

  test("is asked again where what it says cannot be kept", async () => {
    fill();
    writeFileSync(join(folder, ".fastgen"), "a file, where a folder should be");
    for (let time = 0; time < 2; time++) {
      hub.requests = [];
      expect(await get()).toBe(snapshot);
      expect(hub.requests).toContain(`GET /api/models/org/tiny/tree/${COMMIT}`);
    }
  });

  test("is no hub where it names a commit that is none", async () => {
    hub.commit = "../../evil";
    await expect(get()).rejects.toThrow(/is not a Hugging Face hub: check HF_ENDPOINT/);
  });

  test("references are of branches alone, and may end in a newline", async () => {
    await get({ revision: COMMIT });
    expect(existsSync(join(folder, "refs"))).toBe(false);
    mkdirSync(join(folder, "refs"));
    writeFileSync(join(folder, "refs/main"), `${COMMIT}\n`);
    hub.requests = [];
    expect(await get()).toBe(snapshot);
    expect(hub.requests).toEqual([]);
  });

  test("mends shards, and an index that was cut short", async () => {
    hub.files.delete("model.safetensors");
    const index = "model.safetensors.index.json";
    const [one, two] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    hub.add(one!, WEIGHTS.subarray(0, 1000));
    hub.add(two!, WEIGHTS.subarray(1000, 3000));
    hub.add(index, JSON.stringify({ weight_map: { a: one, b: two } }));
    fill({ cut: { [index]: 20, [two!]: 500 } });
    await get();
    expectWhole();
    expect(fetched()).toEqual([two!, index].sort());
    truncateSync(join(snapshot, one!), 10);
    await get();
    expect(fetched()).toEqual([one!]);
    expectWhole();
  });

  test("brings shards that no index names, and refuses a repository with a part of them", async () => {
    hub.files.delete("model.safetensors");
    hub.add("model-00001-of-00002.safetensors", WEIGHTS.subarray(0, 1000));
    await expect(get()).rejects.toThrow(/number of its shards names model-00002-of-00002.safetensors, which is not/);
    hub.add("model-00002-of-00002.safetensors", WEIGHTS.subarray(1000, 3000));
    await get();
    expectWhole();
    truncateSync(join(snapshot, "model-00002-of-00002.safetensors"), 10);
    await get();
    expectWhole();
  });

  test("is asked again where the kept listing is damaged", async () => {
    await get();
    const [listing] = readdirSync(join(folder, ".fastgen"));
    writeFileSync(join(folder, ".fastgen", listing!), '{"files":[{}]}');
    hub.requests = [];
    await get();
    expect(hub.requests[0]).toBe(`GET /api/models/org/tiny/tree/${COMMIT}`);
    expect(fetched()).toEqual([]);
  });
});

describe("served as it is, with a warning", () => {
  test("offline, where the hub was never asked", async () => {
    process.env.HF_HUB_OFFLINE = "1";
    fill({ without: ["generation_config.json"] });
    expect(await get()).toBe(snapshot);
    expect(warnings).toEqual([
      "org/tiny is served from the cache as it is; whether its files are complete could not be checked: HF_HUB_OFFLINE is set",
    ]);
    expect(hub.requests).toEqual([]);
  });

  test("offline, where the hub was asked: what is missing is named, what is cut short is not taken", async () => {
    await get();
    process.env.HF_HUB_OFFLINE = "1";
    expect(await get()).toBe(snapshot);
    expect(warnings).toEqual([]);
    unlinkSync(join(snapshot, "generation_config.json"));
    expect(await get()).toBe(snapshot);
    expect(warnings).toEqual([
      "org/tiny is served without generation_config.json, which the cache lacks and which could not be fetched: HF_HUB_OFFLINE is set",
    ]);
    truncateSync(join(snapshot, "model.safetensors"), 1000);
    await expect(get()).rejects.toThrow(
      /not complete in the cache at .*: model.safetensors has 1000 of 300000 bytes, and HF_HUB_OFFLINE forbids/,
    );
    delete process.env.HF_HUB_OFFLINE;
    await get();
    expectWhole();
  });

  test("offline, a file that was cut short is not taken, were it one that can be missing", async () => {
    await get();
    process.env.HF_HUB_OFFLINE = "1";
    truncateSync(join(snapshot, "generation_config.json"), 5);
    await expect(get()).rejects.toThrow(/generation_config.json has 5 of 19 bytes, and HF_HUB_OFFLINE forbids/);
  });

  test("offline, what a load needs must be there", async () => {
    process.env.HF_HUB_OFFLINE = "1";
    for (const file of ["model.safetensors", "tokenizer.json", "config.json"]) {
      fill({ without: [file] });
      await expect(get()).rejects.toThrow(`${file} is missing, and HF_HUB_OFFLINE forbids`);
      rmSync(folder, { recursive: true });
    }
  });

  test("offline, a snapshot of another kind is named for what it is", async () => {
    process.env.HF_HUB_OFFLINE = "1";
    fill({ without: [...hub.files.keys()].filter((file) => file !== "README.md") });
    mkdirSync(snapshot, { recursive: true });
    writeFileSync(join(snapshot, "model.gguf"), "");
    await expect(get()).rejects.toThrow(/org\/tiny \(main\) holds GGUF/);
  });

  test("without a network: the hub is asked once, not three times", async () => {
    fill({ without: ["chat_template.jinja"] });
    hub.stop();
    expect(await get({ retryDelayMs: 60_000 })).toBe(snapshot);
    expect(warnings).toEqual([
      expect.stringMatching(/complete could not be checked: .* cannot be reached.*HF_HUB_OFF/),
    ]);
    await hub.start();
    process.env.HF_ENDPOINT = hub.url;
    await get();
    expectWhole();
    expect(warnings.length).toBe(1);
  });

  test("a hub that refuses, or that is none", async () => {
    fill();
    hub.refusals = [{ status: 401, code: "GatedRepo" }];
    expect(await get()).toBe(snapshot);
    expect(warnings.pop()).toMatch(/could not be checked: org\/tiny is gated/);
    hub.refusals = [{ status: 404, code: "RevisionNotFound" }];
    expect(await get()).toBe(snapshot);
    expect(warnings.pop()).toMatch(/could not be checked: org\/tiny has no revision/);
    const portal = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response("<html>log in</html>") });
    process.env.HF_ENDPOINT = `http://127.0.0.1:${portal.port}`;
    expect(await get()).toBe(snapshot);
    expect(warnings.pop()).toMatch(/could not be checked: .* is not a Hugging Face hub/);
    await portal.stop(true);
  });

  test("a small file with other bytes is not forgotten when it cannot be had at once", async () => {
    fill();
    writeFileSync(join(snapshot, "tokenizer.json"), '{"a":2}');
    // A file where the locks' folder should be.
    writeFileSync(join(fixture.cache, ".locks"), "");
    await expect(get()).rejects.toThrow(/cannot be stored/);
    rmSync(join(fixture.cache, ".locks"));
    await get();
    expectWhole();
  });

  test("a busy hub is asked again", async () => {
    fill({ without: ["chat_template.jinja"] });
    hub.refusals = [{ status: 503 }, { status: 429 }];
    await get();
    expectWhole();
    expect(warnings).toEqual([]);
  });

  test("a cache that cannot be written to: what is cut short is not taken", async () => {
    fill({ without: ["chat_template.jinja"] });
    // A file where the locks' folder should be: permission bits do not bind root.
    writeFileSync(join(fixture.cache, ".locks"), "");
    expect(await get()).toBe(snapshot);
    expect(warnings).toEqual([
      expect.stringMatching(
        /served without chat_template.jinja.*could not be fetched: .*cannot be stored in the cache/,
      ),
    ]);
    truncateSync(join(snapshot, "model.safetensors"), 1000);
    await expect(get()).rejects.toThrow(/cannot be stored in the cache/);
    rmSync(join(fixture.cache, ".locks"));
    await get();
    expectWhole();
  });

  test("a whole snapshot of a model that cannot be served is refused, not warned of", async () => {
    hub.add("config.json", JSON.stringify({ ...TINY_CONFIG, architectures: ["T5ForConditionalGeneration"] }));
    fill();
    await expect(get()).rejects.toThrow(/T5ForConditionalGeneration is not supported/);
    expect(warnings).toEqual([]);
  });

  test("aborting is no reason to serve", async () => {
    fill();
    await expect(get({ signal: AbortSignal.abort() })).rejects.toMatchObject({ kind: "aborted" });
  });
});
