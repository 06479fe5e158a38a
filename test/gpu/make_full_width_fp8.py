#!/usr/bin/env python3
"""
Makes FP8 checkpoints as wide as Mistral 7B, of two layers with random weights, in the formats of test/golden/make_fp8.py, and
what their weights stand for. full-width-fp8.test.ts runs this script on a GPU. It also runs without one, for minutes.

    bun bench/shapes.ts DIR && python3 test/gpu/make_full_width_fp8.py DIR FORMAT...

It writes DIR/FORMAT/: config.json, model.safetensors, and expected.safetensors with N = 300 random ids:
    columns       int32 [C]       vocabulary entries whose logits are kept
    ids           int32 [N]
    logits        float32 [N][C]  computed in float32 from the weights times their scales
    fp8_error     float32 [N]     norm of naive FP8's error in those columns over the norm of the logits
    cache_error   float32 [N]     the same with keys and values in FP8 too, a scale for each token and head
"""

import argparse
import json
import pathlib
import sys

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import LlamaConfig, LlamaForCausalLM

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "golden"))
import common
import make_fp8

TOKENS, COLUMNS, BOUND = 300, 64, 32.0
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
torch.backends.cuda.matmul.allow_tf32 = False
SIZES = ["vocab_size", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "rms_norm_eps"]


def make(directory, name, fields):
    spec = make_fp8.FORMATS[name] | dict(one_file=True)
    if "bound" in spec:
        # Wide layers have larger inputs. As in the small model, few are beyond the bound.
        spec |= dict(bound=BOUND, config=spec["config"] | dict(activation_scale_ub=BOUND))
    generator = torch.Generator(DEVICE).manual_seed(11)
    config = LlamaConfig(
        **{size: fields[size] for size in SIZES}, num_hidden_layers=make_fp8.LAYERS, max_position_embeddings=4096,
        tie_word_embeddings=False, bos_token_id=None, eos_token_id=0, pad_token_id=None,
    )
    model = LlamaForCausalLM._from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    make_fp8.draw_weights(model, generator)
    ids = torch.randint(config.vocab_size, (TOKENS,), generator=generator).cpu().numpy().astype(np.int32)
    columns = torch.randperm(config.vocab_size, generator=generator)[:COLUMNS].sort().values.cpu().numpy().astype(np.int32)

    codes, scales = {}, {}
    for layer in make_fp8.layer_names():
        codes[f"{layer}.weight"], scales[layer] = make_fp8.quantize_weight(model.get_submodule(layer).weight, spec["by"])
    names = make_fp8.layer_names(spec.get("plain", ()))
    static = {}
    if "static" in spec:
        static = {layer: float(np.float32(most / make_fp8.MOST)) for layer, most in make_fp8.inputs_of(model, ids, names).items()}
    directory.mkdir()
    make_fp8.write_model(directory, spec, model, codes, scales, static)

    for layer in names:
        weight = model.get_submodule(layer).weight
        weight.copy_(codes[f"{layer}.weight"].float() * make_fp8.spread(scales[layer], spec["by"], weight.shape))
    want = np.ascontiguousarray(common.logits_of(model, ids)[:, columns])
    naive = make_fp8.naive_logits(model, ids, names, spec, static)[:, columns]
    model.set_attn_implementation("fp8_cache")
    cached = make_fp8.naive_logits(model, ids, names, spec, static)[:, columns]
    error, cache_error = common.relative_error(naive, want), common.relative_error(cached, want)
    print(f"{name:25} naive FP8 error {np.median(error):.4f} (most {error.max():.4f}); with FP8 cache "
          f"{np.median(cache_error):.4f} ({cache_error.max():.4f})", flush=True)
    assert cache_error.max() < 0.6, "too chaotic for a comparison"
    save_file(dict(ids=ids, columns=columns, logits=want, fp8_error=error, cache_error=cache_error),
              directory / "expected.safetensors")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("formats", nargs="+", choices=make_fp8.FORMATS)
    arguments = parser.parse_args()
    shape = json.loads((arguments.directory / "mistral-7b" / "config.json").read_text())
    with torch.device(DEVICE):
        for name in arguments.formats:
            make(arguments.directory / name, name, shape)
