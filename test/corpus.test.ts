/** Malicious and damaged model folders are refused, or opened, loaded and run: nothing else comes of them. */
import { expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { Fastgen, FastgenError } from "fastgen";
import { openModelFromMemory } from "../src/model/load.ts";
import { readGenerationConfig } from "../src/text/generation-config.ts";
import { Tokenizer } from "../src/text/tokenizer.ts";
import { corpus, goodModel, type Specimen } from "./corpus.ts";

const built = existsSync(path.join(path.dirname(import.meta.dir), "build/libfastgen_cpu.so"));

/** Opens everything that is read before the weights. Throws whatever is no FastgenError. */
async function opens({ name, files }: Specimen): Promise<boolean> {
  try {
    const model = await openModelFromMemory("specimen", files);
    const tokenizer = await Tokenizer.load(model.files);
    readGenerationConfig(model.files, tokenizer);
    await tokenizer.encode("ABBA", true);
    return true;
  } catch (error) {
    if (!(error instanceof FastgenError)) throw new Error(`${name}: ${error}`, { cause: error });
    return false;
  }
}

test("the model that they are made from is a good one", async () => {
  expect(await opens({ name: "good", files: goodModel() })).toBe(true);
});

test("whatever is in the files, opening them succeeds or fails with a reason", async () => {
  let all = 0;
  let opened = 0;
  for (const specimen of corpus()) {
    all++;
    if (await opens(specimen)) opened++;
  }
  // Both happen, so the corpus reaches past the first check.
  expect(all).toBeGreaterThan(2000);
  expect(opened).toBeGreaterThan(100);
  expect(opened).toBeLessThan(all / 2);
}, 120_000);

test.skipIf(!built)(
  `what opens also loads and generates, or says why not${built ? "" : " (skipped: needs build/libfastgen_cpu.so)"}`,
  async () => {
    const folder = mkdtempSync(path.join(tmpdir(), "fastgen-corpus-"));
    let generated = 0;
    try {
      for (const specimen of corpus()) {
        if (!(await opens(specimen))) continue;
        const directory = path.join(folder, "model");
        mkdirSync(directory);
        for (const [name, content] of specimen.files) writeFileSync(path.join(directory, name), content);
        try {
          const options = { device: "cpu", threads: 1, max_num_seqs: 2, kv_cache_gib: 0.01 } as const;
          await using fastgen = await Fastgen.load(directory, options);
          const { choices } = await fastgen.generate([1, 2, 3], { max_tokens: 2, ignore_eos: true });
          expect(choices[0]!.token_ids.length).toBeLessThanOrEqual(2);
          generated++;
        } catch (error) {
          if (!(error instanceof FastgenError)) throw new Error(`${specimen.name}: ${error}`, { cause: error });
          expect(error.kind).not.toBe("internal");
        }
        rmSync(directory, { recursive: true });
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
    expect(generated).toBeGreaterThan(100);
  },
  300_000,
);
