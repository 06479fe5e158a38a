#!/usr/bin/env python3
"""
How much an FP8 KV cache changes attention's output, by what shares a scale: the whole tensor of a layer (calibrated on the
very text, the best case for a checkpoint's k_scale and v_scale), a page of 64 tokens of one head, or one token of one
head. Prints the relative error of the output's norm, over all layers and positions of a text.

    python bench/kv_scales.py [model directory]      (packages: test/golden/requirements.txt)
"""

import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, eager_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import eager_attention_forward

ROOT = pathlib.Path(__file__).parent.parent
MOST, PAGE, TOKENS = 448.0, 64, 1024


def through_fp8(x, amax):
    scale = amax.clamp(min=1e-12) / MOST
    return (x / scale).clamp(-MOST, MOST).to(torch.float8_e4m3fn).float() * scale


def per_tensor(x):
    return through_fp8(x, x.abs().amax())


def per_page(x):
    """x: [1][heads][tokens][head_dim], tokens a multiple of PAGE."""
    pages = x.unflatten(2, (-1, PAGE))
    return through_fp8(pages, pages.abs().amax((3, 4), keepdim=True)).flatten(2, 3)


def per_token(x):
    return through_fp8(x, x.abs().amax(-1, keepdim=True))


WAYS = {"per tensor": per_tensor, "per page and head": per_page, "per token and head": per_token}
errors = {(way, which): [] for way in WAYS for which in ("keys", "values", "both")}


def attention(module, query, key, value, *args, **kwargs):
    exact = eager_attention_forward(module, query, key, value, *args, **kwargs)
    for way, quantize in WAYS.items():
        k, v = quantize(key), quantize(value)
        for which, pair in dict(keys=(k, value), values=(key, v), both=(k, v)).items():
            out = eager_attention_forward(module, query, *pair, *args, **kwargs)[0]
            error = (out - exact[0]).norm(dim=(-2, -1)) / exact[0].norm(dim=(-2, -1))
            errors[way, which].append(error.flatten())
    return exact


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    directory = sys.argv[1] if len(sys.argv) > 1 else ROOT / ".cache/models/SmolLM2-135M-Instruct"
    ALL_ATTENTION_FUNCTIONS.register("measured", attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register("measured", eager_mask)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="measured").eval()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    ids = tokenizer((ROOT / "ARCHITECTURE.md").read_text(), return_tensors="pt").input_ids[:, :TOKENS]
    model(input_ids=ids, use_cache=False)
    for way in WAYS:
        shown = []
        for which in ("keys", "values", "both"):
            every = torch.cat(errors[way, which])
            shown.append(f"{which} {100 * every.mean():.2f} % (99th percentile {100 * every.quantile(0.99):.2f} %)")
        print(f"{way:20} {'; '.join(shown)}")
