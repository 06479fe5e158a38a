/**
 * Flags of `vllm serve`, SGLang and llama-server that Fastgen spells otherwise or does not have, so that a command line that
 * people have works here, or an error says what to write. Nothing is left out silently.
 */
import type { Command } from "commander";

/** Other names of flags that mean the same. */
export const OTHER_NAMES = new Map<string, string>([
  ["-tp", "--tensor-parallel-size"],
  ["--tp", "--tensor-parallel-size"],
  ["--tp-size", "--tensor-parallel-size"],
  ["-dp", "--data-parallel-size"],
  ["--dp", "--data-parallel-size"],
  ["--dp-size", "--data-parallel-size"],
  ["-q", "--quantization"],
  ["--context-length", "--max-model-len"],
  ["-c", "--max-model-len"],
  ["--ctx-size", "--max-model-len"],
  ["--max-running-requests", "--max-num-seqs"],
  ["-np", "--max-num-seqs"],
  ["--parallel", "--max-num-seqs"],
  ["-t", "--threads"],
  ["-a", "--served-model-name"],
  ["--alias", "--served-model-name"],
  ["--disable-radix-cache", "--no-enable-prefix-caching"],
  ["--no-enable-log-requests", "--disable-log-requests"],
  ["--disable-uvicorn-access-log", "--disable-log-requests"],
  ["--no-webui", "--no-ui"],
  ["--random-seed", "--seed"],
]);

/** Flags whose value is the model, which is an argument here. */
export const MODEL = new Set(["--model", "--model-path", "-m"]);

const names = (text: string) => text.trim().split(/\s+/);

/** Switches that change no answer. */
export const SWITCHES = names(`
  --trust-remote-code --enforce-eager --enable-chunked-prefill --no-enable-chunked-prefill --async-scheduling
  --no-async-scheduling --disable-log-stats --no-disable-log-stats --enable-log-requests --aggregate-engine-logging
  --disable-frontend-multiprocessing --enable-request-id-headers --enable-server-load-tracking
  --enable-prompt-tokens-details --disable-fastapi-docs --log-error-stack --enable-sleep-mode --disable-cascade-attn
  --disable-custom-all-reduce --use-tqdm-on-load --no-use-tqdm-on-load --disable-hybrid-kv-cache-manager
  --no-disable-hybrid-kv-cache-manager --enable-expert-parallel -ep --enable-mfu-metrics --kv-cache-metrics --cudagraph-metrics
  --disable-chunked-mm-input --fail-on-environ-validation --disable-cuda-graph --enable-metrics --enable-mixed-chunk
  --enable-torch-compile --disable-overlap-schedule --skip-server-warmup --jinja --no-jinja --metrics --no-mmap --mlock
  --cont-batching -cb --no-warmup`);

/** Flags with a value that change no answer. */
export const VALUED = names(`
  --block-size --uvicorn-log-level --log-level --log-config-file --max-log-len --api-server-count -asc
  --disable-access-log-for-endpoints --attention-backend --attention-config --compilation-config -cc -O
  --optimization-level --performance-mode --prefix-caching-hash-algo --max-parallel-loading-workers
  --safetensors-load-strategy --max-num-partial-prefills --max-long-partial-prefills --long-prefill-token-threshold
  --distributed-executor-backend --guided-decoding-backend --stream-interval --show-hidden-metrics-for-version
  --h11-max-incomplete-event-size --h11-max-header-count --limit-mm-per-prompt --mm-processor-cache-gb
  --shutdown-grace-period --model-impl --config-format --tokenizer-revision --code-revision --cuda-graph-max-bs
  --sampling-backend --grammar-backend --schedule-policy --schedule-conservativeness --page-size -ngl --n-gpu-layers
  --gpu-layers -b --batch-size -ub --ubatch-size --cache-reuse --max-cudagraph-capture-size`);

/** Taken at these values, which ask for what happens anyway; refused at others, with advice. */
interface Advice {
  taken: readonly string[];
  advice: string;
}

const ONE_MACHINE = "one server is one machine's; docs/scaling.md says how to use several";
const NO_LORA = "adapters are not supported; merge the adapter into the weights";
const NO_SPECULATION =
  "speculative decoding is not supported; leave it out: answers are drawn from the same distribution";
const ROPE = "it is not supported; change config.json in a copy of the model's folder";
const IN_REQUESTS = "it is not supported; requests have a field for it";

/** By flag: what to write instead. The flags of the first list are switches, those of the second have a value. */
const REFUSED_SWITCHES = new Map<string, string>([
  ["--enable-lora", NO_LORA],
  ["--return-tokens-as-token-ids", `${IN_REQUESTS}: return_tokens_as_token_ids`],
  ["--exclude-tools-when-tool-choice-none", "it is not supported; leave tools out of requests that may not call any"],
  ["--skip-tokenizer-init", "there is always a tokenizer; POST /inference/v1/generate takes and gives token ids"],
  ["--tokens-only", "there is always a tokenizer; POST /inference/v1/generate takes and gives token ids"],
  ["--enable-prompt-embeds", "prompts are text or token ids"],
  ["--calculate-kv-scales", "scales of an FP8 KV cache come from the checkpoint, or are 1"],
  ["--disable-sliding-window", "it is not supported; --max-model-len can hold sequences within the window"],
  ["--enable-return-routed-experts", "mixtures of experts are not supported"],
  ["--headless", ONE_MACHINE],
  ["--data-parallel-hybrid-lb", ONE_MACHINE],
  ["--data-parallel-external-lb", ONE_MACHINE],
  ["--grpc", "requests come over HTTP; leave it out"],
  ["--enable-log-outputs", "answers are never logged; leave it out"],
  ["--embedding", "embeddings are not supported"],
  ["--embeddings", "embeddings are not supported"],
  ["--is-embedding", "embeddings are not supported"],
  ["--reranking", "embeddings are not supported"],
]);

const REFUSED_VALUES = new Map<string, Advice>(
  Object.entries({
    "--pipeline-parallel-size": [["1"], "layers are not split over GPUs; use --tensor-parallel-size"],
    "-pp": [["1"], "layers are not split over GPUs; use --tensor-parallel-size"],
    "--nnodes": [["1"], ONE_MACHINE],
    "--node-rank": [["0"], ONE_MACHINE],
    "--master-addr": [[], ONE_MACHINE],
    "--master-port": [[], ONE_MACHINE],
    "--data-parallel-size-local": [[], ONE_MACHINE],
    "-dpl": [[], ONE_MACHINE],
    "--data-parallel-rank": [[], ONE_MACHINE],
    "--data-parallel-start-rank": [[], ONE_MACHINE],
    "--data-parallel-address": [[], ONE_MACHINE],
    "--data-parallel-rpc-port": [[], ONE_MACHINE],
    "--data-parallel-backend": [["mp"], ONE_MACHINE],
    "--decode-context-parallel-size": [["1"], "use --tensor-parallel-size"],
    "--prefill-context-parallel-size": [["1"], "use --tensor-parallel-size"],
    "--runner": [["auto", "generate"], "only generating models are served"],
    "--task": [["auto", "generate"], "only generating models are served"],
    "--convert": [["auto", "none"], "only generating models are served"],
    "--pooler-config": [["{}"], "only generating models are served"],
    "--tokenizer": [[], "the tokenizer is that of the model's folder; put tokenizer.json into a copy of it"],
    "--tokenizer-path": [[], "the tokenizer is that of the model's folder; put tokenizer.json into a copy of it"],
    "--tokenizer-mode": [["auto", "hf", "fast"], "tokenizer.json is what is read"],
    "--hf-config-path": [[], ROPE],
    "--hf-overrides": [["{}"], ROPE],
    "--rope-scaling": [["{}"], ROPE],
    "--rope-theta": [[], ROPE],
    "--hf-token": [[], "set the variable HF_TOKEN"],
    "--download-dir": [[], "set the variable HF_HUB_CACHE to that folder"],
    "--max-logprobs": [["20"], "a request may ask for 20 alternatives per token"],
    "--response-role": [["assistant"], "answers have the role assistant"],
    "--generation-config": [["auto"], `it is not supported; requests can set what the model's file sets`],
    "--override-generation-config": [["{}"], `${IN_REQUESTS}: temperature, top_p and the like`],
    "--chat-template-kwargs": [["{}"], "use --default-chat-template-kwargs"],
    "--speculative-config": [[], NO_SPECULATION],
    "--speculative-model": [[], NO_SPECULATION],
    "--num-speculative-tokens": [["0"], NO_SPECULATION],
    "--speculative-algorithm": [[], NO_SPECULATION],
    "--model-draft": [[], NO_SPECULATION],
    "-md": [[], NO_SPECULATION],
    "--kv-transfer-config": [[], "prefill and decode are not split over servers"],
    "--ec-transfer-config": [[], "prefill and decode are not split over servers"],
    "--disaggregation-mode": [["null"], "prefill and decode are not split over servers"],
    "--weight-transfer-config": [[], "new weights come by POST /update_weights (docs/weights.md)"],
    "--worker-extension-cls": [[], "new weights come by POST /update_weights (docs/weights.md)"],
    "--worker-cls": [[], "there is one; leave it out"],
    "--scheduler-cls": [[], "there is one; see --scheduling-policy"],
    "--profiler-config": [[], "use --profile DIR"],
    "--num-gpu-blocks-override": [[], "use --kv-cache-memory-bytes"],
    "--max-total-tokens": [[], "use --kv-cache-memory-bytes"],
    "--kv-offloading-size": [[], "use --swap-space, which is in GiB for each GPU"],
    "--kv-offloading-backend": [["native"], "use --swap-space or --kv-cache-dir"],
    "--cpu-offload-gb": [["0"], "weights stay on the GPUs; use --quantization fp8 or more of them"],
    "--mem-fraction-static": [[], "use --gpu-memory-utilization, the share for weights, KV cache and all else"],
    "--chunked-prefill-size": [[], "use --max-num-batched-tokens, the tokens of a step"],
    "--max-prefill-tokens": [[], "use --max-num-batched-tokens, the tokens of a step"],
    "--lora-modules": [[], NO_LORA],
    "--max-loras": [[], NO_LORA],
    "--max-lora-rank": [[], NO_LORA],
    "--lora-paths": [[], NO_LORA],
    "--logits-processors": [[], "programs of others are not run; requests have logit_bias and structured_outputs"],
    "--middleware": [[], "programs of others are not run; put a proxy in front"],
    "--tool-parser-plugin": [[], "programs of others are not run; --tool-call-parser lists the formats"],
    "--reasoning-parser-plugin": [[], "programs of others are not run; --reasoning-parser lists the formats"],
    "--io-processor-plugin": [[], "programs of others are not run"],
    "--tool-server": [["none"], "tools are called by clients"],
    "--structured-outputs-config": [["{}"], "there is one backend; requests have structured_outputs"],
    "--additional-config": [["{}"], "there is nothing of that kind"],
    "--config": [[], "write its flags on the command line"],
    "--tokenizer-worker-num": [["1"], "leave it out"],
    "-hf": [[], "give the name on the hub as the model; GGUF files are not read"],
    "--hf-repo": [[], "give the name on the hub as the model; GGUF files are not read"],
  } satisfies Record<string, [string[], string]>).map(([name, [taken, advice]]) => [name, { taken, advice }]),
);

/** Names of parsers that vLLM and SGLang have for formats that Fastgen knows by another. */
const OTHER_VALUES = new Map<string, Record<string, string>>([
  ["--tool-call-parser", { qwen3_xml: "qwen3_coder", qwen25: "hermes", qwen: "hermes", llama3: "llama3_json" }],
  ["--reasoning-parser", { "deepseek-r1": "deepseek_r1", "qwen3-thinking": "qwen3" }],
  ["--load-format", { safetensors: "auto" }],
  ["--scheduling-policy", { fifo: "fcfs" }],
]);

/** By flag that may be refused: what to do instead. */
export const REFUSED: ReadonlyMap<string, string> = new Map([
  ...REFUSED_SWITCHES,
  ...[...REFUSED_VALUES].map(([flag, { advice }]) => [flag, advice] as const),
]);

export interface OwnFlags {
  args: string[];
  /** Names of flags that were left out: nothing here depends on them. */
  without: string[];
  /** An error: a flag that asks for what there is not. */
  refused: string | null;
}

/** Long names have dashes here, and may have underscores, as with vLLM. Single dashes as in `-O3` stay. */
function split(token: string): { name: string; value: string | null } {
  const [, name = token, value = null] = /^(--?[A-Za-z][\w.-]*)(?:=(.*))?$/s.exec(token) ?? [];
  return { name: name.startsWith("--") ? name.replaceAll("_", "-") : name, value };
}

/** A command line in the words of `command`. */
export function inOwnFlags(command: Command, given: readonly string[]): OwnFlags {
  const own = new Map(command.options.flatMap((one) => [one.short, one.long].map((name) => [name, one])));
  const switches = new Set(SWITCHES);
  const valued = new Set(VALUED);
  const args: string[] = [];
  const models: string[] = [];
  const without: string[] = [];
  const rest = [...given];
  let words = 0;
  const refuse = (written: string, advice: string): OwnFlags => ({ args, without, refused: `${written}: ${advice}` });
  while (rest.length > 0) {
    const token = rest.shift()!;
    if (!token.startsWith("-")) {
      words++;
      args.push(token);
      continue;
    }
    if (token === "--") {
      args.push(...models, token, ...rest);
      return { args, without, refused: null };
    }
    const { name: written, value: inline } = split(token);
    const renamed = OTHER_NAMES.get(written);
    const name = renamed !== undefined && !own.has(written) && own.has(renamed) ? renamed : written;
    const option = own.get(name);
    const take = () => inline ?? rest.shift() ?? "";
    if (option) {
      if (option.required && (inline !== null || rest.length > 0)) {
        const value = take();
        args.push(`${name}=${OTHER_VALUES.get(name)?.[value] ?? value}`);
      } else args.push(inline === null ? name : `${name}=${inline}`);
      // vLLM takes several names there. Requests may have any.
      if (name === "--served-model-name" && words >= command.registeredArguments.length) {
        while (rest.length > 0 && !rest[0]!.startsWith("-")) without.push(`${name} ${rest.shift()}`);
      }
    } else if (MODEL.has(written)) models.push(take());
    else if (switches.has(written) || /^-O\d$/.test(written)) without.push(written);
    else if (valued.has(written.replace(/\..*/, ""))) {
      without.push(written);
      take();
    } else {
      const advice = REFUSED_SWITCHES.get(written);
      if (advice !== undefined) return refuse(written, advice);
      // Parts of an object, such as --hf-overrides.rope_theta, are no more than the object is.
      const refused = REFUSED_VALUES.get(written.replace(/\..*/, ""));
      if (!refused) args.push(inline === null ? written : `${written}=${inline}`);
      else {
        // The value may be a secret.
        if (!refused.taken.includes(take())) return refuse(written, refused.advice);
      }
    }
  }
  return { args: [...args, ...models], without, refused: null };
}
