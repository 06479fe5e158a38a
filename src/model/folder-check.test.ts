import { afterAll, beforeEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { openModel } from "./load.ts";
import { tensorFile, tinyModel, tinyShapes } from "./test-files.ts";

const directory = mkdtempSync(join(tmpdir(), "fastgen-folder-"));
beforeEach(() => {
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory);
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

type Files = Record<string, string | Uint8Array>;

function write(files: Files): void {
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(directory, name)), { recursive: true });
    writeFileSync(join(directory, name), content);
  }
}

const good = Object.fromEntries(tinyModel()) as Files;
const { "model.safetensors": weights, ...noWeights } = good;
const { "config.json": config, ...noConfig } = good;
const text = JSON.stringify;
const ORIGINAL = /Fastgen reads safetensors; use the model that it was made from/;

/** What is in the folder, what it is called, and what its user is told to do. */
const KINDS: [name: string, files: Files, what: RegExp, cure: RegExp][] = [
  [
    "an adapter",
    { "adapter_config.json": text({ base_model_name_or_path: "org/base" }), "adapter_model.safetensors": "x" },
    /holds an adapter such as LoRA \(adapter_config.json, adapter_model.safetensors\), not a whole model/,
    /merge it into its base model.*Its base model is org\/base$/,
  ],
  [
    "an adapter with its tokenizer and a config.json",
    { ...noWeights, "adapter_config.json": text({ base_model_name_or_path: null }), "adapter_model.bin": "x" },
    /holds an adapter/,
    /merge it/,
  ],
  [
    "Mistral's own format",
    { "consolidated.safetensors": "x", "params.json": "{}", "tekken.json": "{}" },
    /Mistral's own format \(consolidated.safetensors, tekken.json\)/,
    /with Hugging Face's files/,
  ],
  [
    "Mistral's own weights beside config.json",
    { ...noWeights, "consolidated-00001-of-00002.safetensors": "x" },
    /Mistral's own format/,
    /convert_mistral/,
  ],
  [
    "Meta's own format",
    { "consolidated.00.pth": "x", "params.json": "{}", "tokenizer.model": "x" },
    /Meta's own format \(consolidated.00.pth\)/,
    /convert_llama/,
  ],
  ["GGUF", { "model-Q4_K_M.gguf": "GGUF", "README.md": "" }, /GGUF, llama.cpp's format \(model-Q4/, ORIGINAL],
  [
    "GGUF with a config.json that says little",
    { "config.json": '{"model_type":"llama"}', "a.gguf": "" },
    /GGUF/,
    ORIGINAL,
  ],
  ["an adapter's weights alone", { ...noWeights, "adapter_model.safetensors": "x" }, /holds an adapter/, /merge it/],
  ["MLX, older names", { ...noWeights, "weights.00.safetensors": "x" }, /MLX's format \(weights.00/, ORIGINAL],
  ["MLX, npz", { ...noWeights, "weights.npz": "x" }, /MLX's format \(weights.npz\)/, ORIGINAL],
  [
    "MLX, quantised",
    {
      ...good,
      "config.json": text({
        ...JSON.parse(new TextDecoder().decode(config as Uint8Array)),
        quantization: { group_size: 64, bits: 4 },
      }),
    },
    /quantization \(MLX's format\)/,
    /use the original model/,
  ],
  [
    "pickles",
    { ...noWeights, "pytorch_model.bin": "x", "training_args.bin": "x" },
    /PyTorch pickles alone \(pytorch_model.bin\)/,
    /convert with transformers/,
  ],
  [
    "many pickles",
    Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`part${100 + i}.bin`, "x"])),
    /\(part100.bin, part101.bin, part102.bin, \.\.\.\)/,
    /convert with transformers/,
  ],
  [
    "pickles named like Meta's, without their params.json",
    { "consolidated.00.pth": "x" },
    /PyTorch pickles alone/,
    /convert/,
  ],
  ["GGML, before GGUF", { "ggml-model-q4_0.bin": "x" }, /GGUF, llama.cpp's format \(ggml-model/, ORIGINAL],
  ["one pickle", { "model.pth": "x" }, /PyTorch pickles alone \(model.pth\)/, /choose a revision/],
  ["ONNX", { ...noWeights, "onnx/model.onnx": "x" }, /an ONNX model \(onnx\/\)/, ORIGINAL],
  ["TensorFlow", { ...noWeights, "tf_model.h5": "x" }, /a TensorFlow model/, ORIGINAL],
  ["Flax", { ...noWeights, "flax_model.msgpack": "x" }, /a Flax or JAX model/, ORIGINAL],
  ["OpenVINO", { ...noWeights, "openvino_model.xml": "x" }, /an OpenVINO model/, ORIGINAL],
  ["Core ML", { "a.mlpackage/Manifest.json": "{}" }, /a Core ML model/, ORIGINAL],
  ["TensorRT", { ...noWeights, "rank0.engine": "x" }, /a TensorRT engine/, ORIGINAL],
  [
    "a training checkpoint",
    { "global_step10/mp_rank_00_model_states.pt": "x", "zero_to_fp32.py": "" },
    /checkpoint of a training framework/,
    /export it/,
  ],
  ["an archive", { "model.tar.gz": "x" }, /an archive/, /unpack it/],
  [
    "diffusers",
    { "model_index.json": "{}", "unet/config.json": "{}", "text_encoder/config.json": "{}" },
    /a diffusers pipeline/,
    /use diffusers/,
  ],
  [
    "sentence-transformers",
    { ...good, "modules.json": "[]" },
    /an embedding model of sentence-transformers/,
    /writes no text/,
  ],
  [
    "a folder above one model",
    { "checkpoint-500/config.json": "{}", "runs/a": "" },
    /has one in its folder checkpoint-500/,
    /give that one/,
  ],
  [
    "a folder above several",
    { "a/config.json": "{}", "b/config.json": "{}", "c/x": "" },
    /several models, in its folders a, b:/,
    /give one of them/,
  ],
  ["the cache of the hub", { "models--org--x/refs/main": "0" }, /cache of the hub/, /give the name of a model/],
  ["an empty folder", {}, /has no config.json: the folder is empty/, /Give one that has/],
  [
    "weights alone",
    { "model.safetensors": weights!, "pytorch_model.bin": "x" },
    /has no config.json: is it/,
    /config.json, tokenizer.json and the weights are needed/,
  ],
  [
    "no tokenizer",
    { "config.json": config!, "model.safetensors": weights! },
    /has no tokenizer.json:/,
    /write one with transformers/,
  ],
  [
    "a tokenizer of another kind",
    { "config.json": config!, "model.safetensors": weights!, "tokenizer.model": "x" },
    /has no tokenizer.json, only tokenizer.model/,
    /AutoTokenizer/,
  ],
  ["no weights", noWeights, /has no weights: neither model.safetensors nor/, /--load-format dummy/],
  [
    "weights under another name",
    { ...noWeights, "llama.safetensors": "x" },
    /only llama.safetensors/,
    /the name model.safetensors/,
  ],
  [
    "a shard of none",
    { ...noWeights, "model-00000-of-00000.safetensors": "x" },
    /only model-00000-of-00000.safetensors/,
    /the name model.safetensors/,
  ],
  [
    "no config.json",
    noConfig,
    /has no config.json: is it a Hugging Face model\? It has model.safetensors, tokenizer.json;/,
    /are needed/,
  ],
  [
    "a model of images with pickles",
    { "config.json": text({ architectures: ["ViTModel"] }), "a.bin": "" },
    /this is a model of images/,
    /Fastgen supports/,
  ],
];

for (const [name, files, what, cure] of KINDS) {
  test(name, async () => {
    write(files);
    const message = await openModel(directory).then(
      () => "opened",
      (error: Error) => error.message,
    );
    expect(message).toMatch(what);
    expect(message).toMatch(cure);
    expect(message).not.toMatch(/download (the model )?again/);
    expect(message.length).toBeLessThan(450);
  });
}

test("links to files that are not there are told", async () => {
  write({ ...noWeights, "notes@home.txt": "" });
  symlinkSync("../blobs/0", join(directory, "model.safetensors"));
  await expect(openModel(directory)).rejects.toThrow(
    /has no weights: neither.*dummy for random weights. Links to files that are not there: model.safetensors$/,
  );
});

test("what lies beside a whole model does not matter", async () => {
  write({
    ...good,
    "consolidated.safetensors": "x",
    "params.json": "{}",
    "tekken.json": "{}",
    "pytorch_model.bin": "x",
    "training_args.bin": "x",
    "onnx/model.onnx": "x",
    "model.gguf": "x",
    "checkpoint-1/config.json": "{}",
    "model-00001-of-00002.safetensors": tensorFile(tinyShapes()),
  });
  expect((await openModel(directory)).tensors.length).toBe(21);
});
