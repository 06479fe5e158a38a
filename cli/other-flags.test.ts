/** Command lines of vLLM, SGLang and llama-server: each flag is taken, or refused with what to write instead. */
import { describe, expect, test } from "bun:test";
import { Command } from "commander";
import { addModelFlags, loadOptions, type ModelFlags, parseFlags } from "./flags.ts";
import { OTHER_NAMES } from "./other-flags.ts";
import { command as serve } from "./serve.ts";

function parse(...args: string[]) {
  const command = serve();
  const said: string[] = [];
  command.configureOutput({ writeErr: (text) => said.push(text), writeOut: (text) => said.push(text) });
  const code = parseFlags(command, args);
  return { code, said: said.join(""), flags: command.opts(), model: command.args };
}

describe("taken", () => {
  test("a command line of vLLM", () => {
    const { code, said, flags, model } = parse(
      ..."--model org/name -tp 2 --trust_remote_code --max_model_len=32k --gpu_memory_utilization 0.9".split(" "),
      ..."--block-size 16 -O3 --uvicorn-log-level=warning --pipeline-parallel-size 1 --max-num-batched-tokens 8K".split(
        " ",
      ),
    );
    expect({ code, model }).toEqual({ code: null, model: ["org/name"] });
    expect(flags).toMatchObject({
      tensorParallelSize: 2,
      maxModelLen: 32_000,
      gpuMemoryUtilization: 0.9,
      maxNumBatchedTokens: 8192,
    });
    expect(said).toBe("fgserve: nothing depends on --trust-remote-code, --block-size, -O3, --uvicorn-log-level here\n");
  });

  test("command lines of SGLang and llama-server", () => {
    const sglang = parse(..."--model-path m --tp 4 --context-length 4096 --disable-radix-cache".split(" "));
    expect(sglang.model).toEqual(["m"]);
    expect(sglang.flags).toMatchObject({ tensorParallelSize: 4, maxModelLen: 4096, enablePrefixCaching: false });
    const llama = parse(..."-m m -c 4096 -ngl 99 -np 8 -a name --jinja".split(" "));
    expect(llama.model).toEqual(["m"]);
    expect(llama.flags).toMatchObject({ maxModelLen: 4096, maxNumSeqs: 8, servedModelName: "name" });
  });

  test("names of parsers", () => {
    const { flags } = parse("--tool-call-parser", "qwen3_xml", "--reasoning-parser=deepseek-r1");
    expect(flags).toMatchObject({ toolCallParser: "qwen3_coder", reasoningParser: "deepseek_r1" });
  });

  test.each(["auto", "-1"])("--max-model-len %s leaves the length to the model", (value) => {
    const command = addModelFlags(new Command("test"));
    expect(parseFlags(command, ["--max-model-len", value])).toBeNull();
    expect(loadOptions(command.opts<ModelFlags>()).max_model_len).toBeUndefined();
  });

  test("more served names behind the model: any name is taken in requests", () => {
    const { code, flags, said } = parse("m", "--served-model-name", "a", "b", "c", "--port", "1");
    expect(code).toBeNull();
    expect(flags).toMatchObject({ servedModelName: "a", port: 1 });
    expect(said).toContain("--served-model-name b, --served-model-name c");
  });

  test("every other name is that of a flag, and none is a flag itself", () => {
    const own = serve().options.map(({ long }) => long!);
    expect([...OTHER_NAMES.values()].filter((name) => !own.includes(name))).toEqual([]);
    expect([...OTHER_NAMES.keys()].filter((name) => own.includes(name))).toEqual([]);
  });
});

describe("values are not looked at as flags", () => {
  test("of own flags", () => {
    const { code, flags, said } = parse("--api-key", "--enforce-eager", "--chat-template=-tp {{ x }}");
    expect({ code, said }).toEqual({ code: null, said: "" });
    expect(flags).toMatchObject({ apiKey: "--enforce-eager", chatTemplate: "-tp {{ x }}" });
  });

  test("of those without effect", () => {
    const { code, flags } = parse(
      "--compilation-config",
      '{"level": 3}',
      "-cc.level",
      "3",
      "--log-level",
      "debug",
      "m",
    );
    expect(code).toBeNull();
    expect(flags.port).toBe(5678);
  });

  test("behind --", () => expect(parse("--", "-tp").model).toEqual(["-tp"]));
});

describe("refused, with advice", () => {
  test.each([
    ["--pipeline-parallel-size 2", "--tensor-parallel-size"],
    ["--enable-lora", "merge the adapter"],
    ["--hf-overrides.rope_theta 1", "config.json"],
    ["--kv_offloading_size=8", "--swap-space"],
    ["--mem-fraction-static 0.8", "--gpu-memory-utilization"],
    ["--speculative-config {}", "speculative decoding"],
    ["--max-model-len 0", "at least 1"],
    ["--max-model-len 1.5", "at least 1"],
    ["--no-such-flag", "unknown option"],
    ["--tensor_parallel_sizes 2", "--tensor-parallel-size"],
  ])("%s", (line, advice) => {
    const { code, said } = parse(...line.split(" "));
    expect(code).toBe(2);
    expect(said).toContain(advice);
  });
});
