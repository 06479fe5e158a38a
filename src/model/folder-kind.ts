/** Folders and repositories that hold something else than a model that Fastgen reads: what they are, and what to do. */

interface Kind {
  /** Names at the top level that tell; those of folders end in "/". They stand for "%" in `what`. */
  files: RegExp;
  /** A name that must be there as well. */
  beside?: RegExp;
  what: string;
  cure: string;
}

const ORIGINAL = "Fastgen reads safetensors; use the model that it was made from";

/** The first that fits counts. Files of one kind often lie beside those of another: the telling ones come first. */
const KINDS: Kind[] = [
  {
    files: /^adapter_(config\.json|model\..+)$/,
    what: "holds an adapter such as LoRA (%), not a whole model",
    cure: "merge it into its base model with peft (merge_and_unload, then save_pretrained of the model and the tokenizer) and give the result",
  },
  {
    files: /^(model_index\.json|diffusion_pytorch_model.*)$/,
    what: "holds a diffusers pipeline (%)",
    cure: "Fastgen serves language models; use diffusers",
  },
  {
    files: /^models--[^/]+\/$/,
    what: "is the cache of the hub, not a model",
    cure: 'give the name of a model, such as "org/name"',
  },
  {
    files: /^(consolidated.*\.safetensors|tekken\.json)$/,
    what: "holds a model in Mistral's own format (%)",
    cure: "use a repository or revision with Hugging Face's files (config.json, model*.safetensors, tokenizer.json), or convert it with transformers' convert_mistral_weights_to_hf.py",
  },
  {
    files: /^consolidated.*\.(pth|pt)$/,
    beside: /^params\.json$/,
    what: "holds a model in Meta's own format (%)",
    cure: "use the repository with Hugging Face's files, or convert it with transformers' convert_llama_weights_to_hf.py",
  },
  { files: /\.(gguf|ggml|llamafile)$|^ggml-.*\.bin$/i, what: "holds GGUF, llama.cpp's format (%)", cure: ORIGINAL },
  { files: /^weights(\.\d+)?\.safetensors$|\.npz$/, what: "holds weights in MLX's format (%)", cure: ORIGINAL },
  {
    files:
      /\.(distcp|nemo)$|^(zero_to_fp32\.py|latest_checkpointed_iteration\.txt|(global_step|mp_rank_|pytorch_model_fsdp).*\/)$/,
    what: "holds the checkpoint of a training framework (%)",
    cure: "export it to safetensors first (DeepSpeed: zero_to_fp32.py --safe_serialization; FSDP: accelerate merge-weights)",
  },
  {
    // What a Trainer leaves beside the weights is not weights.
    files: /^(?!training_args\.|optimizer|scheduler|rng_state).*\.(bin|pth|pt|ckpt|pkl)$/,
    what: "has its weights as PyTorch pickles alone (%)",
    cure: "Fastgen reads safetensors; choose a revision that has them, or convert with transformers: AutoModelForCausalLM.from_pretrained(MODEL).save_pretrained(FOLDER)",
  },
  { files: /\.onnx$|^onnx\/$/, what: "holds an ONNX model (%)", cure: ORIGINAL },
  { files: /\.h5$|\.pb$|\.ckpt\.index$/, what: "holds a TensorFlow model (%)", cure: ORIGINAL },
  {
    files: /\.msgpack$|^(_CHECKPOINT_METADATA|manifest\.ocdbt)$/,
    what: "holds a Flax or JAX model (%)",
    cure: ORIGINAL,
  },
  { files: /^openvino_/, what: "holds an OpenVINO model (%)", cure: ORIGINAL },
  { files: /\.ml(package|modelc)\/$|\.mlmodel$/, what: "holds a Core ML model (%)", cure: ORIGINAL },
  { files: /\.(engine|plan|trt)$/, what: "holds a TensorRT engine (%)", cure: ORIGINAL },
  { files: /\.(tflite|task|litertlm)$/, what: "holds a LiteRT model (%)", cure: ORIGINAL },
  { files: /\.(zip|tar|tgz|gz|xz|zst|7z)$/, what: "holds an archive (%)", cure: "unpack it and give the folder" },
];

const EMBEDDER: Kind = {
  files: /^(modules|config_sentence_transformers|sentence_bert_config)\.json$/,
  what: "is an embedding model of sentence-transformers (%)",
  cure: "it writes no text; use sentence-transformers, or a server for embeddings",
};

function describe(names: readonly string[], kinds: readonly Kind[]): string | null {
  for (const { files, beside, what, cure } of kinds) {
    const telling = names.filter((name) => files.test(name));
    if (telling.length === 0 || (beside && !names.some((name) => beside.test(name)))) continue;
    return `${what.replace("%", () => someNames(telling))}: ${cure}`;
  }
  return null;
}

/** A few names of many. */
export function someNames(names: readonly string[]): string {
  const most = 3;
  return names.toSorted().slice(0, most).join(", ") + (names.length > most ? ", ..." : "");
}

/**
 * What a folder without the usual files of a model is: the end of a sentence that its name begins. null when nothing tells.
 * @param names what it has at its top level; names of folders end in "/", those of broken links in "@".
 */
export function describeOtherKind(names: readonly string[]): string | null {
  return describe(names, KINDS);
}

/** The same for a model that has all the usual files and yet writes no text. */
export function describeEmbedder(names: readonly string[]): string | null {
  return describe(names, [EMBEDDER]);
}
