/** KV pages on disk, with a real model on the CPU: what another process finds there, whatever became of the one that wrote it. */
import { afterAll, beforeEach, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Fastgen } from "../src/fastgen.ts";
import type { LoadOptions } from "../src/types.ts";
import { until as becomes, missing, startServer } from "./server.ts";

// Engines start one after the other, on a machine that may be busy.
setDefaultTimeout(60_000);

const MODEL = join(import.meta.dir, "../models/fastgen-tiny");
const base = mkdtempSync(join(tmpdir(), "fastgen-kv-cache-dir-"));
afterAll(() => rmSync(base, { recursive: true }));

let dir = "";
let count = 0;
beforeEach(() => {
  dir = join(base, String(count++));
});

const warnings: string[] = [];

async function withEngine<T>(use: (fastgen: Fastgen) => Promise<T>, options: LoadOptions = {}): Promise<T> {
  warnings.length = 0;
  const fastgen = await Fastgen.load(MODEL, {
    device: "cpu",
    threads: 1,
    max_num_seqs: 4,
    kv_cache_memory_bytes: 2 ** 24,
    swap_space: 0.02,
    kv_cache_dir: dir,
    onWarning: (message) => warnings.push(message),
    ...options,
  });
  try {
    await until(() => "kv_cache_dir" in options || fastgen.stats.disk_capacity > 0 || warnings.length > 0);
    return await use(fastgen);
  } finally {
    await fastgen.close();
  }
}

async function until(isTrue: () => boolean): Promise<void> {
  for (let i = 0; i < 1000; i++) {
    if (isTrue()) return;
    await Bun.sleep(10);
  }
  throw new Error("it never came");
}

const PAGES = 6;
const prompt = (flavour = 0) => Array.from({ length: 64 * PAGES + 5 }, (_, i) => 300 + ((i * (7 + flavour)) % 1000));

async function run(fastgen: Fastgen, flavour = 0) {
  const params = { max_tokens: 8, temperature: 0, ignore_eos: true, logprobs: 1 };
  const { choices, usage } = await fastgen.generate(prompt(flavour), params);
  return { tokens: choices[0]!.token_ids, logprobs: choices[0]!.logprobs!.map(({ logprob }) => logprob), usage };
}

/** What is generated without any cache. */
const alone = (flavour = 0) =>
  withEngine((fastgen) => run(fastgen, flavour), { kv_cache_dir: undefined, enable_prefix_caching: false });

/** The pages below `dir`. */
function files(): string[] {
  return readdirSync(dir, { recursive: true, encoding: "utf8" })
    .filter((name) => /[0-9a-f]{64}$/.test(name))
    .map((name) => join(dir, name));
}

test("after a restart the prefix is there, and no bit of the answer is another", async () => {
  const expected = await alone();
  await withEngine(async (fastgen) => {
    expect(await run(fastgen)).toMatchObject({ ...expected, usage: { prompt_tokens: 64 * PAGES + 5 } });
    // Without another request: nothing has to run for the last pages to be written.
    await until(() => fastgen.stats.disk_saved === PAGES);
  });
  expect(files()).toHaveLength(PAGES);
  for (const file of files()) expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(statSync(dir).mode & 0o777).toBe(0o700);
  await withEngine(async (fastgen) => {
    const { tokens, logprobs, usage } = await run(fastgen);
    expect([tokens, logprobs]).toEqual([expected.tokens, expected.logprobs]);
    expect(usage.cached_tokens).toBe(64 * PAGES);
    expect(fastgen.stats).toMatchObject({ disk_hits: PAGES, disk_misses: 0, disk_lost: 0, disk_pages: PAGES });
  });
  expect(warnings).toEqual([]);
});

test("a damaged file costs its page and what follows it, and nothing else", async () => {
  const expected = await alone();
  await withEngine(async (fastgen) => {
    await run(fastgen);
    await until(() => fastgen.stats.disk_saved === PAGES);
  });
  const [one] = files();
  const bytes = readFileSync(one!);
  bytes[bytes.length >> 1]! ^= 1;
  writeFileSync(one!, bytes);
  await withEngine(async (fastgen) => {
    const { tokens, logprobs } = await run(fastgen);
    expect([tokens, logprobs]).toEqual([expected.tokens, expected.logprobs]);
    expect(fastgen.stats.disk_lost).toBe(1);
    await until(() => fastgen.stats.disk_pages === PAGES);
  });
  expect(warnings).toEqual([]);
});

test("pages of another KV format are ignored, with a word about what differs", async () => {
  await withEngine(async (fastgen) => {
    await run(fastgen);
    await until(() => fastgen.stats.disk_saved === PAGES);
  });
  await withEngine(
    async (fastgen) => {
      expect((await run(fastgen)).usage.cached_tokens).toBe(0);
      await until(() => fastgen.stats.disk_saved === PAGES);
    },
    { kv_cache_dtype: "fp8" },
  );
  expect(warnings).toHaveLength(1);
  expect(warnings[0]).toMatch(/ignored: .*kv_cache_dtype was \w+ and is float8_e4m3/);
  // Both are there now.
  await withEngine(async (fastgen) => expect((await run(fastgen)).usage.cached_tokens).toBe(64 * PAGES));
});

test("where pages cannot be written any more, there is one warning, and requests go on", async () => {
  const expected = await alone(1);
  await withEngine(async (fastgen) => {
    rmSync(dir, { recursive: true });
    const { tokens } = await run(fastgen, 1);
    expect(tokens).toEqual(expected.tokens);
    await until(() => warnings.length > 0);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain("the KV cache on disk is off");
    expect((await run(fastgen, 1)).tokens).toEqual(expected.tokens);
    expect(fastgen.stats).toMatchObject({ disk_pages: 0, disk_capacity: 0 });
  });
  expect(existsSync(dir)).toBe(false);
});

test("a folder that cannot be one is refused before anything is loaded", async () => {
  writeFileSync(dir, "");
  for (const folder of [dir, join(dir, "below")]) {
    const error = await withEngine(async () => null, { kv_cache_dir: folder }).catch((thrown) => thrown);
    expect(error).toMatchObject({ kind: "invalid_request", param: "kv_cache_dir" });
    expect(error.message).toContain(`${folder}: a file is where a folder should be`);
  }
});

test("a reset of the cache empties the disk too; an update of the weights leaves it for those who had them", async () => {
  await withEngine(async (fastgen) => {
    await run(fastgen);
    await until(() => fastgen.stats.disk_saved === PAGES);
    await fastgen.updateWeights({ folder: MODEL });
    await until(() => warnings.length > 0);
    expect(warnings[0]).toContain("the weights change");
    expect((await run(fastgen)).usage.cached_tokens).toBe(0);
  });
  await withEngine(async (fastgen) => {
    expect((await run(fastgen)).usage.cached_tokens).toBe(64 * PAGES);
    await fastgen.resetPrefixCache();
    await until(() => files().length === 0);
    expect((await run(fastgen)).usage.cached_tokens).toBe(0);
  });
});

test("killed at any moment, the next one starts on what is whole there", async () => {
  const expected = await Promise.all([0, 1, 2, 3].map(async (flavour) => (await alone(flavour)).tokens));
  const code = `
    const { Fastgen } = await import(${JSON.stringify(join(import.meta.dir, "../src/fastgen.ts"))});
    const options = { device: "cpu", threads: 1, max_num_seqs: 4, kv_cache_memory_bytes: 2 ** 24, swap_space: 0.02, kv_cache_dir: ${JSON.stringify(dir)} };
    const fastgen = await Fastgen.load(${JSON.stringify(MODEL)}, options);
    for (let flavour = 0; ; flavour++) {
      const prompt = Array.from({ length: ${64 * PAGES + 5} }, (_, i) => 300 + ((i * (7 + (flavour % 500))) % 1000));
      await fastgen.generate(prompt, { max_tokens: 2, temperature: 0 });
      console.log(flavour);
    }`;
  for (const answers of [1, 3, 6, 14]) {
    const child = Bun.spawn([process.execPath, "-e", code], { stdout: "pipe" });
    const reader = child.stdout.getReader();
    for (let text = ""; text.split("\n").length <= answers; ) {
      text += new TextDecoder().decode((await reader.read()).value);
    }
    child.kill("SIGKILL");
    await child.exited;
    await withEngine(async (fastgen) => {
      for (const [flavour, tokens] of expected.entries()) expect((await run(fastgen, flavour)).tokens).toEqual(tokens);
      expect(fastgen.stats.disk_lost).toBe(0);
    });
    expect(warnings).toEqual([]);
  }
  expect(files().length).toBeGreaterThan(4 * PAGES);
  expect(readdirSync(dir).filter((name) => name.startsWith("v"))).toHaveLength(1);
});

test("two engines in one folder at once serve from pages of their own", async () => {
  const expected = await alone();
  await withEngine(async (first) => {
    await withEngine(async (second) => {
      const answers = await Promise.all([run(first), run(second), run(first), run(second)]);
      for (const { tokens } of answers) expect(tokens).toEqual(expected.tokens);
      await until(() => first.stats.disk_saved === PAGES && second.stats.disk_saved === PAGES);
    });
  });
  expect(warnings).toEqual([]);
  expect(files()).toHaveLength(2 * PAGES);
  expect(
    readdirSync(dir)
      .filter((name) => name.startsWith("v"))
      .sort(),
  ).toEqual([expect.stringMatching(/-0$/), expect.stringMatching(/-1$/)]);
});

test("after a restart with three engines, every prompt goes to the engine that has its pages", async () => {
  const flavours = [0, 1, 2, 3, 4, 5, 6, 7];
  const options = { data_parallel_size: 3 };
  await withEngine(async (fastgen) => {
    for (const flavour of flavours) await run(fastgen, flavour);
    await until(() => fastgen.stats.disk_saved === flavours.length * PAGES);
  }, options);
  expect(readdirSync(dir).filter((name) => name.startsWith("v"))).toHaveLength(3);
  await withEngine(async (fastgen) => {
    await until(() => fastgen.stats.disk_pages === flavours.length * PAGES);
    // In another order, so that taking turns does not meet the same engines.
    for (const flavour of flavours.toReversed()) {
      expect((await run(fastgen, flavour)).usage.cached_tokens).toBe(64 * PAGES);
    }
    expect(fastgen.stats).toMatchObject({ disk_hits: flavours.length * PAGES, disk_misses: 0 });
  }, options);
});

test.skipIf(missing !== null)(
  `a server that was killed starts again with what it knew (${missing ?? "executable"})`,
  async () => {
    const flags = [
      "--threads",
      "1",
      "--kv-cache-dir",
      dir,
      "--kv-cache-dir-size",
      "1",
      "--kv-cache-memory-bytes",
      "64M",
    ];
    const body = JSON.stringify({ prompt: prompt(), max_tokens: 8, temperature: 0, ignore_eos: true });
    const answers: { choices: { text: string }[]; usage: { prompt_tokens_details: { cached_tokens: number } } }[] = [];
    for (const isRestart of [false, true]) {
      const server = await startServer(flags, MODEL);
      const value = async (series: string) => {
        const metrics = await (await fetch(`${server.url}/metrics`)).text();
        return Number(
          metrics
            .split("\n")
            .find((line) => line.startsWith(`vllm:${series}`))!
            .split(" ")[1],
        );
      };
      try {
        await becomes(async () => (await value('kv_pages_capacity{medium="disk"')) > 0);
        const headers = { "content-type": "application/json" };
        const reply = await fetch(`${server.url}/v1/completions`, { method: "POST", headers, body });
        answers.push((await reply.json()) as (typeof answers)[number]);
        await becomes(() => files().length === PAGES);
        if (isRestart) expect(await value("kv_disk_hits_total")).toBe(PAGES);
      } finally {
        await server.stop();
      }
    }
    const [first, second] = answers;
    expect(second!.choices[0]!.text).toBe(first!.choices[0]!.text);
    expect(answers.map(({ usage }) => usage.prompt_tokens_details.cached_tokens)).toEqual([0, 64 * PAGES]);
  },
);
