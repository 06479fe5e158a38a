#!/usr/bin/env python3
"""
Makes models/<name>/: tiny checkpoints of random weights, of every supported family and in Hugging Face's layout. Beside
each stands expected.safetensors: what transformers computes from it on the CPU.

    python -m venv /tmp/golden && /tmp/golden/bin/pip install -r requirements.txt && /tmp/golden/bin/python make_models.py [name ...]

The weights are drawn so that attention, biases, norms and the scaling of the rotary embedding all change the logits
far more than rounding does. The script checks that: it runs each model again without its feature, and the result must
differ.

expected.safetensors holds, for one sequence of N = 150 random ids (more than two pages of 64):
    ids         int32 [N]
    columns     int32 [C]      vocabulary entries whose logits are kept
    logits      float32 [N][C] logits in those columns, computed in float32
    logsumexp   float32 [N]    over the whole vocabulary
    argmax      int32 [N], gap float32 [N]: the most probable id, and how far its logit is above the second
    bf16_error  float32 [N]    norm of naive bfloat16's error in those columns over the norm of the logits;
                               naive is transformers in bfloat16
    bf16_max    float32 [N]    its largest absolute error over the whole vocabulary
    greedy      int32 [48], greedy_gap float32 [48]: greedy continuation of ids in float32, and its gaps
"""

import json
import pathlib
import shutil
import sys

import numpy as np
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers import MinistralConfig, MinistralForCausalLM
from transformers import MistralConfig, MistralForCausalLM
from transformers import Qwen2Config, Qwen2ForCausalLM
from transformers import Qwen3Config, Qwen3ForCausalLM

import common

HERE = pathlib.Path(__file__).parent
TOKENS, COLUMNS, GREEDY = 150, 32, 48

# For each model: family, config, how config.json spells it, and the config whose result must differ.
# `legacy` writes rope_theta and rope_scaling at the top level, as checkpoints did before transformers 5.
MODELS = {
    "llama3-rope": dict(
        family="llama", heads=4, kv_heads=1, head_dim=64, hidden=48, intermediate=80, legacy=True,
        rope=dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                  original_max_position_embeddings=64),
        without=dict(rope_parameters=dict(rope_type="default", rope_theta=500000.0)),
    ),
    "llama-linear": dict(
        family="llama", heads=3, kv_heads=3, head_dim=32, hidden=48, intermediate=96, tied=True,
        rope=dict(rope_type="linear", rope_theta=10000.0, factor=4.0),
        without=dict(rope_parameters=dict(rope_type="default", rope_theta=10000.0)),
    ),
    "llama-yarn": dict(
        family="llama", heads=4, kv_heads=2, head_dim=64, hidden=32, intermediate=112,
        rope=dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=64),
        without=dict(rope_parameters=dict(rope_type="default", rope_theta=10000.0)),
    ),
    "llama-sharded-f16": dict(
        family="llama", heads=3, kv_heads=1, head_dim=64, hidden=48, intermediate=64, tied=True, legacy=True,
        dtype=torch.float16, shards=3, rope=dict(rope_type="default", rope_theta=100000.0),
        without=dict(rope_parameters=dict(rope_type="default", rope_theta=1000.0)),
    ),
    "llama-f32": dict(
        family="llama", heads=2, kv_heads=2, head_dim=32, hidden=40, intermediate=72, vocab=259, tied=True,
        dtype=torch.float32, rope=dict(rope_type="default", rope_theta=10000.0),
        without=dict(rope_parameters=dict(rope_type="default", rope_theta=1000.0)),
    ),
    "mistral": dict(
        family="mistral", heads=4, kv_heads=1, head_dim=128, hidden=32, intermediate=48, legacy=True,
        rope=dict(rope_type="default", rope_theta=1000000.0), more=dict(sliding_window=None),
        without=dict(sliding_window=48),
    ),
    "mistral-window": dict(
        family="mistral", heads=8, kv_heads=1, head_dim=32, hidden=32, intermediate=96, legacy=True,
        rope=dict(rope_type="default", rope_theta=10000.0), more=dict(sliding_window=48),
        without=dict(sliding_window=None),
    ),
    "ministral": dict(
        family="ministral", heads=8, kv_heads=2, head_dim=32, hidden=32, intermediate=96,
        rope=dict(rope_type="default", rope_theta=100000000.0),
        more=dict(sliding_window=70, layer_types=["sliding_attention", "full_attention", "sliding_attention"]), layers=3,
        without=dict(layer_types=["sliding_attention"] * 3),
    ),
    "qwen2": dict(
        family="qwen2", heads=14, kv_heads=2, head_dim=32, hidden=28, intermediate=88, legacy=True,
        rope=dict(rope_type="default", rope_theta=1000000.0), without="biases",
    ),
    "qwen2-tied": dict(
        family="qwen2", heads=6, kv_heads=1, head_dim=64, hidden=48, intermediate=64, tied=True,
        rope=dict(rope_type="default", rope_theta=1000000.0), without="biases",
    ),
    "qwen2-yarn-window": dict(
        family="qwen2", heads=2, kv_heads=2, head_dim=32, hidden=64, intermediate=64, legacy=True, layers=3,
        rope=dict(type="yarn", rope_theta=1000000.0, factor=4.0, original_max_position_embeddings=64),
        more=dict(use_sliding_window=True, sliding_window=40, max_window_layers=1),
        without=dict(use_sliding_window=False),
    ),
    "qwen3": dict(
        family="qwen3", heads=4, kv_heads=2, head_dim=128, hidden=32, intermediate=64, tied=True,
        rope=dict(rope_type="default", rope_theta=1000000.0), without="norms",
    ),
    "qwen3-g5": dict(
        family="qwen3", heads=5, kv_heads=1, head_dim=64, hidden=40, intermediate=72, legacy=True, vocab=287,
        rope=dict(rope_type="default", rope_theta=1000000.0), without="norms",
    ),
}
FAMILIES = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "mistral": (MistralConfig, MistralForCausalLM),
    "ministral": (MinistralConfig, MinistralForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
}


def draw_weights(model, generator):
    """Random weights with which every part matters. Linear layers keep the scale of their input, times a gain."""
    for name, weight in model.named_parameters():
        normal = torch.randn(weight.shape, generator=generator)
        if "norm" in name:
            # q_norm and k_norm set how sharp the attention is; with values around 1 it would be nearly uniform.
            weight.copy_((1.5 if ".q_norm" in name or ".k_norm" in name else 1.0) + 0.3 * normal)
        elif name.endswith("bias"):
            weight.copy_(0.5 * normal)
        elif "embed_tokens" in name or "lm_head" in name:
            weight.copy_(normal * 3 / weight.shape[1] ** 0.5)
        else:
            gain = 1.5 if "q_proj" in name or "k_proj" in name else 1.0
            weight.copy_(normal * gain / weight.shape[1] ** 0.5)


def byte_tokenizer(vocab):
    """A tokenizer.json with one token per byte, to make the directory complete: ByteLevel's alphabet, then fillers."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters, extra = {}, 0
    for byte in range(256):
        if byte in printable:
            letters[byte] = chr(byte)
        else:
            letters[byte] = chr(256 + extra)
            extra += 1
    ids = {letters[byte]: byte for byte in range(256)} | {f"<extra_{i}>": i for i in range(256, vocab)}
    level = dict(add_prefix_space=False, trim_offsets=False, use_regex=False)
    return dict(
        version="1.0", truncation=None, padding=None, added_tokens=[], normalizer=None,
        pre_tokenizer=dict(type="ByteLevel", **level), post_processor=None, decoder=dict(type="ByteLevel", **level),
        model=dict(type="BPE", dropout=None, unk_token=None, continuing_subword_prefix=None, end_of_word_suffix=None,
                   fuse_unk=False, byte_fallback=False, ignore_merges=False, vocab=ids, merges=[]),
    )


def make_config(spec, changes=None):
    config_class, _ = FAMILIES[spec["family"]]
    fields = dict(
        vocab_size=spec.get("vocab", 256), hidden_size=spec["hidden"], intermediate_size=spec["intermediate"],
        num_hidden_layers=spec.get("layers", 2), num_attention_heads=spec["heads"], num_key_value_heads=spec["kv_heads"],
        head_dim=spec["head_dim"], max_position_embeddings=256, rms_norm_eps=1e-5, tie_word_embeddings=spec.get("tied", False),
        rope_parameters=dict(spec["rope"]), bos_token_id=None, eos_token_id=0, pad_token_id=None,
    )
    return config_class(**(fields | spec.get("more", {}) | (changes or {})))


def write_config(directory, config, spec):
    path = directory / "config.json"
    fields = json.loads(path.read_text())
    if spec.get("legacy"):
        rope = dict(spec["rope"])
        fields.pop("rope_parameters")
        fields.pop("layer_types", None)
        fields["torch_dtype"] = fields.pop("dtype")
        fields["rope_theta"] = rope.pop("rope_theta")
        fields["rope_scaling"] = rope if rope.get("rope_type") != "default" else None
        if spec["head_dim"] * spec["heads"] == spec["hidden"]:
            fields.pop("head_dim")
    path.write_text(json.dumps(fields, indent=1, sort_keys=True) + "\n")


def write_shards(directory, shards):
    """Splits model.safetensors into shards with an index, like a large checkpoint."""
    from safetensors.torch import load_file

    tensors = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    names, where = list(tensors), {}
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        part = names[shard::shards]
        save_torch({name: tensors[name] for name in part}, directory / file, metadata={"format": "pt"})
        where |= dict.fromkeys(part, file)
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    index = dict(metadata=dict(total_size=total), weight_map=where)
    (directory / "model.safetensors.index.json").write_text(json.dumps(index, indent=1, sort_keys=True) + "\n")


def without_feature(spec, directory):
    """The same weights in a model without the feature that this one tests."""
    model = common.load(directory, torch.float32)
    if spec["without"] in ("biases", "norms"):
        for name, weight in model.named_parameters():
            if spec["without"] == "biases" and name.endswith("bias"):
                weight.zero_()
            if spec["without"] == "norms" and (".q_norm" in name or ".k_norm" in name):
                weight.fill_(1)
        return model
    other = FAMILIES[spec["family"]][1]._from_config(make_config(spec, spec["without"]), attn_implementation="eager")
    other.load_state_dict(model.state_dict())
    return other.eval()


def make(name, spec, seed):
    directory = HERE / "models" / name
    shutil.rmtree(directory, ignore_errors=True)
    generator = torch.Generator().manual_seed(seed)
    config = make_config(spec)
    model = FAMILIES[spec["family"]][1](config)
    draw_weights(model, generator)
    model.to(spec.get("dtype", torch.bfloat16)).save_pretrained(directory)
    (directory / "generation_config.json").unlink(missing_ok=True)
    write_config(directory, config, spec)
    if "shards" in spec:
        write_shards(directory, spec["shards"])
    (directory / "tokenizer.json").write_text(json.dumps(byte_tokenizer(config.vocab_size), separators=(",", ":")))

    # Everything expected is computed from the directory as written, which the tests load too.
    exact = common.load(directory, torch.float32)
    naive = common.load(directory, torch.bfloat16)
    ids = torch.randint(config.vocab_size, (TOKENS,), generator=generator).numpy().astype(np.int32)
    columns = torch.randperm(config.vocab_size, generator=generator)[:COLUMNS].sort().values.numpy().astype(np.int32)
    want, low = common.logits_of(exact, ids), common.logits_of(naive, ids)
    continued, continued_gap = common.greedy(exact, ids, GREEDY)

    error = common.relative_error(low, want)
    lacking = common.relative_error(common.logits_of(without_feature(spec, directory), ids), want)
    forgetful = ids.copy()
    forgetful[: TOKENS // 2] = ids[: TOKENS // 2][::-1]
    memory = common.relative_error(common.logits_of(exact, forgetful), want)
    late = slice(TOKENS // 2, None)
    print(f"{name:20} bf16 error {np.median(error):.4f} (most {error.max():.4f}); without its feature "
          f"{np.median(lacking[late]):.3f}; other early tokens {np.median(memory[late]):.3f}; "
          f"{sum(f.stat().st_size for f in directory.iterdir()) // 1024} KiB", flush=True)
    assert np.median(lacking[late]) > 5 * np.median(error), "the feature hardly changes the result"
    if "window" not in name:
        assert np.median(memory[late]) > 5 * np.median(error), "attention hardly matters"
    assert error.max() < 0.2, "too chaotic for a comparison"

    save_file(
        dict(
            ids=ids, columns=columns, logits=np.ascontiguousarray(want[:, columns]), logsumexp=common.logsumexp(want),
            argmax=want.argmax(-1).astype(np.int32), gap=common.gap(want),
            bf16_error=common.relative_error(low[:, columns], want[:, columns]), bf16_max=common.largest_error(low, want),
            greedy=continued, greedy_gap=continued_gap,
        ),
        directory / "expected.safetensors",
    )


if __name__ == "__main__":
    wanted = sys.argv[1:] or list(MODELS)
    for seed, (name, spec) in enumerate(MODELS.items()):
        if name in wanted:
            make(name, spec, seed)
