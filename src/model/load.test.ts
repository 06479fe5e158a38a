import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openModel, openModelFromMemory } from "./load.ts";
import { safetensors, tensorFile, tinyModel, tinyShapes } from "./test-files.ts";

const root = join(import.meta.dir, "../..");
const REAL = process.env.FASTGEN_TEST_MODEL ?? join(root, ".cache/models/SmolLM2-135M-Instruct");
const GOLDEN = join(root, "test/golden/models");

const directory = mkdtempSync(join(tmpdir(), "fastgen-load-"));
beforeEach(() => {
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory);
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

function write(files: ReadonlyMap<string, Uint8Array>): void {
  for (const [name, content] of files) writeFileSync(join(directory, name), content);
}

const open = (files: ReadonlyMap<string, Uint8Array>) => openModelFromMemory("tiny", files);
const text = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

test("a directory", async () => {
  write(tinyModel());
  const model = await openModel(directory);
  expect(model).toMatchObject({
    name: directory,
    directory,
    architecture: "LlamaForCausalLM",
    maxContext: 128,
    dtype: "float16",
  });
  expect(model.tensors.length).toBe(3 + 2 * 9);
  const file = tinyModel().get("model.safetensors")!;
  const down = model.tensors.find((tensor) => tensor.role === "down" && tensor.layer === 1)!;
  expect(down).toEqual({
    role: "down",
    layer: 1,
    dtype: "float16",
    dims: [64, 96],
    where: { path: join(directory, "model.safetensors"), offset: file.length - 64 * 96 * 2, bytes: 64 * 96 * 2 },
  });
  expect(model.files.tokenizer).toBe('{"stands":"for one"}');
  expect(model.files).toMatchObject({ tokenizerConfig: null, generationConfig: null, chatTemplate: null });
});

test("the same in memory: tensors are views of the bytes", async () => {
  const files = tinyModel();
  const model = await open(files);
  expect(model.directory).toBeNull();
  const { where } = model.tensors[0]!;
  expect("data" in where && where.data.buffer === files.get("model.safetensors")!.buffer && where.data.length).toBe(
    50 * 64 * 2,
  );
});

test("the files beside the weights", async () => {
  const files = tinyModel();
  files.set("generation_config.json", text({ a: 1 }));
  files.set("tokenizer_config.json", text({ b: 1 }));
  files.set("chat_template.jinja", new TextEncoder().encode("é"));
  expect((await open(files)).files).toMatchObject({
    generationConfig: '{"a":1}',
    tokenizerConfig: '{"b":1}',
    chatTemplate: "é",
  });
});

test("the files of older versions of transformers, and templates with names", async () => {
  const files = tinyModel();
  files.set("special_tokens_map.json", text({ a: 1 }));
  files.set("added_tokens.json", text({ b: 1 }));
  files.set("chat_template.json", text({ c: 1 }));
  write(files);
  mkdirSync(join(directory, "additional_chat_templates"));
  writeFileSync(join(directory, "additional_chat_templates/tool_use.jinja"), "tools");
  writeFileSync(join(directory, "additional_chat_templates/notes.txt"), "other");
  expect((await openModel(directory)).files).toMatchObject({
    specialTokensMap: '{"a":1}',
    addedTokens: '{"b":1}',
    chatTemplateJson: '{"c":1}',
    namedTemplates: { tool_use: "tools" },
  });
});

test("the dtype is config.json's, and without one the tensors'", async () => {
  expect((await open(tinyModel(tinyShapes(), { torch_dtype: "bfloat16" }))).dtype).toBe("bfloat16");
  expect((await open(tinyModel(tinyShapes(), { torch_dtype: undefined }))).dtype).toBe("float16");
});

test("a JSON file of absurd size is refused before it is read", async () => {
  write(tinyModel());
  // Sparse: it takes no space.
  truncateSync(join(directory, "tokenizer.json"), 2 ** 30);
  await expect(openModel(directory)).rejects.toThrow(/tokenizer.json has 1073741824 bytes; at most/);
});

test("an index of absurd size is refused before it is read", async () => {
  const files = tinyModel();
  files.delete("model.safetensors");
  write(files.set("model.safetensors.index.json", text({})));
  truncateSync(join(directory, "model.safetensors.index.json"), 2 ** 30);
  await expect(openModel(directory)).rejects.toThrow(/index.json has 1073741824 bytes; at most 100000000/);
});

test("random weights need config.json and the tokenizer alone", async () => {
  const files = tinyModel();
  files.delete("model.safetensors");
  expect((await openModelFromMemory("tiny", files, { loadFormat: "dummy" })).tensors).toEqual([]);
  files.delete("tokenizer.json");
  await expect(openModelFromMemory("tiny", files, { loadFormat: "dummy" })).rejects.toThrow(
    /has no tokenizer.json: write one/,
  );
});

describe("names", () => {
  test("without the prefix; saved frequencies are passed over", async () => {
    const shapes = Object.fromEntries(
      Object.entries(tinyShapes()).map(([name, shape]) => [name.replace(/^model\./, ""), shape]),
    );
    shapes["layers.0.self_attn.rotary_emb.inv_freq"] = [16];
    expect((await open(tinyModel(shapes))).tensors.length).toBe(21);
  });

  test("tied embeddings: an LM head that is there all the same, and the same, is not taken", async () => {
    const notices: string[] = [];
    const onWarning = (notice: string) => notices.push(notice);
    const files = tinyModel(tinyShapes(), { tie_word_embeddings: true });
    const tied = await openModelFromMemory("tiny", files, { onWarning });
    expect(tied.tensors.some((tensor) => tensor.role === "lmHead")).toBe(false);
    expect(tied.tensors.length).toBe(20);
    expect(tied.shape.tiedEmbeddings).toBe(true);
    expect(notices).toEqual([]);
    const { "lm_head.weight": _, ...shapes } = tinyShapes();
    expect((await open(tinyModel(shapes, { tie_word_embeddings: true }))).tensors.length).toBe(20);
    await expect(open(tinyModel(shapes))).rejects.toThrow(/the tensor lm_head.weight is missing/);
  });

  test("an LM head with other values than the tied embedding is taken, and said", async () => {
    const files = tinyModel(tinyShapes(), { tie_word_embeddings: true });
    const { where } = (await open(tinyModel())).tensors.find((tensor) => tensor.role === "lmHead")!;
    const weights = files.get("model.safetensors")!;
    const end = "data" in where ? where.data.byteOffset + where.data.length : 0;
    weights[end - 1] = 1; // the last of its values
    write(files);
    const notices: string[] = [];
    const model = await openModel(directory, { onWarning: (notice) => notices.push(notice) });
    expect(model.tensors.length).toBe(21);
    expect(model.shape.tiedEmbeddings).toBe(false);
    expect(notices).toEqual([
      expect.stringMatching(/tie_word_embeddings.*lm_head.weight with other values: lm_head.weight is taken/),
    ]);
  });

  test("of a tied pair, one alone is taken for both", async () => {
    const { "model.embed_tokens.weight": _, ...shapes } = tinyShapes();
    const model = await open(tinyModel(shapes, { tie_word_embeddings: true }));
    expect(model.tensors.filter((tensor) => tensor.role === "embed").length).toBe(1);
    expect(model.tensors.length).toBe(20);
    await expect(open(tinyModel(shapes))).rejects.toThrow(/embed_tokens.weight is missing/);
  });

  test("Qwen2's biases and Qwen3's norms", async () => {
    const biases = Object.fromEntries(
      [0, 1].flatMap((l) =>
        [
          ["q", 64],
          ["k", 32],
          ["v", 32],
        ].map(([p, n]) => [`model.layers.${l}.self_attn.${p}_proj.bias`, [n as number]]),
      ),
    );
    const qwen2 = { architectures: ["Qwen2ForCausalLM"] };
    expect((await open(tinyModel({ ...tinyShapes(), ...biases }, qwen2))).tensors.length).toBe(21 + 6);
    await expect(open(tinyModel(tinyShapes(), qwen2))).rejects.toThrow(
      /model.layers.0.self_attn.q_proj.bias is missing/,
    );
    await expect(open(tinyModel({ ...tinyShapes(), ...biases }))).rejects.toThrow(
      /q_proj.bias, which LlamaForCausalLM does not have/,
    );

    const norms = Object.fromEntries(
      [0, 1].flatMap((l) => ["q", "k"].map((p) => [`model.layers.${l}.self_attn.${p}_norm.weight`, [32]])),
    );
    const qwen3 = { architectures: ["Qwen3ForCausalLM"], head_dim: 32 };
    expect((await open(tinyModel({ ...tinyShapes(), ...norms }, qwen3))).tensors.length).toBe(21 + 4);
  });
});

describe("a checkpoint that does not fit its config is refused by the tensor's name", () => {
  const refused = async (changes: Record<string, number[] | null>, message: RegExp) => {
    const shapes = Object.entries({ ...tinyShapes(), ...changes }).filter(([, shape]) => shape !== null);
    await expect(open(tinyModel(Object.fromEntries(shapes) as Record<string, number[]>))).rejects.toThrow(message);
  };

  test("missing, unknown, out of range, twice, or of another shape", async () => {
    await refused(
      { "model.layers.1.mlp.up_proj.weight": null },
      /tiny: the tensor model.layers.1.mlp.up_proj.weight is missing/,
    );
    await refused({ "model.embed_tokens.weight": null }, /model.embed_tokens.weight is missing/);
    await refused(
      { "model.layers.0.self_attn.o_proj.bias": [64] },
      /o_proj.bias, which LlamaForCausalLM does not have/,
    );
    await refused({ "model.layers.2.input_layernorm.weight": [64] }, /layers.2.input_layernorm.weight, which/);
    await refused({ "vision.weight": [1] }, /vision.weight, which/);
    await refused({ constructor: [1] }, /constructor, which/);
    await refused({ "norm.weight": [64] }, /norm.weight is there twice/);
    await refused(
      { "model.embed_tokens.weight": [51, 64] },
      /embed_tokens.weight has the shape \[51,64\]; by config.json it must be \[50,64\]/,
    );
    await refused({ "model.norm.weight": [64, 1] }, /norm.weight has the shape \[64,1\]/);
    await refused({ "model.embed_tokens.weight": [50] }, /embed_tokens.weight has the shape \[50\]/);
  });

  test("a dtype that cannot be read", async () => {
    const files = tinyModel();
    files.set("model.safetensors", tensorFile(tinyShapes(), "I16"));
    await expect(open(files)).rejects.toThrow(
      /is stored as I16; Fastgen reads F32, F16, BF16 and, with scales, F8_E4M3/,
    );
  });

  test("tensors of a quantised checkpoint", async () => {
    await refused(
      { "model.layers.0.mlp.up_proj.qweight": [1] },
      /tiny is quantised in a way that is not supported \(GPTQ or AWQ: it has model.*qweight/,
    );
    await refused({ "model.layers.0.mlp.up_proj.scales": [1] }, /not supported \(MLX: .*use the original model/);
    await refused({ "model.layers.0.mlp.up_proj.SCB": [1] }, /not supported \(bitsandbytes: it has .*SCB/);
  });

  test("a pointer of git LFS in place of a file", async () => {
    const pointer = new TextEncoder().encode("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n");
    for (const file of ["model.safetensors", "tokenizer.json", "config.json"]) {
      const files = tinyModel().set(file, pointer);
      await expect(open(files)).rejects.toThrow(`tiny: ${file} is a pointer of git LFS, not the file itself: run`);
    }
  });

  test("a truncated file", async () => {
    const files = tinyModel();
    files.set("model.safetensors", files.get("model.safetensors")!.subarray(0, -1));
    await expect(open(files)).rejects.toThrow(
      /tiny: model.safetensors: it should have .* bytes.*cut short: replace it/,
    );
  });
});

describe("shards", () => {
  const shapes = Object.entries(tinyShapes());
  const sharded = () => {
    const files = tinyModel();
    files.delete("model.safetensors");
    const names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    const weight_map = Object.fromEntries(shapes.map(([name], i) => [name, names[i % 2]!]));
    names.forEach((file, n) => {
      files.set(file, tensorFile(Object.fromEntries(shapes.filter((_, i) => i % 2 === n))));
    });
    files.set("model.safetensors.index.json", text({ metadata: {}, weight_map }));
    return { files, names, weight_map };
  };

  test("every tensor is found in its file", async () => {
    const { files, weight_map } = sharded();
    write(files);
    const model = await openModel(directory);
    expect(model.tensors.length).toBe(21);
    const lmHead = model.tensors.find((tensor) => tensor.role === "lmHead")!;
    expect(lmHead.where).toMatchObject({ path: join(directory, weight_map["lm_head.weight"]!) });
  });

  test("beside the whole weights the index does not count", async () => {
    const { files, names } = sharded();
    for (const name of names) files.delete(name);
    files.set("model.safetensors", tinyModel().get("model.safetensors")!);
    expect((await open(files)).tensors.length).toBe(21);
  });

  test("a tensor that the index forgot is still found, and one that a shard holds beside its owner is not taken twice", async () => {
    const forgetful = sharded();
    const { "lm_head.weight": _, ...weight_map } = forgetful.weight_map;
    forgetful.files.set("model.safetensors.index.json", text({ weight_map }));
    expect((await open(forgetful.files)).tensors.length).toBe(21);

    const twice = sharded();
    twice.files.set(twice.names[0]!, tensorFile(Object.fromEntries(shapes)));
    const model = await open(twice.files);
    expect(model.tensors.length).toBe(21);
  });

  test("a missing shard, a tensor that is not where the index says, a path outside", async () => {
    const missing = sharded();
    missing.files.delete(missing.names[1]!);
    await expect(open(missing.files)).rejects.toThrow(
      /tiny: model-00002-of-00002.safetensors is missing, though .*index.json names it/,
    );

    const wrong = sharded();
    wrong.weight_map["lm_head.weight"] = wrong.names[1]!;
    wrong.files.set("model.safetensors.index.json", text({ weight_map: wrong.weight_map }));
    await expect(open(wrong.files)).rejects.toThrow(
      /places lm_head.weight in model-00002-of-00002.safetensors, which does not have it/,
    );

    for (const path of ["../x.safetensors", "/etc/passwd", "a/b.safetensors", ""]) {
      wrong.files.set("model.safetensors.index.json", text({ weight_map: { a: path } }));
      await expect(open(wrong.files)).rejects.toThrow(/is not the name of a safetensors file/);
    }
    wrong.files.set("model.safetensors.index.json", text({}));
    await expect(open(wrong.files)).rejects.toThrow(/index.json: weight_map/);
  });
});

describe("shards without an index", () => {
  const shapes = Object.entries(tinyShapes());
  const shards = (prefix = "model") => {
    const files = tinyModel();
    files.delete("model.safetensors");
    for (let n = 0; n < 3; n++) {
      const part = shapes.filter((_, i) => i % 3 === n);
      files.set(`${prefix}-0000${n + 1}-of-00003.safetensors`, tensorFile(Object.fromEntries(part)));
    }
    return files;
  };

  test("are read by their numbers", async () => {
    write(shards());
    expect((await openModel(directory)).tensors.length).toBe(21);
    expect((await open(shards("pytorch_model"))).tensors.length).toBe(21);
    const both = new Map([...shards("older"), ...shards()]);
    const { where } = (await open(both)).tensors[0]!;
    expect("data" in where && where.data.buffer).toBe(both.get("model-00001-of-00003.safetensors")!.buffer);
  });

  test("one that is not there is named", async () => {
    const files = shards();
    files.delete("model-00002-of-00003.safetensors");
    await expect(open(files)).rejects.toThrow(
      /tiny: model-00002-of-00003.safetensors is missing, though their numbers name it: copy it here/,
    );
  });

  test("of hundreds that are not there a few are named", async () => {
    const files = shards();
    const one = files.get("model-00001-of-00003.safetensors")!;
    for (const name of files.keys()) if (name.startsWith("model-")) files.delete(name);
    files.set("model-00001-of-00300.safetensors", one);
    await expect(open(files)).rejects.toThrow(
      /^tiny: model-00002.*, model-00004-of-00300.safetensors, ... are missing, .{1,200}$/,
    );
  });

  test("those of two checkpoints are not mixed", async () => {
    await expect(open(new Map([...shards("a"), ...shards("b")]))).rejects.toThrow(/only a-00001-of-00003.safetensors/);
  });

  test("an index alone", async () => {
    const files = tinyModel();
    files.delete("model.safetensors");
    const weight_map = { a: "model-00001-of-00002.safetensors", b: "model-00002-of-00002.safetensors" };
    files.set("model.safetensors.index.json", text({ weight_map }));
    await expect(open(files)).rejects.toThrow(
      /none of the 2 files of weights that model.safetensors.index.json names is there \(model-00001.*\): copy them here/,
    );
  });
});

describe("folders that are no model", () => {
  test("empty", async () => {
    await expect(openModel(directory)).rejects.toThrow(/has no config.json: the folder is empty/);
  });

  test("a folder where a file should be", async () => {
    write(tinyModel());
    rmSync(join(directory, "config.json"));
    mkdirSync(join(directory, "config.json"));
    await expect(openModel(directory)).rejects.toThrow(/has no config.json/);
  });

  test("what a model may lack is told of where it is broken", async () => {
    for (const file of ["tokenizer_config.json", "generation_config.json", "chat_template.jinja"]) {
      write(tinyModel());
      const path = join(directory, file);
      rmSync(path, { force: true });
      symlinkSync("nowhere", path);
      await expect(openModel(directory)).rejects.toThrow(`${file} is a link to a file that is not there: put`);
      rmSync(path);
      mkdirSync(path);
      await expect(openModel(directory)).rejects.toThrow(`${file} is a folder where a file should be: put`);
      rmSync(path, { recursive: true });
    }
    await openModel(directory);
  });

  test("a device in the place of a file is not waited for", async () => {
    for (const file of ["config.json", "tokenizer.json", "generation_config.json", "model.safetensors"]) {
      write(tinyModel());
      const path = join(directory, file);
      rmSync(path, { force: true });
      symlinkSync("/dev/zero", path);
      await expect(openModel(directory)).rejects.toThrow(`${path} is no file, but a pipe, a socket or a device`);
      rmSync(path);
    }
  });

  test("a file that cannot be read is named once, with the reason", async () => {
    write(tinyModel());
    const config = join(directory, "config.json");
    rmSync(config);
    symlinkSync("config.json", config);
    await expect(openModel(directory)).rejects.toThrow(new RegExp(`^${config} cannot be read: [^/]+ \\(ELOOP\\)$`));
  });

  test("an empty weights file", async () => {
    const files = tinyModel();
    files.set("model.safetensors", safetensors({}, 0));
    await expect(open(files)).rejects.toThrow(/model.embed_tokens.weight is missing/);
  });
});

describe("a folder with new weights for a model that is served: errors say what a trainer can do", () => {
  const update = async (files: Record<string, Uint8Array>) => {
    const model = await open(tinyModel());
    write(new Map(Object.entries(files)));
    const outcome = model.weightsIn({ folder: directory });
    return outcome.then(
      ({ length }) => length,
      (error: Error) => error.message.replace(`${directory}`, "FOLDER"),
    );
  };
  const index = text({ weight_map: { a: "model-00001-of-00002.safetensors", b: "model-00002-of-00002.safetensors" } });
  const { "lm_head.weight": _, ...some } = tinyShapes();

  test.each([
    ["the weights alone", { "model.safetensors": tensorFile(tinyShapes()) }, 21],
    [
      "nothing",
      {},
      /^FOLDER has no weights in safetensors, and the folder is empty: an update reads model.safetensors/,
    ],
    ["pickles", { "pytorch_model.bin": text({}) }, /and it has pytorch_model.bin: an update reads .* Write them there/],
    [
      "an index alone",
      { "model.safetensors.index.json": index },
      /: an update begins once all files have been written$/,
    ],
    [
      "a tensor too few",
      { "model.safetensors": tensorFile(some) },
      /lm_head.weight is missing; an update brings every/,
    ],
    [
      "another shape",
      { "model.safetensors": tensorFile({ ...some, "lm_head.weight": [51, 64] }) },
      /lm_head.weight has the shape \[51,64\]; the model that is served has \[50,64\]$/,
    ],
  ] as [string, Record<string, Uint8Array>, number | RegExp][])("%s", async (_, files, expected) => {
    const outcome = await update(files);
    if (typeof expected === "number") expect(outcome).toBe(expected);
    else expect(outcome).toMatch(expected);
    expect(String(outcome)).not.toMatch(/load-format|hub|config\.json/);
  });
});

test.skipIf(!existsSync(REAL))("the real model", async () => {
  const model = await openModel(REAL);
  expect(model.tensors.length).toBe(272);
  expect(model.shape).toMatchObject({
    layers: 30,
    hiddenSize: 576,
    heads: 9,
    kvHeads: 3,
    headDim: 64,
    tiedEmbeddings: true,
  });
  expect(model).toMatchObject({ maxContext: 8192, dtype: "bfloat16" });
});

test.skipIf(!existsSync(GOLDEN))("the golden models of every family", async () => {
  const names = readdirSync(GOLDEN);
  expect(names.length).toBeGreaterThan(5);
  for (const name of names) expect((await openModel(join(GOLDEN, name))).tensors.length).toBeGreaterThan(10);
});
