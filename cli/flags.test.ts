import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { Command } from "commander";
import { DEFAULTS } from "../src/device.ts";
import { FastgenError } from "../src/errors.ts";
import {
  addModelFlags,
  bytes,
  decimal,
  integer,
  list,
  loadModel,
  loadOptions,
  type ModelFlags,
  parseFlags,
  withFlags,
} from "./flags.ts";

function parse(args: string[]) {
  const command = addModelFlags(new Command("test"));
  const errors: string[] = [];
  command.configureOutput({ writeErr: (text) => errors.push(text), writeOut: (text) => errors.push(text) });
  const code = parseFlags(command, args);
  return { code, errors: errors.join(""), flags: command.opts<ModelFlags>(), args: command.args };
}

const options = (...args: string[]) => loadOptions(parse(args).flags);

describe("flags become load options", () => {
  test("an object is JSON", () => {
    const events = '{"enable_kv_cache_events": true}';
    expect(options("--kv-events-config", events).kv_events_config).toEqual({ enable_kv_cache_events: true });
    for (const wrong of ["{", "[]", "1", "null"]) {
      expect(parse(["--kv-events-config", wrong]).errors).toContain("It must be a JSON object, such as");
    }
  });

  test("without any, only what is the same for every model and device", () => {
    const given = Object.entries(options()).filter(([, value]) => value !== undefined);
    expect(Object.fromEntries(given)).toEqual({
      device: "auto",
      dtype: "auto",
      kv_cache_dtype: "auto",
      load_format: "auto",
      scheduling_policy: "fcfs",
      gpu_memory_utilization: DEFAULTS.gpu_memory_utilization,
      threads: 0,
      seed: 0,
      chat_template_content_format: "auto",
      generation_config: "auto",
      logprobs_mode: "raw_logprobs",
    });
  });

  test("all of them", () => {
    const line =
      "org/name --revision v1 --device cpu --dtype half --quantization fp8 --kv-cache-dtype fp8_e4m3 --load-format dummy --max-model-len 4096 --max-num-seqs 8 " +
      "--max-num-batched-tokens 128 --no-enable-prefix-caching --gpu-memory-utilization 0.5 --kv-cache-memory-bytes 2G " +
      "--swap-space 1.5 --tensor-parallel-size 2 --threads 3 --seed 4 --chat-template {{messages}} " +
      "--chat-template-content-format openai --scheduling-policy priority --logprobs-mode processed_logprobs " +
      '--generation-config vllm --override-generation-config {"top_p":0.5}';
    const { flags, args, code } = parse(line.split(" "));
    expect(code).toBeNull();
    expect(args).toEqual(["org/name"]);
    expect(loadOptions(flags)).toEqual({
      revision: "v1",
      device: "cpu",
      dtype: "float16",
      quantization: "fp8",
      kv_cache_dtype: "fp8_e4m3",
      load_format: "dummy",
      max_model_len: 4096,
      max_num_seqs: 8,
      max_num_batched_tokens: 128,
      enable_prefix_caching: false,
      scheduling_policy: "priority",
      gpu_memory_utilization: 0.5,
      kv_cache_memory_bytes: 2 * 2 ** 30,
      swap_space: 1.5,
      tensor_parallel_size: 2,
      threads: 3,
      seed: 4,
      chat_template: "{{messages}}",
      chat_template_content_format: "openai",
      generation_config: "vllm",
      override_generation_config: { top_p: 0.5 },
      logprobs_mode: "processed_logprobs",
    });
  });

  test("prefix caching on and off, the other spelling of tensor parallelism", () => {
    expect(options("--enable-prefix-caching").enable_prefix_caching).toBe(true);
    expect(options("--no-enable-prefix-caching").enable_prefix_caching).toBe(false);
    expect(options("--tensor-parallel", "4").tensor_parallel_size).toBe(4);
  });

  test("a chat template from a file, or a clear word about why not", () => {
    const folder = mkdtempSync(path.join(tmpdir(), "flags-"));
    const file = path.join(folder, "t.jinja");
    writeFileSync(file, "{{ messages[0].content }}");
    expect(options("--chat-template", file).chat_template).toBe("{{ messages[0].content }}");
    const failure = (argument: string) => {
      try {
        options("--chat-template", argument);
      } catch (error) {
        return error as FastgenError;
      }
    };
    for (const argument of [path.join(folder, "missing.jinja"), folder]) {
      expect(failure(argument)).toBeInstanceOf(FastgenError);
      expect(failure(argument)!.kind).toBe("invalid_request");
      expect(failure(argument)!.message).toContain(argument);
    }
    writeFileSync(file, "x".repeat(1_000_001));
    for (const endless of [file, "/dev/zero"]) {
      expect(failure(endless)!.message).toBe(
        `--chat-template: '${endless}' has more than the 200000 characters that are allowed`,
      );
    }
    rmSync(folder, { recursive: true });
  });
});

describe("errors of the library name flags", () => {
  const spelled = (message: string, param: string | null = null) =>
    withFlags(new FastgenError("invalid_request", message, { param })).message;

  test.each([
    ["lower max_model_len to at most 64, or raise kv_cache_memory_bytes", null],
    ["max_num_seqs must be a whole number", "max_num_seqs"],
    ["threads must be a whole number", "threads"],
    ["kv_events_config.endpoint must be", "kv_events_config.endpoint"],
    ["raise it, or lower max_num_batched_tokens.", null],
  ])("%s", (message, param) => {
    const words = message.split(/[ ,.]+/).filter((word) => word.includes("_") || word === "threads");
    for (const word of words) expect(spelled(message, param)).toContain(`--${word.replaceAll("_", "-")}`);
    expect(spelled(message, param)).not.toMatch(/[a-z]_[a-z]/);
  });

  test("other words stay: single words in a sentence, paths, fields of a request", () => {
    for (const message of [
      "the device has 4 threads",
      "models/max_model_len/config.json has no field max_position_embeddings",
      "./max_model_len is no directory",
      "it has README.md, generation_config.json, ...",
      "tokenizer_config.json: chat_template is 5: Invalid input",
    ]) {
      expect(spelled(message, "threads")).toBe(message);
    }
  });

  test("an option with its value", () => {
    expect(spelled("use the original model, also with quantization fp8")).toEndWith("with --quantization fp8");
  });

  test("kind, param and code stay", () => {
    const error = withFlags(new FastgenError("out_of_memory", "lower swap_space", { param: "swap_space", code: "x" }));
    expect(error).toMatchObject({
      kind: "out_of_memory",
      message: "lower --swap-space",
      param: "swap_space",
      code: "x",
    });
  });

  test("the model's loading goes through it", async () => {
    const error = await loadModel(undefined, { device: "cpu", max_num_seqs: 9, max_num_batched_tokens: 8 }).catch(
      (e) => e,
    );
    expect(error).toBeInstanceOf(FastgenError);
    expect(error.message).toContain("raise --max-num-batched-tokens to at least 9");
  });
});

describe("wrong flags", () => {
  test.each([
    ["--max-num-seq 3", "--max-num-seqs"],
    ["--dvice cpu", "--device"],
    ["--device tpu", "auto, cpu, cuda"],
    ["--dtype int8", "bfloat16"],
    ["--max-model-len 0", "at least 1"],
    ["--max-model-len -5", "at least 1"],
    ["--max-model-len 1e3", "whole number"],
    ["--max-model-len 12.5", "whole number"],
    ["--threads many", "whole number"],
    ["--gpu-memory-utilization 0", "above 0 to 1"],
    ["--gpu-memory-utilization 1.01", "above 0 to 1"],
    ["--gpu-memory-utilization NaN", "above 0 to 1"],
    ["--swap-space -1", "0 or more"],
    ["--swap-space Infinity", "0 or more"],
    ["--kv-cache-dir-size 0", "above 0"],
    ["--kv-cache-memory-bytes lots", "4G"],
    ["--kv-cache-memory-bytes 0", "above 0"],
    ["--seed", "argument missing"],
    ["one two", "too many arguments"],
  ])("%s is refused with a word on %s", (line, says) => {
    const { code, errors } = parse(line.split(" "));
    expect(code).toBe(2);
    expect(errors).toContain(says);
  });

  test("--help is no error", () => {
    const { code, errors } = parse(["--help"]);
    expect(code).toBe(0);
    expect(errors).toContain("--max-num-batched-tokens");
  });
});

test("numbers and sizes", () => {
  expect(integer(1, 5)("5")).toBe(5);
  expect(decimal(0, 1)("0")).toBe(0);
  expect(() => decimal(0, 1)("")).toThrow();
  expect(bytes("1024")).toBe(1024);
  expect(bytes("1.5k")).toBe(1536);
  expect(bytes("4GiB")).toBe(4 * 2 ** 30);
  expect(bytes("2T")).toBe(2 * 2 ** 40);
});

test("lists: JSON as vLLM takes it, or words between commas", () => {
  expect(list('["a", "b,c"]')).toEqual(["a", "b,c"]);
  expect(list("a, b")).toEqual(["a", "b"]);
  expect(list("*")).toEqual(["*"]);
  expect(list("[]")).toEqual([]);
  for (const wrong of ["", "a,,b", "[1]", '["a"', '[""]', '["a", null]']) expect(() => list(wrong)).toThrow("a list");
});

test("help shows a command's own flags first, and the model's under a heading of their own", () => {
  const command = addModelFlags(new Command("test").option("--own", "a flag of the command"));
  const [own, shared] = command.helpInformation().split("Options of the model:");
  expect(own).toContain("--own");
  expect(own).not.toContain("--dtype");
  expect(shared).toContain("--dtype");
});
