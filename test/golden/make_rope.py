"""Writes rope.json: transformers' inverse frequencies and attention factors, for each RoPE scaling.

    python -m venv venv && venv/bin/pip install transformers==5.23.0 torch --index-url https://download.pytorch.org/whl/cpu
    venv/bin/python test/golden/make_rope.py
"""

import json
import math
from pathlib import Path

import torch
import transformers
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
# name: (head_dim, max_position_embeddings, rope_theta, the rest of rope_parameters)
CASES = {
    "Llama 2": (128, 4096, 10_000.0, {"rope_type": "default"}),
    "SmolLM2": (64, 8192, 100_000.0, {"rope_type": "default"}),
    "Mistral 7B v0.3": (128, 32768, 1_000_000.0, {"rope_type": "default"}),
    "Ministral 8B": (128, 32768, 100_000_000.0, {"rope_type": "default"}),
    "head_dim 32": (32, 2048, 10_000.0, {"rope_type": "default"}),
    "Llama 3.1 8B": (128, 131072, 500_000.0, LLAMA3),
    "Llama 3.2 1B": (64, 131072, 500_000.0, {**LLAMA3, "factor": 32.0}),
    "linear": (128, 4096, 10_000.0, {"rope_type": "linear", "factor": 4.0}),
    "linear, odd factor": (64, 4096, 500_000.0, {"rope_type": "linear", "factor": 2.7}),
    "dynamic": (128, 4096, 10_000.0, {"rope_type": "dynamic", "factor": 2.0}),
    "Qwen2.5 with YaRN": (128, 32768, 1_000_000.0, YARN),
    "YaRN, attention_factor": (128, 131072, 1_000_000.0, {**YARN, "attention_factor": 1.25}),
    "YaRN, betas": (64, 131072, 10_000.0, {**YARN, "beta_fast": 16.0, "beta_slow": 2.0, "factor": 3.5}),
    "YaRN, mscale": (64, 163840, 10_000.0, {**YARN, "mscale": 0.707, "mscale_all_dim": 1.1, "factor": 40.0}),
    "YaRN, mscale without mscale_all_dim": (128, 131072, 1_000_000.0, {**YARN, "mscale": 0.707}),
    "YaRN, betas of 0": (64, 131072, 10_000.0, {**YARN, "beta_fast": 0, "beta_slow": 0}),
    "YaRN, attention_factor beside mscale": (
        128,
        131072,
        1_000_000.0,
        {**YARN, "attention_factor": 0.9, "mscale": 0.707, "mscale_all_dim": 1.1},
    ),
    "DeepSeek-R1-0528-Qwen3-8B": (128, 131072, 1_000_000.0, {**YARN, "attn_factor": 0.8782488562869419}),
    "YaRN, not truncated": (128, 131072, 150_000.0, {**YARN, "truncate": False}),
}


def as_transformers_has_it(rope):
    """transformers does not know attn_factor, a multiplier of vLLM's; its attention_factor is the whole product."""
    if "attn_factor" not in rope:
        return rope
    rest = {key: value for key, value in rope.items() if key != "attn_factor"}
    return {**rest, "attention_factor": rope["attn_factor"] * (0.1 * math.log(rope["factor"]) + 1)}


def case(head_dim, positions, theta, rope):
    config = LlamaConfig(
        hidden_size=head_dim * 2,
        num_attention_heads=2,
        head_dim=head_dim,
        max_position_embeddings=positions,
        rope_parameters={**as_transformers_has_it(rope), "rope_theta": theta},
    )
    module = LlamaRotaryEmbedding(config)
    assert module.inv_freq.dtype == torch.float32
    return {
        "head_dim": head_dim,
        "max_position_embeddings": positions,
        "rope_theta": theta,
        "rope": rope,
        # Exact: float32 values written as doubles.
        "inv_freq": [float(x) for x in module.inv_freq],
        "attention_factor": float(module.attention_scaling),
    }


out = {"transformers": transformers.__version__, "cases": {name: case(*args) for name, args in CASES.items()}}
with open(Path(__file__).parent / "rope.json", "w", encoding="utf-8") as file:
    file.write(json.dumps(out, separators=(",", ":")).replace('{"head_dim"', '\n{"head_dim"') + "\n")
