import { afterAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { localFolder } from "./local-folder.ts";

const home = mkdtempSync(join(tmpdir(), "fastgen-local-"));
afterAll(() => rmSync(home, { recursive: true, force: true }));

test("a directory is taken as it is; the name of a model is none", async () => {
  expect(await localFolder(home)).toBe(home);
  for (const name of ["org/name", "gpt2", "org/name-1.5_b"]) expect(await localFolder(name)).toBeNull();
});

test("a model's folder in the hub's cache is one level too high", async () => {
  const folder = join(home, "models--org--name");
  mkdirSync(join(folder, "snapshots/0"), { recursive: true });
  for (const path of [folder, `${folder}/`]) {
    await expect(localFolder(path)).rejects.toThrow(/one level too high: give its name, org\/name, or a folder in its/);
  }
  expect(await localFolder(join(folder, "snapshots/0"))).toBe(join(folder, "snapshots/0"));
  mkdirSync(join(home, "models--mine"));
  expect(await localFolder(join(home, "models--mine"))).toBe(join(home, "models--mine"));
});

test("a file in place of a folder", async () => {
  const cases: [string, RegExp][] = [
    ["model.gguf", /model.gguf is a file: it holds GGUF, llama.cpp's format/],
    ["pytorch_model.bin", /is a file: it has its weights as PyTorch pickles/],
    ["model.onnx", /is a file: it holds an ONNX model/],
    ["model.zip", /is a file: it holds an archive \(model.zip\): unpack it/],
    ["model.safetensors", /is a file: give the folder that has config.json and the weights, such as /],
    // As any other file of weights: what it is called says too little.
    ["weights.safetensors", /is a file: give the folder that has config.json and the weights, such as /],
    ["config.json", /such as .*fastgen-local/],
    ["notes", /is a file: give the folder that has config.json and the weights$/],
  ];
  for (const [name, message] of cases) {
    writeFileSync(join(home, name), "");
    await expect(localFolder(join(home, name))).rejects.toThrow(message);
  }
});

test("what is neither a path nor the name of a model", async () => {
  const cases: [string, RegExp][] = [
    ["https://huggingface.co/org/name/tree/main", /is a web address: give the model's name, org\/name/],
    ["hf.co/org/name", /give the model's name, org\/name/],
    ["org/name-GGUF:Q4_K_M", /GGUF, llama.cpp's format.*give the name of the model that it was made from/],
    ["org/name/model.gguf", /GGUF/],
    ["no such/folder/here", /neither a directory nor the name of a hub model/],
    ["../no-such-folder", /check the path/],
    ["org/na..me", /check the path/],
    ["models--org--name", /check the path/],
    ["", /check the path/],
  ];
  for (const [name, message] of cases) await expect(localFolder(name)).rejects.toThrow(message);
});
