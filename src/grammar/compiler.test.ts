/** The compiler through its own thread: what is shared, kept, refused, given up, and what it costs in time. */
import { afterAll, beforeAll, expect, spyOn, test } from "bun:test";
import * as path from "node:path";
import { Worker } from "node:worker_threads";
import type { FastgenError } from "../errors.ts";
import { MAX_COMPILE_SECONDS, MAX_STRUCTURE_LENGTH } from "../limits.ts";
import { Tokenizer } from "../text/tokenizer.ts";
import { CompiledGrammar } from "./compiled-grammar.ts";
import { GrammarCompiler } from "./compiler.ts";
import { GrammarCache } from "./grammar-cache.ts";
import { Llguidance } from "./llguidance.ts";
import { Matcher } from "./matcher.ts";
import { TestVocabulary } from "./testing.ts";

const folder = path.join(import.meta.dir, "../../models/fastgen-tiny");
let tokenizer: Tokenizer;
let compiler: GrammarCompiler;

beforeAll(async () => {
  tokenizer = await Tokenizer.load({ tokenizer: await Bun.file(path.join(folder, "tokenizer.json")).text() });
  compiler = GrammarCompiler.open(tokenizer, 2048, [4]);
});

afterAll(() => compiler.close());

/** The error of a grammar that is refused. */
async function refusal(lark: string, signal?: AbortSignal): Promise<FastgenError> {
  return compiler.compile({ lark }, signal).then(
    () => {
      throw new Error("the grammar was compiled");
    },
    (error) => error,
  );
}

const schema = (value: unknown) => `start: %json ${JSON.stringify(value)}`;

test("matchers of one grammar go their own ways, also after it is released", async () => {
  const grammar = await compiler.compile({ lark: "start: /[ab]{2}/" });
  const [first, second] = [new Matcher(grammar.newMatcher()), new Matcher(grammar.newMatcher())];
  grammar.release();
  const [a, b] = await Promise.all(["a", "b"].map((text) => tokenizer.encode(text, false)));
  expect(first.consume(a![0]!)).toBe(true);
  expect(first.consume(b![0]!)).toBe(true);
  expect(first.stopped).toBe(true);
  expect(second.stopped).toBe(false);
  expect(second.consume(b![0]!)).toBe(true);
  first.free();
  second.free();
});

test("one text is compiled once, for requests at the same time and for later ones", async () => {
  const source = { lark: 'start: "once"' };
  const [first, second] = await Promise.all([compiler.compile(source), compiler.compile(source)]);
  expect(second).toBe(first);
  const third = await compiler.compile({ lark: 'start: "once"' });
  expect(third).toBe(first);
  for (const grammar of [first, second, third]) grammar.release();
  const other = await compiler.compile({ lark: 'start: "twice"' });
  expect(other).not.toBe(first);
  other.release();
});

test("a grammar that does not parse is refused with the place and the reason, and the next one compiles", async () => {
  const error = await refusal('start: "a" (');
  expect(error.kind).toBe("invalid_request");
  expect(error.message).toMatch(/^the grammar cannot be used: 1\(/);
  expect(error.message).not.toContain("backtrace");
  (await compiler.compile({ lark: 'start: "a"' })).release();
});

test("a grammar that no text fits is refused", async () => {
  for (const lark of ["start: start", "start: /a[^\\x{0}-\\x{10ffff}]/"]) {
    const error = await refusal(lark);
    expect([error.kind, error.message]).toEqual(["invalid_request", "the grammar cannot be used: no text fits it"]);
  }
});

test("a NUL character and a text that is too long are refused", async () => {
  expect((await refusal('start: "\0"')).kind).toBe("invalid_request");
  const error = await refusal(`start: "${"a".repeat(MAX_STRUCTURE_LENGTH)}"`);
  expect(error.message).toContain(`at most ${MAX_STRUCTURE_LENGTH}`);
});

test("a failure inside llguidance is an error like others: the process and the compiler live", async () => {
  // More than 65,525 symbols break an assertion, which is a panic; the text is within its bound.
  const error = await refusal(`start: ${'"a"/b/'.repeat(33_000)}`);
  expect(error.kind).toBe("invalid_request");
  expect(error.message).not.toContain("backtrace");
  (await compiler.compile({ lark: 'start: "after"' })).release();
}, 30_000);

test("deep chains of references do not overflow a stack", async () => {
  const names = Array.from({ length: 4000 }, (_, i) => `d${i}`);
  const $defs: Record<string, unknown> = { d4000: { type: "string" } };
  names.forEach((name, i) => {
    $defs[name] = { type: "array", items: { $ref: `#/$defs/d${i + 1}` } };
  });
  const grammar = await compiler.compile({ lark: schema({ $ref: "#/$defs/d0", $defs }) }).catch((error) => error);
  if (grammar instanceof CompiledGrammar) grammar.release();
  else expect(grammar.kind).toBe("invalid_request");
  const rules = Array.from({ length: 14_000 }, (_, i) => `r${i}: "x" r${i + 1}`).join("\n");
  const chain = await compiler.compile({ lark: `start: r0\n${rules}\nr14000: "a"` }).catch((error) => error);
  if (chain instanceof CompiledGrammar) chain.release();
  else expect(chain.kind).toBe("invalid_request");
}, 30_000);

const patterns = Array.from({ length: 30 }, (_, i) => ({ pattern: `a${i}.*b` }));

test("a grammar that takes too long is given up, and others go on", async () => {
  const error = await refusal(schema({ type: "string", allOf: patterns }));
  expect(error.kind).toBe("invalid_request");
  expect(error.message).toContain(`longer than ${MAX_COMPILE_SECONDS} s`);
  (await compiler.compile({ lark: 'start: "meanwhile"' })).release();
}, 30_000);

test("what was given up ends soon, so that more of it than may run at once blocks nobody", async () => {
  const words = await TestVocabulary.load();
  for (let i = 0; i < 5; i++) {
    const compile = () => words.matcher(schema({ type: "string", minLength: i, allOf: patterns }), 0.2);
    expect(compile).toThrow("longer than 0.2 s");
    await Bun.sleep(100);
  }
  const running = Llguidance.open().calls.fastgen_running_compiles;
  for (let wait = 0; wait < 50 && running() > 0n; wait++) await Bun.sleep(20);
  expect(running()).toBe(0n);
}, 30_000);

test("an abort is heard at once; the others who wait for the same grammar get it", async () => {
  expect((await refusal('start: "never"', AbortSignal.abort())).kind).toBe("aborted");
  const controller = new AbortController();
  const lark = schema({ type: "object", properties: { a: { type: "integer" } }, required: ["a"] });
  const [first, second] = [refusal(lark, controller.signal), compiler.compile({ lark })];
  controller.abort();
  expect((await first).kind).toBe("aborted");
  const grammar = await second;
  new Matcher(grammar.newMatcher()).free();
  grammar.release();
});

test("with a second thread, a grammar that takes long holds nobody up", async () => {
  const two = GrammarCompiler.open(tokenizer, 2048, [4], 2);
  const compileAll = async (...names: string[]) => {
    const grammars = await Promise.all(names.map((name) => two.compile({ lark: `start: "${name}"` })));
    for (const grammar of grammars) grammar.release();
  };
  // The second thread starts once the first has opened the vocabulary.
  await compileAll("first");
  await compileAll("one each", "of the threads");
  const ended: string[] = [];
  const slow = two.compile({ lark: schema({ type: "string", allOf: patterns }) }).catch((error: FastgenError) => {
    ended.push("slow");
    return error;
  });
  for (const name of ["a", "b"]) {
    const grammar = await two.compile({ lark: `start: "${name}"` });
    ended.push(name);
    new Matcher(grammar.newMatcher()).free();
    grammar.release();
  }
  expect(await slow).toMatchObject({ kind: "invalid_request" });
  expect(ended).toEqual(["a", "b", "slow"]);
  await two.close();
}, 30_000);

test("what is prepared can be used, and closed unused", async () => {
  const [used, unused] = [1, 2].map((threads) => GrammarCompiler.open(tokenizer, 2048, [4], threads));
  for (const one of [used!, used!, unused!]) one.prepare();
  const grammars = await Promise.all(["a", "b", "c"].map((name) => used!.compile({ lark: `start: "${name}"` })));
  for (const grammar of grammars) grammar.release();
  await Promise.all([used!.close(), unused!.close()]);
});

test("every thread ends with the compiler, and none starts after that", async () => {
  const [two, none] = [2, 1].map((threads) => GrammarCompiler.open(tokenizer, 2048, [4], threads));
  const [send, end] = [spyOn(Worker.prototype, "postMessage"), spyOn(Worker.prototype, "terminate")];
  try {
    // The second thread starts once the first has opened the vocabulary.
    (await two!.compile({ lark: 'start: "a"' })).release();
    await Promise.all([two!.close(), none!.close()]);
    expect(end).toHaveBeenCalledTimes(2);
    send.mockClear();
    for (const one of [two!, none!]) one.prepare();
    expect(send).not.toHaveBeenCalled();
  } finally {
    for (const spy of [send, end]) spy.mockRestore();
  }
});

test("after close() nothing is compiled, and who waited is told", async () => {
  const closing = GrammarCompiler.open(tokenizer, 2048, [4]);
  const waiting = closing.compile({ lark: 'start: "late"' }).catch((error) => error);
  await closing.close();
  expect((await waiting).kind).toBe("unavailable");
  await closing.close();
  await expect(closing.compile({ lark: 'start: "a"' })).rejects.toMatchObject({ kind: "unavailable" });
});

test("a grammar comes with the next request, although the main thread has not come to its messages", async () => {
  (await compiler.compile({ lark: 'start: "opened"' })).release();
  let come = false;
  const first = compiler.compile({ lark: 'start: "came first"' }).then((grammar) => {
    come = true;
    grammar.release();
  });
  // Both are busy: this thread, and the one that compiles.
  Bun.sleepSync(300);
  expect(come).toBe(false);
  const second = compiler.compile({ lark: 'start: "came second"' });
  // No message is delivered between these.
  for (let i = 0; i < 50; i++) await null;
  expect(come).toBe(true);
  await first;
  (await second).release();
});

test("grammars that were released take no memory", async () => {
  const words = await TestVocabulary.load();
  const library = Llguidance.open();
  const record = (i: number) => ({
    type: "object",
    properties: Object.fromEntries(
      ["a", "b", "c", "d"].map((name) => [`${name}${i}`, { type: "string", maxLength: 40 }]),
    ),
  });
  const make = (i: number) => new CompiledGrammar(library, words.matcher(schema(record(i))).pointer);
  const rss = () => process.memoryUsage().rss / 1024 ** 2;
  for (let i = 0; i < 300; i++) make(i).use().release();
  const before = rss();
  // Each takes about 60 KB while it is used.
  for (let i = 300; i < 2300; i++) make(i).use().release();
  expect(rss() - before).toBeLessThan(40);
  library.calls.fastgen_free_released();
});

test("the cache keeps what was used last, within both of its bounds, and lets the rest go", async () => {
  const words = await TestVocabulary.load();
  const make = (lark: string) => new CompiledGrammar(Llguidance.open(), words.matcher(lark).pointer);
  const grammars = new Map(['start: "a"', 'start: "b"', 'start: "c"'].map((text) => [text, make(text)]));
  const [a, b, c] = grammars.keys();
  const cache = new GrammarCache(2, 1000);
  cache.add(a!, grammars.get(a!)!);
  cache.add(b!, grammars.get(b!)!);
  expect(cache.get(a!)).toBe(grammars.get(a!)!);
  cache.add(c!, grammars.get(c!)!);
  expect(cache.get(b!)).toBeNull();
  expect(() => grammars.get(b!)!.newMatcher()).toThrow("released");
  expect(cache.get(a!)).not.toBeNull();
  expect(cache.size).toBe(2);
  // One text beyond the length alone stays, so that it can be used at all.
  const long = `start: "${"x".repeat(1000)}"`;
  cache.add(long, make(long));
  expect(cache.size).toBe(1);
  expect(cache.get(long)).not.toBeNull();
  cache.clear();
  expect(cache.size).toBe(0);
});
