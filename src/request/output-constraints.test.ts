/** Who holds what of a grammar, and who frees it: every matcher that llguidance makes is counted. */
import { afterEach, beforeAll, beforeEach, expect, spyOn, test } from "bun:test";
import { existsSync } from "node:fs";
import * as path from "node:path";
import type { FastgenError } from "../errors.ts";
import { Fastgen } from "../fastgen.ts";
import { Llguidance, llguidancePath } from "../grammar/llguidance.ts";
import { Matcher } from "../grammar/matcher.ts";
import type { SamplingParams } from "../params.ts";
import { Tokenizer } from "../text/tokenizer.ts";
import type { GenerateOptions } from "../types.ts";
import { freeMatchers, giveMatchers, type OutputConstraint, OutputConstraints } from "./output-constraints.ts";
import { engineRequests, resolveParams } from "./request.ts";

const root = path.join(import.meta.dir, "../..");
const hasGrammars = llguidancePath() !== null;
const hasEngine = hasGrammars && existsSync(path.join(root, "build/libfastgen_cpu.so"));
if (!hasEngine) console.log("skipped: the CPU library or llguidance is not built");
const grammarTest = test.skipIf(!hasGrammars);
const engineTest = test.skipIf(!hasEngine);

const limits = { vocabSize: 2048, maxContext: 100, stopIds: [4] };
let tokenizer: Tokenizer;
beforeAll(async () => {
  const text = await Bun.file(path.join(root, "models/fastgen-tiny/tokenizer.json")).text();
  tokenizer = await Tokenizer.load({ tokenizer: text });
});

let constraints: OutputConstraints;
/** Addresses of matchers that this thread made, and that it freed, in their order. */
let made: number[] = [];
let freed: number[] = [];
let spies: { mockRestore(): void }[] = [];
beforeEach(() => {
  [made, freed, spies] = [[], [], []];
  constraints = new OutputConstraints(tokenizer, limits.vocabSize, limits.stopIds);
  if (!hasGrammars) return;
  const { calls } = Llguidance.open();
  const { llg_clone_matcher: clone, llg_free_matcher: free, fastgen_release_matcher: release } = calls;
  spies = [
    spyOn(calls, "llg_clone_matcher").mockImplementation(((pointer) => {
      const address = clone(pointer);
      made.push(address as number);
      return address;
    }) as typeof clone),
    spyOn(calls, "llg_free_matcher").mockImplementation(((pointer) => {
      freed.push(pointer as number);
      free(pointer);
    }) as typeof free),
    spyOn(calls, "fastgen_release_matcher").mockImplementation(((pointer) => {
      freed.push(pointer as number);
      release(pointer);
    }) as typeof release),
  ];
});
afterEach(async () => {
  await constraints.close();
  for (const spy of spies) spy.mockRestore();
});

const freeAll = (matchers: number[]) => {
  for (const matcher of matchers) new Matcher(matcher).free();
};
const structured = (lark: string) => ({ structured_outputs: { grammar: lark } });

/** A constraint whose grammar is there. */
async function constraintOf(params: SamplingParams, options: GenerateOptions = {}): Promise<OutputConstraint> {
  const resolved = resolveParams(params, {});
  const first = await constraints.of(resolved, options);
  if (!first.compiling) return first;
  await first.compiling;
  const second = await constraints.of(resolved, options);
  first.release();
  return second;
}

const failureOf = (promise: Promise<unknown>): Promise<FastgenError> =>
  promise.then(
    () => {
      throw new Error("it did not fail");
    },
    (error) => error,
  );

test("what asks for no form has no grammar", async () => {
  const constraint = await constraintOf({});
  expect(constraint).toMatchObject({ grammar: null, thinking: null });
  constraint.release();
  expect(freed).toEqual([]);
});

test("the limit of thinking has the tokens of its marks, also where a line end follows", async () => {
  const limit = { budget: 3, begin: "<think>", end: "</think>" };
  const { thinking } = await constraintOf({}, { thinking: limit });
  const encoded = (mark: string) =>
    Promise.all([mark, `${mark}\n`, `${mark}\n\n`].map((text) => tokenizer.encode(text, false)));
  const [isBegin, isEnd] = await Promise.all([encoded("<think>"), encoded("</think>")]);
  expect(thinking).toEqual({ budget: 3, isBegin, end: isEnd[0]!, isEnd });
  const open = await constraintOf({}, { thinking: { ...limit, begin: null } });
  expect(open.thinking).toEqual({ ...thinking!, isBegin: [] });
});

grammarTest("each choice has a matcher of its own, and the grammar is freed once, after its last user", async () => {
  const params = resolveParams({ n: 3 }, {});
  const asked = { ...structured('start: "a"'), n: 3 };
  const [one, other] = await Promise.all([constraintOf(asked), constraintOf(asked)]);
  const requests = engineRequests(params, Int32Array.of(1), limits, "prompt", true, one);
  expect(requests.map(({ grammar }) => grammar?.matcher)).toEqual(made);
  expect(new Set(made).size).toBe(3);
  one.release();
  freeMatchers(requests);
  expect(freed).toEqual(made);
  // The cache and the other request still hold the grammar itself.
  await constraints.close();
  expect(freed).toHaveLength(3);
  other.release();
  expect(freed).toHaveLength(4);
  expect(made).not.toContain(freed[3]);
});

grammarTest("a request does not wait for a grammar that takes long: its matchers come later", async () => {
  // The first compile opens the vocabulary.
  const asked = { ...structured('start: "slow"'), n: 2 };
  const params = resolveParams(asked, {});
  const constraint = await constraints.of(params, {});
  const requests = engineRequests(params, Int32Array.of(1), limits, "prompt", true, constraint);
  expect(requests.map(({ grammar }) => grammar!.matcher)).toEqual([null, null]);
  freeMatchers(requests);
  const given: unknown[] = [];
  await giveMatchers({ giveMatchers: (...both) => given.push(both) }, [7, 8], constraint.compiling!);
  expect(given).toEqual([[[7, 8], made]]);
  const ended = () => {
    throw new Error("the engine has ended");
  };
  await expect(giveMatchers({ giveMatchers: ended }, [9], constraint.compiling!)).rejects.toThrow("has ended");
  expect([made.length, freed]).toEqual([3, made.slice(2)]);
  constraint.release();
  freeAll(made.slice(0, 2));
  // The cache has it: another request gets its matchers at once.
  const second = await constraints.of(params, {});
  expect([second.compiling, typeof second.grammar!.newMatcher()]).toEqual([null, "number"]);
  second.release();
  freeAll(made.slice(3));
});

grammarTest("a grammar holds from behind a token", async () => {
  const source = { lark: 'start: "a"' };
  const grammar = { source, after: ["<|im_end|>"], param: "tools" };
  const constraint = await constraintOf({}, { grammar });
  expect(constraint.grammar!.after).toEqual([Int32Array.of(tokenizer.tokenToId("<|im_end|>")!)]);
  constraint.release();
});

grammarTest("a grammar that does not compile is refused by its field's name, and holds nothing", async () => {
  const refused = await failureOf(constraintOf(structured('start: "a" missing')));
  expect(refused).toMatchObject({ kind: "invalid_request", param: "structured_outputs" });
  expect(refused.message).toStartWith("structured_outputs: the grammar cannot be used");
  const grammar = { source: { lark: 'start: "a" (' }, after: [], param: "tools" };
  expect(await failureOf(constraintOf({}, { grammar }))).toMatchObject({ kind: "invalid_request", param: "tools" });
  await constraints.close();
  expect([made, freed]).toEqual([[], []]);
});

grammarTest(
  "who gives up while it compiles is told at once; what compiles nevertheless is kept, and freed once",
  async () => {
    const controller = new AbortController();
    const options = { signal: controller.signal };
    const lark = 'start: "given up"';
    const given = failureOf(constraintOf(structured(lark), options));
    controller.abort();
    expect((await given).kind).toBe("aborted");
    expect((await failureOf(constraintOf(structured(lark), options))).kind).toBe("aborted");
    (await constraintOf(structured(lark))).release();
    expect(freed).toEqual([]);
    await constraints.close();
    expect(freed).toHaveLength(1);
  },
);

grammarTest("after close() nothing is compiled", async () => {
  await constraints.close();
  expect((await failureOf(constraintOf(structured('start: "a"')))).kind).toBe("unavailable");
});

engineTest(
  "requests that are refused leave no matcher behind, whoever refuses them",
  async () => {
    const fastgen = await Fastgen.load(undefined, { device: "cpu", threads: 1 });
    const prompt = Int32Array.of(10, 11, 12);
    const params = { ...structured('start: "yes"'), n: 3 };
    try {
      const { choices } = await fastgen.generate(prompt, params);
      expect(choices.map(({ text }) => text)).toEqual(["yes", "yes", "yes"]);
      // The engine's thread frees what it has taken.
      expect(made.splice(0)).toHaveLength(3);
      // Several grammars are compiled one after the other: the engine has most of these requests before.
      const refused = Array.from({ length: 6 }, (_, i) => structured(`start: "${i}" missing`));
      const errors = await Promise.all(refused.map((one) => failureOf(fastgen.start(prompt, one))));
      expect(errors.map(({ kind, param }) => [kind, param])).toEqual(
        refused.map(() => ["invalid_request", "structured_outputs"]),
      );
      const texts = Array.from({ length: 6 }, (_, i) => `text ${i}`);
      const answers = texts.map((text) => fastgen.generate(prompt, structured(`start: "${text}"`)));
      expect((await Promise.all(answers)).map(({ choices }) => choices[0]!.text)).toEqual(texts);
      expect(made.splice(0)).toHaveLength(6);
      // The prompt is computed while a grammar is compiled that takes for ever.
      const patterns = Array.from({ length: 30 }, (_, i) => ({ pattern: `a${i}.*b` }));
      const endless = { structured_outputs: { json: { type: "string", allOf: patterns } } };
      const stop = new AbortController();
      const { prompt_tokens } = fastgen.stats;
      const given = failureOf(fastgen.start(prompt, endless, { signal: stop.signal }));
      const isComputed = async () => {
        while (fastgen.stats.prompt_tokens < prompt_tokens + prompt.length) await Bun.sleep(1);
      };
      await Promise.race([isComputed(), given]);
      stop.abort();
      expect((await given).kind).toBe("aborted");
      // Nothing of those that were refused is left in the engine.
      while (fastgen.stats.running + fastgen.stats.waiting > 0) await Bun.sleep(1);
      made = [];
      expect(freed).toEqual([]);
      const tooMany = { ...params, max_tokens: 1e6 };
      expect(await failureOf(fastgen.start(prompt, tooMany))).toMatchObject({ kind: "invalid_request" });
      expect(made).toEqual([]);
      // The engine ends while the request is on its way.
      const late = failureOf(fastgen.start(prompt, params));
      const closing = fastgen.close();
      expect((await late).kind).toBe("unavailable");
      expect(made).toHaveLength(3);
      expect(freed.filter((address) => made.includes(address))).toEqual(made);
      await closing;
      // And the grammar itself, which the cache held.
      expect(freed).toHaveLength(3 + 1 + texts.length);
    } finally {
      await fastgen.close();
    }
  },
  30_000,
);
