/** Which part of a prompt becomes ids, with a tokenizer that makes a token of every byte. */
import { beforeAll, expect, test } from "bun:test";
import fc from "fast-check";
import { mostCharacters } from "../request/request.ts";
import type { ChatTemplate } from "../text/chat-template.ts";
import type { EncodeOptions } from "../text/pieces.ts";
import { Tokenizer } from "../text/tokenizer.ts";
import type { ChatMessage, GenerateOptions, Prompt } from "../types.ts";
import { PromptEncoder, promptField, specialStops } from "./prompt-encoder.ts";

const BOS = 256;
const limits = { vocabSize: 258, maxContext: 4096, stopIds: [] };
const user = (content: string): Prompt => ({ messages: [{ role: "user", content }] });

let tokenizer: Tokenizer;
beforeAll(async () => {
  const bytes = Array.from({ length: 256 }, (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, "0")}>`);
  const vocab = Object.fromEntries([...bytes, "<s>", "plain"].map((token, id) => [token, id]));
  const bos = { id: BOS, content: "<s>", special: true, single_word: false, lstrip: false, rstrip: false };
  tokenizer = await Tokenizer.load({
    tokenizer: JSON.stringify({
      added_tokens: [{ ...bos, normalized: false }],
      decoder: { type: "Sequence", decoders: [{ type: "ByteFallback" }, { type: "Fuse" }] },
      model: { type: "BPE", vocab, merges: [], byte_fallback: true },
    }),
    tokenizerConfig: JSON.stringify({ bos_token: "<s>", tokenizer_class: "LlamaTokenizer" }),
  });
});

/** An encoder whose template writes the last message, and what its template and its tokenizer were given. */
function setUp() {
  const rendered: (AbortSignal | undefined)[] = [];
  const encoded: { length: number; addSpecialTokens: boolean; options: EncodeOptions }[] = [];
  const template = {
    render: (messages: ChatMessage[], _: object, signal?: AbortSignal) => {
      rendered.push(signal);
      return Promise.resolve(messages.at(-1)!.content);
    },
  } as unknown as ChatTemplate;
  const spy: Tokenizer = Object.create(tokenizer, {
    longestToken: { value: tokenizer.longestToken },
    encode: {
      value: (text: string, addSpecialTokens: boolean, options: EncodeOptions) => {
        encoded.push({ length: text.length, addSpecialTokens, options });
        return tokenizer.encode(text, addSpecialTokens, options);
      },
    },
  });
  const encoder = new PromptEncoder(template, spy, limits);
  const encode = async (prompt: Prompt, options: GenerateOptions = {}, room = 100, enough: number | null = null) => {
    const { ids, isWhole } = await encoder.encode(prompt, options, room, enough);
    return { ids: [...ids], isWhole };
  };
  return { encode, encoded, rendered };
}

const bytesOf = (text: string) => [...Buffer.from(text)];

test("the part that is kept is that of all ids, whatever the prompt's form and however little of it is tokenised", async () => {
  const { encode, encoded } = setUp();
  const text = fc.string({ unit: "grapheme", minLength: 1, maxLength: 300, size: "max" });
  const side = fc.constantFrom("left", "right", undefined);
  await fc.assert(
    fc.asyncProperty(
      text,
      fc.integer({ min: 1, max: 12 }),
      side,
      fc.nat(2),
      async (text, most, truncation_side, form) => {
        const all = form === 0 ? [BOS, ...bytesOf(text)] : bytesOf(text);
        const prompt = [text, user(text), all][form]!;
        const options = { truncate_prompt_tokens: most, truncation_side } as const;
        encoded.length = 0;
        // A model of any kind: what is enough for it does not change which part is asked for.
        const found = await encode(prompt, options, 100, 4096);
        const kept = truncation_side === "right" ? all.slice(0, most) : all.slice(-most);
        expect(found).toEqual({ ids: kept, isWhole: all.length <= most });
        for (const { length } of encoded)
          expect(length).toBeLessThanOrEqual(mostCharacters(most, tokenizer.longestToken));
      },
    ),
  );
});

test("-1 stands for what there is room for, and never for nothing", async () => {
  const { encode } = setUp();
  const tail = async (room: number) => (await encode("abcdef", { truncate_prompt_tokens: -1 }, room)).ids;
  expect(await tail(3)).toEqual(bytesOf("def"));
  for (const room of [1, 0, -5]) expect(await tail(room)).toEqual(bytesOf("f"));
  expect(await tail(100)).toEqual([BOS, ...bytesOf("abcdef")]);
  for (const wrong of [0, -2, 1.5, Number.NaN]) {
    await expect(encode("a", { truncate_prompt_tokens: wrong })).rejects.toMatchObject({
      kind: "invalid_request",
      param: "truncate_prompt_tokens",
    });
  }
});

test("a text's start is tokenised as far as it is enough, its end always", async () => {
  const { encode, encoded } = setUp();
  await encode("text", {}, 100, 50);
  await encode("text", {}, 100, null);
  await encode("text", { truncate_prompt_tokens: 2, truncation_side: "right" }, 100, 50);
  await encode("text", { truncate_prompt_tokens: 2 }, 100, 50);
  expect(encoded.map(({ options }) => options.most)).toEqual([50, undefined, 2, undefined]);
});

test("special tokens go around a text, not around what a template has written", async () => {
  const { encode, encoded } = setUp();
  for (const add_special_tokens of [undefined, true, false]) {
    await encode("a", { add_special_tokens });
    await encode(user("a"), { add_special_tokens });
  }
  const added = encoded.map(({ addSpecialTokens }) => addSpecialTokens);
  expect(added).toEqual([true, false, true, true, false, false]);
});

test("an abort reaches the template and the tokenizer", async () => {
  const { encode, encoded, rendered } = setUp();
  const { signal } = new AbortController();
  await encode(user("a"), { signal });
  await encode("a", { signal });
  expect(rendered).toEqual([signal]);
  expect(encoded.map(({ options }) => options.signal)).toEqual([signal, signal]);
});

test("errors name the request's field; a text that cannot fit is not tokenised", async () => {
  const { encode, encoded } = setUp();
  const long = "x".repeat(mostCharacters(limits.maxContext, tokenizer.longestToken) + 1);
  const refused = { kind: "invalid_request", code: "context_length_exceeded" };
  await expect(encode(long)).rejects.toMatchObject({ ...refused, param: "prompt" });
  await expect(encode(user(long))).rejects.toMatchObject({ ...refused, param: "messages" });
  expect(encoded).toEqual([]);
  await expect(encode(user(""), {}, 16, 16)).rejects.toMatchObject({ param: "messages" });
  expect(await encode("", { add_special_tokens: false })).toEqual({ ids: [], isWhole: true });
  await expect(encode([limits.vocabSize])).rejects.toMatchObject({ param: "prompt" });
  expect([promptField(user("")), promptField("a"), promptField([1])]).toEqual(["messages", "prompt", "prompt"]);
});

test("of stop strings those that are a special token's text", () => {
  const stops = specialStops(["<s>", "plain", "no token", ""], tokenizer);
  expect([...stops]).toEqual([[BOS, "<s>"]]);
});
