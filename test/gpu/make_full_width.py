#!/usr/bin/env python3
"""
Makes models as wide as real ones, with few layers and random weights, and what transformers computes from them. They have
rows, heads and vocabularies of the sizes that users run, unlike test/golden's small models. full-width.test.ts runs this
script on a GPU. It also runs without one, for minutes.

    bun bench/shapes.ts DIR && python3 test/gpu/make_full_width.py DIR NAME... [--layers N]

DIR/NAME holds the config.json of a whole model. The script changes its number of layers and writes two files beside it:
model.safetensors (bfloat16), and expected.safetensors like test/golden/make_models.py's, but for two prompts i of N ids:
    columns         int32 [C]      vocabulary entries whose logits are kept
    i.ids           int32 [N]
    i.logits        float32 [N][C] logits in those columns, computed in float32
    i.argmax        int32 [N], i.gap float32 [N]: the most probable id, and how far its logit is above the second
    i.bf16_error    float32 [N]    norm of naive bfloat16's error in those columns over the norm of the logits
    i.bf16_max      float32 [N]    its largest absolute error over the whole vocabulary
    i.greedy        int32 [24], i.greedy_gap float32 [24]: greedy continuation of ids in float32, and its gaps
"""

import argparse
import json
import pathlib
import sys

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "golden"))
import common
import make_models

PROMPTS, COLUMNS, GREEDY = (700, 37), 64, 24
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# The reference is float32. Naive bfloat16 rounds inputs and results, but not sums.
torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False


def build(fields, dtype):
    """A model with config.json's fields. Its weights are still to be set."""
    model_class = getattr(transformers, fields["architectures"][0])
    config = model_class.config_class.from_dict(fields)
    return model_class._from_config(config, attn_implementation="eager", dtype=dtype).eval()


def make(directory, layers, seed):
    path = directory / "config.json"
    fields = json.loads(path.read_text()) | dict(num_hidden_layers=layers)
    path.write_text(json.dumps(fields, indent=1) + "\n")

    generator = torch.Generator(DEVICE).manual_seed(seed)
    naive = build(fields, torch.bfloat16)
    make_models.draw_weights(naive, generator)
    # Embeddings as large as what the layers add to them. With small ones, rounding would grow from layer to layer.
    naive.get_input_embeddings().weight.mul_(fields["hidden_size"] ** 0.5 / 3)
    weights = naive.state_dict()
    save_torch({name: weight.cpu() for name, weight in weights.items()}, directory / "model.safetensors", metadata={"format": "pt"})
    exact = build(fields, torch.float32)
    exact.load_state_dict(weights)

    vocab = fields["vocab_size"]
    columns = torch.randperm(vocab, generator=generator)[:COLUMNS].sort().values.cpu().numpy().astype(np.int32)
    tensors = dict(columns=columns)
    for number, length in enumerate(PROMPTS):
        ids = torch.randint(vocab, (length,), generator=generator).cpu().numpy().astype(np.int32)
        want, low = common.logits_of(exact, ids), common.logits_of(naive, ids)
        greedy, greedy_gap = common.greedy(exact, ids, GREEDY)
        kept = np.ascontiguousarray(want[:, columns])
        parts = dict(
            ids=ids, logits=kept, argmax=want.argmax(-1).astype(np.int32), gap=common.gap(want),
            bf16_error=common.relative_error(low[:, columns], kept), bf16_max=common.largest_error(low, want),
            greedy=greedy, greedy_gap=greedy_gap,
        )
        tensors |= {f"{number}.{name}": value for name, value in parts.items()}

        forgetful = ids.copy()
        forgetful[: length // 2] = ids[: length // 2][::-1]
        memory = common.relative_error(common.logits_of(exact, forgetful)[length // 2 :, columns], kept[length // 2 :])
        error, sure = parts["bf16_error"], parts["gap"] > 2 * parts["bf16_max"].max()
        print(f"{directory.name:14} {length:4} tokens: bf16 error {np.median(error):.4f} (most {error.max():.4f}), at most "
              f"{parts['bf16_max'].max():.3f} in a logit; other early tokens {np.median(memory):.3f}; "
              f"{100 * sure.mean():.0f} % of the choices are sure", flush=True)
        assert np.median(memory) > 5 * np.median(error), "attention hardly matters"
        assert error.max() < 0.2, "too chaotic for a comparison"
    save_file(tensors, directory / "expected.safetensors")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--layers", type=int, default=4)
    arguments = parser.parse_args()
    with torch.device(DEVICE):
        for seed, name in enumerate(arguments.names):
            make(arguments.directory / name, arguments.layers, seed)
