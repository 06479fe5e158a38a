#!/usr/bin/env python3
"""
Makes fp8/<name>/: one tiny model of random weights in every FP8 format, in the layout of the tool that writes it. Beside
each stands expected.safetensors: the logits that its weights stand for, and what FP8 costs a naive implementation.

    python -m venv /tmp/golden && /tmp/golden/bin/pip install -r requirements.txt && /tmp/golden/bin/python make_fp8.py

The reference multiplies each FP8 weight by its scale and runs transformers in float32. Naive FP8 is the same run with the
inputs of quantised layers rounded to FP8 under the format's scheme, and nothing else.

The FP8 values are kept once for each granularity (fp8/channel.safetensors, ...); the folders link to them as their first
shard, and hold the scales as their second. "modelopt" is one file.

expected.safetensors holds, for N = 64 random ids:
    ids         int32 [N]
    columns     int32 [C]     vocabulary entries whose logits are kept
    logits      float32 [N][C]
    fp8_logits  float32 [N][C] of naive FP8
    fp8_error   float32 [N]   norm of naive FP8's error in those columns over the norm of the logits
    cache_error float32 [N]   the same with keys and values in FP8 too, a scale for each token and head
"""

import json
import pathlib
import shutil

import numpy as np
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, eager_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import eager_attention_forward

import common

HERE = pathlib.Path(__file__).parent / "fp8"
TOKENS, COLUMNS, MOST, BLOCK = 64, 24, 448.0, 128
FP8 = torch.float8_e4m3fn
LAYERS = 2

# Inner and outer dimensions of one block and a bit, and less than one.
CONFIG = dict(
    vocab_size=64, hidden_size=136, intermediate_size=40, num_hidden_layers=LAYERS, num_attention_heads=2,
    num_key_value_heads=1, head_dim=64, max_position_embeddings=256, rms_norm_eps=1e-5, tie_word_embeddings=False,
    rope_parameters=dict(rope_type="default", rope_theta=10000.0), bos_token_id=None, eos_token_id=0, pad_token_id=None,
)
LINEAR = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj",
          "mlp.down_proj"]
# Layers that read the same input, of which the library makes one product: static scales are the largest of these.
TOGETHER = [LINEAR[:3], [LINEAR[3]], LINEAR[4:6], [LINEAR[6]]]

float8 = dict(num_bits=8, type="float", symmetric=True)


def compressed(strategy, inputs, ignore, **more):
    weights = dict(float8, strategy=strategy, dynamic=False) | more
    group = dict(targets=["Linear"], weights=weights, input_activations=dict(float8, **inputs), output_activations=None)
    return dict(quant_method="compressed-tensors", format="float-quantized", quantization_status="compressed",
                config_groups=dict(group_0=group), ignore=ignore, kv_cache_scheme=None)


# For each format: granularity of the weights, config, names and forms of the scales, and the layers that stay bfloat16.
FORMATS = {
    "compressed-channel": dict(
        by="channel", scale="weight_scale", scale_dtype=torch.bfloat16,
        config=compressed("channel", dict(strategy="token", dynamic=True), ["lm_head"]),
    ),
    "compressed-tensor-static": dict(
        by="tensor", scale="weight_scale", shape=[1], scale_dtype=torch.bfloat16, static="input_scale",
        plain=["model.layers.0.mlp.down_proj", "model.layers.1.mlp.down_proj"],
        config=compressed("tensor", dict(strategy="tensor", dynamic=False), ["lm_head", "re:.*mlp\\.down_proj"]),
        cache=["self_attn.k_scale", "self_attn.v_scale"],
    ),
    "compressed-block": dict(
        by="block", scale="weight_scale",
        config=compressed("block", dict(strategy="group", group_size=BLOCK, dynamic=True), ["lm_head"],
                          block_structure=[BLOCK, BLOCK]),
    ),
    "fbgemm": dict(
        by="channel", scale="weight_scale", bound=12.0,
        plain=["model.layers.0.self_attn.o_proj"],
        config=dict(quant_method="fbgemm_fp8", activation_scale_ub=12.0,
                    modules_to_not_convert=["lm_head", "model.layers.0.self_attn.o_proj"]),
    ),
    "fp8-block": dict(
        by="block", scale="weight_scale_inv",
        config=dict(quant_method="fp8", fmt="e4m3", activation_scheme="dynamic", weight_block_size=[BLOCK, BLOCK]),
    ),
    "fp8-static": dict(
        by="tensor", scale="weight_scale", shape=[], static="input_scale",
        config=dict(quant_method="fp8", activation_scheme="static", ignored_layers=["lm_head"]),
        cache=["self_attn.attn.k_scale", "self_attn.attn.v_scale"],
    ),
    "fp8-dynamic": dict(
        by="tensor", scale="weight_scale_inv", shape=[],
        config=dict(quant_method="fp8", activation_scheme="dynamic", modules_to_not_convert=["lm_head"]),
    ),
    "modelopt": dict(
        by="tensor", scale="weight_scale", shape=[], static="input_scale", one_file=True,
        modelopt=dict(quant_algo="FP8", kv_cache_quant_algo="FP8", exclude_modules=["lm_head"]),
        cache=["self_attn.k_proj.k_scale", "self_attn.v_proj.v_scale"],
    ),
    "modelopt-channel": dict(
        by="channel", scale="weight_scale", flat=True,
        config=dict(quant_method="modelopt", quant_algo="FP8_PER_CHANNEL_PER_TOKEN", ignore=["lm_head"]),
    ),
}


def spread(scale, by, shape):
    """The scales [..] of a matrix, one for each element."""
    if by != "block":
        return scale.expand(shape)
    return scale.repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)[: shape[0], : shape[1]]


def quantize_weight(weight, by):
    """The matrix in FP8 and its scales, [rows][1], [1][1] or [blocks][blocks]."""
    magnitude = weight.abs()
    if by == "channel":
        amax = magnitude.amax(1, keepdim=True)
    elif by == "tensor":
        amax = magnitude.amax().reshape(1, 1)
    else:
        rows, cols = (-(-n // BLOCK) for n in weight.shape)
        padded = torch.nn.functional.pad(magnitude, (0, cols * BLOCK - weight.shape[1], 0, rows * BLOCK - weight.shape[0]))
        amax = padded.reshape(rows, BLOCK, cols, BLOCK).amax((1, 3))
    # bfloat16 holds the scales too: some formats keep them so.
    scale = (amax / MOST).to(torch.bfloat16).float()
    return (weight / spread(scale, by, weight.shape)).clamp(-MOST, MOST).to(FP8), scale


def through_fp8(x, scale):
    return (x / scale).clamp(-MOST, MOST).to(FP8).float() * scale


def by_token(x, bound):
    amax = x.abs().amax(-1, keepdim=True)
    return through_fp8(x, (amax.clamp(max=bound) if bound else amax).clamp(min=1e-12) / MOST)


def by_token_and_block(x):
    pad = -x.shape[-1] % BLOCK
    groups = torch.nn.functional.pad(x, (0, pad)).reshape(*x.shape[:-1], -1, BLOCK)
    return by_token(groups, 0).reshape(*x.shape[:-1], -1)[..., : x.shape[-1]]


def fp8_cache_attention(module, query, key, value, *args, **kwargs):
    return eager_attention_forward(module, query, by_token(key, 0), by_token(value, 0), *args, **kwargs)


ALL_ATTENTION_FUNCTIONS.register("fp8_cache", fp8_cache_attention)
ALL_MASK_ATTENTION_FUNCTIONS.register("fp8_cache", eager_mask)


def draw_weights(model, generator):
    for name, weight in model.named_parameters():
        normal = torch.randn(weight.shape, generator=generator)
        if "norm" in name:
            weight.copy_(1.0 + 0.3 * normal)
        elif "embed_tokens" in name or "lm_head" in name:
            weight.copy_(normal * 3 / weight.shape[1] ** 0.5)
        else:
            # Rows of different size, so that scales differ; queries and keys that FP8 does not send elsewhere.
            attends = "q_proj" in name or "k_proj" in name
            rows = torch.exp((0.2 if attends else 0.5) * torch.randn(weight.shape[0], 1, generator=generator))
            weight.copy_(normal * rows * (0.7 if attends else 1.0) / weight.shape[1] ** 0.5)
    model.to(torch.bfloat16).float()


def layer_names(plain=()):
    names = [f"model.layers.{i}.{name}" for i in range(LAYERS) for name in LINEAR]
    return [name for name in names if name not in plain]


def inputs_of(model, ids, names):
    """The greatest magnitude of each layer's inputs."""
    most, hooks = {}, []
    for name in names:
        hook = lambda _module, args, name=name: most.__setitem__(name, float(args[0].abs().max()))
        hooks.append(model.get_submodule(name).register_forward_pre_hook(hook))
    common.logits_of(model, ids)
    for hook in hooks:
        hook.remove()
    return most


def naive_logits(model, ids, names, spec, static):
    """With the inputs of quantised layers rounded to FP8."""
    hooks = []
    for name in names:
        def hook(_module, args, name=name):
            x = args[0]
            if static:
                layer, own = name.split(".", 3)[2], name.split(".", 3)[3]
                group = next(group for group in TOGETHER if own in group)
                scales = [static[f"model.layers.{layer}.{other}"] for other in group]
                return (through_fp8(x, max(scales)),)
            return (by_token_and_block(x) if spec["by"] == "block" else by_token(x, spec.get("bound", 0)),)
        hooks.append(model.get_submodule(name).register_forward_pre_hook(hook))
    logits = common.logits_of(model, ids)
    for hook in hooks:
        hook.remove()
    return logits


def write_model(directory, spec, model, codes, scales, static):
    """config.json, and what the format adds to the tensors that all share."""
    config = json.loads(model.config.to_json_string()) | dict(architectures=["LlamaForCausalLM"], dtype="bfloat16")
    if "config" in spec:
        config["quantization_config"] = spec["config"]
    (directory / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    if "modelopt" in spec:
        file = dict(producer=dict(name="modelopt", version="0.33.0"), quantization=spec["modelopt"])
        (directory / "hf_quant_config.json").write_text(json.dumps(file, indent=1) + "\n")
    (directory / "tokenizer.json").write_text("{}\n")

    own = {}
    for name in layer_names(spec.get("plain", ())):
        scale = scales[name].to(spec.get("scale_dtype", torch.float32))
        if spec["by"] == "tensor":
            scale = scale.reshape(spec["shape"])
        own[f"{name}.{spec['scale']}"] = scale.flatten() if spec.get("flat") else scale.contiguous()
        if static:
            own[f"{name}.{spec['static']}"] = torch.tensor(static[name]).reshape(spec["shape"])
    for name in spec.get("plain", ()):
        own[f"{name}.weight"] = model.get_submodule(name).weight.to(torch.bfloat16)
    for layer in range(LAYERS):
        for name in spec.get("cache", ()):
            own[f"model.layers.{layer}.{name}"] = torch.tensor(0.02)
    shared = codes | {
        name: weight.to(torch.bfloat16) for name, weight in model.named_parameters()
        if name.removesuffix(".weight") not in scales
    }
    if spec.get("one_file"):
        save_torch(shared | own, directory / "model.safetensors", metadata=dict(format="pt"))
        return
    files = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    source = HERE / f"{spec['by']}.safetensors"
    if not source.exists():
        save_torch(shared, source, metadata=dict(format="pt"))
    (directory / files[0]).symlink_to(f"../{source.name}")
    save_torch(own, directory / files[1], metadata=dict(format="pt"))
    where = dict.fromkeys(shared, files[0]) | dict.fromkeys(own, files[1])
    index = dict(metadata={}, weight_map=where)
    (directory / "model.safetensors.index.json").write_text(json.dumps(index, indent=1, sort_keys=True) + "\n")


def make(name, spec):
    directory = HERE / name
    directory.mkdir()
    generator = torch.Generator().manual_seed(7)
    model = LlamaForCausalLM._from_config(LlamaConfig(**CONFIG), attn_implementation="eager").eval()
    draw_weights(model, generator)
    ids = torch.randint(CONFIG["vocab_size"], (TOKENS,), generator=generator).numpy().astype(np.int32)
    columns = torch.randperm(CONFIG["vocab_size"], generator=generator)[:COLUMNS].sort().values.numpy().astype(np.int32)

    codes, scales = {}, {}
    for layer in layer_names():
        codes[f"{layer}.weight"], scales[layer] = quantize_weight(model.get_submodule(layer).weight, spec["by"])
    names = layer_names(spec.get("plain", ()))
    static = {}
    if "static" in spec:
        # Layers of one product get different scales, and some inputs are beyond them.
        most = inputs_of(model, ids, names)
        static = {layer: float(np.float32(0.9 * most[layer] / MOST * (1 + 0.2 * i % 0.6))) for i, layer in enumerate(names)}
    write_model(directory, spec, model, codes, scales, static)

    for layer in names:
        weight = model.get_submodule(layer).weight
        weight.copy_(codes[f"{layer}.weight"].float() * spread(scales[layer], spec["by"], weight.shape))
    want = common.logits_of(model, ids)[:, columns]
    naive = naive_logits(model, ids, names, spec, static)[:, columns]
    model.set_attn_implementation("fp8_cache")
    cached = naive_logits(model, ids, names, spec, static)[:, columns]
    error, cache_error = common.relative_error(naive, want), common.relative_error(cached, want)
    size = sum(file.stat().st_size for file in directory.iterdir() if not file.is_symlink())
    print(f"{name:25} naive FP8 error {np.median(error):.4f} (most {error.max():.4f}); with FP8 cache "
          f"{np.median(cache_error):.4f} ({cache_error.max():.4f}); {size // 1024} KiB", flush=True)
    assert cache_error.max() < 0.6, "too chaotic for a comparison"
    save_file(
        dict(ids=ids, columns=columns, logits=np.ascontiguousarray(want), fp8_logits=np.ascontiguousarray(naive),
             fp8_error=error, cache_error=cache_error),
        directory / "expected.safetensors",
    )


if __name__ == "__main__":
    shutil.rmtree(HERE, ignore_errors=True)
    HERE.mkdir()
    for name, spec in FORMATS.items():
        make(name, spec)
