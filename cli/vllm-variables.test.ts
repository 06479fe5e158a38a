import { expect, test } from "bun:test";
import { unheardVariables, vllmKey } from "./vllm-variables.ts";

test("a key of vLLM's guards this server; an empty one is none", () => {
  expect(vllmKey({ VLLM_API_KEY: "secret" })).toBe("secret");
  expect(vllmKey({ VLLM_API_KEY: "" })).toBeUndefined();
  expect(vllmKey({})).toBeUndefined();
});

test("variables without effect are named, with what to use; those that Kubernetes makes of a service are not", () => {
  const lines = unheardVariables({
    VLLM_CPU_KVCACHE_SPACE: "4",
    VLLM_SERVICE_HOST: "10.0.0.1",
    VLLM_USE_MODELSCOPE: "",
  });
  expect(lines).toEqual(["fgserve: VLLM_CPU_KVCACHE_SPACE has no effect here: use --kv-cache-memory-bytes"]);
});
