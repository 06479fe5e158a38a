/** Variables that people set for vLLM's server: its key guards this one, too, and of others the log says what to use. */

/** By variable: what does the same here. Without them the server would be another than the one that was asked for. */
const ADVICE: Record<string, string> = {
  VLLM_HTTP_TIMEOUT_KEEP_ALIVE: "use --timeout-keep-alive",
  VLLM_CPU_KVCACHE_SPACE: "use --kv-cache-memory-bytes",
  VLLM_CPU_OMP_THREADS_BIND: "use --threads, and taskset",
  VLLM_TORCH_PROFILER_DIR: "use --profile",
  VLLM_USE_MODELSCOPE: "models come from Hugging Face, or from HF_ENDPOINT; or give a folder",
  VLLM_ALLOW_LONG_MAX_MODEL_LEN: "sequences are never longer than config.json allows",
  VLLM_ALLOW_RUNTIME_LORA_UPDATING: "adapters are not supported; merge them into the weights",
  VLLM_LORA_MODULES_LOADING_TIMEOUT: "adapters are not supported; merge them into the weights",
};

type Variables = Record<string, string | undefined>;

/** vLLM's variable for --api-key. Empty, it means none, as there. */
export function vllmKey(variables: Variables = process.env): string | undefined {
  return variables.VLLM_API_KEY || undefined;
}

/** A line for each variable that has no effect here. */
export function unheardVariables(variables: Variables = process.env): string[] {
  const set = Object.keys(ADVICE).filter((name) => variables[name] !== undefined && variables[name] !== "");
  return set.map((name) => `fgserve: ${name} has no effect here: ${ADVICE[name]}`);
}
