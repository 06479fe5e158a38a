/** Folders and repositories that hold something else than a model that Fastgen reads: what they are, and what to do. */

interface Kind {
  /** Names at the top level; those of folders end in "/". */
  is: (has: (pattern: RegExp) => boolean) => boolean;
  what: string;
  cure: string;
}

const SAFETENSORS = "Fastgen reads safetensors";
const ORIGINAL = `${SAFETENSORS}: use the model that it was made from, as its page names it`;

/** The first that fits says what a folder is. Files of one kind often lie beside those of another: telling ones come first. */
const KINDS: Kind[] = [
  {
    is: (has) => has(/^adapter_config\.json$/),
    what: "holds an adapter (LoRA), not a whole model",
    cure: "merge it into its base model with peft (merge_and_unload, then save_pretrained of model and tokenizer) and give the folder of the result",
  },
  {
    is: (has) => has(/^model_index\.json$/),
    what: "holds a diffusers pipeline (model_index.json)",
    cure: "Fastgen serves language models; use diffusers",
  },
  {
    is: (has) => has(/^snapshots\/$/) && has(/^(refs|blobs)\/$/),
    what: "is a model's folder in the hub's cache, one level too high",
    cure: 'give the model\'s name ("org/name"), or one of the folders in its snapshots/',
  },
  {
    is: (has) => has(/^models--[^/]+\/$/) || (has(/^hub\/$/) && has(/^(xet|token|stored_tokens|modules)\/?$/)),
    what: "is a cache of the hub, not a model",
    cure: 'give a model\'s name ("org/name")',
  },
  {
    is: (has) => has(/^consolidated[\w.-]*\.safetensors$/) || has(/^tekken\.json$/),
    what: "holds a model in Mistral's own format (consolidated.safetensors, params.json, tekken.json) alone",
    cure: "use a repository or revision with the Hugging Face files (config.json, model*.safetensors, tokenizer.json), or convert it with transformers' convert_mistral_weights_to_hf.py",
  },
  {
    is: (has) => has(/^params\.json$/) && has(/^consolidated[\w.-]*\.(pth|pt)$/),
    what: "holds a model in Meta's own format (consolidated.*.pth, params.json) alone",
    cure: "use the repository with the Hugging Face files, or convert it with transformers' convert_llama_weights_to_hf.py",
  },
  { is: (has) => has(/\.(gguf|ggml)$/), what: "holds GGUF files, llama.cpp's format", cure: ORIGINAL },
  {
    is: (has) => has(/\.npz$/),
    what: "holds weights in MLX's format (.npz)",
    cure: ORIGINAL,
  },
  {
    is: (has) =>
      has(/\.distcp$|^(zero_to_fp32\.py|latest_checkpointed_iteration\.txt)$|^(global_step\d+|mp_rank_\d+)\/$|\.nemo$/),
    what: "holds a checkpoint of a training framework, in pieces",
    cure: "export it to the Hugging Face format first (DeepSpeed: zero_to_fp32.py --safe_serialization; Accelerate: accelerate merge-weights)",
  },
  {
    // What a Trainer leaves beside the weights is not weights.
    is: (has) => has(/^(?!training_args\.|optimizer|scheduler|rng_state)[^/]*\.(bin|pth|pt|ckpt|pkl)$/),
    what: "has its weights as PyTorch pickles (.bin, .pth, .pt) alone",
    cure: `${SAFETENSORS}: choose a revision that has them, or convert with transformers: AutoModelForCausalLM.from_pretrained(MODEL).save_pretrained(FOLDER)`,
  },
  { is: (has) => has(/\.onnx$|^onnx\/$/), what: "holds an ONNX model", cure: ORIGINAL },
  { is: (has) => has(/\.h5$|\.pb$|\.ckpt\.index$/), what: "holds a TensorFlow model", cure: ORIGINAL },
  { is: (has) => has(/\.msgpack$/), what: "holds a Flax model", cure: ORIGINAL },
  { is: (has) => has(/^openvino_/), what: "holds an OpenVINO model", cure: ORIGINAL },
  { is: (has) => has(/\.ml(package|modelc)\/$|\.mlmodel$/), what: "holds a Core ML model", cure: ORIGINAL },
  { is: (has) => has(/\.(engine|plan|trt)$/), what: "holds a TensorRT engine", cure: ORIGINAL },
  { is: (has) => has(/\.(tflite|task|litertlm)$/), what: "holds a LiteRT model", cure: ORIGINAL },
  {
    is: (has) => has(/\.(zip|tar|tgz|gz|xz|zst|7z)$/),
    what: "holds an archive",
    cure: "unpack it and give that folder",
  },
];

function find(names: readonly string[], kinds: readonly Kind[]): string | null {
  const kind = kinds.find(({ is }) => is((pattern) => names.some((name) => pattern.test(name))));
  return kind ? `${kind.what}: ${kind.cure}` : null;
}

/**
 * What a folder without a model's usual files is, as the end of a sentence that its name begins; null when nothing tells.
 * @param names what it has at its top level; names of folders end in "/".
 */
export function describeOtherKind(names: readonly string[]): string | null {
  return find(names, KINDS);
}

const EMBEDDER: Kind = {
  is: (has) => has(/^(modules|config_sentence_transformers|sentence_bert_config)\.json$/),
  what: "is an embedding model (sentence-transformers)",
  cure: "it writes no text; use sentence-transformers, or a server for embeddings",
};

/** A model that has all the usual files and yet writes no text. */
export function describeEmbedder(names: readonly string[]): string | null {
  return find(names, [EMBEDDER]);
}
