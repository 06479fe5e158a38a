/**
 * Malicious and damaged model folders, for tests: made here from fixed seeds instead of stored. Each is a small good model
 * with one thing wrong, or with something that merely looks wrong.
 */
import fc from "fast-check";
import { safetensors, tensorFile, tinyModel, tinyShapes } from "../src/model/test-files.ts";

export interface Specimen {
  name: string;
  files: Map<string, Uint8Array>;
}

const encode = (text: string) => new TextEncoder().encode(text);
const json = (value: unknown) => encode(JSON.stringify(value));

/** Ids 0 to 49, as many as the tiny model has embeddings; the last is a special token. */
const TOKENIZER = {
  version: "1.0",
  truncation: null,
  padding: null,
  added_tokens: [
    { id: 49, content: "</s>", single_word: false, lstrip: false, rstrip: false, normalized: false, special: true },
  ],
  normalizer: null,
  pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
  post_processor: null,
  decoder: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
  model: {
    type: "BPE",
    vocab: Object.fromEntries(Array.from({ length: 49 }, (_, id) => [String.fromCharCode(0x41 + id), id])),
    merges: [],
  },
};

/** A model that opens, loads and runs. */
export function goodModel(): Map<string, Uint8Array> {
  return tinyModel()
    .set("tokenizer.json", json(TOKENIZER))
    .set("tokenizer_config.json", json({ eos_token: "</s>" }))
    .set("generation_config.json", json({ eos_token_id: 49, temperature: 0.5, max_new_tokens: 20 }));
}

const JSON_FILES = ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"] as const;

/** Texts that are no JSON, or are it in a way that few expect. */
const TEXTS: [name: string, text: string | Uint8Array][] = [
  ["nothing", ""],
  ["a NUL", "\0"],
  ["null", "null"],
  ["a number", "1e999"],
  ["a list", "[]"],
  ["a string", '"config"'],
  ["an open brace", "{"],
  ["a byte order mark", "\ufeff{}"],
  ["no UTF-8", Uint8Array.of(0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d)],
  ["UTF-16", new Uint8Array(new Uint16Array([...'{"a":1}'].map((c) => c.charCodeAt(0))).buffer)],
  ["a deep list", "[".repeat(200_000) + "]".repeat(200_000)],
  ["a deep object", `${'{"a":'.repeat(50_000)}1${"}".repeat(50_000)}`],
  ["an open deep list", "[".repeat(1_000_000)],
  ["__proto__", '{"__proto__":{"architectures":["LlamaForCausalLM"]},"constructor":{"prototype":{"x":1}}}'],
  ["a key a hundred thousand times", `{${Array(100_000).fill('"a":1').join()}}`],
  ["half a surrogate pair", '{"architectures":["\\ud800"],"eos_token":"\\udfff"}'],
  ["a very long number", `{"vocab_size":${"9".repeat(100_000)}}`],
  ["a very long string", `{"model_type":"${"x".repeat(3_000_000)}"}`],
  ["spaces", " ".repeat(3_000_000)],
];

/** Values that a field may not have, or only just. */
const VALUES: unknown[] = [
  null, true, "", "\0", "../../etc/passwd", "x".repeat(100_000), [], {}, [[[[]]]], -1, 0, 1, 0.5, -0.5, 1e-46, 1e38, 1e308,
  2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 53, -(2 ** 31), "Infinity", { __proto__: null }, Array(10_000).fill(0), { length: 2 ** 32 },
]; // biome-ignore format: one value a line would fill the screen

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** The places in a value, each with a way to put another value there. */
function* places(value: Json, put: (value: Json) => void): Generator<(value: Json) => void> {
  yield put;
  if (value === null || typeof value !== "object") return;
  const holder = value as Record<string, Json>;
  for (const key of Object.keys(holder).slice(0, 40)) {
    yield* places(holder[key]!, (other) => {
      holder[key] = other;
    });
  }
}

function* badTexts(): Generator<Specimen> {
  for (const file of [...JSON_FILES, "model.safetensors.index.json"]) {
    for (const [name, text] of TEXTS) {
      const files = goodModel().set(file, typeof text === "string" ? encode(text) : text);
      if (file.includes("index")) files.delete("model.safetensors");
      yield { name: `${file}: ${name}`, files };
    }
  }
}

/** One value of a JSON file replaced by another. */
function* badValues(seed: number): Generator<Specimen> {
  const choice = fc.record({ place: fc.nat(10_000), value: fc.constantFrom(...VALUES) });
  for (const file of JSON_FILES) {
    for (const [i, { place, value }] of fc.sample(choice, { seed, numRuns: 400 }).entries()) {
      const files = goodModel();
      let whole = JSON.parse(new TextDecoder().decode(files.get(file))) as Json;
      const all = [...places(whole, (other) => (whole = other))];
      all[place % all.length]!(value as Json);
      yield { name: `${file}: value ${i} of seed ${seed}`, files: files.set(file, json(whole)) };
    }
  }
}

/** Any file with bytes changed, cut out, or put in. */
function* badBytes(seed: number): Generator<Specimen> {
  const change = fc.record({
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    bytes: fc.uint8Array({ maxLength: 12 }),
    removed: fc.constantFrom(0, 1, 7, 100, 100_000),
  });
  for (const name of goodModel().keys()) {
    for (const [i, { at, bytes, removed }] of fc.sample(change, { seed, numRuns: 150 }).entries()) {
      const files = goodModel();
      const file = files.get(name)!;
      // Half of the changes to the weights hit their header.
      const span = name.endsWith(".safetensors") && i % 2 === 0 ? 2000 : file.length;
      const from = Math.floor(at * span);
      files.set(name, Buffer.concat([file.subarray(0, from), bytes, file.subarray(from + removed)]));
      yield { name: `${name}: bytes ${i} of seed ${seed}`, files };
    }
  }
}

/** Headers of safetensors files that lie about what follows them. */
function* badTensors(): Generator<Specimen> {
  const good = tinyModel().get("model.safetensors")!;
  const headerBytes = Number(new DataView(good.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(good.subarray(8, 8 + headerBytes))) as Record<string, object>;
  const dataBytes = good.length - 8 - headerBytes;
  const file = (name: string, content: Uint8Array): Specimen => ({
    name: `model.safetensors: ${name}`,
    files: goodModel().set("model.safetensors", content),
  });
  const edges = [-1, -(2 ** 53), 0.5, 1, 2 ** 31, 2 ** 32, 2 ** 53 - 1, 2 ** 63, 1e300, dataBytes, dataBytes + 1];
  const tensor = "model.embed_tokens.weight";
  const entry = header[tensor] as { shape: number[]; data_offsets: number[] };
  for (const edge of edges) {
    for (const at of [0, 1]) {
      const data_offsets = entry.data_offsets.with(at, edge);
      yield file(
        `offset ${at} is ${edge}`,
        safetensors({ ...header, [tensor]: { ...entry, data_offsets } }, dataBytes),
      );
      const shape = entry.shape.with(at, edge);
      yield file(`dimension ${at} is ${edge}`, safetensors({ ...header, [tensor]: { ...entry, shape } }, dataBytes));
    }
    const length = Uint8Array.from(good);
    if (Number.isInteger(edge) && edge > 0) new DataView(length.buffer).setBigUint64(0, BigInt(edge), true);
    yield file(`a header of ${edge} bytes`, length);
  }
  for (const shape of [[], [0], Array(9).fill(1), Array(100_000).fill(1), [2 ** 32, 2 ** 32], [50, 64, 1]]) {
    yield file(`shape of ${shape.length}`, safetensors({ ...header, [tensor]: { ...entry, shape } }, dataBytes));
  }
  for (const dtype of ["", "F8_E4M3", "I64", "__proto__", "toString", "bf16", "BF16\0"]) {
    yield file(`dtype ${dtype}`, safetensors({ ...header, [tensor]: { ...entry, dtype } }, dataBytes));
  }
  for (const name of ["", "__proto__", "constructor", "../x", "model.layers.99999999999.q", "x".repeat(100_000)]) {
    yield file(`a tensor called ${name.slice(0, 20)}`, safetensors({ ...header, [name]: { ...entry } }, dataBytes));
  }
  const many = Array.from({ length: 50_000 }, (_, i) => [`t${i}`, { dtype: "F16", shape: [0], data_offsets: [0, 0] }]);
  yield file("fifty thousand empty tensors", safetensors({ ...Object.fromEntries(many), ...header }, dataBytes));
  yield file(
    "the same bytes for every tensor",
    safetensors(
      Object.fromEntries(
        Object.entries(header).map(([name, one]) => [name, { ...one, data_offsets: entry.data_offsets }]),
      ),
      dataBytes,
    ),
  );
  for (const length of [0, 1, 7, 8, 9, 8 + headerBytes - 1, 8 + headerBytes, good.length - 1]) {
    yield file(`cut after ${length} bytes`, good.subarray(0, length));
  }
}

/** Indexes that name what is not there, or not theirs. */
function* badIndexes(): Generator<Specimen> {
  const names = Object.keys(tinyShapes());
  const shards = ["a.safetensors", "b.safetensors"];
  const weightMaps: [string, unknown][] = [
    ["of another model", { "model.x": "a.safetensors" }],
    ["a path upwards", Object.fromEntries(names.map((name) => [name, "../../../../etc/passwd.safetensors"]))],
    ["an absolute path", Object.fromEntries(names.map((name) => [name, "/dev/zero"]))],
    ["the index itself", Object.fromEntries(names.map((name) => [name, "model.safetensors.index.json"]))],
    ["a NUL in a name", Object.fromEntries(names.map((name) => [name, "a.safetensors\0.txt"]))],
    ["numbers", Object.fromEntries(names.map((name) => [name, 1]))],
    ["a list", names],
    [
      "twenty thousand shards",
      Object.fromEntries(Array.from({ length: 20_000 }, (_, i) => [`t${i}`, `${i}.safetensors`])),
    ],
    ["both shards", Object.fromEntries(names.map((name, i) => [name, shards[i % 2]!]))],
  ];
  for (const [name, weight_map] of weightMaps) {
    const files = goodModel().set("model.safetensors.index.json", json({ metadata: {}, weight_map }));
    files.delete("model.safetensors");
    // Both shards hold everything: which one counts is for the index to say.
    for (const shard of shards) files.set(shard, tensorFile(tinyShapes()));
    yield { name: `index: ${name}`, files };
  }
}

/** All of it, the same in every run. */
export function* corpus(): Generator<Specimen> {
  yield* badTexts();
  yield* badTensors();
  yield* badIndexes();
  yield* badValues(1);
  yield* badBytes(2);
}
