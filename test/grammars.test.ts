/**
 * Grammars through the whole engine: the CPU library, llguidance, and the built-in model, so hot that it would say anything.
 * Whatever ends by itself must be what its grammar says, in batches, with little memory, and from any seed.
 */
import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { chooseDevice, engineConfig } from "../src/device.ts";
import { EngineFront } from "../src/engine/front.ts";
import { type EngineRequest, PLAIN } from "../src/engine/protocol.ts";
import { type EngineConfig, GREEDY } from "../src/engine-config.ts";
import { newMatcher } from "../src/grammar/compile.ts";
import { Llguidance, llguidancePath } from "../src/grammar/llguidance.ts";
import { TestVocabulary } from "../src/grammar/testing.ts";
import { GrammarTokenizer } from "../src/grammar/tokenizer.ts";
import { openModel } from "../src/model/load.ts";

const folder = join(import.meta.dir, "../models/fastgen-tiny");
const isBuilt = existsSync(join(import.meta.dir, "../build/libfastgen_cpu.so")) && llguidancePath() !== null;
if (!isBuilt) console.log("skipped: the CPU library or llguidance is not built");
const engineTest = test.skipIf(!isBuilt);

/** A grammar, and whether a text is what it says. */
interface Case {
  lark: string;
  isValid(text: string): boolean;
}

const regex = (source: string): Case => ({
  lark: `start: /${source}/`,
  isValid: (text) => new RegExp(`^(${source})$`).test(text),
});

const schema = {
  type: "object",
  properties: {
    identifier: { type: "integer", minimum: 0, maximum: 999 },
    description_of_the_item: { enum: ["small", "large and heavy"] },
    tags: { type: "array", items: { type: "boolean" }, maxItems: 3 },
  },
  required: ["identifier", "description_of_the_item", "tags"],
  additionalProperties: false,
};

const object: Case = {
  lark: `start: %json ${JSON.stringify(schema)}`,
  isValid(text) {
    const { identifier, description_of_the_item, tags, ...rest } = JSON.parse(text);
    return (
      Number.isInteger(identifier) &&
      identifier >= 0 &&
      identifier <= 999 &&
      schema.properties.description_of_the_item.enum.includes(description_of_the_item) &&
      tags.length <= 3 &&
      tags.every((tag: unknown) => typeof tag === "boolean") &&
      Object.keys(rest).length === 0
    );
  },
};

const cases: Case[] = [
  object,
  regex("[0-9]{4}-[0-9]{2}-[0-9]{2}"),
  regex("(yes|no), (of course|never)"),
  { lark: 'start: "(" start ")" | "x"', isValid: (text) => /^\(*x\)*$/.test(text) && text.length % 2 === 1 },
  regex("[a-z ]{300,400}"),
  { lark: 'start: "the whole text is known before it begins"', isValid: (text) => text.endsWith("before it begins") },
];

class Engine {
  private constructor(
    private readonly front: EngineFront,
    private readonly words: TestVocabulary,
    private readonly tokenizer: GrammarTokenizer,
  ) {}

  static async start(changes: Partial<EngineConfig> = {}): Promise<Engine> {
    const words = await TestVocabulary.load(folder);
    const config = engineConfig(await openModel(folder), chooseDevice("cpu"), { max_model_len: 512 });
    const front = await EngineFront.start({ ...config, ...changes });
    return new Engine(front, words, new GrammarTokenizer(Llguidance.open(), words.vocabulary));
  }

  get preemptions(): number {
    return this.front.stats.preemptions;
  }

  request(seed: number, lark: string | null, changes: Partial<EngineRequest> = {}): EngineRequest {
    const matcher = lark === null ? null : newMatcher(Llguidance.open(), this.tokenizer.pointer, { lark });
    return {
      id: 0,
      prompt: Int32Array.from({ length: 5 + ((seed * 37) % 60) }, (_, i) => 10 + ((seed * 13 + i * 7) % 1000)),
      sampling: { ...GREEDY, temperature: 1.5, seed: BigInt(seed) },
      maxTokens: 250,
      minTokens: 0,
      stopIds: Int32Array.from(this.words.vocabulary.stopIds),
      logprobs: -1,
      promptLogprobs: -1,
      ...PLAIN,
      grammar: matcher === null ? null : { matcher, after: [] },
      ...changes,
    };
  }

  /** The outputs of requests that run side by side. */
  run(requests: EngineRequest[]) {
    const outputs = requests.map(() => ({
      tokens: [] as number[],
      finish: "",
      reason: null as string | null,
      text: "",
    }));
    const { promise, resolve, reject } = Promise.withResolvers<typeof outputs>();
    let left = requests.length;
    const { stopIds } = this.words.vocabulary;
    this.front.add(requests, (i, event) => {
      const output = outputs[i]!;
      if (event.token >= 0) output.tokens.push(event.token);
      if (event.error) reject(event.error);
      if (event.finish === "") return;
      Object.assign(output, { finish: event.finish, reason: event.reason });
      output.text = this.words.tokenizer.decode(Int32Array.from(output.tokens.filter((id) => !stopIds.includes(id))));
      if (--left === 0) resolve(outputs);
    });
    return promise;
  }

  close(): Promise<void> {
    return this.front.close();
  }
}

engineTest(
  "what ends by itself is what its grammar says, and the same alone, in a batch, and where memory is short",
  async () => {
    const outputs = [];
    const pageBytes = 64 * 2 * 5 * 4 * 32 * 2;
    const runs: [changes: Partial<EngineConfig>, logprobs: number][] = [
      [{ maxSeqs: 1 }, -1],
      [{ maxSeqs: 32 }, -1],
      [{ maxSeqs: 32, kvBytes: 9 * pageBytes }, -1],
      // With log probabilities the sampler takes no grammar along, and every token is sampled.
      [{ maxSeqs: 32 }, 0],
    ];
    let preemptions = 0;
    for (const [changes, logprobs] of runs) {
      const engine = await Engine.start(changes);
      const plan = Array.from({ length: 60 }, (_, seed) => {
        const sampling = { ...GREEDY, temperature: 1.5, seed: BigInt(seed), presencePenalty: seed % 7 === 0 ? 1 : 0 };
        const more: Partial<EngineRequest> = { sampling, logprobs: seed % 5 === 0 ? 2 : logprobs };
        if (seed % 11 === 0) more.badWords = [Int32Array.of(100 + seed), Int32Array.of(5, 6)];
        // Every seventh has no grammar.
        return engine.request(seed, seed % 7 === 6 ? null : cases[seed % 6]!.lark, more);
      });
      outputs.push(await engine.run(plan));
      preemptions += engine.preemptions;
      await engine.close();
    }
    expect(outputs[1]).toEqual(outputs[0]!);
    expect(outputs[2]).toEqual(outputs[0]!);
    expect(outputs[3]).toEqual(outputs[0]!);
    expect(preemptions).toBeGreaterThan(0);
    let valid = 0;
    for (const [seed, { finish, reason, text }] of outputs[0]!.entries()) {
      if (seed % 7 === 6 || finish !== "stop") continue;
      expect({ seed, text, reason, isValid: cases[seed % 6]!.isValid(text) }).toMatchObject({
        reason: null,
        isValid: true,
      });
      valid++;
    }
    expect(valid).toBeGreaterThan(30);
  },
  120_000,
);

engineTest("a text is cut at max_tokens, and what is aborted or paused disturbs nobody", async () => {
  const engine = await Engine.start({ maxSeqs: 8 });
  const cut = await engine.run([engine.request(1, object.lark, { maxTokens: 6 })]);
  expect(cut[0]).toMatchObject({ finish: "length", reason: null });
  expect(cut[0]!.tokens.length).toBe(6);
  const later = await engine.run(Array.from({ length: 20 }, (_, i) => engine.request(i, object.lark)));
  for (const { text, finish } of later) if (finish === "stop") expect(object.isValid(text)).toBe(true);
  await engine.close();
});
